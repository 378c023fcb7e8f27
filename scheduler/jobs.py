"""A request as the scheduler sees it: what it needs, what it was promised, what it is likely to use."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from pricing.slo import Ladder, Tier
from scheduler.preferences import NO_PREFERENCES, Preferences

JobId = NewType("JobId", str)


class Capability(StrEnum):
    """What a request can need of an offer beyond plain text."""

    STREAMING = "streaming"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    LOGPROBS = "logprobs"
    CONTINUATION = "continuation"
    """Goes on with an answer that another offer began, when the messages end in its beginning."""


@dataclass(frozen=True, slots=True)
class Job:
    """One request to place.

    Times are absolute integer µs on the driver's clock (wall or virtual).

    Attributes:
        tier: the tier asked for; the job is never billed above it.
        ladder: promise and rates of ``tier`` and all below, from the book stamped at admission.
        requested_at_us: when the first byte of the request was read; the delivery clock's zero.
        input_tokens: predicted prompt length.
        output_tokens: predicted answer length (never the true one).
        output_tokens_max: the most it can produce.
        needs: capabilities without which an offer cannot serve it.
        excluded: offers already tried for this job; they failed before their first content.
        downgrade_allowed: True when the customer takes a lower tier of the ladder rather than a refusal.
        wishes: which offers the customer wants, and in which order.
        affinity: jobs of one customer with the same one share the beginning of their prompts; empty when not known.
        is_explained: whether every offer's part in the decision is to be told.
    """

    id: JobId
    customer_id: str
    model: str
    tier: Tier
    ladder: Ladder
    requested_at_us: int
    input_tokens: int
    output_tokens: int
    output_tokens_max: int
    needs: frozenset[Capability] = frozenset()
    excluded: frozenset[str] = frozenset()
    downgrade_allowed: bool = False
    wishes: Preferences = NO_PREFERENCES
    affinity: str = ""
    is_explained: bool = False
