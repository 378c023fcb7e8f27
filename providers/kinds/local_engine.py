"""The local llama.cpp engine that :mod:`providers.local_engine` runs.

What differs: it goes on working for a reader that has gone unless it streams, so it is always asked to stream.
"""

from providers.openai_wire import Dialect, OpenAiWire
from providers.spec import ProviderSpec

DIALECT = Dialect(is_always_streamed=True, idle_max=8)


def build(spec: ProviderSpec) -> OpenAiWire:
    """A provider of this kind."""
    return OpenAiWire(spec, DIALECT)
