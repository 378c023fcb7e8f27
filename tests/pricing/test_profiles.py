from datetime import date

import pytest

from pricing.profiles import (
    Basis,
    Configuration,
    LengthClass,
    Mode,
    OperatingPoint,
    Profile,
    ProfileError,
    Provenance,
    cleaned,
    little_output_tok_s,
    merged,
)
from tests.pricing.points import point, profile


def on(day: int) -> Provenance:
    return Provenance("bench", Basis.MEASURED, "own measurement", date(2026, 11, day))


UNDATED = Provenance("bench", Basis.MEASURED, "own measurement")


def speeds(profiles: tuple[Profile, ...]) -> list[float]:
    return [each.interactivity_tok_s_user for profile in profiles for each in profile.points]


def test_littles_law_gives_the_throughput_of_a_load() -> None:
    """Four requests that take 0.5 + 99 · 0.01 = 1.49 s each, 100 tokens long."""
    assert little_output_tok_s(4, 0.5, 0.01, 100) == pytest.approx(400 / 1.49)


def test_the_newest_run_of_a_load_wins_and_an_undated_one_is_the_oldest() -> None:
    runs = [
        point(4, 10, 40, provenance=on(1)),
        point(4, 20, 80, provenance=on(3)),
        point(4, 30, 120, provenance=UNDATED),
    ]
    assert speeds(cleaned([profile(*runs)])) == [20]


def test_runs_of_one_day_are_all_kept() -> None:
    assert speeds(cleaned([profile(point(4, 10, 40), point(4, 20, 80))])) == [20, 10]


def test_other_loads_and_classes_are_not_touched_by_a_newer_run() -> None:
    other = LengthClass(8000, 1000)
    runs = [point(4, 10, 40), point(8, 9, 72, provenance=on(9)), point(4, 11, 44, other, provenance=on(9))]
    assert len(cleaned([profile(*runs)])[0].points) == 3


def test_a_load_that_waits_longer_than_it_generates_is_dropped() -> None:
    """1000 tokens at 10 tok/s take 99.9 s; a first token after 100 s is more than half of the answer."""
    queued = point(64, 10, 640, ttft_s_p50=100.0)
    served = point(32, 10, 320, ttft_s_p50=99.0)
    assert speeds(cleaned([profile(queued, served)])) == [10]
    assert cleaned([profile(queued)]) == ()


def test_one_request_at_a_time_waits_for_nobody() -> None:
    """A long prompt on a slow machine: its first token is late, but not for a queue."""
    assert speeds(cleaned([profile(point(1, 10, 10, ttft_s_p50=150.0), point(2, 10, 20, ttft_s_p50=150.0))])) == [10]


def test_profiles_of_one_configuration_are_put_together() -> None:
    first, second = profile(point(1, 100, 100)), profile(point(2, 90, 180))
    (both,) = merged([first, second])
    assert len(both.points) == 2


def test_one_id_for_two_configurations_is_refused() -> None:
    with pytest.raises(ProfileError, match="names two configurations"):
        merged([profile(point(1, 100, 100), n_gpus=1), profile(point(1, 100, 100), n_gpus=2)])


def test_a_profile_without_points_is_refused() -> None:
    with pytest.raises(ProfileError, match="needs at least one operating point"):
        profile()


def test_every_part_of_a_configuration_shows_in_its_id() -> None:
    base = Configuration("gb200", 12, "trtllm", "fp4", "P:tp4x1 D:tp8x1", Mode.DISAGGREGATED, "mtp?", 4, 8)
    assert base.deployment_id == "gb200-trtllm-fp4-disagg-p-tp4x1-d-tp8x1-mtp-guess"
    assert base.has_pools
    assert not Configuration("gb200", 12, "trtllm", "fp4", mode=Mode.DISAGGREGATED).has_pools


@pytest.mark.parametrize(("isl", "osl"), [(0, 1), (1, 0)])
def test_a_length_class_without_tokens_is_refused(isl: int, osl: int) -> None:
    with pytest.raises(ProfileError, match="isl >= 1 and osl >= 1"):
        LengthClass(isl, osl)


def test_a_configuration_needs_an_accelerator() -> None:
    with pytest.raises(ProfileError, match="at least one accelerator"):
        profile(point(1, 1, 1), n_gpus=0)


def test_figures_of_a_point_follow_from_what_was_measured() -> None:
    measured: OperatingPoint = point(2, 50, 100, LengthClass(8000, 1000))
    assert measured.interactivity_tok_s_user == pytest.approx(50)
    assert measured.total_tok_s == pytest.approx(900)
    assert measured.end_to_end_s == pytest.approx(10 / 50 + 999 / 50)
