"""The state machine that places jobs: events in, commands out; no clock, no I/O.

    on_arrival ──► Admit ──on_leased──► Dispatch
        │            └────on_denied──► Admit │ Wait │ Refuse
        ├────────► Wait ──on_released, on_tick──► Admit │ Refuse
        └────────► Refuse
    on_withdrawn ends a job in any state.

    on_failed retries a dispatched job whose attempt failed; on_overdue hedges one whose first token is late

A decision is a function of state, snapshot, job and time: the same inputs and seed give the same outputs. A driver
carries the commands out, and gives times in integer µs of one clock, wall or virtual. Every job that arrives has
exactly one end: dispatched, refused or withdrawn. A dispatched job is forgotten; one whose attempt failed before any
content is told by ``on_failed``, with the offer among its ``excluded``.

**Second attempts** are bounded by shares of all requests, so that trouble does not multiply itself. A retry that can no
longer keep the promise asked for still runs where a lower one of the ladder can be kept: its customer wants an answer,
and pays for the deadlines that it still meets. When not even the lowest can be, there is no retry: it would be free.
A hedge is a job of its own beside the first; it is started only for premium, only where it can still be in time, and
only while the fleet has room to spare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from pricing.slo import Tier
from scheduler import refusals
from scheduler.admission import Ask
from scheduler.fleet import Fleet, Load, OfferId
from scheduler.jobs import Job, JobId
from scheduler.lines import Waiting
from scheduler.pickers import Rank, ranked
from scheduler.placement import Admit, Candidate, Dispatch, Refuse, Wait
from scheduler.placer import Found, Placer
from scheduler.policy import DEFAULT_POLICY, Policy
from scheduler.queues import JobQueue, Turns
from scheduler.second_attempts import SecondAttempts, hedge_of


class UnknownJob(LookupError):
    """An event about a job that is not being admitted: it never arrived, waits, or had its end already."""


class UnknownCandidate(LookupError):
    """A lease on an offer that the job was not admitted to."""


class JobError(ValueError):
    """A job that contradicts itself."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    admit: Admit
    at_us: int
    denials: int
    price_pico: int


@dataclass(frozen=True, slots=True)
class _Served:
    admits: list[Admit]
    in_vain: list[tuple[Waiting, Ask]]


class Dispatcher:
    """Decides for one process who runs where, who waits, and who is refused.

    Args:
        policy: the knobs.
        seed: of ties and jitter.
        rank: in which order feasible offers are tried.
    """

    def __init__(self, policy: Policy = DEFAULT_POLICY, seed: int = 0, rank: Rank = ranked) -> None:
        self._policy = policy
        self._rng = Random(seed)  # noqa: S311 (ties and jitter, not secrets)
        self._placer = Placer(policy, self._rng, rank)
        self._queue = JobQueue(policy)
        self._admitted: dict[JobId, _Admitted] = {}
        self._shed: dict[JobId, Refuse] = {}
        self._ticked_us = 0
        self._again = SecondAttempts(policy, self._rng)

    @property
    def waiting(self) -> int:
        """Jobs that wait now."""
        return len(self._queue)

    @property
    def admitted(self) -> int:
        """Jobs between admission and lease now."""
        return len(self._admitted)

    def on_arrival(self, job: Job, fleet: Fleet, now_us: int) -> Admit | Wait | Refuse:
        """A job arrives.

        Raises:
            JobError: its tier is not its ladder's, or a count is negative.
        """
        _check(job)
        self.on_withdrawn(job.id)
        self._placer.view.see(fleet, now_us)
        self._placer.expect(job, now_us)
        self._again.on_arrival()
        return self._decide(job, now_us)

    def on_failed(self, job: Job, fleet: Fleet, now_us: int) -> Admit | Wait | Refuse:
        """An attempt of a dispatched job failed before any content; the offer is among its ``excluded``.

        Raises:
            JobError: as :meth:`on_arrival`.
        """
        _check(job)
        self.on_withdrawn(job.id)
        self._placer.view.see(fleet, now_us)
        if not (job.wishes.allow_fallbacks or job.wishes.order):
            return refusals.no_fallbacks(job)
        if self._again.retries.is_empty:
            return refusals.no_second_try(job, self._policy.retry_share)
        command = self._decide(job, now_us)
        if isinstance(command, Refuse):
            command = self._late(job, now_us) or command
        if not isinstance(command, Refuse):
            self._again.retries.take()
        return command

    def retry_delay_us(self, attempts: int) -> int:
        """How long to wait, after so many attempts, before the next one."""
        return self._again.delay_us(attempts)

    def on_overdue(self, job: Job, offer_id: OfferId, fleet: Fleet, now_us: int) -> Admit | None:
        """No first token has come for a dispatched job for longer than :attr:`Dispatch.overdue_us`.

        Args:
            job: as it was dispatched.
            offer_id: where it runs.
            fleet: the snapshot.
            now_us: the time.

        Returns:
            A second job beside it, to be leased like any other and withdrawn when its lease is denied; None where none
            may or could help. Whichever brings the first content serves the request; the other is to be cancelled.
        """
        if not self._again.may_hedge(job) or self._again.hedges.is_empty:
            return None
        self._placer.view.see(fleet, now_us)
        hedge = hedge_of(job, offer_id)
        self.on_withdrawn(hedge.id)
        ask = self._placer.ask(hedge, 0, now_us)
        if self._placer.utilisation(ask) > self._policy.hedge_load_max:
            return None
        found = self._placer.now(ask, self._queue.claimed_against(job.model, ask.tier))
        if not found.candidates or len(self._admitted) >= self._policy.admitted_max:
            return None
        self._again.hedges.take()
        return self._admit(ask, found, price_pico=0)  # what it costs is ours, not the customer's turn

    def on_settled(self, tier: Tier, *, is_attained: bool) -> None:
        """An answer ended as it should; whether all of it was good feeds back on margins and slots."""
        self._placer.attainment.observe(tier, is_attained=is_attained)

    def margin(self, tier: Tier) -> float:
        """The part of a tier's promise that is kept as headroom now."""
        return self._placer.attainment.margin(tier)

    def on_leased(self, job_id: JobId, offer_id: OfferId, loads: Mapping[OfferId, Load], now_us: int) -> Dispatch:
        """A lease was written for an admitted job.

        Args:
            job_id: the job.
            offer_id: the candidate that was leased.
            loads: fresh, the lease included; those of other offers are welcome.
            now_us: the time.

        Raises:
            UnknownJob: the job is not admitted; the driver must release the lease.
            UnknownCandidate: the offer is none of its candidates; the driver must release the lease.
        """
        admit = self._admitted_job(job_id).admit
        candidate = _candidate_on(offer_id, admit)
        del self._admitted[job_id]
        found = self._placer.leased(admit.job, candidate, loads, now_us)
        overdue_us = self._again.overdue_us(found) if self._again.may_hedge(admit.job) else None
        return Dispatch(job_id, admit.tier, found, admit.candidates, overdue_us, admit.why)

    def on_denied(self, job_id: JobId, loads: Mapping[OfferId, Load], now_us: int) -> Admit | Wait | Refuse:
        """No candidate had room any more; ``loads`` are fresh.

        Raises:
            UnknownJob: the job is not admitted.
        """
        admitted = self._admitted_job(job_id)
        self._give_back(admitted)
        self._placer.view.freshen(loads, now_us)
        return self._decide(admitted.admit.job, now_us, denials=admitted.denials + 1)

    def on_withdrawn(self, job_id: JobId) -> None:
        """The customer hung up, or the money was not there; harmless when the job has had its end."""
        if admitted := self._admitted.get(job_id):
            self._give_back(admitted)
        self._queue.pop(job_id)
        self._shed.pop(job_id, None)

    def on_released(self, fleet: Fleet, now_us: int) -> tuple[Admit, ...]:
        """Room may have come free: the waiting jobs that are worth trying now, in the order to try them."""
        self._placer.view.see(fleet, now_us)
        return tuple(admit for model in self._queue.models() for admit in self._serve_line(model, now_us).admits)

    def on_tick(self, fleet: Fleet, now_us: int) -> tuple[Admit | Refuse, ...]:
        """Time passed: who may run now, and who has become hopeless."""
        self._ticked_us = now_us
        self._placer.view.see(fleet, now_us)
        commands: list[Admit | Refuse] = [*self._shed.values(), *self._refuse_unanswered(now_us)]
        self._shed.clear()
        lost: list[Waiting] = []
        for model in self._queue.models():
            served = self._serve_line(model, now_us)
            commands += served.admits
            lost += [item for item, ask in served.in_vain if not self._has_hope(item, ask)]
        for item in {item.seq: item for item in (*lost, *self._queue.late(now_us))}.values():
            command = self._give_up(item, now_us)
            if not isinstance(command, Wait):
                commands.append(command)
        return tuple(commands)

    def next_tick_us(self, now_us: int) -> int | None:
        """When ``on_tick`` is due; None while nothing depends on time."""
        if self._shed:
            return now_us
        moments: list[int] = []
        if len(self._queue):
            moments.append(self._ticked_us + self._policy.poll_us)
        if oldest := next(iter(self._admitted.values()), None):
            moments.append(oldest.at_us + self._policy.answer_us_max)
        return max(now_us, min(moments)) if moments else None

    def _decide(self, job: Job, now_us: int, denials: int = 0, first: int = 0) -> Admit | Wait | Refuse:
        """Now at the rung asked for, else later at that rung, else the same a rung lower where that is allowed."""
        if len(self._admitted) >= self._policy.admitted_max:
            return refusals.overfull(job, len(self._admitted), self._policy, self._rng)
        refused: list[Refuse] = []
        for index in range(first, len(job.ladder.rungs) if job.downgrade_allowed else 1):
            ask = self._placer.ask(job, index, now_us)
            command = self._admit_now(ask, denials) or self._wait_or_refuse(ask, denials)
            if not isinstance(command, Refuse):
                return command
            refused.append(command)
        return next((each for each in refused if each.retry_after_us is not None), refused[0])

    def _admit_now(self, ask: Ask, denials: int) -> Admit | None:
        if denials > self._policy.denials_max:
            return None
        claimed = self._queue.claimed_against(ask.job.model, ask.tier)
        found = self._placer.now(ask, claimed)
        return self._admit(ask, found, denials) if found.candidates else None

    def _admit(self, ask: Ask, found: Found, denials: int = 0, price_pico: int | None = None) -> Admit:
        job, price = ask.job, ask.price_pico if price_pico is None else price_pico
        admit = Admit(job, ask.tier if job.downgrade_allowed else job.tier, found.candidates, found.why)
        self._admitted[job.id] = _Admitted(admit, ask.now_us, denials, price)
        self._placer.view.reserve(job, found.candidates[0])
        self._queue.charge(job.customer_id, price)
        self._queue.worked(job.model, ask.tier, job.input_tokens + job.output_tokens)
        return admit

    def _late(self, job: Job, now_us: int) -> Admit | None:
        """Where a job that failed may still run at once, under the best promise of its ladder that can be kept."""
        for index in range(1, len(job.ladder.rungs)):
            ask = self._placer.ask(job, index, now_us)
            found = self._placer.now(ask, self._queue.claimed_against(job.model, ask.tier))
            if found.candidates:
                return self._admit(ask, found)
        return None

    def _wait_or_refuse(self, ask: Ask, denials: int) -> Wait | Refuse:
        ahead = self._queue.ahead(ask.job.model, ask.tier, ask.job.customer_id)
        hope = self._placer.later(ask, ahead)
        if hope is None or not self._make_place(ask):
            return self._placer.refuse(ask, ahead, is_queue_full=hope is not None)
        if not len(self._queue):
            self._ticked_us = ask.now_us
        self._queue.push(Waiting(ask.job, ask.index, hope.until_us, hope.offer_id, ask.price_pico, denials))
        return Wait(ask.job, hope.until_us)

    def _make_place(self, ask: Ask) -> bool:
        """Whether one more job may wait, if need be after shedding one that would be served later."""
        if not self._queue.is_full:
            return True
        victim = self._queue.place_for(ask.job.model, ask.tier, ask.job.customer_id)
        if victim is None:
            return False
        self._shed[victim.job.id] = refusals.shed(victim.job, len(self._queue), self._policy, self._rng)
        self._queue.pop(victim.job.id)
        return True

    def _serve_line(self, model: str, now_us: int) -> _Served:
        """Tries the jobs that wait for one model, in order; those of a kind that found no room are not tried again."""
        served = _Served([], [])
        turns = self._queue.turns(model)
        for _ in range(self._policy.tries_max):
            item = turns.next()
            if item is None or len(self._admitted) >= self._policy.admitted_max:
                break
            self._try_waiting(item, turns, now_us, served)
        return served

    def _try_waiting(self, item: Waiting, turns: Turns, now_us: int, served: _Served) -> None:
        job = item.job
        claimed = None if turns.is_due(item) else self._queue.claimed_above(job.model, item.tier)
        turns.tried(item)
        ask = self._placer.ask(job, item.index, now_us)
        found = self._placer.now(ask, claimed)
        if found.candidates:
            self._queue.pop(job.id)
            served.admits.append(self._admit(ask, found, item.denials))
            return
        served.in_vain.append((item, ask))
        if not found.had_room:
            turns.skip(item.kind)

    def _has_hope(self, item: Waiting, ask: Ask) -> bool:
        """Whether a waiting job could still be in time; moves its claim off an offer that was shut."""
        hope = self._placer.still(ask)
        if hope is not None and not self._placer.is_open(ask, item.claim):
            self._queue.move_claim(item, hope.offer_id)
        return hope is not None

    def _give_up(self, item: Waiting, now_us: int) -> Admit | Wait | Refuse:
        """Decides about a waiting job that cannot be in time any more at the rung it waited for."""
        job = item.job
        self._queue.pop(job.id)
        if job.downgrade_allowed and item.index + 1 < len(job.ladder.rungs):
            return self._decide(job, now_us, item.denials, item.index + 1)
        ask = self._placer.ask(job, item.index, now_us)
        ahead = self._queue.ahead(job.model, item.tier, job.customer_id)
        return self._placer.refuse(ask, ahead, is_queue_full=False)

    def _refuse_unanswered(self, now_us: int) -> list[Refuse]:
        before_us = now_us - self._policy.answer_us_max
        late = [admitted for admitted in self._admitted.values() if admitted.at_us <= before_us]
        for admitted in late:
            self._give_back(admitted)
        return [refusals.unanswered(admitted.admit.job, self._policy, self._rng) for admitted in late]

    def _admitted_job(self, job_id: JobId) -> _Admitted:
        admitted = self._admitted.get(job_id)
        if admitted is None:
            raise UnknownJob(f"job {job_id} is not being admitted: it never arrived, waits, or had its end already")
        return admitted

    def _give_back(self, admitted: _Admitted) -> None:
        """Undoes an admission that came to nothing."""
        job = admitted.admit.job
        del self._admitted[job.id]
        self._placer.view.unreserve(job.id)
        self._queue.charge(job.customer_id, -admitted.price_pico)


def _candidate_on(offer_id: OfferId, admit: Admit) -> Candidate:
    for candidate in admit.candidates:
        if candidate.offer.id == offer_id:
            return candidate
    offered = ", ".join(candidate.offer.id for candidate in admit.candidates)
    raise UnknownCandidate(f"job {admit.job.id} was leased on {offer_id}, but it was admitted to: {offered}")


def _check(job: Job) -> None:
    if job.ladder.served.tier is not job.tier:
        raise JobError(f"job {job.id} asks for {job.tier}, but its ladder starts at {job.ladder.served.tier}")
    if min(job.input_tokens, job.output_tokens, job.output_tokens_max) < 0:
        raise JobError(
            f"job {job.id} has negative counts: {job.input_tokens} input, {job.output_tokens} output, "
            f"at most {job.output_tokens_max}"
        )
