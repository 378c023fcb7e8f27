"""A tuned model's adder from what an operator knows of its adapter, against the base that carries it; pure.

Either way of stating it ends in the same :class:`~pricing.assumptions.Adder`: figures as they were measured
(``slowdown``, ``usd_per_mtok``), or the adapter itself, from which :mod:`pricing.adders` works them out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from app.planning.priced import PricedModelError, Serving
from app.tuning.tuned import PPM, Approval
from pricing.adders import Adapter, SharedBase, dedicated, shared
from pricing.assumptions import Adder
from pricing.costs import TokenCosts
from pricing.derive import Derivation
from pricing.money import PICO_PER_TOKEN_PER_USD_PER_MTOK
from pricing.slo import Tier
from pricing.usage import Rates

BYTES_PER_GB: Final = 1e9
STATED: Final = ("slowdown", "usd_per_mtok")
SHARED: Final = ("rank", "widths", "adapters", "tok_per_hour", "weight_gb")
SHARED_MORE: Final = ("storage_usd_per_hour", "swaps_per_hour", "swap_s")
DEDICATED: Final = ("demand_tok_s",)
FIGURES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The base that carries an adapter, at its standard operating point.

    Attributes:
        capacity_tok_s: input and output tokens per second of one replica.
        concurrency: requests in a batch.
        utilisation: of the market's deployments.
    """

    capacity_tok_s: float
    concurrency: int
    usd_per_hour: float
    n_gpus: int
    utilisation: float


def base_model(found: Derivation, utilisation: float) -> BaseModel:
    """The base as it was derived.

    Raises:
        PricedModelError: it is bought by the token, so that no deployment of it carries an adapter.
    """
    price = found.tiers.get(Tier.STANDARD) or next(iter(found.tiers.values()))
    chosen = price.point.chosen
    if chosen.cost is None:
        raise PricedModelError(f"{found.model} is bought by the token: no deployment of it can carry an adapter")
    return BaseModel(
        capacity_tok_s=chosen.point.total_tok_s,
        concurrency=chosen.point.concurrency,
        usd_per_hour=chosen.cost.usd_per_hour,
        n_gpus=chosen.profile.configuration.n_gpus,
        utilisation=utilisation,
    )


def figures(text: str) -> dict[str, float]:
    """``rank=16,widths=1e6`` as numbers by name.

    Raises:
        PricedModelError: a part that is no such pair, or a name twice.

    >>> figures("slowdown=1.15, usd_per_mtok=0.01")
    {'slowdown': 1.15, 'usd_per_mtok': 0.01}
    """
    found: dict[str, float] = {}
    for part in text.split(",")[: FIGURES_MAX + 1]:
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise PricedModelError(f"{part.strip()!r}: expected NAME=NUMBER, such as slowdown=1.15") from error
        if name.strip() in found or len(found) == FIGURES_MAX:
            raise PricedModelError(f"{name.strip()!r} is named twice, or more than {FIGURES_MAX} figures are given")
        found[name.strip()] = number
    return found


def adder_of(serving: Serving, given: Mapping[str, float], base: BaseModel, tiers: frozenset[Tier]) -> Adder:
    """What a tuned model adds to its base.

    Args:
        serving: shared or dedicated.
        given: figures by name; :data:`STATED` ones go with either, and win over what is worked out.
        base: that carries it.
        tiers: that it is sold at.

    Raises:
        PricedModelError: a figure that is unknown or missing.
        AssumptionError: a figure that cannot be.
    """
    described = {name: value for name, value in given.items() if name not in STATED}
    made = _worked_out(serving, described, base)
    extra = given.get("usd_per_mtok")
    return replace(
        made,
        slowdown=given.get("slowdown", made.slowdown),
        usd_per_mtok=made.usd_per_mtok if extra is None else TokenCosts(extra, extra, extra, extra),
        tiers=tiers,
    )


def agreed_adder(terms: Approval, base_cost: Rates | None, utilisation: float) -> Adder:
    """The adder of the factors over its base that a tuned model was approved at.

    A slower token costs so much more by itself; what its cost is beyond that is added to each class. An adder makes
    nothing cheaper: a cost below the slowdown's is the slowdown's.

    Args:
        terms: of the approval.
        base_cost: what a token of the base costs at its standard tier, used as the market's are; None where nothing
            is added.
        utilisation: that costs at full use are divided by.

    >>> from pricing.money import Rate
    >>> terms = Approval(("x",), slowdown_ppm=1_100_000, cost_ppm=1_500_000)  # 0.4 of 1 USD, half used
    >>> round(agreed_adder(terms, Rates(*(Rate(1_000_000),) * 4), 0.5).usd_per_mtok.output, 6)
    0.2
    """
    beyond = max(terms.cost_ppm - terms.slowdown_ppm, 0) / PPM * utilisation
    if base_cost is None or beyond == 0:
        return Adder(slowdown=terms.slowdown_ppm / PPM)
    usd = {name.value: rate * beyond / PICO_PER_TOKEN_PER_USD_PER_MTOK for name, rate in base_cost.by_class().items()}
    return Adder(TokenCosts(**usd), terms.slowdown_ppm / PPM)


def _worked_out(serving: Serving, described: Mapping[str, float], base: BaseModel) -> Adder:
    if serving is Serving.NONE or not described:
        return Adder()
    if serving is Serving.DEDICATED:
        _check(described, DEDICATED, ())
        return dedicated(described["demand_tok_s"], base.capacity_tok_s, base.utilisation)
    _check(described, SHARED, SHARED_MORE)
    adapter = Adapter(
        rank=_whole(described, "rank"),
        widths=_whole(described, "widths"),
        tok_per_hour=described["tok_per_hour"],
        **{name: described[name] for name in SHARED_MORE if name in described},
    )
    beside = SharedBase(
        adapters=_whole(described, "adapters"),
        concurrency=base.concurrency,
        weight_bytes=described["weight_gb"] * BYTES_PER_GB,
        usd_per_hour=base.usd_per_hour,
        n_gpus=base.n_gpus,
        utilisation=base.utilisation,
    )
    return shared(adapter, beside)


def _check(described: Mapping[str, float], needed: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in described]
    unknown = sorted(set(described) - {*needed, *allowed})
    if missing or unknown:
        may = f"; may have {', '.join(allowed)}" if allowed else ""
        raise PricedModelError(
            f"an adder needs {', '.join(needed)}{may} (or only {' and '.join(STATED)}); missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )


def _whole(described: Mapping[str, float], name: str) -> int:
    value = described[name]
    if not value.is_integer():
        raise PricedModelError(f"{name} must be a whole number, got {value:g}")
    return int(value)
