"""What may be done for a small part of the requests only: second attempts, whose number must not grow with trouble."""


class Share:
    """A bucket that each request fills a little, and each use empties by one.

    Over any stretch of time there are at most ``share`` uses per request, and ``burst`` more.

    Args:
        share: the part of the requests, 0 to 1.
        burst: the most that can be saved up.
        saved: what is there at first.

    >>> tenth = Share(0.1, burst=1.0)
    >>> for _ in range(10): tenth.fill()
    >>> tenth.take(), tenth.take()
    (True, False)
    """

    def __init__(self, share: float, burst: float, saved: float = 0.0) -> None:
        self._share = share
        self._burst = burst
        self._saved = min(saved, burst)

    @property
    def is_empty(self) -> bool:
        """Whether nothing may be done now."""
        return self._saved < _WHOLE

    def fill(self) -> None:
        """A request came."""
        self._saved = min(self._burst, self._saved + self._share)

    def take(self) -> bool:
        """Uses it once, if that may be done now."""
        if self.is_empty:
            return False
        self._saved -= 1.0
        return True


_WHOLE = 1.0 - 1e-9
"""Ten tenths are a whole, whatever floats make of them."""
