"""Everything known about one request while it is served; pure values and small decisions."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from app.fleet.leases import Allowance
from app.gateway.continuation import Resumed, together
from app.gateway.wire import Order
from app.identity.caller import Caller, Limits
from app.metering.delivery import Delivery
from app.metering.meter import Reported
from pricing.money import ZERO, NanoUsd
from pricing.pricebook import PriceBook
from pricing.rating import Ending, Quote, quote
from pricing.slo import Ladder, Tier
from pricing.usage import Usage
from providers.base import TokenChunk
from providers.errors import ProviderError
from scheduler.fleet import Offer
from scheduler.jobs import Job
from scheduler.placement import Candidate, Why

EXTEND_AHEAD_TOKENS = 128
BYTES_PER_TOKEN_DENSE = 3
"""Text rarely packs more than a token into so many bytes; used only to extend a hold early enough."""
BYTES_PER_TOKEN_SPARSE = 8
"""Text rarely spends more bytes on a token; used only to stop a backend that sends many tokens at once."""
OVERRUN_TOKENS = 16
"""So far may events, which are counted as tokens, run past the limit before a backend is thought not to heed it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that was understood, priced and bounded, before anything is reserved.

    Attributes:
        input_predicted: prompt tokens it likely has.
    """

    order: Order
    caller: Caller
    book: PriceBook
    ladder: Ladder
    quote: Quote
    job: Job
    input_predicted: int

    def requoted(self, input_bound: int, output_bound: int) -> Quote:
        """The same price for other bounds."""
        return quote(self.ladder, input_bound, output_bound)

    @property
    def tokens(self) -> int:
        """Tokens that count against tokens per minute: the prompt and the answer, as predicted."""
        return self.input_predicted + self.job.output_tokens


@dataclass(slots=True)
class Choices:
    """Where a request stands among the models that may serve it.

    Attributes:
        ask: the one that is tried now.
        left: those not tried yet, in order.
        held: nano-USD held for the request so far, as far as other models are concerned.
    """

    ask: Ask
    left: list[Ask] = field(default_factory=list[Ask])
    held: NanoUsd = ZERO

    @property
    def ceiling(self) -> NanoUsd:
        """nano-USD that the request costs at most, whichever model serves it."""
        return max(each.quote.ceiling for each in (self.ask, *self.left))


@dataclass(frozen=True, slots=True)
class Placement:
    """A request's place: the offer that runs it, and the lease that keeps the place.

    Attributes:
        candidates: the offers that could be chosen and were to be tried, best first.
        overdue_us: how long the first token may take before a second attempt beside it; None without one.
        why: every offer's part in the decision, where it is to be explained.
    """

    job: Job
    tier: Tier
    candidate: Candidate
    allowance: Allowance | None
    placed_at_us: int
    candidates: tuple[Candidate, ...] = ()
    overdue_us: int | None = None
    why: Why | None = None

    @property
    def offer(self) -> Offer:
        """The offer it runs on."""
        return self.candidate.offer


@dataclass(frozen=True, slots=True)
class Admission:
    """What the lease store needs to know about a job beyond where it may run.

    Attributes:
        limits: the customer's; None for a later attempt of a request that was admitted before.
        tokens: what counts against tokens per minute, of the customer and of a provider's contract.
    """

    limits: Limits | None
    tokens: int


@dataclass(slots=True)
class Reserve:
    """How many output tokens the hold covers; grows in steps while the answer streams."""

    tokens: int
    tokens_max: int
    is_refused: bool = False

    def wants_more(self, tokens_likely: int) -> bool:
        """True when the answer comes near the end of what is held and more may be asked for."""
        if self.is_refused or self.tokens >= self.tokens_max:
            return False
        return tokens_likely + EXTEND_AHEAD_TOKENS > self.tokens


@dataclass(frozen=True, slots=True)
class Ended:
    """How an answer ended, and the failure that ended it, if one did."""

    ending: Ending
    error: ProviderError | None = None


@dataclass(slots=True)
class Answer:
    """The growing answer to one ask.

    Attributes:
        pending: what came before the first content; held back so that a failover can stay unseen.
        body: the whole answer, when it is not streamed.
        tried: the offers that failed this request.
        tokens_before: output tokens that were delivered before the attempt that runs now; its prompt has them too.
        usage_last: what the last attempt reported of itself.
        story: what became of each attempt, in words for operators.
        resumed: each time that another offer went on with the answer.
        hedge: what became of a second attempt beside the first; None without one.
        choices: the models that may serve it.
        asked: the model that was asked for first.
    """

    choices: Choices
    placement: Placement
    delivery: Delivery
    reserve: Reserve
    admitted_at_us: int
    asked: str = ""
    usage: Usage | None = None
    hidden_tokens: int = 0
    finish_reason: str | None = None
    attempts: int = 1
    body: bytes = b""
    pending: list[TokenChunk] = field(default_factory=list[TokenChunk])
    tried: set[str] = field(default_factory=set[str])
    tokens_before: int = 0
    usage_last: Usage | None = None
    story: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    resumed: list[Resumed] = field(default_factory=list[Resumed])
    hedge: dict[str, Any] | None = None

    @property
    def ask(self) -> Ask:
        """The request as the model understands and prices it that serves it now."""
        return self.choices.ask

    def note(self, chunk: TokenChunk) -> None:
        """Keeps what a chunk says about the whole answer."""
        if chunk.usage is not None:
            self.usage_last = chunk.usage
            self.usage = together(self.tokens_before, chunk.usage) if self.tokens_before else chunk.usage
            self.hidden_tokens = chunk.reasoning_tokens
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason

    def begin_again(self) -> None:
        """Forgets a failed attempt of which the customer saw nothing."""
        self.usage = self.usage_last = self.finish_reason = None
        self.hidden_tokens = 0
        self.pending.clear()

    @property
    def tokens(self) -> int:
        """Output tokens so far, hardly ever above the truth; with the hidden ones once the backend has counted them."""
        counted = self.delivery.tokens_counted if self.usage is None else self.usage.output
        return max(counted, self.delivery.content_bytes // BYTES_PER_TOKEN_SPARSE)

    @property
    def tokens_likely(self) -> int:
        """Output tokens so far, hardly ever below the truth."""
        return max(self.tokens, self.delivery.content_bytes // BYTES_PER_TOKEN_DENSE)

    @property
    def is_spent(self) -> bool:
        """True when no further token is covered: the wallet has no more, or the backend does not heed the limit."""
        if self.finish_reason is not None:
            return False
        if self.reserve.is_refused:
            return self.tokens >= self.reserve.tokens
        return self.delivery.tokens_counted > self.reserve.tokens_max + OVERRUN_TOKENS

    @property
    def reported(self) -> Reported:
        """The backend's counts, or our own when it gave none: one token per event, and the predicted prompt."""
        if self.usage is not None:
            return Reported(self.usage, self.hidden_tokens, "provider")
        counted = Usage(input=self.ask.input_predicted, output=self.delivery.tokens_counted)
        return Reported(counted, 0, "counted")

    @property
    def natural_ending(self) -> Ending:
        """How an answer ended that the backend finished."""
        return Ending.LENGTH if self.finish_reason == "length" else Ending.STOP


def is_first_content(chunk: TokenChunk) -> bool:
    """True when a chunk is worth committing to: from here on no failover can be hidden."""
    return chunk.content_events > 0 or chunk.finish_reason is not None


def without(job: Job, offer_ids: Iterable[str]) -> Job:
    """The same job, not to be placed on offers that failed it."""
    return replace(job, excluded=job.excluded.union(offer_ids))
