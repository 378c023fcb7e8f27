"""What the market tells Prometheus: one typed object, made once by the application and handed to whoever measures.

Each request is recorded once, when it is over, so that nothing here costs anything per token. Money is shown in USD as
a float; the ledger never reads it back.
"""

import os
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
NANO_PER_USD: Final = 1e9
_TTFT_BUCKETS_S = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_TPOT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
_E2E_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 900.0)
GaugeMode = Literal["livesum", "livemax"]
BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Finished:
    """One request that is over, for :meth:`Metrics.finished`.

    Attributes:
        provider: the provider's slug; empty when none was tried.
        status: the HTTP status that the customer saw; 499 when they hung up.
        ttft_s: until the first content; None when there was none.
        tpot_s: mean per output token after the first; None below two tokens.
        attained: every token was good at the tier served.
        revenue_nano: net charge, nano-USD.
        adjustment_nano: gross less net, nano-USD: what lateness cost us.
        cost_nano: what the tokens cost us, nano-USD.
    """

    tier: str
    model: str
    provider: str
    status: int
    e2e_s: float
    ttft_s: float | None = None
    tpot_s: float | None = None
    tokens_input: int = 0
    tokens_delivered: int = 0
    tokens_good: int = 0
    attained: bool = False
    revenue_nano: int = 0
    adjustment_nano: int = 0
    cost_nano: int = 0


class Metrics:
    """Every metric of one process, on a registry of its own.

    With ``PROMETHEUS_MULTIPROC_DIR`` set before start, :meth:`render` sums over the processes that share the directory.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests by outcome", "tier", "model", "provider", "status")
        self.attained = self._counter("requests_attained", "Requests whose every token was good", "tier", "model")
        self.refusals = self._counter("refusals", "Requests not taken, by error code", "code")
        self.failovers = self._counter("failovers", "Attempts repeated on another offer", "offer")
        self.retries_refused = self._counter("retries_refused", "Failed attempts that were not repeated", "code")
        self.hedges = self._counter("hedges", "Second attempts beside slow premium ones")
        self.hedges_won = self._counter("hedges_won", "Second attempts that brought the first content")
        self.hedge_cost = self._counter("hedge_cost_usd", "What cancelled attempts cost us")
        self.continuations = self._counter("continuations", "Answers that went on at another offer after a break")
        self.tokens_input = self._counter("tokens_input", "Prompt tokens of settled requests", "tier", "model")
        self.tokens_delivered = self._counter(
            "tokens_delivered", "Output tokens delivered", "tier", "model", "provider"
        )
        self.tokens_good = self._counter(
            "tokens_goodput", "Output tokens that met the deadline of the tier served", "tier", "model", "provider"
        )
        self.revenue = self._counter("revenue_usd", "Net charges settled", "tier", "model")
        self.adjustments = self._counter("slo_adjustments_usd", "Gross less net: billed less for lateness", "tier")
        self.cost = self._counter("cost_usd", "What delivered tokens cost us", "model", "provider")
        self.ttft = self._histogram("ttft_seconds", "Time to first token", _TTFT_BUCKETS_S, "tier", "model")
        self.tpot = self._histogram("tpot_seconds", "Mean time per output token", _TPOT_BUCKETS_S, "tier", "model")
        self.e2e = self._histogram("e2e_seconds", "First byte read to last byte sent", _E2E_BUCKETS_S, "tier", "model")
        self.inflight = self._gauge("inflight", "Requests in flight", "livesum", "tier")
        self.queue_depth = self._gauge("queue_depth", "Jobs that wait for room", "livesum")
        self.breaker = self._gauge("breaker_state", "0 closed, 1 half-open, 2 open", "livemax", "offer")
        self.ledger_imbalance = self._gauge("ledger_imbalance_nano_usd", "Sum of all accounts; must be 0", "livemax")
        self.ledger_queue = self._gauge("ledger_queue_depth", "Writes that wait for the group commit", "livesum")
        self.wallet_held = self._gauge("wallet_held_usd", "Sum of pending holds", "livemax")

    def began(self, tier: str) -> None:
        """A request of ``tier`` is in flight."""
        self.inflight.labels(tier).inc()

    def finished(self, done: Finished) -> None:
        """Records a request that :meth:`began`, whatever became of it."""
        self.inflight.labels(done.tier).dec()
        self.requests.labels(done.tier, done.model, done.provider, str(done.status)).inc()
        self.e2e.labels(done.tier, done.model).observe(done.e2e_s)
        if done.ttft_s is not None:
            self.ttft.labels(done.tier, done.model).observe(done.ttft_s)
        if done.tpot_s is not None:
            self.tpot.labels(done.tier, done.model).observe(done.tpot_s)
        if done.tokens_delivered:
            self._count_tokens(done)
        self.revenue.labels(done.tier, done.model).inc(done.revenue_nano / NANO_PER_USD)
        self.adjustments.labels(done.tier).inc(done.adjustment_nano / NANO_PER_USD)
        self.cost.labels(done.model, done.provider).inc(done.cost_nano / NANO_PER_USD)

    def refused(self, code: str) -> None:
        """A request was not taken; ``code`` is the error's."""
        self.refusals.labels(code).inc()

    def render(self) -> bytes:
        """The exposition that ``/metrics`` answers with, of :data:`CONTENT_TYPE`."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)
        return generate_latest(shared)

    def _count_tokens(self, done: Finished) -> None:
        self.tokens_input.labels(done.tier, done.model).inc(done.tokens_input)
        self.tokens_delivered.labels(done.tier, done.model, done.provider).inc(done.tokens_delivered)
        self.tokens_good.labels(done.tier, done.model, done.provider).inc(done.tokens_good)
        if done.attained:
            self.attained.labels(done.tier, done.model).inc()

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, mode: GaugeMode, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", about, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", about, labels, registry=self.registry, buckets=buckets)


_PREFIX: Final = "goodput"
