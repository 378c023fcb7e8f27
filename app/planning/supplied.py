"""Who runs what, and what was asked of it, as values; pure."""

from dataclasses import dataclass

from pricing.slo import Tier
from scheduler.fleet import SpeedCurve


@dataclass(frozen=True, slots=True)
class Running:
    """A deployment that is paid for, or bought from.

    Attributes:
        curve: its measured speed; None where it cannot be read.
        since_us: when it was registered, µs since the epoch.
        is_paid: False while it or its provider is disabled.
    """

    offer_id: str
    deployment_id: str
    model: str
    curve: SpeedCurve | None
    is_owned: bool
    is_emulated: bool
    is_paid: bool
    since_us: int


@dataclass(frozen=True, slots=True)
class HourlyTokens:
    """Tokens of one model, tier and hour of the day, over a period."""

    model: str
    tier: Tier
    hour: int
    tokens_input: int
    tokens_output: int
    requests: int
    is_emulated: bool
