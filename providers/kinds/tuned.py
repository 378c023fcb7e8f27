"""A customer's tuned model: a base that many share, and an adapter of one.

What differs: the ``model`` that is sent is the adapter's name; an answer that says it came from the base is none, so
that nobody is served the base in the adapter's place; and a probe looks whether the adapter is loaded, on the base that
it was made for. The engines are those of :mod:`providers.kinds.gpu_cluster`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from providers.base import CompletionRequest, TokenChunk
from providers.errors import ProviderModelMissing
from providers.kinds.gpu_cluster import DIALECT
from providers.openai_wire import OpenAiWire
from providers.spec import ProviderSpec


class TunedModel:
    """An adapter on its base."""

    __slots__ = ("_spec", "_wire")

    def __init__(self, spec: ProviderSpec) -> None:
        self._spec = spec
        self._wire = OpenAiWire(spec, DIALECT)

    @property
    def id(self) -> str:
        """The provider's id in the fleet."""
        return self._spec.id

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        """Runs one completion on the adapter.

        Raises:
            ProviderModelMissing: the adapter is not loaded, or the base answered in its place.
            ProviderError: of the kind that tells the caller what may be done about it.
        """
        async with aclosing(self._wire.stream(request)) as chunks:
            async for chunk in chunks:
                if self._is_bases_own(chunk):
                    adapter, base = self._spec.backend_model, self._spec.base_model
                    raise ProviderModelMissing(self.id, f"the base {base!r} answered in place of adapter {adapter!r}")
                yield chunk

    def _is_bases_own(self, chunk: TokenChunk) -> bool:
        base = self._spec.base_model
        return bool(base) and base != self._spec.backend_model and chunk.response_model == base

    async def probe(self) -> None:
        """Looks whether the adapter is loaded, on its base.

        Raises:
            ProviderError: no answer, or an adapter that is missing or sits on another base.
        """
        served = await self._wire.models()
        adapter, base = self._spec.backend_model, self._spec.base_model
        if not served:
            return
        model = served.get(adapter)
        if model is None:
            raise ProviderModelMissing(self.id, f"adapter {adapter!r} is not loaded; load it, or drain the deployment")
        on = model.parent or base
        if base and on != base:
            raise ProviderModelMissing(self.id, f"adapter {adapter!r} sits on {on!r}, not on its base {base!r}")

    async def close(self) -> None:
        """Closes its connections."""
        await self._wire.close()


def build(spec: ProviderSpec) -> TunedModel:
    """A provider of this kind."""
    return TunedModel(spec)
