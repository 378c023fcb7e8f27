"""From a deployment's measured load curve to the engine that follows it."""

from statistics import fmean

from pricing.profiles import Deployment, Mode
from providers.engine_model.fit import Fit, Limits, LoadCurve, fit
from providers.engine_model.spec import KV_UNBOUNDED, EngineSpec, RemoteSpec

PS_PER_S = 10**12
PS_PER_US = 1_000_000
NS_PER_US = 1_000
PREFILL_APART_TOK_S = 1e15
"""Stands for "prompts cost these steps nothing"."""


def engine_spec(deployment: Deployment) -> EngineSpec:
    """The engine of one deployment: a hosted API when its tokens are bought, else a batching engine."""
    return remote_spec_of(deployment) if deployment.price is not None else batch_fit(deployment).spec


def batch_fit(deployment: Deployment) -> Fit:
    """Fits a batching engine to a deployment's load curve, with its prefill speed as the profile states it.

    A disaggregated deployment prefills elsewhere: its prompts take nothing from the steps that decode, and the time to
    the first token measured at the smallest load is all in the entry, whatever the prompt.
    """
    is_apart = deployment.configuration.mode is Mode.DISAGGREGATED
    limits = Limits(max_seqs=deployment.concurrency_max)
    speed = PREFILL_APART_TOK_S if is_apart else deployment.prefill_tok_s
    return fit([load_curve(deployment)], limits, prefill_tok_s=speed)


def remote_spec_of(deployment: Deployment) -> RemoteSpec:
    """A hosted API with the speed of the smallest load, shared so that the largest load runs as fast as stated."""
    concurrency_max = deployment.concurrency_max
    shared_us = deployment.tpot_us[-1] / max(concurrency_max, deployment.concurrency[-1])
    return RemoteSpec(
        token_ps_min=round(deployment.tpot_us[0] * PS_PER_US),
        token_ps_shared=round(shared_us * PS_PER_US),
        concurrency_max=concurrency_max,
        entry_ns=round(deployment.ttft_base_us * NS_PER_US),
        prefill_ps=round(PS_PER_S / deployment.prefill_tok_s),
        context_max=deployment.context_max or KV_UNBOUNDED,
    )


def load_curve(deployment: Deployment) -> LoadCurve:
    """The curve with the lengths that were really run."""
    return LoadCurve(
        concurrency=deployment.concurrency,
        tpot_us=deployment.tpot_us,
        ttft_us=deployment.ttft_us,
        isl=fmean(point.isl_mean for point in deployment.points),
        osl=fmean(point.osl_mean for point in deployment.points),
    )
