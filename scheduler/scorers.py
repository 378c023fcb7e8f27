"""What serving a job somewhere is expected to be worth: ``V = Σ_k P_k · revenue_k − cost − λ · slot_seconds``.

``P_k`` is the chance that a token meets the deadline of tier k and of no better one: it then earns the rate of k. A
time forecast as ``x`` for something due in ``d`` is met with chance

    ``P(x, d) = 1 / (1 + (x / d)^s)``

the log-logistic law with median x (the calibrated forecast) and shape s: half when the forecast equals the deadline,
near 1 with headroom. The shape follows from a measured spread, ``s = ln 99 / ln(p99 / p50)``: the median p99/p50 of 97
raw runs is 3.1 for TTFT and 1.4 for TPOT, so s = 4.06 and 13.66. Because a calibrated forecast leans on a high
quantile of what was observed, the chances err on the careful side.

The input is judged by the first token, the output by its middle token, which stands for the mean over the answer.

Cost is what the offer's tokens cost us, also on an owned fleet: there it is machine time, which other work could use.
λ is the shadow price of a slot where capacity is short: :mod:`scheduler.shadow`.

Source: for the waterfall PRICING ("the promise and the bill"); for the spreads the raw runs in
InferenceX ``token_position_decode_slo`` (97 runs, GLM-5 and Qwen3.5-397B on 8×H200).
"""

from dataclasses import dataclass

from pricing.slo import US_PER_S, Ladder
from scheduler.policy import Policy

_SURE = 0.9999


@dataclass(frozen=True, slots=True)
class Stake:
    """What one rung of the ladder would earn, and by when, seen from now.

    Attributes:
        first_due_us: µs from now to the deadline of the first token.
        middle_due_us: µs from now to the deadline of the middle token.
        input_pico: pico-USD that the whole prompt earns at this rung.
        output_pico: pico-USD that the whole predicted answer earns.
    """

    first_due_us: float
    middle_due_us: float
    input_pico: int
    output_pico: int


def stakes(ladder: Ladder, index: int, elapsed_us: int, tokens: tuple[int, int]) -> tuple[Stake, ...]:
    """The stakes of a job served at rung ``index``, best first.

    Args:
        ladder: of the tier asked for.
        index: of the rung served.
        elapsed_us: since the request was read.
        tokens: of the prompt, and predicted of the answer.
    """
    input_tokens, output_tokens = tokens
    middle = middle_token(output_tokens)
    return tuple(
        Stake(
            first_due_us=rung.slo.ttft_us - elapsed_us,
            middle_due_us=rung.slo.ttft_us + middle * rung.slo.tpot_us - elapsed_us,
            input_pico=rung.rates.input * input_tokens,
            output_pico=rung.rates.output * output_tokens,
        )
        for rung in ladder.rungs[index:]
    )


def middle_token(output_tokens: int) -> float:
    """Index of the token that stands for the mean of an answer."""
    return max(0, output_tokens - 1) / 2


def chance(forecast_us: float, due_us: float, shape: float) -> float:
    """The chance that something forecast for ``forecast_us`` comes within ``due_us``.

    >>> chance(100.0, 100.0, 4.06), chance(100.0, 0.0, 4.06), round(chance(100.0, 310.0, 4.06), 2)
    (0.5, 0.0, 0.99)
    """
    return 1.0 / (1.0 + (forecast_us / due_us) ** shape) if due_us > 0 else 0.0


def revenue_pico(at_stake: tuple[Stake, ...], first_us: float, middle_us: float, policy: Policy) -> float:
    """Expected revenue, in pico-USD.

    Args:
        at_stake: rungs, best first.
        first_us: forecast of the first token, from now.
        middle_us: forecast of the middle token, from now.
        policy: for the shapes.
    """
    revenue = met_first = met_middle = 0.0
    ttft_shape, tpot_shape = policy.ttft_shape, policy.tpot_shape
    for stake in at_stake:  # chance() is written out: this runs for every offer of every decision
        due_us = stake.first_due_us
        first = 1.0 / (1.0 + (first_us / due_us) ** ttft_shape) if due_us > 0 else 0.0
        if first > met_first:
            revenue += (first - met_first) * stake.input_pico
            met_first = first
        due_us = stake.middle_due_us
        middle = 1.0 / (1.0 + (middle_us / due_us) ** tpot_shape) if due_us > 0 else 0.0
        if middle > met_middle:
            revenue += (middle - met_middle) * stake.output_pico
            met_middle = middle
        if met_first > _SURE and met_middle > _SURE:
            break
    return revenue


def slot_pico(shadow_price: float, slot_us: float) -> float:
    """What holding a slot for ``slot_us`` keeps from other work, in pico-USD."""
    return shadow_price * slot_us / US_PER_S
