import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli.failure import Failure
from app.cli.ledger import app
from tests.ledger_world import CUSTOMER, open_world
from tests.traded_market import trade


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database file of a market that has traded."""
    path = tmp_path / "market.sqlite3"

    async def open_and_trade() -> None:
        async with open_world(f"sqlite:///{path}") as world:
            await trade(world)

    asyncio.run(open_and_trade())
    monkeypatch.setenv("GOODPUT_DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("COLUMNS", "200")
    return path


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def steal(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE account SET posted = posted - 1 WHERE id = 'cogs:cluster-b200'")
    connection.commit()
    connection.close()


def test_verify_says_that_the_books_balance(market: Path) -> None:
    result = run("verify")
    assert result.exit_code == 0
    assert "The books balance." in result.stdout
    results = [line.split()[-1] for line in result.stdout.splitlines()[1:9]]
    assert results == ["holds"] * 7 + ["at"]  # the hold that runs is years old by now
    assert market.exists()


def test_verify_fails_and_says_what_drifted_where_and_by_how_much(market: Path) -> None:
    steal(market)
    result = run("verify")
    assert result.exit_code == 1
    assert "drift account cogs:cluster-b200: posted -61 nano-USD, its entries sum to -60" in result.stdout
    assert "The books have drifted." in result.stdout


def test_verify_as_json_carries_every_finding(market: Path) -> None:
    steal(market)
    result = run("verify", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["is_balanced"] is False
    found = [(check["id"], finding["amount_nano_usd"]) for check in report["checks"] for finding in check["findings"]]
    assert found == [("R1", "-1"), ("R1", "-1"), ("R5", "500")]  # the last is no drift: a hold that is years old


def test_balance_shows_a_wallet(market: Path) -> None:
    assert market.exists()
    shown = json.loads(run("balance", CUSTOMER, "--json").stdout)
    assert shown["held_usd"] == "0.0000005"
    assert shown["customer_id"] == CUSTOMER


def test_balance_of_an_unknown_customer_is_nothing(market: Path) -> None:
    assert market.exists()
    assert json.loads(run("balance", "cus_nobody", "--json").stdout)["available_usd"] == "0.00"


def test_balance_shows_a_trial_balance_that_sums_to_zero(market: Path) -> None:
    assert market.exists()
    accounts = json.loads(run("balance", "--json").stdout)
    assert accounts[-1]["account"] == "wallets of 1 customers"
    nanos = [round(float(account["posted_usd"]) * 10**9) for account in accounts]
    assert (sum(nanos), any(nanos)) == (0, True)
    assert "fleet_cost_accrued:cluster-b200" in run("balance").stdout


def test_looking_at_a_market_that_is_not_there_does_not_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODPUT_DATABASE_URL", f"sqlite:///{tmp_path / 'none.sqlite3'}")
    result = run("verify")
    assert isinstance(result.exception, Failure)
    assert "there is no market at" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
