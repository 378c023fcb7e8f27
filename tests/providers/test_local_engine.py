"""The real engine: llama.cpp with a small model, as a child process. What it does is what the client counts on."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from providers import local_engine
from providers.base import CompletionRequest, Provider, Timeouts
from providers.engine_process import EngineProcess
from providers.errors import ProviderModelMissing, ProviderRejectedRequest
from providers.local_engine import EngineOptions, EngineUnavailable, packaged_model, threads_for
from providers.registry import build
from providers.spec import ProviderKind, ProviderSpec
from tests.providers.fake_backend import ask as quick_ask

ROOT = Path(__file__).parents[2]


def test_the_engine_leaves_a_core_to_the_rest_of_the_machine_but_takes_at_least_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(4)))  # pyright: ignore[reportUnknownLambdaType]
    assert (threads_for(0), threads_for(2), threads_for(16)) == (3, 2, 3)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})  # pyright: ignore[reportUnknownLambdaType]
    assert (threads_for(0), threads_for(2)) == (1, 1)


def test_a_missing_model_is_told_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "MODEL_PACKAGE", "no-such-package-here")

    with pytest.raises(EngineUnavailable, match="run `make model`"):
        packaged_model()


@pytest.mark.parametrize("arguments", [["--slots=0"], ["--slot-tokens=-1"], ["--port=x"], ["--no-such-option"]])
def test_a_wrong_option_ends_the_program_with_a_usage_message(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        local_engine.main(arguments)

    assert ended.value.code == 2
    assert "usage: python -m providers.local_engine" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.engine
async def test_a_model_file_that_is_not_there_is_reported_with_the_end_of_the_log() -> None:
    with pytest.raises(EngineUnavailable) as failed:
        await EngineProcess.start(EngineOptions(model_file=Path("no-such.gguf")))

    assert "ended with status 1 before it was ready; its log ends:" in str(failed.value)
    assert "no-such.gguf" in str(failed.value)


@pytest.mark.slow
@pytest.mark.engine
async def test_an_engine_that_is_not_ready_in_time_is_ended_and_reported() -> None:
    with pytest.raises(EngineUnavailable, match=r"not ready within 0\.05 s"):
        await EngineProcess.start(ready_s_max=0.05)


@pytest.fixture
async def engine() -> AsyncGenerator[EngineProcess]:
    running = await EngineProcess.start()
    yield running
    await running.stop()


def ask(fields: dict[str, Any], *, is_stream: bool = True) -> CompletionRequest:
    return quick_ask(fields, is_stream=is_stream, timeouts=Timeouts())


def provider_of(engine: EngineProcess) -> Provider:
    return build(ProviderSpec("local", ProviderKind.LOCAL_ENGINE, engine.base_url, engine.model_name))


async def busy_slots(engine: EngineProcess) -> int:
    """Slots at work, from the engine's own list."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(engine.base_url.rpartition(":")[2].removesuffix("/v1"))
    )
    writer.write(b"GET /slots HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return sum(slot["is_processing"] for slot in json.loads(answer.partition(b"\r\n\r\n")[2]))


async def until(holds: Callable[[], Awaitable[bool]], within_s: float) -> None:
    """Asks again and again until it holds."""
    for _ in range(round(within_s / 0.02)):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s")


LONG: dict[str, Any] = {"max_tokens": 1_500, "ignore_eos": True}


@pytest.mark.slow
@pytest.mark.engine
async def test_the_engine_keeps_what_the_client_counts_on(engine: EngineProcess) -> None:
    """One engine, one story: each step is a fact that the code relies on."""
    provider = provider_of(engine)
    await provider.probe()
    assert (engine.slots, engine.slot_tokens) == (8, 2048)

    # It names its answers, streams token by token, honours ignore_eos and reports usage at the end.
    chunks = [chunk async for chunk in provider.stream(ask({"max_tokens": 24, "ignore_eos": True}))]
    first = chunks[-1].usage
    assert first is not None
    assert (first.output, chunks[-1].finish_reason) == (24, "length")
    assert len(chunks) > 12
    assert chunks[0].response_id.startswith("chatcmpl-")
    assert chunks[0].response_model == engine.model_name

    # A prompt seen before is read from its cache, and said so.
    again = [chunk async for chunk in provider.stream(ask({"max_tokens": 4}))][-1].usage
    assert again is not None
    assert again.input_total == first.input_total
    assert again.cached > again.input_total // 2

    # An answer that is not streamed to us is whole all the same.
    (whole,) = [chunk async for chunk in provider.stream(ask({"max_tokens": 8, "ignore_eos": True}, is_stream=False))]
    assert json.loads(whole.events)["object"] == "chat.completion"
    assert whole.usage is not None
    assert whole.usage.output == 8

    # What it cannot take it refuses with words.
    with pytest.raises(ProviderRejectedRequest, match="exceeds the available context size"):
        await anext(provider.stream(ask({"messages": [{"role": "user", "content": "alpha " * 4_000}]})))
    with pytest.raises(ProviderRejectedRequest, match="temperature"):
        await anext(provider.stream(ask({"temperature": "hot"})))

    async def is_busy() -> bool:
        return await busy_slots(engine) > 0

    async def is_idle() -> bool:
        return await busy_slots(engine) == 0

    # A reader that goes frees its slot at once, whether it wanted a stream or not.
    for is_stream in (True, False):
        async with aclosing(provider.stream(ask(LONG, is_stream=is_stream))) as answer:
            reading = asyncio.ensure_future(anext(answer))
            await until(is_busy, within_s=10)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await until(is_idle, within_s=3)

    # Nine at once: eight are decoded together, the ninth waits its turn, all are answered.
    short: dict[str, Any] = {"max_tokens": 12, "ignore_eos": True}
    nine = [ask({**short, "messages": [{"role": "user", "content": f"{number}"}]}) for number in range(9)]
    answers = await asyncio.gather(*(_tokens(provider, each) for each in nine))
    assert answers == [12] * 9
    await provider.close()


async def _tokens(provider: Provider, request: Any) -> int:
    usage = [chunk async for chunk in provider.stream(request)][-1].usage
    return usage.output if usage is not None else 0


@pytest.mark.slow
@pytest.mark.engine
async def test_the_engine_ends_cleanly_when_asked_even_at_work() -> None:
    engine = await EngineProcess.start()
    provider = provider_of(engine)
    answer = provider.stream(ask(LONG))
    await anext(answer)

    assert await engine.stop() == 0
    assert not engine.is_running
    await answer.aclose()
    await provider.close()


@pytest.mark.slow
@pytest.mark.engine
async def test_the_engine_dies_with_its_parent_however_that_ends() -> None:
    program = (
        "import asyncio\n"
        "from providers.engine_process import EngineProcess\n"
        "async def main():\n"
        "    engine = await EngineProcess.start()\n"
        "    print(engine.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())

    async def is_dead() -> bool:
        return not _is_alive(child)

    assert _is_alive(child)
    parent.kill()
    await parent.wait()
    await until(is_dead, within_s=5)


def _is_alive(pid: int) -> bool:
    """True until the process is gone or is a zombie that nobody has reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.engine
async def test_a_probe_finds_an_engine_that_serves_another_model(engine: EngineProcess) -> None:
    provider = build(ProviderSpec("local", ProviderKind.LOCAL_ENGINE, engine.base_url, "llama-405b"))
    with pytest.raises(ProviderModelMissing, match="it serves smollm2-135m-instruct"):
        await provider.probe()
    await provider.close()
