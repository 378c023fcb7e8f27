import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from app.embedded_redis import EmbeddedRedisError, answers, embedded_redis, server_command, server_executable
from app.settings import SOCKET_PATH_BYTES_MAX, Settings


def wait_until(is_true: object, seconds: float = 10.0) -> bool:
    """Polls a predicate."""
    assert callable(is_true)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_true():
            return True
        time.sleep(0.02)
    return False


def test_a_market_far_down_in_the_file_tree_still_gets_a_socket_that_clients_take(tmp_path: Path) -> None:
    deep = Settings(data_dir=tmp_path / ("d" * 120))
    assert len(os.fsencode(deep.redis_socket)) <= SOCKET_PATH_BYTES_MAX
    assert deep.redis_socket != Settings(data_dir=tmp_path / ("e" * 120)).redis_socket
    near = Settings(data_dir=Path("/srv/goodput"))
    assert near.redis_socket == Path("/srv/goodput/redis.sock")


def test_a_path_too_long_for_a_socket_is_refused_with_its_length(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedRedisError, match=r"has \d+ bytes, at most 100"):
        server_command(tmp_path / ("d" * 120) / "redis.sock")


def test_without_any_server_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EmbeddedRedisError, match=r"valkey-server nor redis-server.*GOODPUT_REDIS_URL"):
        server_executable()


def test_a_server_on_path_is_preferred_to_the_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_executable() == str(server)


def test_the_server_runs_scripts_on_its_socket_alone_and_is_gone_afterwards(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with embedded_redis(socket, tmp_path / "redis.log"):
        client = redis.Redis(unix_socket_path=str(socket))
        assert client.eval("return redis.call('INCR', KEYS[1])", 1, "n") == 1
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}
        client.close()
        with pytest.raises(EmbeddedRedisError, match="answers on"), embedded_redis(socket, tmp_path / "second.log"):
            pytest.fail("two servers on one socket")
    assert not answers(socket)
    assert not socket.exists()


def test_a_stale_socket_of_a_crashed_market_is_no_obstacle(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with embedded_redis(socket, tmp_path / "redis.log") as server:
        server.kill()
        server.wait()
        assert socket.exists()
        with embedded_redis(socket, tmp_path / "redis.log"):
            assert answers(socket)


def test_a_server_that_cannot_start_shows_what_it_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho out of luck\nexit 3\n")
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with (
        pytest.raises(EmbeddedRedisError, match=r"(?s)exited with 3.*out of luck"),
        embedded_redis(tmp_path / "redis.sock", tmp_path / "redis.log"),
    ):
        pytest.fail("it is broken")


@pytest.mark.slow
def test_the_server_dies_with_a_market_that_is_killed(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    market = (
        "import sys, time; from pathlib import Path; from app.embedded_redis import embedded_redis\n"
        "with embedded_redis(Path(sys.argv[1]), Path(sys.argv[2])): time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", market, str(socket), str(tmp_path / "redis.log")])
    try:
        assert wait_until(lambda: answers(socket))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert wait_until(lambda: not answers(socket))
    finally:
        parent.kill()
        parent.wait()
