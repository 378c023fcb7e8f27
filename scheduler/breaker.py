"""Keeps new work off an offer that fails, and lets it back carefully; one state machine per offer, pure.

* A request that is itself at fault says nothing about the offer's health.
* ``UNHEALTHY`` failures (no connection, 5xx, a stall, garbage) open it: more than half of the recent samples, once
  there are enough, or several in a row. It stays open 5 s, twice as long each time it fails again, up to 120 s, with
  jitter.
* Then exactly one request probes it; success closes it, and its concurrency returns gradually (slow start).
* A rejected credential disables it until an operator mends it.
* An overloaded offer is left alone until ``max(old, now + retry after)``; that is no failure.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import assert_never

from pricing.slo import US_PER_S
from scheduler.fleet import OfferId


class BreakerState(StrEnum):
    """What an offer may be given."""

    CLOSED = "closed"
    """Work flows."""
    OPEN = "open"
    """Nothing flows until a time passes."""
    HALF_OPEN = "half_open"
    """One request probes it."""
    DISABLED = "disabled"
    """Nothing flows until an operator mends the credential."""


class FailureKind(StrEnum):
    """What a failed attempt says."""

    UNHEALTHY = "unhealthy"
    """The backend is not well."""
    OVERLOADED = "overloaded"
    """The backend has no room now (429, or 503 with Retry-After)."""
    CREDENTIAL = "credential"
    """Our credential is not accepted."""
    REQUEST = "request"
    """The request itself is at fault (400, 404, 413, 422), or the customer left: nothing about the backend."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and how it closes again.

    Attributes:
        samples_min: outcomes in the window below which the failed share says nothing.
        failed_share: it opens above this share of failures.
        failures_in_a_row: it opens at so many failures without a success between.
        window_us: how long an outcome counts.
        samples_max: how many outcomes are remembered.
        open_us_first: how long it stays open the first time.
        open_us_max: the longest it stays open, jitter included.
        jitter_share: an open time is drawn from [t, t·(1 + jitter_share)].
        probe_us_max: a probe without an answer for so long is given up.
        slow_start_us: time in which the whole concurrency returns.
        slow_start_share: the part of it that returns at once.
        backoff_us: how long an overloaded offer that names no time is left alone.
        backoff_us_max: the longest it is left alone, whatever it names.
    """

    samples_min: int = 20
    failed_share: float = 0.5
    failures_in_a_row: int = 5
    window_us: int = 30 * US_PER_S
    samples_max: int = 200
    open_us_first: int = 5 * US_PER_S
    open_us_max: int = 120 * US_PER_S
    jitter_share: float = 0.25
    probe_us_max: int = 60 * US_PER_S
    slow_start_us: int = 10 * US_PER_S
    slow_start_share: float = 0.1
    backoff_us: int = US_PER_S
    backoff_us_max: int = 600 * US_PER_S


DEFAULT_BREAKER_POLICY = BreakerPolicy()
PANIC_SHARE = 0.5
PANIC_OFFERS_MIN = 3
"""With fewer offers than this there is nobody to relieve: each stays shut on its own account."""


class Breaker:
    """The breaker of one offer."""

    def __init__(self, policy: BreakerPolicy = DEFAULT_BREAKER_POLICY, seed: int = 0) -> None:
        self._policy = policy
        self._rng = Random(seed)  # noqa: S311 (jitter, not a secret)
        self._state = BreakerState.CLOSED
        self._outcomes: deque[tuple[int, bool]] = deque(maxlen=policy.samples_max)
        self._failures_in_a_row = 0
        self._openings = 0
        self._open_until_us = 0
        self._probe_until_us: int | None = None
        self._closed_at_us: int | None = None
        self._backoff_until_us = 0

    def state(self, now_us: int) -> BreakerState:
        """The state in force at ``now_us``."""
        if self._state is BreakerState.OPEN and now_us >= self._open_until_us:
            return BreakerState.HALF_OPEN
        return self._state

    def allows(self, now_us: int, *, is_panic: bool = False) -> bool:
        """Whether a request may go there now; asking changes nothing.

        Args:
            now_us: on the driver's clock.
            is_panic: so many offers are open that an open one is better than none; see :func:`shut`.
        """
        if self._state is BreakerState.DISABLED or now_us < self._backoff_until_us:
            return False
        match self.state(now_us):
            case BreakerState.OPEN:
                return is_panic
            case BreakerState.HALF_OPEN:
                return is_panic or self._probe_until_us is None or now_us >= self._probe_until_us
            case _:
                return True

    def enter(self, now_us: int, *, is_panic: bool = False) -> bool:
        """Sends one request there, if it may go; of those that meet a half-open breaker, exactly one may.

        Whoever was let in owes one ``on_success`` or ``on_failure``.
        """
        if not self.allows(now_us, is_panic=is_panic):
            return False
        if self.state(now_us) is BreakerState.HALF_OPEN:
            self._state = BreakerState.HALF_OPEN
            self._probe_until_us = now_us + self._policy.probe_us_max
        return True

    def share(self, now_us: int) -> float:
        """The part of the offer's concurrency that it may use now: 1 but for slow start."""
        state = self.state(now_us)
        if state is not BreakerState.CLOSED:
            return self._policy.slow_start_share
        if self._closed_at_us is None:
            return 1.0
        elapsed = min(1.0, max(0, now_us - self._closed_at_us) / max(1, self._policy.slow_start_us))
        return self._policy.slow_start_share + (1.0 - self._policy.slow_start_share) * elapsed

    def on_success(self, now_us: int) -> None:
        """An answer came as it should."""
        match self.state(now_us):
            case BreakerState.HALF_OPEN:
                self._close(now_us)
            case BreakerState.CLOSED:
                self._failures_in_a_row = 0
                self._outcomes.append((now_us, True))
                if self.share(now_us) >= 1.0:
                    self._closed_at_us = None
                    self._openings = 0
            case _:
                pass  # it left before the breaker opened: says nothing about now

    def is_probed(self, now_us: int) -> bool:
        """Whether a probe is on its way."""
        return self._probe_until_us is not None and now_us < self._probe_until_us

    def on_left(self) -> None:
        """The probe ended without a verdict, because its customer left or another attempt was quicker."""
        self._probe_until_us = None

    def on_failure(self, kind: FailureKind, now_us: int, retry_after_us: int | None = None) -> None:
        """An attempt failed.

        Args:
            kind: what the failure says.
            now_us: on the driver's clock.
            retry_after_us: of an overloaded backend, when it asked to be left alone for so long.
        """
        match kind:
            case FailureKind.REQUEST:
                self._probe_until_us = None  # no verdict: the next request may probe
            case FailureKind.CREDENTIAL:
                self._state = BreakerState.DISABLED
            case FailureKind.OVERLOADED:
                self._probe_until_us = None
                self._back_off(now_us, retry_after_us)
            case FailureKind.UNHEALTHY:
                self._count_failure(now_us)
            case _:
                assert_never(kind)

    def mend(self, now_us: int) -> None:
        """An operator replaced the credential: the offer returns by slow start."""
        if self._state is BreakerState.DISABLED:
            self._close(now_us)

    def opens_at_us(self, now_us: int) -> int | None:
        """When an offer that is shut now may be tried again; None when only an operator can tell."""
        if self._state is BreakerState.DISABLED:
            return None
        until_us = self._open_until_us if self._state is BreakerState.OPEN else now_us
        return max(now_us, until_us, self._backoff_until_us)

    def _back_off(self, now_us: int, retry_after_us: int | None) -> None:
        wanted_us = self._policy.backoff_us if retry_after_us is None else retry_after_us
        pause_us = min(max(0, wanted_us), self._policy.backoff_us_max)
        self._backoff_until_us = max(self._backoff_until_us, now_us + pause_us)

    def _count_failure(self, now_us: int) -> None:
        match self.state(now_us):
            case BreakerState.HALF_OPEN:
                self._open(now_us)
            case BreakerState.CLOSED:
                self._failures_in_a_row += 1
                self._outcomes.append((now_us, False))
                if self._is_failing(now_us):
                    self._open(now_us)
            case _:
                pass

    def _is_failing(self, now_us: int) -> bool:
        if self._failures_in_a_row >= self._policy.failures_in_a_row:
            return True
        while self._outcomes and self._outcomes[0][0] <= now_us - self._policy.window_us:
            self._outcomes.popleft()
        failed = sum(not succeeded for _, succeeded in self._outcomes)
        samples = len(self._outcomes)
        return samples >= self._policy.samples_min and failed > self._policy.failed_share * samples

    def _open(self, now_us: int) -> None:
        policy = self._policy
        longest_us = policy.open_us_max / (1.0 + policy.jitter_share)
        open_us = min(policy.open_us_first * 2.0 ** min(self._openings, 62), longest_us)
        self._state = BreakerState.OPEN
        self._open_until_us = now_us + round(open_us * (1.0 + policy.jitter_share * self._rng.random()))
        self._openings += 1
        self._forget()

    def _close(self, now_us: int) -> None:
        self._state = BreakerState.CLOSED
        self._closed_at_us = now_us
        self._forget()

    def _forget(self) -> None:
        self._probe_until_us = None
        self._failures_in_a_row = 0
        self._outcomes.clear()


def is_panicking(breakers: Mapping[OfferId, Breaker], now_us: int) -> bool:
    """Whether so many offers of a model are open that shutting them makes things worse.

    Then load goes to all but the disabled ones: a breaker protects one backend by burdening the rest, and there is no
    rest.
    """
    if len(breakers) < PANIC_OFFERS_MIN:
        return False
    opened = sum(breaker.state(now_us) is not BreakerState.CLOSED for breaker in breakers.values())
    return opened > PANIC_SHARE * len(breakers)


def shut(breakers: Mapping[OfferId, Breaker], now_us: int) -> frozenset[OfferId]:
    """The offers of one model that their breakers keep new work off, for :attr:`Fleet.closed`.

    Args:
        breakers: of all offers of one model.
        now_us: on the driver's clock.
    """
    panic = is_panicking(breakers, now_us)
    return frozenset(offer_id for offer_id, breaker in breakers.items() if not breaker.allows(now_us, is_panic=panic))
