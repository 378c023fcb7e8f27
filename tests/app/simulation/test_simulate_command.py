"""``goodput simulate run``, on the demo fleet and on a market that was opened."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.audit.service import Actor
from app.catalog.service import publish_book
from app.cli.failure import Failure
from app.cli.simulate import app
from app.clock import now_us
from app.db import Database
from app.errors import MarketError
from app.fleet.roster import DeploymentSpec, State
from app.fleet.service import StateChange, change_provider_state, register_deployment, register_provider
from app.settings import Settings
from migrations.run import migrate
from pricing.pricebook import book_document, book_record
from providers.spec import ProviderKind
from tests.app.simulation.small_market import MODEL, book, offer

ACTOR = Actor("operator", "op_1", "ada@example.com")
Simulate = Callable[..., Result]


@pytest.fixture
def simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(tmp_path))

    def run(*arguments: str, hours: str = "0.005") -> Result:
        return CliRunner().invoke(app, ["run", "--hours", hours, *arguments], catch_exceptions=False)

    return run


@pytest.mark.slow
def test_the_demo_fleet_is_simulated_where_no_market_was_opened_and_twice_the_same(simulate: Simulate) -> None:
    first, again = (simulate("--json", "--rps", "20").stdout_bytes for _ in range(2))
    assert first == again
    document = json.loads(first)
    assert document["manifest"]["market"] == "the demo fleet"
    assert document["conservation"]["is_balanced"]
    assert document["ledger"]["sums_to_zero"]
    assert set(document["tiers"]) == {"premium", "standard", "bulk"}
    assert len(document["offers"]) >= 4
    assert float(document["money"]["cost_owned_by_time"]) > 0
    other = json.loads(simulate("--json", "--rps", "20", "--seed", "2").stdout_bytes)
    assert other["requests"] != document["requests"]
    said = simulate("--rps", "20").stdout
    assert document["manifest"]["price_book_id"] in said
    assert f"{document['requests']['offered']} offered = " in said


@pytest.mark.slow
def test_a_price_book_from_a_file_is_sold_in_place_of_the_derived_one(simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "book.json"
    file.write_text(simulate("--json", "--rps", "5").stdout)
    with pytest.raises(Failure, match="is no price book"):
        simulate("--book", str(file))
    file.write_text(json.dumps(book_document(book())))
    with pytest.raises(Failure, match=r"no offer makes any model of the price book \(m\)"):
        simulate("--book", str(file))


def test_wrong_options_are_refused_in_words(simulate: Simulate, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    with pytest.raises(Failure, match=r"trace\.csv: No such file"):
        simulate("--trace", str(trace))
    trace.write_text("a,b\n")
    with pytest.raises(Failure, match="a trace needs the columns"):
        simulate("--trace", str(trace))
    with pytest.raises(Failure, match="--fleet is live, demo or auto, not 'mars'"):
        simulate("--fleet", "mars")
    with pytest.raises(Failure, match="no file pb-1, and no market was opened here"):
        simulate("--book", "pb-1")
    for wrong in (("--rps", "0"), ("--seed", "-1"), ("--hours", "0")):
        assert simulate(*wrong).exit_code == 2


def deployment(**changes: Any) -> DeploymentSpec:
    known = offer()
    plain = DeploymentSpec(
        provider_id="p",
        deployment_id="d",
        kind=ProviderKind.GPU_CLUSTER,
        model=MODEL,
        base_url="http://127.0.0.1:9/v1",
        backend_model="m",
        speed=known.speed,
        concurrency_max=known.concurrency_max,
        context_max=known.context_max,
        cost=known.cost,
    )
    return replace(plain, **changes)


async def open_market(folder: Path) -> None:
    """One book and two deployments, of which one is drained."""
    database = Database(Settings(data_dir=folder).database_dsn)
    at_us = now_us()
    async with database.writing() as session:
        await publish_book(session, book(), ACTOR, "for a test", at_us)
        for provider_id in ("p", "q"):
            await register_provider(session, provider_id, provider_id.upper(), ACTOR, at_us)
            await register_deployment(session, deployment(provider_id=provider_id), ACTOR, at_us)
    async with database.writing() as session:
        drained = StateChange(State.DRAINING, "a test")
        await change_provider_state(session, "q", drained, ACTOR, at_us)
    await database.close()


@pytest.mark.slow
def test_a_market_that_was_opened_is_simulated_with_its_own_book_and_the_offers_that_take_work(
    simulate: Simulate, tmp_path: Path
) -> None:
    migrate(Settings(data_dir=tmp_path).database_dsn)
    with pytest.raises(MarketError, match="no price book is in force"):
        simulate("--json")
    asyncio.run(open_market(tmp_path))
    document = json.loads(simulate("--json", "--rps", "3").stdout_bytes)
    assert document["manifest"]["market"] == "the live fleet"
    assert document["manifest"]["price_book_id"] == book().id
    assert set(document["offers"]) == {"p/d"}
    assert "p/d: hours not costed: its hardware is not known" in document["manifest"]["notes"]
    assert document["requests"]["finished"] > 10
    same = json.loads(simulate("--json", "--rps", "3", "--book", book().id).stdout_bytes)
    assert same == document
    with pytest.raises(MarketError, match="No price book pb-none was ever published"):
        simulate("--book", "pb-none")
    cheaper = tmp_path / "cheaper.json"
    cheaper.write_text(json.dumps(book_record(book())).replace("8000000", "5000000"))
    less = json.loads(simulate("--json", "--rps", "3", "--book", str(cheaper)).stdout_bytes)
    assert less["requests"]["offered"] == document["requests"]["offered"]
    assert float(less["money"]["revenue_gross"]) < float(document["money"]["revenue_gross"])
    assert (
        json.loads(simulate("--json", "--fleet", "demo", "--rps", "5").stdout)["manifest"]["market"] == "the demo fleet"
    )
