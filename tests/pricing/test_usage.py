import pytest

from pricing.money import Rate
from pricing.usage import Rates, TokenClass, Usage, UsageError, usage_from_totals

RATES = Rates(Rate(100), Rate(10), Rate(125), Rate(400))


def test_inclusive_counts_become_disjoint_classes() -> None:
    usage = usage_from_totals(prompt=100, completion=7, cached=64, cache_write=6)
    assert usage == Usage(input=30, cached=64, cache_write=6, output=7)
    assert usage.input_total == 100


def test_all_of_a_prompt_may_be_cached() -> None:
    assert usage_from_totals(prompt=64, completion=0, cached=64).input == 0


def test_more_cached_than_prompt_tokens_is_refused_with_the_numbers() -> None:
    with pytest.raises(UsageError, match=r"60 cached \+ 50 written tokens exceed the 100"):
        usage_from_totals(prompt=100, completion=0, cached=60, cache_write=50)


@pytest.mark.parametrize("name", ["input", "cached", "cache_write", "output"])
def test_no_class_counts_below_zero(name: str) -> None:
    with pytest.raises(UsageError, match="must not be negative"):
        Usage(**{name: -1})


def test_each_class_is_priced_at_its_own_rate() -> None:
    usage = Usage(input=3, cached=5, cache_write=7, output=11)
    assert RATES.input_pico(usage) == 3 * 100 + 5 * 10 + 7 * 125
    assert RATES.output_pico(usage.output) == 11 * 400


def test_a_quote_reserves_the_dearest_input_class() -> None:
    assert RATES.input_dearest == 125


def test_rates_are_listed_in_the_order_of_a_price_list() -> None:
    assert list(RATES.by_class()) == [
        TokenClass.INPUT,
        TokenClass.CACHED,
        TokenClass.CACHE_WRITE,
        TokenClass.OUTPUT,
    ]
    assert RATES.by_class()[TokenClass.CACHE_WRITE] == 125
