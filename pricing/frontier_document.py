"""The JSON form of a frontier: measured points, readings between them, and the goldilocks zone; for machines."""

import math
from collections.abc import Iterable
from typing import Any

from pricing.candidates import Candidate, Candidates
from pricing.derivation_document import DIGITS, candidate_document, dollars, zone_document
from pricing.frontier import Frontier, Interpolated
from pricing.plausible import oddities_of

NAMES = (
    *("hardware", "engine", "engine_version", "precision", "mode", "spec_decoding", "n_gpus", "concurrency"),
    *("ttft_s", "tpot_s", "basis", "measured_on", "source"),
)
"""What is read off one measured point and means nothing between two that differ in it."""


def frontier_document(found: Candidates, front: Frontier, speeds: Iterable[float] = ()) -> dict[str, Any]:
    """A frontier with its points rising in speed, its zone, and what it reads at the asked speeds.

    Args:
        found: the candidates that the frontier was drawn from.
        front: the frontier.
        speeds: tok/s/user, each inside the measured range.

    Raises:
        OutsideMeasuredRange: a speed beyond the slowest or the fastest point; the message says the range.
    """
    return {
        "model": found.model,
        "isl": found.lengths.isl,
        "osl": found.lengths.osl,
        "axis": front.axis.value,
        "candidates": len(found.points),
        "range_tok_s_user": [round(front.low, DIGITS), round(front.high, DIGITS)],
        "frontier": [point_document(candidate) for candidate in front.points],
        "at": [at_document(front, speed) for speed in speeds],
        "goldilocks": zone_document(front.goldilocks()),
        "flags": list(frontier_flags(found, front)),
        "excluded": [{"profile": name, "reason": reason} for name, reason in found.excluded],
    }


def frontier_flags(found: Candidates, front: Frontier) -> tuple[str, ...]:
    """What a reader should know before believing a frontier: a single load, or load curves that make no sense."""
    loads = {(each.deployment_id, each.point.concurrency) for each in found.points}
    alone = ("one operating point alone: how speed falls with load is not known",) if len(loads) == 1 else ()
    return (*alone, *oddities_of((each.profile for each in front.points), found.lengths))


def point_document(candidate: Candidate) -> dict[str, Any]:
    """One measured point of a frontier, with the deployment that runs it."""
    return {**candidate_document(candidate), "deployment": candidate.deployment_id}


def at_document(front: Frontier, x: float) -> dict[str, Any]:
    """What a frontier reads at a speed: interpolated figures, and beside them what can be promised.

    A name that the two neighbours do not share is null: the reading belongs to no machine.
    """
    read = front.at(x)
    left, right = map(point_document, read.neighbours)
    shared = {name: left[name] if left[name] == right[name] else None for name in (*NAMES, "id", "deployment")}
    return {
        **_figures(read),
        **shared,
        "between": list(read.between),
        "attainable": point_document(read.attainable),
    }


def _figures(read: Interpolated) -> dict[str, Any]:
    power = read.tok_s_per_mw
    return {
        "interactivity_tok_s_user": round(read.tok_s_user, DIGITS),
        "tput_tok_s_per_gpu": round(read.tok_s_per_gpu, DIGITS),
        "output_tok_s_per_gpu": round(read.output_tok_s_per_gpu, DIGITS),
        "usd_per_mtok_total": dollars(read.usd_per_mtok),
        "tok_s_per_mw": None if power is None else round(power, DIGITS),
        "joules_per_token": None if power is None else round(1e6 / power, DIGITS),
    }


def speeds_from(text: str) -> tuple[float, ...]:
    """Speeds from ``"72, 86"``.

    Raises:
        ValueError: a part that is no finite number above zero.

    >>> speeds_from("72,86.5")
    (72.0, 86.5)
    """
    speeds: list[float] = []
    for part in text.split(","):
        try:
            speed = float(part)
        except ValueError:
            speed = math.nan
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"{part.strip()!r} is no speed; write tok/s/user above 0, such as 72 or 72,86")
        speeds.append(speed)
    return tuple(speeds)
