import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.failure import Failure
from app.cli.main import app

pytestmark = pytest.mark.slow

SUMMARY = ("--model", "gpt-oss-120b", "--isl", "8192", "--osl", "1024", "--hardware", "b200")
WHATIF, CAPACITY = ("whatif", *SUMMARY), ("capacity", *SUMMARY)


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.stdout


def document(*arguments: str, status: int = 0) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json", status=status))


def refused(*arguments: str) -> str:
    with pytest.raises(Failure) as failure:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    return str(failure.value)


def test_levers_are_told_at_every_speed_asked_for() -> None:
    """Rental costs 2.90 against 1.95 USD/h: 48.7 % more, at any speed."""
    found = document(*WHATIF, "--at", "100,200", "--power-usd-per-kwh", "0.16")
    assert [group["interactivity_tok_s_user"] for group in found["tornado"]] == [100, 200]
    for group in found["tornado"]:
        levers = {row["lever"]: row for row in group["levers"]}
        assert levers["rental ownership"]["saved_share"]["attainable"] == pytest.approx(2.90 / 1.95 - 1)
        assert levers["power at 0.16 USD/kWh"]["saved_share"]["attainable"] == pytest.approx(0.08 * 2.17 / 1.95)
        assert levers["vllm only"]["saved_usd_per_mtok"]["attainable"] > 0
    assert "0.08 USD/kWh" in found["assumptions"][0]


def test_a_speed_named_twice_is_told_once_and_a_tornado_is_drawn(tmp_path: Path) -> None:
    found = document(*WHATIF, "--at", "100,100,200", "--plot", str(path := tmp_path / "t.html"))
    assert [group["interactivity_tok_s_user"] for group in found["tornado"]] == [100, 200]
    rows = path.read_text(encoding="utf-8").count("<tr>") - 1
    assert rows == sum(len(group["levers"]) for group in found["tornado"])


def test_without_speeds_the_levers_are_told_where_the_tiers_are_sold() -> None:
    speeds = [group["interactivity_tok_s_user"] for group in document(*WHATIF)["tornado"]]
    assert speeds == pytest.approx([28, 152, 336], rel=0.05)
    assert "vllm only" in run(*WHATIF)


def test_a_lever_outside_the_measured_range_exits_with_2() -> None:
    result = CliRunner().invoke(app, [*WHATIF, "--at", "9999"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "outside the measured range" in result.stderr


def test_inputs_of_levers_that_cannot_be_are_refused() -> None:
    assert "a price of power must be 0 or more" in refused(*WHATIF, "--power-usd-per-kwh", "-1")


def test_a_fleet_serves_its_demand_within_its_caps() -> None:
    found = document(*CAPACITY, "--demand", "standard=1e6,2e5", "--weights", "0.5,0.5", "--demand", "bulk=1e5")
    made = [
        sum(use["gpus"][period] * use["tok_s_per_gpu"] for use in found["uses"] if use["tier"] == "standard")
        for period in (0, 1)
    ]
    assert made == pytest.approx([1e6, 2e5], rel=1e-4)
    assert found["usd_per_hour"] == pytest.approx(found["gpus"]["b200"] * 1.95, rel=1e-4)
    assert found["shadow_prices"]["usd_per_mtok"]["bulk"] == [0, 0]
    text = run(*CAPACITY, "--demand", "standard=1e6", "--mw", "1")
    assert "a million standard tokens more" in text


def test_scarce_hardware_and_power_have_a_price() -> None:
    both = ("capacity", *SUMMARY, "--hardware", "h100", "--demand", "bulk=1e6")
    assert "one b200 more would save" in run(*both, "--count", "b200=2")
    free = document(*both)
    assert "one MW more would save" in run(*both, "--mw", str(free["mw"] * 1.01), "--usd-per-hour", "b200=9")


def test_a_demand_that_no_fleet_serves_exits_with_3_and_says_what_is_short() -> None:
    found = document(*CAPACITY, "--demand", "standard=1e6", "--count", "b200=1", status=3)
    assert (found["status"], found["usd_per_hour"], found["shadow_prices"]) == ("infeasible", None, None)
    assert 0 < found["unserved_tok_s"]["standard"] < 1e6
    assert "infeasible: the demand exceeds what 1 b200 can serve" in run(
        *CAPACITY, "--demand", "standard=1e6", "--count", "b200=1", status=3
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--demand", "gold=1"), "expected TIER=TOK_S"),
        (("--demand", "bulk=1", "--demand", "bulk=2"), "--demand names bulk twice; give each once"),
        (("--demand", "bulk=1", "--count", "b200=1", "--count", "b200=9"), "--count names b200 twice"),
        (("--demand", "standard=many"), "expected numbers"),
        (("--demand", "bulk=1,2"), "bulk is one average"),
        (("--demand", "standard=1,2"), "2 demands for 1 periods"),
        (("--demand", "standard=1", "--count", "b200"), "expected NAME=NUMBER"),
        (("--demand", "standard=1", "--mw", "-1"), "a power cap must be 0 or more MW"),
    ],
)
def test_demands_that_cannot_be_are_refused(more: tuple[str, ...], message: str) -> None:
    assert message in refused(*CAPACITY, *more)
