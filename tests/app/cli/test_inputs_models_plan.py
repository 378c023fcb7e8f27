"""``goodput inputs``, ``models`` and ``plan`` as an operator types them; and what a start makes of the settings."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.audit.service import Actor
from app.catalog.sale import ModelOnSale
from app.catalog.service import live_book, put_on_sale
from app.cli import demo
from app.cli.failure import Failure
from app.cli.local_profile import LocalEngine
from app.cli.main import app
from app.cli.price_seed import seeding, tell
from app.cli.pricing_inputs import known_costs
from app.cli.supply import Supply, priced_models
from app.clock import from_us, now_us
from app.db import Database
from app.errors import MarketError
from app.planning.in_force import in_force
from app.planning.inputs import Revision, Source
from app.planning.resolve import known_costs as costs_of
from app.planning.resolve import priced_model
from app.planning.service import Opened, open_prices, shipped
from app.settings import Settings
from migrations.run import migrate
from pricing.derive import derive_cards
from pricing.profiles import Configuration, LengthClass, Profile
from pricing.tables import DATA_DIR
from tests.app.planning.planning_market import point

pytestmark = pytest.mark.slow

ACTOR = Actor("system", "goodput up", "goodput up")
Goodput = Callable[..., Any]


LOCAL_LOADS = ((1, 8.0, 0.05), (2, 9.0, 0.07), (4, 12.0, 0.1), (8, 20.0, 0.2))
LOCAL_PROFILE = Profile(
    demo.LOCAL,
    Configuration("local", 1, "llama.cpp", "q8_0"),
    tuple(point(*load, LengthClass(64, 32)) for load in LOCAL_LOADS),
)


def supply() -> Supply:
    known = shipped()
    offers = demo.curves(known.profiles)
    return Supply(known.profiles, offers, dict.fromkeys(offers, "http://127.0.0.1:9/v1"), None)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market with the demo's models priced and published, as ``goodput up`` leaves it."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("market"))
    migrate(settings.database_dsn)

    async def open_market() -> None:
        database = Database(settings.database_dsn)
        async with database.writing() as session:
            for model in demo.MODELS:
                on_sale = ModelOnSale(model.name, model.title, model.context_max, now_us())
                await put_on_sale(session, on_sale, ACTOR, now_us())
        opened = await open_prices(database, seeding(settings, supply()), ACTOR, now_us())
        assert opened.is_new
        await database.close()

    asyncio.run(open_market())
    return settings.data_dir


@pytest.fixture
def goodput(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Goodput:
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(data_dir))

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(data_dir))

    def run(*arguments: str) -> str:
        with pytest.raises((Failure, MarketError)) as failure:
            CliRunner().invoke(app, arguments, catch_exceptions=False)
        return str(failure.value)

    return run


def test_a_starts_inputs_derive_what_its_settings_did() -> None:
    """The same prices from dated inputs as from the settings themselves, for every model of the demo."""
    settings = Settings(utilisation=0.5, margin=0.7, ownership="rental", flex_window_s=600, local_power_w=80)
    ours = replace(supply(), engine=LocalEngine("http://127.0.0.1:9/v1", LOCAL_PROFILE))
    seeds = seeding(settings, ours)
    given = in_force(
        [Revision(*key, value, Source.DEFAULT, 0, 0, "", "", {}) for key, value in seeds.defaults.items()], 0
    )
    expected = {model.public_name: model for model in priced_models(settings, ours, known_costs(settings, []))}
    assert {spec.public_name for spec in seeds.specs} == set(expected) == {demo.GPT_OSS, demo.TUNED, demo.LOCAL}
    assert costs_of(given)["local"].usd_per_hour == known_costs(settings, [])["local"].usd_per_hour
    for spec in seeds.specs:
        found, wanted = priced_model(spec, given, shipped()), expected[spec.public_name]
        if spec.public_name != demo.LOCAL:  # priced from its one deployment alone, which is all that there is
            assert found.assumptions == wanted.assumptions
        cards = [
            derive_cards(each.model, each.public_name, each.profiles, each.hardware_costs, each.assumptions)
            for each in (found, wanted)
        ]
        assert cards[0] == cards[1]


def test_inputs_are_set_listed_and_kept_in_history(goodput: Goodput) -> None:
    at_start = from_us(now_us()).isoformat()
    made = goodput("inputs", "set", "market", "overhead_usd_per_mtok", "0.001", "--reason", "support")
    assert (made["value"], made["source"], made["is_pinned"]) == (0.001, "operator", True)
    goodput("inputs", "set", "market", "overhead_usd_per_mtok", "0.002", "--reason", "more", "--until-metered")

    def overhead(*at: str) -> list[float]:
        listed = goodput("inputs", "list", *at)["inputs"]
        return [each["value"] for each in listed if each["name"] == "overhead_usd_per_mtok"]

    assert (overhead(), overhead("--at", at_start)) == ([0.002], [])
    history = goodput("inputs", "history", "market", "overhead_usd_per_mtok")["revisions"]
    assert [(each["value"], each["reason"], each["is_pinned"]) for each in history] == [
        (0.002, "more", False),
        (0.001, "support", True),
    ]
    goodput("inputs", "set", "market", "overhead_usd_per_mtok", "null", "--reason", "none after all")
    assert overhead() == []


def test_an_input_may_come_from_a_file_and_at_a_moment_to_come(goodput: Goodput, tmp_path: Path) -> None:
    file = tmp_path / "shares.json"
    file.write_text('{"premium": 0.9, "standard": 0.05}')
    made = goodput(
        *("inputs", "set", "tier:premium", "attainment", f"@{file}", "--reason", "a fit"),
        *("--effective-at", "2100-01-01T00:00:00+00:00"),
    )
    assert (made["value"], made["effective_at"]) == (
        {"premium": 0.9, "standard": 0.05},
        "2100-01-01T00:00:00+00:00",
    )
    listed = goodput("inputs", "list", "--at", "2100-01-01T00:00:00+00:00")["inputs"]
    assert any(each["subject"] == "tier:premium" for each in listed)


def test_floors_and_modes_are_inputs_like_others(goodput: Goodput, tmp_path: Path) -> None:
    demand = tmp_path / "demand.json"
    demand.write_text((DATA_DIR / "demand.json").read_text())
    wanted = {
        ("tier:premium", "precision_floor"): ("fp8", "fp8"),
        ("tier:premium", "score_min"): ('{"gpqa": 0.7}', {"gpqa": 0.7}),
        ("market", "price_mode"): ("anchored", "anchored"),
        ("market", "price_band"): ("[0.9, 1.1]", [0.9, 1.1]),
        ("market", "demand"): (f"@{demand}", json.loads(demand.read_text())),
    }
    for key, (typed, value) in wanted.items():
        assert goodput("inputs", "set", *key, typed, "--reason", "a test")["value"] == value
        goodput("inputs", "set", *key, "null", "--reason", "a test is over")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("market", "utilisation", "1.5"), "above 0, at most 1, got 1.5"),
        (("market", "utilisation", "NaN"), "above 0, at most 1"),
        (("nobody", "utilisation", "0.5"), "is no subject"),
        (("market", "nothing", "0.5"), "is no input"),
        (("tier:premium", "precision_floor", "fp9"), "int4 < q5_0 < q6_k < fp8"),
        (("model:m", "precision_floor", "fp8"), "is an input of tier, not of model"),
        (("market", "price_mode", "guess"), "cost_plus, anchored or optimised"),
        (("market", "utilisation", "@/no/such/file"), "No such file"),
        (("market", "utilisation", "0.5", "--effective-at", "2020-01-01T00:00:00+00:00"), "never backdated"),
        (("market", "utilisation", "0.5", "--effective-at", "2100-01-01"), "no time zone"),
        (("market", "utilisation", "0.5", "--effective-at", "soon"), "expected a moment"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(
    refused: Callable[..., str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused("inputs", "set", *arguments, "--reason", "a test")


def test_every_input_is_told_with_its_range(goodput: Goodput) -> None:
    known = {each["name"]: each for each in goodput("inputs", "known")}
    assert known["utilisation"]["allowed"] == "a number above 0, at most 1"
    assert "deployment" in known["tpot_scale"]["subjects"]


def test_a_tuned_model_carries_its_own_adder_tiers_and_price(goodput: Goodput) -> None:
    base = goodput("models", "price", "acme/base", "--profiled-as", demo.GPT_OSS, "--title", "Base")
    shared = goodput(
        *("models", "price", "acme/tuned", "--profiled-as", demo.GPT_OSS, "--title", "Tuned", "--tier", "standard"),
        *("--adder-shared", "slowdown=1.5,usd_per_mtok=0.01"),
    )
    assert [each["tier"] for each in base["derived"]] == ["premium", "standard", "bulk"]
    assert [each["tier"] for each in shared["derived"]] == ["standard"]
    prices = [
        next(float(each["price"].split(" / ")[1]) for each in found["derived"] if each["tier"] == "standard")
        for found in (base, shared)
    ]
    assert prices[1] > prices[0] * 1.5  # each token takes half as long again, and a cent a million comes on top
    alone = goodput(
        *("models", "price", "acme/tuned", "--profiled-as", demo.GPT_OSS),
        *("--adder-dedicated", "demand_tok_s=10000"),
    )
    assert (alone["serving"], alone["adder"]["slowdown"]) == ("dedicated", 1.0)
    assert 0 < alone["adder"]["utilisation"] < 0.6
    worked_out = goodput(
        *("models", "price", "acme/tuned", "--profiled-as", demo.GPT_OSS),
        *("--adder-shared", "rank=16,widths=2e6,adapters=50,tok_per_hour=2e6,weight_gb=65,storage_usd_per_hour=0.05"),
    )
    assert 1 < worked_out["adder"]["slowdown"] < 1.1
    listed = {each["public_name"]: each["serving"] for each in goodput("models", "list")["models"]}
    assert listed["acme/tuned"] == "shared"
    goodput("models", "stop", "acme/tuned")
    goodput("models", "stop", "acme/base")
    assert "acme/tuned" not in {each["public_name"] for each in goodput("models", "list")["models"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("m", "--profiled-as", "nobody/measured"), "nobody/measured"),
        (("m", "--profiled-as", demo.GPT_OSS), "not on sale; give --title"),
        (("m", "--profiled-as", demo.GPT_OSS, "--adder-shared", "slowdown=0.5"), "slowdown >= 1"),
        (
            ("m", "--profiled-as", demo.GPT_OSS, "--adder-shared", "slowdown=2", "--adder-dedicated", "demand_tok_s=1"),
            "give one adder",
        ),
    ],
)
def test_a_model_that_cannot_be_priced_is_refused(
    refused: Callable[..., str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused("models", "price", *arguments)


def test_a_model_that_is_not_priced_cannot_be_stopped(refused: Callable[..., str]) -> None:
    assert "is not priced" in refused("models", "stop", "nobody")


def test_a_plan_is_made_and_shown(goodput: Goodput, refused: Callable[..., str]) -> None:
    assert "goodput plan make" in refused("plan")
    made = goodput("plan", "make", "--days", "3")
    shown = goodput("plan")
    assert shown == made
    assert {model["model"] for model in made["models"]} >= {demo.GPT_OSS, demo.TUNED}
    assert made["demand"]["requests"] == 0


def test_people_get_tables(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(data_dir))
    for arguments in (
        ["inputs", "list"],
        ["inputs", "history"],
        ["inputs", "known"],
        ["models", "list"],
        ["plan", "make"],
    ):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        assert demo.GPT_OSS in result.stdout or "utilisation" in result.stdout


def test_a_start_says_what_it_left_to_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Opened("pb-1", is_new=False))
    assert capsys.readouterr().err == ""
    tell(Opened("pb-1", False, "draft-7", "pb-1, in force, was published by ada (operator)", {"m": "not measured"}))
    said = capsys.readouterr().err
    assert "published by ada (operator)" in said
    assert "draft-7" in said
    assert "m cannot be priced and keeps what it had: not measured" in said


def test_the_book_that_a_start_published_is_in_force(data_dir: Path) -> None:
    async def models() -> tuple[str, ...]:
        database = Database(Settings(data_dir=data_dir).database_dsn)
        try:
            async with database.reading() as session:
                return (await live_book(session, from_us(now_us()))).models()
        finally:
            await database.close()

    assert asyncio.run(models()) == tuple(sorted(model.name for model in demo.MODELS))
