"""A market of fakes around the real gateway, that can be halted where a test says: at any await of a request."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from app import clock
from app.errors import MarketError
from app.fleet.health import Entry
from app.fleet.leases import Allowance, Denied, Leased, LeaseRequest, Quotas
from app.gateway.driver import Driver
from app.gateway.head import Head
from app.gateway.market import Market
from app.gateway.meters import Meters
from app.gateway.quotes import QuoteSigner
from app.gateway.serve import serve
from app.gateway.sse import Exchange
from app.identity.caller import Caller, Limits
from app.ledger.holds import HoldRequest, Settlement
from app.settings import Settings
from app.telemetry import Metrics
from pricing.money import Rate
from pricing.pricebook import PriceBook, RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates, Usage
from providers.base import CompletionRequest, TokenChunk
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load, Offer, OfferId, SpeedCurve
from scheduler.jobs import Capability
from scheduler.policy import DEFAULT_POLICY, Policy

OPENED = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
CALLER = Caller("cus_1", "key_1", "test", Limits(100, 1_000_000, 10))
ALLOWANCE = Allowance(100, 99, 0.6, 1_000, 900, 6.0)
RATES = Rates(*(Rate(1_000_000),) * 4)
DEAR = Rates(*(Rate(2_000_000),) * 4)
CHEAP = Rates(*(Rate(1_000),) * 4)
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2_000}


def book() -> PriceBook:
    """Premium, standard and bulk of ``m`` at 2, 1 and 0.001 USD per million tokens; ``n`` is half as dear as ``m``."""
    rungs = {
        "m": (
            Rung(Tier.PREMIUM, Slo(2_000_000, 100_000), DEAR),
            Rung(Tier.STANDARD, Slo(60_000_000, 1_000_000), RATES),
            Rung(Tier.BULK, Slo(900_000_000, 0), CHEAP),
        ),
        "n": (Rung(Tier.STANDARD, Slo(60_000_000, 1_000_000), Rates(*(Rate(500_000),) * 4)),),
    }
    return price_book(
        OPENED, [RateCard(model, rung, "d", 100.0, CHEAP, 8) for model, each in rungs.items() for rung in each]
    )


def offer(name: str, concurrency_max: int = 1, model: str = "m", **changes: Any) -> Offer:
    curve = SpeedCurve((1, 4), (10_000.0, 20_000.0), 50_000.0, 10_000.0)
    plain = Offer(
        OfferId(f"{name}/d"), name, "d", model, curve, concurrency_max, 8_192, CHEAP, capabilities=frozenset(Capability)
    )
    return replace(plain, **changes)


def said(index: int, text: str = "tok ") -> TokenChunk:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    data = json.dumps({"id": "b-1", "model": "b", "choices": [choice]}).encode()
    return TokenChunk(b"data: " + data + b"\n\n", "b-1", "b", len(text), 1, tokens_through=index + 1)


def ended(tokens: int, *, usage: Usage | None = None) -> TokenChunk:
    data = b'data: {"id": "b-1", "model": "b", "choices": [{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    return TokenChunk(data, "b-1", "b", finish_reason="stop", usage=usage or Usage(input=10, output=tokens))


def whole(tokens: int) -> TokenChunk:
    message = {"role": "assistant", "content": "tok " * tokens}
    body = json.dumps({"id": "b-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    return TokenChunk(body, "b-1", "b", 4 * tokens, 1, tokens, 0, "stop", Usage(input=10, output=tokens))


class Points:
    """Named places in a request's way; one may be armed, and whoever comes there halts."""

    def __init__(self) -> None:
        self.armed = ""
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def at(self, point: str) -> None:
        if point == self.armed:
            self.reached.set()
            await self.open.wait()


@dataclass
class Books:
    """A ledger that carries out whatever it was asked, whether or not anybody waits for it."""

    points: Points
    pending: dict[str, int] = field(default_factory=dict[str, int])
    settled: list[Settlement] = field(default_factory=list[Settlement])
    voided: list[str] = field(default_factory=list[str])
    extended: int = 0
    covers_more: bool = True
    refuses: dict[str, MarketError] = field(default_factory=dict[str, MarketError])

    def _may(self, what: str) -> None:
        if error := self.refuses.get(what):
            raise error

    async def hold(self, request: HoldRequest) -> None:
        self._may("hold")
        self.pending[request.id] = request.amount
        await self.points.at("hold")

    async def extend(self, hold_id: str, amount: int) -> bool:
        self._may("extend")
        if self.covers_more:
            self.pending[hold_id] += amount
            self.extended += amount
        await self.points.at("extend")
        return self.covers_more

    async def settle(self, settlement: Settlement) -> None:
        self._may("settle")
        del self.pending[settlement.hold_id]
        self.settled.append(settlement)
        await self.points.at("settle")

    async def void(self, hold_id: str, reason: str) -> bool:
        assert reason
        self.voided.append(hold_id)
        return self.pending.pop(hold_id, None) is not None


@dataclass
class Leases:
    """One slot per offer."""

    points: Points
    live: dict[str, OfferId] = field(default_factory=dict[str, OfferId])
    prefilled: list[str] = field(default_factory=list[str])

    async def admit(self, request: LeaseRequest) -> Leased | Denied:
        for candidate in request.candidates:
            if candidate.offer_id not in self.live.values():
                self.live[request.lease_id] = candidate.offer_id
                await self.points.at("lease")
                return Leased(candidate.offer_id, {candidate.offer_id: Load(1, 4, 10)}, ALLOWANCE)
        return Denied({each.offer_id: Load(1, 4, 0) for each in request.candidates}, ALLOWANCE)

    async def started(self, lease_id: str, offer_id: OfferId) -> None:
        assert self.live[lease_id] == offer_id
        self.prefilled.append(lease_id)

    async def release(self, lease_id: str, offer_id: OfferId) -> bool:
        await self.points.at("release")
        return self.live.pop(lease_id, None) == offer_id

    async def beat(self, leases: Sequence[tuple[str, OfferId]], ttl_s: float) -> None:
        assert leases
        assert ttl_s

    async def loads(self, offer_ids: Sequence[OfferId]) -> Mapping[OfferId, Load]:
        return {each: Load(list(self.live.values()).count(each)) for each in offer_ids}

    def limit(self, quotas: Quotas) -> None:
        assert not quotas

    async def close(self) -> None: ...


@dataclass
class Backends:
    """The fleet, and scripts of what each offer's backend sends: chunks, errors to raise, points to halt at, seconds to
    wait."""

    points: Points
    fleet: Fleet
    scripts: dict[str, list[TokenChunk | Exception | str | float]] = field(
        default_factory=dict[str, list[TokenChunk | Exception | str | float]]
    )
    asked: list[CompletionRequest] = field(default_factory=list[CompletionRequest])
    told: list[str] = field(default_factory=list[str])
    closed: int = 0
    entries: dict[OfferId, Entry] = field(default_factory=dict[OfferId, Entry])

    def fold(self, loads: Mapping[OfferId, Load]) -> None:
        self.fleet = replace(self.fleet, loads={**self.fleet.loads, **loads})

    def provider(self, offer_id: OfferId) -> "Backend":
        return Backend(self, self.scripts[offer_id])

    def is_emulated(self, offer_id: OfferId) -> bool:
        return offer_id not in self.scripts

    def enter(self, offer_id: OfferId) -> Entry:
        return self.entries.get(offer_id, Entry.FREE)

    def left(self, offer_id: OfferId) -> None:
        self.told.append(f"{offer_id} left")

    def first_token(self, *seen: Any) -> None:
        assert seen[-1] >= 1

    def paced(self, offer_id: OfferId, *_: object, **__: object) -> None:
        self.told.append(f"{offer_id} paced")

    def succeeded(self, offer_id: OfferId, *_: object, **__: object) -> None:
        self.told.append(f"{offer_id} succeeded")

    def failed(self, offer_id: OfferId, _error: Exception) -> None:
        self.told.append(f"{offer_id} failed")


@dataclass
class Backend:
    backends: Backends
    script: list[TokenChunk | Exception | str | float]

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        self.backends.asked.append(request)
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, str):
                    await self.backends.points.at(step)
                elif isinstance(step, int | float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.backends.closed += 1


class Shelf:
    """One book and one model."""

    book = book()

    def live(self, _now: datetime) -> PriceBook:
        return self.book

    async def find(self, book_id: str) -> PriceBook | None:
        return self.book if book_id == self.book.id else None

    def context_max(self, model: str) -> int | None:
        return 8_192 if model in {"m", "n"} else None


@dataclass
class Keys:
    """Idempotency keys that remember who claimed and who gave back."""

    points: Points
    claimed: list[str] = field(default_factory=list[str])
    dropped: list[str] = field(default_factory=list[str])

    async def claim(self, claim: Any, body: bytes, _now_us: int) -> None:
        assert body
        self.claimed.append(claim.request_id)
        await self.points.at("claim")

    async def drop(self, claim: Any) -> None:
        self.dropped.append(claim.request_id)


class Authenticator:
    caller = CALLER

    async def authenticate(self, _authorization: str | None) -> Caller:
        return self.caller


class Customer:
    """The other end of the connection: sends a body, takes bytes or refuses them, may leave."""

    def __init__(self, points: Points, body: bytes) -> None:
        self.points = points
        self.body: bytes | None = body
        self.left = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> Any:
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.points.at("start" if message["type"].endswith("start") else "write")
        if not self.left.is_set():
            self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"] if self.sent else 0

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


def by_model(offers: Sequence[Offer]) -> dict[str, tuple[Offer, ...]]:
    models = dict.fromkeys(each.model for each in offers)
    return {model: tuple(each for each in offers if each.model == model) for model in models}


class Rooms:
    """A market and its fakes."""

    def __init__(self, *offers: Offer, policy: Policy = DEFAULT_POLICY) -> None:
        self.points = Points()
        offered = offers or (offer("p"),)
        self.ledger = Books(self.points)
        self.leases = Leases(self.points)
        self.backends = Backends(self.points, Fleet(offers=by_model(offered)))
        self.keys = Keys(self.points)
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(policy)
        self.driver = Driver(self.dispatcher, self.backends, self.leases, clock.now_us, lease_ttl_s=15.0)
        self.market = Market(
            settings=Settings(stream_inside="all", explain_share=1.0),
            authenticator=cast("Any", Authenticator()),
            shelf=cast("Any", Shelf()),
            supply=cast("Any", self.backends),
            leases=self.leases,
            ledger=cast("Any", self.ledger),
            database=cast("Any", None),
            driver=self.driver,
            quotes=QuoteSigner(b"secret"),
            idempotency=cast("Any", self.keys),
            meters=Meters(self.metrics),
        )
        self.customer = Customer(self.points, b"")
        for each in offered:
            self.backends.scripts[each.id] = [said(0), said(1), ended(2)]

    def begin(
        self, request_id: str = "gen_1", key: str | None = None, quote_id: str | None = None, **fields: Any
    ) -> "asyncio.Task[None]":
        """Sends a request; its task."""
        self.customer = Customer(self.points, json.dumps({**BODY, **fields}).encode())
        exchange = Exchange(self.customer.receive, self.customer.send, 60.0)
        head = Head(request_id, clock.monotonic_ns(), clock.now_us(), "Bearer x", None, quote_id, key)
        return asyncio.ensure_future(serve(exchange, head, self.market))

    async def ask(self, **fields: Any) -> Customer:
        await asyncio.wait_for(self.begin(**fields), 5)
        await self.driver.close()
        return self.customer

    def in_one_body(self, tokens: int = 2) -> None:
        """The backend does not stream: its answer comes whole."""
        self.market.settings = Settings(stream_inside="none")
        self.backends.scripts[OfferId("p/d")] = [whole(tokens)]

    async def occupy(self, name: str = "other") -> None:
        """Takes the only place, so that whoever comes has to wait."""
        self.leases.live[name] = OfferId("p/d")
        self.backends.fold({OfferId("p/d"): Load(1, 4, 0)})

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Returns when something has become true, within five seconds."""
        async with asyncio.timeout(5):
            while not is_so():  # noqa: ASYNC110 (what is waited for has no event)
                await asyncio.sleep(0.002)

    @property
    def settled(self) -> Settlement:
        """The one settlement there is."""
        [found] = self.ledger.settled
        return found

    @property
    def row(self) -> dict[str, Any]:
        """Its usage row."""
        return dict(self.settled.rows[0].values)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def check_nothing_is_left(self) -> None:
        await self.driver.close()
        assert self.ledger.pending == {}
        assert self.market.holds == set()
        assert (self.driver.in_flight, self.driver.waiting) == (0, 0)
        assert (self.dispatcher.admitted, self.dispatcher.waiting) == (0, 0)
        assert "gen_1" not in self.leases.live
        assert self.metric("goodput_inflight", tier="standard") == 0
