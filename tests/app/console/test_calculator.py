import re

import pytest

from app.console.calculator import Asked, calculation, read_asked
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates
from tests.app.console.market_fixtures import Market
from tests.app.console.test_pages import text_of


def card(rates: tuple[int, int, int, int]) -> RateCard:
    return RateCard("m", Rung(Tier.STANDARD, Slo(1, 1), Rates(*map(Rate, rates))), "d", 1.0, Rates(*(Rate(0),) * 4), 1)


def test_a_ceiling_takes_the_dearest_input_class_and_rounds_up_to_the_nano() -> None:
    cards = {("m", Tier.STANDARD): card((1_000_000, 100_000, 1_250_001, 4_000_000))}
    found = calculation(cards, Asked("m", Tier.STANDARD, 3, 5))
    assert found is not None
    assert found.ceiling == 23_751  # 3 x 1.250001 + 5 x 4 = 23.750003 µUSD
    assert calculation(cards, Asked("m", Tier.BULK, 3, 5)) is None


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "1e3", "100000001", "9" * 30, "٣"])
def test_what_is_no_count_is_said_and_the_default_stands(text: str) -> None:
    asked = read_asked({"calc_input": text}, ("m",))
    assert asked.input_tokens == 1_000
    assert asked.problem == f"'{text[:40]}' is no count of tokens: write a whole number, at most 100,000,000"


def test_what_is_not_asked_has_a_default() -> None:
    assert read_asked({"calc_model": "other", "calc_tier": "gold"}, ("m", "n")) == Asked("m", Tier.STANDARD, 1_000, 500)
    assert read_asked({}, ()).model == ""


async def test_the_page_says_what_the_api_would_quote(market: Market) -> None:
    await market.sign_in()
    page = await market.page("/console/prices?calc_tier=bulk&calc_input=2,000&calc_output=100")
    [shown] = re.findall(r'class="kpi-value" title="([^"]+)"', page)
    assert shown == "$0.000035343 USD"  # 2,000 x $0.014726 + 100 x $0.058903 per million, rounded up
    assert "is no count of tokens" in text_of(await market.page("/console/prices?calc_input=many"))
