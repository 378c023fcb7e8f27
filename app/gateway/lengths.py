"""Predicts how long a prompt and an answer will be, without a tokenizer on the hot path; pure state.

Per model it learns, from the usage that backends report, the typical tokens per byte of prompt and a bound that 99 of
100 prompts stay under; per customer and model, a high quantile of answer lengths. Quantiles are learned by
stochastic approximation: ``q ← q · exp(η (τ − 1[value < q]))`` moves up by τ or down by 1 − τ and settles where a
share τ of values lies below.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

TEMPLATE_TOKENS_PER_MESSAGE = 8
TEMPLATE_TOKENS = 32
TOKENS_PER_BYTE_TYPICAL = 0.25
TOKENS_PER_BYTE_P99 = 0.6
TOKENS_PER_BYTE_MAX = 1.0
"""A byte-level tokenizer makes at most one token of a byte."""
TOKENS_PER_BYTE_MIN = 0.02
OUTPUT_TOKENS_TYPICAL = 256.0
BOUND_QUANTILE = 0.99
OUTPUT_QUANTILE = 0.8
STEP = 0.05
SMOOTHING = 0.05
CUSTOMERS_MAX = 10_000
PROMPT_BYTES_MIN = 64
"""Shorter prompts are mostly template and teach nothing about text."""


@dataclass(slots=True)
class _Ratios:
    typical: float = TOKENS_PER_BYTE_TYPICAL
    bound: float = TOKENS_PER_BYTE_P99


class Lengths:
    """What this process has learned about prompt and answer lengths."""

    def __init__(self) -> None:
        self._ratios: dict[str, _Ratios] = {}
        self._outputs: OrderedDict[tuple[str, str], float] = OrderedDict()

    def input_predicted(self, model: str, prompt_bytes: int, messages: int) -> int:
        """The typical number of prompt tokens."""
        return _tokens(self._of(model).typical, prompt_bytes, messages)

    def input_bound(self, model: str, prompt_bytes: int, messages: int) -> int:
        """A number of prompt tokens that 99 of 100 prompts stay under; what a quote reserves."""
        ratios = self._of(model)
        return _tokens(max(ratios.bound, ratios.typical), prompt_bytes, messages)

    def output_predicted(self, customer_id: str, model: str, tokens_max: int) -> int:
        """A high quantile of this customer's answers, at most ``tokens_max``."""
        typical = self._outputs.get((customer_id, model), OUTPUT_TOKENS_TYPICAL)
        return max(1, min(tokens_max, math.ceil(typical)))

    def observe(self, customer_id: str, model: str, prompt_bytes: int, input_tokens: int, output_tokens: int) -> None:
        """Learns from the usage of one finished request."""
        if prompt_bytes >= PROMPT_BYTES_MIN and input_tokens > 0:
            ratios = self._ratios.setdefault(model, _Ratios())
            ratio = min(max(input_tokens / prompt_bytes, TOKENS_PER_BYTE_MIN), TOKENS_PER_BYTE_MAX)
            ratios.typical += SMOOTHING * (ratio - ratios.typical)
            ratios.bound = min(_nudge(ratios.bound, ratio, BOUND_QUANTILE), TOKENS_PER_BYTE_MAX)
        if output_tokens > 0:
            self._learn_output((customer_id, model), output_tokens)

    def _learn_output(self, key: tuple[str, str], output_tokens: int) -> None:
        known = self._outputs.get(key, OUTPUT_TOKENS_TYPICAL)
        self._outputs[key] = _nudge(known, output_tokens, OUTPUT_QUANTILE)
        self._outputs.move_to_end(key)
        if len(self._outputs) > CUSTOMERS_MAX:
            self._outputs.popitem(last=False)

    def _of(self, model: str) -> _Ratios:
        return self._ratios.get(model, _DEFAULT)


_DEFAULT = _Ratios()


def _tokens(ratio: float, prompt_bytes: int, messages: int) -> int:
    return math.ceil(ratio * prompt_bytes) + TEMPLATE_TOKENS_PER_MESSAGE * messages + TEMPLATE_TOKENS


def _nudge(quantile: float, value: float, level: float) -> float:
    return quantile * math.exp(STEP * (level - (value < quantile)))
