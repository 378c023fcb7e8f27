"""The sentence on a rate card: where a tier runs, why there, and what is promised; numbers a person can check."""

import re
from typing import assert_never

from pricing.cost_plus import TierPrice
from pricing.frontier import Zone
from pricing.profiles import Configuration
from pricing.slo import US_PER_S, Slo, Tier
from pricing.tiers import TierPoint

ENGINES = {"trtllm": "TensorRT-LLM", "vllm": "vLLM", "sglang": "SGLang", "cerebras": "Cerebras"}
S_PER_MINUTE = 60
MACHINES = {"local": "this machine"}


def explain(point: TierPoint) -> str:
    """One sentence about a tier's operating point and promise."""
    chosen = point.chosen
    where = configuration_name(chosen.profile.configuration)
    speed, load = f"{point.target_tok_s_user:.0f} tok/s/user", f"up to {chosen.point.concurrency} concurrent"
    parts = [f"{point.tier} at {speed} on {where}, {load}: {_reason(point)}"]
    if point.zone is not None:
        parts.append(zone_text(point.zone))
    basis = chosen.point.provenance.basis
    parts.append(f"{basis} there: {chosen.tok_s_user:.0f} tok/s/user at {chosen.usd_per_mtok:.4f} USD/M")
    if point.quality:
        parts.append(f"quality: {point.quality}")
    parts.append(promise_text(point.slo, is_assumed=point.is_tail_assumed))
    return "; ".join([*parts, *point.notes])


def explain_price(price: TierPrice) -> str:
    """The same sentence, and what set the price."""
    return "; ".join(part for part in (explain(price.point), price.why) if part)


def _reason(point: TierPoint) -> str:
    if point.chosen.cost is None:
        return "chosen by the operator"
    match point.tier:
        case Tier.PREMIUM:
            return f"the fastest worth running, at {point.yield_share:.1%} of the largest yield"
        case Tier.STANDARD:
            return "x·y peaks here"
        case Tier.BULK:
            return "most tokens per dollar"
        case _:
            assert_never(point.tier)


def zone_text(zone: Zone) -> str:
    """The goldilocks zone in words; an end that is only where the measurements end says so."""
    low = f"{zone.low:.0f}{' (slowest measured)' if zone.is_cut_low else ''}"
    high = f"{zone.high:.0f}{' (fastest measured)' if zone.is_cut_high else ''}"
    return f"{zone.share:.0%} zone {low}–{high}".replace("%", " %", 1)


def promise_text(slo: Slo, *, is_assumed: bool) -> str:
    """A promise in words."""
    if slo.is_window:
        return f"promised within {slo.ttft_us / US_PER_S / S_PER_MINUTE:g} minutes"
    basis = "p99 assumed from one statistic" if is_assumed else "p99 as measured"
    return f"promised: first token within {slo.ttft_us / US_PER_S:g} s, then {slo.tok_s_user:.0f} tok/s/user ({basis})"


def promise_in_short(slo: Slo) -> str:
    """A promise as a table's cell.

    >>> promise_in_short(Slo(ttft_us=730_000, tpot_us=13_000)), promise_in_short(Slo(900_000_000, 0))
    ('0.73 s, 77 tok/s', 'within 15 min')
    """
    if slo.is_window:
        return f"within {slo.ttft_us / US_PER_S / S_PER_MINUTE:g} min"
    return f"{slo.ttft_us / US_PER_S:g} s, {slo.tok_s_user:.0f} tok/s"


def configuration_name(configuration: Configuration) -> str:
    """A configuration as a person says it.

    >>> configuration_name(Configuration("b200", 2, "trtllm", "fp4", "tp2ep1"))
    'B200, TP2, TensorRT-LLM, FP4'
    """
    engine = ENGINES.get(configuration.engine, configuration.engine)
    precision, speculation = precision_name(configuration.precision), configuration.spec_decoding.upper()
    hardware = MACHINES.get(configuration.hardware, configuration.hardware.upper())
    parts = (hardware, _layout(configuration), engine, precision, speculation)
    return ", ".join(part for part in parts if part not in {"", "NONE", "UNKNOWN"})


def precision_name(precision: str) -> str:
    """A precision as a person says it.

    >>> precision_name("fp8"), precision_name("unknown"), precision_name("fp8?")
    ('FP8', 'precision unknown', 'FP8?')
    """
    return "precision unknown" if precision in {"", "unknown"} else precision.upper()


def _layout(configuration: Configuration) -> str:
    if configuration.has_pools:
        return f"{configuration.prefill_gpus} prefill + {configuration.decode_gpus} decode"
    found = re.fullmatch(r"tp(\d+)ep(\d+)(\+dpattn)?", configuration.parallelism)
    if found is None:
        return configuration.parallelism if configuration.n_gpus == 1 else f"{configuration.n_gpus} accelerators"
    tensor, expert, attention = found.groups()
    experts = f" EP{expert}" if int(expert) > 1 else ""
    return f"TP{tensor}{experts}{' DP attention' if attention else ''}"
