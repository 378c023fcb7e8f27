"""A bounded memory of look-ups that expires; pure: the clock is an argument."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringMap(Generic[K, V]):
    """Remembers at most ``entries_max`` values for ``keep_us`` each; the longest unused goes first.

    >>> seen: ExpiringMap[str, int] = ExpiringMap(entries_max=1, keep_us=10)
    >>> seen.put("a", 1, now_us=0); seen.get("a", now_us=9), seen.get("a", now_us=10)
    (1, None)
    """

    def __init__(self, entries_max: int, keep_us: int) -> None:
        self._entries_max = entries_max
        self._keep_us = keep_us
        self._entries: OrderedDict[K, tuple[int, V]] = OrderedDict()

    def get(self, key: K, now_us: int) -> V | None:
        """The value, unless it was never put, was forgotten, or has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        until_us, value = entry
        if now_us >= until_us:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, now_us: int) -> None:
        """Remembers a value from now on, and forgets the longest unused when there is no room."""
        self._entries[key] = (now_us + self._keep_us, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Drops a value, if it is there."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drops everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
