"""The engine's clock behind a real one: it starts at zero and can run slower."""

from typing import Final

NS_PER_S: Final = 1_000_000_000


class Pace:
    """Maps seconds of an event loop onto an engine's nanoseconds; a slow-down keeps what has passed."""

    def __init__(self, now_s: float, slowdown: float = 1.0) -> None:
        self._zero_s = now_s
        self._passed_ns = 0
        self._slowdown = slowdown

    @property
    def slowdown(self) -> float:
        """How many times slower than the profile the engine runs."""
        return self._slowdown

    def engine_ns(self, now_s: float) -> int:
        """The engine's time at ``now_s``.

        >>> Pace(100.0, slowdown=2.0).engine_ns(101.0)
        500000000
        """
        return self._passed_ns + int((now_s - self._zero_s) * NS_PER_S / self._slowdown)

    def loop_s(self, engine_ns: int) -> float:
        """When the engine's time will be ``engine_ns``."""
        return self._zero_s + (engine_ns - self._passed_ns) * self._slowdown / NS_PER_S

    def slow_down(self, slowdown: float, now_s: float) -> None:
        """From ``now_s`` on, runs ``slowdown`` times slower than the profile."""
        self._passed_ns, self._zero_s, self._slowdown = self.engine_ns(now_s), now_s, slowdown
