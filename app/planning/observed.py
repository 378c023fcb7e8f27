"""How an offer's answers compare with its measured curve, at the load that each of them really met; pure.

The load is not stored with an answer, but every answer of the market is: at any moment an offer had as many in flight
as were placed and not yet finished. So for each answer the curve is integrated over the loads that came and went,

    ``TPOT_predicted = (t₁ − t₀) / ∫ dt / f(n(t))``

and the first token is predicted behind the prompts that were waiting, first come first served,

    ``TTFT_predicted = base + W(t) + prompt / R``    W: what is left of earlier prompts at R tokens per second.

Observed over predicted, its median over answers (by customer, so that no one decides alone) is the correction. Answers
that were not streamed show no token times, and short ones little but their ends; both only count as load.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pricing.feedback import customer_weights, weighted_median
from scheduler.fleet import SpeedCurve
from scheduler.forecast import prompt_token_us, tpot_us_experienced

Floats = NDArray[np.float64]
OUTPUT_TOKENS_MIN: Final = 32
"""An answer shorter than this says more about its ends than about its pace."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One answer on one offer.

    Attributes:
        placed_at_us, first_token_at_us, finished_at_us: µs since the epoch; no first token where none came.
        prompt_tokens: that had to be taken in; cached ones had not.
        output_tokens: delivered.
        is_judged: its times are to be compared; else it is load for the others alone.
    """

    customer_id: str
    placed_at_us: int
    first_token_at_us: int | None
    finished_at_us: int
    prompt_tokens: int
    output_tokens: int
    is_judged: bool = True


@dataclass(frozen=True, slots=True)
class Observed:
    """What answers of one offer say about its curve.

    Attributes:
        ttft, tpot: observed over predicted, the median; None without an answer to judge by.
        requests: answers judged.
        tokens: output tokens of these.
    """

    ttft: float | None
    tpot: float | None
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer's ratios."""

    customer_id: str
    ttft: float
    tpot: float
    tokens: int


def samples(passages: Sequence[Passage], curve: SpeedCurve) -> list[Sample]:
    """Observed over predicted of every answer that can be judged.

    Args:
        passages: of one offer, in any order.
        curve: its measured one.
    """
    if not passages:
        return []
    at_us, integral = _experienced(passages, curve)
    first_us = _first_tokens(passages, curve)
    found: list[Sample] = []
    for index, each in enumerate(passages):
        began_us, ended_us = each.first_token_at_us, each.finished_at_us
        if not each.is_judged or began_us is None or each.output_tokens < OUTPUT_TOKENS_MIN:
            continue
        expected = float(np.interp(ended_us, at_us, integral) - np.interp(began_us, at_us, integral))
        if ended_us <= began_us or began_us <= each.placed_at_us or expected <= 0:
            continue
        ttft = (began_us - each.placed_at_us) / first_us[index]
        tpot = expected / (each.output_tokens - 1)  # the elapsed time cancels out
        found.append(Sample(each.customer_id, ttft, tpot, each.output_tokens))
    return found


def summary(found: Iterable[Sample], tokens_min: float) -> Observed:
    """The medians of some samples, of one offer or of several that run one profile."""
    kept = list(found)
    if not kept:
        return Observed(None, None, 0, 0)
    tokens: dict[str, float] = {}
    for each in kept:
        tokens[each.customer_id] = tokens.get(each.customer_id, 0.0) + each.tokens
    weights = customer_weights(tokens, tokens_min)
    return Observed(
        ttft=_median(kept, weights, "ttft"),
        tpot=_median(kept, weights, "tpot"),
        requests=len(kept),
        tokens=sum(each.tokens for each in kept),
    )


def _median(kept: Sequence[Sample], weights: Mapping[str, float], name: str) -> float:
    return weighted_median({index: (getattr(each, name), weights[each.customer_id]) for index, each in enumerate(kept)})


def _experienced(passages: Sequence[Passage], curve: SpeedCurve) -> tuple[Floats, Floats]:
    """Moments at which the load changed, and the tokens that the curve would have given one stream by then.

    Returns:
        Times in µs and tokens. Shape (changes,) each; between two changes tokens grow evenly.
    """
    changes: dict[int, int] = {}
    for each in passages:
        changes[each.placed_at_us] = changes.get(each.placed_at_us, 0) + 1
        ended_us = max(each.finished_at_us, each.placed_at_us)
        changes[ended_us] = changes.get(ended_us, 0) - 1
    at_us = np.array(sorted(changes), dtype=np.float64)
    loads = np.cumsum([changes[int(moment)] for moment in at_us])
    paces = {load: 1 / tpot_us_experienced(curve, int(load)) for load in set(loads.tolist())}
    rates = np.array([paces[load] for load in loads.tolist()])
    return at_us, np.concatenate([[0.0], np.cumsum(np.diff(at_us) * rates[:-1])])


def _first_tokens(passages: Sequence[Passage], curve: SpeedCurve) -> list[float]:
    """Predicted µs to the first token of each, behind the prompts that came before it. Shape (passages,)."""
    per_token_us = prompt_token_us(curve)
    predicted = [0.0] * len(passages)
    free_at_us = 0.0
    for index in sorted(range(len(passages)), key=lambda place: passages[place].placed_at_us):
        each = passages[index]
        free_at_us = max(free_at_us, float(each.placed_at_us)) + each.prompt_tokens * per_token_us
        predicted[index] = max(curve.ttft_base_us + free_at_us - each.placed_at_us, 1.0)
    return predicted
