from dataclasses import replace
from datetime import date

import pytest

from app.simulation.market import ImpossibleMarket, Market
from app.simulation.supplies import Evidence, engine_for, followed, market_of, supply_of
from pricing.deployments import deployment as measured
from pricing.hardware import HardwareCost
from pricing.profiles import Basis, Configuration, LengthClass, OperatingPoint, Profile, Provenance
from providers.engine_model.fit import tpot_us
from providers.engine_model.spec import BatchSpec, RemoteSpec
from scheduler.fleet import Offer, OfferId, SpeedCurve
from tests.app.simulation.small_market import book, market, offer, rates, steps, supply

CHAT = LengthClass(1_000, 1_000)
CONFIGURATION = Configuration("gpu", 4, "engine", "fp8", "tp4")
SOURCE = Provenance("a test", Basis.MEASURED, "facts", date(2026, 1, 1))
COSTS = {"gpu": HardwareCost("gpu", 1.25)}


def point(concurrency: int, ttft_s: float, tpot_s: float) -> OperatingPoint:
    return OperatingPoint(CHAT, concurrency, ttft_s, tpot_s, 1_000.0, 1_000.0, 1_000.0, 1_000.0, SOURCE)


PROFILE = Profile("base", CONFIGURATION, (point(2, 0.05, 0.010), point(8, 0.06, 0.013), point(32, 0.09, 0.030)))


def following(factor: float = 1.0, **changes: object) -> Offer:
    found = measured(PROFILE, CHAT)
    curve = SpeedCurve(
        found.concurrency, tuple(t * factor for t in found.tpot_us), found.ttft_base_us, found.prefill_tok_s
    )
    plain = offer(deployment_id=CONFIGURATION.deployment_id, speed=curve, concurrency_max=32)
    return replace(plain, **changes)  # pyright: ignore[reportArgumentType] (fields by name)


def test_an_offer_of_a_known_profile_gets_the_engine_fitted_to_it_and_its_hours_are_costed() -> None:
    made = supply_of(following(), followed(following(), [PROFILE]), COSTS)
    assert isinstance(made.engine, BatchSpec)
    for load, tpot in ((2, 10_000), (8, 13_000), (32, 30_000)):
        assert tpot_us(made.engine, load, 1_000, 1_000) == pytest.approx(tpot, rel=0.01)
    assert made.per_hour == 5_000_000_000  # 4 × 1.25 USD
    assert made.notes[0] == "measured"
    assert "kv_tokens assumed" in made.notes


def test_an_offer_that_is_slower_by_a_factor_follows_its_profile_slowed_by_it() -> None:
    slow = following(factor=1.15)
    made = supply_of(slow, followed(slow, [PROFILE]), COSTS)
    assert isinstance(made.engine, BatchSpec)
    assert tpot_us(made.engine, 8, 1_000, 1_000) == pytest.approx(13_000 * 1.15, rel=0.01)


def test_a_curve_of_another_shape_or_deployment_follows_nothing() -> None:
    bent = following(speed=SpeedCurve((2, 8, 32), (10_000.0, 20_000.0, 30_000.0), 0.0, 1e5))
    fewer = following(speed=SpeedCurve((2, 8), (10_000.0, 13_000.0), 0.0, 1e5))
    elsewhere = following(deployment_id="other")
    assert [followed(each, [PROFILE]) for each in (bent, fewer, elsewhere)] == [None, None, None]


def test_an_unknown_offer_gets_an_engine_from_its_curve_and_the_report_is_told() -> None:
    made = supply_of(offer(), None, COSTS)
    assert made.engine == engine_for(offer())
    assert (made.per_hour, len(made.notes)) == (0, 2)
    assert isinstance(made.engine, BatchSpec)
    assert made.engine.base_table()[8] == 10_000_000_000
    assert (made.engine.prefill_ps, made.engine.entry_ns) == (10_000_000, 10_000_000)


def test_a_hosted_offer_shares_its_speed() -> None:
    hosted = offer(is_owned=False, speed=SpeedCurve((1, 16), (1_000.0, 4_000.0), 5_000.0, 50_000.0))
    spec = engine_for(hosted)
    assert spec == RemoteSpec(1_000_000_000, 250_000_000, 16, entry_ns=5_000_000, prefill_ps=20_000_000)
    priced = Profile("base", CONFIGURATION, PROFILE.points, price=rates(1, 2))
    bought = following(is_owned=False, context_max=10**6)
    made = supply_of(bought, followed(bought, [priced]), {})
    assert isinstance(made.engine, RemoteSpec)
    assert made.tokens_max >= 10**6
    assert made.per_hour == 0


def test_hardware_without_a_known_cost_is_told() -> None:
    made = supply_of(following(), followed(following(), [PROFILE]), {})
    assert made.per_hour == 0
    assert any("no cost of gpu per hour" in note for note in made.notes)


def test_a_market_is_made_of_a_book_offers_and_evidence() -> None:
    offers = [following(id=OfferId("p/known")), offer()]
    made = market_of(book(), offers, Evidence((PROFILE,), COSTS), "a test")
    assert [each.offer.id for each in made.supplies] == ["p/known", "p/d"]
    assert [each.per_hour for each in made.supplies] == [5_000_000_000, 0]
    assert made.models == ("m",)
    assert made.by_model() == {"m": tuple(offers)}


def test_impossible_markets_are_refused_with_the_reason() -> None:
    with pytest.raises(ImpossibleMarket, match="no offer that takes work"):
        Market(book(), ())
    with pytest.raises(ImpossibleMarket, match="p/d is there twice"):
        market(supply(), supply())
    with pytest.raises(ImpossibleMarket, match="context of 100000 tokens, but its engine holds 500"):
        market(supply(steps(kv_tokens=500)))
    with pytest.raises(ImpossibleMarket, match=r"no offer makes any model of the price book \(m\)"):
        market(supply(model="other"))


def test_a_markets_digest_follows_everything_that_can_change_a_result() -> None:
    plain = market()
    assert plain.sha256 == market().sha256
    for other in (
        market(supply(steps(step_ms=11))),
        market(supply(per_hour=1)),
        market(supply(id=OfferId("q/d"))),
        market(tiers=(plain.book.tiers("m")[1],)),
    ):
        assert other.sha256 != plain.sha256


def test_an_hour_is_charged_to_the_nano_for_any_part_of_it() -> None:
    assert [supply(per_hour=3_600).cost_of_time(ns) for ns in (0, 10**9, 1_500 * 10**6, 3_600 * 10**9)] == [
        0,
        1,
        2,
        3_600,
    ]
