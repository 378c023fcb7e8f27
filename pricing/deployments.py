"""The load curve of every configuration: what an emulated engine follows and what a scheduler predicts from."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, nnls

from pricing.profiles import US_PER_S, Deployment, LengthClass, OperatingPoint, Profile, ProfileError, cleaned

Floats = NDArray[np.float64]


def deployments(profiles: Iterable[Profile], model: str, isl: int, osl: int) -> tuple[Deployment, ...]:
    """Every configuration on which a model was measured in a length class, as load curves, by deployment id.

    Args:
        profiles: as loaded; they are cleaned here (:func:`pricing.profiles.cleaned`).
        model: the profiles' own name of it.
        isl: nominal prompt length, tokens.
        osl: nominal answer length, tokens.
    """
    lengths = LengthClass(isl, osl)
    found = [
        deployment(profile, lengths)
        for profile in cleaned(each for each in profiles if each.model == model)
        if lengths in profile.classes
    ]
    return tuple(sorted(found, key=lambda each: each.deployment_id))


def deployment(profile: Profile, lengths: LengthClass) -> Deployment:
    """The load curve of one configuration in one length class.

    Where two runs share a load the slower one is followed: a prediction must hold for either. Times never fall as load
    rises: scatter is evened out by isotonic regression.

    Raises:
        ProfileError: the class was not measured.
    """
    points = _one_per_load([point for point in profile.points if point.lengths == lengths])
    if not points:
        measured = ", ".join(map(str, profile.classes))
        raise ProfileError(f"{profile.id} was not measured at ISL/OSL {lengths}; measured: {measured}")
    ttft_us = _never_falling([point.ttft_s_p50 * US_PER_S for point in points])
    base_us, prefill_tok_s = _prefill(profile, lengths)
    limit = profile.limits.concurrency_max
    return Deployment(
        deployment_id=profile.configuration.deployment_id,
        model=profile.model,
        configuration=profile.configuration,
        lengths=lengths,
        concurrency=tuple(point.concurrency for point in points),
        tpot_us=_never_falling([point.tpot_s_p50 * US_PER_S for point in points]),
        ttft_us=ttft_us,
        ttft_base_us=base_us,
        prefill_tok_s=prefill_tok_s,
        concurrency_max=limit or points[-1].concurrency,
        is_limit_assumed=limit is None,
        context_max=profile.limits.context_max,
        points=tuple(points),
        price=profile.price,
    )


def slowed(found: Deployment, slowdown: float) -> Deployment:
    """The same deployment when every token takes ``slowdown`` times as long: a shared adapter's work, say.

    Raises:
        ProfileError: a slowdown that is not above zero.
    """
    if not slowdown > 0:
        raise ProfileError(f"a slowdown must be above 0, got {slowdown}")
    return replace(
        found,
        tpot_us=tuple(value * slowdown for value in found.tpot_us),
        ttft_us=tuple(value * slowdown for value in found.ttft_us),
        ttft_base_us=found.ttft_base_us * slowdown,
        prefill_tok_s=found.prefill_tok_s / slowdown,
    )


def _one_per_load(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    slowest: dict[int, OperatingPoint] = {}
    for point in points:
        other = slowest.get(point.concurrency)
        if other is None or (point.tpot_s_p50, point.ttft_s_p50) > (other.tpot_s_p50, other.ttft_s_p50):
            slowest[point.concurrency] = point
    return [slowest[concurrency] for concurrency in sorted(slowest)]


def _never_falling(values: Sequence[float]) -> tuple[float, ...]:
    evened: Floats = isotonic_regression(np.array(values)).x
    return tuple(float(value) for value in evened)


def _prefill(profile: Profile, lengths: LengthClass) -> tuple[float, float]:
    """(base µs, prompt tokens/s): the unloaded first token of several prompt lengths, split into a base and a slope.

    A replica that was measured taking in so many prompt tokens a second can take in at least that many, and an idle
    first token of the class is never predicted later than it was measured.
    """
    idle = _idle_first_tokens(profile)
    mean, first_s = idle[lengths.isl]
    prefill_tok_s = profile.prefill_tok_s or _slope_tok_s(list(idle.values())) or mean / first_s
    if profile.prefill_tok_s is None:
        prefill_tok_s = max(prefill_tok_s, mean / first_s, *(point.input_tok_s for point in profile.points))
    return max(first_s - mean / prefill_tok_s, 0.0) * US_PER_S, prefill_tok_s


def _idle_first_tokens(profile: Profile) -> dict[int, tuple[float, float]]:
    """By nominal prompt length: its mean length and the earliest first token measured, in seconds."""
    idle: dict[int, tuple[float, float]] = {}
    for point in profile.points:
        earlier = idle.get(point.lengths.isl)
        if earlier is None or point.ttft_s_p50 < earlier[1]:
            idle[point.lengths.isl] = (point.isl_mean, point.ttft_s_p50)
    return idle


def _slope_tok_s(idle: Sequence[tuple[float, float]]) -> float | None:
    """Prompt tokens/s from ``ttft = base + isl / prefill`` by non-negative least squares of relative errors."""
    if len(idle) < 2:  # noqa: PLR2004 (two unknowns)
        return None
    lengths, first_s = np.array(idle).T
    (_, seconds_per_token), _ = nnls(np.column_stack([1 / first_s, lengths / first_s]), np.ones(len(first_s)))
    return 1 / float(seconds_per_token) if seconds_per_token > 0 else None
