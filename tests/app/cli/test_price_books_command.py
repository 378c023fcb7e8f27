"""`goodput prices` over a market's database: drafts, comparison, publishing, schedules, going back, export."""

import csv
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.audit.service import Actor
from app.catalog.service import publish_book
from app.cli.main import app
from app.cli.terminal import with_database
from app.clock import now_us
from app.db import Database
from app.errors import MarketError
from app.settings import Settings
from migrations.run import migrate
from pricing.pricebook import PriceBook, canonical_json, price_book
from pricing.slo import Tier
from tests.app.catalog.books import card

pytestmark = pytest.mark.slow

MODEL = "open/one"
WHY = ("--reason", "a better margin")
BOOK = price_book(datetime(2026, 1, 1, tzinfo=UTC), [card(tier, price=None) for tier in Tier])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A market's database with one book in force."""
    folder = tmp_path_factory.mktemp("template")
    settings = Settings(data_dir=folder)
    migrate(settings.database_dsn)

    async def publish(database: Database) -> None:
        async with database.writing() as session:
            await publish_book(session, BOOK, Actor("system", "test"), "a test", now_us())

    with_database(settings, publish)
    path = Database(settings.database_dsn).sqlite_path
    assert path is not None
    return path.read_bytes()


@pytest.fixture
def market(template: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PriceBook:
    """A copy of it, which the commands find; answers the book in force."""
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(tmp_path))
    path = Database(Settings(data_dir=tmp_path).database_dsn).sqlite_path
    assert path is not None
    path.write_bytes(template)
    return BOOK


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["prices", *arguments], env={"COLUMNS": "200"})


def run(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def asked(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def refused(*arguments: str) -> str:
    """What a refusal says; ``goodput`` prints it and ends with status 1."""
    result = call(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, Exception)
    return str(result.exception)


def misused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.replace("│", " ").split())


def new_draft(*sets: str) -> str:
    draft = asked("draft", "new", "--title", "December")
    if sets:
        draft = asked("draft", "set", MODEL, "standard", *sets, "--draft", draft["id"])
    return draft["id"]


def test_a_draft_is_made_compared_published_and_rolled_back(market: PriceBook) -> None:
    draft_id = new_draft("output=0.84", "ttft=1.2")
    diff = asked("diff", draft_id)
    assert (diff["old"], diff["new"]) == (market.id, draft_id)
    rates = diff["cards"][0]["rates"]["output"]
    assert (rates["old_usd_per_mtok"], rates["new_usd_per_mtok"], rates["share"]) == ("0.80", "0.84", "0.05")
    assert diff["cards"][0]["promise"]["new"] == {"ttft_us": 1_200_000, "tpot_us": 20_000}
    assert diff["impact"]["basis"].startswith("No request finished in these 7 days")

    done = asked("publish", draft_id, *WHY)
    assert done["replaces"] == market.id
    shown = asked("show")
    assert shown["id"] == done["price_book_id"]
    back = asked("rollback", market.id, *WHY)
    assert asked("show", back["price_book_id"])["cards"] == asked("show", market.id)["cards"]
    states = [(book["state"], book["origin"]) for book in asked("list")]
    assert states == [("live", "rollback"), ("past", "operator"), ("past", "derived")]


@pytest.mark.usefixtures("market")
def test_the_tables_for_a_person_name_what_changes_in_words_and_signs() -> None:
    draft_id = new_draft("output=0.84", "ttft=1.2")
    text = run("diff", draft_id)
    assert "+5.00" in text
    assert "1.5 s" in text
    assert "1.2 s" in text
    assert "One card differs, 2 are alike" in text
    assert "-20.00" in text  # the first token is due a fifth sooner
    shown = run("draft", "show", draft_id)
    assert "December" in shown
    assert "0.84" in shown


@pytest.mark.usefixtures("market")
def test_with_one_open_draft_none_has_to_be_named_and_with_two_one_has() -> None:
    first = new_draft("output=0.84")
    assert asked("diff")["new"] == first
    second = new_draft()
    assert second in refused("diff")
    assert "name one with --draft" in refused("draft", "set", MODEL, "standard", "output=0.85")
    asked("draft", "discard", first, *WHY)
    assert asked("draft", "show")["id"] == second


@pytest.mark.usefixtures("market")
def test_a_tier_is_withheld_and_sold_again() -> None:
    draft_id = new_draft()
    without = asked("draft", "set", MODEL, "bulk", "--withhold")
    assert [each["tier"] for each in without["withheld"]] == ["bulk"]
    still = asked("draft", "set", MODEL, "bulk", "output=0.39")
    assert [each["tier"] for each in still["withheld"]] == ["bulk"]
    back = asked("draft", "set", MODEL, "bulk", "--sell", "--draft", draft_id)
    assert back["withheld"] == []


def test_a_book_is_scheduled_in_any_zone_and_withdrawn(market: PriceBook) -> None:
    moment = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    east = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    done = asked("schedule", new_draft("output=0.84"), "--at", east, *WHY)
    assert datetime.fromisoformat(done["effective_at"]) == moment
    assert asked("show")["id"] == market.id
    assert asked("list")[0]["state"] == "scheduled"
    withdrawn = asked("withdraw", done["price_book_id"], *WHY)
    assert withdrawn["state"] == "withdrawn"
    assert "was withdrawn before" in refused("withdraw", done["price_book_id"], *WHY)
    assert "came into force" in refused("withdraw", market.id, *WHY)


def test_a_draft_that_was_overtaken_is_refused_then_rebased(market: PriceBook) -> None:
    mine, theirs = new_draft("output=0.84"), new_draft("input=0.21")
    newer = asked("publish", theirs, *WHY)["price_book_id"]
    said = refused("publish", mine, *WHY)
    assert market.id in said
    assert newer in said
    moved = asked("draft", "rebase", "--draft", mine)
    assert moved["base_price_book_id"] == newer
    asked("publish", mine, *WHY)


@pytest.mark.usefixtures("market")
def test_warnings_are_told_and_have_to_be_accepted() -> None:
    draft_id = new_draft("output=0.81", "ttft=20")
    assert "is it the unit?" in run("draft", "show", draft_id)
    assert "is it the unit?" in refused("publish", draft_id, *WHY)
    asked("publish", draft_id, *WHY, "--accept-warnings")


def test_a_book_is_exported_as_the_document_that_its_digest_is_of(market: PriceBook) -> None:
    document = json.loads(run("export"))
    book_id, sha256 = document.pop("id"), document.pop("sha256")
    assert (book_id, sha256) == (market.id, market.sha256)
    assert hashlib.sha256(canonical_json(document)).hexdigest() == sha256


@pytest.mark.usefixtures("market")
def test_a_draft_is_exported_as_rows_of_csv() -> None:
    draft_id = new_draft("output=0.84")
    rows = list(csv.DictReader(io.StringIO(run("export", draft_id, "--format", "csv"))))
    assert [row["tier"] for row in rows] == ["premium", "standard", "bulk"]
    standard = rows[1]
    assert (standard["id"], standard["output_usd_per_mtok"], standard["ttft_s"]) == (draft_id, "0.84", "1.500000")
    assert standard["cost_output_usd_per_mtok"] == "0.05"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("draft", "set", MODEL, "gold", "output=1"), "no tier 'gold'"),
        (("draft", "set", MODEL, "standard"), "say what to set"),
        (("draft", "set", MODEL, "standard", "output=cheap"), "no output rate"),
        (("draft", "set", MODEL, "standard", "output=NaN"), "no output rate"),
        (("draft", "set", MODEL, "standard", "output=0.0000001"), "at most six decimals"),
        (("draft", "set", MODEL, "standard", "price=1"), "no such field"),
        (("schedule", "draft-1", "--at", "tomorrow", *WHY), "is no moment"),
        (("schedule", "draft-1", "--at", "2026-12-01T00:00:00", *WHY), "has no time zone"),
        (("export", "--format", "xml"), "no format 'xml'"),
        (("diff", "--days", "93"), "days"),
        (("publish", "draft-1"), "--reason"),
    ],
)
@pytest.mark.usefixtures("market")
def test_what_cannot_be_read_is_a_misuse_and_says_why(arguments: tuple[str, ...], said: str) -> None:
    assert said in misused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("publish", "draft-none", *WHY), "no price draft 'draft-none'"),
        (("diff", "pb-none"), "no price book 'pb-none'"),
        (("rollback", "pb-none", *WHY), "no price book 'pb-none'"),
        (("withdraw", "pb-none", *WHY), "no price book 'pb-none'"),
        (("show", "pb-none"), "no price book 'pb-none'"),
        (("diff",), "no draft is open"),
        (("draft", "discard", "draft-none", *WHY), "no price draft"),
    ],
)
@pytest.mark.usefixtures("market")
def test_what_is_not_there_is_refused_by_name(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)


def test_going_back_to_what_is_in_force_is_refused(market: PriceBook) -> None:
    assert "nothing was published" in refused("rollback", market.id, *WHY)


def test_a_moment_that_has_passed_is_refused(market: PriceBook) -> None:
    draft_id = new_draft("output=0.84")
    result = call("schedule", draft_id, "--at", "2026-01-01T00:00:00Z", *WHY)
    assert isinstance(result.exception, MarketError)
    assert "Choose a later moment" in str(result.exception)
    assert asked("show")["id"] == market.id


def test_looking_makes_no_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(tmp_path / "none"))
    for arguments in (("list",), ("diff",), ("draft", "list"), ("export",)):
        assert "there is no market at" in refused(*arguments)
    assert not (tmp_path / "none").exists()
