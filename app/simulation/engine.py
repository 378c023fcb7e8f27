"""The market on a virtual clock: a heap of events, and the production cores that decide, price, grade and book.

Events are ordered by ``(at_ns, kind, seq)``: at one moment requests arrive first, then engines make tokens, then the
dispatcher looks at who waits. Nothing here reads a clock. The dispatcher sees what it sees in production: a prompt's
bytes and a predicted length, never how long an answer will be.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, assert_never

import numpy as np

from app.fleet.leases import Denied, Leased
from app.gateway.lengths import Lengths
from app.ledger.holds import LateCause, Settlement
from app.ledger.journal import draft_settlement
from app.metering.meter import late_cause, token_cost, within
from app.simulation.conditions import AS_IN_PRODUCTION, Conditions
from app.simulation.market import Market
from app.simulation.plant import NS_PER_US, Plant, Unit
from app.simulation.router import Router
from app.simulation.tally import Micros, Settled, Tally
from app.simulation.workload import Arrival, Workload, arrivals
from pricing.goodput import Grade, Timeline, grade_tokens
from pricing.pricebook import PriceBook
from pricing.rating import Ending, Quote, quote, rate
from pricing.slo import Ladder, Tier
from pricing.usage import Usage
from providers.engine_model.engine import HORIZON_NS_MAX, Finished
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import OfferId
from scheduler.jobs import Job, JobId
from scheduler.placement import Admit, Candidate, Dispatch, RefusalReason, Refuse, Wait

PROGRESS_EVENTS: Final = 2_048


class _Kind(IntEnum):
    ARRIVAL = 0
    ENGINE = 1
    TICK = 2


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a simulation.

    Attributes:
        duration_ns: virtual time simulated.
        in_flight: requests that ran when it ended.
        waiting: requests that waited when it ended.
    """

    market: Market
    workload: Workload
    seed: int
    duration_ns: int
    tally: Tally
    units: dict[OfferId, Unit]
    in_flight: int
    waiting: int


@dataclass(slots=True)
class _Request:
    """A request on its way."""

    arrival: Arrival
    job: Job
    quote: Quote
    ladder: Ladder
    unit: Unit | None = None
    candidate: Candidate | None = None
    dispatched_us: int = 0
    first_us: int = 0
    tokens_then: float = 0.0


class Simulator:
    """One scenario with one seed.

    Args:
        market: what is sold, and who makes it.
        workload: what is asked for.
        seed: of all that is drawn.
        router: who decides; None takes the production dispatcher.
        conditions: what differs from production.
    """

    def __init__(
        self,
        market: Market,
        workload: Workload,
        seed: int,
        router: Router | None = None,
        conditions: Conditions = AS_IN_PRODUCTION,
    ) -> None:
        self._market = market
        self._workload = workload
        self._seed = seed
        self._plant = Plant(market, conditions)
        self._dispatcher: Router = Dispatcher(seed=seed) if router is None else router
        self._lengths = Lengths()
        self._tally = Tally()
        self._requests: dict[int, _Request] = {}
        self._numbers: dict[JobId, int] = {}
        self._ladders = _ladders(market.book)
        self._context_max = {model: market.context_max(model) for model in market.models}
        self._heap: list[tuple[int, _Kind, int, OfferId | None]] = []
        self._engine_at_ns: dict[OfferId, int] = {}
        self._tick_at_us: int | None = None
        self._sequence = 0
        self._demand_ns = 0

    def run(
        self, duration_ns: int, on_progress: Callable[[int], None] | None = None, demand_ns: int | None = None
    ) -> Run:
        """Simulates ``duration_ns`` of virtual time.

        Args:
            duration_ns: above 0; what is under way at its end is told as in flight.
            on_progress: called now and then with the virtual time reached, in ns.
            demand_ns: nobody asks for anything from then on, so that what was begun may end; None: always.

        Raises:
            ValueError: a duration that is not above 0 or beyond what engines can count.
        """
        if not 0 < duration_ns <= HORIZON_NS_MAX:
            raise ValueError(f"duration_ns must be 1 to {HORIZON_NS_MAX}, got {duration_ns}")
        demand = arrivals(self._workload, self._market.book, self._market.models, self._seed)
        self._demand_ns = duration_ns if demand_ns is None else demand_ns
        coming = self._next(demand)
        events = 0
        while self._heap and self._heap[0][0] < duration_ns:
            at_ns, kind, _, offer_id = heapq.heappop(self._heap)
            if kind is _Kind.ARRIVAL:
                coming = self._arrive(coming, demand)
            elif kind is _Kind.TICK:
                self._tick(at_ns)
            elif offer_id is not None and self._engine_at_ns.get(offer_id) == at_ns:
                self._turn_engine(offer_id, at_ns)
            events += 1
            if on_progress is not None and events % PROGRESS_EVENTS == 0:
                on_progress(at_ns)
        return self._ended(duration_ns)

    def _ended(self, duration_ns: int) -> Run:
        running = 0
        for unit in self._plant.units.values():
            unit.change(0, duration_ns // NS_PER_US)
            running += unit.in_flight
        return Run(
            market=self._market,
            workload=self._workload,
            seed=self._seed,
            duration_ns=duration_ns,
            tally=self._tally,
            units=self._plant.units,
            in_flight=running,
            waiting=len(self._requests) - running,
        )

    def _push(self, at_ns: int, kind: _Kind, offer_id: OfferId | None) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at_ns, kind, self._sequence, offer_id))

    def _arrive(self, arrival: Arrival, demand: Iterator[Arrival]) -> Arrival:
        self._tally.offered[arrival.tier] += 1
        now_us = arrival.at_ns // NS_PER_US
        request = self._understood(arrival, now_us)
        if request is not None:
            number = self._sequence
            self._requests[number] = request
            self._numbers[request.job.id] = number
            decision = self._dispatcher.on_arrival(request.job, self._plant.see(now_us), now_us)
            self._tally.waited += isinstance(decision, Wait)
            self._carry_out(decision, arrival.at_ns)
            self._plan_tick(arrival.at_ns)
        return self._next(demand)

    def _next(self, demand: Iterator[Arrival]) -> Arrival:
        coming = next(demand)
        if coming.at_ns < self._demand_ns:
            self._push(coming.at_ns, _Kind.ARRIVAL, None)
        return coming

    def _understood(self, arrival: Arrival, now_us: int) -> _Request | None:
        """Bounds and prices a request as the gateway does; None when its prompt leaves no room for an answer."""
        lengths, model = self._lengths, arrival.model
        ladder = self._ladders.get((model, arrival.tier))
        context_max = self._context_max[model]
        predicted = lengths.input_predicted(model, arrival.prompt_bytes, 1)
        room = context_max - max(predicted, arrival.input_tokens)
        if ladder is None or room < 1:
            self._tally.refused[arrival.tier, RefusalReason.CONTEXT_TOO_LONG.value] += 1
            return None
        bound = min(lengths.input_bound(model, arrival.prompt_bytes, 1), context_max)
        output_max = min(arrival.output_limit, room)
        job = Job(
            id=JobId(f"gen-{self._sequence:032x}"),
            customer_id=arrival.customer_id,
            model=model,
            tier=arrival.tier,
            ladder=ladder,
            requested_at_us=now_us,
            input_tokens=predicted,
            output_tokens=lengths.output_predicted(arrival.customer_id, model, output_max),
            output_tokens_max=output_max,
        )
        quoted = quote(ladder, bound, output_max)
        self._tally.quoted += quoted.ceiling
        return _Request(arrival, job, quoted, ladder)

    def _carry_out(self, decision: Admit | Wait | Refuse, at_ns: int) -> None:
        """Leases what was admitted, until it runs, waits or is refused."""
        now_us = at_ns // NS_PER_US
        while isinstance(decision, Admit):
            answer = self._plant.lease(decision, now_us)
            job_id = decision.job.id
            match answer:
                case Leased():
                    dispatch = self._dispatcher.on_leased(job_id, answer.offer_id, answer.loads, now_us)
                    self._dispatch(dispatch, at_ns)
                    return
                case Denied():
                    decision = self._dispatcher.on_denied(job_id, answer.loads, now_us)
                case _:
                    assert_never(answer)
        if isinstance(decision, Refuse):
            self._tally.refuse(decision)
            del self._requests[self._numbers.pop(decision.job.id)]

    def _dispatch(self, dispatch: Dispatch, at_ns: int) -> None:
        number = self._numbers[dispatch.job_id]
        request = self._requests[number]
        request.candidate = dispatch.candidate
        request.dispatched_us = at_ns // NS_PER_US
        if dispatch.tier is not request.ladder.served.tier:
            request.ladder = self._ladders[request.job.model, dispatch.tier]
        request.unit = unit = self._plant.units[dispatch.candidate.offer.id]
        self._tally.dispatched[dispatch.tier] += 1
        arrival = request.arrival
        output_tokens = min(arrival.output_tokens, request.job.output_tokens_max)
        unit.engine.submit(number, arrival.input_tokens, output_tokens, at_ns)
        self._plan_engine(unit)

    def _plan_engine(self, unit: Unit) -> None:
        at_ns = unit.engine.next_event()
        offer_id = unit.supply.offer.id
        if at_ns is not None and self._engine_at_ns.get(offer_id) != at_ns:
            self._engine_at_ns[offer_id] = at_ns
            self._push(at_ns, _Kind.ENGINE, offer_id)

    def _turn_engine(self, offer_id: OfferId, at_ns: int) -> None:
        del self._engine_at_ns[offer_id]
        unit = self._plant.units[offer_id]
        finished = unit.engine.advance(at_ns)
        for number, first_ns in unit.engine.take_started():
            self._first_token(self._requests[number], unit, first_ns)
        for done in finished:
            self._finish(done, unit, at_ns)
        if finished and self._dispatcher.waiting:
            now_us = at_ns // NS_PER_US
            for admit in self._dispatcher.on_released(self._plant.see(now_us), now_us):
                self._carry_out(admit, at_ns)
            self._plan_tick(at_ns)
        self._plan_engine(unit)

    def _first_token(self, request: _Request, unit: Unit, first_ns: int) -> None:
        now_us = first_ns // NS_PER_US
        offer_id = unit.supply.offer.id
        self._plant.first_token(request.job.id, offer_id, now_us)
        request.first_us = now_us
        request.tokens_then = unit.experienced.tokens_at(now_us)
        if request.candidate is not None:
            observed_us = now_us - request.dispatched_us
            self._plant.learn_ttft(offer_id, request.candidate.ttft_us, observed_us, request.ladder.served.tier)

    def _finish(self, done: Finished, unit: Unit, at_ns: int) -> None:
        request = self._requests.pop(done.key)
        job, offer, now_us = request.job, unit.supply.offer, at_ns // NS_PER_US
        del self._numbers[job.id]
        tokens = len(done.token_ns)
        if tokens > 1:
            predicted_us = unit.experienced.tpot_us_since(request.first_us, request.tokens_then, now_us)
            observed_us = (now_us - request.first_us) / (tokens - 1)
            if predicted_us is not None:
                self._plant.learn_tpot(offer.id, predicted_us, observed_us, request.ladder.served.tier)
        self._plant.release(job.id, offer.id, now_us)
        arrival = request.arrival
        self._lengths.observe(job.customer_id, job.model, arrival.prompt_bytes, arrival.input_tokens, tokens)
        self._settle(request, done, unit)

    def _settle(self, request: _Request, done: Finished, unit: Unit) -> None:
        """Grades, rates and books one answer with the production code."""
        arrival, ladder, offer = request.arrival, request.ladder, unit.supply.offer
        at_us = (done.token_ns + (NS_PER_US - 1 - arrival.at_ns)) // NS_PER_US  # rounded up, as Delivery does
        tokens = len(at_us)
        if not arrival.is_streamed:
            at_us = np.full(tokens, at_us[-1])
        graded = grade_tokens(at_us, _nothing_excused(tokens), ladder, streamed=arrival.is_streamed)
        used = Usage(input=arrival.input_tokens, output=tokens)
        billed = within(used, request.quote.input_bound, tokens)
        ending = Ending.STOP if tokens == arrival.output_tokens else Ending.LENGTH
        charge = rate(ladder, billed, graded, ending)
        cost = token_cost(offer.cost, used)
        first_us, last_us = int(at_us[0]), int(at_us[-1])
        settlement = Settlement(
            hold_id=request.job.id,
            customer_id=arrival.customer_id,
            price_book_id=self._market.book.id,
            model=arrival.model,
            charge=charge,
            cost=cost,
            provider_id=offer.provider_id,
            is_owned=offer.is_owned,
            late_cause=_cause(request, at_us, graded),
            booked_at_us=request.job.requested_at_us + last_us,
        )
        draft = draft_settlement(settlement, min(charge.net, request.quote.ceiling), is_late=False)
        settled = Settled(
            job=request.job,
            tier=ladder.served.tier,
            offer_id=offer.id,
            is_owned=offer.is_owned,
            usage=billed,
            charge=charge,
            cost=cost,
            tokens_good=graded.tokens_good,
            attained=graded.attained,
            ended_us=last_us,
            ttft_us=first_us if arrival.is_streamed else None,
            tpot_us=-(-(last_us - first_us) // (tokens - 1)) if tokens > 1 and arrival.is_streamed else None,
        )
        self._tally.settle(settled, draft)

    def _plan_tick(self, at_ns: int) -> None:
        due_us = self._dispatcher.next_tick_us(at_ns // NS_PER_US)
        if due_us is not None and (self._tick_at_us is None or due_us < self._tick_at_us):
            self._tick_at_us = due_us
            self._push(max(at_ns, due_us * NS_PER_US), _Kind.TICK, None)

    def _tick(self, at_ns: int) -> None:
        now_us = at_ns // NS_PER_US
        if now_us != self._tick_at_us:
            return
        self._tick_at_us = None
        for decision in self._dispatcher.on_tick(self._plant.see(now_us), now_us):
            self._carry_out(decision, at_ns)
        self._plan_tick(at_ns)


def _ladders(book: PriceBook) -> dict[tuple[str, Tier], Ladder]:
    found = {(model, tier): book.ladder(model, tier) for model, tier in book.cards}
    return {key: ladder for key, ladder in found.items() if ladder is not None}


_UNEXCUSED: Final = np.zeros(8_192, dtype=np.int64)


def _nothing_excused(tokens: int) -> Micros:
    """Simulated customers read at once; no time is theirs."""
    return _UNEXCUSED[:tokens] if tokens <= len(_UNEXCUSED) else np.zeros(tokens, dtype=np.int64)


def _cause(request: _Request, at_us: Micros, graded: Grade) -> LateCause:
    if graded.attained:
        return LateCause.NONE
    tokens = len(at_us)
    timeline = Timeline(
        tuple(at_us.tolist()), tuple(range(1, tokens + 1)), (0,) * tokens, streamed=request.arrival.is_streamed
    )
    return late_cause(timeline, graded, request.ladder, request.dispatched_us - request.job.requested_at_us)
