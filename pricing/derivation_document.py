"""The JSON form of a derivation, for machines and reviewers: costs are numbers, prices decimal strings."""

from typing import Any

from pricing.anchors import Anchor
from pricing.candidates import Candidate
from pricing.cost_plus import TierPrice
from pricing.costs import Split, TokenCosts
from pricing.derive import Derivation
from pricing.explain import explain_price
from pricing.frontier import Zone
from pricing.hardware import joules_per_token
from pricing.money import format_usd_per_mtok
from pricing.optimize import Optimum
from pricing.profiles import LengthClass
from pricing.slo import US_PER_S, Slo
from pricing.uncertainty import Band, Spread
from pricing.usage import Rates

DIGITS = 6
DOLLAR_DIGITS = 9


def dollars(usd: float) -> float:
    """A cost with so many significant digits: a millionth of a dollar is no small part of a cached token's.

    >>> dollars(0.000123456789012), dollars(1 / 3)
    (0.000123456789, 0.333333333)
    """
    return float(f"{usd:.{DOLLAR_DIGITS}g}")


def derivation_document(derivation: Derivation) -> dict[str, Any]:
    """All that a derivation found; tiers best first."""
    return {
        "model": derivation.model,
        "isl": derivation.lengths.isl,
        "osl": derivation.lengths.osl,
        "mode": derivation.levels.mode.value,
        "tiers": [
            {**tier_document(price), **_blended_document(derivation, price)} for price in derivation.tiers.values()
        ],
        "missing": {tier.value: reason for tier, reason in derivation.missing.items()},
        "flags": list(derivation.flags),
        "excluded": [{"profile": name, "reason": reason} for name, reason in derivation.excluded],
        "anchors": [_anchor_document(anchor, derivation.lengths) for anchor in derivation.levels.anchors.values()],
        "optimiser": None if derivation.levels.optimum is None else _optimum_document(derivation.levels.optimum),
    }


def _blended_document(derivation: Derivation, price: TierPrice) -> dict[str, Any]:
    """The price of a million tokens at the reference mix, rounded up, and the level that a mode asked for."""
    level = derivation.levels.by_tier.get(price.point.tier)
    mix = derivation.lengths if level is None else level.mix
    return {
        "price_blended_usd_per_mtok": format_usd_per_mtok(
            -(-(price.rates.input * mix.isl + price.rates.output * mix.osl) // (mix.isl + mix.osl))
        ),
        "blended_at": {"isl": mix.isl, "osl": mix.osl},
        "level_usd_per_mtok": None if level is None else round(level.usd_per_mtok, DIGITS),
    }


def _anchor_document(anchor: Anchor, lengths: LengthClass) -> dict[str, Any]:
    return {
        "tier": anchor.tier.value,
        "providers": anchor.providers,
        "input_usd_per_mtok": anchor.input,
        "cached_usd_per_mtok": anchor.cached,
        "output_usd_per_mtok": anchor.output,
        "blended_usd_per_mtok": round(anchor.usd_per_mtok(lengths), DIGITS),
    }


def _optimum_document(optimum: Optimum) -> dict[str, Any]:
    """What the optimiser found; its prices are numbers, as they are no rates yet."""
    return {
        "converged": optimum.is_converged,
        "is_sold": optimum.is_sold,
        "profit_usd_per_h": round(optimum.profit_usd_per_h, DIGITS),
        "blended_usd_per_mtok": {tier.value: round(usd, DIGITS) for tier, usd in optimum.prices.items()},
        "sold_mtok_per_h": {tier.value: round(sold, DIGITS) for tier, sold in optimum.sold.items()},
        "sold_share": {tier.value: round(share, DIGITS) for tier, share in optimum.sold_share.items()},
        "capacity_used": {name: round(share, DIGITS) for name, share in optimum.used.items()},
        "flags": list(optimum.flags),
    }


def tier_document(price: TierPrice) -> dict[str, Any]:
    """One tier: where its rule points, what is run there, what is promised, what it costs and what is charged.

    ``cost_usd_per_mtok`` is at the assumed utilisation, as 10th, 50th and 90th percentile (all equal where nothing is
    drawn), ``cost_point_usd_per_mtok`` its point estimate; ``cost_full_usd_per_mtok`` as if the hardware were always in
    use; ``cost_effective_usd_per_mtok`` with attainment and overhead; ``cost_priced_usd_per_mtok`` its percentile, the
    basis of the price.
    """
    point = price.point
    return {
        "tier": point.tier.value,
        "interactivity_tok_s_user": round(point.target_tok_s_user, DIGITS),
        "usd_per_mtok_total": dollars(point.target_usd_per_mtok),
        "deployment": point.chosen.deployment_id,
        "precision": point.chosen.profile.configuration.precision,
        "quality": point.quality or None,
        "concurrency_max": point.chosen.point.concurrency,
        "slo": slo_document(point.slo),
        "goldilocks": None if point.zone is None else zone_document(point.zone),
        "measured": candidate_document(point.chosen),
        "yield_share": round(point.yield_share, DIGITS),
        "is_tail_assumed": point.is_tail_assumed,
        "split": None if price.split is None else _split_document(price.split),
        "cost_full_usd_per_mtok": _costs_document(price.cost_full),
        "cost_usd_per_mtok": {name.value: _band_document(band) for name, band in price.bands.items()},
        "cost_point_usd_per_mtok": _rounded(price.cost),
        "cost_effective_usd_per_mtok": _costs_document(price.cost_effective),
        "cost_priced_usd_per_mtok": _costs_document(price.cost_priced),
        "uncertainty": None if price.spread is None else _spread_document(price.spread),
        "price_usd_per_mtok": prices_document(price.rates),
        "explanation": explain_price(price),
        "notes": [*point.notes, *price.notes],
    }


def candidate_document(candidate: Candidate) -> dict[str, Any]:
    """One measured point with its figures and where they come from."""
    point, configuration = candidate.point, candidate.profile.configuration
    power, kw = candidate.tok_s_per_mw, None if candidate.cost is None else candidate.cost.kw
    return {
        "id": candidate.id,
        "interactivity_tok_s_user": round(candidate.tok_s_user, DIGITS),
        "tput_tok_s_per_gpu": round(candidate.tok_s_per_gpu, DIGITS),
        "output_tok_s_per_gpu": round(candidate.output_tok_s_per_gpu, DIGITS),
        "usd_per_mtok_total": dollars(candidate.usd_per_mtok),
        "tok_s_per_mw": None if power is None else round(power, DIGITS),
        "joules_per_token": None if kw is None else round(joules_per_token(candidate.tok_s_per_gpu, kw), DIGITS),
        "hardware": configuration.hardware,
        "engine": configuration.engine,
        "engine_version": point.provenance.engine_version,
        "precision": configuration.precision,
        "mode": configuration.mode.value,
        "spec_decoding": configuration.spec_decoding,
        "n_gpus": configuration.n_gpus,
        "concurrency": point.concurrency,
        "ttft_s": point.ttft_s_p50,
        "tpot_s": point.tpot_s_p50,
        "basis": point.provenance.basis.value,
        "measured_on": point.provenance.measured_on.isoformat() if point.provenance.measured_on else None,
        "source": point.provenance.source,
    }


def slo_document(slo: Slo) -> dict[str, Any]:
    """A promise in seconds, and the speed that it comes to; both are null for a window's tokens."""
    return {
        "ttft_s": slo.ttft_us / US_PER_S,
        "tpot_s": None if slo.is_window else slo.tpot_us / US_PER_S,
        "tok_s_user": None if slo.tok_s_user is None else round(slo.tok_s_user, DIGITS),
    }


def prices_document(rates: Rates) -> dict[str, str]:
    """Rates as decimal strings of USD per million tokens."""
    return {name.value: format_usd_per_mtok(rate) for name, rate in rates.by_class().items()}


def zone_document(zone: Zone) -> dict[str, Any]:
    """The goldilocks zone: where speed × yield peaks, and the ends of the span that keeps a share of it."""
    return {
        "interactivity_tok_s_user": round(zone.tok_s_user, DIGITS),
        "low": round(zone.low, DIGITS),
        "high": round(zone.high, DIGITS),
        "share": zone.share,
        "is_cut_low": zone.is_cut_low,
        "is_cut_high": zone.is_cut_high,
    }


def _split_document(split: Split) -> dict[str, Any]:
    return {
        "method": split.method,
        "input_gpu_s": split.input_s,
        "output_gpu_s": split.output_s,
        "ratio": round(split.ratio, DIGITS),
        "is_ratio_assumed": split.is_ratio_assumed,
        "is_ratio_clipped": split.is_ratio_clipped,
        "residual": None if split.residual is None else round(split.residual, DIGITS),
        "classes": [str(lengths) for lengths in split.classes],
    }


def _band_document(band: Band) -> dict[str, float]:
    return {"p10": dollars(band.p10), "p50": dollars(band.p50), "p90": dollars(band.p90)}


def _spread_document(spread: Spread) -> dict[str, Any]:
    return {"draws": len(spread.full), "worlds": spread.worlds, "irreplaceable": list(spread.irreplaceable)}


def _costs_document(costs: TokenCosts) -> dict[str, float]:
    return {name.value: dollars(usd) for name, usd in costs.by_class().items()}


def _rounded(rates: Rates) -> dict[str, float]:
    return {name.value: float(format_usd_per_mtok(rate)) for name, rate in rates.by_class().items()}
