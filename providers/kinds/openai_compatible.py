"""Any other service that speaks the OpenAI wire, known by nothing but its address.

What differs: nothing is asked of it beyond the wire itself, and its list of models, if it keeps one, may be partial.
"""

from providers.openai_wire import Dialect, OpenAiWire
from providers.spec import ProviderSpec

DIALECT = Dialect(lists_models=False)


def build(spec: ProviderSpec) -> OpenAiWire:
    """A provider of this kind."""
    return OpenAiWire(spec, DIALECT)
