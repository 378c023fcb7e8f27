"""The worked examples in the scheduler's docstrings hold."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["calibration", "forecast", "guard", "scorers"])
def test_the_examples_of_a_module_hold(name: str) -> None:
    result = doctest.testmod(import_module(f"scheduler.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
