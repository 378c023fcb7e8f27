"""A second attempt beside a slow first one: whichever brings the first content serves the request."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from app.gateway.answer import is_first_content
from app.gateway.attempt_client import Attempt
from providers.base import TokenChunk
from providers.errors import ProviderError


@dataclass(frozen=True, slots=True)
class Won:
    """Who brought the first content.

    Attributes:
        seen: its chunks so far, the first content last; without any where it ended so.
        lost: the attempts that serve nobody; they are being ended.
    """

    attempt: Attempt
    seen: list[TokenChunk]
    lost: tuple[Attempt, ...]


@dataclass(slots=True)
class Race:
    """Two attempts at most, until the first content.

    Attributes:
        first: runs already; whoever made it ends it, unless it lost.
        after_s: how long it may be silent before there is a second.
        start: begins the second, or finds that none may be.
        discard: ends an attempt that serves nobody, and returns at once.
        failed: the attempts that failed.
    """

    first: Attempt
    after_s: float
    start: Callable[[], Awaitable[Attempt | None]]
    discard: Callable[[Attempt], Any]
    _running: dict[Attempt, list[TokenChunk]] = field(default_factory=dict[Attempt, list[TokenChunk]])
    _starting: "asyncio.Future[Attempt | None] | None" = None
    failed: list[Attempt] = field(default_factory=list[Attempt])

    async def run(self) -> Won:
        """Waits for the first content.

        Raises:
            ProviderError: all attempts failed.
        """
        self._running[self.first] = []
        try:
            return await self._until_content()
        except BaseException:
            self._end(self.first)
            raise

    async def _until_content(self) -> Won:
        loop = asyncio.get_running_loop()
        alarm = loop.time() + self.after_s
        is_hedged = False
        while True:
            waiting: list[asyncio.Future[Any]] = [attempt.next_chunk for attempt in self._running]
            if self._starting is not None:
                waiting.append(self._starting)
            wait_s = None if is_hedged else max(0.0, alarm - loop.time())
            done, _ = await asyncio.wait(waiting, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                is_hedged = True
                self._starting = asyncio.ensure_future(self.start())
                continue
            self._join()
            if won := self._winner():
                return won

    def _join(self) -> None:
        """Lets the second in, once it has begun."""
        if self._starting is None or not self._starting.done():
            return
        second, self._starting = self._starting.result(), None
        if second is not None:
            self._running[second] = []

    def _winner(self) -> Won | None:
        """Takes in what came; whoever brought content, or an end, has won.

        Raises:
            ProviderError: nobody is left.
        """
        failure: ProviderError | None = None
        for attempt in [each for each in self._running if each.next_chunk.done()]:
            try:
                chunk = attempt.take()
            except StopAsyncIteration:
                return self._won(attempt)
            except ProviderError as error:
                failure = error
                attempt.failed(error)
                del self._running[attempt]
                self.failed.append(attempt)
                continue
            self._running[attempt].append(chunk)
            if is_first_content(chunk):
                return self._won(attempt)
        if failure is not None and not self._running and self._starting is None:
            raise failure
        return None

    def _won(self, attempt: Attempt) -> Won:
        lost = (*self.failed, *(each for each in self._running if each is not attempt))
        self._end(attempt)
        return Won(attempt, self._running[attempt], lost)

    def _end(self, kept: Attempt) -> None:
        """Ends all but one."""
        starting, self._starting = self._starting, None
        if starting is not None and not starting.cancel() and not starting.cancelled() and not starting.exception():
            late = starting.result()
            if late is not None:
                self.discard(late)
        for attempt in (*self.failed, *self._running):
            if attempt is not kept:
                self.discard(attempt)
