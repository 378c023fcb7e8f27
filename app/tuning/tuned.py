"""What a tuned model is asked for as, and what follows from approving it: a name, an offer, a price; pure."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from app.fleet.roster import DeploymentSpec
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.slo import Slo, Tier
from pricing.usage import Rates
from scheduler.fleet import SpeedCurve

NAMESPACE: Final = "tuned-"
NAMESPACE_HEX: Final = 12
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ADAPTER_MAX: Final = 512
SOURCE_MAX: Final = 1000
PPM: Final = 1_000_000
FACTOR_MAX_PPM: Final = 100 * PPM
RPM_MAX: Final = 100_000_000
CONCURRENCY_MAX: Final = 1_000_000
_OFFER_SUFFIX_HEX: Final = 8


class TunedError(ValueError):
    """A tuned model that cannot be as asked for or approved; the message says which field and what to write."""


class Serving(StrEnum):
    """Where an adapter runs."""

    SHARED = "shared"
    DEDICATED = "dedicated"


class Stage(StrEnum):
    """What became of a request."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer asks for.

    Attributes:
        name: theirs; the public name is this in their own namespace.
        base_model: the public name of a model on sale.
        adapter: the engine's name of the adapter.
        source: where its weights come from, in their words.
        rpm, concurrency: how much of it they want to use.

    Raises:
        TunedError: a field that cannot be.
    """

    name: str
    base_model: str
    adapter: str
    source: str = ""
    serving: Serving = Serving.SHARED
    rpm: int = 600
    concurrency: int = 16

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise TunedError("name: 1 to 64 lower-case letters, digits or ._- such as support-bot")
        if not self.adapter or len(self.adapter) > ADAPTER_MAX or not self.adapter.isprintable():
            raise TunedError(f"adapter: 1 to {ADAPTER_MAX} printable letters, the engine's own name of it")
        if len(self.source) > SOURCE_MAX:
            raise TunedError(f"source: at most {SOURCE_MAX} letters")
        _within("rpm", self.rpm, RPM_MAX)
        _within("concurrency", self.concurrency, CONCURRENCY_MAX)


@dataclass(frozen=True, slots=True)
class Approval:
    """What an operator decides.

    Attributes:
        offers: deployments of the base that its engine is; the adapter is served there.
        rpm, concurrency: the cap; None grants what was asked for.
        slowdown_ppm: how many times longer a token takes than on the base alone, in parts per million.
        cost_ppm: what a token costs us, over the base's cost, in parts per million.
        price_ppm: its prices over the base's, in parts per million; None publishes none (they are derived elsewhere).
        base_url: of an engine of its own, where it is dedicated; empty serves it where the base runs.
        tiers: that it may be sold at; empty for all that its base is.
        version: of the request that they saw; None decides whatever it has become since.

    Raises:
        TunedError: a factor out of range, or no offer.
    """

    offers: tuple[str, ...]
    rpm: int | None = None
    concurrency: int | None = None
    slowdown_ppm: int = PPM
    cost_ppm: int = PPM
    price_ppm: int | None = None
    base_url: str = ""
    reason: str = ""
    version: int | None = None
    tiers: frozenset[Tier] = frozenset()

    def __post_init__(self) -> None:
        if not self.offers:
            raise TunedError("offers: name at least one deployment of the base that loads the adapter")
        for name, value in (("cost", self.cost_ppm), ("price", self.price_ppm)):
            if value is not None and not 0 <= value <= FACTOR_MAX_PPM:
                raise TunedError(f"{name}: a factor from 0 to {FACTOR_MAX_PPM // PPM}, got {value / PPM:g}")
        if not PPM <= self.slowdown_ppm <= FACTOR_MAX_PPM:
            raise TunedError(f"slowdown: a factor from 1 to {FACTOR_MAX_PPM // PPM}, got {self.slowdown_ppm / PPM:g}")
        if self.rpm is not None:
            _within("rpm", self.rpm, RPM_MAX)
        if self.concurrency is not None:
            _within("concurrency", self.concurrency, CONCURRENCY_MAX)


def namespace_of(customer_id: str) -> str:
    """Where a customer's own names live: nobody else's can collide with them, or tell that they exist.

    >>> namespace_of("cus_1")
    'tuned-2908905ede16'
    """
    return NAMESPACE + hashlib.sha256(customer_id.encode()).hexdigest()[:NAMESPACE_HEX]


def public_name(customer_id: str, name: str) -> str:
    """The name that a customer calls their tuned model by."""
    return f"{namespace_of(customer_id)}/{name}"


def is_namespaced(model: str) -> bool:
    """Whether a name is in some customer's own namespace."""
    return model.startswith(NAMESPACE) and "/" in model


def offer_for(base: DeploymentSpec, model: str, adapter: str, approval: Approval, concurrency: int) -> DeploymentSpec:
    """The deployment that serves an adapter where its base runs, or on an engine of its own.

    Args:
        base: a deployment of the base.
        model: the tuned model's public name.
        adapter: the engine's name of the adapter.
        approval: the operator's decision.
        concurrency: the most requests of it at once.
    """
    mark = hashlib.sha256(model.encode()).hexdigest()[:_OFFER_SUFFIX_HEX]
    label = f"{base.label}, with adapter" if base.label else ""
    return replace(
        base,
        deployment_id=f"{base.deployment_id[:100]}:{mark}",
        kind="tuned" if base.kind == "gpu_cluster" else base.kind,
        model=model,
        base_url=approval.base_url or base.base_url,
        backend_model=adapter,
        base_model=base.backend_model,
        speed=slower(base.speed, approval.slowdown_ppm),
        concurrency_max=min(base.concurrency_max, concurrency),
        cost=dearer(base.cost, approval.cost_ppm),
        label=label[:300],
    )


def slower(curve: SpeedCurve, ppm: int) -> SpeedCurve:
    """A load curve on which everything takes so many times as long."""
    factor = ppm / PPM
    return SpeedCurve(
        curve.concurrency,
        tuple(each * factor for each in curve.tpot_us),
        curve.ttft_base_us * factor,
        curve.prefill_tok_s / factor,
    )


def dearer(rates: Rates, ppm: int) -> Rates:
    """Rates times a factor, each rounded up to a whole pico-USD.

    >>> dearer(Rates(Rate(10), Rate(1), Rate(10), Rate(30)), 1_150_000).output
    35
    """
    scaled = [Rate(-(-rate * ppm // PPM)) for rate in rates.by_class().values()]
    return Rates(*scaled)


def cards_for(base: Iterable[RateCard], model: str, approval: Approval) -> list[RateCard]:
    """A tuned model's rate cards: its base's, at the tiers and factors that were agreed; slower promises keep later."""
    price_ppm = PPM if approval.price_ppm is None else approval.price_ppm
    return [
        replace(
            card,
            model=model,
            rung=replace(
                card.rung, rates=dearer(card.rung.rates, price_ppm), slo=later(card.rung.slo, approval.slowdown_ppm)
            ),
            cost=dearer(card.cost, approval.cost_ppm),
            explanation=f"{card.model}'s price × {price_ppm / PPM:g}, its cost × {approval.cost_ppm / PPM:g}",
        )
        for card in base
        if not approval.tiers or card.rung.tier in approval.tiers
    ]


def later(slo: Slo, ppm: int) -> Slo:
    """A promise of tokens that take so many times as long, rounded up to a whole µs; a window stays as it is.

    >>> later(Slo(500_001, 20_000), 1_150_000)
    Slo(ttft_us=575002, tpot_us=23000)
    """
    if slo.is_window:
        return slo
    return Slo(-(-slo.ttft_us * ppm // PPM), -(-slo.tpot_us * ppm // PPM))


def _within(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise TunedError(f"{name}: 1 to {most}, got {value}")
