"""What every kind of provider does alike, whichever engine or service answers; and how a kind is added in one file."""

import json
from pathlib import Path
from typing import Any

import pytest

from providers import kinds
from providers.base import Timeouts, TokenChunk
from providers.errors import (
    RETRY_AFTER_S_MAX,
    ProviderCredentialRejected,
    ProviderModelMissing,
    ProviderOverloaded,
    ProviderTimeout,
)
from providers.registry import build, known_kinds
from providers.spec import ProviderKind, ProviderSpec, ProviderSpecError
from tests.providers.fake_backend import DONE, SECRET, Out, Script, Seen, ask, fake_backend, spec_for

TOY = '''"""What differs: it wants its key in a header of its own and makes one token per event."""

from providers.openai_wire import Dialect, OpenAiWire
from providers.spec import ProviderSpec


def build(spec: ProviderSpec) -> OpenAiWire:
    """A provider of this kind."""
    return OpenAiWire(spec, Dialect(auth_header="X-Toy-Key", auth_scheme=""))
'''


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + DONE


def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    return {"id": "x-1", "object": "chat.completion.chunk", "model": "backend/m", "choices": [choice], **more}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


VLLM = lines(
    chunk({"role": "assistant", "content": ""}, usage=usage(9, 0)),
    chunk({"reasoning": "Let me", "reasoning_content": "Let me"}, usage=usage(9, 2)),
    chunk({"content": "Hello there"}, usage=usage(9, 5)),
    chunk({"content": ""}, usage=usage(9, 6), finish_reason="stop"),
    {"id": "x-1", "object": "chat.completion.chunk", "model": "backend/m", "choices": [], "usage": usage(9, 6)},
)
CEREBRAS = lines(
    chunk({"role": "assistant", "content": "Hello there"}),
    chunk(
        {},
        finish_reason="stop",
        usage=usage(9, 3, prompt_tokens_details={"cached_tokens": 0}),
        time_info={"queue_time": 0.0001, "prompt_time": 0.002, "completion_time": 0.01, "total_time": 0.02},
    ),
)
FIREWORKS = lines(
    chunk({"role": "assistant", "content": "Hello there"}),
    chunk({}, finish_reason="stop", usage=usage(9, 3), perf_metrics={"fireworks-server-time-to-first-token": "0.1"}),
)


async def answer_of(script: Script, kind: str = "openai_compatible", **changes: Any) -> list[TokenChunk]:
    async with fake_backend(script) as backend:
        provider = build(spec_for(backend.base_url, kind, **changes))
        try:
            return [each async for each in provider.stream(ask())]
        finally:
            await provider.close()


async def asked(kind: str, **changes: Any) -> Seen:
    """The request that a backend of this kind sees."""
    async with fake_backend(lambda out, _: out.stream(VLLM)) as backend:
        provider = build(spec_for(backend.base_url, kind, **changes))
        async for _ in provider.stream(ask()):
            pass
        await provider.close()
        return backend.seen[0]


@pytest.mark.parametrize("kind", known_kinds())
async def test_running_usage_and_both_spellings_of_reasoning_are_counted_once(kind: str) -> None:
    chunks = await answer_of(lambda out, _: out.stream(VLLM), kind)
    passed = b"".join(each.events for each in chunks)
    assert (chunks[-1].usage.input_total, chunks[-1].usage.output) == (9, 6)  # pyright: ignore[reportOptionalMemberAccess]
    assert sum(each.content_bytes for each in chunks) == len("Let me") + len("Hello there")
    assert b'"reasoning": "Let me"' in passed
    assert b"usage" not in passed
    assert max(each.tokens_through or 0 for each in chunks) == 6


@pytest.mark.parametrize("kind", known_kinds())
@pytest.mark.parametrize(("wire", "field"), [(CEREBRAS, "time_info"), (FIREWORKS, "perf_metrics")])
async def test_a_services_own_fields_pass_through_while_its_usage_is_taken_out(
    kind: str, wire: bytes, field: str
) -> None:
    chunks = await answer_of(lambda out, _: out.stream(wire), kind)
    last = json.loads(b"".join(each.events for each in chunks).rstrip().split(b"\n\n")[-1].removeprefix(b"data: "))
    assert last[field]
    assert "usage" not in last
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.output == 3


@pytest.mark.parametrize("kind", known_kinds())
async def test_every_kind_sends_its_credential_as_a_bearer_token_unless_told_otherwise(kind: str) -> None:
    plain = await asked(kind)
    told = await asked(kind, auth_header="x-api-key", auth_scheme="", headers=(("x-org", "acme"),))
    assert plain.headers["authorization"] == f"Bearer {SECRET}"
    assert (told.headers["x-api-key"], told.headers["x-org"]) == (SECRET, "acme")
    assert "authorization" not in told.headers


@pytest.mark.parametrize("kind", known_kinds())
@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_credential_is_known_by_its_id_and_never_said(kind: str, status: int) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}"}}).encode()
    with pytest.raises(ProviderCredentialRejected) as refused:
        await answer_of(lambda out, _: out.answer(status, body), kind, credential_id="crd_1")
    assert refused.value.credential_id == "crd_1"
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("kind", known_kinds())
@pytest.mark.parametrize(
    "error",
    [
        {"message": "key revoked", "code": 401},
        {"message": "key revoked", "type": "authentication_error"},
        {"message": "key revoked", "code": "invalid_api_key"},
    ],
)
async def test_a_credential_revoked_in_mid_stream_is_told_apart_from_a_broken_backend(
    kind: str, error: dict[str, Any]
) -> None:
    async def script(out: Out, _: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await out.pieces(lines(chunk({"content": "Hello"})).removesuffix(DONE), lines({"error": error}), apart_s=0.01)

    with pytest.raises(ProviderCredentialRejected) as refused:
        await answer_of(script, kind, credential_id="crd_1")
    assert refused.value.credential_id == "crd_1"


@pytest.mark.parametrize("kind", known_kinds())
async def test_a_backend_that_lacks_the_model_may_be_left_for_another_that_has_it(kind: str) -> None:
    body = json.dumps({"error": {"message": "The model `backend/m` does not exist."}}).encode()
    with pytest.raises(ProviderModelMissing, match=r"does not serve 'backend/m'.*does not exist") as missing:
        await answer_of(lambda out, _: out.answer(404, body), kind)
    assert missing.value.is_retryable
    assert missing.value.trips_breaker


async def test_a_base_that_answers_in_its_adapters_place_is_not_let_through() -> None:
    with pytest.raises(ProviderModelMissing, match="the base 'backend/m' answered in place of adapter 'acme/a'"):
        await answer_of(lambda out, _: out.stream(VLLM), "tuned", backend_model="acme/a", base_model="backend/m")


@pytest.mark.parametrize("kind", known_kinds())
async def test_a_backend_that_accepts_and_never_answers_is_left_in_time(kind: str) -> None:
    with pytest.raises(ProviderTimeout, match="no first token within"):
        await answer_of(lambda *_: None, kind, timeouts=Timeouts(0.1, 0.1, 0.1, 0.2))


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        (("Retry-After: 2",), 2.0),
        (("Retry-After: 31536000",), RETRY_AFTER_S_MAX),
        (("Retry-After: -5",), 0.0),
        (("Retry-After: inf",), None),
        (("Retry-After: soon",), None),
        (("Retry-After: Wed, 21 Oct 2026 07:28:30 GMT", "Date: Wed, 21 Oct 2026 07:28:00 GMT"), 30.0),
        (("Retry-After: Wed, 21 Oct 1999 07:28:30 GMT", "Date: Wed, 21 Oct 2026 07:28:00 GMT"), 0.0),
        (("Retry-After: Wed, 21 Oct 9999 07:28:30 GMT", "Date: Wed, 21 Oct 2026 07:28:00 GMT"), RETRY_AFTER_S_MAX),
        (("Retry-After: Wed, 21 Oct 2026 07:28:30 GMT",), None),
        (("retry-after-ms: 1e300", "Retry-After: 2"), RETRY_AFTER_S_MAX),
    ],
)
async def test_a_provider_whose_clock_lies_is_believed_for_an_hour_at_most(
    headers: tuple[str, ...], expected_s: float | None
) -> None:
    with pytest.raises(ProviderOverloaded) as busy:
        await answer_of(lambda out, _: out.answer(429, b"{}", *headers))
    assert busy.value.retry_after_s == expected_s


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "expected http://host:port/v1"),
        ("gopher://127.0.0.1/v1", "expected http://host:port/v1"),
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]/v1", "link-local"),
        ("http://[::ffff:169.254.169.254]/v1", "link-local"),
        ("http://0.0.0.0:8000/v1", "empty address"),
        ("http://224.0.0.1/v1", "multicast"),
        ("http://metadata.google.internal./v1", "metadata service"),
    ],
)
def test_an_address_at_which_no_backend_can_be_is_refused(url: str, words: str) -> None:
    with pytest.raises(ProviderSpecError, match=words):
        ProviderSpec("p-1", ProviderKind.OPENAI_COMPATIBLE, url, "m")


@pytest.mark.parametrize(
    "change",
    [
        {"headers": (("Host", "elsewhere"),)},
        {"headers": (("Authorization", "Basic x"),)},
        {"headers": (("x-key", "v"),), "auth_header": "X-Key"},
        {"headers": (("bad name", "v"),)},
        {"headers": (("x-a", "v\r\nx-b: w"),)},
        {"headers": tuple((f"x-{n}", "v") for n in range(17))},
        {"auth_header": "Content-Length"},
        {"auth_scheme": "Bea\nrer"},
    ],
)
def test_headers_that_would_break_the_request_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProviderSpecError, match="headers"):
        ProviderSpec("p-1", "openai_compatible", "http://127.0.0.1/v1", "m", **change)


async def test_a_kind_is_added_by_adding_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path)])
    assert "toy" in known_kinds()
    seen = await asked("toy")
    assert seen.headers["x-toy-key"] == SECRET
    assert await answer_of(lambda out, _: out.stream(VLLM), "toy")


def test_a_kind_without_a_file_is_refused_by_name() -> None:
    with pytest.raises(ProviderSpecError, match="kind 'toy' is unknown; there are gpu_cluster"):
        build(ProviderSpec("p-1", "toy", "http://127.0.0.1/v1", "m"))
