"""What a run earned, cost and kept: a JSON-ready report, byte for byte the same for the same scenario and seed; pure.

Money is decimal text of USD; times are whole µs; shares are rounded to six decimals. In flight at the end is told
apart and belongs to no tier's attainment.
"""

import hashlib
import json
from array import array
from typing import Any, Final

import numpy as np

from app.simulation.engine import Run
from app.simulation.market import NS_PER_HOUR
from app.simulation.plant import NS_PER_US, Unit
from app.simulation.tally import Sales
from pricing.money import format_usd
from pricing.pricebook import canonical_json
from pricing.slo import Tier

FORMAT: Final = "goodput-simulation/1"
NS_PER_S: Final = 1_000_000_000
PERCENTILES: Final = (50, 95, 99)
TOKENS_PER_MTOK: Final = 1_000_000
_NOTHING: Final = Sales()


def report(run: Run, version: str) -> dict[str, Any]:
    """Everything there is to say about a run, JSON-ready.

    Args:
        run: as it ended.
        version: of the code that ran.
    """
    return {
        "format": FORMAT,
        "manifest": manifest(run, version),
        "requests": _requests(run),
        "conservation": conservation(run),
        "money": money(run),
        "tokens": _tokens(run),
        "tiers": {tier.value: _tier(run, tier) for tier in _tiers(run)},
        "models": {model: _sales(sales) for model, sales in sorted(run.tally.by_model.items())},
        "offers": {unit.supply.offer.id: _offer(run, unit) for unit in run.units.values()},
        "ledger": _ledger(run),
    }


def report_bytes(document: dict[str, Any]) -> bytes:
    """The report as it is printed and compared: indented, keys sorted, a line feed at its end."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def manifest(run: Run, version: str) -> dict[str, Any]:
    """What the result follows from: the same manifest gives the same report."""
    market = run.market
    workload = run.workload.document()
    return {
        "version": version,
        "seed": run.seed,
        "duration_s": run.duration_ns / NS_PER_S,
        "market": market.source,
        "market_sha256": market.sha256,
        "price_book_id": market.book.id,
        "price_book_sha256": market.book.sha256,
        "workload": workload,
        "workload_sha256": hashlib.sha256(canonical_json(workload | {"lengths": list(run.workload.trace)})).hexdigest(),
        "notes": sorted({f"{s.offer.id}: {note}" for s in market.supplies for note in s.notes}),
    }


def conservation(run: Run) -> dict[str, Any]:
    """Where every request offered is now; the parts must sum to the whole."""
    tally = run.tally
    parts = {
        "billed_at_tier": tally.charges["at_tier"],
        "billed_below_tier": tally.charges["below_tier"],
        "free": tally.charges["free"],
        "refused": tally.refused.total(),
        "in_flight": run.in_flight,
        "waiting": run.waiting,
    }
    offered = tally.offered.total()
    return {"offered": offered, **parts, "is_balanced": sum(parts.values()) == offered}


def money(run: Run) -> dict[str, Any]:
    """Revenue, what it cost, and what is left; owned fleets cost by time, idle or not, bought tokens by the token."""
    tally = run.tally
    gross = sum(sales.gross for sales in tally.by_tier.values())
    net = sum(sales.net for sales in tally.by_tier.values())
    owned = sum(unit.supply.cost_of_time(run.duration_ns) for unit in run.units.values())
    used = sum(sales.cost for sales in tally.by_tier.values()) - tally.bought
    cost = owned + tally.bought
    margin = net - cost
    return {
        "revenue_gross": format_usd(gross),
        "slo_adjustments": format_usd(gross - net),
        "revenue_net": format_usd(net),
        "cost_owned_by_time": format_usd(owned),
        "cost_owned_of_tokens_made": format_usd(used),
        "cost_bought_by_token": format_usd(tally.bought),
        "cost": format_usd(cost),
        "margin": format_usd(margin),
        "margin_share": _share(margin, net),
        "margin_per_hour": format_usd(margin * NS_PER_HOUR // run.duration_ns),
        "quoted_ceiling": format_usd(tally.quoted),
    }


def _requests(run: Run) -> dict[str, Any]:
    tally = run.tally
    reasons: dict[str, int] = {}
    for (_, reason), count in sorted(tally.refused.items()):
        reasons[reason] = reasons.get(reason, 0) + count
    return {
        "offered": tally.offered.total(),
        "offered_per_s": _rate(tally.offered.total(), run),
        "admitted": tally.dispatched.total(),
        "waited": tally.waited,
        "finished": tally.finished,
        "finished_per_s": _rate(tally.finished, run),
        "refused": tally.refused.total(),
        "refused_by_reason": reasons,
        "in_flight": run.in_flight,
        "waiting": run.waiting,
    }


def _tokens(run: Run) -> dict[str, Any]:
    sales = run.tally.by_tier.values()
    output, good = sum(s.tokens_output for s in sales), sum(s.tokens_good for s in sales)
    return {
        "input": sum(s.tokens_input for s in sales),
        "output_delivered": output,
        "output_good": good,
        "good_share": _share(good, output),
        "throughput_tok_s": _rate(output, run),
        "goodput_tok_s": _rate(good, run),
    }


def _tiers(run: Run) -> list[Tier]:
    tally = run.tally
    return [tier for tier in Tier if tally.offered[tier] or tally.dispatched[tier]]


def _tier(run: Run, tier: Tier) -> dict[str, Any]:
    tally = run.tally
    refused = {reason: count for (t, reason), count in sorted(tally.refused.items()) if t is tier}
    return {
        "offered": tally.offered[tier],
        "admitted": tally.dispatched[tier],
        "refused": sum(refused.values()),
        "refused_by_reason": refused,
        **_sales(tally.by_tier.get(tier, _NOTHING)),
        "ended_us": _percentiles(tally.ended_us.get(tier)),
        "ttft_us": _percentiles(tally.ttft_us.get(tier)),
        "tpot_us": _percentiles(tally.tpot_us.get(tier)),
    }


def _sales(sales: Sales) -> dict[str, Any]:
    tokens = sales.tokens_input + sales.tokens_output
    return {
        "finished": sales.finished,
        "attainment": _share(sales.attained, sales.finished),
        "token_attainment": _share(sales.tokens_good, sales.tokens_output),
        "tokens_input": sales.tokens_input,
        "tokens_output": sales.tokens_output,
        "tokens_good": sales.tokens_good,
        "revenue_gross": format_usd(sales.gross),
        "slo_adjustments": format_usd(sales.adjustment),
        "revenue_net": format_usd(sales.net),
        "cost_of_tokens": format_usd(sales.cost),
        "effective_usd_per_mtok": _per_mtok(sales.net, tokens),
        "effective_usd_per_mtok_output": _per_mtok(sales.net, sales.tokens_output),
    }


def _offer(run: Run, unit: Unit) -> dict[str, Any]:
    offer, duration_us = unit.supply.offer, run.duration_ns // NS_PER_US
    sales = run.tally.by_offer.get(offer.id, _NOTHING)
    by_time = unit.supply.cost_of_time(run.duration_ns)
    cost = by_time if unit.supply.per_hour else sales.cost
    return {
        **_sales(sales),
        "model": offer.model,
        "is_owned": offer.is_owned,
        "concurrency_max": offer.concurrency_max,
        "in_flight_mean": _share(unit.area_us, duration_us),
        "in_flight_peak": unit.in_flight_peak,
        "utilisation": _share(unit.area_us, duration_us * offer.concurrency_max),
        "busy_share": _share(unit.busy_us, duration_us),
        "output_tok_s": _rate(sales.tokens_output, run),
        "cost": format_usd(cost),
        "cost_usd_per_mtok_output": _per_mtok(cost, sales.tokens_output),
        "margin": format_usd(sales.net - cost),
    }


def _ledger(run: Run) -> dict[str, Any]:
    tally = run.tally
    families: dict[str, int] = {}
    for account, amount in sorted(tally.accounts.items()):
        family = account.partition(":")[0]
        families[family] = families.get(family, 0) + amount
    return {
        "transactions": tally.transactions,
        "entries": tally.entries,
        "balance_by_family": {family: format_usd(amount) for family, amount in families.items()},
        "sums_to_zero": sum(tally.accounts.values()) == 0,
    }


def _percentiles(values: "array[int] | None") -> dict[str, int] | None:
    """Nearest-rank percentiles over requests; None when there are none."""
    if not values:
        return None
    found = np.percentile(np.frombuffer(values, dtype=np.int64), PERCENTILES, method="inverted_cdf")
    return {f"p{percentile}": int(value) for percentile, value in zip(PERCENTILES, found, strict=True)}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _rate(count: int, run: Run) -> float:
    return round(count * NS_PER_S / run.duration_ns, 3)


def _per_mtok(amount: int, tokens: int) -> str | None:
    return format_usd(amount * TOKENS_PER_MTOK // tokens) if tokens else None
