import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from pricing.candidates import Candidate, Ceiling, FrontierError, TailFactors
from pricing.profiles import Profile
from pricing.slo import Slo, Tier
from pricing.tiers import TierPoint, TierRules, promise, promises_in_order, rounded_up, tiers
from tests.pricing.points import BOX, curve, found, point, profile

OPEN = TierRules(ceilings={})


def exponential(*speeds: float) -> Profile:
    """y falls as e^(−x/50): standard belongs at 50, and a tenth of y(10) is left at 125.1."""
    return curve(*((x, 1_000 * math.exp(-x / 50)) for x in speeds))


def speeds(sold: Mapping[Tier, TierPoint]) -> dict[str, float]:
    return {tier.value: round(each.chosen.tok_s_user, 6) for tier, each in sold.items()}


def test_each_tier_is_sold_at_the_measured_point_its_rule_points_at() -> None:
    chosen = tiers(found(exponential(10, 52, 126, 200)), OPEN)
    assert list(chosen.sold) == [Tier.PREMIUM, Tier.STANDARD, Tier.BULK]
    assert speeds(chosen.sold) == {"premium": 126, "standard": 52, "bulk": 10}
    targets = {tier: each.target_tok_s_user for tier, each in chosen.sold.items()}
    assert targets[Tier.STANDARD] == pytest.approx(50, abs=0.5)
    assert targets[Tier.PREMIUM] == pytest.approx(125.1, abs=0.5)
    assert targets[Tier.BULK] == pytest.approx(10)
    assert chosen.missing == {}


def test_standard_knows_its_zone_and_the_others_have_none() -> None:
    chosen = tiers(found(exponential(10, 52, 126, 200)), OPEN).sold
    zone = chosen[Tier.STANDARD].zone
    assert zone is not None
    assert zone.low < 50 < zone.high
    assert chosen[Tier.PREMIUM].zone is None
    assert chosen[Tier.BULK].zone is None


def test_bulk_promises_its_window_and_no_speed() -> None:
    bulk = tiers(found(exponential(10, 52, 126)), replace(OPEN, flex_window_s=60.0)).sold[Tier.BULK]
    assert bulk.slo == Slo(60_000_000, 0)
    assert bulk.yield_share == 1.0


def test_a_promise_is_the_tail_rounded_up_to_two_digits() -> None:
    """First token after 10/52 s = 0.1923 s, times 4.2: 0.8077 s; per token 1/52 s, times 2: 38.46 ms."""
    standard = tiers(found(exponential(10, 52, 126)), OPEN).sold[Tier.STANDARD]
    assert standard.slo == Slo(810_000, 39_000)
    assert standard.is_tail_assumed


def test_a_measured_tail_is_promised_as_it_is() -> None:
    measured = point(4, 50, 100, ttft_s_p99=0.333, tpot_s_p99=0.0211, requests=500)
    slo, is_assumed = promise(Candidate(profile(measured), measured, BOX), TailFactors())
    assert (slo, is_assumed) == (Slo(340_000, 22_000), False)


@pytest.mark.parametrize(
    ("value", "rounded"), [(12_557.2, 13_000), (12_000.0, 12_000), (99.5, 100), (100.0, 100), (101.0, 110), (0.2, 1)]
)
def test_rounding_up_never_promises_more_than_was_measured(value: float, rounded: int) -> None:
    assert rounded_up(value) == rounded


def test_the_slo_filter_comes_before_the_frontier() -> None:
    """The cheapest point waits 99 s; with a ceiling of 10 s bulk runs where the next one is."""
    late = point(64, 10, 9_000, ttft_s_p50=20.0)
    pool = found(exponential(20, 52, 126), profile(late, name="late"))
    assert speeds(tiers(pool, OPEN).sold)["bulk"] == 10
    assert speeds(tiers(pool, TierRules(ceilings={Tier.BULK: Ceiling(10.0)})).sold)["bulk"] == 20


def test_each_tier_has_its_own_ceiling() -> None:
    """Premium's point is the fastest there is, but its first token is late: premium takes the next, or nothing."""
    late = point(1, 130, 85, ttft_s_p50=5.0)
    pool = found(exponential(10, 52, 126), profile(late, name="late"))
    assert speeds(tiers(pool, OPEN).sold)["premium"] == 130
    assert speeds(tiers(pool).sold)["premium"] == 126
    none = tiers(pool, TierRules(ceilings={Tier.PREMIUM: Ceiling(0.01)}))
    assert Tier.PREMIUM not in none.sold
    assert "keeps p99 first token <= 0.01 s" in none.missing[Tier.PREMIUM]


def test_a_ceiling_that_standard_cannot_keep_is_an_error() -> None:
    with pytest.raises(FrontierError, match="no operating point of m at ISL/OSL 1000/1000 keeps"):
        tiers(found(exponential(10, 52)), TierRules(ceilings={Tier.STANDARD: Ceiling(tok_s_user_min=1_000)}))


def test_premium_too_close_to_standard_is_raised_to_the_next_separate_point() -> None:
    """A tenth of the yield ends at 60 tok/s/user; 1.5 × 50 = 75, so the next measured point is 80, at 5 %."""
    pool = found(curve((10, 1_000), (50, 600), (60, 100), (80, 50), (90, 40)))
    premium = tiers(pool, OPEN).sold[Tier.PREMIUM]
    assert premium.chosen.tok_s_user == pytest.approx(80)
    assert premium.yield_share == pytest.approx(0.05)
    assert premium.notes == ("raised to 1.5 times standard's speed, at 5.0% of the largest yield",)


def test_premium_whose_ceiling_leaves_only_dear_points_is_raised_to_the_first_separate_one() -> None:
    """First tokens before 0.55 s (p99) need 77 tok/s/user or more, where less than a tenth of the yield is left."""
    pool = found(curve((10, 1_000), (50, 600), (80, 50), (90, 40)))
    premium = tiers(pool, TierRules(ceilings={Tier.PREMIUM: Ceiling(0.55)})).sold[Tier.PREMIUM]
    assert premium.chosen.tok_s_user == pytest.approx(80)
    assert premium.yield_share == pytest.approx(0.05)


def test_premium_exactly_one_and_a_half_times_as_fast_is_separate_enough() -> None:
    pool = found(curve((10, 1_000), (50, 600), (75, 120)))
    assert speeds(tiers(pool, OPEN).sold)["premium"] == 75


def test_a_class_without_a_separate_point_has_no_premium_and_says_why() -> None:
    chosen = tiers(found(curve((10, 1_000), (50, 600), (70, 200))), OPEN)
    assert list(chosen.sold) == [Tier.STANDARD, Tier.BULK]
    assert chosen.missing[Tier.PREMIUM] == (
        "no measured point is 1.5 times as fast as standard's 50 tok/s/user; the fastest reaches 70"
    )


def test_bulk_and_standard_may_run_on_one_point_and_never_merge() -> None:
    """Throughput hardly rises with load: one point is best at everything, but a window is not a speed."""
    chosen = tiers(found(curve((100, 100), (50, 90))), OPEN)
    assert speeds(chosen.sold) == {"standard": 100, "bulk": 100}


def test_where_measurements_are_sparse_standard_is_the_best_measured_point() -> None:
    """The curve peaks between 40 and 200, but the attainable point there, 200, keeps a fraction of the peak."""
    standard = tiers(found(curve((10, 1_000), (40, 800), (200, 10))), OPEN).sold[Tier.STANDARD]
    assert standard.target_tok_s_user > 40
    assert standard.chosen.tok_s_user == pytest.approx(40)
    assert "sparse" in standard.notes[0]


def test_where_measurements_are_sparse_premium_keeps_its_share_of_the_yield() -> None:
    """The curve has a tenth left somewhere short of 400; the attainable point, 400, has a thousandth."""
    premium = tiers(found(curve((10, 1_000), (40, 800), (150, 150), (400, 1))), OPEN).sold[Tier.PREMIUM]
    assert premium.target_tok_s_user > 150
    assert premium.chosen.tok_s_user == pytest.approx(150)
    assert "sparse" in premium.notes[0]


def test_one_usable_load_sells_standard_and_bulk_and_says_what_is_not_known() -> None:
    chosen = tiers(found(profile(point(1, 50, 100))), OPEN)
    assert speeds(chosen.sold) == {"standard": 50, "bulk": 50}
    assert all("only one load could be used" in each.notes[-1] for each in chosen.sold.values())


def test_a_lesser_tier_never_promises_more_than_a_better_one() -> None:
    """Premium's first token takes 3 s, standard's own promise would be 0.5 s."""
    sold = tiers(found(exponential(10, 52, 126)), OPEN).sold
    fast = replace(sold[Tier.PREMIUM], slo=Slo(3_000_000, 20_000))
    slow = replace(sold[Tier.STANDARD], slo=Slo(500_000, 10_000))
    ordered = promises_in_order({Tier.STANDARD: slow, Tier.PREMIUM: fast, Tier.BULK: sold[Tier.BULK]})
    assert ordered[Tier.PREMIUM].slo == Slo(3_000_000, 20_000)
    assert ordered[Tier.STANDARD].slo == Slo(3_000_000, 20_000)
    assert ordered[Tier.STANDARD].notes == ("its promise is lengthened to that of the better tier",)
    assert ordered[Tier.BULK].slo == sold[Tier.BULK].slo
    assert ordered[Tier.BULK].notes == ()


def test_a_window_is_never_shorter_than_the_first_token_of_the_tier_above() -> None:
    sold = tiers(found(exponential(10, 52, 126)), replace(OPEN, flex_window_s=0.1)).sold
    assert sold[Tier.BULK].slo == Slo(sold[Tier.STANDARD].slo.ttft_us, 0)


@pytest.mark.parametrize(
    "changes", [{"premium_share": 0.0}, {"zone_share": 1.1}, {"separation": 0.9}, {"flex_window_s": 0.0}]
)
def test_rules_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(FrontierError, match="tier rules need"):
        TierRules(**changes)  # pyright: ignore[reportArgumentType]


def test_the_shares_and_the_separation_are_the_operators_knobs() -> None:
    pool = found(exponential(10, 52, 80, 126, 200))
    assert speeds(tiers(pool, replace(OPEN, premium_share=0.25)).sold)["premium"] == 80
    assert Tier.PREMIUM not in tiers(pool, replace(OPEN, separation=5.0)).sold


def test_points_at_the_same_load_count_as_one_load() -> None:
    twins = profile(point(4, 50, 100), point(4, 60, 90))
    assert "only one load" in tiers(found(twins), OPEN).sold[Tier.BULK].notes[-1]
    two = profile(point(4, 50, 100), point(2, 60, 90))
    assert tiers(found(two), OPEN).sold[Tier.BULK].notes == ()
