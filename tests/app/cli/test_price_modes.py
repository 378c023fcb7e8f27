import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.failure import Failure
from app.cli.main import app
from pricing.profiles import Profile
from pricing.shipped import shipped_profiles

pytestmark = pytest.mark.slow

DERIVE = ("prices", "derive", "--model", "gpt-oss-120b", "--isl", "8192", "--osl", "1024", "--hardware", "b200")
OPTIMISED = (*DERIVE, "--mode", "optimised")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.output


def document(*arguments: str) -> dict[str, Any]:
    return json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)


@pytest.fixture(scope="module")
def tables() -> tuple[Profile, ...]:
    return shipped_profiles()


@pytest.fixture(autouse=True)
def _read_once(tables: tuple[Profile, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.pricing_inputs.shipped_profiles", lambda: tables)


@pytest.fixture
def demand(tmp_path: Path) -> Callable[..., str]:
    def written(**changes: Any) -> str:
        segment = {"name": "one", "share": 1, "speed_taste": 0.5, "wait_per_s": 0, "miss": 0, "volume_mtok_per_h": 1000}
        told = {
            "format": "goodput-demand/1",
            "basis": "measured",
            "source": "a test",
            "money": "usd_per_mtok",
            "temperature_share": 0.2,
            "types": 50,
            "seed": 1,
            "segments": [{**segment, "value": 0.5, "value_spread": 0.5}],
            **changes,
        }
        path = tmp_path / "demand.json"
        path.write_text(json.dumps(told), encoding="utf-8")
        return str(path)

    return written


def test_cost_plus_is_the_default_and_says_so() -> None:
    found = document(*DERIVE)
    assert (found["mode"], found["optimiser"], found["anchors"]) == ("cost_plus", None, [])
    assert found["tiers"][1]["explanation"].endswith("price: 40 % over effective cost")
    assert document(*DERIVE, "--mode", "cost-plus") == found


def test_an_anchored_price_lies_in_its_band_around_the_median_of_the_market() -> None:
    """The median's input is 0.15 and output 0.595: (8 · 0.15 + 0.595)/9 = 0.19944 blended; 1 to 1.5 times."""
    found = document(*DERIVE, "--mode", "anchored", "--band", "1:1.5")
    standard = found["tiers"][1]
    assert standard["level_usd_per_mtok"] == pytest.approx((8 * 0.15 + 0.595) / 9, abs=1e-6)
    assert float(standard["price_blended_usd_per_mtok"]) == pytest.approx(standard["level_usd_per_mtok"], abs=3e-6)
    assert all(isinstance(price, str) for price in standard["price_usd_per_mtok"].values())
    text = run(*DERIVE, "--mode", "anchored")
    assert "published for standard: median of 16 at 8192/1024: 0.1994 USD/M" in text
    assert "lower end of 0.1596–0.2393 USD/M" in text.replace("\n", " ")


def test_an_own_demand_within_a_capacity_is_priced_to_use_it_in_full(demand: Callable[..., str]) -> None:
    found = document(*OPTIMISED, "--demand", demand(), "--capacity", "b200=1", "--mw", "1")
    optimiser = found["optimiser"]
    assert optimiser["converged"] is True
    assert optimiser["capacity_used"]["b200"] == pytest.approx(1, abs=1e-4)
    assert 0 < optimiser["capacity_used"]["power"] < 0.01
    levels = [tier["level_usd_per_mtok"] for tier in found["tiers"]]
    assert levels == sorted(levels, reverse=True)
    text = run(*OPTIMISED, "--demand", demand(), "--capacity", "b200=1")
    assert "optimiser converged:" in text
    assert "b200 used to 100.0%" in text.replace("\n", " ")


def test_more_capacity_sells_more_for_less(demand: Callable[..., str]) -> None:
    few, many = (document(*OPTIMISED, "--demand", demand(), "--capacity", f"b200={count}") for count in (1, 4))
    assert many["optimiser"]["profit_usd_per_h"] > few["optimiser"]["profit_usd_per_h"]
    assert many["tiers"][1]["level_usd_per_mtok"] < few["tiers"][1]["level_usd_per_mtok"]


def test_the_documented_demand_is_the_default_and_flagged_as_assumed() -> None:
    assert any("the demand is assumed" in flag for flag in document(*OPTIMISED)["flags"])


def test_an_optimiser_that_has_not_converged_is_told_in_words_and_figures(
    demand: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pricing.price_search.ROUNDS_MAX", 1)
    found = document(*OPTIMISED, "--demand", demand())
    assert found["optimiser"]["converged"] is False
    assert any("has not converged" in flag for flag in found["flags"])
    assert "optimiser NOT converged" in run(*OPTIMISED, "--demand", demand())


def test_an_own_rate_of_a_class_is_charged_as_it_is() -> None:
    found = document(*DERIVE, "--rate", "standard.input=0.25", "--rate", "standard.cached=0.05")
    assert found["tiers"][1]["price_usd_per_mtok"]["input"] == "0.25"
    assert found["tiers"][1]["price_usd_per_mtok"]["cached"] == "0.05"
    assert "set by the operator: input, cached" in found["tiers"][1]["explanation"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mode", "best"), "--mode is cost_plus, anchored or optimised, not 'best'"),
        (("--band", "1:2"), "--band belongs to --mode anchored; the mode is cost_plus"),
        (("--mode", "anchored", "--mw", "2"), "--mw belongs to --mode optimised; the mode is anchored"),
        (("--mode", "anchored", "--band", "1"), "--band '1': expected LOW:HIGH"),
        (("--mode", "anchored", "--band", "2:1"), "a band needs 0 < low <= high"),
        (("--mode", "optimised", "--capacity", "b200"), "--capacity 'b200': expected HARDWARE=COUNT"),
        (("--mode", "optimised", "--capacity", "b200=0"), "the capacity of b200 must be above 0"),
        (("--mode", "optimised", "--mw", "-1"), "the capacity of mw must be above 0"),
        (("--mode", "optimised", "--demand", "none.json"), "none.json: No such file"),
        (("--rate", "standard=1"), "--rate 'standard=1': expected TIER.CLASS=USD"),
        (("--rate", "best.input=1"), "'best' is not a valid Tier"),
        (("--rate", "standard.input=-1"), "the standard rate of input tokens must be 0 or more USD/M"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(Failure, match=re.escape(message)):
        CliRunner().invoke(app, [*DERIVE, *options], catch_exceptions=False)


def test_a_demand_file_that_makes_no_sense_is_refused_with_its_field(demand: Callable[..., str]) -> None:
    with pytest.raises(Failure, match=r"demand\.json: types: expected a whole number"):
        CliRunner().invoke(app, [*OPTIMISED, "--demand", demand(types=0)], catch_exceptions=False)
