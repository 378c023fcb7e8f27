"""What the operators' API reads about prices: rates as decimal strings, promises in µs, moments with a time zone."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.admin.wire import PRINTABLE, Label, Reason
from app.catalog.draft import CardEdit
from app.catalog.draft_fields import read_rate
from pricing.slo import Tier

EDITS_MAX = 300
Model = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)]
RateText = Annotated[str, StringConstraints(max_length=40)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1, description="of the draft that was read; 409 when it has changed")]
SpanUs = Annotated[int, Field(ge=0, le=2**53)]


class DraftBody(BaseModel):
    """A new draft."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Label
    from_price_book_id: Label | None = Field(
        default=None, description="whose cards it begins with; else those in force"
    )


class RatesBody(BaseModel):
    """Rates in USD per million tokens; one left out stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: RateText | None = None
    cached: RateText | None = None
    cache_write: RateText | None = None
    output: RateText | None = None


class PromiseBody(BaseModel):
    """A promise in µs; what is left out stays as it is. A ``tpot_us`` of 0 is a window: all tokens are due at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ttft_us: SpanUs | None = None
    tpot_us: SpanUs | None = None


class CardBody(BaseModel):
    """What one tier of a model is to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Model
    tier: Tier
    is_sold: bool = True
    usd_per_mtok: RatesBody = RatesBody()
    slo: PromiseBody = PromiseBody()

    def edit(self) -> CardEdit:
        """As the draft takes it.

        Raises:
            FieldRefused: a rate that cannot be read exactly.
        """
        given: dict[str, str] = self.usd_per_mtok.model_dump(exclude_none=True)
        rates: dict[str, int] = {name: read_rate(name, text) for name, text in given.items()}
        spans: dict[str, int] = self.slo.model_dump(exclude_none=True)
        return CardEdit(self.model, self.tier, is_sold=self.is_sold, fields={**rates, **spans})


class EditsBody(BaseModel):
    """Changes to some tiers, all made or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    cards: Annotated[list[CardBody], Field(min_length=1, max_length=EDITS_MAX)]


class RebaseBody(BaseModel):
    """What to compare a draft with from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    onto_price_book_id: Label | None = Field(default=None, description="the one in force when it is left out")


class DiscardBody(BaseModel):
    """Why a draft is dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    reason: Reason


class PublishBody(BaseModel):
    """How a draft is published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    reason: Reason
    effective_at: datetime | None = Field(default=None, description="with a time zone, to come; at once when left out")
    accept_warnings: bool = Field(default=False, description="the warnings were read and are meant")


class RollBackBody(BaseModel):
    """Why an older book's prices are restored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason
    live_price_book_id: Label | None = Field(default=None, description="409 when another book is in force")
