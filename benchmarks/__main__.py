"""``python -m benchmarks [GROUP …] [--json FILE]``: runs the groups named, or all, one after the other.

Every figure is a CPU time or a ratio of two things measured in the same run; wall-clock rates are shown beside them
and depend on what else the machine does.
"""

import argparse
import importlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

GROUPS = ("dispatch", "metering", "leases", "ledger", "simulate", "gateway", "pricing")


def main() -> None:
    """Runs, prints each group's figures as they come, and keeps them all in one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all when none is named")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"), help="where the figures go")
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    results: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, Python {platform.python_version()}"
    }
    for group in arguments.groups or GROUPS:
        began_s = time.monotonic()
        print(f"── {group}", flush=True)
        results[group] = importlib.import_module(f"benchmarks.bench_{group}").measure()
        _show(results[group])
        print(f"   ({time.monotonic() - began_s:.0f} s)", flush=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"All figures: {arguments.json}", file=sys.stderr)


def _show(figures: Any, name: str = "", depth: int = 1) -> None:
    """Prints nested figures as an indented list, one line for each innermost table."""
    if isinstance(figures, dict) and any(isinstance(value, dict) for value in figures.values()):
        if name:
            print(f"{'   ' * depth}{name}")
        for key, value in figures.items():
            _show(value, key, depth + 1)
    elif isinstance(figures, dict):
        told = "  ".join(f"{key} {value}" for key, value in figures.items() if value is not None)
        print(f"{'   ' * depth}{name + ': ' if name else ''}{told}")
    else:
        print(f"{'   ' * depth}{name}: {figures}")


if __name__ == "__main__":
    main()
