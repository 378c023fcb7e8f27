"""The load curve of a measured deployment, as the scheduler reads it and as a row stores it; pure."""

import math
from collections.abc import Mapping
from typing import Any

from pricing.profiles import Deployment
from scheduler.fleet import SpeedCurve, SpeedCurveError


def speed_curve(deployment: Deployment) -> SpeedCurve:
    """What a scheduler predicts from: the deployment's times per token at each load, and how fast it takes prompts in.

    The measured TTFT at each load is not taken over: it contains the queueing of its own measurement. The scheduler
    adds up what is pending instead.
    """
    return SpeedCurve(
        concurrency=deployment.concurrency,
        tpot_us=deployment.tpot_us,
        ttft_base_us=deployment.ttft_base_us,
        prefill_tok_s=deployment.prefill_tok_s,
    )


def speed_document(curve: SpeedCurve) -> dict[str, Any]:
    """The stored form of a curve, JSON-ready.

    Raises:
        SpeedCurveError: a number that JSON cannot hold.
    """
    if not math.isfinite(curve.prefill_tok_s):
        raise SpeedCurveError(f"prefill_tok_s must be finite to be stored, got {curve.prefill_tok_s}")
    return {
        "concurrency": list(curve.concurrency),
        "tpot_us": list(curve.tpot_us),
        "ttft_base_us": curve.ttft_base_us,
        "prefill_tok_s": curve.prefill_tok_s,
    }


def curve_from_document(document: Mapping[str, Any]) -> SpeedCurve:
    """Reads a stored curve back; the inverse of :func:`speed_document`.

    Raises:
        SpeedCurveError: it is none.
    """
    try:
        return SpeedCurve(
            concurrency=tuple(int(load) for load in document["concurrency"]),
            tpot_us=tuple(float(each) for each in document["tpot_us"]),
            ttft_base_us=float(document["ttft_base_us"]),
            prefill_tok_s=float(document["prefill_tok_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SpeedCurveError(f"not a stored speed curve ({error!r})") from error
