"""Runs ``goodput up`` as a user would, for tests."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_S_MAX = 90.0


@dataclass(frozen=True)
class RunningMarket:
    """One ``goodput up --json`` that is ready."""

    process: subprocess.Popen[str]
    line: dict[str, str]

    @property
    def data_dir(self) -> Path:
        return Path(self.line["data_dir"])

    def ask(self, path: str, body: dict[str, Any] | None = None, token: str | None = None) -> tuple[int, Any]:
        """Status and JSON body of one request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.line['url']}{path}", data=data)  # noqa: S310 (our own loopback)
        request.add_header("authorization", f"Bearer {token or self.line['api_key']}")
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (our own loopback)
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def complete(self, model: str, tier: str, tokens: int = 8) -> tuple[int, Any]:
        """One completion, not streamed."""
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": model, "service_tier": tier, "max_tokens": tokens, "messages": messages}
        return self.ask("/v1/chat/completions", body)

    def child(self, name: str) -> int:
        """The process id of a child, by a part of its command line."""
        (found,) = [pid for pid in children_of(self.process.pid) if name in command_of(pid)]
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running_market(data_dir: Path, *flags: str) -> Generator[RunningMarket]:
    """A market for the length of a ``with`` block; killed at its end if it still runs."""
    errors = data_dir.parent / f"{data_dir.name}.stderr"
    with errors.open("w") as err:
        command = [sys.executable, "-m", "app.cli.main", "up", "--json", "--data-dir", str(data_dir), "--port", "0"]
        process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=err, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait(READY_S_MAX)
                raise AssertionError(f"the market did not open: {errors.read_text()}")
            yield RunningMarket(process, json.loads(line))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def children_of(pid: int) -> list[int]:
    """Living child processes."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def command_of(pid: int) -> str:
    """A process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_until(is_true: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Polls a predicate for a bounded time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_true():
            return True
        time.sleep(0.05)
    return False


def goodput(data_dir: Path, *arguments: str) -> Any:
    """Runs another command on the same data directory and answers its JSON."""
    env = {**os.environ, "GOODPUT_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "app.cli.main", *arguments, "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
