"""What a token of each class costs us, and what is charged for it: cost-plus, or at the level that another mode sets.

This is the one place where a float becomes money: :func:`rate_rounded_up` turns USD per million tokens into a whole
:data:`~pricing.money.Rate`, rounding up. Everything after it is integer.

The effective cost of tier t is ``(C/u − Σ_{k<t} s_k·p_k)/s_t + overhead``: hardware is paid for by the hour, used for a
share u of it, and only a share s_t of the tier's tokens earn the full rate; those that met only a lower tier's deadline
earn that tier's rate p_k. So prices are set from the lowest tier up. A level (see :mod:`pricing.modes`) is the blended
price of a tier; the rates of its classes are ``level · C_class / C_blend``, unless an operator sets one. There C is the
effective cost before late tokens' revenue is set off, which may be more than a class costs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pricing.assumptions import PRICE_BANDS, AssumptionError, Assumptions
from pricing.candidates import Candidate
from pricing.costs import Split, TokenCosts, blended_usd_per_mtok, split_of
from pricing.modes import Level
from pricing.money import PICO_PER_TOKEN_PER_USD_PER_MTOK, Rate
from pricing.profiles import LengthClass
from pricing.slo import Tier
from pricing.tiers import TierPoint, Tiers
from pricing.uncertainty import Band, Costing, Floats, Spread, band
from pricing.usage import Rates, TokenClass

USD_PER_MTOK_MAX = 1e9
CAREFUL_MULTIPLE = 1.25
"""A price that rests on more than this multiple of the estimated cost is flagged."""
PICO_DECIMALS = 6
"""Binary debris beyond a millionth of a pico-USD is no cost: 0.3 must not become 300,001 pico."""


@dataclass(frozen=True, slots=True)
class TierPrice:
    """One tier of a model with its costs and rates.

    Attributes:
        split: how accelerator time divides between input and output; None for tokens bought at a price.
        cost_full: USD per million tokens of each class at full use.
        cost_effective: at the assumed utilisation and attainment, late tokens' lower revenue set off.
        cost: at the assumed utilisation, rounded up: what a token costs us.
        rates: what is charged.
        cost_priced: the effective cost that the rates rest on: a percentile of the draws, else ``cost_effective``.
        bands: how sure ``cost`` is, by token class.
        spread: the draws behind the bands; None for tokens bought at a price, or where uncertainty is not asked for.
        cost_alone: as ``cost_priced``, if late tokens earned nothing; the classes' proportions at a level.
        why: what set the rates, a clause for the sentence on the rate card.
    """

    point: TierPoint
    split: Split | None
    cost_full: TokenCosts
    cost_effective: TokenCosts
    cost: Rates
    rates: Rates
    notes: tuple[str, ...]
    cost_priced: TokenCosts
    bands: Mapping[TokenClass, Band]
    cost_alone: TokenCosts
    spread: Spread | None = None
    why: str = ""


def rate_rounded_up(usd_per_mtok: float) -> Rate:
    """The one place where a float becomes money: USD per million tokens as a whole rate, rounded up.

    Raises:
        AssumptionError: not a finite number from 0 to ``USD_PER_MTOK_MAX``.

    >>> rate_rounded_up(0.1 + 0.2), rate_rounded_up(0.0230000001)
    (300000, 23001)
    """
    if not 0 <= usd_per_mtok <= USD_PER_MTOK_MAX:
        raise AssumptionError(f"{usd_per_mtok} USD per million tokens is no rate; expected 0 to {USD_PER_MTOK_MAX:g}")
    return Rate(math.ceil(round(usd_per_mtok * PICO_PER_TOKEN_PER_USD_PER_MTOK, PICO_DECIMALS)))


def cost_plus(
    chosen: Tiers,
    given: Assumptions,
    spreads: Mapping[Tier, Spread] | None = None,
    levels: Mapping[Tier, Level] | None = None,
    base: Mapping[Tier, TierPrice] | None = None,
) -> dict[Tier, TierPrice]:
    """Costs and prices of every tier sold, best first; strictly falling in every token class.

    Args:
        chosen: what is sold.
        given: the operator's inputs.
        spreads: draws of the costs; a tier without them is priced off its point estimate.
        levels: blended prices to charge; a tier without one is charged its cost and margin.
        base: the same tiers' prices without levels, where they are known: what they cost is not worked out again.
    """
    prices: dict[Tier, TierPrice] = {}
    for tier in reversed(Tier):
        if tier in chosen.sold:
            level, drawn = (levels or {}).get(tier), (spreads or {}).get(tier)
            known = (base or {}).get(tier)
            full = _cost(chosen.sold[tier].chosen, given) if known is None else (known.split, known.cost_full)
            prices[tier] = _price(chosen.sold[tier], full, prices, given, drawn, level)
    return {tier: prices[tier] for tier in Tier if tier in prices}


def flags(prices: Mapping[Tier, TierPrice], lengths: LengthClass) -> tuple[str, ...]:
    """What a reviewer should look at before publishing: figures assumed, clipped or raised, and unusual multiples."""
    return (*(flag for tier, price in prices.items() for flag in _price_flags(tier, price)), *_bands(prices, lengths))


def _price_flags(tier: Tier, price: TierPrice) -> list[str]:
    found = [f"{tier}: {note}" for note in (*price.point.notes, *price.notes)]
    if price.point.is_tail_assumed:
        found.append(f"{tier}: the promise's p99 is assumed from one statistic")
    found += [f"{tier}: {said}" for said in _careful(price)]
    split = price.split
    if split is not None and split.is_ratio_assumed:
        found.append(f"{tier}: output tokens are assumed to cost {split.ratio:g} times input tokens")
    if split is not None and split.is_ratio_clipped:
        found.append(f"{tier}: the cost ratio of output to input tokens was clipped to {split.ratio:g}")
    return found


def _careful(price: TierPrice) -> list[str]:
    """Where few configurations were measured, the price covers losing the best of them: that should be seen."""
    pairs = zip(price.cost_priced.by_class().values(), price.cost_effective.by_class().values(), strict=True)
    multiple = max((priced / effective for priced, effective in pairs if effective > 0), default=1.0)
    if multiple <= CAREFUL_MULTIPLE:
        return []
    return [f"few configurations were measured: the price rests on {multiple:.2f} times the estimated cost"]


def _bands(prices: Mapping[Tier, TierPrice], lengths: LengthClass) -> list[str]:
    """Where a tier's multiple of standard's blended price lies outside what others publish."""
    if Tier.STANDARD not in prices:
        return []
    standard = _blend(prices[Tier.STANDARD].rates, lengths)
    found: list[str] = []
    for tier, (low, high) in PRICE_BANDS.items():
        multiple = _blend(prices[tier].rates, lengths) / standard if tier in prices else low
        if not low <= multiple <= high:
            band = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            found.append(f"{tier} is sold at {multiple:.2f} times standard; published multiples: {band}")
    return found


def _blend(rates: Rates, lengths: LengthClass) -> int:
    return rates.input * lengths.isl + rates.output * lengths.osl


def _price(
    point: TierPoint,
    known: tuple[Split | None, TokenCosts],
    lower: Mapping[Tier, TierPrice],
    given: Assumptions,
    drawn: Spread | None,
    level: Level | None,
) -> TierPrice:
    split, full = known
    utilisation = 1.0 if split is None else given.utilisation_used
    drawn = None if given.uncertainty is None else drawn
    effective: dict[str, float] = {}
    priced: dict[str, float] = {}
    alone: dict[str, float] = {}
    cost: dict[str, Rate] = {}
    bands: dict[TokenClass, Band] = {}
    for name, usd in full.by_class().items():
        used = np.array([usd / utilisation])
        samples = used if drawn is None else _samples(name, given, drawn)
        bands[name] = band(samples)
        effective[name.value] = float(_effective(used, name, point.tier, lower, given)[0])
        priced[name.value] = _careful_cost(_effective(samples, name, point.tier, lower, given), given)
        alone[name.value] = _careful_cost(_effective(samples, name, point.tier, {}, given), given)
        cost[name.value] = rate_rounded_up(usd / utilisation)
    basis = TokenCosts(**priced) if level is None else TokenCosts(**alone)
    own = _own_rates(point.tier, given)
    wanted = {name: rate_rounded_up(usd) for name, usd in _wanted(basis, point.tier, given, level).items()} | own
    rates, notes = _apart(wanted, lower, given.step_percent)
    lossy = [name.value for name in own if rates.by_class()[name] < cost[name.value]]
    notes = (*notes, f"the operator's own rate of {', '.join(lossy)} is below its cost") if lossy else notes
    costs = (full, TokenCosts(**effective), Rates(**cost), rates)
    told = (TokenCosts(**priced), bands, TokenCosts(**alone))
    return TierPrice(point, split, *costs, notes, *told, drawn, _why(point.tier, given, level))


def _own_rates(tier: Tier, given: Assumptions) -> dict[TokenClass, Rate]:
    """What an operator charges whatever it costs: a tuned model's rates, else those of single classes."""
    tuned = given.adder.rates.get(tier)
    if tuned is not None:
        return tuned.by_class()
    return {name: rate_rounded_up(usd) for name, usd in given.class_rates.get(tier, {}).items()}


def _why(tier: Tier, given: Assumptions, level: Level | None) -> str:
    own = [name.value for name in _own_rates(tier, given)]
    base = f"price: {given.margin(tier) * 100:.3g} % over effective cost" if level is None else level.why
    return f"{base}; set by the operator: {', '.join(own)}" if own else base


def _wanted(basis: TokenCosts, tier: Tier, given: Assumptions, level: Level | None) -> dict[TokenClass, float]:
    """USD per million tokens of each class, before tiers are kept apart."""
    usd = basis.by_class()
    if level is None:
        return {name: each * (1 + given.margin(tier)) for name, each in usd.items()}
    whole = blended_usd_per_mtok(basis, level.mix)
    return {name: level.usd_per_mtok * each / whole if whole > 0 else level.usd_per_mtok for name, each in usd.items()}


def _apart(
    wanted: Mapping[TokenClass, Rate], lower: Mapping[Tier, TierPrice], step_percent: int
) -> tuple[Rates, tuple[str, ...]]:
    """Rates above every lower tier's, and a note of those that had to be raised for it."""
    rates = {name: max(rate, _least(lower, name, step_percent)) for name, rate in wanted.items()}
    raised = [name.value for name, rate in wanted.items() if rates[name] > rate > 0]
    notes = (f"{', '.join(raised)} raised to stay above the next lower tier",) if raised else ()
    return Rates(**{name.value: rate for name, rate in rates.items()}), notes


def blended(rates: Rates, mix: LengthClass) -> float:
    """The price of a million tokens at a mix of fresh input and output, USD.

    >>> blended(Rates(Rate(150_000), Rate(0), Rate(0), Rate(600_000)), LengthClass(2000, 1000))
    0.3
    """
    return _blend(rates, mix) / (mix.isl + mix.osl) / PICO_PER_TOKEN_PER_USD_PER_MTOK


def _samples(name: TokenClass, given: Assumptions, drawn: Spread) -> Floats:
    """Cost of a class in every draw, at its utilisation."""
    return drawn.samples(name, given.adder.usd_per_mtok.by_class()[name])


def _careful_cost(samples: Floats, given: Assumptions) -> float:
    """The percentile of the draws that prices rest on; the one figure known where nothing is drawn."""
    if given.uncertainty is None or len(samples) == 1:
        return float(samples[0])
    return float(np.percentile(samples, given.uncertainty.price_percentile))


def _effective(
    usd: Floats, name: TokenClass, tier: Tier, lower: Mapping[Tier, TierPrice], given: Assumptions
) -> Floats:
    """``(C/u − Σ_{k<t} s_k·p_k)/s_t + overhead``, never below the overhead. Shape as ``usd``."""
    shares = given.attainment[tier]
    late_usd = sum(shares.get(each, 0.0) * _usd(price.rates, name) for each, price in lower.items())
    return np.maximum((usd - late_usd) / shares[tier], 0.0) + given.overhead_usd_per_mtok


def _cost(chosen: Candidate, given: Assumptions) -> tuple[Split | None, TokenCosts]:
    """Split and cost at full use; bought tokens are paid for one by one, so they have no split."""
    extra, price = given.adder.usd_per_mtok.by_class(), chosen.profile.price
    if chosen.cost is None and price is not None:
        return None, TokenCosts(**{name.value: _usd(price, name) + extra[name] for name in TokenClass})
    split = split_of(chosen)
    own = costing(given).of_split(split, chosen).by_class()
    return split, TokenCosts(**{name.value: usd + extra[name] for name, usd in own.items()})


def costing(given: Assumptions) -> Costing:
    """What turns a measured point into costs, as an operator's inputs say."""
    return Costing(given.utilisation_used, given.adder.slowdown, given.cache)


def _usd(rates: Rates, name: TokenClass) -> float:
    return rates.by_class()[name] / PICO_PER_TOKEN_PER_USD_PER_MTOK


def _least(lower: Mapping[Tier, TierPrice], name: TokenClass, step_percent: int) -> Rate:
    """The least rate that stays above every lower tier's: by the step, and by one pico at least."""
    dearest = max((price.rates.by_class()[name] for price in lower.values()), default=Rate(0))
    return Rate(dearest + max(-(-dearest * step_percent // 100), 1))
