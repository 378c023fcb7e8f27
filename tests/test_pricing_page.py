"""docs/pricing.md says nothing that its commands do not print."""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pricing.assumptions import Assumptions

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "pricing.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?!\w)")
GAP = "…"


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def blocks() -> list[Block]:
    return [Block(*found) for found in FENCE.findall(text())]


def numbers(said: str) -> set[str]:
    return {found.replace(",", "") for found in NUMBER.findall(said)}


def sessions() -> Iterator[tuple[str, list[str]]]:
    """Each command of the console blocks with the lines that the page shows below it."""
    for block in blocks():
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, *shown = part.splitlines()
                yield command, [squeezed(line) for line in shown]


def squeezed(line: str) -> str:
    return " ".join(line.split())


@cache
def printed(command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GOODPUT_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment.pop("COLUMNS", None)
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("command", "shown"), list(sessions()))
def test_a_command_prints_what_the_page_shows(command: str, shown: list[str]) -> None:
    """Line by line, in order; spaces that align a table do not count, and … stands for lines left out."""
    lines = iter([squeezed(line) for line in printed(command).splitlines()])
    for line in shown:
        assert line == GAP or any(line == each for each in lines), f"{command}\ndoes not print, in its place:\n{line}"


@pytest.mark.slow
def test_the_arithmetic_is_right() -> None:
    session = "\n".join(block.text for block in blocks() if block.language == "pycon")
    example = doctest.DocTestParser().get_doctest(session, {}, PAGE.name, str(PAGE), 0)
    assert example.examples
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


def test_every_number_in_the_text_stands_in_a_block_or_in_the_table_of_defaults() -> None:
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`", "", FENCE.sub("", text()))
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    shown = numbers("\n".join([*(block.text for block in blocks()), *rows]))
    said = numbers("\n".join(line for line in prose.splitlines() if line not in rows))
    assert said <= shown, sorted(said - shown)


def defaults() -> list[tuple[str, str]]:
    """The table's default, and what holds it in code, row by row."""
    return re.findall(r"^\|[^|]*\| ([\d.]+) \|[^|]*\| `([\w.]+)` \|$", text(), re.MULTILINE)


@pytest.mark.parametrize(("value", "path"), defaults())
def test_a_default_is_what_the_code_says(value: str, path: str) -> None:
    """A path starts at the assumptions themselves, or at a module of pricing."""
    first, *names = path.split(".")
    found: Any = Assumptions() if first == "Assumptions" else import_module(f"pricing.{first}")
    for name in names:
        found = found[name] if isinstance(found, Mapping) else getattr(found, name)
    assert float(value) == float(found)


def test_no_row_of_the_table_escapes_the_check() -> None:
    table = text().split("## What is assumed", 1)[1].split("\n## ", 1)[0]
    assert len(defaults()) == sum(line.startswith("| ") for line in table.splitlines()) - 1


@pytest.mark.slow
def test_the_picture_of_three_models_is_what_its_command_draws(tmp_path: Path) -> None:
    """In words, marks and tooltips; where each stands to a hundredth may differ from one machine to another."""
    (command,) = [block.text.strip() for block in blocks() if block.language == "sh"]
    kept = command.split()[-1]
    printed(command.replace(kept, str(tmp_path / "again.svg")))
    said = [re.findall(r">([^<>]*\S[^<>]*)<", path.read_text()) for path in (ROOT / kept, tmp_path / "again.svg")]
    assert said[0] == said[1]
    assert (ROOT / kept).stat().st_size <= 300_000
