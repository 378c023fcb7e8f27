"""Real Redis-compatible servers to start, freeze and kill, and lease stores of every kind on a clock the test moves."""

import asyncio
import contextlib
import itertools
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded_redis import answers, server_command
from app.fleet.lease_store import InProcessLeaseStore
from app.fleet.leases import LeaseStore
from app.fleet.redis_lease_store import RedisLeaseStore
from app.fleet.redis_pipeline_client import RedisPatience, RedisPipelineClient
from app.fleet.redis_target_client import RedisTarget
from app.fleet.steady_lease_store import SteadyLeaseStore

PATIENT = RedisPatience(connect_s=10.0, reply_s=20.0, backoff_s_min=0.01, backoff_s_max=0.05)
_namespaces = itertools.count()


@dataclass
class FakeClock:
    """µs that pass only when told to."""

    now_us: int = 1_750_000_000_000_000

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * 1_000_000)


@dataclass
class RedisServer:
    """A real server on a unix socket that can be stopped, frozen and started again, empty."""

    socket: Path
    child: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def target(self) -> RedisTarget:
        return RedisTarget(socket_path=str(self.socket))

    def start(self) -> None:
        self.child = subprocess.Popen(server_command(self.socket), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10
        while not answers(self.socket):
            assert time.monotonic() < deadline_s, "the server does not come up"
            time.sleep(0.005)

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None
            self.socket.unlink(missing_ok=True)

    @contextlib.contextmanager
    def frozen(self) -> Generator[None]:
        assert self.child is not None
        self.child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.child.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running_server() -> Generator[RedisServer]:
    folder = tempfile.mkdtemp(prefix="gp-")  # short: a socket's path has at most about 100 bytes
    server = RedisServer(Path(folder) / "redis.sock")
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def new_namespace() -> str:
    return f"test{next(_namespaces)}"


@contextlib.asynccontextmanager
async def connected(target: RedisTarget, patience: RedisPatience = PATIENT) -> AsyncGenerator[RedisPipelineClient]:
    client = RedisPipelineClient(target, patience)
    await client.connect()
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def lease_store(kind: str, clock: FakeClock, server: Callable[[], RedisServer]) -> AsyncGenerator[LeaseStore]:
    """A store of one kind on a virtual clock."""
    if kind == "in_process":
        yield InProcessLeaseStore(clock)
        return
    client = RedisPipelineClient(server().target, PATIENT)
    shared = RedisLeaseStore(client, new_namespace(), virtual_now_us=clock)
    store = shared if kind == "redis" else SteadyLeaseStore(shared, client, clock_us=clock)
    await client.connect()
    try:
        yield store
    finally:
        await store.close()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until something holds; fails after 10 s."""
    for _ in range(2000):
        if await holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to hold")
