"""Puts the feasible offers of one decision in the order in which they are tried."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from random import Random

from pricing.slo import Tier
from scheduler.columns import Row
from scheduler.fleet import UNBOUNDED
from scheduler.policy import Policy
from scheduler.preferences import Preferences, Sort

_BY_VALUE = attrgetter("value")


@dataclass(slots=True)
class Scored:
    """A feasible offer: its worth, and what was found on the way to it.

    Attributes:
        value: expected revenue less cost, pico-USD.
        in_flight: the load there, this job not included.
        in_flight_max: the largest load that this job's own promise tolerates there.
        ttft_us, tpot_us: calibrated forecasts for this job.
        in_flight_tolerated: what the promises already running there tolerate.
    """

    value: float
    row: Row
    in_flight: int
    in_flight_max: int
    ttft_us: float
    tpot_us: float
    in_flight_tolerated: int = UNBOUNDED


@dataclass(frozen=True, slots=True)
class Pick:
    """What the order depends on besides the offers.

    Attributes:
        tier: the tier served.
        price_pico: what the job earns in full at that tier; the yardstick of a tie.
        input_tokens, output_tokens: of the job, as predicted.
    """

    tier: Tier
    price_pico: int
    input_tokens: int = 0
    output_tokens: int = 0


Rank = Callable[[list[Scored], Pick, Random, Policy], list[Scored]]
"""Puts feasible offers in the order to try them; :func:`ranked` unless another rule is to be compared with it."""


def ranked(found: list[Scored], pick: Pick, rng: Random, policy: Policy) -> list[Scored]:
    """The offers to try, best first, at most ``candidates_max``.

    Offers of nearly the same value are equally good: then owned capacity, which is paid for anyway, goes before bought;
    owned load is spread by taking the less loaded of two drawn at random, bought load is packed on the fullest.
    """
    if len(found) > 1:
        found.sort(key=_BY_VALUE, reverse=True)  # a stable sort: equal values stay in the fleet's order
        first = _first(found, pick, rng, policy)
        if first:
            found.insert(0, found.pop(first))
    return found[: policy.candidates_max]


def preferred(found: list[Scored], pick: Pick, wishes: Preferences, policy: Policy) -> list[Scored]:
    """The offers to try in the order that the customer wishes, at most ``candidates_max``; equals by their value."""
    places = {provider: place for place, provider in enumerate(wishes.order)}

    def key(scored: Scored) -> tuple[int, bool, float, float]:
        place = places.get(scored.row.offer.provider_id, len(places))
        return place, _is_short(scored, wishes), _by(scored, pick, wishes.sort), -scored.value

    return sorted(found, key=key)[: policy.candidates_max]


def _is_short(scored: Scored, wishes: Preferences) -> bool:
    """Whether an offer falls short of a threshold that the customer would like to see met."""
    is_late = wishes.ttft_us_wished is not None and scored.ttft_us > wishes.ttft_us_wished
    return is_late or (wishes.tpot_us_wished is not None and scored.tpot_us > wishes.tpot_us_wished)


def _by(scored: Scored, pick: Pick, sort: Sort | None) -> float:
    match sort:
        case Sort.PRICE:
            return float(scored.row.cost_input * pick.input_tokens + scored.row.cost_output * pick.output_tokens)
        case Sort.LATENCY:
            return scored.ttft_us
        case Sort.THROUGHPUT:
            return scored.tpot_us
        case None:
            return 0.0


def _first(found: list[Scored], pick: Pick, rng: Random, policy: Policy) -> int:
    if policy.explore_share and pick.tier is not Tier.PREMIUM and rng.random() < policy.explore_share:
        return _draw(rng, len(found))
    least = found[0].value - policy.tie_share * pick.price_pico
    if found[1].value < least:
        return 0
    owned = [index for index, scored in enumerate(found) if scored.value >= least and scored.row.is_owned]
    if owned:
        return _less_loaded_of_two(found, owned, rng)
    return _fullest(found, [index for index, scored in enumerate(found) if scored.value >= least])


def _less_loaded_of_two(found: list[Scored], among: list[int], rng: Random) -> int:
    if len(among) == 1:
        return among[0]
    one = _draw(rng, len(among))
    other = _draw(rng, len(among) - 1)
    other += other >= one
    return min(among[one], among[other], key=lambda index: (_utilisation(found[index]), index))


def _fullest(found: list[Scored], among: list[int]) -> int:
    return min(among, key=lambda index: (-_utilisation(found[index]), index))


def _utilisation(scored: Scored) -> float:
    return scored.in_flight / scored.row.room


def _draw(rng: Random, count: int) -> int:
    return int(rng.random() * count)
