"""What is installed is whole: every file that the code reads at run time goes into the wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READ_AT_RUN_TIME = {
    "app": {".html", ".css", ".js", ".svg", ".lua"},
    "pricing": {".csv", ".json"},
    "migrations": {".py"},
}


@pytest.mark.slow
def test_the_wheel_holds_every_file_that_the_code_reads(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in ("app", "pricing", "scheduler", "providers", "migrations"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "uv", "build", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        path.relative_to(ROOT).as_posix()
        for package, suffixes in READ_AT_RUN_TIME.items()
        for path in (ROOT / package).rglob("*")
        if path.suffix in suffixes and "__pycache__" not in path.parts
    }
    assert needed - packed == set()
