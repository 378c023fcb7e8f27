"""Builders for what the pricing tests measure: hypothetical machines with round numbers."""

from datetime import date
from typing import Any

from pricing.candidates import Candidates, candidates
from pricing.hardware import HardwareCost
from pricing.profiles import Basis, Configuration, LengthClass, OperatingPoint, Profile, Provenance

CHAT = LengthClass(1000, 1000)
BOX = HardwareCost("box", usd_per_hour=3.6, kw=2.0)
"""At 3.6 USD an hour a token per second costs 0.001 USD a second: 1e6 / (T · 0.0036 / 3.6) = 1000/T USD per M."""


def point(
    concurrency: int,
    tok_s_user: float,
    output_tok_s: float,
    lengths: LengthClass = CHAT,
    **changes: Any,
) -> OperatingPoint:
    """A load at a speed with a throughput; the first token comes after ten tokens' time unless told otherwise."""
    values: dict[str, Any] = {
        "lengths": lengths,
        "concurrency": concurrency,
        "ttft_s_p50": 10 / tok_s_user,
        "tpot_s_p50": 1 / tok_s_user,
        "output_tok_s": output_tok_s,
        "input_tok_s": output_tok_s * lengths.isl / lengths.osl,
        "isl_mean": float(lengths.isl),
        "osl_mean": float(lengths.osl),
        "provenance": Provenance("bench", Basis.MEASURED, "own measurement", date(2026, 11, 1)),
    }
    return OperatingPoint(**{**values, **changes})


def profile(*points: OperatingPoint, name: str = "tp1", model: str = "m", **configuration: Any) -> Profile:
    """A profile of model ``m`` on one box unless told otherwise."""
    values: dict[str, Any] = {"hardware": "box", "n_gpus": 1, "engine": "vllm", "precision": "fp8", "parallelism": name}
    return Profile(model, Configuration(**{**values, **configuration}), tuple(points))


def curve(*pairs: tuple[float, float], lengths: LengthClass = CHAT) -> Profile:
    """One deployment through (tok/s/user, output tok/s) pairs; concurrency rises as speed falls."""
    ordered = sorted(pairs, reverse=True)
    return profile(*(point(2**step, x, y, lengths) for step, (x, y) in enumerate(ordered)))


def found(*profiles: Profile, lengths: LengthClass = CHAT) -> Candidates:
    """The candidates of model ``m`` at the box's cost."""
    return candidates(profiles, "m", lengths, {"box": BOX})
