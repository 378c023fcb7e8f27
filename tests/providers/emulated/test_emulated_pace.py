"""An emulated deployment held against the profile it follows: TPOT over real HTTP, at three loads.

The profile is gpt-oss-120b at FP4 on one H200 (vLLM), 1k/1k, as published by InferenceX (SemiAnalysis, Apache-2.0).
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from providers.emulated.spec import EmulatedDeployment, read_deployment
from tests.providers.emulated.emulated_client import Client, Reply, serving

CURVE: dict[str, Any] = {
    "kind": "load_curve",
    "concurrency": [4, 8, 16, 32, 64],
    "tpot_us": [6_330, 9_060, 12_650, 17_640, 24_760],
    "ttft_us": [86_000, 106_000, 133_000, 183_000, 273_000],
    "isl": 921.6,
    "osl": 921.6,
}
PROFILE = dict(zip(CURVE["concurrency"], CURVE["tpot_us"], strict=True))


def followed(**changes: Any) -> EmulatedDeployment:
    return read_deployment({"deployment_id": "h200", "model": "m-1", "engine": CURVE} | changes)


async def closed_loop(client: Client, users: int, tokens: int, rounds: int, spread_s: float = 0.4) -> list[list[Reply]]:
    """Users who each ask again as soon as they are answered, with prompts as long as answers; replies by round."""

    async def user(number: int) -> list[Reply]:
        await asyncio.sleep(spread_s * number / users)
        return [await client.stream(tokens=tokens, prompt="word" * tokens) for _ in range(rounds)]

    return [list(replies) for replies in zip(*await asyncio.gather(*map(user, range(users))), strict=True)]


def tpot_us(replies: list[Reply]) -> float:
    return fmean((r.token_s[-1] - r.token_s[0]) / (len(r.token_s) - 1) for r in replies) * 1e6


@pytest.mark.slow
@pytest.mark.parametrize("load", [4, 16, 32])
async def test_tpot_over_http_is_what_the_profile_measured_at_that_load(load: int) -> None:
    """Of three rounds the middle one counts: in it all users are there."""
    async with serving(followed()) as client:
        _, steady, _ = await closed_loop(client, users=load, tokens=120, rounds=3)
        snapshot = await client.engine()
    assert [len(reply.token_s) for reply in steady] == [120] * load
    assert tpot_us(steady) == pytest.approx(PROFILE[load], rel=0.15)
    assert (snapshot["running"], snapshot["answers_started"]) == (0, 3 * load)


async def test_tpot_rises_with_the_load() -> None:
    async with serving(followed()) as client:
        (alone,) = await closed_loop(client, users=1, tokens=30, rounds=1)
        (many,) = await closed_loop(client, users=16, tokens=30, rounds=1, spread_s=0.05)
    assert tpot_us(alone) == pytest.approx(PROFILE[4], rel=0.15)  # below 4 nothing was measured: no faster
    assert tpot_us(many) > 1.5 * tpot_us(alone)


@pytest.mark.slow
async def test_a_twin_that_is_slowed_does_not_pass_for_its_profile() -> None:
    """The tolerance above can fail: 1.3 times slower is seen."""
    async with serving(followed(fault={"slowdown": 1.3})) as client:
        _, steady, _ = await closed_loop(client, users=4, tokens=60, rounds=3)
    assert tpot_us(steady) != pytest.approx(PROFILE[4], rel=0.15)


SPEC = """{"deployments": [
  {"deployment_id": "a", "model": "m-1", "engine": {"kind": "remote_api", "token_ps_min": 1000000000,
   "token_ps_shared": 0, "concurrency_max": 4}},
  {"deployment_id": "b", "model": "m-2", "engine": {"kind": "continuous_batch", "base_ps": [[1, 1000000000]],
   "kv_ps": 0, "prefill_ps": 0, "chunk_tokens": 64, "max_seqs": 4}}]}"""


@pytest.fixture
async def run(tmp_path: Path) -> AsyncGenerator[Callable[[str], Any]]:
    running: list[asyncio.subprocess.Process] = []

    async def start(spec: str) -> asyncio.subprocess.Process:
        path = tmp_path / "spec.json"
        path.write_text(spec)
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "providers.emulated", "--spec", str(path))
        running.append(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe))
        return running[-1]

    yield start
    for process in running:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.slow
async def test_one_process_serves_several_deployments_says_so_once_and_ends_when_told(
    run: Callable[[str], Any],
) -> None:
    process = await run(SPEC)
    line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
    assert '"ready": true' in line
    ports = [int(part.split("/v1")[0]) for part in line.split("127.0.0.1:")[1:]]
    assert len(set(ports)) == 2
    for port, model in zip(ports, ("m-1", "m-2"), strict=True):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert f'"id":"{model}"'.encode() in await reader.read()
        writer.close()
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{", "Expecting property name"),
        ("{}", 'a spec is a JSON object {"deployments": [...]}'),
        (SPEC.replace("remote_api", "fast_api"), "deployments[0]: engine kind 'fast_api' is unknown"),
    ],
)
async def test_an_unusable_spec_ends_the_process_with_the_reason(
    run: Callable[[str], Any], spec: str, words: str
) -> None:
    process = await run(spec)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert words in said.decode()


@pytest.mark.slow
async def test_a_port_that_is_taken_ends_the_process_with_the_reason(run: Callable[[str], Any]) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await run(SPEC.replace('"model": "m-1",', f'"model": "m-1", "port": {port},'))
    _, said = await asyncio.wait_for(process.communicate(), 20)
    server.close()
    assert process.returncode == 2
    assert "cannot listen" in said.decode()
