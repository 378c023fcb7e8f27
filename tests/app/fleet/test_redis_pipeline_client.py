"""The client against a server of a few lines that does as the test says; no process is started."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hiredis
import pytest

from app.fleet.redis_pipeline_client import Call, RedisPatience, RedisPipelineClient, RedisRefused, RedisUnavailable
from app.fleet.redis_target_client import RedisTarget, redis_target
from tests.app.fleet.lease_benches import PATIENT, eventually

QUICK = RedisPatience(connect_s=1.0, reply_s=0.12, backoff_s_min=0.005, backoff_s_max=0.02, in_flight_max=8)

Command = list[bytes]


ANSWERS = {
    b"FAIL": b"-ERR you asked for it\r\n",
    b"LIST": b"*3\r\n:1\r\n$-1\r\n$1\r\nx\r\n",
    b"HANG": b"",
    b"GARBAGE": b"?what\r\n",
    b"TWICE": b"+OK\r\n+OK\r\n",
}


def answer_of(command: Command) -> bytes:
    match command:
        case [b"ECHO", word]:
            return b"$%d\r\n%s\r\n" % (len(word), word)
        case [b"AUTH", *_, b"wrong"]:
            return b"-WRONGPASS invalid username-password pair\r\n"
        case _:
            return ANSWERS.get(command[0], b"+OK\r\n")


@dataclass
class FakeRedis:
    path: Path
    reads: list[list[Command]] = field(default_factory=list)
    connections: int = 0
    delay_s: float = 0.0
    is_silent: bool = False
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    server: asyncio.Server | None = None

    @property
    def target(self) -> RedisTarget:
        return RedisTarget(socket_path=str(self.path))

    @property
    def commands(self) -> list[Command]:
        return [command for read in self.reads for command in read]

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self.serve, str(self.path))

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        self.drop()
        await self.server.wait_closed()

    def drop(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        parser: Any = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            read: list[Command] = []
            while (command := parser.gets()) is not False:
                read.append(command)
            self.reads.append(read)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if not self.is_silent:
                writer.write(b"".join(map(answer_of, read)))
        writer.close()


@pytest.fixture
async def fake() -> AsyncIterator[FakeRedis]:
    folder = tempfile.mkdtemp(prefix="gp-")
    server = FakeRedis(Path(folder) / "fake.sock")
    await server.start()
    yield server
    with contextlib.suppress(OSError):
        await server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def connected(
    target: RedisTarget, patience: RedisPatience = QUICK, prepare: Callable[[Call], Awaitable[None]] | None = None
) -> AsyncGenerator[RedisPipelineClient]:
    client = RedisPipelineClient(target, patience)
    if prepare is not None:
        client.before_use(prepare)
    await client.connect()
    try:
        yield client
    finally:
        await client.close()


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds)


async def test_all_commands_of_one_loop_turn_leave_in_one_write_and_replies_come_in_order(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        fake.reads.clear()
        replies = await asyncio.gather(*(client.call("ECHO", str(n)) for n in range(6)))
        assert replies == [b"0", b"1", b"2", b"3", b"4", b"5"]
        assert [len(read) for read in fake.reads] == [6]
        assert await client.call("LIST") == [1, None, b"x"]


async def test_a_cancelled_caller_does_not_shift_the_replies_of_the_others(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:

        async def echo(word: str) -> bytes:
            return await client.call("ECHO", word)

        tasks = [asyncio.create_task(echo(str(n))) for n in range(5)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[3].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answers[n] for n in (1, 2, 4)] == [b"1", b"2", b"4"]
        assert await echo("after") == b"after"


async def test_an_error_reply_fails_its_own_command_only(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        before, failing, behind = client.call("ECHO", "a"), client.call("FAIL"), client.call("ECHO", "b")
        assert await before == b"a"
        with pytest.raises(RedisRefused, match="ERR you asked for it"):
            await failing
        assert await behind == b"b"


async def test_more_than_the_allowed_number_in_flight_is_refused_at_once(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        waiting = [client.call("ECHO", "x") for _ in range(8)]
        with pytest.raises(RedisUnavailable, match=r"8 unanswered commands, the most allowed is 8"):
            client.call("ECHO", "y")
        assert await asyncio.gather(*waiting) == [b"x"] * 8
        assert await client.call("ECHO", "z") == b"z"


async def test_login_and_database_come_before_anything_else(fake: FakeRedis) -> None:
    async def prepare(call: Call) -> None:
        await call("PREPARE")

    target = RedisTarget(socket_path=str(fake.path), db=3, username="app", password="pw")
    async with connected(target, prepare=prepare) as client:
        await client.call("FIRST")
    assert fake.commands == [[b"AUTH", b"app", b"pw"], [b"SELECT", b"3"], [b"PING"], [b"PREPARE"], [b"FIRST"]]


async def test_a_server_over_tcp_serves_as_well() -> None:
    fake = FakeRedis(Path())
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with connected(redis_target(f"redis://127.0.0.1:{port}/2")) as client:
        assert await client.call("ECHO", "tcp") == b"tcp"
    assert [b"SELECT", b"2"] in fake.commands
    server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of localhost that nobody signed; its key lies beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl, which is not on PATH")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


@pytest.mark.slow
async def test_tls_is_spoken_and_the_servers_certificate_checked(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    fake = FakeRedis(Path())
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=context)
    url = f"rediss://localhost:{server.sockets[0].getsockname()[1]}"
    for trusted in (f"{url}?ssl_ca_certs={certificate}", f"{url}?ssl_cert_reqs=none"):
        async with connected(redis_target(trusted), PATIENT) as client:
            assert await client.call("ECHO", "secret") == b"secret"
    with pytest.raises(RedisUnavailable, match="certificate verify failed"):
        await RedisPipelineClient(redis_target(url), PATIENT).connect()
    with pytest.raises(RedisUnavailable, match="No such file"):
        await RedisPipelineClient(redis_target(f"{url}?ssl_ca_certs=/nonexistent.pem"), PATIENT).connect()
    server.close()


async def test_a_refused_login_is_told_and_leaves_nothing_behind(fake: FakeRedis) -> None:
    client = RedisPipelineClient(RedisTarget(socket_path=str(fake.path), password="wrong"), QUICK)
    with pytest.raises(RedisUnavailable, match="WRONGPASS") as caught:
        await client.connect()
    assert "'wrong'" not in str(caught.value)
    with pytest.raises(RedisUnavailable, match="not connected yet"):
        client.call("PING")


async def test_an_absent_server_is_told_with_its_address() -> None:
    client = RedisPipelineClient(RedisTarget(socket_path="/nonexistent/redis.sock"), QUICK)
    with pytest.raises(RedisUnavailable, match=r"cannot use Redis at unix:///nonexistent/redis.sock: .*No such file"):
        await client.connect()


async def test_whoever_waits_is_told_when_the_connection_breaks_and_the_next_connection_serves(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        hanging = client.call("HANG")
        await until(lambda: [b"HANG"] in fake.commands)
        fake.drop()
        with pytest.raises(RedisUnavailable, match="was lost: the server closed the connection"):
            await hanging
        await until(lambda: client.is_connected)
        assert await client.call("ECHO", "again") == b"again"
        assert fake.connections == 2


async def test_commands_are_refused_at_once_while_the_server_is_away(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        await fake.stop()
        await until(lambda: not client.is_connected)
        with pytest.raises(RedisUnavailable, match="is lost"):
            client.call("PING")
        await fake.start()
        await until(lambda: client.is_connected)
        assert await client.call("ECHO", "back") == b"back"


async def test_every_new_connection_is_prepared_before_anybody_else_uses_it(fake: FakeRedis) -> None:
    async def prepare(call: Call) -> None:
        await call("PREPARE")

    async with connected(fake.target, prepare=prepare) as client:
        fake.reads.clear()
        fake.drop()
        await until(lambda: client.is_connected and fake.connections == 2)
        await client.call("FIRST")
        assert fake.commands == [[b"PING"], [b"PREPARE"], [b"FIRST"]]


async def test_a_silent_server_is_given_up(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        fake.is_silent = True
        calls = [client.call("ECHO", "x"), client.call("ECHO", "y")]
        for call in calls:
            with pytest.raises(RedisUnavailable, match=r"no reply within 0.12 s"):
                await call
        assert not client.is_connected


async def test_a_slow_but_steady_server_is_not_given_up(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        fake.delay_s = 0.05
        for n in range(6):  # 0.3 s in all, more than the patience for one reply
            assert await client.call("ECHO", str(n)) == str(n).encode()
        assert fake.connections == 1


async def test_a_process_that_stood_still_reads_what_came_before_it_gives_up(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        reply = client.call("ECHO", "x")
        await until(lambda: [b"ECHO", b"x"] in fake.commands)
        time.sleep(0.3)  # noqa: ASYNC251 (the loop must stand still)
        assert await reply == b"x"
        assert fake.connections == 1


async def test_a_server_that_does_not_speak_redis_is_dropped_and_whoever_waits_is_told(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        garbled, behind = client.call("GARBAGE"), client.call("HANG")
        for call in (garbled, behind):
            with pytest.raises(RedisUnavailable, match="does not speak the Redis protocol"):
                await call
        await until(lambda: client.is_connected)
        assert await client.call("ECHO", "ok") == b"ok"


async def test_a_server_that_answers_unasked_is_dropped_before_replies_can_shift(fake: FakeRedis) -> None:
    async with connected(fake.target) as client:
        assert await client.call("TWICE") == b"OK"
        await until(lambda: fake.connections == 2 and client.is_connected)
        assert await client.call("ECHO", "ok") == b"ok"


async def test_closing_tells_whoever_waits_and_ends_the_background_work(fake: FakeRedis) -> None:
    client = RedisPipelineClient(fake.target, QUICK)
    await client.connect()
    hanging = client.call("HANG")
    await client.close()
    with pytest.raises(RedisUnavailable, match="this client was closed"):
        await hanging
    with pytest.raises(RedisUnavailable, match="this client was closed"):
        client.call("PING")
    assert [task for task in asyncio.all_tasks() if task.get_name() == "redis-keeper"] == []


async def test_connecting_in_the_background_serves_once_the_server_appears(fake: FakeRedis) -> None:
    await fake.stop()
    client = RedisPipelineClient(fake.target, QUICK)
    client.connect_in_background()
    await asyncio.sleep(0.03)
    with pytest.raises(RedisUnavailable, match="is lost"):
        client.call("PING")
    await fake.start()
    await until(lambda: client.is_connected)
    assert await client.call("ECHO", "hello") == b"hello"
    await client.close()
