"""One decision about one job at one rung of its ladder: where it may run now, whether it can wait, or why not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random

from scheduler import refusals
from scheduler.admission import Ask, Crowd, Prospect, ask_of, feasible, prospect
from scheduler.columns import Row, Rows, table
from scheduler.demand import Demand
from scheduler.filters import is_open
from scheduler.fleet import Calibration, Load, OfferId
from scheduler.forecast import tpot_us_experienced, ttft_us
from scheduler.guard import UNGUARDED, Guard, Kept, guard
from scheduler.jobs import Capability, Job
from scheduler.load_view import LoadView
from scheduler.pickers import Pick, Rank, Scored, ranked
from scheduler.placement import Candidate, Refuse
from scheduler.policy import Policy

_ANSWER_WEIGHT = 0.1
"""Weight of the newest answer in the running mean of answer lengths."""
_NOBODY = Crowd(0.0, {})
_NO_NEEDS: frozenset[Capability] = frozenset()


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

    def __init__(self, policy: Policy, rng: Random, rank: Rank = ranked) -> None:
        self.view = LoadView(policy.fresh_us_max)
        self._policy = policy
        self._rng = rng
        self._rank = rank
        self._rows = Rows(policy)
        self._answer_tokens: dict[str, float] = {}
        self._demand = Demand(policy.demand_half_life_us)
        self._guarded: tuple[Ask | None, Guard] = (None, UNGUARDED)

    def expect(self, job: Job, now_us: int) -> None:
        """Counts a request that arrives for the first time as demand for its tier."""
        if job.model in self.view.fleet.offers and not job.excluded:
            self._demand.note(job, now_us)

    def ask(self, job: Job, index: int, now_us: int) -> Ask:
        """What decisions about a job at rung ``index`` need."""
        return ask_of(job, index, now_us, self._policy)

    def now(self, ask: Ask, claimed: Collection[OfferId] | None) -> Found:
        """Where the job may run now.

        Args:
            ask: the job.
            claimed: offers that others who wait have a better right to; None when the job's tier is owed its floor,
                so that it may take what better tiers claim and what is kept for them.
        """
        job, closed = ask.job, self.view.fleet.closed
        barred: Collection[str] = {*closed, *job.excluded, *(claimed or ())} if job.excluded or claimed else closed
        outcome = feasible(self._rows_of(ask), ask, self.view, barred)
        if not outcome.found:
            return Found((), outcome.had_room)
        found = outcome.found
        if claimed is not None and (kept := self._guard(ask).barred):
            found = [scored for scored in found if scored.row.id not in kept]
        pick = Pick(ask.tier, ask.price_pico, job.input_tokens, job.output_tokens)
        best = self._rank(found, pick, self._rng, self._policy)
        return Found(tuple([_candidate(scored) for scored in best]), had_room=bool(best))

    def later(self, ask: Ask, ahead: Mapping[OfferId, int]) -> Prospect | None:
        """Where the job may be expected to start in time if it waits; None when nowhere.

        Args:
            ask: the job.
            ahead: by offer, the waiting jobs that claim it before this one.
        """
        return prospect(self._open_rows(ask), ask, self.view, self._crowd(ask, ahead))

    def still(self, ask: Ask) -> Prospect | None:
        """Where a job that waits would be in time if room came free at this moment; None when it is hopeless.

        Departures have no memory: that none came so far says nothing about the next.
        """
        return prospect(self._open_rows(ask), ask, self.view, _NOBODY)

    def is_open(self, ask: Ask, offer_id: OfferId) -> bool:
        """Whether an offer may serve the job and takes new work."""
        return any(row.id == offer_id for row in self._open_rows(ask))

    def refuse(self, ask: Ask, ahead: Mapping[OfferId, int], *, is_queue_full: bool) -> Refuse:
        """Says why the job is not taken."""
        setting = refusals.Setting(self._rows_of(ask), self.view, self._crowd(ask, ahead), is_queue_full)
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

    def _rows_of(self, ask: Ask) -> tuple[Row, ...]:
        job = ask.job
        return self._rows.of(self.view.fleet, job.model, job.ladder.rungs[ask.index], job.needs).rows

    def _open_rows(self, ask: Ask) -> list[Row]:
        fleet = self.view.fleet
        return [row for row in self._rows_of(ask) if is_open(row.offer, fleet, ask.job)]

    def _guard(self, ask: Ask) -> Guard:
        """What better tiers leave to a job; worked out once per decision."""
        if self._guarded[0] is not ask:
            self._guarded = ask, self._guard_of(ask)
        return self._guarded[1]

    def _guard_of(self, ask: Ask) -> Guard:
        better = self._demand.better_than(ask.job.model, ask.tier, ask.now_us)
        if not better:
            return UNGUARDED
        fleet, model = self.view.fleet, ask.job.model
        kept: list[Kept] = []
        for demand, tokens_per_us in better:
            able = self._rows.of(fleet, model, demand.rung, _NO_NEEDS)
            if fleet.closed:
                able = table(row for row in able.rows if row.id not in fleet.closed)
            kept.append(Kept(able, demand, tokens_per_us))
        return guard(kept, self._rows_of(ask), ask, self.view)

    def _crowd(self, ask: Ask, ahead: Mapping[OfferId, int]) -> Crowd:
        kept = self._guard(ask)
        behind = {offer_id: ahead.get(offer_id, 0) + 1 for offer_id in kept.barred}
        return Crowd(self._answer_tokens_of(ask.job), {**ahead, **behind}, kept.share)

    def _answer_tokens_of(self, job: Job) -> float:
        return max(1.0, self._answer_tokens.get(job.model, float(job.output_tokens)))


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
