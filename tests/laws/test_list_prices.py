"""Law 15: for published list prices our rating equals an independent price calculator, to the nano."""

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from genai_prices import Usage as OracleUsage
from genai_prices import calc_price, data_snapshot
from genai_prices.types import ModelPrice

from pricing.goodput import Timeline, grade
from pricing.money import usd_per_mtok
from pricing.rating import rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, usage_from_totals

PROMPT, CACHED, WRITTEN, COMPLETION = 12_345, 2_048, 512, 777
PRICES_MIN = 1_500
"""Its snapshot holds some two thousand; a near-empty one would prove nothing."""


def our_nano(rates: Rates, written: int) -> int:
    ladder = Ladder((Rung(Tier.STANDARD, Slo(1_000_000, 0), rates),))
    usage = usage_from_totals(PROMPT, COMPLETION, cached=CACHED, cache_write=written)
    return rate(ladder, usage, grade(Timeline((5,), (COMPLETION,), (0,)), ladder)).net


def oracle_usage(written: int) -> OracleUsage:
    return OracleUsage(
        input_tokens=PROMPT, cache_read_tokens=CACHED, cache_write_tokens=written, output_tokens=COMPLETION
    )


def floor_to_nano(usd: Decimal) -> int:
    return int((usd * 10**9).to_integral_value(ROUND_FLOOR))


def flat(price: object) -> list[Decimal] | None:
    """The four rates of a list price, rounded to a pico-USD per token; None where a rate also depends on length."""
    if not isinstance(price, ModelPrice):
        return None
    names = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
    found = [getattr(price, name, None) for name in names]
    found[1] = found[0] if found[1] is None else found[1]
    found[2] = found[0] if found[2] is None else found[2]
    if not all(isinstance(value, Decimal) for value in found):
        return None
    return [value.quantize(Decimal("0.000001"), ROUND_HALF_EVEN) for value in found if value is not None]


def test_every_flat_list_price_is_rated_as_the_independent_calculator_does() -> None:
    compared = 0
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models:
            decimals = flat(model.prices)
            if decimals is None:
                continue
            fresh, cached, written, output = decimals
            oracle = ModelPrice(input_mtok=fresh, cache_read_mtok=cached, cache_write_mtok=written, output_mtok=output)
            expected = oracle.calc_price(oracle_usage(WRITTEN))["total_price"]
            ours = our_nano(Rates(*(usd_per_mtok(value) for value in decimals)), WRITTEN)
            assert ours == floor_to_nano(expected), f"{provider.id} {model.id}"
            compared += 1
    assert compared > PRICES_MIN


def test_a_named_models_published_price_is_rated_as_the_calculator_looks_it_up() -> None:
    found = calc_price(oracle_usage(0), model_ref="gpt-5", provider_id="openai")
    gpt5 = Rates(usd_per_mtok("1.25"), usd_per_mtok("0.125"), usd_per_mtok("1.25"), usd_per_mtok("10"))
    assert our_nano(gpt5, 0) == floor_to_nano(found.total_price)
