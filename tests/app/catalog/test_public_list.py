from decimal import Decimal

import pytest

from app.catalog.public import model_document, model_list
from app.catalog.sale import ModelOnSale
from pricing.slo import Tier
from tests.app.catalog.books import T0, T0_US, book, card

ONE = ModelOnSale("open/one", "One", 131_072, T0_US, description="A model.", owned_by="someone")


def test_a_model_is_listed_in_openais_shape_with_what_each_tier_costs_and_promises() -> None:
    document = model_document(book(), ONE)
    tiers = document.pop("tiers")
    parameters = document.pop("supported_parameters")
    assert document == {
        "id": "open/one",
        "object": "model",
        "created": 1_795_521_600,
        "owned_by": "someone",
        "name": "One",
        "description": "A model.",
        "context_length": 131_072,
        "pricing": {
            "prompt": "0.0000002",
            "completion": "0.0000008",
            "request": "0",
            "input_cache_read": "0.00000002",
            "input_cache_write": "0.0000002",
        },
        "price_book_id": book().id,
    }
    assert [(tier["tier"], tier["service_tier"]) for tier in tiers] == [
        ("premium", "priority"),
        ("standard", "default"),
        ("bulk", "flex"),
    ]
    assert [tier["slo"] for tier in tiers] == [
        {"ttft_ms": 400.0, "tpot_ms": 5.0, "tok_s_user": 200.0},
        {"ttft_ms": 1500.0, "tpot_ms": 20.0, "tok_s_user": 50.0},
        {"ttft_ms": 900_000.0, "tpot_ms": 0.0, "tok_s_user": None},
    ]
    assert Decimal(tiers[0]["pricing"]["completion"]) * 1_000_000 == Decimal("2.00")
    assert {"service_tier", "max_tokens", "stream"} <= set(parameters)


def test_each_tier_says_at_which_precisions_it_is_served_now() -> None:
    served = {Tier.PREMIUM: ("fp8",), Tier.STANDARD: ("fp4", "fp8")}
    document = model_document(book(), ONE, lambda model, tier: served.get(tier, ()) if model == ONE.name else ("?",))
    assert [tier["precisions"] for tier in document["tiers"]] == [["fp8"], ["fp4", "fp8"], []]
    assert model_list(book(), [ONE], lambda _model, _tier: ("fp4",))["data"][0]["tiers"][0]["precisions"] == ["fp4"]
    assert model_document(book(), ONE)["tiers"][0]["precisions"] == []


def test_a_price_is_a_plain_decimal_however_small() -> None:
    priced = book(T0, card(Tier.BULK))
    assert model_document(priced, ONE)["tiers"][0]["pricing"]["input_cache_read"] == "0.00000001"


def test_prices_at_the_top_are_those_of_the_best_tier_where_standard_is_not_sold() -> None:
    document = model_document(book(T0, card(Tier.PREMIUM), card(Tier.BULK)), ONE)
    assert document["pricing"]["completion"] == "0.000002"
    assert [tier["tier"] for tier in document["tiers"]] == ["premium", "bulk"]


def test_the_list_has_only_what_is_both_on_sale_and_priced_by_name() -> None:
    priced = book(T0, card(Tier.BULK, "b"), card(Tier.BULK, "a"), card(Tier.BULK, "withdrawn"))
    models = [ModelOnSale(name, name, 10, T0_US) for name in ("unpriced", "b", "a")]
    listed = model_list(priced, models)
    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == ["a", "b"]
    assert model_list(priced, []) == {"object": "list", "data": []}


def test_a_model_without_a_price_has_no_document() -> None:
    with pytest.raises(ValueError, match="has no price for open/two"):
        model_document(book(), ModelOnSale("open/two", "Two", 10, T0_US))
