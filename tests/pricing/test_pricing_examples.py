"""The worked examples in pricing's docstrings are true."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

MODULES = sorted(path.stem for path in (Path(__file__).parents[2] / "pricing").glob("*.py"))


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__"])
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(import_module(f"pricing.{name}")).failed == 0
