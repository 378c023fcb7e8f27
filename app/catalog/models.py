"""Tables of the catalog: what is on sale, every price book that ever was, and the drafts of those to come.

Price books and their withdrawals are appended, never updated or deleted: a receipt stays recomputable for ever. Drafts
are edited until they are published or discarded, and stay as they were then.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index
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
        origin: what made it, a value of :class:`app.catalog.draft.Origin`.
    """

    __tablename__: ClassVar[Any] = "price_book"
    __table_args__ = (
        CheckConstraint("sequence >= 1", name="sequence_positive"),
        CheckConstraint("length(sha256) = 64", name="sha256_whole"),
        CheckConstraint("(sequence = 1) = (predecessor_id IS NULL)", name="first_has_no_predecessor"),
        CheckConstraint("origin IN ('derived', 'operator', 'rollback', 'repricer')", name="origin_known"),
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
    origin: str = Field(default="derived", max_length=16, sa_column_kwargs={"server_default": "derived"})


keep_append_only(PriceBookRow.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)


class PriceBookWithdrawalRow(SQLModel, table=True):
    """A published book that will never come into force: withdrawn before its moment came, for ever.

    Attributes:
        sequence: 1, 2, 3 …, in the order in which processes hear of them.
        book_id: which; a book is withdrawn once.
        withdrawn_at_us: before the book's ``effective_at_us``.
    """

    __tablename__: ClassVar[Any] = "price_book_withdrawal"
    __table_args__ = (CheckConstraint("sequence >= 1", name="sequence_positive"),)

    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    book_id: str = Field(unique=True, foreign_key="price_book.id", max_length=64)
    withdrawn_at_us: int = Field(sa_type=BigInteger)
    withdrawn_by: str = Field(max_length=200)
    reason: str = Field(max_length=1000)


keep_append_only(PriceBookWithdrawalRow.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)


class DraftRow(SQLModel, table=True):
    """A price book in the making.

    Attributes:
        id: ``draft_…``, sortable by when it was opened.
        base_book_id: the book that it is compared with and is to replace; None when nothing was in force.
        origin: what made it, a value of :class:`app.catalog.draft.Origin`.
        state: ``open``, ``published`` or ``discarded``.
        version: rises with each change; an edit of an older version is refused.
        record: :func:`app.catalog.draft.draft_record`: the cards to be sold and those held back, with our costs.
        published_book_id: the book that it became.
    """

    __tablename__: ClassVar[Any] = "price_draft"
    __table_args__ = (
        CheckConstraint("origin IN ('derived', 'operator', 'rollback', 'repricer')", name="origin_known"),
        CheckConstraint("state IN ('open', 'published', 'discarded')", name="state_known"),
        CheckConstraint("version >= 1", name="version_positive"),
        CheckConstraint("(state = 'published') = (published_book_id IS NOT NULL)", name="published_as_a_book"),
        Index("ix_price_draft_state", "state", "id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    base_book_id: str | None = Field(default=None, foreign_key="price_book.id", max_length=64)
    title: str = Field(max_length=200)
    origin: str = Field(max_length=16)
    state: str = Field(default="open", max_length=16)
    version: int = Field(default=1)
    record: dict[str, Any] = Field(sa_type=JSON)
    created_by: str = Field(max_length=200)
    created_at_us: int = Field(sa_type=BigInteger)
    updated_at_us: int = Field(sa_type=BigInteger)
    published_book_id: str | None = Field(default=None, unique=True, foreign_key="price_book.id", max_length=64)
