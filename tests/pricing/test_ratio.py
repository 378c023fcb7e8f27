import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.candidates import Candidate, Ceiling, Selection, admitted, candidates
from pricing.costs import split_of, token_costs
from pricing.hardware import hardware_costs
from pricing.profiles import LengthClass, Mode, Profile, cleaned
from pricing.ratio import RatioError, Recommendation, checked_mix, mix_from, recommend
from pricing.ratio_document import recommendation_document
from pricing.shipped import shipped_profiles
from tests.pricing.points import BOX, CHAT, point, profile

LONG = LengthClass(8000, 1000)
SUMMARY = LengthClass(8192, 1024)


def pools(prefill: int, decode: int, *loads: tuple[float, float], lengths: LengthClass = CHAT) -> list[Candidate]:
    """A deployment of two pools through (tok/s/user, requests/s) loads, a request being 1,000 output tokens."""
    points = (point(2**step, x, r * lengths.osl, lengths) for step, (x, r) in enumerate(sorted(loads, reverse=True)))
    own = profile(
        *points,
        name=f"p{prefill}d{decode}",
        n_gpus=prefill + decode,
        mode=Mode.DISAGGREGATED,
        prefill_gpus=prefill,
        decode_gpus=decode,
    )
    return [Candidate(own, each, BOX) for each in own.points]


def one(points: list[Candidate], x: float = 40, mix: dict[LengthClass, float] | None = None) -> Recommendation:
    (made,) = recommend(points, mix or {CHAT: 1.0}, x)
    return made


def test_two_ratios_with_opposite_bottlenecks_give_the_balance() -> None:
    """One prefill GPU was seen to do 2 requests/s (1 of 1+4 at 2/s), one decode GPU 1 (2 of 4+2 at 2/s): 1 : 2."""
    made = one([*pools(1, 4, (50, 2.0)), *pools(4, 2, (50, 2.0))])
    assert made.prefill[0].requests_s_per_gpu == pytest.approx(2.0)
    assert made.decode[0].requests_s_per_gpu == pytest.approx(1.0)
    assert made.ratio == pytest.approx(0.5)
    assert made.divided(6) == (2, 4)
    assert made.at_ratio(2, 4) == pytest.approx(2_000 * 4 / 6)  # 4 requests/s of 2,000 tokens on 6 GPUs
    assert made.tok_s_per_gpu == pytest.approx(2_000 * 4 / 6)
    assert made.usd_per_mtok == pytest.approx(1_000 / (2_000 * 4 / 6))  # the box's 3.6 USD an hour
    assert made.notes == ()


def test_rows_say_what_was_measured_what_is_modelled_and_which_pool_limits() -> None:
    made = one([*pools(1, 4, (50, 2.0)), *pools(4, 2, (50, 2.0))])
    rows = [(row.prefill_gpus, row.decode_gpus, row.limited_by) for row in made.rows]
    assert rows == [(1, 4, "prefill"), (4, 2, "decode")]
    assert [row.best.tok_s_per_gpu for row in made.rows] == pytest.approx([2_000 * 2 / 5, 2_000 * 2 / 6])
    assert [row.modelled_tok_s_per_gpu for row in made.rows] == pytest.approx([2_000 * 2 / 5, 2_000 * 2 / 6])


def test_balance_is_the_condition_itself() -> None:
    made = one([*pools(3, 5, (50, 2.0)), *pools(2, 7, (60, 1.7))])
    prefill_share = made.prefill_share
    r_p, r_d = made.prefill[0].requests_s_per_gpu, made.decode[0].requests_s_per_gpu
    assert prefill_share * r_p == pytest.approx((1 - prefill_share) * r_d)  # N_p · R_p = N_d · R_d


def test_a_faster_promise_asks_for_more_decode() -> None:
    """At 80 tok/s/user a decode GPU does only a quarter of what it does at 40."""
    loads = ((80.0, 0.5), (40.0, 2.0))
    slow, fast = (one([*pools(1, 4, *loads), *pools(2, 2, *loads)], x) for x in (40, 80))
    assert fast.ratio == pytest.approx(slow.ratio / 4)


def test_a_mix_is_balanced_by_its_requests() -> None:
    """Half the requests take 1 prefill second and 4 decode seconds, half 6 and 2: 3.5 to 3."""
    long = [*pools(6, 2, (50, 1.0), lengths=LONG)]
    made = one([*pools(1, 4, (50, 1.0)), *long], mix={CHAT: 0.5, LONG: 0.5})
    assert (made.prefill_gpu_s, made.decode_gpu_s) == pytest.approx((3.5, 3.0))
    assert made.tokens == pytest.approx(0.5 * 2_000 + 0.5 * 9_000)


def test_classes_outside_the_mix_say_nothing() -> None:
    own = [*pools(1, 4, (50, 2.0)), *pools(4, 2, (50, 2.0))]
    assert one([*own, *pools(9, 1, (90, 7.0), lengths=LONG)]).rows == one(own).rows


def test_one_ratio_alone_recommends_itself_and_says_so() -> None:
    made = one(pools(3, 5, (50, 2.0)))
    assert made.ratio == pytest.approx(3 / 5)
    assert made.notes == (
        "1000/1000: one ratio alone was measured at this speed; which pool limits it there is not known",
    )


def test_a_balance_beyond_the_ratios_measured_is_flagged() -> None:
    """Prefill's best is seen at a slow load, where decode is not fast enough to count."""
    made = one([*pools(1, 1, (50, 1.0), (20, 5.0)), *pools(2, 2, (50, 2.0))])
    assert made.ratio == pytest.approx(0.2)
    assert any("outside the ratios measured" in note for note in made.notes)


@given(
    st.lists(
        st.tuples(st.integers(1, 32), st.integers(1, 32), st.floats(40, 200), st.floats(0.01, 100)),
        min_size=1,
        max_size=8,
        unique_by=lambda each: each[:2],
    ),
    st.integers(2, 64),
)
def test_the_balance_is_never_below_what_was_measured_nor_below_another_division(
    measured: list[tuple[int, int, float, float]], gpus: int
) -> None:
    made = one([each for n_p, n_d, x, r in measured for each in pools(n_p, n_d, (x, r))])
    for row in made.rows:
        assert made.tok_s_per_gpu >= row.modelled_tok_s_per_gpu * (1 - 1e-9)
        assert row.modelled_tok_s_per_gpu >= row.best.tok_s_per_gpu * (1 - 1e-9)
    divided = made.at_ratio(*made.divided(gpus))
    assert all(divided >= made.at_ratio(n, gpus - n) * (1 - 1e-9) for n in range(1, gpus))
    assert made.tok_s_per_gpu >= divided * (1 - 1e-9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8192", "expected ISL/OSL=SHARE"),
        ("0/5=1", "expected ISL/OSL=SHARE"),
        ("1000/1000=0.5,1000/1000=0.5", "named twice"),
        ("1000/1000=half", "expected ISL/OSL=SHARE"),
        ("1000/1000,8000/1000=0.5", "expected ISL/OSL=SHARE"),
        ("", "expected ISL/OSL=SHARE"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(RatioError, match=said):
        mix_from(text)


@pytest.mark.parametrize(
    ("mix", "said"),
    [
        ({}, "1 to 64 classes"),
        ({CHAT: 0.7}, "sum to 1, got 0.7"),
        ({CHAT: 70.0, LONG: 30.0}, "sum to 1, got 100"),
        ({CHAT: -0.5, LONG: 1.5}, "above 0"),
        ({CHAT: math.nan}, "above 0"),
    ],
)
def test_shares_that_do_not_make_a_whole_are_refused(mix: dict[LengthClass, float], said: str) -> None:
    with pytest.raises(RatioError, match=said):
        checked_mix(mix)


def test_what_nobody_measured_is_an_error_that_says_what_is_known() -> None:
    with pytest.raises(RatioError, match=r"the fastest at 1000/1000 reaches 50 tok/s/user"):
        recommend(pools(1, 4, (50, 2.0)), {CHAT: 1.0}, 60)
    with pytest.raises(RatioError, match="not measured at 8000/1000"):
        recommend(pools(1, 4, (50, 2.0)), {CHAT: 0.5, LONG: 0.5}, 40)
    aggregated = profile(point(1, 50, 100))
    with pytest.raises(RatioError, match="nothing was measured with pools of known size"):
        recommend([Candidate(aggregated, aggregated.points[0], BOX)], {CHAT: 1.0}, 40)
    with pytest.raises(RatioError, match="above 0 tok/s/user"):
        recommend(pools(1, 4, (50, 2.0)), {CHAT: 1.0}, 0)
    with pytest.raises(RatioError, match="2 to 100000 GPUs, got 1"):
        one(pools(1, 4, (50, 2.0))).divided(1)


@pytest.fixture(scope="module")
def shipped() -> tuple[Profile, ...]:
    return cleaned(shipped_profiles())


def h200(shipped: tuple[Profile, ...], x: float) -> Recommendation:
    chosen = Selection(hardware=frozenset({"h200"}), engine=frozenset({"trtllm"}), spec_decoding=frozenset({"unknown"}))
    found = candidates(shipped, "DeepSeek-R1-0528", SUMMARY, hardware_costs("hyperscaler"), chosen)
    (made,) = recommend(admitted(found, Ceiling(90.0)), {SUMMARY: 1.0}, x)
    return made


def test_sixteen_prefill_and_forty_decode_are_in_balance_near_36_tokens_a_second(shipped: tuple[Profile, ...]) -> None:
    """The pools of the published case: 56 H200 are divided within one worker's width of 16 + 40."""
    made = h200(shipped, 36)
    assert made.family.precision == "fp8"
    prefill, decode = made.divided(56)
    assert abs(prefill - 16) <= 4
    row = next(row for row in made.rows if (row.prefill_gpus, row.decode_gpus) == (16, 40))
    assert row.best.tok_s_user == pytest.approx(36, abs=1)
    assert row.best.tok_s_per_gpu >= 0.9 * made.tok_s_per_gpu
    assert made.at_ratio(prefill, decode) >= made.at_ratio(16, 40)


def test_a_pools_costs_are_what_its_rates_say(shipped: tuple[Profile, ...]) -> None:
    """C_in = c · (GPU-seconds of prefill per input token), at the decode pool's own measured ratio: 0.146 and 2.955."""
    made = h200(shipped, 36)
    row = next(row for row in made.rows if (row.prefill_gpus, row.decode_gpus) == (16, 40))
    costs = token_costs(split_of(row.best), 1.41)
    requests_s = row.best.point.requests_s
    assert costs.input == pytest.approx(1.41 / 3600 * 16 / requests_s / row.best.point.isl_mean * 1e6)
    assert costs.output == pytest.approx(2.955, rel=0.03)
    balanced_in = 1.41 / 3600 * made.prefill[0].gpu_s / row.best.point.isl_mean * 1e6
    balanced_out = 1.41 / 3600 * made.decode[0].gpu_s / row.best.point.osl_mean * 1e6
    assert balanced_in <= costs.input <= 0.226
    assert balanced_out <= costs.output * (1 + 1e-9)


def test_the_document_marks_what_is_modelled_and_what_was_measured(shipped: tuple[Profile, ...]) -> None:
    made = h200(shipped, 36)
    document = recommendation_document(made, 56, {made.rows[0].best.deployment_id: "configs"})
    assert json.loads(json.dumps(document)) == document
    assert document["balanced"]["basis"] == "modelled"
    assert {row["basis"] for row in document["measured"]} == {"measured"}
    assert document["measured"][0]["worker_counts_from"] == "configs"
    assert document["prefill_gpus"] + document["decode_gpus"] == 56
