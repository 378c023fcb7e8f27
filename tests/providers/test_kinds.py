"""What differs between kinds of backend: what each is sent, and what its probe finds."""

import json
from typing import Any

import msgspec
import pytest

from providers.base import Provider
from providers.errors import ProviderError, ProviderModelMissing, ProviderRejectedRequest, ProviderUnreachable
from providers.registry import build
from providers.spec import ProviderKind, ProviderSpec, ProviderSpecError
from tests.providers.fake_backend import GOOD, Out, Seen, ask, fake_backend, spec_for


async def sent(kind: ProviderKind, fields: dict[str, Any] | None = None, *, is_stream: bool = True) -> dict[str, Any]:
    """The body that a backend of this kind is sent."""
    async with fake_backend(lambda out, _: out.stream(GOOD)) as backend:
        provider = build(spec_for(backend.base_url, kind))
        try:
            async for _ in provider.stream(ask(fields, is_stream=is_stream)):
                pass
        except ProviderError:
            assert not is_stream  # the fake streams whatever it is asked
        await provider.close()
        return backend.seen[0].json


def lists(*models: dict[str, Any]) -> Any:
    return lambda out, _seen: out.answer(200, json.dumps({"object": "list", "data": models}).encode())


async def probe(kind: ProviderKind, script: Any, **changes: Any) -> None:
    async with fake_backend(script) as backend:
        provider = build(spec_for(backend.base_url, kind, **changes))
        try:
            await provider.probe()
            assert backend.seen[0].target == "/v1/models"
        finally:
            await provider.close()


@pytest.mark.parametrize("kind", ProviderKind)
async def test_every_kind_is_a_provider_that_streams(kind: ProviderKind) -> None:
    async with fake_backend(lambda out, _: out.stream(GOOD)) as backend:
        provider: Provider = build(spec_for(backend.base_url, kind))
        finishes = [chunk.finish_reason async for chunk in provider.stream(ask())]
        await provider.close()

    assert provider.id == "p-1"
    assert finishes[-1] == "stop"


async def test_a_gpu_cluster_is_asked_for_running_usage() -> None:
    body = await sent(ProviderKind.GPU_CLUSTER)

    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


async def test_an_unknown_service_is_asked_for_nothing_but_the_wire() -> None:
    body = await sent(ProviderKind.OPENAI_COMPATIBLE)

    assert body["stream_options"] == {"include_usage": True}


async def test_a_wafer_is_not_sent_fields_that_ask_for_nothing_but_is_sent_those_that_do() -> None:
    idle = {"frequency_penalty": 0, "presence_penalty": msgspec.Raw(b"0.0"), "logit_bias": msgspec.Raw(b"{}")}
    asking = {"frequency_penalty": 0.5, "logit_bias": {"7": 1}, "parallel_tool_calls": False, "temperature": 0}

    assert not idle.keys() & (await sent(ProviderKind.WAFER_SCALE, idle)).keys()
    assert asking.items() <= (await sent(ProviderKind.WAFER_SCALE, asking)).items()


async def test_a_tuned_model_is_asked_for_by_its_adapters_name() -> None:
    async with fake_backend(lambda out, _: out.stream(GOOD)) as backend:
        spec = spec_for(backend.base_url, ProviderKind.TUNED, backend_model="acme/adapter-3", base_model="base/m")
        provider = build(spec)
        async for _ in provider.stream(ask({"model": "public/m"})):
            pass
        await provider.close()

    assert backend.seen[0].json["model"] == "acme/adapter-3"


async def test_the_local_engine_is_always_asked_to_stream() -> None:
    assert (await sent(ProviderKind.LOCAL_ENGINE, is_stream=False))["stream"] is True
    assert (await sent(ProviderKind.GPU_CLUSTER, is_stream=False))["stream"] is False


@pytest.mark.parametrize("kind", ProviderKind)
async def test_a_probe_is_content_with_a_backend_that_serves_the_model(kind: ProviderKind) -> None:
    await probe(kind, lists({"id": "other"}, {"id": "backend/m"}))
    await probe(kind, lists({"id": "m", "aliases": ["backend/m"]}))
    await probe(kind, lists())


@pytest.mark.parametrize("kind", [each for each in ProviderKind if each is not ProviderKind.OPENAI_COMPATIBLE])
async def test_a_probe_finds_that_the_model_is_not_served(kind: ProviderKind) -> None:
    with pytest.raises(ProviderModelMissing, match="'backend/m'"):
        await probe(kind, lists({"id": "other"}))


@pytest.mark.parametrize("kind", ProviderKind)
async def test_a_probe_fails_where_nobody_answers(kind: ProviderKind) -> None:
    with pytest.raises(ProviderUnreachable):
        await probe(kind, lambda out, _: out.close())


async def test_an_unknown_service_may_keep_a_partial_list_or_none() -> None:
    await probe(ProviderKind.OPENAI_COMPATIBLE, lists({"id": "other"}))
    await probe(ProviderKind.OPENAI_COMPATIBLE, lambda out, _: out.answer(404, b"{}"))
    await probe(ProviderKind.OPENAI_COMPATIBLE, lambda out, _: out.answer(200, b"<html>"))
    with pytest.raises(ProviderRejectedRequest):
        await probe(ProviderKind.GPU_CLUSTER, lambda out, _: out.answer(404, b"{}"))


async def test_a_probe_of_a_tuned_model_looks_at_what_its_adapter_sits_on() -> None:
    def serving(parent: str | None) -> Any:
        return lists({"id": "base/m"}, {"id": "backend/m", "parent": parent})

    await probe(ProviderKind.TUNED, serving("base/m"), base_model="base/m")
    await probe(ProviderKind.TUNED, serving(None), base_model="base/m")
    await probe(ProviderKind.TUNED, serving("other/m"))
    with pytest.raises(ProviderModelMissing, match="sits on 'other/m', not on its base 'base/m'"):
        await probe(ProviderKind.TUNED, serving("other/m"), base_model="base/m")
    with pytest.raises(ProviderModelMissing, match="not loaded"):
        await probe(ProviderKind.TUNED, lists({"id": "base/m"}), base_model="base/m")


async def test_building_a_provider_opens_no_connection() -> None:
    def never(_out: Out, _seen: Seen) -> None:
        raise AssertionError

    async with fake_backend(never) as backend:
        for kind in ProviderKind:
            await build(spec_for(backend.base_url, kind)).close()

        assert backend.connections == 0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8000", "expected http://host:port/v1"),
        ("ftp://127.0.0.1/v1", "expected http://host:port/v1"),
        ("http:///v1", "expected http://host:port/v1"),
        ("http://127.0.0.1:99999/v1", "Port out of range"),
        ("http://127.0.0.1:0/v1", "expected http://host:port/v1"),
        ("http://user:pw@127.0.0.1/v1", "give api_key instead"),
        ("http://127.0.0.1/v1?key=a", "leave out everything from"),
        ("http://127.0.0.1/v 1", "without spaces"),
        ("http://hóst/v1", "printable ASCII"),
        ("http://127.0.0.1/v1\r\nX: y", "printable ASCII"),
    ],
)
def test_an_address_that_cannot_be_talked_to_is_refused_with_a_hint(url: str, words: str) -> None:
    with pytest.raises(ProviderSpecError, match=words):
        ProviderSpec("p-1", ProviderKind.OPENAI_COMPATIBLE, url, "m")


def test_an_address_with_a_credential_in_it_is_refused_without_repeating_it() -> None:
    with pytest.raises(ProviderSpecError) as refused:
        ProviderSpec("p-1", ProviderKind.OPENAI_COMPATIBLE, "http://user:hunter2@127.0.0.1/v1", "m")

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"backend_model": ""},
        {"backend_model": "m\n"},
        {"backend_model": "m" * 600},
        {"api_key": ""},
        {"api_key": "a\r\nX-Evil: b"},
        {"api_key": "schlüssel"},
        {"connections_max": 0},
    ],
)
def test_a_spec_that_cannot_be_sent_is_refused(change: dict[str, Any]) -> None:
    said: dict[str, Any] = {
        "id": "p-1",
        "kind": ProviderKind.TUNED,
        "base_url": "http://127.0.0.1/v1",
        "backend_model": "m",
        **change,
    }
    with pytest.raises(ProviderSpecError):
        ProviderSpec(**said)
