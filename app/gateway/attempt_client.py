"""One attempt at one offer: opens its stream, and tells the fleet exactly one verdict, or that there was none."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from app.fleet.fleet_view import FleetView
from app.fleet.health import Entry
from app.gateway.answer import Placement
from app.gateway.driver import Driver
from providers.base import CompletionRequest, TokenChunk
from providers.errors import ProviderCredentialRejected, ProviderError, ProviderOverloaded
from scheduler.fleet import OfferId

SHUT_RETRY_S = 1.0


class OfferShut(ProviderOverloaded):
    """The offer's breaker shut, or is being probed by another request, since the place there was given.

    It was not asked, so that nothing new is known about it.
    """


class Attempt:
    """One request to one backend.

    Attributes:
        placement: the place that it uses.
        is_streamed: whether its backend was asked to stream.
        chunks: what the backend sends; to be read by one task at a time.
    """

    def __init__(self, placement: Placement, request: CompletionRequest, supply: FleetView) -> None:
        """Begins it; nothing is sent before the first chunk is asked for.

        Raises:
            OfferShut: the offer takes no request now.
            ProviderError: there is nobody to ask.
        """
        self.placement = placement
        self.is_streamed = request.is_stream
        self._supply = supply
        self._is_told = self._is_closed = False
        self._is_probe = enter(supply, placement.offer.id) is Entry.PROBE
        self.chunks = self._open(request)
        self._pull: asyncio.Future[TokenChunk] | None = None

    def _open(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        try:
            return self._supply.provider(self.placement.offer.id).stream(request)
        except ProviderError as failure:
            self.failed(failure)
            raise

    def failed(self, failure: ProviderError) -> None:
        """It failed; a request that is itself at fault says nothing about the offer, unless it was to probe it."""
        if self._is_told:
            return
        self._is_told = True
        is_about_offer = failure.trips_breaker or isinstance(failure, ProviderOverloaded | ProviderCredentialRejected)
        if self._is_probe or is_about_offer:
            self._supply.failed(self.placement.offer.id, failure)

    def finished(self) -> None:
        """It brought all there was; whoever books it tells the fleet."""
        self._is_told = True

    @property
    def next_chunk(self) -> "asyncio.Future[TokenChunk]":
        """The chunk that comes next, as something that can be waited for beside others; taken by :meth:`take`."""
        if self._pull is None:
            self._pull = asyncio.ensure_future(anext(self.chunks))
        return self._pull

    def take(self) -> TokenChunk:
        """The chunk that has come.

        Raises:
            ProviderError: the attempt failed instead.
            StopAsyncIteration: it is over.
        """
        pull, self._pull = self._pull, None
        if pull is None:
            raise RuntimeError("no chunk was asked for")
        return pull.result()

    async def close(self) -> None:
        """Ends it, once; what still runs at the backend is cancelled."""
        if self._is_closed:
            return
        self._is_closed = True
        pull, self._pull = self._pull, None
        if pull is not None:
            pull.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, ProviderError):
                await pull
        try:
            await self.chunks.aclose()
        finally:
            if not self._is_told:
                self._is_told = True
                if self._is_probe:
                    self._supply.left(self.placement.offer.id)

    async def discard(self, driver: Driver) -> None:
        """Ends it and gives its place back: another attempt serves the request."""
        try:
            await self.close()
        finally:
            driver.release(self.placement)


def enter(supply: FleetView, offer_id: OfferId) -> Entry:
    """Goes to an offer.

    Raises:
        OfferShut: it takes no request now.
    """
    entry = supply.enter(offer_id)
    if entry is Entry.SHUT:
        words = "it failed others a moment ago and takes no request now"
        raise OfferShut(offer_id.partition("/")[0], words, retry_after_s=SHUT_RETRY_S)
    return entry
