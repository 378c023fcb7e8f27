"""What a measurement cannot be, and what it rarely is: mixed units are refused, odd load curves are pointed out.

Seconds are easily given as milliseconds, and nothing in a number says so. Two figures of one load bear each other out:
a first token takes at least some share of a token's time, and one request alone does not take longer to be read than to
be written. What is only unusual is kept and told.
"""

from collections.abc import Iterable
from itertools import pairwise

from pricing.profiles import LengthClass, OperatingPoint, Profile, ProfileError

TPOT_S_MAX = 5.0
"""A fifth of a token a second: slower than anything that is served."""
TPOT_S_MIN = 5e-6
"""200,000 tokens a second for one user: faster than anything that is served."""
FIRST_TOKEN_SHARE_MIN = 0.05
"""A first token takes a forward pass, as every other does; measured ones take at least four times a token's time."""
FIRST_TOKEN_S_LONG = 5.0
READING_SHARE_MIN = 0.5
"""Prompts are read many tokens at a time: measured ones at least half again as fast as answers are written."""
FASTER_SHARE = 0.9
"""A load whose tokens take less than this share of a smaller load's is pointed out."""
SCATTER_MAX = 1.5
"""Two runs of one load further apart than this are pointed out."""


def refuse_mixed_units(point: OperatingPoint) -> None:
    """Refuses a load whose times cannot both be seconds.

    Raises:
        ProfileError: with the figures and what is likely meant.
    """
    ttft_s, tpot_s = point.ttft_s_p50, point.tpot_s_p50
    load = f"ISL/OSL {point.lengths} at concurrency {point.concurrency}"
    if tpot_s > TPOT_S_MAX:
        raise ProfileError(f"{load}: {tpot_s:g} s per token is slower than anything served; is it in milliseconds?")
    if tpot_s < TPOT_S_MIN:
        raise ProfileError(f"{load}: {tpot_s:g} s per token is {1 / tpot_s:,.0f} tok/s/user; is it in another unit?")
    if ttft_s < FIRST_TOKEN_SHARE_MIN * tpot_s:
        raise ProfileError(
            f"{load}: a first token after {ttft_s:g} s and then {tpot_s:g} s for each: the first cannot come that much "
            "sooner; is one of them in milliseconds?"
        )
    is_slow_to_read = point.concurrency == 1 and ttft_s > FIRST_TOKEN_S_LONG
    if is_slow_to_read and point.isl_mean * tpot_s < READING_SHARE_MIN * ttft_s:
        raise ProfileError(
            f"{load}: {ttft_s:g} s to read a prompt of {point.isl_mean:g} tokens that would take "
            f"{point.isl_mean * tpot_s:g} s to write: is the first token's time in milliseconds?"
        )


def oddities(profile: Profile, lengths: LengthClass) -> tuple[str, ...]:
    """What is unusual about a load curve, a sentence each: faster under more load, or runs far apart."""
    by_load: dict[int, list[float]] = {}
    for point in profile.points:
        if point.lengths == lengths:
            by_load.setdefault(point.concurrency, []).append(point.tpot_s_p50)
    name = profile.configuration.deployment_id
    found = [
        f"{name} at concurrency {load}: runs of one day differ {max(times) / min(times):.1f} times in speed"
        for load, times in sorted(by_load.items())
        if max(times) > SCATTER_MAX * min(times)
    ]
    for (less, slow), (more, fast) in pairwise(sorted(by_load.items())):
        if max(fast) < FASTER_SHARE * min(slow):
            found.append(
                f"{name} was measured faster at concurrency {more} than at {less} ({1 / max(fast):.3g} against "
                f"{1 / min(slow):.3g} tok/s/user): more load does not speed an answer up"
            )
    return tuple(found)


def oddities_of(profiles: Iterable[Profile], lengths: LengthClass) -> tuple[str, ...]:
    """The oddities of several profiles, each once."""
    return tuple(dict.fromkeys(each for profile in profiles for each in oddities(profile, lengths)))


def queue_dominated(profiles: Iterable[Profile], lengths: LengthClass) -> str:
    """Why nothing of a class can be used, where every load of it waits longer than it is served; empty elsewhere."""
    loads = [
        (profile, point)
        for profile in profiles
        for point in profile.points
        if point.lengths == lengths and not profile.is_bought_by_token
    ]
    if not loads or not all(point.is_queue_dominated for _, point in loads):
        return ""
    profile, point = min(loads, key=lambda each: each[1].ttft_s_p50)
    where = f"{profile.configuration.deployment_id} at concurrency {point.concurrency}"
    return (
        f"every load of {profile.model} at ISL/OSL {lengths} is queue-dominated: its first token takes more than half "
        f"of the answer (at best {point.ttft_s_p50:.4g} of {point.end_to_end_s:.4g} s, {where}); measure at smaller "
        "loads, or is the first token's time in milliseconds?"
    )
