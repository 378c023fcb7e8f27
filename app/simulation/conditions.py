"""What a simulated dispatcher is denied, or freed of, so that each part of it can show what it is worth; pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a run differs from production; the default is production.

    Attributes:
        has_no_limits: an offer takes whatever it is sent; the rest queues inside its engine.
        does_harm: what the promises already running on an offer tolerate is not looked at.
        stale_us: loads are as old as this, those of one's own leases included, as where processes share no state.
        is_calibrated: forecasts are corrected by what was observed.
    """

    has_no_limits: bool = False
    does_harm: bool = False
    stale_us: int = 0
    is_calibrated: bool = True


AS_IN_PRODUCTION = Conditions()
