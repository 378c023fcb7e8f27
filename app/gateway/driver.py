"""Drives the dispatcher on asyncio: carries out its commands against the lease store, and wakes what waits.

The dispatcher decides and never waits; this driver waits and never decides.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol, assert_never

from app.errors import MarketError
from app.fleet.leases import Allowance, Denied, LeaseCandidate, Leased, LeaseRequest, LeaseStore, Limited
from app.gateway.answer import Admission, Placement
from app.gateway.errors import capacity_exceeded, invalid, no_provider, rate_limited
from app.logs import get_logger
from pricing.slo import US_PER_S, Tier
from scheduler.dispatcher import Dispatcher, UnknownCandidate, UnknownJob
from scheduler.fleet import IDLE, Fleet, Load, OfferId
from scheduler.jobs import Job, JobId
from scheduler.placement import Admit, RefusalReason, Refuse, Wait


class FleetSource(Protocol):
    """Where the driver sees the fleet, and tells it what it learned."""

    @property
    def fleet(self) -> Fleet:
        """The snapshot in force."""
        ...

    def fold(self, loads: Mapping[OfferId, Load]) -> None:
        """Takes in fresher loads than the snapshot's."""
        ...


class Driver:
    """The asyncio driver of one process's dispatcher."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        source: FleetSource,
        leases: LeaseStore,
        clock_us: Callable[[], int],
        *,
        lease_ttl_s: float,
    ) -> None:
        self._dispatcher = dispatcher
        self._source = source
        self._leases = leases
        self._clock_us = clock_us
        self._lease_ttl_s = lease_ttl_s
        self._waiting: dict[JobId, asyncio.Future[Admit | Refuse]] = {}
        self._running: dict[str, OfferId] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at_us = 0
        self._is_waking = False

    def arrive(self, job: Job) -> Admit | Wait:
        """Asks where a job may run; pure and cheap.

        Raises:
            MarketError: it is refused now; nothing was reserved.
        """
        return self._decided(job, self._dispatcher.on_arrival(job, self._source.fleet, self._clock_us()))

    def arrive_again(self, job: Job) -> Admit | Wait:
        """Asks where a job may run whose attempt failed; the offers that failed it are among its ``excluded``.

        Raises:
            MarketError: nowhere in time, or too many others were tried again.
        """
        return self._decided(job, self._dispatcher.on_failed(job, self._source.fleet, self._clock_us()))

    async def pause(self, attempts: int) -> None:
        """Waits, after so many attempts, for the random moment before the next one."""
        await asyncio.sleep(self._dispatcher.retry_delay_us(attempts) / US_PER_S)

    def settled(self, tier: Tier, *, is_attained: bool) -> None:
        """An answer ended as it should, and all of it was good or not."""
        self._dispatcher.on_settled(tier, is_attained=is_attained)

    async def hedge(self, placement: Placement) -> Placement | None:
        """A place for a second attempt beside one whose first token is overdue; None where none may be or is free."""
        admit = self._dispatcher.on_overdue(placement.job, placement.offer.id, self._source.fleet, self._clock_us())
        if admit is None:
            return None
        try:
            answer = await self._try(admit, Admission(None, 0))
        except MarketError:
            answer = None
        except BaseException:
            self.withdraw(admit.job)
            raise
        if isinstance(answer, Placement):
            return answer
        self.withdraw(admit.job)
        return None

    def _decided(self, job: Job, decision: Admit | Wait | Refuse) -> Admit | Wait:
        self._plan_tick()
        if isinstance(decision, Refuse):
            raise refusal(decision)
        if isinstance(decision, Wait):
            self._await_word(job.id)  # its turn may come while the money is still being reserved
        return decision

    def withdraw(self, job: Job) -> None:
        """Forgets a job that arrived and will not be leased."""
        self._waiting.pop(job.id, None)
        self._dispatcher.on_withdrawn(job.id)

    async def lease(self, decision: Admit | Wait, admission: Admission) -> Placement:
        """Carries a decision through to a place, waiting where the dispatcher says so.

        Raises:
            MarketError: over a limit, or refused after all; nothing stays leased.
        """
        job = decision.job
        try:
            return await self._lease(decision, admission)
        except BaseException:
            self.withdraw(job)
            raise

    async def _lease(self, decision: Admit | Wait | Refuse, admission: Admission) -> Placement:
        while True:
            match decision:
                case Admit():
                    answer = await self._try(decision, admission)
                    if isinstance(answer, Placement):
                        return answer
                    decision = answer
                case Wait():
                    decision = await self._wait(decision.job)
                case Refuse():
                    raise refusal(decision)
                case _:
                    assert_never(decision)

    async def _try(self, admit: Admit, admission: Admission) -> Placement | Admit | Wait | Refuse:
        job = admit.job
        request = LeaseRequest(
            lease_id=job.id,
            customer_id=job.customer_id,
            limits=admission.limits,
            candidates=tuple(
                LeaseCandidate(each.offer.id, each.offer.concurrency_max, each.in_flight_max)
                for each in admit.candidates
            ),
            prefill_tokens=job.input_tokens,
            tokens=admission.tokens,
            ttl_s=self._lease_ttl_s,
        )
        try:
            answer = await self._leases.admit(request)
        except asyncio.CancelledError:
            # The lease may have been written although nobody waits for it any more.
            self.spawn(self._give_back(job.id, tuple(each.offer.id for each in admit.candidates)))
            raise
        now_us = self._clock_us()
        match answer:
            case Leased():
                self._source.fold(answer.loads)
                return self._leased(job, answer, now_us)
            case Denied():
                self._source.fold(answer.loads)
                decision = self._dispatcher.on_denied(job.id, answer.loads, now_us)
                self._plan_tick()
                return decision
            case Limited():
                raise rate_limited(answer.limit, answer.retry_after_s, allowance_headers(answer.allowance))
            case _:
                assert_never(answer)

    def _leased(self, job: Job, answer: Leased, now_us: int) -> Placement:
        try:
            dispatch = self._dispatcher.on_leased(job.id, answer.offer_id, answer.loads, now_us)
        except (UnknownJob, UnknownCandidate) as error:  # the answer took so long that the dispatcher gave the job up
            self.spawn(self._give_back(job.id, (answer.offer_id,)))
            raise capacity_exceeded("The place came too late for this request.", None) from error
        self._running[job.id] = answer.offer_id
        return Placement(
            job=job,
            tier=dispatch.tier,
            candidate=dispatch.candidate,
            allowance=answer.allowance,
            placed_at_us=now_us,
            candidates=dispatch.candidates,
            overdue_us=dispatch.overdue_us,
            why=dispatch.why,
        )

    async def _wait(self, job: Job) -> Admit | Refuse:
        try:
            return await self._await_word(job.id)
        finally:
            self._waiting.pop(job.id, None)

    def _await_word(self, job_id: JobId) -> "asyncio.Future[Admit | Refuse]":
        """Where the dispatcher's word on a waiting job will come; it is kept until somebody awaits it."""
        future = self._waiting.get(job_id)
        if future is None:
            future = self._waiting[job_id] = asyncio.get_running_loop().create_future()
        return future

    def release(self, placement: Placement) -> None:
        """Ends a place; the next in line is woken. Returns at once."""
        if self._running.pop(placement.job.id, None) is not None:
            self.spawn(self._give_back(placement.job.id, (placement.offer.id,)))

    async def give_back(self, placement: Placement) -> None:
        """Ends a place, and returns when it is free; it becomes free even if nobody waits for it."""
        if self._running.pop(placement.job.id, None) is not None:
            await asyncio.shield(self.spawn(self._give_back(placement.job.id, (placement.offer.id,))))

    async def _give_back(self, lease_id: str, offer_ids: tuple[OfferId, ...]) -> None:
        for offer_id in offer_ids:
            if await self._leases.release(lease_id, offer_id):
                self._source.fold({offer_id: one_less(self._source.fleet.load(offer_id))})
        if self._waiting:
            self._source.fold(await self._leases.loads(offer_ids))
            if not self._is_waking:
                self._is_waking = True
                asyncio.get_running_loop().call_soon(self._look_for_room)

    def _look_for_room(self) -> None:
        """Places came free; all that did in this turn of the loop are looked at together."""
        self._is_waking = False
        self._wake(self._dispatcher.on_released(self._source.fleet, self._clock_us()))
        self._plan_tick()

    def started(self, placement: Placement) -> None:
        """Tells the lease store that the prompt is no longer pending. Returns at once."""
        self.spawn(self._leases.started(placement.job.id, placement.offer.id))

    def started_when_due(self, placement: Placement) -> asyncio.TimerHandle:
        """As :meth:`started`, when the first token is due; cancel it when the answer is over.

        No first token tells when the prompt of a whole answer was read, and it would else count as pending to the end.
        """
        after_s = placement.candidate.ttft_us / US_PER_S
        return asyncio.get_running_loop().call_later(after_s, self.started, placement)

    def _wake(self, decisions: tuple[Admit | Refuse, ...]) -> None:
        for decision in decisions:
            future = self._waiting.get(decision.job.id)
            if future is not None and not future.done():
                future.set_result(decision)

    def _plan_tick(self) -> None:
        """Sets the alarm for the moment at which the dispatcher wants to look again, if any."""
        now_us = self._clock_us()
        due_us = self._dispatcher.next_tick_us(now_us)
        if due_us is None or (self._alarm is not None and self._alarm_at_us <= due_us):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at_us = due_us
        self._alarm = asyncio.get_running_loop().call_later((due_us - now_us) / US_PER_S, self._tick)

    def _tick(self) -> None:
        """Time passed: some that wait may run now, some have become hopeless."""
        self._alarm = None
        self._wake(self._dispatcher.on_tick(self._source.fleet, self._clock_us()))
        self._plan_tick()

    async def beat(self) -> None:
        """Extends the leases of everything that runs here."""
        if self._running:
            await self._leases.beat(tuple(self._running.items()), self._lease_ttl_s)

    @property
    def in_flight(self) -> int:
        """Requests that run from here now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait here now."""
        return len(self._waiting)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Runs something that a request must not wait for, or must not end."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            get_logger("app.gateway").warning("aftermath.failed", error=repr(error))

    async def close(self) -> None:
        """Waits for what was spawned."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


def one_less(load: Load) -> Load:
    """What an offer's load is after one of its requests ended, as far as can be known without asking."""
    return replace(load, in_flight=load.in_flight - 1) if load.in_flight > 1 else IDLE


def refusal(refuse: Refuse) -> Exception:
    """What a customer is told when the dispatcher refuses."""
    retry_after_s = None if refuse.retry_after_us is None else refuse.retry_after_us / US_PER_S
    match refuse.reason:
        case RefusalReason.NO_OFFER:
            return no_provider(refuse.explanation, retry_after_s)
        case RefusalReason.CONTEXT_TOO_LONG:
            return invalid("messages", refuse.explanation, "context_length_exceeded")
        case RefusalReason.NO_CAPACITY | RefusalReason.PROMISE_OUT_OF_REACH | RefusalReason.QUEUE_FULL:
            return capacity_exceeded(refuse.explanation, retry_after_s)
        case _:
            assert_never(refuse.reason)


def allowance_headers(allowance: Allowance | None) -> dict[str, str]:
    """The six ``x-ratelimit-*`` headers; resets are written as durations such as ``6m0s``."""
    if allowance is None:
        return {}
    return {
        "x-ratelimit-limit-requests": str(allowance.limit_requests),
        "x-ratelimit-remaining-requests": str(allowance.remaining_requests),
        "x-ratelimit-reset-requests": duration(allowance.reset_requests_s),
        "x-ratelimit-limit-tokens": str(allowance.limit_tokens),
        "x-ratelimit-remaining-tokens": str(allowance.remaining_tokens),
        "x-ratelimit-reset-tokens": duration(allowance.reset_tokens_s),
    }


def duration(seconds: float) -> str:
    """A duration as rate-limit headers write it.

    >>> duration(0.0061), duration(1), duration(360.2)
    ('6ms', '1s', '6m0.2s')
    """
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    shown = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{shown}s" if minutes else f"{shown}s"
