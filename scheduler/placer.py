"""One decision about one job at one rung of its ladder: where it may run now, whether it can wait, or why not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random

from scheduler import refusals
from scheduler.admission import Ask, Crowd, Prospect, ask_of, feasible, prospect, room
from scheduler.affinity import Affinity
from scheduler.attainment import Attainment
from scheduler.columns import Row, Rows, Table, table
from scheduler.demand import Demand
from scheduler.displacement import displace
from scheduler.explain import Scene, explain
from scheduler.filters import is_open, is_wanted
from scheduler.fleet import Calibration, Load, OfferId
from scheduler.forecast import tpot_us_experienced, ttft_us
from scheduler.guard import UNGUARDED, Guard, Kept, guard
from scheduler.jobs import Capability, Job
from scheduler.load_view import LoadView
from scheduler.pickers import Pick, Rank, Scored, preferred, ranked
from scheduler.placement import Candidate, Refuse, Why
from scheduler.policy import Policy
from scheduler.preferences import NO_PREFERENCES

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
        why: every offer's part in it, where the job asked to be explained.
    """

    candidates: tuple[Candidate, ...]
    had_room: bool
    why: Why | None = None


class Placer:
    """Decides about single jobs.

    Attributes:
        view: what runs where.
        attainment: how well promises were kept.
    """

    def __init__(self, policy: Policy, rng: Random, rank: Rank = ranked) -> None:
        self.view = LoadView(policy.fresh_us_max)
        self.attainment = Attainment(policy)
        self._affinity = Affinity(policy)
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
        if self.attainment.is_neutral:
            return ask_of(job, index, now_us, self._policy)
        tier = job.ladder.rungs[index].tier
        return ask_of(job, index, now_us, self.attainment.policy(tier), self.attainment.scarcity(tier))

    def now(self, ask: Ask, claimed: Collection[OfferId] | None) -> Found:
        """Where the job may run now.

        Args:
            ask: the job.
            claimed: offers that others who wait have a better right to; None when the job's tier is owed its floor,
                so that it may take what better tiers claim and what is kept for them.
        """
        job = ask.job
        outcome = feasible(self._rows_of(ask), ask, self.view, self._barred(job, claimed or ()))
        found = outcome.found
        if found and claimed is not None and (kept := self._guard(ask).barred):
            found = [scored for scored in found if scored.row.id not in kept]
        best = self._best(found, ask) if found else []
        return Found(
            candidates=tuple([_candidate(scored) for scored in best]),
            had_room=bool(best) if outcome.found else outcome.had_room,
            why=self._why(ask, claimed) if job.is_explained else None,
        )

    def _barred(self, job: Job, claimed: Collection[OfferId]) -> Collection[str]:
        """The offers that a job may not run on, whatever room they have."""
        closed = self.view.fleet.closed
        if job.wishes is NO_PREFERENCES and not job.excluded and not claimed:
            return closed
        unwanted: list[OfferId] = []
        if job.wishes.is_restrictive:
            offers = self.view.fleet.offers.get(job.model, ())
            unwanted = [offer.id for offer in offers if not is_wanted(offer, job)]
        return {*closed, *job.excluded, *claimed, *unwanted}

    def _best(self, found: list[Scored], ask: Ask) -> list[Scored]:
        """The offers to try, best first, out of those that are feasible."""
        job = ask.job
        pick = Pick(ask.tier, ask.price_pico, job.input_tokens, job.output_tokens)
        if job.wishes is not NO_PREFERENCES and job.wishes.reorders:
            return preferred(found, pick, job.wishes, self._policy)
        if len(found) > 1:
            displace(found, ask, self._demand.wanted(job.model, ask.now_us), self._table_of(ask))
        home = self._affinity.lead(found, job, ask.now_us) if job.affinity else None
        best = self._rank(found, pick, self._rng, self._policy)
        if home is None or best[0] is home:
            return best
        return [home, *(scored for scored in best if scored is not home)][: self._policy.candidates_max]

    def _why(self, ask: Ask, claimed: Collection[OfferId] | None) -> Why:
        rows = {row.id: row for row in self._rows_of(ask)}
        kept = dict.fromkeys(() if claimed is None else self._guard(ask).barred, "its room is kept for a better tier")
        kept |= dict.fromkeys(claimed or (), "others who wait have a better right to it")
        return explain(ask, Scene(self.view.fleet.offers.get(ask.job.model, ()), rows, self.view, kept))

    def utilisation(self, ask: Ask) -> float:
        """The part of the room for the job's tier that is taken, over all offers open to it; 1 when there are none."""
        shares = self.view.fleet.shares
        rows = self._open_rows(ask)
        places = sum(room(row, shares) for row in rows)
        return sum(min(room(row, shares), self.view.load(row.id).in_flight) for row in rows) / places if places else 1.0

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
        self._affinity.note(job, candidate.offer.id, now_us)
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

    def _table_of(self, ask: Ask) -> Table:
        job = ask.job
        return self._rows.of(self.view.fleet, job.model, job.ladder.rungs[ask.index], job.needs, ask.policy)

    def _rows_of(self, ask: Ask) -> tuple[Row, ...]:
        return self._table_of(ask).rows

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
