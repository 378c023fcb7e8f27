import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from app.cli.processes import RESTARTS_MAX, ChildFailed, ChildSpec, Supervisor

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


def child(script: str, **options: object) -> ChildSpec:
    return ChildSpec("worker", (sys.executable, "-c", script), dict(os.environ), **options)  # pyright: ignore[reportArgumentType]


async def wait_for_text(file: Path, text: str, times: int = 1) -> None:
    async with asyncio.timeout(10):
        while read(file).count(text) < times:  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.01)


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def test_a_child_that_never_starts_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)

    async def never() -> bool:
        return False

    with pytest.raises(ChildFailed, match=r"(?s)ended with status 4 before it was ready.*no luck today"):
        await supervisor.start(child("print('no luck today'); raise SystemExit(4)", is_ready=never))
    await supervisor.stop()


async def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)

    async def never() -> bool:
        return False

    with pytest.raises(ChildFailed, match="no-such-command-anywhere: No such file"):
        await supervisor.start(ChildSpec("x", ("no-such-command-anywhere",), {}, is_ready=never))


async def test_a_child_not_ready_in_time_is_ended_and_reported(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    seen: list[int] = []

    async def never() -> bool:
        text = (tmp_path / "worker.log").read_text()
        seen.extend(int(line) for line in text.split())
        return False

    with pytest.raises(ChildFailed, match=r"was not ready within 2 s"):
        await supervisor.start(
            child("import os,time; print(os.getpid(), flush=True); time.sleep(60)", is_ready=never, ready_s_max=2.0)
        )
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, backoff_s=0.001)
    await supervisor.start(child("import os; print('pid', os.getpid(), flush=True); import time; time.sleep(60)"))
    log = tmp_path / "worker.log"
    await wait_for_text(log, "pid")
    first = int(log.read_text().split()[1])
    os.kill(first, signal.SIGKILL)
    await wait_for_text(log, "pid", times=2)
    second = int(log.read_text().split()[3])
    assert second != first
    await supervisor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


async def test_a_child_that_keeps_dying_fails_the_market_after_a_bounded_number_of_starts(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, backoff_s=0.001)
    await supervisor.start(child("print('start', flush=True)"))
    async with asyncio.timeout(30):
        failure = await supervisor.failed()
    assert f"worker died again after {RESTARTS_MAX} restarts" in str(failure)
    assert (tmp_path / "worker.log").read_text().count("start") == 1 + RESTARTS_MAX
    await supervisor.stop()


async def test_children_end_in_reverse_order_and_a_deaf_one_is_killed(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    polite = (
        "import signal,sys,time\n"
        f"def end(*_): open({str(ends)!r},'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(60)"
    )
    deaf = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    supervisor = Supervisor(tmp_path)
    for name, script, stop_s_max in (("a", polite, 10.0), ("b", polite, 10.0), ("deaf", deaf, 0.2)):
        spec = ChildSpec(name, (sys.executable, "-c", script, name), dict(os.environ), stop_s_max=stop_s_max)
        await supervisor.start(spec)
        await wait_for_text(tmp_path / f"{name}.log", "up")
    began_s = time.monotonic()
    await supervisor.stop()
    assert ends.read_text() == "ba"
    assert time.monotonic() - began_s < 8  # nobody slept out the minute


async def test_a_huge_log_is_put_aside_before_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.data_dir.LOG_BYTES_MAX", 10)
    (tmp_path / "worker.log").write_text("old " * 10)
    supervisor = Supervisor(tmp_path)
    await supervisor.start(child(SLEEP))
    await wait_for_text(tmp_path / "worker.log", "up")
    assert (tmp_path / "worker.log.1").read_text().startswith("old")
    assert "old" not in (tmp_path / "worker.log").read_text()
    await supervisor.stop()
