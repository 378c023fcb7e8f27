"""What the dispatcher answers: commands for a driver to carry out."""

from dataclasses import dataclass
from enum import StrEnum

from pricing.slo import Tier
from scheduler.fleet import NEUTRAL, Calibration, Offer, OfferId
from scheduler.jobs import Job, JobId


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer that can keep the job's promise, and up to which load it still can.

    Attributes:
        in_flight_max: the largest concurrency, this job included, at which this job's own promise still holds there.
        ttft_us, tpot_us: predicted for this job at the load seen, from dispatch on, by the measured curve alone: what
            a :class:`~scheduler.calibration.Calibrator` is to compare observations with.
        value_pico: expected revenue less cost, pico-USD; why it ranks where it does.
        calibration: the factors that the decision multiplied these predictions by.
    """

    offer: Offer
    in_flight_max: int
    ttft_us: float
    tpot_us: float
    value_pico: float
    calibration: Calibration = NEUTRAL


@dataclass(frozen=True, slots=True)
class Verdict:
    """One offer's part in a decision.

    Attributes:
        ruled_out: why it could not be chosen; empty for one that could.
        in_flight: the load there, this job not included.
        in_flight_max: the largest load, this job included, at which the job's own promise holds there; 0 where unknown.
        ttft_us, tpot_us: calibrated forecasts, where they were made.
        value_pico: expected revenue less cost, for an offer that could be chosen.
    """

    offer_id: OfferId
    ruled_out: str
    in_flight: int = 0
    in_flight_max: int = 0
    ttft_us: float | None = None
    tpot_us: float | None = None
    value_pico: float | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """One decision, explained.

    Attributes:
        tier: looked at.
        at_us: when.
        due_us: µs that were left until the first token, or a window's last.
        margin: the part of it that was kept as headroom.
        verdicts: by offer, in the fleet's order.
    """

    tier: Tier
    at_us: int
    due_us: int
    margin: float
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Admit:
    """Try to lease one of these, best first; then call ``on_leased`` or ``on_denied``.

    Attributes:
        tier: served, billed and promised.
        why: every offer's part in it, where the job asked to be explained.
    """

    job: Job
    tier: Tier
    candidates: tuple[Candidate, ...]
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is free now, but it can still be in time: wait for ``on_released`` or ``on_tick``."""

    job: Job
    until_us: int


class RefusalReason(StrEnum):
    """Why a job is not taken."""

    NO_OFFER = "no_offer"
    CONTEXT_TOO_LONG = "context_too_long"
    NO_CAPACITY = "no_capacity"
    PROMISE_OUT_OF_REACH = "promise_out_of_reach"
    QUEUE_FULL = "queue_full"


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job is not taken; nothing is charged.

    Attributes:
        retry_after_us: when trying again could help; None when it cannot.
        explanation: what happened, with the numbers.
    """

    job: Job
    reason: RefusalReason
    retry_after_us: int | None
    explanation: str


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Run the job there now.

    Attributes:
        candidates: those that were to be tried, best first.
        overdue_us: how long to wait for a first token before ``on_overdue`` may start a second attempt beside it; None
            where it will not.
        why: every offer's part in it, where the job asked to be explained.
    """

    job_id: JobId
    tier: Tier
    candidate: Candidate
    candidates: tuple[Candidate, ...] = ()
    overdue_us: int | None = None
    why: Why | None = None
