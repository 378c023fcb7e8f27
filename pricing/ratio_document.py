"""The JSON form of a prefill : decode recommendation: what was measured, and what is modelled from it."""

from collections.abc import Mapping
from typing import Any

from pricing.derivation_document import DIGITS
from pricing.profiles import Basis
from pricing.ratio import PoolRate, RatioRow, Recommendation

Cited = Mapping[str, str]
"""By deployment id, where its worker counts come from."""


def recommendation_document(made: Recommendation, gpus: int, cited: Cited) -> dict[str, Any]:
    """One family's balance, dividing so many GPUs, with the pairs of pools that were measured.

    Args:
        made: the balance.
        gpus: how many to divide into whole pools.
        cited: where worker counts come from.
    """
    prefill_gpus, decode_gpus = made.divided(gpus)
    return {
        "hardware": made.family.hardware,
        "engine": made.family.engine,
        "precision": made.family.precision,
        "spec_decoding": made.family.spec_decoding,
        "interactivity_tok_s_user": made.tok_s_user,
        "prefill_per_decode": round(made.ratio, DIGITS),
        "prefill_share": round(made.prefill_share, DIGITS),
        "prefill_gpus": prefill_gpus,
        "decode_gpus": decode_gpus,
        "balanced": {
            "basis": Basis.MODELLED.value,
            "tput_tok_s_per_gpu": round(made.tok_s_per_gpu, DIGITS),
            "usd_per_mtok_total": round(made.usd_per_mtok, DIGITS),
            "tput_tok_s_per_gpu_in_whole_gpus": round(made.at_ratio(prefill_gpus, decode_gpus), DIGITS),
        },
        "prefill": [_rate_document(rate) for rate in made.prefill],
        "decode": [_rate_document(rate) for rate in made.decode],
        "measured": [_row_document(row, cited) for row in made.rows],
        "notes": list(made.notes),
    }


def _rate_document(rate: PoolRate) -> dict[str, Any]:
    return {
        "isl": rate.lengths.isl,
        "osl": rate.lengths.osl,
        "requests_s_per_gpu": rate.requests_s_per_gpu,
        "gpu_s_per_request": rate.gpu_s,
        "basis": rate.evidence.point.provenance.basis.value,
        "seen_at": rate.evidence.id,
    }


def _row_document(row: RatioRow, cited: Cited) -> dict[str, Any]:
    return {
        "isl": row.lengths.isl,
        "osl": row.lengths.osl,
        "prefill_gpus": row.prefill_gpus,
        "decode_gpus": row.decode_gpus,
        "prefill_per_decode": round(row.prefill_gpus / row.decode_gpus, DIGITS),
        "interactivity_tok_s_user": round(row.best.tok_s_user, DIGITS),
        "tput_tok_s_per_gpu": round(row.best.tok_s_per_gpu, DIGITS),
        "usd_per_mtok_total": round(row.best.usd_per_mtok, DIGITS),
        "basis": row.best.point.provenance.basis.value,
        "modelled_tok_s_per_gpu": round(row.modelled_tok_s_per_gpu, DIGITS),
        "limited_by": row.limited_by,
        "id": row.best.id,
        "worker_counts_from": cited.get(row.best.deployment_id),
    }
