"""What the dispatcher answers: commands for a driver to carry out."""

from dataclasses import dataclass
from enum import StrEnum

from pricing.slo import Tier
from scheduler.fleet import NEUTRAL, Calibration, Offer
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
class Admit:
    """Try to lease one of these, best first; then call ``on_leased`` or ``on_denied``."""

    job: Job
    tier: Tier
    candidates: tuple[Candidate, ...]


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
    """Run the job there now."""

    job_id: JobId
    tier: Tier
    candidate: Candidate
