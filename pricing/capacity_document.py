"""The JSON form of a capacity plan."""

from typing import Any

from pricing.capacity import Plan, Shadows

DIGITS = 6


def plan_document(found: Plan) -> dict[str, Any]:
    """A plan for machines; dollars are null and uses empty when no fleet serves the demand."""
    is_solved = found.shadows is not None
    return {
        "status": found.status.value,
        "reason": found.reason,
        "usd_per_hour": round(found.usd_per_hour, DIGITS) if is_solved else None,
        "gpus": {name: round(count, DIGITS) for name, count in found.gpus.items()},
        "mw": None if found.mw is None else round(found.mw, DIGITS),
        "uses": [
            {
                "tier": use.option.tier.value,
                "hardware": use.option.hardware,
                "deployment": use.option.deployment_id,
                "tok_s_per_gpu": round(use.option.tok_s_per_gpu, DIGITS),
                "n_gpus": use.option.n_gpus,
                "gpus": [round(count, DIGITS) for count in use.gpus],
                "replicas": use.replicas,
            }
            for use in found.uses
        ],
        "shadow_prices": None if found.shadows is None else _shadows_document(found.shadows),
        "unserved_tok_s": {tier.value: round(short, DIGITS) for tier, short in found.unserved_tok_s.items()},
    }


def _shadows_document(shadows: Shadows) -> dict[str, Any]:
    return {
        "usd_per_mtok": {
            tier.value: [round(usd, DIGITS) for usd in each] for tier, each in shadows.usd_per_mtok.items()
        },
        "usd_per_gpu_hour": {name: round(usd, DIGITS) for name, usd in shadows.usd_per_gpu_hour.items()},
        "usd_per_mw_hour": round(shadows.usd_per_mw_hour, DIGITS),
    }
