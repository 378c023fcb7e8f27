"""One load held against a backend for a while: so many users, each with one request after another."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from pricing.usage import Usage
from providers.base import CompletionRequest, Provider
from providers.errors import ProviderCredentialRejected, ProviderError, ProviderOverloaded, ProviderRejectedRequest

PAUSE_S = 0.1
"""How long a user waits after a failure, at least."""
PAUSE_S_MAX = 2.0
FAILURES_IN_A_ROW_MAX = 3
"""After these a user gives up."""
FAILURES_SHARE_MAX = 0.25
"""Of all requests under a load; with more failures it is another load than it says."""
STEADY_SHARE = 0.5
"""Of a request's running time, the part that must lie under full load for its speed to count."""

Clock = Callable[[], float]
Ask = Callable[[], CompletionRequest]


@dataclass(slots=True)
class Sample:
    """One request as its user saw it; times in seconds on the measuring clock.

    Attributes:
        pieces: when content came, and how many bytes of it.
        events: events with content, a count of tokens where the backend gives none.
        user: whose it was.
    """

    began_s: float
    user: int = 0
    pieces: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    events: int = 0
    usage: Usage | None = None
    is_finished: bool = False

    @property
    def output(self) -> int:
        """Output tokens: the backend's count, else one per event."""
        return self.usage.output if self.usage is not None else self.events

    @property
    def first_s(self) -> float:
        """When the first content came."""
        return self.pieces[0][0]

    @property
    def last_s(self) -> float:
        """When the last content came."""
        return self.pieces[-1][0]

    @property
    def ttft_s(self) -> float:
        """Seconds to the first token."""
        return self.first_s - self.began_s

    @property
    def tpot_s(self) -> float:
        """Seconds per output token after the first."""
        return (self.last_s - self.first_s) / (self.output - 1)

    def tokens_between(self, start_s: float, end_s: float) -> float:
        """Tokens that came within a span, spread over the pieces by their bytes."""
        size = sum(piece for _, piece in self.pieces)
        within = sum(piece for at, piece in self.pieces if start_s < at <= end_s)
        return self.output * within / size


@dataclass(slots=True)
class Load:
    """What came of holding one load.

    Attributes:
        full_s: when the last of the users had begun; None if that never happened.
        end_s: when the first of the users stopped, or the time was up.
        users_lost: users that failed again and again and gave up.
        errors: failures by the name of their kind.
        first_failure: the first of them.
    """

    concurrency: int
    samples: list[Sample] = field(default_factory=list[Sample])
    errors: Counter[str] = field(default_factory=Counter[str])
    first_failure: ProviderError | None = None
    began: int = 0
    users_begun: int = 0
    users_lost: int = 0
    full_s: float | None = None
    end_s: float | None = None

    @property
    def finished(self) -> list[Sample]:
        """Requests that came to their end with content."""
        return [sample for sample in self.samples if sample.is_finished and sample.pieces]

    @property
    def unfinished(self) -> int:
        """Requests that were given up when the time was over."""
        return self.began - len([sample for sample in self.samples if sample.is_finished]) - sum(self.errors.values())

    @property
    def shortfall(self) -> str:
        """Why this load was not really held, in words; empty when it was."""
        failed, finished = sum(self.errors.values()), len(self.finished)
        served = len({sample.user for sample in self.samples if sample.pieces})
        if self.first_failure is not None and (self.users_lost or failed > FAILURES_SHARE_MAX * (failed + finished)):
            return f"{failed} of {self.began} requests failed, first with: {self.first_failure.detail}"
        if not finished:
            return "not one request finished in time"
        if served < self.concurrency:
            return f"{self.concurrency - served} of {self.concurrency} users got no token in time"
        return ""

    def note_user(self, at_s: float) -> None:
        """A user has begun with a first request."""
        self.users_begun += 1
        if self.users_begun == self.concurrency:
            self.full_s = at_s

    def note_failure(self, failure: ProviderError) -> None:
        """A request has failed."""
        self.errors[type(failure).__name__] += 1
        self.first_failure = self.first_failure or failure

    def steady(self) -> list[Sample]:
        """Finished requests that ran mostly under full load; all of them where there are too few of those."""
        full_s, end_s = self.full_s, self.end_s
        if full_s is None or end_s is None:
            return self.finished
        kept = [
            sample
            for sample in self.finished
            if sample.began_s >= full_s and end_s - sample.began_s >= STEADY_SHARE * (sample.last_s - sample.began_s)
        ]
        return kept if len(kept) >= self.concurrency else self.finished

    def started(self) -> list[Sample]:
        """Requests that got a first token, finished or not, and began under full load; else those of ``steady``."""
        full_s = self.full_s
        kept = [sample for sample in self.samples if sample.pieces and full_s is not None and sample.began_s >= full_s]
        return kept if len(kept) >= self.concurrency else self.steady()

    def window_tok_s(self) -> float | None:
        """Output tokens per second while all users were at work; None when that was shorter than one answer."""
        full_s, end_s = self.full_s, self.end_s
        finished = self.finished
        if full_s is None or end_s is None or not finished:
            return None
        longest_s = max(sample.last_s - sample.began_s for sample in finished)
        if end_s - full_s < longest_s:
            return None
        per_byte = _tokens_per_byte(finished)
        return sum(_tokens(sample, full_s, end_s, per_byte) for sample in self.samples) / (end_s - full_s)


def _tokens_per_byte(finished: list[Sample]) -> float:
    size = sum(piece for sample in finished for _, piece in sample.pieces)
    return sum(sample.output for sample in finished) / size


def _tokens(sample: Sample, start_s: float, end_s: float, per_byte: float) -> float:
    if not sample.pieces:
        return 0.0
    if sample.is_finished:
        return sample.tokens_between(start_s, end_s)
    return per_byte * sum(piece for at, piece in sample.pieces if start_s < at <= end_s)


async def one_request(provider: Provider, request: CompletionRequest, clock: Clock, sample: Sample) -> None:
    """Runs one request and notes when its content came.

    Raises:
        ProviderError: it failed.
    """
    async with aclosing(provider.stream(request)) as chunks:
        async for chunk in chunks:
            if chunk.content_bytes:
                sample.pieces.append((clock(), chunk.content_bytes))
                sample.events += chunk.content_events
            sample.usage = chunk.usage or sample.usage
    sample.is_finished = True


class Users:
    """The users of one load."""

    def __init__(self, provider: Provider, ask: Ask, clock: Clock, on_finished: Callable[[Load], None]) -> None:
        self._provider = provider
        self._ask = ask
        self._clock = clock
        self._on_finished = on_finished

    async def hold(self, concurrency: int, seconds: float, requests_max: int, stagger_s: float) -> Load:
        """Keeps ``concurrency`` requests in flight until the time is up or enough requests have begun.

        Args:
            concurrency: users.
            seconds: after this what is in flight is given up.
            requests_max: no more begin.
            stagger_s: users begin one after another within this time, so that they do not march in step.

        Raises:
            ProviderRejectedRequest, ProviderCredentialRejected: no request would fare better.
        """
        load = Load(concurrency)
        users = [
            asyncio.create_task(self._user(load, user, user * stagger_s / concurrency, requests_max))
            for user in range(concurrency)
        ]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*users)
        except TimeoutError:
            load.end_s = load.end_s or self._clock()
        finally:
            for user in users:
                user.cancel()
            await asyncio.gather(*users, return_exceptions=True)
        return load

    async def _user(self, load: Load, user: int, wait_s: float, requests_max: int) -> None:
        await asyncio.sleep(wait_s)
        is_first, failures = True, 0
        while load.began < requests_max and failures < FAILURES_IN_A_ROW_MAX:
            load.began += 1
            sample = Sample(self._clock(), user)
            load.samples.append(sample)
            if is_first:
                is_first = False
                load.note_user(sample.began_s)
            try:
                await one_request(self._provider, self._ask(), self._clock, sample)
                failures = 0
            except (ProviderRejectedRequest, ProviderCredentialRejected):
                raise
            except ProviderError as failure:
                failures += 1
                load.note_failure(failure)
                await asyncio.sleep(_pause_s(failure))
            self._on_finished(load)
        load.users_lost += failures == FAILURES_IN_A_ROW_MAX
        load.end_s = load.end_s or self._clock()


def _pause_s(failure: ProviderError) -> float:
    asked = failure.retry_after_s if isinstance(failure, ProviderOverloaded) else None
    return min(max(PAUSE_S, asked or 0.0), PAUSE_S_MAX)
