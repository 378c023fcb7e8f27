from dataclasses import replace

from app.gateway.routes import QuoteRequest, quote_document
from tests.app.gateway.rooms import Authenticator, Rooms, offer


async def test_an_answer_and_its_receipt_say_the_precision_that_served_it() -> None:
    rooms = Rooms(replace(offer("p"), precision="fp8"))
    customer = await rooms.ask(stream=True)
    assert customer.headers["x-precision"] == "fp8"
    (settled,) = rooms.ledger.settled
    assert settled.rows[0].values["precision"] == "fp8"


async def test_an_offer_that_does_not_state_it_says_nothing() -> None:
    rooms = Rooms()
    customer = await rooms.ask(stream=True)
    assert "x-precision" not in customer.headers
    (settled,) = rooms.ledger.settled
    assert settled.rows[0].values["precision"] == ""


async def test_a_quote_says_at_which_precisions_the_tier_is_served() -> None:
    rooms = Rooms(replace(offer("p"), precision="fp8"), replace(offer("q"), precision="fp4"), offer("r"))
    caller = await Authenticator().authenticate("Bearer x")
    quoted = quote_document(QuoteRequest("m", input_tokens=10, max_tokens=5), caller, rooms.market)
    assert quoted["precisions"] == ["fp4", "fp8", "unknown"]
