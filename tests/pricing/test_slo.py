import pytest

from pricing.money import Rate
from pricing.slo import Ladder, LadderError, Rung, Slo, Tier
from pricing.usage import Rates

FREE = Rates(Rate(0), Rate(0), Rate(0), Rate(0))


def rung(tier: Tier) -> Rung:
    return Rung(tier, Slo(100, 10), FREE)


def test_each_token_is_due_one_tpot_after_the_one_before_and_excuses_move_it_back() -> None:
    slo = Slo(ttft_us=500_000, tpot_us=10_000)
    assert [slo.deadline_us(index) for index in (0, 1, 3)] == [500_000, 510_000, 530_000]
    assert slo.deadline_us(3, excused_us=7) == 530_007


def test_in_a_window_all_tokens_are_due_together() -> None:
    window = Slo(ttft_us=900_000_000, tpot_us=0)
    assert window.is_window
    assert window.deadline_us(100_000) == 900_000_000
    assert window.tok_s_user is None


def test_the_promised_speed_is_one_over_tpot() -> None:
    assert Slo(1, 12_500).tok_s_user == 80.0
    assert not Slo(1, 12_500).is_window


@pytest.mark.parametrize(("ttft_us", "tpot_us"), [(0, 10), (-1, 10), (10, -1)])
def test_a_promise_before_the_request_or_backwards_in_time_is_refused(ttft_us: int, tpot_us: int) -> None:
    with pytest.raises(ValueError, match="ttft_us > 0 and tpot_us >= 0"):
        Slo(ttft_us, tpot_us)


def test_tiers_rank_from_the_best_down() -> None:
    assert [tier.rank for tier in Tier] == [0, 1, 2]
    assert list(Tier) == [Tier.PREMIUM, Tier.STANDARD, Tier.BULK]


def test_a_ladder_runs_from_the_tier_served_down_and_may_skip_one() -> None:
    ladder = Ladder((rung(Tier.PREMIUM), rung(Tier.BULK)))
    assert ladder.served.tier is Tier.PREMIUM
    assert [each.tier for each in ladder] == [Tier.PREMIUM, Tier.BULK]


@pytest.mark.parametrize("tiers", [[Tier.BULK, Tier.PREMIUM], [Tier.STANDARD, Tier.STANDARD]])
def test_rungs_out_of_order_or_twice_are_no_ladder(tiers: list[Tier]) -> None:
    with pytest.raises(LadderError, match="best tier down"):
        Ladder(tuple(map(rung, tiers)))


def test_a_ladder_without_rungs_is_refused() -> None:
    with pytest.raises(LadderError, match="at least the rung of the tier served"):
        Ladder(())
