"""A tuned model's adder from what an operator states of its adapter."""

from dataclasses import replace
from typing import Any

import pytest

from app.planning.adapters import BaseModel, adder_of, base_model, figures
from app.planning.in_force import in_force
from app.planning.priced import PricedModelError, Serving, length_class
from app.planning.resolve import priced_model
from pricing.assumptions import AssumptionError
from pricing.derive import derive
from pricing.profiles import LengthClass
from pricing.slo import Tier
from tests.app.planning.planning_market import SHIPPED, SPEC

BASE = BaseModel(capacity_tok_s=2_000.0, concurrency=32, usd_per_hour=2.0, n_gpus=2, utilisation=0.6)
BOTH = frozenset({Tier.STANDARD, Tier.BULK})
ADAPTER = {"rank": 16.0, "widths": 1e6, "adapters": 100.0, "tok_per_hour": 1e6, "weight_gb": 64.0}


def test_stated_figures_are_taken_as_they_are() -> None:
    adder = adder_of(Serving.SHARED, {"slowdown": 1.15, "usd_per_mtok": 0.01}, BASE, BOTH)
    assert (adder.slowdown, adder.usd_per_mtok.output, adder.tiers) == (1.15, 0.01, BOTH)


def test_a_shared_adapter_is_read_once_a_step_by_each_of_a_batch() -> None:
    adder = adder_of(Serving.SHARED, ADAPTER, BASE, BOTH)
    assert adder.slowdown == pytest.approx(1.016)  # 32 in a batch, 32 MB each, over 64 GB
    dear = adder_of(Serving.SHARED, {**ADAPTER, "storage_usd_per_hour": 0.05}, BASE, BOTH)
    assert dear.usd_per_mtok.input == pytest.approx(0.05 * 0.6)  # a million an hour; utilisation is divided by later
    stated = adder_of(Serving.SHARED, {**ADAPTER, "slowdown": 1.3}, BASE, BOTH)
    assert stated.slowdown == 1.3  # what was measured wins over what is worked out


def test_a_dedicated_one_pays_for_the_whole_of_its_deployments() -> None:
    adder = adder_of(Serving.DEDICATED, {"demand_tok_s": 300}, BASE, BOTH)
    assert (adder.slowdown, adder.utilisation) == (1.0, pytest.approx(0.15))


def test_the_base_is_the_models_standard_operating_point() -> None:
    model = priced_model(SPEC, in_force([], 0), SHIPPED)
    found = base_model(derive(model.model, model.profiles, model.hardware_costs, model.assumptions), 0.6)
    assert (found.concurrency, found.n_gpus) == (64, 2)
    assert found.capacity_tok_s == pytest.approx(2 * 64 * 1_024 / (0.3 + 1_023 * 0.014))


@pytest.mark.parametrize(
    ("serving", "given", "said"),
    [
        (Serving.SHARED, {"rank": 16.0}, "missing: widths, adapters"),
        (Serving.SHARED, {**ADAPTER, "luck": 1.0}, "unknown: luck"),
        (Serving.SHARED, {**ADAPTER, "rank": 1.5}, "rank must be a whole number"),
        (Serving.SHARED, {**ADAPTER, "weight_gb": 0.0}, "weight_bytes"),
        (Serving.SHARED, {"slowdown": 0.5}, "slowdown >= 1"),
        (Serving.DEDICATED, {"rank": 16.0}, "unknown: rank"),
        (Serving.DEDICATED, {"demand_tok_s": 0.0}, "demand must be above 0"),
        (Serving.DEDICATED, {"demand_tok_s": float("nan")}, "demand must be above 0"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused(serving: Serving, given: dict[str, float], said: str) -> None:
    with pytest.raises((PricedModelError, AssumptionError), match=said):
        adder_of(serving, given, BASE, BOTH)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slowdown", "expected NAME=NUMBER"),
        ("slowdown=fast", "expected NAME=NUMBER"),
        ("", "expected NAME=NUMBER"),
        ("a=1,a=2", "named twice"),
        (",".join(f"a{n}=1" for n in range(30)), "more than 20"),
    ],
)
def test_figures_that_are_none_are_refused(text: str, said: str) -> None:
    with pytest.raises(PricedModelError, match=said):
        figures(text)


@pytest.mark.parametrize("lengths", [(1_024, None), (None, 1_024), (0, 5)])
def test_a_class_needs_both_lengths(lengths: tuple[Any, Any]) -> None:
    with pytest.raises(PricedModelError):
        length_class(*lengths)
    assert length_class(None, None) is None
    assert length_class(2, 3) == LengthClass(2, 3)
    assert replace(SPEC, lengths=None).lengths is None
