import json
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.failure import Failure
from app.cli.simulate import app
from app.simulation.self_selection import mean_lengths, self_selected
from app.simulation.workload import Workload, WorkloadError, arrivals
from pricing.anchors import ListPrice
from pricing.demand import TierTerms, shares, utilities
from pricing.demand_document import DemandModel, demand_from_json, drawn_buyers, temperature
from pricing.money import Rate
from pricing.pricebook import PriceBook, price_book
from pricing.profiles import LengthClass
from pricing.slo import Tier
from pricing.tables import DATA_DIR
from pricing.usage import Rates
from tests.app.simulation.small_market import MODEL, book

DRAWS = 20_000


def demand(value: float = 3.0, **changes: Any) -> DemandModel:
    document = {
        "format": "goodput-demand/1",
        "basis": "assumed",
        "source": "a test",
        "money": "usd_per_mtok",
        "temperature_share": 0.2,
        "types": 200,
        "seed": 3,
        "mix": {"isl": 3, "osl": 1},
        "segments": [
            {
                "name": "all",
                "share": 1,
                "value": value,
                "value_spread": 0.8,
                "speed_taste": 0.6,
                "wait_per_s": 0.001,
                "miss": 0.1,
                "volume_mtok_per_h": 10,
                "volume_spread": 1,
            }
        ],
        **changes,
    }
    return demand_from_json(json.dumps(document))


def dearer(sold: PriceBook, factor: int) -> PriceBook:
    """The same book with every rate so many times as high."""
    cards = [
        replace(
            card,
            rung=replace(
                card.rung,
                rates=Rates(*(Rate(rate * factor) for rate in card.rung.rates.by_class().values())),
            ),
        )
        for card in sold.cards.values()
    ]
    return price_book(sold.effective_at, cards)


def expected(sold: PriceBook, model: DemandModel) -> dict[Tier, float]:
    """The mix by the optimiser's own functions, at three input tokens for one output token."""
    buyers, cards = drawn_buyers(model), [sold.cards[MODEL, tier] for tier in sold.tiers(MODEL)]
    speeds = [card.interactivity_tok_s_user for card in cards]
    waits = tuple(card.rung.slo.ttft_us / 1e6 for card in cards)
    standard = speeds[[card.rung.tier for card in cards].index(Tier.STANDARD)]
    terms = TierTerms(sold.tiers(MODEL), tuple(speeds), standard, waits, (0.03,) * len(cards))
    prices = np.array([(3 * card.rung.rates.input + card.rung.rates.output) / 4e6 for card in cards])
    found = buyers.volume @ shares(utilities(buyers, terms, prices), temperature(model, buyers)) / buyers.volume.sum()
    return dict(zip(sold.tiers(MODEL), found, strict=True))


def test_the_simulators_shares_are_the_optimisers() -> None:
    workload = self_selected(Workload(), book(), [MODEL], demand())
    assert workload.tiers_of_models[MODEL] == pytest.approx(expected(book(), demand()))
    assert 0.05 < sum(workload.tiers_of_models[MODEL].values()) < 0.999


def test_requests_come_in_those_shares_and_the_rest_stays_away() -> None:
    workload = self_selected(Workload(rps=10.0), book(), [MODEL], demand())
    found = list(islice(arrivals(workload, book(), [MODEL], 1), DRAWS))
    bought = sum(workload.tiers_of_models[MODEL].values())
    counts = Counter(arrival.tier for arrival in found)
    for tier, share in workload.tiers_of_models[MODEL].items():
        assert counts[tier] / DRAWS == pytest.approx(share / bought, abs=0.015)
    assert DRAWS / (found[-1].at_ns / 1e9) == pytest.approx(10.0 * bought, rel=0.03)


def test_dearer_books_sell_less_to_the_very_same_customers() -> None:
    dear = dearer(book(), 3)
    cheap_mix, dear_mix = (self_selected(Workload(), sold, [MODEL], demand()) for sold in (book(), dear))
    assert sum(dear_mix.tiers_of_models[MODEL].values()) < sum(cheap_mix.tiers_of_models[MODEL].values())
    cheap, few = (
        {arrival.at_ns: arrival for arrival in islice(arrivals(workload, sold, [MODEL], 1), count)}
        for workload, sold, count in ((cheap_mix, book(), 6_000), (dear_mix, dear, 500))
    )
    both = cheap.keys() & few.keys()
    assert len(both) > 400
    assert all(cheap[at].input_tokens == few[at].input_tokens for at in both)


def test_prices_are_blended_at_the_mean_lengths_where_the_demand_names_no_mix() -> None:
    """A log-normal's mean is its median times e^(σ²/2)."""
    assert mean_lengths(Workload(input_tokens=100, input_sigma=1, output_tokens=50, output_sigma=0)) == (
        LengthClass(165, 50)
    )
    assert mean_lengths(Workload(trace=((10, 1), (20, 4)))) == LengthClass(15, 2)
    no_mix = demand(mix=None)
    assert self_selected(Workload(trace=((3, 1),)), book(), [MODEL], no_mix).tiers_of_models[MODEL] == pytest.approx(
        expected(book(), demand())
    )


def test_a_demand_in_multiples_of_list_prices_moves_with_them_and_models_without_one_keep_their_tiers() -> None:
    relative = demand(1.5, money="list_price")
    listed = (ListPrice(MODEL, "a", Tier.STANDARD, 2.0, 2.0),)
    found = self_selected(Workload(), book(), [MODEL, "tuned"], relative, listed).tiers_of_models
    assert list(found) == [MODEL]
    absolute = demand(3.0, segments=_doubled(demand(1.5)))
    assert found[MODEL] == pytest.approx(expected(book(), absolute))
    with pytest.raises(WorkloadError, match=f"nobody publishes a standard price of {MODEL}; state the demand in"):
        self_selected(Workload(), book(), [MODEL], relative)


def _doubled(model: DemandModel) -> list[dict[str, Any]]:
    """The same buyers with twice the value, impatience and dismay."""
    (one,) = model.segments
    return [
        {
            "name": "all",
            "share": 1,
            "value": one.value * 2,
            "value_spread": one.value_spread,
            "speed_taste": one.speed_taste,
            "wait_per_s": one.wait_per_s * 2,
            "miss": one.miss * 2,
            "volume_mtok_per_h": one.volume_mtok_per_h,
            "volume_spread": one.volume_spread,
        }
    ]


def test_demand_that_finds_nothing_worth_its_price_is_refused_and_not_waited_for() -> None:
    workload = self_selected(Workload(), dearer(book(), 1_000_000), [MODEL], demand())
    with pytest.raises(WorkloadError, match="next to nobody buys anything at these prices"):
        next(arrivals(workload, book(), [MODEL], 1))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_that_cannot_be_are_refused(share: float) -> None:
    with pytest.raises(WorkloadError, match="the tiers of m must be shares that sum to at most 1"):
        Workload(tiers_of_models={"m": {Tier.BULK: share}})


@pytest.mark.slow
def test_a_demand_file_moves_the_demo_markets_tiers_and_its_report_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(tmp_path))
    arguments = ["run", "--fleet", "demo", "--hours", "0.01", "--rps", "20", "--json"]
    plain = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    shipped = str(DATA_DIR / "demand.json")
    told = CliRunner().invoke(app, [*arguments, "--demand", shipped], catch_exceptions=False)
    chosen = json.loads(told.stdout)
    workload = chosen["manifest"]["workload"]
    assert set(workload["tiers_of_models"]["gpt-oss-120b"]) == {"premium", "standard", "bulk"}
    assert plain["manifest"]["workload"]["tiers_of_models"] == {}
    assert 0 < chosen["requests"]["offered"] < plain["requests"]["offered"]
    assert "acme/support-gpt-oss-120b keeps the default tiers" in told.stderr
    with pytest.raises(Failure, match=r"none\.json: No such file"):
        CliRunner().invoke(app, [*arguments, "--demand", "none.json"], catch_exceptions=False)
