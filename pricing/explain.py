"""The sentence on a rate card: where a tier runs, why there, and what is promised; numbers a person can check."""

import re

from pricing.profiles import Configuration
from pricing.slo import US_PER_S, Slo, Tier
from pricing.tiers import TierPoint

ENGINES = {"trtllm": "TensorRT-LLM", "vllm": "vLLM", "sglang": "SGLang", "cerebras": "Cerebras"}
S_PER_MINUTE = 60
REASONS = {
    Tier.PREMIUM: "the fastest speed that keeps its share of the largest yield",
    Tier.STANDARD: "x·y peaks here",
    Tier.BULK: "most tokens per dollar",
}


def explain(point: TierPoint) -> str:
    """One sentence about a tier's operating point and promise."""
    chosen = point.chosen
    where = configuration_name(chosen.profile.configuration)
    speed, load = f"{point.target_tok_s_user:.0f} tok/s/user", f"up to {chosen.point.concurrency} concurrent"
    parts = [f"{point.tier} at {speed} on {where}, {load}: {_reason(point)}"]
    if point.zone is not None:
        edges = (" (measured edge)" if cut else "" for cut in (point.zone.is_cut_low, point.zone.is_cut_high))
        low, high = (f"{value:.0f}{edge}" for value, edge in zip((point.zone.low, point.zone.high), edges, strict=True))
        parts.append(f"90 % zone {low}–{high}")
    basis = chosen.point.provenance.basis
    parts.append(f"{basis} there: {chosen.tok_s_user:.0f} tok/s/user at {chosen.usd_per_mtok:.4f} USD/M")
    parts.append(promise_text(point.slo, is_assumed=point.is_tail_assumed))
    return "; ".join([*parts, *point.notes])


def _reason(point: TierPoint) -> str:
    return "chosen by the operator" if point.chosen.cost is None else REASONS[point.tier]


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
    precision, speculation = configuration.precision.upper(), configuration.spec_decoding.upper()
    parts = (configuration.hardware.upper(), _layout(configuration), engine, precision, speculation)
    return ", ".join(part for part in parts if part not in {"", "NONE", "UNKNOWN"})


def _layout(configuration: Configuration) -> str:
    if configuration.has_pools:
        return f"{configuration.prefill_gpus} prefill + {configuration.decode_gpus} decode"
    found = re.fullmatch(r"tp(\d+)ep(\d+)(\+dpattn)?", configuration.parallelism)
    if found is None:
        return configuration.parallelism if configuration.n_gpus == 1 else f"{configuration.n_gpus} accelerators"
    tensor, expert, attention = found.groups()
    experts = f" EP{expert}" if int(expert) > 1 else ""
    return f"TP{tensor}{experts}{' DP attention' if attention else ''}"
