"""From what is known of a backend to something that can be asked: the one place that knows every kind."""

from typing import assert_never

from providers import gpu_cluster, local_engine, openai_compatible, tuned, wafer_scale
from providers.base import Provider
from providers.spec import ProviderKind, ProviderSpec


def build(spec: ProviderSpec) -> Provider:
    """Makes the provider of its kind. It opens no connection before the first request."""
    match spec.kind:
        case ProviderKind.GPU_CLUSTER:
            return gpu_cluster.build(spec)
        case ProviderKind.WAFER_SCALE:
            return wafer_scale.build(spec)
        case ProviderKind.TUNED:
            return tuned.build(spec)
        case ProviderKind.LOCAL_ENGINE:
            return local_engine.build(spec)
        case ProviderKind.OPENAI_COMPATIBLE:
            return openai_compatible.build(spec)
        case _:
            assert_never(spec.kind)
