"""Engines for the deployments that ship with the product: each follows the load curve that its profile measured."""

import numpy as np
import pytest

from pricing.deployments import deployments
from pricing.profiles import Deployment, Mode
from pricing.shipped import shipped_profiles
from providers.engine_model.deployments import batch_fit, engine_spec, load_curve, remote_spec_of
from providers.engine_model.spec import BatchSpec, RemoteSpec

CLASSES = ((1024, 1024), (8192, 1024), (1024, 8192))


@pytest.fixture(scope="module")
def shipped() -> list[Deployment]:
    profiles = shipped_profiles()
    models = sorted({profile.model for profile in profiles})
    return [d for model in models for isl, osl in CLASSES for d in deployments(profiles, model, isl, osl)]


@pytest.mark.slow
def test_the_engines_of_all_shipped_deployments_follow_their_curves(shipped: list[Deployment]) -> None:
    measured = [d for d in shipped if d.price is None and len(d.concurrency) > 2]
    assert len(measured) > 300
    errors = [batch_fit(d).tpot_error_max for d in measured]
    assert float(np.median(errors)) < 0.02
    assert float(np.percentile(errors, 90)) < 0.15
    aggregated = [e for e, d in zip(errors, measured, strict=True) if d.configuration.mode is Mode.AGGREGATED]
    assert max(aggregated) < 0.5


def test_a_disaggregated_deployment_decodes_undisturbed_by_prompts(shipped: list[Deployment]) -> None:
    apart = next(d for d in shipped if d.configuration.mode is Mode.DISAGGREGATED and len(d.concurrency) > 3)
    fitted = batch_fit(apart)
    assert fitted.spec.prefill_ps == 0
    assert fitted.tpot_error_max < 1e-6
    assert fitted.spec.entry_ns > 0.5 * apart.ttft_us[0] * 1_000


def test_what_is_bought_by_the_token_is_a_hosted_api_at_its_declared_speed(shipped: list[Deployment]) -> None:
    declared = next(d for d in shipped if d.price is not None)
    spec = engine_spec(declared)
    assert isinstance(spec, RemoteSpec)
    assert spec == remote_spec_of(declared)
    assert spec.token_ps(1) == round(declared.tpot_us[0] * 1e6)
    assert spec.token_ps(declared.concurrency_max) == pytest.approx(declared.tpot_us[-1] * 1e6, rel=1e-6)
    owned = next(d for d in shipped if d.price is None)
    assert isinstance(engine_spec(owned), BatchSpec)


def test_the_curve_has_the_lengths_that_were_really_run(shipped: list[Deployment]) -> None:
    chat = next(d for d in shipped if d.lengths.isl == 1024 and d.price is None and d.points[0].isl_mean < 1_000)
    assert load_curve(chat).isl == pytest.approx(1024 * 0.9, rel=0.01)
