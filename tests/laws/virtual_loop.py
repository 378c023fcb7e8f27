"""An event loop on virtual time: it never waits; when nothing is ready its clock jumps to the next timer."""

import asyncio
import selectors
from typing import Any

NS_PER_S = 1_000_000_000


class _NoWaiting(selectors.BaseSelector):
    """A selector that looks for ready files, and lets virtual time pass instead of waiting for them."""

    def __init__(self, clock: "VirtualClock") -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits for something that will never come")
        self._clock.now_ns += round(timeout * NS_PER_S)
        return self._real.select(0)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualClock:
    """Nanoseconds of virtual time."""

    def __init__(self) -> None:
        self.now_ns = 0

    def ns(self) -> int:
        return self.now_ns

    def us(self) -> int:
        return self.now_ns // 1_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio on a :class:`VirtualClock`."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_NoWaiting(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now_ns / NS_PER_S

    async def until(self, at_ns: int) -> None:
        """Returns when virtual time has come to ``at_ns``, to the ns."""
        while (ahead_ns := at_ns - self._clock.now_ns) > 0:  # noqa: ASYNC110 (a sleep may end a ns early)
            await asyncio.sleep(ahead_ns / NS_PER_S)
