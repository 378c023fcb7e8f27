"""Premium tolerates 21 on the standard offer of room 32: μ(21) = 21 / 18.5, μ(32) = 32 / 24 tokens per ms."""

import pytest

from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load
from scheduler.placement import Admit
from scheduler.policy import Policy
from tests.scheduler.round_numbers import MS, PREMIUM_TOLERATES, S, fleet, job, names, offer, oid, rates

PLAIN = Policy(bank_share=0.0)


def wanting(snapshot: Fleet, *tiers: Tier, times: int = 40) -> Dispatcher:
    """A dispatcher that has lately been asked for these tiers."""
    dispatcher = Dispatcher(PLAIN)
    for number in range(times):
        for tier in tiers:
            dispatcher.on_arrival(job(f"{tier}{number}", tier=tier), snapshot, number * 10 * MS)
            dispatcher.on_withdrawn(job(f"{tier}{number}").id)
    return dispatcher


def value(dispatcher: Dispatcher, snapshot: Fleet, name: str) -> float:
    admit = dispatcher.on_arrival(job(requested_at_us=S), snapshot, S)
    assert isinstance(admit, Admit)
    dispatcher.on_withdrawn(admit.job.id)
    return next(each.value_pico for each in admit.candidates if each.offer.id == oid(name))


def test_premium_goes_where_it_costs_lesser_work_nothing() -> None:
    """On a premium already runs, so one more lowers nothing; b is free to run to its full room."""
    snapshot = fleet(offer("b"), offer("a"), loads={"a": Load(1, in_flight_tolerated=PREMIUM_TOLERATES)})
    assert (
        names(wanting(snapshot, Tier.PREMIUM, Tier.STANDARD).on_arrival(job(requested_at_us=S), snapshot, S))[0] == "a"
    )


def test_what_is_displaced_is_the_tokens_lost_at_what_the_best_lesser_tier_pays() -> None:
    """Demand far above capacity: 101 tokens of 10 ms each lose μ(32) − μ(21) all along.

    32 / 24 − 21 / 18.5 tokens per ms = 0.198198; standard pays (200 · 1000 + 800 · 101) / 101 k pico a token.
    """
    both = fleet(offer("a"), offer("b"), loads={"a": Load(1, in_flight_tolerated=PREMIUM_TOLERATES), "b": Load(1)})
    busy = wanting(both, Tier.PREMIUM, Tier.STANDARD, times=400)
    apart = value(busy, both, "a") - value(busy, both, "b")
    token_pico = (200_000 * 1_000 + 800_000 * 101) / 101
    assert apart == pytest.approx((32 / 24 - 21 / 18.5) * 101 * 10.285714 * token_pico, rel=0.02)


def test_nothing_is_displaced_where_nobody_asks_for_less() -> None:
    both = fleet(offer("a"), offer("b"), loads={"a": Load(1, in_flight_tolerated=PREMIUM_TOLERATES), "b": Load(1)})
    alone = wanting(both, Tier.PREMIUM)
    assert value(alone, both, "a") == pytest.approx(value(alone, both, "b"))


def test_a_dearer_offer_is_taken_when_the_cheap_one_would_lose_more() -> None:
    cheap = offer("cheap", cost=rates(1_000, 4_000))
    kept = offer("kept", cost=rates(20_000, 60_000))
    snapshot = fleet(cheap, kept, loads={"cheap": Load(1), "kept": Load(1, in_flight_tolerated=PREMIUM_TOLERATES)})
    assert names(wanting(snapshot, Tier.PREMIUM).on_arrival(job(requested_at_us=S), snapshot, S))[0] == "cheap"
    assert (
        names(
            wanting(snapshot, Tier.PREMIUM, Tier.STANDARD, times=400).on_arrival(job(requested_at_us=S), snapshot, S)
        )[0]
        == "kept"
    )
