import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.audit.service import Actor
from app.catalog.service import publish_book
from app.cli.failure import Failure
from app.cli.main import app
from app.cli.terminal import with_database
from app.clock import now_us
from app.db import Database
from app.settings import Settings
from migrations.run import migrate
from pricing.derive import derive_cards
from pricing.hardware import hardware_costs
from pricing.pricebook import price_book
from pricing.shipped import shipped_profiles

pytestmark = pytest.mark.slow

Goodput = Callable[..., Any]
B200 = ("prices", "derive", "--model", "gpt-oss-120b", "--hardware", "b200", "--isl", "8192", "--osl", "1024")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    with pytest.raises(Failure) as failure:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    return str(failure.value)


def test_prices_are_derived_as_one_json_document() -> None:
    document = json.loads(run(*B200, "--json"))
    assert (document["ownership"], document["isl"], document["osl"]) == ("hyperscaler", 8192, 1024)
    tiers = {tier["tier"]: tier for tier in document["tiers"]}
    assert tiers["standard"]["interactivity_tok_s_user"] == pytest.approx(152, abs=1)
    assert tiers["standard"]["deployment"] == "b200-trtllm-fp4-agg-tp2ep1"
    premium = tiers["premium"]
    cost = premium["cost_usd_per_mtok"]["output"]
    assert 0 < cost["p10"] < cost["p50"] < cost["p90"] < float(premium["price_usd_per_mtok"]["output"])
    assert list(premium["price_usd_per_mtok"]) == ["input", "cached", "cache_write", "output"]
    assert premium["slo"]["tpot_s"] == pytest.approx(1 / premium["slo"]["tok_s_user"], abs=1e-6)


def test_prices_are_derived_as_a_table_with_reasons() -> None:
    text = run(*B200)
    assert "B200, TP2, TensorRT-LLM, FP4" in text
    assert "x·y peaks here; 90 % zone 78–221" in text
    assert "note: bulk: output tokens are assumed to cost 4 times input tokens" in text


def test_a_picture_takes_every_price_apart(tmp_path: Path) -> None:
    """The parts of each bar sum to the price within the six decimals of a table."""
    path = tmp_path / "stack.html"
    document = json.loads(run(*B200, "--plot", str(path), "--json"))
    rows = re.findall(r"<tr>(<td.*?)</tr>", path.read_text(encoding="utf-8"))
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    prices = [float(tier["price_usd_per_mtok"]["output"]) for tier in document["tiers"]]
    shown = [[float(cell) for cell in row[2:8]] for row in cells if row[1] == "output tokens"]
    assert [row[-1] for row in shown] == prices
    assert [sum(row[:-1]) for row in shown] == pytest.approx(prices, abs=5e-6)


def output_price(*more: str) -> float:
    document = json.loads(run(*B200, *more, "--json"))
    return float(document["tiers"][1]["price_usd_per_mtok"]["output"])


def test_every_input_moves_the_price() -> None:
    base = output_price()
    assert output_price("--usd-per-hour", "b200=3.90") == pytest.approx(2 * base, rel=1e-4)
    assert output_price("--utilisation", "0.3") == pytest.approx(2 * base, rel=1e-4)
    assert output_price("--margin", "0") == pytest.approx(base / 1.4, rel=1e-4)
    assert output_price("--ownership", "rental") == pytest.approx(base * 2.90 / 1.95, rel=1e-4)
    assert output_price("--engine", "vllm") > base


def test_an_operators_own_profile_takes_part(tmp_path: Path) -> None:
    base = json.loads(run("profiles", "show", "gpt-oss-120b", "b200-trtllm-fp4-agg-tp2ep1", "--json"))
    for point in base["points"]:
        point["provenance"] = {**(point.get("provenance") or base["provenance"]), "measured_on": "2026-11-20"}
        point["tpot_s_p50"] /= 2
        for derived in ("output_tok_s", "input_tok_s", "interactivity_tok_s_user"):
            del point[derived]
    path = tmp_path / "faster.json"
    path.write_text(json.dumps(base), encoding="utf-8")
    assert output_price("--profile", str(path)) < output_price()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--engine", "sglang"), "with engine sglang; measured: cerebras, trtllm, vllm"),
        (("--usd-per-hour", "b200"), "expected HARDWARE=USD_PER_HOUR"),
        (("--usd-per-hour", "b200=-1"), "usd_per_hour must be above 0"),
        (("--utilisation", "0"), "GOODPUT_UTILISATION"),
        (("--profile", "/nowhere/x.json"), "/nowhere/x.json: No such file"),
    ],
)
def test_inputs_that_cannot_be_are_refused_in_words(more: tuple[str, ...], message: str) -> None:
    assert message in refused(*B200, *more)


def test_a_profile_that_is_no_document_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{"format": "goodput-profile/1"}', encoding="utf-8")
    assert refused(*B200, "--profile", str(path)) == f"{path}: provenance: missing"


def test_half_a_class_is_refused() -> None:
    message = refused("prices", "derive", "--model", "gpt-oss-120b", "--isl", "1024")
    assert message == "give both --isl and --osl, or neither"


def test_hardware_that_is_not_in_the_table_can_be_given_a_cost() -> None:
    result = CliRunner().invoke(app, [*B200, "--hardware", "h100", "--usd-per-hour", "tpu9=1.0", "--json"])
    assert json.loads(result.stdout)["excluded"]
    assert "tpu9 is no hardware with a cost so far" in result.stderr


def test_profiles_are_listed_by_model_and_by_deployment() -> None:
    assert "DeepSeek-R1-0528" in run("profiles", "list")
    detailed = run("profiles", "list", "--model", "gpt-oss-120b", "--hardware", "b200")
    assert "b200-trtllm-fp4-agg-tp2ep1" in detailed
    assert "tables as shipped" in detailed
    document = json.loads(run("profiles", "list", "--hardware", "cs3", "--json"))
    assert document["tables"]["changed"] == []
    assert [each["basis"] for each in document["profiles"]] == ["declared"]


def test_a_profile_is_shown_as_a_table_with_its_notes() -> None:
    text = run("profiles", "show", "gpt-oss-120b", "cs3-cerebras-unknown-agg-n1")
    assert "1844.0" in text
    assert "assumed, not declared" in text
    assert "operating points" in run("profiles", "show", "gpt-oss-120b", "b200-trtllm-fp4-agg-tp2ep1")


def test_what_is_not_there_is_refused_with_where_to_look() -> None:
    assert refused("profiles", "list", "--model", "none") == (
        "no profile of none on any hardware; see `goodput profiles list`"
    )
    assert "no profile of gpt-oss-120b on none" in refused("profiles", "show", "gpt-oss-120b", "none")


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data directory whose database has one live book; answers the book's id."""
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(tmp_path))
    settings = Settings(data_dir=tmp_path)
    migrate(settings.database_dsn)
    cards = derive_cards("gpt-oss-120b", "gpt-oss-120b", shipped_profiles(), hardware_costs("hyperscaler"))
    book = price_book(datetime(2026, 1, 1, tzinfo=UTC), cards)

    async def publish(database: Database) -> None:
        async with database.writing() as session:
            await publish_book(session, book, Actor("system", "test"), "a test", now_us())

    with_database(settings, publish)
    return book.id


def test_the_live_book_is_shown_with_its_hash_and_its_promises(market: str) -> None:
    document = json.loads(run("prices", "show", "--json"))
    assert document["id"] == market
    assert [card["tier"] for card in document["cards"]] == ["premium", "standard", "bulk"]
    text = run("prices", "show", "--model", "gpt-oss-120b")
    assert market in text
    assert "within 15 min" in text


@pytest.mark.usefixtures("market")
def test_a_model_that_is_not_on_sale_is_refused_with_what_is() -> None:
    assert refused("prices", "show", "--model", "x") == "x is not on sale; on sale: gpt-oss-120b"
