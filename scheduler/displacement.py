"""What a job, placed on one of several offers, keeps others from earning there; pure.

    ``(μ(M) − μ(m))⁺ · osl · TPOT̂ · d · min(1, Λ / μ)``

A job that tolerates few neighbours (m) lowers what an offer can make for as long as it runs: from μ(M) output tokens
per µs, M being what is tolerated there now, to μ(m). The tokens lost are worth what the best lesser tier in demand pays
for them, d, as far as the model's offers are asked for all they can make: Λ over μ. So premium work goes where it is
tolerated at full load, or where other premium work already runs, rather than onto an offer that runs deep.
"""

from collections.abc import Sequence

from scheduler.admission import Ask
from scheduler.columns import Table
from scheduler.demand import TierDemand
from scheduler.pickers import Scored

Wanted = Sequence[tuple[TierDemand, float]]
"""The tiers in demand, with the output tokens per µs asked for."""


def displace(found: Sequence[Scored], ask: Ask, wanted: Wanted, able: Table) -> None:
    """Takes from each offer's value what the job would displace there.

    Args:
        found: the feasible offers; their values change.
        ask: the job.
        wanted: what is asked for.
        able: the offers that may serve the job.
    """
    lesser = [demand.token_pico for demand, _ in wanted if demand.rung.tier.rank > ask.tier.rank]
    if not lesser or not able.pace_full or not ask.policy.displaced_share:
        return
    asked_for = sum(tokens_per_us for _, tokens_per_us in wanted)
    pressure = min(1.0, asked_for / able.pace_full)
    worth = ask.policy.displaced_share * pressure * max(lesser) * max(1, ask.job.output_tokens)
    for scored in found:  # the hot loop: what was looked up before is read without a call
        row, in_flight_max = scored.row, scored.in_flight_max
        now = scored.in_flight_tolerated
        if now >= row.room:
            if in_flight_max >= row.room:
                continue
            now = row.room
        elif in_flight_max >= now:
            continue
        lost = row.pace_at(now) - (row.known_paces.get(in_flight_max) or row.pace_at(in_flight_max))
        if lost > 0:
            scored.value -= worth * lost * scored.tpot_us
