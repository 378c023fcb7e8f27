"""An answer that breaks off goes on elsewhere, for who asked: no token twice, one clock, one honest bill."""

import json
from typing import Any

import pytest

from app.gateway.continuation import Resumed, Sound, Spoken, resumed_fields, together
from app.gateway.wire import read_order
from pricing.rating import Ending
from pricing.usage import Usage
from providers.base import TokenChunk
from providers.errors import ProviderClosedEarly
from scheduler.fleet import OfferId
from scheduler.jobs import Capability
from tests.app.gateway.rooms import Customer, Rooms, ended, offer, said

BROKEN = ProviderClosedEarly("p", "closed")
FIRST_HALF = ["The ", "quick ", "brown ", "fox "]
SECOND_HALF = ["jumps ", "over "]
ASK: dict[str, Any] = {"stream": True, "provider": {"order": ["p"], "continue": True}}
CANNOT = frozenset(Capability) - {Capability.CONTINUATION}


def opening() -> TokenChunk:
    """What backends send first: a role without content."""
    data = b'data: {"id":"b-2","model":"b","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    return TokenChunk(data, "b-2", "b")


def words(*said_words: str, first: int = 0) -> list[TokenChunk]:
    return [said(first + index, word) for index, word in enumerate(said_words)]


def pair(second: list[Any] | None = None, **changes: Any) -> Rooms:
    rooms = Rooms(offer("p"), offer("q", **changes))
    rooms.backends.scripts[OfferId("p/d")] = [*words(*FIRST_HALF), BROKEN]
    rest: list[Any] = [opening(), *words(*SECOND_HALF), ended(2, usage=Usage(input=14, output=2))]
    rooms.backends.scripts[OfferId("q/d")] = rest if second is None else second
    return rooms


def text_of(customer: Customer) -> str:
    events = [line.removeprefix("data: ") for line in customer.text.split("\n\n") if line and "[DONE]" not in line]
    choices = [json.loads(event).get("choices", []) for event in events]
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice)


async def test_the_customer_reads_one_answer_and_no_token_twice() -> None:
    rooms = pair()
    customer = await rooms.ask(**ASK)
    assert text_of(customer) == "The quick brown fox jumps over "
    assert customer.text.count('"role"') == 0  # the second opening is left out
    assert customer.text.endswith("data: [DONE]\n\n")
    assert {json.loads(each[6:])["id"] for each in customer.text.split("\n\n")[:-2]} == {"gen_1"}
    await rooms.check_nothing_is_left()


async def test_the_second_backend_is_asked_for_the_rest_alone() -> None:
    rooms = pair()
    await rooms.ask(**{**ASK, "max_tokens": 10})
    first, second = (request.fields for request in rooms.backends.asked)
    messages = json.loads(json.dumps([json.loads(bytes(each)) for each in second["messages"]]))
    assert messages == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "The quick brown fox "},
    ]
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)
    assert (first["max_tokens"], second["max_tokens"]) == (10, 6)
    assert "continue_final_message" not in first


async def test_it_is_billed_once_for_all_its_tokens_and_costs_what_the_last_backend_billed() -> None:
    rooms = pair()
    await rooms.ask(**ASK)
    row = rooms.row
    # The second prompt held ten tokens and the four already delivered; four and two were made.
    assert (row["tokens_input"], row["tokens_output"], row["usage_source"]) == (10, 6, "provider")
    assert rooms.settled.charge.ending is Ending.STOP
    assert rooms.settled.charge.net == 16 * 1_000
    assert rooms.settled.cost == (14 + 2) * 1
    assert row["explanation"]["continued"] == [{"after_tokens": 4, "from": "p/d", "to": "q/d", "failure": "closed"}]
    assert (row["attempts"], row["provider_id"]) == (2, "q")
    assert rooms.metric("goodput_continuations_total") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True, "provider": {"order": ["p"]}},
        {"stream": True, "provider": {"order": ["p"], "continue": False}},
    ],
)
async def test_who_did_not_ask_for_it_is_told_of_the_failure(fields: dict[str, Any]) -> None:
    rooms = pair()
    customer = await rooms.ask(**fields)
    assert "provider_unavailable" in customer.text
    assert rooms.settled.charge.net == 0
    assert len(rooms.backends.asked) == 1


async def test_nobody_goes_on_who_does_not_say_that_they_can() -> None:
    rooms = pair(capabilities=CANNOT)
    customer = await rooms.ask(**ASK)
    assert "provider_unavailable" in customer.text
    assert text_of_prefix(customer) == "The quick brown fox "
    assert len(rooms.backends.asked) == 1
    assert rooms.settled.charge.net == 0
    await rooms.check_nothing_is_left()


def text_of_prefix(customer: Customer) -> str:
    return "".join(
        json.loads(each[6:])["choices"][0]["delta"]["content"]
        for each in customer.text.split("\n\n")
        if '"choices"' in each
    )


async def test_a_backend_that_begins_again_is_not_taken_for_one_that_goes_on() -> None:
    rooms = pair([opening(), *words(*FIRST_HALF, *SECOND_HALF), ended(6)])
    customer = await rooms.ask(**ASK)
    assert text_of_prefix(customer) == "The quick brown fox "  # nothing of the repetition was handed over
    assert "repeats the answer" in customer.text
    assert rooms.settled.charge.net == 0
    await rooms.check_nothing_is_left()


async def test_a_continuation_may_break_off_too_and_go_on_once_more() -> None:
    rooms = Rooms(offer("p"), offer("q"), offer("r"))
    rooms.backends.scripts[OfferId("p/d")] = [*words(*FIRST_HALF), BROKEN]
    rooms.backends.scripts[OfferId("q/d")] = [opening(), *words("jumps "), BROKEN]
    rooms.backends.scripts[OfferId("r/d")] = [opening(), *words("over "), ended(1, usage=Usage(input=15, output=1))]
    customer = await rooms.ask(stream=True, provider={"order": ["p", "q", "r"], "continue": True})
    assert text_of(customer) == "The quick brown fox jumps over "
    assert (rooms.row["tokens_input"], rooms.row["tokens_output"], rooms.row["attempts"]) == (10, 6, 3)
    assert [each["after_tokens"] for each in rooms.row["explanation"]["continued"]] == [4, 5]
    await rooms.check_nothing_is_left()


async def test_reasoning_is_not_continued() -> None:
    thought = b'data: {"id":"b-1","model":"b","choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\n\n'
    rooms = pair()
    rooms.backends.scripts[OfferId("p/d")] = [TokenChunk(thought, "b-1", "b", 2, 1), *words("The "), BROKEN]
    customer = await rooms.ask(**ASK)
    assert "provider_unavailable" in customer.text
    assert len(rooms.backends.asked) == 1


@pytest.mark.parametrize(
    ("text", "heard", "sounds"),
    [
        ("short", ["short"], [Sound.NEW]),
        ("A sentence of some length.", [" And", " on"], [Sound.NEW, Sound.NEW]),
        ("A sentence of some length.", ["A sent", "ence of some length. And"], [Sound.UNSURE, Sound.ECHO]),
        ("A sentence of some length.", ["A sent", " goes"], [Sound.UNSURE, Sound.NEW]),
        ("x" * 1_000, ["x" * 63, "x"], [Sound.UNSURE, Sound.ECHO]),
    ],
)
def test_a_repetition_is_told_from_a_continuation_by_how_it_begins(
    text: str, heard: list[str], sounds: list[Sound]
) -> None:
    resumed = Resumed(text, 10, "p/d", "q/d", "closed")
    assert [resumed.hear(said(0, each)) for each in heard] == sounds


def test_what_ends_before_it_can_be_told_is_handed_over() -> None:
    resumed = Resumed("A sentence of some length.", 10, "p/d", "q/d", "closed")
    assert resumed.hear(said(0, "A ")) is Sound.UNSURE
    assert resumed.hear(ended(1)) is Sound.NEW


def test_tokens_of_the_answer_are_taken_off_the_second_prompt_dearest_first() -> None:
    assert together(40, Usage(input=30, cached=50, cache_write=5, output=7)) == Usage(
        input=0, cached=45, cache_write=0, output=47
    )


def test_text_is_kept_as_it_was_said_and_anything_else_is_no_longer_plain() -> None:
    spoken = Spoken()
    spoken.hear(said(0, "a é\n"))
    assert (spoken.text, spoken.is_plain) == ("a é\n", True)
    call = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}\n\n'
    spoken.hear(TokenChunk(call, content_bytes=1, content_events=1))
    assert not spoken.is_plain


def test_the_messages_of_the_customer_pass_as_they_came() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"caf\\u00e9"}]}'
    fields = resumed_fields(read_order(body).fields, "so far")
    assert bytes(fields["messages"][0]) == b'{"role":"user","content":"caf\\u00e9"}'
    assert json.loads(bytes(fields["messages"][1])) == {"role": "assistant", "content": "so far"}
