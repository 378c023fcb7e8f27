"""Puts a streamed answer together for a customer who wants one body; pure."""

import msgspec

from providers.base import TokenChunk
from providers.errors import ProviderProtocolError
from providers.openai_call import BODY_BYTES_MAX
from providers.openai_chunks import WireFormatError
from providers.openai_whole import Assembly, whole_chunk


class Whole:
    """The growing body of one answer.

    Args:
        provider_id: who makes it.
    """

    __slots__ = ("_assembly", "_events", "_provider_id")

    def __init__(self, provider_id: str) -> None:
        self._provider_id = provider_id
        self._assembly = Assembly(BODY_BYTES_MAX)
        self._events = 0

    @property
    def has_content(self) -> bool:
        """Whether anything was said yet."""
        return self._events > 0

    def add(self, chunk: TokenChunk) -> None:
        """Adds what one read brought.

        Raises:
            ProviderProtocolError: the answer outgrows its bound.
        """
        self._events += chunk.content_events
        try:
            self._assembly.add(chunk)
        except WireFormatError as error:
            raise ProviderProtocolError(self._provider_id, str(error)) from error

    def chunk(self) -> TokenChunk:
        """The whole answer as one read.

        Raises:
            ProviderError: it is none.
        """
        found = whole_chunk(self._provider_id, self._assembly.body())
        return msgspec.structs.replace(found, content_events=max(found.content_events, self._events))
