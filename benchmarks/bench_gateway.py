"""What the market costs on top of a bare pass-through: CPU per request and per streamed token, added delay.

Both servers are the same uvicorn, the same ASGI mount and the same upstream client, measured in the same run against
the same upstream by the same client. The market authenticates, prices, places, holds and settles durably (SQLite
FULL), leases in a real Redis-compatible server, and meters every token.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import Load

UPSTREAM, BARE, MARKET = 9_310, 9_311, 9_312
SECONDS = 5.0
GAP_US = 40_000
ROOT = Path(__file__).resolve().parent.parent
CASES = {
    "unstreamed_64": {"concurrency": 64, "is_stream": False, "model": "m-0"},
    "streamed_32": {"concurrency": 32, "is_stream": True, "gap_us": GAP_US, "model": f"m-{GAP_US}"},
    "streamed_128": {"concurrency": 128, "is_stream": True, "gap_us": GAP_US, "model": f"m-{GAP_US}"},
    "burst_16": {"concurrency": 16, "is_stream": True, "tokens": 1_000, "model": "m-0"},
}


def measure(seconds: float = SECONDS) -> dict[str, Any]:
    """Runs every case against both servers, one after the other."""
    with tempfile.TemporaryDirectory(prefix="goodput-bench-") as folder, _server("upstream", UPSTREAM):
        found: dict[str, Any] = {}
        with _server("bare", BARE, str(UPSTREAM)) as bare:
            found["bare"] = {name: _load(BARE, bare.pid, "none", case, seconds) for name, case in CASES.items()}
        with _server("market_server", MARKET, str(UPSTREAM), folder) as market:
            key = (market.stdout.readline() if market.stdout else "").strip()
            _wait_for(MARKET)
            found["market"] = {name: _load(MARKET, market.pid, key, case, seconds) for name, case in CASES.items()}
    found["ratio_cpu"] = {
        name: round(found["market"][name]["cpu_us"] / found["bare"][name]["cpu_us"], 2)
        for name in CASES
        if found["market"][name]["cpu_us"] and found["bare"][name]["cpu_us"]
    }
    return found


def _load(port: int, pid: int, key: str, case: dict[str, Any], seconds: float) -> dict[str, Any]:
    load = Load(port=port, pids=(pid,), key=key, seconds=seconds, **case)
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(load.__dict__)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=True)
    return json.loads(done.stdout)


@contextmanager
def _server(module: str, port: int, *arguments: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"benchmarks.{module}", str(port), *arguments]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        if module != "market_server":
            _wait_for(port)
        yield server
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(port: int, seconds: float = 30.0) -> None:
    import socket  # noqa: PLC0415 (only here)

    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
