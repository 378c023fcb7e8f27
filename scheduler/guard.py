"""Keeps room for better tiers that are being asked for: lesser work must not lock out work that pays more.

A premium request tolerates fewer neighbours than a standard one. Where standard work may fill an offer to the brim, a
premium request finds it too full, and the room it needs does not come free in the time it can wait. Two rules, for each
better tier in demand; both compare what a token of either earns, d_t and d_j:

* **Places.** A *place* is room for a request that could start at the tier now, on any of its offers. Of F free places
  the job may take one unless ``ρ^F · d_t > d_j``: ρ = Λ / μ is the tier's demand over what all its places deliver, and
  ρ^F the chance that all F are wanted before one comes free (geometric, for Poisson arrivals and departures). Rare
  premium keeps no place idle; the more it is asked for, and the more it pays, the more places it keeps. ρ is taken as
  0.9 at most, and an idle fleet is open to all.
* **Overfull offers.** Where no place is left at all, the job keeps off the offer that is nearest to having one, if what
  the tier would earn there exceeds what the lesser work loses by running fewer at once:
  ``min(Λ, μ_t) · (d_t − d_j) > (μ_j − μ_t) · d_j``; then off the next one, for what demand is left.

A long prompt takes places away for as long as it delays first tokens: all the offer's places count as taken when the
revenue that it is expected to displace in that time exceeds its own.

Sources: Littlewood (1972), the rule that protects seats for a dearer fare; the geometric law of an M/M/1 queue.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.admission import Ask
from scheduler.columns import Row, Table
from scheduler.demand import TierDemand
from scheduler.fleet import Load, OfferId
from scheduler.load_view import LoadView

_LOAD_MAX = 0.9
_WORTH_MIN = 1e-6


@dataclass(frozen=True, slots=True)
class Guard:
    """What better tiers leave to a job.

    Attributes:
        barred: offers whose room is kept for them.
        share: the part of the room that comes free which the job's tier may expect; 1 when nothing better is wanted.
    """

    barred: frozenset[OfferId] = frozenset()
    share: float = 1.0


UNGUARDED = Guard()


@dataclass(frozen=True, slots=True)
class Kept:
    """One better tier, as it bears on a decision.

    Attributes:
        table: the offers that may serve it, open ones only.
        tokens_per_us: Λ: output tokens asked for, by arrivals.
    """

    table: Table
    demand: TierDemand
    tokens_per_us: float

    @property
    def load_offered(self) -> float:
        """ρ; infinite when the tier has no place at all."""
        return self.tokens_per_us / self.table.pace if self.table.pace else math.inf

    def delay_us(self, row: Row, prefill_tokens: int, margin: float) -> float:
        """By how much a typical first token would miss its promise behind these prompts; 0 or less if it would not."""
        first_us = row.ttft_base_us + (prefill_tokens + self.demand.input_tokens) * row.prompt_token_us
        return first_us - self.demand.rung.slo.ttft_us * (1.0 - margin)


@dataclass(frozen=True, slots=True)
class _Spot:
    """An offer of the better tier as it stands: its free places, at most 0 when it is overfull or delayed."""

    row: Row
    load: Load
    free: int


def places_kept(load_offered: float, worth: float, places: int) -> int:
    """The number of free places at or below which a job may take none.

    Args:
        load_offered: ρ.
        worth: what a token of the job earns over what one of the tier earns.
        places: all places of the tier.

    >>> [places_kept(rho, 0.25, 100) for rho in (0.01, 0.46, 0.8, 5.0)]
    [0, 1, 6, 13]
    """
    if worth >= 1.0:
        return 0
    wished = math.ceil(math.log(max(worth, _WORTH_MIN)) / math.log(min(load_offered, _LOAD_MAX))) - 1
    return max(0, min(wished, places - 1))


def guard(tiers: Sequence[Kept], rows: Sequence[Row], ask: Ask, view: LoadView) -> Guard:
    """What the better tiers in demand leave to a job.

    Args:
        tiers: those above the job's own that are asked for.
        rows: the offers that may serve the job.
        ask: the job.
        view: loads.
    """
    share = max(1.0 - sum(kept.load_offered for kept in tiers), ask.policy.floors.get(ask.tier, 0.0))
    return Guard(frozenset[OfferId]().union(*(_barred_by(kept, rows, ask, view) for kept in tiers)), share)


def _barred_by(kept: Kept, rows: Sequence[Row], ask: Ask, view: LoadView) -> list[OfferId]:
    worth = ask.token_pico / kept.demand.token_pico if kept.demand.token_pico else 1.0
    keep = places_kept(kept.load_offered, worth, kept.table.places)
    spots: list[_Spot] = []
    free = largest = 0
    for row in kept.table.rows:
        spot = _spot(row, kept, ask, view)
        spots.append(spot)
        free += spot.free
        largest = max(largest, spot.free)
        if free - largest >= max(1, keep):
            return []  # whatever this job takes, enough stays free
    barred = [spot.row.id for spot in spots if spot.free and _takes_too_much(spot, kept, ask, free, keep)]
    return barred + _to_drain(spots, kept, rows, ask) if free <= keep else barred


def _spot(row: Row, kept: Kept, ask: Ask, view: LoadView) -> _Spot:
    load = view.load(row.id)
    free = min(row.places, load.in_flight_tolerated) - load.in_flight
    is_in_time = free > 0 and kept.delay_us(row, load.prefill_tokens, ask.policy.margin) <= 0
    return _Spot(row, load, free if is_in_time else 0)


def _takes_too_much(spot: _Spot, kept: Kept, ask: Ask, free: int, keep: int) -> bool:
    if free - 1 < keep:
        return True
    if free - spot.free >= max(1, keep):
        return False
    prefill_tokens = spot.load.prefill_tokens + ask.job.input_tokens
    delay_us = kept.delay_us(spot.row, prefill_tokens, ask.policy.margin)
    return max(0.0, delay_us) * kept.tokens_per_us * kept.demand.token_pico > ask.price_pico


def _to_drain(spots: list[_Spot], kept: Kept, rows: Sequence[Row], ask: Ask) -> list[OfferId]:
    """The overfull offers to keep off, nearest to a free place first, as far as that pays."""
    paces = {row.id: row.pace for row in rows}
    wanted = kept.tokens_per_us
    gain_pico, worth_pico = kept.demand.token_pico - ask.token_pico, ask.token_pico
    drained: list[OfferId] = []
    overfull = [spot for spot in spots if not spot.free and spot.row.places]
    for spot in sorted(overfull, key=lambda spot: (spot.load.in_flight - spot.row.places, spot.load.prefill_tokens)):
        pace = spot.row.pace
        lost_pico = max(0.0, paces.get(spot.row.id, pace) - pace) * worth_pico
        if min(max(0.0, wanted), pace) * gain_pico > lost_pico:
            drained.append(spot.row.id)
            wanted -= pace
    return drained
