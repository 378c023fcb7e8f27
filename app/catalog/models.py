"""Tables of the catalog: what is on sale, and every price book that ever was.

Price books are appended, never updated or deleted: a receipt stays recomputable for ever.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint
from sqlmodel import Field, SQLModel

from app.db import keep_append_only


class ModelOnSaleRow(SQLModel, table=True):
    """A model that customers can name.

    Attributes:
        name: the public name; may contain ``/``.
        context_max: prompt plus answer, in tokens.
        bytes_per_token: mean bytes of request text per input token, as declared; gateways learn their own.
    """

    __tablename__: ClassVar[Any] = "model_on_sale"
    __table_args__ = (
        CheckConstraint("context_max >= 1", name="context_max_positive"),
        CheckConstraint("bytes_per_token > 0", name="bytes_per_token_positive"),
    )

    name: str = Field(primary_key=True, max_length=200)
    title: str = Field(max_length=200)
    description: str = Field(default="", max_length=2000)
    owned_by: str = Field(default="goodput", max_length=200)
    context_max: int = Field(sa_type=BigInteger)
    bytes_per_token: float = Field(default=4.0)
    is_on_sale: bool = Field(default=True)
    created_at_us: int = Field(sa_type=BigInteger)
    updated_at_us: int = Field(sa_type=BigInteger)


class PriceBookRow(SQLModel, table=True):
    """One published price book, whole and unchangeable.

    Attributes:
        sequence: 1, 2, 3 …; its uniqueness lets one of two concurrent publications win.
        predecessor_id: the book published before it; None for the first. A book has one successor.
        sha256: hex digest of the canonical published document.
        record: the stored form, :func:`pricing.pricebook.book_record`: published document and our costs.
    """

    __tablename__: ClassVar[Any] = "price_book"
    __table_args__ = (
        CheckConstraint("sequence >= 1", name="sequence_positive"),
        CheckConstraint("length(sha256) = 64", name="sha256_whole"),
        CheckConstraint("(sequence = 1) = (predecessor_id IS NULL)", name="first_has_no_predecessor"),
    )

    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    id: str = Field(unique=True, max_length=64)
    predecessor_id: str | None = Field(default=None, unique=True, foreign_key="price_book.id", max_length=64)
    sha256: str = Field(unique=True, max_length=64)
    effective_at_us: int = Field(sa_type=BigInteger, index=True)
    record: dict[str, Any] = Field(sa_type=JSON)
    published_by: str = Field(max_length=200)
    reason: str = Field(max_length=1000)
    created_at_us: int = Field(sa_type=BigInteger)


keep_append_only(PriceBookRow.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)
