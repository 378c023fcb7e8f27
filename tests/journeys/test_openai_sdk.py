"""The official OpenAI SDK, unmodified, sync and async, against a live market."""

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.journeys.backend import Behaviour
from tests.journeys.stage import MODEL, Stage

HELLO: Any = [{"role": "user", "content": "Hello there"}]


def test_a_plain_completion_has_text_usage_and_cost(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=4, token_text="word ", prompt_tokens=9)
    with stage.client() as client:
        answer = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.choices[0].message.content == "word word word word "
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.model, answer.service_tier) == (MODEL, "default")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (9, 4, 13)
    # 9 input tokens at 1 $/M and 4 output tokens at 4 $/M.
    assert (answer.usage.model_extra or {})["cost"] == 25e-6
    assert stage.receipt(answer.id)["bill"]["net"] == "0.000025"
    assert answer._request_id == answer.id


def test_a_stream_has_our_id_the_tier_and_no_usage_unless_asked(stage: Stage) -> None:
    with stage.client() as client:
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].id.startswith("gen")
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert {chunk.service_tier for chunk in chunks} == {"default"}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "tok " * 5
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_ends_with_usage_when_asked(stage: Stage) -> None:
    with stage.client() as client:
        chunks = list(
            client.chat.completions.create(
                model=MODEL,
                messages=HELLO,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    usage = chunks[-1].usage
    assert chunks[-1].choices == []
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 5)
    assert (usage.model_extra or {})["slo"]["attained"] is True


def test_the_async_client_streams_too(stage: Stage) -> None:
    async def stream() -> str:
        async with AsyncOpenAI(base_url=stage.url + "/v1", api_key=stage.api_key, max_retries=0) as client:
            chunks = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    assert asyncio.run(stream()) == "tok " * 5


def test_models_are_listed_with_prices_per_tier(stage: Stage) -> None:
    with stage.client() as client:
        listed = client.models.list().data
        named = client.models.retrieve(MODEL)
    assert [model.id for model in listed] == [MODEL]
    tiers = (named.model_extra or {})["tiers"]
    assert [(each["tier"], each["service_tier"]) for each in tiers] == [
        ("premium", "priority"),
        ("standard", "default"),
        ("bulk", "flex"),
    ]
    assert tiers[1]["pricing"]["completion"] == "0.000004"


def test_flex_is_billed_at_the_bulk_rate(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, service_tier="flex")
    assert answer.service_tier == "flex"
    # 10 input tokens at 0.5 $/M and 5 output tokens at 2 $/M.
    assert stage.receipt(answer.id)["bill"]["net"] == "0.000015"


def test_unknown_parameters_are_passed_on_and_ours_are_not(stage: Stage) -> None:
    with stage.client() as client:
        client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            store=True,
            metadata={"a": "b"},
            user="somebody",
            parallel_tool_calls=False,
            extra_body={"made_up": [1, 2]},
        )
    sent = stage.backend.requests[-1]
    assert sent["made_up"] == [1, 2]
    assert sent["parallel_tool_calls"] is False
    assert not {"store", "metadata", "user", "service_tier"} & set(sent)
    assert sent["model"] == "backend-model"


@pytest.mark.parametrize(
    ("kind", "status", "arguments"),
    [
        (openai.NotFoundError, 404, {"model": "nobody/knows"}),
        (openai.BadRequestError, 400, {"model": MODEL, "max_tokens": 0}),
        (openai.BadRequestError, 400, {"model": MODEL, "max_tokens": 10**9}),
        (openai.BadRequestError, 400, {"model": MODEL, "service_tier": "warp"}),
    ],
)
def test_refusals_raise_the_sdks_own_errors(
    stage: Stage, kind: type[openai.APIStatusError], status: int, arguments: dict[str, Any]
) -> None:
    with stage.client() as client, pytest.raises(kind) as raised:
        client.chat.completions.create(messages=HELLO, **arguments)
    assert raised.value.status_code == status
    assert raised.value.code
    assert raised.value.request_id
    assert stage.backend.requests == []


def test_a_wrong_key_is_an_authentication_error(stage: Stage) -> None:
    with stage.client(api_key="gp-wrong") as client, pytest.raises(openai.AuthenticationError) as raised:
        client.models.list()
    assert raised.value.code == "invalid_api_key"


TOOL: Any = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


def test_tool_calls_are_streamed_whole_timed_and_billed(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=3, token_text="{}", calls_tool="look_up", finish_reason="tool_calls")
    with stage.client() as client:
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, tools=[TOOL], stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.function.name for call in calls if call.function and call.function.name] == ["look_up"]
    assert "".join(call.function.arguments or "" for call in calls if call.function) == "{}{}{}"
    assert calls[0].id == "call_1"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    receipt = stage.receipt(chunks[0].id)
    assert (receipt["usage"]["output"], receipt["attained"], receipt["finish_reason"]) == (3, True, "tool_calls")
    assert stage.backend.requests[-1]["tools"] == [TOOL]


def test_the_raw_response_has_the_markets_headers(stage: Stage) -> None:
    with stage.client() as client:
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, service_tier="priority")
    answer = raw.parse()
    assert raw.headers["x-request-id"] == raw.headers["x-generation-id"] == answer.id
    assert (raw.headers["x-tier"], raw.headers["x-provider"]) == ("premium", "p1")
    assert int(raw.headers["x-ratelimit-remaining-requests"]) < int(raw.headers["x-ratelimit-limit-requests"])
    assert raw.headers["x-ratelimit-reset-requests"].endswith("s")


def test_the_sdk_does_not_try_again_what_cannot_help(stage: Stage) -> None:
    _, key = stage.new_key(credit_nano=0)
    counter = stage.assembly.market.meters._metrics.refusals.labels("insufficient_credits")
    before = counter._value.get()
    with (
        OpenAI(base_url=stage.url + "/v1", api_key=key, max_retries=2) as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (raised.value.status_code, raised.value.code) == (402, "insufficient_credits")
    assert counter._value.get() == before + 1


def test_a_failure_in_mid_stream_raises_the_sdks_error(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(fault="error_event", after_tokens=2, tpot_s=0.005)
    with stage.client() as client, pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert raised.value.code == "provider_unavailable"
