"""One trace through both drivers, the simulator's heap and the gateway on asyncio, books the same entries.

The gateway's side is the production code from ``serve`` down, on a loop of virtual time: no socket, no thread, no wall
clock. Its provider makes each answer's tokens at the times at which the simulator's engine made them, and says so if
the gateway placed a request elsewhere or at another moment.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from app.fleet.health import Entry
from app.fleet.lease_store import InProcessLeaseStore
from app.gateway.driver import Driver
from app.gateway.head import Head
from app.gateway.market import Market as GatewayMarket
from app.gateway.meters import Meters
from app.gateway.serve import serve
from app.gateway.sse import Exchange
from app.identity.caller import Caller, Limits
from app.ledger.holds import Hold, HoldRequest, Settlement
from app.ledger.journal import Leg, draft_settlement
from app.settings import Settings
from app.simulation.engine import Simulator
from app.simulation.market import Market
from app.simulation.tally import Tally
from app.simulation.workload import Workload
from app.telemetry import Metrics
from pricing.slo import Tier
from pricing.usage import Usage
from providers.base import CompletionRequest, TokenChunk
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load, OfferId
from tests.app.simulation.small_market import MODEL, market, steps, supply, workload
from tests.laws.virtual_loop import VirtualClock, VirtualLoop

DURATION_NS = 8_000_000_000
MESSAGE = '[{"role":"user","content":"%s"}]'
WORDS = {Tier.PREMIUM: "priority", Tier.STANDARD: "default", Tier.BULK: "flex"}
NO_LIMITS = Limits(10**9, 10**12, 10**6)


@dataclass
class Answered:
    """What the simulator made of one request."""

    arrival: Any
    offer_id: str = ""
    dispatched_us: int = -1
    token_ns: list[int] = field(default_factory=list[int])
    is_whole: bool = False
    legs: tuple[Leg, ...] | None = None


class Watched:
    """A simulator that tells what becomes of each request."""

    def __init__(self, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[str, Answered] = {}
        self._simulator = simulator
        self._was: dict[str, Any] = {}
        for name in ("_understood", "_dispatch", "_first_token", "_finish"):
            self._was[name] = getattr(simulator, name)
            monkeypatch.setattr(simulator, name, getattr(self, name))
        settle = Tally.settle

        def settled(tally: Tally, done: Any, draft: Any) -> None:
            self.seen[done.job.id].legs = draft.legs
            settle(tally, done, draft)

        monkeypatch.setattr(Tally, "settle", settled)

    def _understood(self, arrival: Any, now_us: int) -> Any:
        request = self._was["_understood"](arrival, now_us)
        if request is not None:
            self.seen[request.job.id] = Answered(arrival)
        return request

    def _dispatch(self, command: Any, at_ns: int) -> None:
        known = self.seen[command.job_id]
        known.offer_id, known.dispatched_us = command.candidate.offer.id, at_ns // 1_000
        self._was["_dispatch"](command, at_ns)

    def _first_token(self, request: Any, unit: Any, first_ns: int) -> None:
        self.seen[request.job.id].token_ns = [first_ns]
        self._was["_first_token"](request, unit, first_ns)

    def _finish(self, done: Any, unit: Any, at_ns: int) -> None:
        known = self.seen[self._simulator._requests[done.key].job.id]
        known.token_ns, known.is_whole = done.token_ns.tolist(), True
        self._was["_finish"](done, unit, at_ns)


def simulated(over: Market, demand: Workload, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Answered]:
    """Every request of a run, by its id, and what was booked for those that ended in time."""
    simulator = Simulator(over, demand, seed)
    for learning in ("learn_ttft", "learn_tpot"):  # both sides keep their first forecasts
        monkeypatch.setattr(simulator._plant, learning, lambda *_: None)
    watched = Watched(simulator, monkeypatch)
    simulator.run(DURATION_NS)
    return watched.seen


class Source:
    """The fleet as the lease store has it this very moment; nothing is learned."""

    def __init__(self, over: Market, leases: InProcessLeaseStore, clock: VirtualClock) -> None:
        self._offers, self._leases, self._clock = over.by_model(), leases, clock
        self._ids = [each.offer.id for each in over.supplies]

    @property
    def fleet(self) -> Fleet:
        return Fleet(self._offers, self._leases._table.loads(self._ids, self._clock.us()))

    def fold(self, loads: Mapping[OfferId, Load]) -> None: ...

    def is_emulated(self, _offer_id: OfferId) -> bool:
        return True

    def enter(self, _offer_id: OfferId) -> Entry:
        return Entry.FREE

    def first_token(self, *_: Any, **__: Any) -> None: ...

    succeeded = paced = failed = first_token


class Replayer:
    """Makes the tokens of each request when the simulator's engine did."""

    def __init__(self, offer_id: str, seen: dict[str, Answered], clock: VirtualClock, loop: VirtualLoop) -> None:
        self._offer_id, self._seen, self._clock, self._loop = offer_id, seen, clock, loop

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        known = self._seen[request.id]
        assert (self._offer_id, self._clock.us()) == (known.offer_id, known.dispatched_us), request.id
        for count, at_ns in enumerate(known.token_ns, start=1):
            await self._loop.until(at_ns)
            yield TokenChunk(events=b"data: {}\n\n", content_bytes=4, content_events=1, tokens_through=count)
        if not known.is_whole:  # the simulation ended before this answer did
            await asyncio.Event().wait()
        tokens = len(known.token_ns)
        reason = "stop" if tokens == known.arrival.output_tokens else "length"
        usage = Usage(input=known.arrival.input_tokens, output=tokens)
        yield TokenChunk(events=b"", finish_reason=reason, usage=usage)


class Books:
    """A ledger that only remembers what it was asked to settle."""

    def __init__(self) -> None:
        self.settled: dict[str, Settlement] = {}

    async def hold(self, request: HoldRequest) -> Hold:
        return Hold(request.id, request.customer_id, request.amount)

    async def extend(self, _hold_id: str, _amount: int) -> bool:
        return True

    async def void(self, _hold_id: str, _reason: str) -> bool:
        return True

    async def settle(self, settlement: Settlement) -> None:
        self.settled[settlement.hold_id] = settlement


class Customer:
    """One request's end of the connection: sends its body, takes everything at once, stays to the end."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def receive(self) -> Any:
        body, self._body = self._body, None
        if body is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, _message: Any) -> None: ...


@dataclass
class Stubs:
    """The rooms of the gateway's market that a law about placing, metering and booking does not need for real."""

    over: Market
    customer_id: str = ""

    async def authenticate(self, header: str) -> Caller:
        return Caller(header, "key", "key", NO_LIMITS)

    def live(self, _now: Any) -> Any:
        return self.over.book

    def context_max(self, model: str) -> int:
        return self.over.context_max(model)


def served(
    over: Market, seen: dict[str, Answered], seed: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Settlement]:
    """The same requests through the gateway, each at its moment."""
    clock = VirtualClock()
    for module in ("serve", "relay", "conclude", "sse"):
        monkeypatch.setattr(f"app.gateway.{module}.now_us", clock.us, raising=False)
        monkeypatch.setattr(f"app.gateway.{module}.monotonic_ns", clock.ns, raising=False)
    loop = VirtualLoop(clock)
    leases, books, stubs = InProcessLeaseStore(clock.us), Books(), Stubs(over)
    source = Source(over, leases, clock)
    replayers = {each.offer.id: Replayer(each.offer.id, seen, clock, loop) for each in over.supplies}
    cast(Any, source).provider = replayers.__getitem__
    gateway = GatewayMarket(
        settings=Settings(lease_ttl_s=900.0),
        authenticator=cast(Any, stubs),
        shelf=cast(Any, stubs),
        supply=cast(Any, source),
        leases=leases,
        ledger=cast(Any, books),
        database=cast(Any, None),
        driver=Driver(Dispatcher(seed=seed), source, leases, clock.us, lease_ttl_s=900.0),
        quotes=cast(Any, None),
        idempotency=cast(Any, None),
        meters=Meters(Metrics()),
    )

    async def one(request_id: str, arrival: Any) -> None:
        await loop.until(arrival.at_ns)
        customer = Customer(body_of(arrival))
        head = Head(request_id, arrival.at_ns, arrival.at_ns // 1_000, arrival.customer_id, None, None, None)
        await serve(Exchange(customer.receive, customer.send, 60.0), head, gateway)

    async def all_of_them() -> None:
        asking = [asyncio.ensure_future(one(request_id, known.arrival)) for request_id, known in seen.items()]
        ending = [task for task, known in zip(asking, seen.values(), strict=True) if known.legs is not None]
        await asyncio.wait(ending)
        for task in ending:
            task.result()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(all_of_them())
    return books.settled


def body_of(arrival: Any) -> bytes:
    """A request whose messages have exactly as many bytes as the arrival's prompt."""
    messages = MESSAGE % ("x" * (arrival.prompt_bytes - len(MESSAGE % "")))
    rest = {"model": MODEL, "service_tier": WORDS[arrival.tier], "stream": True, "max_tokens": arrival.output_limit}
    return f'{{"messages":{messages},{json.dumps(rest)[1:]}'.encode()


@pytest.mark.parametrize(
    ("rps", "step_ms", "seed"),
    [
        (4.0, 10.0, 1),  # quiet: everything in time
        (40.0, 10.0, 2),  # busy: requests wait for places
        (40.0, 14.0, 3),  # slower than its curve says: tokens come late and are billed lower
    ],
)
def test_one_trace_books_the_same_entries_in_both(
    rps: float, step_ms: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = market(
        supply(steps(step_ms=step_ms), concurrency_max=12), supply(steps(), id=OfferId("q/d"), provider_id="q")
    )
    tiers = {Tier.PREMIUM: 0.3, Tier.STANDARD: 0.5, Tier.BULK: 0.2}
    seen = simulated(over, workload(rps, tiers), seed, monkeypatch)
    expected = {request_id: known.legs for request_id, known in seen.items() if known.legs is not None}
    settled = served(over, seen, seed, monkeypatch)
    booked = {
        request_id: draft_settlement(settlement, settlement.charge.net, is_late=False).legs
        for request_id, settlement in settled.items()
        if request_id in expected
    }
    assert len(expected) > 20
    assert booked == expected
