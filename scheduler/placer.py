"""One decision about one job at one rung of its ladder: where it may run now, whether it can wait, or why not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random

from scheduler import filters, refusals
from scheduler.admission import Ask, Crowd, Prospect, ask_of, feasible, prospect
from scheduler.columns import Row, Rows
from scheduler.fleet import Calibration, Load, OfferId
from scheduler.forecast import tpot_us_experienced, ttft_us
from scheduler.jobs import Job
from scheduler.load_view import LoadView
from scheduler.pickers import Pick, Scored, ranked
from scheduler.placement import Candidate, Refuse
from scheduler.policy import Policy

_ANSWER_WEIGHT = 0.1
"""Weight of the newest answer in the running mean of answer lengths."""


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of looking for a place now.

    Attributes:
        candidates: best first; empty when there is none.
        had_room: some offer had room, if not time; when none had, no other job of the same kind finds any.
    """

    candidates: tuple[Candidate, ...]
    had_room: bool


class Placer:
    """Decides about single jobs; remembers nothing but loads and typical answer lengths.

    Attributes:
        view: what runs where.
    """

    def __init__(self, policy: Policy, rng: Random) -> None:
        self.view = LoadView(policy.fresh_us_max)
        self._policy = policy
        self._rng = rng
        self._rows = Rows(policy)
        self._answer_tokens: dict[str, float] = {}

    def ask(self, job: Job, index: int, now_us: int) -> Ask:
        """What decisions about a job at rung ``index`` need."""
        return ask_of(job, index, now_us, self._policy)

    def now(self, ask: Ask, claimed: Collection[OfferId]) -> Found:
        """Where the job may run now.

        Args:
            ask: the job.
            claimed: offers that others who wait have a better right to.
        """
        job, closed = ask.job, self.view.fleet.closed
        barred: Collection[str] = {*closed, *job.excluded, *claimed} if job.excluded or claimed else closed
        outcome = feasible(self._rows_of(ask), ask, self.view, barred)
        if not outcome.found:
            return Found((), outcome.had_room)
        pick = Pick(job.ladder.rungs[ask.index].tier, ask.price_pico)
        best = ranked(outcome.found, pick, self._rng, self._policy)
        return Found(tuple(_candidate(scored) for scored in best), had_room=True)

    def later(self, ask: Ask, ahead: Mapping[OfferId, int]) -> Prospect | None:
        """Where the job may be expected to start in time if it waits; None when nowhere.

        Args:
            ask: the job.
            ahead: by offer, the waiting jobs that claim it before this one.
        """
        fleet = self.view.fleet
        rows = [row for row in self._rows_of(ask) if filters.is_open(row.offer, fleet, ask.job)]
        return prospect(rows, ask, self.view, self._crowd(ask.job, ahead))

    def is_open(self, ask: Ask, offer_id: OfferId) -> bool:
        """Whether an offer may serve the job and takes new work."""
        fleet = self.view.fleet
        return any(row.id == offer_id and filters.is_open(row.offer, fleet, ask.job) for row in self._rows_of(ask))

    def refuse(self, ask: Ask, ahead: Mapping[OfferId, int], *, is_queue_full: bool) -> Refuse:
        """Says why the job is not taken."""
        setting = refusals.Setting(self._rows_of(ask), self.view, self._crowd(ask.job, ahead), is_queue_full)
        return refusals.refuse(ask, setting, self._rng)

    def leased(self, job: Job, candidate: Candidate, loads: Mapping[OfferId, Load], now_us: int) -> Candidate:
        """Takes a lease in; the candidate with its predictions at the load that the lease found."""
        load = self.view.leased(job, candidate, loads, now_us)
        known = self._answer_tokens.get(job.model, float(job.output_tokens))
        self._answer_tokens[job.model] = known + _ANSWER_WEIGHT * (job.output_tokens - known)
        curve = candidate.offer.speed
        return Candidate(
            offer=candidate.offer,
            in_flight_max=candidate.in_flight_max,
            ttft_us=ttft_us(curve, max(0, load.prefill_tokens - job.input_tokens), job.input_tokens),
            tpot_us=tpot_us_experienced(curve, max(1, load.in_flight)),
            value_pico=candidate.value_pico,
            calibration=candidate.calibration,
        )

    def _rows_of(self, ask: Ask) -> list[Row]:
        job = ask.job
        return self._rows.of(self.view.fleet, job.model, job.ladder.rungs[ask.index], job.needs)

    def _crowd(self, job: Job, ahead: Mapping[OfferId, int]) -> Crowd:
        return Crowd(max(1.0, self._answer_tokens.get(job.model, float(job.output_tokens))), ahead)


def _candidate(scored: Scored) -> Candidate:
    calibration: Calibration = scored.row.calibration
    return Candidate(
        offer=scored.row.offer,
        in_flight_max=scored.in_flight_max,
        ttft_us=scored.ttft_us / calibration.ttft,
        tpot_us=scored.tpot_us / calibration.tpot,
        value_pico=scored.value,
        calibration=calibration,
    )
