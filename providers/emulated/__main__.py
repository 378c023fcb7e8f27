"""``python -m providers.emulated --spec FILE``: serves emulated deployments until it is told to stop."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from providers.emulated.server import Listener, serve
from providers.emulated.spec import EmulatedDeployment, EmulatedSpecError, read_deployments

SPEC_BYTES_MAX = 4_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the emulated providers of a spec; prints one JSON line once they listen.

    Args:
        argv: arguments after the program's name; None takes the process's own.

    Returns:
        The exit status: 0 when told to stop, 2 when the spec or a port is unusable.
    """
    parser = argparse.ArgumentParser(prog="goodput providers emulate", description=__doc__)
    parser.add_argument("--spec", required=True, help='JSON file {"deployments": [...]}; "-" reads standard input')
    parsed = parser.parse_args(argv)
    try:
        deployments = read_deployments(_document(parsed.spec))
    except (EmulatedSpecError, OSError, ValueError) as error:
        sys.stderr.write(f"emulated providers: {parsed.spec}: {error}\n")
        return 2
    try:
        _runner()(_run(deployments))
    except OSError as error:
        sys.stderr.write(f"emulated providers: cannot listen: {error}\n")
        return 2
    return 0


def _document(path: str) -> object:
    text = sys.stdin.read(SPEC_BYTES_MAX + 1) if path == "-" else _bounded(Path(path))
    if len(text) > SPEC_BYTES_MAX:
        raise EmulatedSpecError(f"a spec may have {SPEC_BYTES_MAX} bytes")
    return json.loads(text)


def _bounded(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(SPEC_BYTES_MAX + 1)


def _runner() -> Any:
    try:
        import uvloop  # noqa: PLC0415 (absent on Windows, where the standard loop serves)
    except ImportError:
        return asyncio.run
    return uvloop.run


async def _run(deployments: Sequence[EmulatedDeployment]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(deployments) as listeners:
        sys.stdout.write(json.dumps({"ready": True, "deployments": [_line(one) for one in listeners]}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _line(listener: Listener) -> dict[str, Any]:
    deployment = listener.backend.deployment
    return {"deployment_id": deployment.deployment_id, "model": deployment.model, "base_url": listener.base_url}


if __name__ == "__main__":
    sys.exit(main())
