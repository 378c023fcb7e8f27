"""One value for everybody who asks, read again at most every so often; looking costs the market a bounded share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from app import clock

T = TypeVar("T")
SHARE_MAX = 10
"""A read that took t is not repeated within 10 t, so that looking takes at most a tenth of the time."""


class Fresh(Generic[T]):
    """Remembers the last value, and reads the next one once for all who wait.

    Args:
        read: reads the value.
        every_us: the least time between two reads.
        monotonic_us: the clock.
    """

    def __init__(
        self, read: Callable[[], Awaitable[T]], every_us: int, monotonic_us: Callable[[], int] = clock.monotonic_us
    ) -> None:
        self._read = read
        self._every_us = every_us
        self._monotonic_us = monotonic_us
        self._reading = asyncio.Lock()
        self._value: T | None = None
        self._until_us = -1

    async def get(self) -> T:
        """The value, at most as old as the least time between two reads."""
        if self._value is not None and self._monotonic_us() < self._until_us:
            return self._value
        async with self._reading:
            began_us = self._monotonic_us()
            if self._value is not None and began_us < self._until_us:
                return self._value
            value = await self._read()
            took_us = self._monotonic_us() - began_us
            self._value, self._until_us = value, began_us + max(self._every_us, SHARE_MAX * took_us)
            return value

    def forget(self) -> None:
        """Has the next one who asks read again."""
        self._until_us = -1
