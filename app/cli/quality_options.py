"""How commands are told a least quality: ``--precision-floor``, ``--accuracy`` and ``--accuracy-min``.

Where a command draws tiers, a floor names its tier (``premium=fp8``) or holds for all (``fp8``). A minimum is a share
of the reference's score (``0.98``), or a least score on one benchmark (``gpqa:0.70``); either may name its tier too.
"""

from collections.abc import Iterable
from pathlib import Path

from app.cli.failure import Failure
from pricing.accuracy_table import TEXT_MAX, accuracy_from_csv
from pricing.quality import Accuracy, Floor, QualityError
from pricing.slo import Tier

FLOOR_HELP = "Least precision, TIER=fp8, or fp8 for every tier; repeatable."
ACCURACY_HELP = "Your own accuracy figures, a CSV table: model,precision,benchmark,score,reference,source,date."
MINIMUM_HELP = "Least accuracy: TIER=0.98 of the reference, or TIER=BENCHMARK:0.70; without TIER for all. Repeatable."


def tier_floors(precisions: list[str] | None, accuracy: Path | None, minima: list[str] | None) -> dict[Tier, Floor]:
    """The floor of every tier that was given one.

    Raises:
        Failure: an option that names no tier, no precision or no share, or a table that cannot be read.
    """
    figures = _figures(accuracy, minima)
    precision_by, minima_by = _by_tier(precisions or [], "--precision-floor"), _by_tier(minima or [], "--accuracy-min")
    tiers = [tier for tier in Tier if tier in precision_by or tier in minima_by]
    return {tier: _floor(precision_by.get(tier, []), minima_by.get(tier, []), figures) for tier in tiers}


def one_floor(precision: str | None, accuracy: Path | None, minima: list[str] | None) -> Floor:
    """The floor of a frontier, which belongs to no tier.

    Raises:
        Failure: as :func:`tier_floors`.
    """
    return _floor([precision] if precision else [], minima or [], _figures(accuracy, minima))


def _by_tier(texts: Iterable[str], option: str) -> dict[Tier, list[str]]:
    """Values by tier; one without a tier comes first, so that a tier's own replaces it."""
    found: dict[Tier, list[str]] = {}
    for text in sorted(texts, key=lambda each: "=" in each):
        name, is_named, value = text.partition("=")
        if is_named and name not in set(Tier):
            raise Failure(f"{option} {text!r}: {name!r} is no tier; write premium, standard or bulk before the =")
        for tier in (Tier(name),) if is_named else tuple(Tier):
            found.setdefault(tier, []).append(value if is_named else text)
    return found


def _floor(precisions: list[str], minima: list[str], figures: Accuracy) -> Floor:
    relative_min, score_min = 0.0, dict[str, float]()
    for text in minima:
        benchmark, is_score, value = text.rpartition(":")
        try:
            number = float(value)
        except ValueError as error:
            raise Failure(f"--accuracy-min {text!r}: expected a share such as 0.98, or BENCHMARK:0.70") from error
        if is_score:
            score_min[benchmark] = number
        else:
            relative_min = number
    try:
        return Floor(precisions[-1].lower() if precisions else "", relative_min, score_min, figures)
    except QualityError as error:
        raise Failure(str(error)) from error


def _figures(path: Path | None, minima: list[str] | None) -> Accuracy:
    if path is None:
        if minima:
            raise Failure("--accuracy-min needs --accuracy FILE: without figures no minimum is met")
        return Accuracy()
    if not minima:
        raise Failure(f"--accuracy {path} decides nothing without --accuracy-min, such as standard=0.98")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return accuracy_from_csv(file.read(TEXT_MAX + 1))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, QualityError) as error:
        raise Failure(f"{path}: {error}") from error
