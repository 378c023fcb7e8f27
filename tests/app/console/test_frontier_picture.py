import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.admin.desk import Economics
from app.console.economics import measured_here, shipped_economics
from app.console.frontier import (
    View,
    Yield,
    chart_document,
    classes_measured,
    default_choice,
    measured_deployments,
    models_measured,
    picture,
    provenance,
)
from app.settings import Settings
from pricing.candidates import FrontierError
from pricing.pricebook import PriceBook, price_book
from pricing.profile_document import profile_document
from pricing.profiles import LengthClass, ProfileError
from pricing.slo import Tier
from tests.app.console.seeded_market import MODEL, cards_of_the_shipped_profiles

LENGTHS = LengthClass(8192, 1024)


@pytest.fixture(scope="module")
def economics() -> Economics:
    return shipped_economics(Settings())


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return price_book(datetime(2026, 11, 24, tzinfo=UTC), cards_of_the_shipped_profiles())


def test_the_page_opens_on_the_chart_where_the_tiers_on_sale_lie(economics: Economics, book: PriceBook) -> None:
    assert default_choice(economics, book) == (MODEL, LENGTHS)
    assert default_choice(Economics((), {}, {}, {}), book) is None
    assert MODEL in models_measured(economics)
    assert LENGTHS in classes_measured(economics, MODEL)


def test_each_tier_on_sale_stands_at_the_measured_point_that_its_card_names(
    economics: Economics, book: PriceBook
) -> None:
    drawing = picture(economics, book, View(MODEL, LENGTHS))
    assert [mark.card.rung.tier for mark in drawing.marks] == list(Tier)
    for mark in drawing.marks:
        assert mark.candidate.deployment_id == mark.card.deployment_id
        assert mark.candidate.point.concurrency == mark.card.concurrency_max
    assert drawing.elsewhere == ()


def test_no_drawn_point_lies_beyond_the_envelope(economics: Economics) -> None:
    for on in Yield:
        drawing = picture(economics, None, View(MODEL, LENGTHS, on))
        axis = on.axis
        for point in drawing.drawn:
            better = [
                each
                for each in drawing.envelope.points
                if each.tok_s_user >= point.tok_s_user and each.tokens_per(axis) >= point.tokens_per(axis)
            ]
            assert better, point.id
        assert drawing.zone.low <= drawing.zone.tok_s_user <= drawing.zone.high


def test_an_envelope_of_our_fleet_leaves_the_others_in_sight_but_out_of_it(
    economics: Economics, book: PriceBook
) -> None:
    ours = frozenset({"b200-trtllm-fp4-agg-tp1ep1", "b200-trtllm-fp4-agg-tp2ep1"})
    assert ours <= measured_deployments(economics, MODEL, LENGTHS)
    drawing = picture(economics, book, View(MODEL, LENGTHS, deployments=ours))
    assert {point.deployment_id for point in drawing.envelope.points} <= ours
    document = json.loads(chart_document(drawing, economics.sources))
    assert [group["name"] for group in document["groups"]] == ["b200"]
    assert len(document["others"]) + sum(len(g["points"]) for g in document["groups"]) == len(drawing.drawn)
    assert set(document["words"]) >= {point[2] for point in document["others"]}


def test_a_fleet_that_runs_nothing_measured_is_told_so(economics: Economics) -> None:
    with pytest.raises(FrontierError, match="look at all measured"):
        picture(economics, None, View(MODEL, LENGTHS, deployments=frozenset({"nothing"})))


def test_every_point_says_what_it_is_and_where_it_comes_from(economics: Economics) -> None:
    drawing = picture(economics, None, View(MODEL, LENGTHS))
    for point in drawing.drawn:
        lines = provenance(point, economics.sources).splitlines()
        assert lines[0] == point.deployment_id
        assert "at once" in lines[1]
        assert any(basis in lines[-2] for basis in ("measured", "modelled", "declared"))
        assert "(" in lines[-1]


def test_the_chart_says_whether_its_axis_is_logarithmic_and_where_it_ends(economics: Economics) -> None:
    document = json.loads(chart_document(picture(economics, None, View(MODEL, LENGTHS)), {}))
    figures = [point[1] for group in document["groups"] for point in group["points"]]
    low, high = document["range"]
    assert low <= min(figures) <= max(figures) <= high
    assert document["log"] == (max(figures) > 30 * min(figures))


def test_what_was_measured_here_joins_what_was_shipped_and_damage_is_named(
    economics: Economics, tmp_path: Path
) -> None:
    folder = tmp_path / "profiles"
    assert measured_here(folder) == []
    folder.mkdir()
    one = economics.profiles[0]
    (folder / "one.json").write_text(json.dumps(profile_document(one)))
    assert [profile.id for profile in measured_here(folder)] == [one.id]
    (folder / "two.json").write_text("{}")
    with pytest.raises(ProfileError):
        measured_here(folder)
