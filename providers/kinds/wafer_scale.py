"""Wafer-scale machines, bought by the token over their maker's API.

What differs: they send many tokens in one event, and answer 400 to some sampling fields even where these ask for
nothing.

**Source:** inference-docs.cerebras.ai, "OpenAI compatibility", read 2026-11: ``frequency_penalty``,
``presence_penalty``, ``logit_bias`` and ``parallel_tool_calls`` are refused, as is ``service_tier``.
"""

from types import MappingProxyType

from providers.openai_wire import Dialect, OpenAiWire
from providers.spec import ProviderSpec

DIALECT = Dialect(
    idle_fields=MappingProxyType(
        {
            "frequency_penalty": (None, 0),
            "presence_penalty": (None, 0),
            "logit_bias": (None, {}),
            "parallel_tool_calls": (None, True),
        }
    )
)


def build(spec: ProviderSpec) -> OpenAiWire:
    """A provider of this kind."""
    return OpenAiWire(spec, DIALECT)
