"""An answer wanted in one body is streamed from its backend and put together here."""

import json
from typing import Literal

import pytest

from app.settings import Settings
from pricing.usage import Usage
from providers.base import TokenChunk
from providers.errors import ProviderTimeout
from scheduler.fleet import OfferId
from scheduler.jobs import Capability
from tests.app.gateway.rooms import Rooms, ended, offer, said, whole


async def test_the_backend_streams_and_the_customer_gets_one_body() -> None:
    rooms = Rooms()
    customer = await rooms.ask()
    [asked] = rooms.backends.asked
    assert asked.is_stream
    body = json.loads(customer.text)
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "tok tok "
    assert body["choices"][0]["finish_reason"] == "stop"
    assert (body["id"], body["model"], body["usage"]["completion_tokens"]) == ("gen_1", "m", 2)
    assert customer.headers["content-length"] == str(len(customer.text))
    assert (rooms.row["is_streamed"], rooms.row["tokens_output"]) == (False, 2)
    await rooms.check_nothing_is_left()


async def test_its_first_token_is_learned_from_and_frees_the_prompts_place() -> None:
    rooms = Rooms()
    await rooms.ask()
    assert rooms.leases.prefilled == ["gen_1"]


async def test_a_backend_that_never_answers_fails_over_unseen() -> None:
    rooms = Rooms(offer("p"), offer("q"))
    rooms.backends.scripts[OfferId("p/d")] = [ProviderTimeout("p", "no first token within 60 s")]
    customer = await rooms.ask(provider={"order": ["p"]})
    assert (customer.status, rooms.row["provider_id"], rooms.row["attempts"]) == (200, "q", 2)


async def test_one_that_breaks_off_in_the_middle_is_begun_anew_elsewhere_for_nothing_was_seen() -> None:
    rooms = Rooms(offer("p"), offer("q"))
    rooms.backends.scripts[OfferId("p/d")] = [said(0, "lost "), ProviderTimeout("p", "silent")]
    rooms.backends.scripts[OfferId("q/d")] = [said(0, "kept "), ended(1)]
    customer = await rooms.ask(provider={"order": ["p"]})
    assert json.loads(customer.text)["choices"][0]["message"]["content"] == "kept "
    assert rooms.row["tokens_output"] == 1


async def test_without_a_count_of_the_backends_each_event_is_a_token() -> None:
    rooms = Rooms()
    closing = ended(0)
    rooms.backends.scripts[OfferId("p/d")] = [
        said(0),
        said(1),
        said(2),
        type(closing)(closing.events, "b-1", "b", finish_reason="stop"),
    ]
    await rooms.ask()
    assert (rooms.row["tokens_output"], rooms.row["usage_source"]) == (3, "counted")


async def test_an_offer_that_cannot_stream_is_asked_for_the_body() -> None:
    rooms = Rooms(offer("p", capabilities=frozenset(Capability) - {Capability.STREAMING}))
    rooms.backends.scripts[OfferId("p/d")] = [whole(2)]
    customer = await rooms.ask()
    assert customer.status == 200
    assert not rooms.backends.asked[0].is_stream


@pytest.mark.parametrize(
    ("which", "service_tier", "is_streamed"),
    [
        ("none", "priority", False),
        ("premium", "priority", True),
        ("premium", "default", False),
        ("all", "default", True),
    ],
)
async def test_for_which_tiers_it_is_done_is_a_setting(
    which: Literal["premium", "all", "none"], service_tier: str, *, is_streamed: bool
) -> None:
    rooms = Rooms()
    rooms.market.settings = Settings(stream_inside=which)
    if not is_streamed:
        rooms.backends.scripts[OfferId("p/d")] = [whole(2)]
    assert (await rooms.ask(service_tier=service_tier)).status == 200
    assert rooms.backends.asked[0].is_stream == is_streamed


async def test_a_body_is_waited_for_no_longer_than_four_times_what_it_should_take() -> None:
    rooms = Rooms()
    rooms.in_one_body()
    await rooms.ask(max_tokens=100)
    [asked] = rooms.backends.asked
    # 60 s for the first token, and four times 100 tokens of 10 ms; never more than 900 s.
    assert asked.timeouts.total_s == pytest.approx(64.0)
    assert Settings().answer_s_max == 900.0


async def test_text_and_what_is_no_text_keep_their_order() -> None:
    odd = b'data: {"id":"b-1","model":"b","choices":[{"index":0,"delta":{"content":"odd ","refusal":"no"}}]}\n\n'
    two = said(3, "three ").events + said(4, "four ").events
    rooms = Rooms()
    rooms.backends.scripts[OfferId("p/d")] = [
        *(said(0, "one "), said(1, "two "), TokenChunk(odd, "b-1", "b", 4, 1)),
        *(TokenChunk(two, "b-1", "b", 11, 2), ended(5)),
    ]
    customer = await rooms.ask()
    message = json.loads(customer.text)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "one two odd three four ", "refusal": "no"}


async def test_more_than_was_asked_for_is_not_billed() -> None:
    rooms = Rooms()
    rooms.backends.scripts[OfferId("p/d")] = [*(said(n) for n in range(9)), ended(9, usage=Usage(input=10, output=9))]
    await rooms.ask(max_tokens=5)
    assert rooms.row["tokens_output"] == 5
    assert rooms.settled.charge.net <= rooms.row["held"]
