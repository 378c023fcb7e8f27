"""What a decision reads of each offer, worked out once and kept: a decision over fifty offers must take some 100 µs.

A row depends on an offer (immutable), a promise and a calibration; it is made anew when one of them is another object.
Nothing in here can change a decision: it is a memory, not a state.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pricing.slo import Rung, Slo, Tier
from scheduler import filters
from scheduler.fleet import NEUTRAL, Calibration, Fleet, Offer, OfferId
from scheduler.forecast import interpolated, load_within, prompt_token_us
from scheduler.jobs import Capability
from scheduler.policy import Policy

_KEYS_MAX = 512
_GRAINS = 64
_LIMITS_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Row:
    """One offer under one promise.

    Attributes:
        room: the most requests that this tier may bring it to; within what was measured.
        in_flight_max: the largest load at which the promised time per token holds with its margin; 1 where it holds
            alone without the margin; 0 where it does not even then. A window leaves it at ``room``.
        places: the most requests of this tier that it takes: the smaller of both.
        pace: output tokens per µs that so many requests are given together.
        ttft_base_us: calibrated µs to a first token, beyond the prefill.
        prompt_token_us: calibrated µs per prompt token.
        tpot_us: calibrated µs per output token at each load in ``concurrency``. Shape (points,).
        cost_input: pico-USD per prompt token.
        cost_output: pico-USD per output token.
        grain_us: limits on the time per token are rounded down to a multiple of this before they are looked up.
    """

    offer: Offer
    id: OfferId
    calibration: Calibration
    is_owned: bool
    context_max: int
    room: int
    in_flight_max: int
    places: int
    pace: float
    ttft_base_us: float
    prompt_token_us: float
    concurrency: tuple[int, ...]
    tpot_us: tuple[float, ...]
    cost_input: int
    cost_output: int
    grain_us: float
    known_us: dict[int, float] = field(default_factory=dict[int, float], compare=False, repr=False)
    known_paces: dict[int, float] = field(default_factory=dict[int, float], compare=False, repr=False)
    known_loads: dict[int, int] = field(default_factory=dict[int, int], compare=False, repr=False)

    def tpot_at(self, in_flight: int) -> float:
        """Calibrated µs per output token at a load that was measured; remembered by load."""
        known_us = self.known_us.get(in_flight)
        if known_us is None:
            known_us = self.known_us[in_flight] = interpolated(self.concurrency, self.tpot_us, in_flight)
        return known_us

    def load_within(self, tpot_limit_us: float) -> int:
        """The largest load measured at which a token takes at most ``tpot_limit_us``; 0 when none is."""
        return load_within(self.concurrency, self.tpot_us, tpot_limit_us)

    def pace_at(self, in_flight: int) -> float:
        """Output tokens per µs that so many requests are given together; remembered by load."""
        pace = self.known_paces.get(in_flight)
        if pace is None:
            pace = self.known_paces[in_flight] = in_flight / self.tpot_at(in_flight) if in_flight > 0 else 0.0
        return pace

    def tolerated(self, tpot_limit_us: float) -> int:
        """The largest load, up to its room, at which a token takes at most ``tpot_limit_us``; remembered by grain.

        At least ``in_flight_max``, the load that the promised time per token tolerates by itself.
        """
        grains = int(tpot_limit_us / self.grain_us)
        load = self.known_loads.get(grains)
        if load is None:
            if len(self.known_loads) >= _LIMITS_MAX:
                self.known_loads.clear()
            within = min(self.room, self.load_within(grains * self.grain_us))
            load = self.known_loads[grains] = max(self.in_flight_max, within)
        return load


def row(offer: Offer, rung: Rung, calibration: Calibration, policy: Policy) -> Row:
    """Works out the row of an offer."""
    curve = offer.speed
    tpot_us = tuple(calibration.tpot * measured_us for measured_us in curve.tpot_us)
    cap = min(offer.concurrency_max, curve.concurrency_measured)
    in_flight_max = cap if rung.slo.is_window else min(cap, _tolerated(curve.concurrency, tpot_us, rung.slo, policy))
    room = _room(offer, rung.tier, cap, policy)
    places = min(room, in_flight_max)
    return Row(
        offer=offer,
        id=offer.id,
        calibration=calibration,
        is_owned=offer.is_owned,
        context_max=offer.context_max,
        room=room,
        in_flight_max=in_flight_max,
        places=places,
        pace=places / interpolated(curve.concurrency, tpot_us, places) if places > 0 else 0.0,
        ttft_base_us=calibration.ttft * curve.ttft_base_us,
        prompt_token_us=calibration.ttft * prompt_token_us(curve),
        concurrency=curve.concurrency,
        tpot_us=tpot_us,
        cost_input=offer.cost.input,
        cost_output=offer.cost.output,
        grain_us=max(1.0, rung.slo.tpot_us / _GRAINS),
    )


def _room(offer: Offer, tier: Tier, cap: int, policy: Policy) -> int:
    """Bulk fills valleys: where better tiers are served it leaves them some room."""
    if tier is not Tier.BULK or offer.tiers <= {Tier.BULK}:
        return cap
    return min(cap, max(1, int(cap * policy.bulk_share_max)))


def _tolerated(concurrency: tuple[int, ...], tpot_us: tuple[float, ...], slo: Slo, policy: Policy) -> int:
    within = load_within(concurrency, tpot_us, slo.tpot_us * (1.0 - policy.margin))
    return max(within, 1 if tpot_us[0] <= slo.tpot_us else 0)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of all offers that may serve one promise and the same needs.

    Attributes:
        rows: in the fleet's order.
        places: of all rows together.
        pace: of all places together, output tokens per µs.
        pace_full: of all rows at their full room.
    """

    rows: tuple[Row, ...]
    places: int
    pace: float
    pace_full: float


def table(rows: Iterable[Row]) -> Table:
    """Puts rows together."""
    kept = tuple(rows)
    return Table(
        rows=kept,
        places=sum(each.places for each in kept),
        pace=sum(each.pace for each in kept),
        pace_full=sum(each.pace_at(each.room) for each in kept),
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    policy: Policy
    offers: tuple[Offer, ...]
    calibrations: Mapping[OfferId, Calibration]
    table: Table


class Rows:
    """The tables of every (model, tier, promise, needs) lately asked for."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._kept: dict[tuple[str, Tier, Slo, frozenset[Capability]], _Kept] = {}

    def of(
        self, fleet: Fleet, model: str, rung: Rung, needs: frozenset[Capability], policy: Policy | None = None
    ) -> Table:
        """The rows of all offers that may serve the rung.

        Args:
            fleet: the snapshot.
            model: whose offers.
            rung: promise and tier.
            needs: what the offers must be able to do.
            policy: where another margin is in force than the usual one.
        """
        policy = policy or self._policy
        key = (model, rung.tier, rung.slo, needs)
        offers = fleet.offers.get(model, ())
        kept = self._kept.get(key)
        if kept is not None and kept.offers is offers and kept.policy is policy:
            if kept.calibrations is fleet.calibrations:
                return kept.table
            known = fleet.calibrations.get
            rows = [_current(old, known(old.id, NEUTRAL), rung, policy) for old in kept.table.rows]
        else:
            able = (offer for offer in offers if filters.serves(offer, rung.tier, needs))
            rows = [row(offer, rung, fleet.calibration(offer.id), policy) for offer in able]
        if len(self._kept) >= _KEYS_MAX and key not in self._kept:
            self._kept.clear()
        fresh = table(rows)
        self._kept[key] = _Kept(policy, offers, fleet.calibrations, fresh)
        return fresh


def _current(old: Row, calibration: Calibration, rung: Rung, policy: Policy) -> Row:
    is_same = calibration is old.calibration or calibration == old.calibration
    return old if is_same else row(old.offer, rung, calibration, policy)
