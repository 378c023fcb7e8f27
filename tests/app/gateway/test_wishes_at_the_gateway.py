"""What a request may wish for: providers, models, suffixes, a price cap, a lower tier; and what is refused clearly."""

import json
from dataclasses import replace
from typing import Any

import pytest

from app.errors import MarketError
from app.gateway.provider_field import NO_WISHES, PriceCap
from app.gateway.suffix import suffix_of
from app.gateway.wire import read_order
from app.tuning.tuned import public_name
from pricing.money import Rate
from providers.errors import ProviderServerError
from scheduler.fleet import Calibration, OfferId
from scheduler.preferences import Sort
from tests.app.gateway.rooms import BODY, CALLER, Customer, Rooms, offer

BROKEN = ProviderServerError("x", "boom", 500)


def order(**fields: Any) -> Any:
    return read_order(json.dumps({**BODY, **fields}).encode())


def refusal(**fields: Any) -> MarketError:
    with pytest.raises(MarketError) as refused:
        order(**fields)
    return refused.value


def error_of(customer: Customer) -> dict[str, Any]:
    return json.loads(customer.text)["error"]


def two_models() -> Rooms:
    return Rooms(offer("p"), offer("q", model="n"))


# ------------------------------------------------------------------------------------------------- reading


def test_no_wishes_cost_nothing() -> None:
    assert order().wishes is NO_WISHES
    assert order(provider={}).wishes == NO_WISHES


def test_all_that_may_be_wished_is_read() -> None:
    wishes = order(
        provider={
            "order": ["b", "a", "b"], "only": ["a", "b", "c"], "ignore": ["c"], "allow_fallbacks": False,
            "sort": {"by": "throughput"}, "max_price": {"prompt": 0.5, "completion": "2.0000019"},
            "preferred_max_latency": {"p50": 0.5, "p90": 1.5}, "preferred_min_throughput": 40,
            "region": ["EU", "us-east"], "quantizations": ["FP8"], "continue": True,
            "require_parameters": True, "data_collection": "allow", "zdr": False,
        }
    ).wishes  # fmt: skip
    preferences = wishes.preferences
    assert (preferences.order, preferences.only, preferences.ignore) == (("b", "a"), {"a", "b", "c"}, {"c"})
    assert (preferences.allow_fallbacks, preferences.sort) == (False, Sort.THROUGHPUT)
    assert (preferences.ttft_us_wished, preferences.tpot_us_wished) == (1_500_000.0, 25_000.0)
    assert (preferences.regions, preferences.precisions) == ({"eu", "us-east"}, {"fp8"})
    assert wishes.continues
    assert wishes.cap == PriceCap(Rate(500_000), Rate(2_000_001))  # pico-USD per token: a cap is rounded down


@pytest.mark.parametrize(
    ("provider", "param", "words"),
    [
        ({"foo": 1}, "provider", "unknown field `foo`; known are order, only"),
        ({"order": "a"}, "provider.order", "array"),
        ({"only": []}, "provider.only", "leaves nobody"),
        ({"order": []}, "provider.order", "leaves nobody"),
        ({"region": []}, "provider.region", "leaves nobody"),
        ({"only": ["a"] * 65}, "provider.only", "<= 64"),
        ({"only": ["a", "b"], "ignore": ["b", "a"]}, "provider.ignore", "only [a, b], ignore [a, b]"),
        ({"order": ["a"], "allow_fallbacks": False, "ignore": ["a"]}, "provider.order", "leaves nobody"),
        ({"order": ["a"], "allow_fallbacks": False, "only": ["b"]}, "provider.order", "only [b]"),
        ({"sort": "speed"}, "provider.sort", "speed"),
        ({"sort": {"by": "price", "partition": "none"}}, "provider.sort.partition", "'model'"),
        ({"max_price": {"prompt": -1}}, "provider.max_price.prompt", "0 or more"),
        ({"max_price": {"completion": "NaN"}}, "provider.max_price.completion", "0 or more"),
        ({"max_price": {"prompt": True}}, "provider.max_price.prompt", "bool"),
        ({"max_price": {"request": 1}}, "provider.max_price", "nothing is charged per request"),
        ({"max_price": {"tokens": 1}}, "provider.max_price", "unknown field"),
        ({"preferred_min_throughput": 0}, "provider.preferred_min_throughput", "> 0"),
        ({"preferred_max_latency": {"p42": 1}}, "provider.preferred_max_latency", "unknown field"),
        ({"data_collection": "deny"}, "provider.data_collection", "not known here"),
        ({"zdr": True}, "provider.zdr", "not known here"),
        ([], "provider", "array"),
    ],
)
def test_what_cannot_be_kept_or_contradicts_itself_is_refused_and_named(provider: Any, param: str, words: str) -> None:
    error = refusal(provider=provider)
    assert (error.status, error.param) == (400, param)
    assert words in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_schema"}},
        {"logprobs": True},
    ],
)
def test_continuation_never_goes_with_what_cannot_be_taken_up_halfway(fields: dict[str, Any]) -> None:
    error = refusal(provider={"continue": True}, **fields)
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", "provider.continue")


def test_models_are_tried_in_the_order_given_each_once() -> None:
    asked = order(models=["n", "m", "n", "o"])
    assert (asked.model, asked.fallbacks) == ("m", ("n", "o"))
    alone = read_order(json.dumps({"messages": BODY["messages"], "models": ["a", "b"]}).encode())
    assert (alone.model, alone.fallbacks) == ("a", ("b",))
    assert refusal(models=["x"] * 9).param == "models"
    assert refusal(model=None, models=[]).param == "model"
    assert refusal(models=[""]).param == "models"
    assert refusal(models=["x" * 257]).param == "models"


def test_none_of_these_fields_reaches_a_backend() -> None:
    asked = order(provider={"sort": "price"}, models=["n"], allow_downgrade=True)
    assert not {"provider", "models", "allow_downgrade"} & asked.fields.keys()


def test_more_than_one_choice_is_refused_in_words() -> None:
    error = refusal(n=2)
    assert (error.status, error.param) == (400, "n")
    assert "send the request once for each answer" in error.message


# ------------------------------------------------------------------------------------------------- providers


async def test_a_provider_that_nobody_knows_is_a_mistake_of_typing() -> None:
    for field in ("order", "only", "ignore"):
        rooms = Rooms(offer("p"))
        customer = await rooms.ask(provider={field: ["p", "acme"]})
        assert customer.status == 400
        assert error_of(customer) | {"message": ""} == {
            "message": "", "type": "invalid_request_error", "param": f"provider.{field}", "code": "unknown_provider"
        }  # fmt: skip
        assert "'acme'" in error_of(customer)["message"]
        await rooms.check_nothing_is_left()


async def test_who_serves_only_anothers_own_model_is_as_unknown_as_who_does_not_exist() -> None:
    told: list[str] = []
    for name in ("hidden", "absent"):
        rooms = Rooms(offer("p"), offer("hidden", model=public_name("cus_2", "support")))
        customer = await rooms.ask(provider={"ignore": [name]})
        assert (customer.status, error_of(customer)["code"]) == (400, "unknown_provider")
        told.append(error_of(customer)["message"].replace(name, "…"))
        await rooms.check_nothing_is_left()
    assert told[0] == told[1]
    own = Rooms(offer("p"), offer("hidden", model=public_name(CALLER.customer_id, "support")))
    assert (await own.ask(provider={"ignore": ["hidden"]})).status == 200


async def test_wishes_that_no_offer_meets_are_refused_for_good_with_the_reasons() -> None:
    rooms = Rooms(offer("p", region="us-east"), offer("q"))
    customer = await rooms.ask(provider={"region": "eu"})
    assert (customer.status, customer.headers["x-should-retry"]) == (503, "false")
    assert error_of(customer)["code"] == "no_provider_available"
    assert "p (in region us-east)" in error_of(customer)["message"]
    await rooms.check_nothing_is_left()


async def test_the_provider_named_serves() -> None:
    for name in ("p", "q"):
        rooms = Rooms(offer("p"), offer("q"))
        customer = await rooms.ask(stream=True, provider={"only": [name]})
        assert customer.headers["x-provider"] == name
        assert rooms.row["explanation"]["offers"]["verdicts"][0]["offer"] == "p/d"


async def test_without_fallbacks_a_failure_is_told_and_not_repeated_elsewhere() -> None:
    rooms = Rooms(offer("p"), offer("q"))
    rooms.backends.scripts[OfferId("p/d")] = [BROKEN]
    customer = await rooms.ask(provider={"order": ["p"], "allow_fallbacks": False})
    assert customer.status == 502
    assert len(rooms.backends.asked) == 1
    assert rooms.metric("goodput_retries_refused_total", code="capacity_exceeded") == 1


# ------------------------------------------------------------------------------------------------- price


async def test_a_price_cap_refuses_what_is_dearer_and_names_the_cheapest() -> None:
    rooms = Rooms()
    customer = await rooms.ask(provider={"max_price": {"completion": 0.5}})
    error = error_of(customer)
    assert (customer.status, error["code"], error["param"]) == (503, "no_provider_available", "provider.max_price")
    assert customer.headers["x-should-retry"] == "false"
    assert "$0.50 completion per million tokens, but m costs $1.00 prompt, $1.00 completion" in error["message"]
    assert "cheapest it is sold at is $0.001 prompt, $0.001 completion at service_tier 'flex'" in error["message"]
    assert rooms.ledger.pending == {}


async def test_a_price_cap_that_is_met_to_the_last_pico_serves() -> None:
    rooms = Rooms()
    customer = await rooms.ask(provider={"max_price": {"prompt": 1, "completion": "1.00"}})
    assert customer.status == 200


async def test_with_a_downgrade_allowed_a_cap_leads_to_the_best_tier_within_it() -> None:
    rooms = Rooms()
    customer = await rooms.ask(
        service_tier="priority", allow_downgrade=True, provider={"max_price": {"completion": 1.5}}
    )
    assert (customer.status, customer.headers["x-tier"]) == (200, "standard")
    assert json.loads(customer.text)["service_tier"] == "default"
    assert (rooms.row["tier_asked"], rooms.row["tier_served"]) == ("premium", "standard")
    assert rooms.settled.charge.net == 12 * 1_000


# ------------------------------------------------------------------------------------------------- downgrade


def slowed() -> Rooms:
    """Its one offer takes 120 ms a token, where premium promises 100 and standard a second."""
    rooms = Rooms()
    slow = {OfferId("p/d"): Calibration(1.0, 12.0)}
    rooms.backends.fleet = replace(rooms.backends.fleet, calibrations=slow)
    return rooms


async def test_a_downgrade_serves_and_bills_the_lower_tier_and_says_so() -> None:
    rooms = slowed()
    customer = await rooms.ask(stream=True, service_tier="priority", allow_downgrade=True)
    assert (customer.status, customer.headers["x-tier"]) == (200, "standard")
    assert '"service_tier":"default"' in customer.text
    assert (rooms.row["tier_asked"], rooms.row["tier_served"]) == ("premium", "standard")
    assert rooms.settled.charge.net == 12 * 1_000  # standard's rates, not premium's 2,000
    assert rooms.row["held"] <= rooms.row["quote_ceiling"]


async def test_who_does_not_allow_it_is_refused_instead() -> None:
    rooms = slowed()
    customer = await rooms.ask(stream=True, service_tier="priority")
    assert (customer.status, error_of(customer)["code"]) == (429, "capacity_exceeded")
    await rooms.check_nothing_is_left()


async def test_a_tier_that_can_be_kept_is_not_lowered() -> None:
    rooms = Rooms()
    customer = await rooms.ask(stream=True, service_tier="priority", allow_downgrade=True)
    assert customer.headers["x-tier"] == "premium"
    assert rooms.settled.charge.net == 12 * 2_000


# ------------------------------------------------------------------------------------------------- models


async def test_a_fallback_model_serves_when_the_first_is_not_sold_and_is_billed_at_its_own_card() -> None:
    rooms = two_models()
    customer = await rooms.ask(model="gone", models=["n"])
    assert customer.status == 200
    assert json.loads(customer.text)["model"] == rooms.row["model"] == "n"
    assert rooms.settled.charge.net == 12 * 500


async def test_a_fallback_model_serves_when_the_first_has_no_place_now() -> None:
    rooms = Rooms(offer("p", tiers=frozenset()), offer("q", model="n"))
    customer = await rooms.ask(models=["n"])
    assert json.loads(customer.text)["model"] == "n"
    assert rooms.row["explanation"]["model_asked"] == "m"
    await rooms.check_nothing_is_left()


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_fallback_model_serves_when_every_provider_of_the_first_failed(*, is_stream: bool) -> None:
    rooms = two_models()
    rooms.backends.scripts[OfferId("p/d")] = [BROKEN]
    customer = await rooms.ask(models=["n"], stream=is_stream)
    assert customer.status == 200
    assert (rooms.row["model"], rooms.row["attempts"], rooms.row["provider_id"]) == ("n", 2, "q")
    assert '"model":"n"' in customer.text
    assert rooms.settled.charge.net == 12 * 500
    assert rooms.row["explanation"]["attempts"] == [{"offer": "p/d", "failure": "boom"}]
    await rooms.check_nothing_is_left()


async def test_going_on_to_a_dearer_model_holds_more_first_and_is_not_done_when_that_cannot_be_paid() -> None:
    for covers_more in (True, False):
        rooms = two_models()
        rooms.backends.scripts[OfferId("q/d")] = [BROKEN]
        rooms.ledger.covers_more = covers_more
        customer = await rooms.ask(model="n", models=["m"], stream=True)
        assert customer.status == (200 if covers_more else 502)
        # What m's first step costs more than n's: half of it is held already.
        assert rooms.ledger.extended == (rooms.row["held"] // 2 if covers_more else 0)
        assert rooms.settled.charge.net == (12 * 1_000 if covers_more else 0)
        assert rooms.row["held"] <= rooms.row["quote_ceiling"]
        await rooms.check_nothing_is_left()


async def test_when_no_model_can_serve_the_first_refusal_is_told_and_the_others_beside_it() -> None:
    rooms = Rooms()
    customer = await rooms.ask(model="gone", models=["missing"])
    assert customer.status == 404
    assert "'gone'" in error_of(customer)["message"]
    assert "'missing'" in error_of(customer)["message"]


# ------------------------------------------------------------------------------------------------- suffixes


async def test_floor_takes_the_cheapest_tier_and_nitro_the_fastest_unless_a_tier_is_named() -> None:
    for fields, tier in (
        ({"model": "m:floor"}, "bulk"),
        ({"model": "m:nitro"}, "premium"),
        ({"model": "m:floor", "service_tier": "default"}, "standard"),
        ({"model": "m:nitro", "service_tier": "default"}, "standard"),
        ({"model": "n:nitro"}, "standard"),  # the only tier that n is sold at
    ):
        rooms = two_models()
        customer = await rooms.ask(stream=True, **fields)
        assert (customer.status, customer.headers["x-tier"]) == (200, tier)
        assert rooms.row["model"] == fields["model"][0]
        assert rooms.row["tier_asked"] == tier


async def test_nitro_falls_back_to_a_lower_tier_rather_than_refuse() -> None:
    rooms = slowed()
    customer = await rooms.ask(stream=True, model="m:nitro")
    assert (customer.status, customer.headers["x-tier"]) == (200, "standard")
    assert rooms.settled.charge.net == 12 * 1_000


async def test_a_suffix_sorts_unless_the_request_sorts_itself() -> None:
    slow, quick = offer("p"), offer("q", speed=offer("q").speed)
    assert slow.speed == quick.speed
    assert (suffix_of("m:nitro"), suffix_of("m:free"), suffix_of("nitro")) == (":nitro", "", "")
    rooms = Rooms()
    customer = await rooms.ask(model="m:free")
    assert customer.status == 404
