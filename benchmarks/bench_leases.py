"""Admissions per second through Redis, and what one costs: each is an admission and its release, over two round trips.

Two stores on one real server over a unix socket, and the in-process one beside them: ``shared`` is the Redis store
alone, ``steady`` the one that gateways use. ``client_cpu_us`` is this process's CPU per admission with its release,
``server_cpu_us`` the server's.
"""

import asyncio
import gc
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from app.embedded_redis import answers, server_command
from app.fleet.lease_store import InProcessLeaseStore
from app.fleet.leases import LeaseCandidate, Leased, LeaseRequest, LeaseStore
from app.fleet.redis_lease_store import RedisLeaseStore
from app.fleet.redis_pipeline_client import RedisPatience, RedisPipelineClient
from app.fleet.redis_target_client import RedisTarget
from app.fleet.steady_lease_store import SteadyLeaseStore
from app.identity.caller import Limits
from scheduler.fleet import OfferId

PAIRS = 8_000
PAIRS_ALONE = 3_000
CONCURRENCIES = (1, 32, 256)
OFFERS = [OfferId(f"cluster-{n}/b200-trtllm-fp4-agg-tp2ep1") for n in range(8)]
LIMITS = Limits(rpm=100_000_000, tpm=100_000_000, concurrency=1_000_000)
CUSTOMERS = 64
READY_S_MAX = 10.0
PATIENT = RedisPatience(reply_s=30.0)


def measure() -> dict[str, Any]:
    """Runs all cases; each figure is one run on whatever else the machine does."""
    folder = tempfile.mkdtemp(prefix="gp-")
    socket = Path(folder) / "redis.sock"
    server = subprocess.Popen(server_command(socket), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + READY_S_MAX
        while not answers(socket):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no server on {socket} within {READY_S_MAX} s")
            time.sleep(0.01)
        target = RedisTarget(socket_path=str(socket))
        cases = {
            f"{kind}_{concurrency}": uvloop.run(_case(kind, target, concurrency))
            for kind in ("shared", "steady", "in_process")
            for concurrency in CONCURRENCIES
        }
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    return {"candidates": 3, "offers": len(OFFERS), "cases": cases}


async def _case(kind: str, target: RedisTarget, concurrency: int) -> dict[str, float]:
    if kind == "in_process":
        return await _run(InProcessLeaseStore(), concurrency, _nothing)
    client = RedisPipelineClient(target, PATIENT)
    shared = RedisLeaseStore(client, namespace=f"{kind}{concurrency}")
    store = shared if kind == "shared" else SteadyLeaseStore(shared, client)
    await client.connect()

    async def server_cpu_us() -> float:
        used = (await client.call("INFO", "cpu")).decode()
        names = ("used_cpu_user_main_thread:", "used_cpu_sys_main_thread:")
        return sum(float(line.partition(":")[2]) * 1e6 for line in used.splitlines() if line.startswith(names))

    try:
        return await _run(store, concurrency, server_cpu_us)
    finally:
        await store.close()


async def _run(
    store: LeaseStore, concurrency: int, server_cpu_us: Callable[[], Coroutine[Any, Any, float]]
) -> dict[str, float]:
    pairs = PAIRS_ALONE if concurrency == 1 else PAIRS
    requests = [_request(n, pairs) for n in range(pairs)]
    waits_s: list[float] = []

    async def worker(first: int) -> None:
        for request in requests[first::concurrency]:
            began_s = time.perf_counter()
            answer = await store.admit(request)
            waits_s.append(time.perf_counter() - began_s)
            if not isinstance(answer, Leased):
                raise TypeError(f"a bench admission was not leased: {answer}")
            await store.release(request.lease_id, answer.offer_id)

    gc.collect()
    server_before_us, cpu_s, began_s = await server_cpu_us(), time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker(n) for n in range(concurrency)))
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    waits_s.sort()
    return {
        "admissions_s": round(pairs / wall_s),
        "client_cpu_us": round(cpu_s / pairs * 1e6, 1),
        "server_cpu_us": round((await server_cpu_us() - server_before_us) / pairs, 1),
        "admit_p50_us": round(waits_s[pairs // 2] * 1e6),
        "admit_p99_us": round(waits_s[pairs * 99 // 100] * 1e6),
    }


def _request(number: int, pairs: int) -> LeaseRequest:
    start = number % len(OFFERS)
    candidates = tuple(
        LeaseCandidate(OFFERS[(start + step) % len(OFFERS)], concurrency_max=10_000, in_flight_max=10_000)
        for step in range(3)
    )
    lease_id = f"gen-{pairs:08d}{number:024d}"
    return LeaseRequest(lease_id, f"cus_{number % CUSTOMERS}", LIMITS, candidates, 900, 1_400, ttl_s=15.0)


async def _nothing() -> float:
    return 0.0


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
