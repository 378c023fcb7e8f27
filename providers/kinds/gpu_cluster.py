"""Accelerators that run vLLM, SGLang or TensorRT-LLM behind their own OpenAI-compatible servers.

What differs: these engines can say with every event how many tokens there have been, which tells a token's chunk
exactly where speculative decoding puts several into one; they end a request when its reader goes, streamed or not.
"""

from types import MappingProxyType

from providers.openai_wire import Dialect, OpenAiWire
from providers.spec import ProviderSpec

DIALECT = Dialect(stream_options=MappingProxyType({"continuous_usage_stats": True}))


def build(spec: ProviderSpec) -> OpenAiWire:
    """A provider of this kind."""
    return OpenAiWire(spec, DIALECT)
