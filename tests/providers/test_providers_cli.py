"""``goodput providers measure`` as its user meets it: a table, a document, and an exit status that says what failed."""

import asyncio
import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli.providers import app
from pricing.profile_document import profile_from_document
from pricing.profiles import Configuration, LengthClass
from tests.providers.fake_backend import (
    DONE,
    LAST_PIECE,
    STOP,
    STREAM_HEAD,
    Out,
    Script,
    Seen,
    event,
    fake_backend,
    usage_event,
)

MODELS = {"object": "list", "data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}
QUICK = ("--concurrency", "1,2", "--isl", "30", "--osl", "8", "--seconds-max", "3", "--requests-max", "4")


@contextmanager
def serving(script: Script) -> Generator[str]:
    """A backend on an event loop and a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    backend = fake_backend(script)
    try:
        yield asyncio.run_coroutine_threadsafe(backend.__aenter__(), loop).result(5).base_url
    finally:
        asyncio.run_coroutine_threadsafe(backend.__aexit__(None, None, None), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def backend(answer: Callable[[Out, Seen], Any], models: Any = MODELS) -> Script:
    def script(out: Out, seen: Seen) -> Any:
        if seen.target.endswith("/models"):
            out.answer(200, json.dumps(models).encode())
            return None
        return answer(out, seen)

    return script


async def writing(out: Out, seen: Seen) -> None:
    """Twenty milliseconds to the first token, five from each to the next."""
    words = len(seen.json["messages"][0]["content"].split())
    await asyncio.sleep(0.02)
    out.raw(STREAM_HEAD)
    await out.pieces(*[event("word")] * seen.json["max_tokens"], apart_s=0.005)
    out.piece(STOP + usage_event(10 + words, seen.json["max_tokens"]) + DONE)
    out.raw(LAST_PIECE)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["measure", *arguments])


def test_a_measurement_prints_the_document_that_it_writes(tmp_path: Path) -> None:
    out = tmp_path / "m.json"
    with serving(backend(writing)) as url:
        result = run(url, "--model", "m", *QUICK, "--json", "--out", str(out), "--hardware", "b200", "--gpus", "2")

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    profile = profile_from_document(document)
    assert document == json.loads(out.read_text())
    assert (profile.model, profile.configuration) == ("m", Configuration("b200", 2, "vllm", "unknown"))
    assert [(point.concurrency, point.lengths) for point in profile.points] == [
        (1, LengthClass(30, 8)),
        (2, LengthClass(30, 8)),
    ]
    assert [point.isl_mean for point in profile.points] == [30, 30]
    assert all(point.ttft_s_p50 >= 0.02 and point.tpot_s_p50 >= 0.005 for point in profile.points)
    assert profile.limits.context_max == 4096
    assert f"The profile is in {out}." in result.stderr


def test_a_measurement_for_a_person_is_a_table() -> None:
    with serving(backend(writing)) as url:
        result = run(url, "--model", "m", *QUICK)

    header, *rows = result.stdout.splitlines()
    assert result.exit_code == 0, result.output
    assert header.split()[:4] == ["concurrency", "ttft_ms_p50", "ttft_ms_p99", "tpot_ms_p50"]
    assert [row.split()[0] for row in rows] == ["1", "2"]


def test_nobody_there_is_status_3() -> None:
    result = run("http://127.0.0.1:9/v1", "--model", "m", *QUICK)

    assert result.exit_code == 3
    assert "does not answer: no connection to 127.0.0.1:9" in result.stderr


@pytest.mark.parametrize(
    ("model", "answer", "words"),
    [
        ("other", writing, "it does not serve 'other'; it serves m"),
        ("m", lambda out, _: out.answer(401, b'{"error":"bad key"}'), "HTTP 401: bad key"),
        ("m", lambda out, _: out.answer(400, b'{"error":"too long"}'), "HTTP 400: too long"),
    ],
)
def test_a_refusal_is_status_4_with_the_backends_words(model: str, answer: Any, words: str) -> None:
    with serving(backend(answer)) as url:
        result = run(url, "--model", model, *QUICK)

    assert result.exit_code == 4
    assert words in result.stderr


def test_an_answer_without_tokens_is_status_5() -> None:
    with serving(backend(lambda out, _: out.stream(STOP + DONE))) as url:
        result = run(url, "--model", "m", *QUICK)

    assert result.exit_code == 5
    assert "without a single token" in result.stderr


def test_a_backend_too_slow_for_the_time_is_status_5_and_is_left_in_time() -> None:
    async def slow(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        await out.pieces(*[event("word")] * 100, apart_s=0.1)

    with serving(backend(slow)) as url:
        result = run(url, "--model", "m", "--seconds-max", "1", "--osl", "64")

    assert result.exit_code == 5
    assert "allow more time or ask for shorter answers" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--concurrency", "1,two"), "whole numbers with commas"),
        (("--concurrency", "0"), "each must be from 1"),
        (("--concurrency", "2,2"), "different loads"),
        (("--osl", "1"), "osl at least 2"),
        (("--seconds-max", "0"), "above 0"),
        (("--api-key-env", "NO_SUCH_VARIABLE_HERE"), "NO_SUCH_VARIABLE_HERE is not set"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(arguments: tuple[str, ...], words: str) -> None:
    result = run("http://127.0.0.1:9/v1", "--model", "m", *arguments)

    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_an_address_that_is_none_is_wrong_usage() -> None:
    assert run("127.0.0.1:9", "--model", "m").exit_code == 2


def test_the_credential_is_read_from_its_variable_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-live-7f3a9c1d5e8b")
    keys: list[str | None] = []

    def refuse(out: Out, seen: Seen) -> None:
        keys.append(seen.headers.get("authorization"))
        out.answer(403, b'{"error":"key sk-live-7f3a9c1d5e8b may not"}')

    with serving(backend(refuse)) as url:
        result = run(url, "--model", "m", *QUICK, "--api-key-env", "SOME_KEY")

    assert result.exit_code == 4
    assert keys == ["Bearer sk-live-7f3a9c1d5e8b"]
    assert "key [redacted] may not" in result.stderr
    assert "sk-live-7f3a9c1d5e8b" not in result.output


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    result = run("http://127.0.0.1:9/v1", "--model", "m", "--out", str(tmp_path / "no" / "m.json"))

    assert result.exit_code == 2
    assert "there is no folder" in result.stderr


def test_a_file_that_cannot_be_written_after_all_loses_no_measurement(tmp_path: Path) -> None:
    with serving(backend(writing)) as url:
        result = run(url, "--model", "m", *QUICK, "--out", str(tmp_path))

    assert result.exit_code == 1
    assert "cannot be written: Is a directory; the profile is printed above" in str(result.exception)
    assert profile_from_document(json.loads(result.stdout)).model == "m"
