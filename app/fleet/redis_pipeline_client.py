"""One connection to Redis that many tasks share: all commands of one loop turn leave in one write.

A general client costs 130–220 µs of CPU per call, more than the rest of an admission; this one about 5 under load. It
does one thing: send commands, match replies to them in order, and say clearly when the server is lost. There is no
retry inside: a command whose connection broke may or may not have run, and only its caller knows what that means.

A caller that is cancelled only stops listening: its reply is still read and dropped, so replies never shift.
"""

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from app.fleet.redis_target_client import RedisTarget

Argument = str | bytes | int


class RedisUnavailable(Exception):
    """No answer from Redis: not connected, lost while waiting, too slow, or too much is waiting already."""


class RedisRefused(Exception):
    """Redis answered with an error."""


Call = Callable[..., "asyncio.Future[Any]"]
"""Sends one command on one connection."""
Preparation = Callable[[Call], Awaitable[None]]
"""What must be done on a new connection before anybody else may use it."""
LOOKS_MAX = 4
"""Looks at the oldest command without any new reply, after which the connection is given up."""


@dataclass(frozen=True, slots=True)
class RedisPatience:
    """How long to wait for what, in seconds, and how much may wait at once.

    Attributes:
        connect_s: to connect, be let in and prepare.
        reply_s: for the oldest unanswered command; then the connection is given up (after at most half more).
        backoff_s_min, backoff_s_max: between attempts to connect; doubles, with up to half of it random.
        in_flight_max: unanswered commands; one more is refused.
    """

    connect_s: float = 2.0
    reply_s: float = 0.5
    backoff_s_min: float = 0.05
    backoff_s_max: float = 2.0
    in_flight_max: int = 8192


class RedisPipelineClient:
    """A self-mending, auto-pipelining connection.

    Args:
        target: where, and how to be let in.
        patience: limits.
        seed: of the back-off's jitter.
    """

    def __init__(self, target: RedisTarget, patience: RedisPatience | None = None, seed: int = 0) -> None:
        self._target = target
        self._patience = patience or RedisPatience()
        self._preparations: list[Preparation] = []
        self._random = random.Random(seed)  # noqa: S311 (jitter, no secret)
        self._wire: _Wire | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._trouble = "not connected yet"
        self._is_closed = False

    @property
    def is_connected(self) -> bool:
        """True when commands can be sent."""
        return self._wire is not None and not self._wire.lost.is_set()

    def before_use(self, preparation: Preparation) -> None:
        """Runs ``preparation`` on every connection made from now on, in order of registration."""
        self._preparations.append(preparation)

    async def connect(self) -> None:
        """Connects, and keeps reconnecting in the background from then on.

        Raises:
            RedisUnavailable: the first attempt failed; nothing stays in the background.
        """
        wire = await self._attempt()
        self._keeper = asyncio.create_task(self._keep(wire), name="redis-keeper")

    def connect_in_background(self) -> None:
        """Starts connecting without waiting for it; commands are refused until it succeeded."""
        self._keeper = asyncio.create_task(self._keep(None), name="redis-keeper")

    def call(self, *arguments: Argument) -> "asyncio.Future[Any]":
        """Sends one command at the end of this loop turn.

        Returns:
            Its reply: ``bytes``, ``int``, None, or a list of those.

        Raises:
            RedisUnavailable: at once, when there is no connection or too much is waiting; else from the future.
            RedisRefused: from the future, when Redis answers with an error.
        """
        wire = self._wire
        if wire is None or wire.lost.is_set():
            raise RedisUnavailable(f"Redis at {self._target.name} is lost: {self._trouble}")
        return wire.call(*arguments)

    async def close(self) -> None:
        """Ends the connection; waiting callers get :class:`RedisUnavailable`."""
        self._is_closed = True
        self._trouble = "this client was closed"
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        self._drop(self._trouble)

    async def _keep(self, wire: "_Wire | None") -> None:
        pause_s = self._patience.backoff_s_min
        while not self._is_closed:
            if wire is not None:
                pause_s = self._patience.backoff_s_min
                await wire.lost.wait()
                self._trouble = wire.trouble
                self._drop(wire.trouble)
            try:
                wire = await self._attempt()
            except RedisUnavailable as error:
                wire = None
                self._trouble = str(error)
                await asyncio.sleep(pause_s * (1 - self._random.random() / 2))
                pause_s = min(2 * pause_s, self._patience.backoff_s_max)

    async def _attempt(self) -> "_Wire":
        wire = _Wire(self._target, self._patience)
        try:
            async with asyncio.timeout(self._patience.connect_s):
                await _open(self._target, wire)
                await self._greet(wire)
        except (OSError, UnicodeError, RedisRefused, RedisUnavailable) as error:  # TimeoutError is an OSError
            reason = str(error) or f"no answer within {self._patience.connect_s} s"
            wire.give_up(reason)
            raise RedisUnavailable(f"cannot use Redis at {self._target.name}: {reason}") from error
        except BaseException:
            wire.give_up("connecting was cancelled")
            raise
        self._wire = wire
        return wire

    async def _greet(self, wire: "_Wire") -> None:
        target = self._target
        if target.password:
            await wire.call(*("AUTH", *([target.username] if target.username else []), target.password))
        if target.db:
            await wire.call("SELECT", target.db)
        await wire.call("PING")
        for preparation in self._preparations:
            await preparation(wire.call)

    def _drop(self, trouble: str) -> None:
        if self._wire is not None:
            self._wire.give_up(trouble)
            self._wire = None


async def _open(target: RedisTarget, wire: "_Wire") -> None:
    loop = asyncio.get_running_loop()
    if target.socket_path:
        await loop.create_unix_connection(lambda: wire, target.socket_path)
    else:
        await loop.create_connection(lambda: wire, target.host, target.port, ssl=_tls(target))


def _tls(target: RedisTarget) -> ssl.SSLContext | None:
    if not target.is_tls:
        return None
    context = ssl.create_default_context(cafile=target.certificates_path or None)
    if not target.is_certificate_checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Wire(asyncio.Protocol):
    """One connection: commands out, replies in, in the same order. Once lost it stays lost."""

    def __init__(self, target: RedisTarget, patience: RedisPatience) -> None:
        self.lost = asyncio.Event()
        self.trouble = ""
        self._target = target
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(protocolError=RedisUnavailable, replyError=RedisRefused)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._out: list[bytes] = []
        self._look: asyncio.TimerHandle | None = None
        self._answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.give_up(f"the connection broke: {exc}" if exc else "the server closed the connection")

    def call(self, *arguments: Argument) -> "asyncio.Future[Any]":
        """Queues one command; the first of a loop turn schedules the write."""
        if self.lost.is_set():
            raise RedisUnavailable(f"Redis at {self._target.name} is lost: {self.trouble}")
        if len(self._waiting) >= self._patience.in_flight_max:
            raise RedisUnavailable(
                f"Redis at {self._target.name} has {len(self._waiting)} unanswered commands, "
                f"the most allowed is {self._patience.in_flight_max}"
            )
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(arguments))  # pyright: ignore[reportArgumentType] (its stub says tuple of one)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(future)
        if self._look is None:
            self._watch(self._answered)
        return future

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if not waiting:
                    self.give_up("it sent a reply that nobody asked for")
                    return
                self._answered += 1
                _tell(waiting.popleft(), reply)
        except RedisUnavailable as error:
            self.give_up(f"it does not speak the Redis protocol: {error}")

    def give_up(self, trouble: str) -> None:
        """Fails everybody who waits, and closes."""
        if self.lost.is_set():
            return
        self.trouble = trouble
        self.lost.set()
        self._out.clear()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(RedisUnavailable(f"Redis at {self._target.name} was lost: {trouble}"))

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _watch(self, answered: int, looks: int = 0) -> None:
        """Looks at the oldest command every quarter of ``reply_s``; some looks without any answer are enough.

        Looks, not a clock: a loop that stood still for seconds must first get to read what came meanwhile.
        """
        self._look = self._loop.call_later(self._patience.reply_s / LOOKS_MAX, self._check, answered, looks)

    def _check(self, answered: int, looks: int) -> None:
        self._look = None
        if not self._waiting:
            return
        if self._answered != answered:
            self._watch(self._answered)
        elif looks >= LOOKS_MAX:
            self.give_up(f"no reply within {self._patience.reply_s} s")
        else:
            self._watch(answered, looks + 1)


def _tell(future: "asyncio.Future[Any]", reply: Any) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(reply, RedisRefused):
        future.set_exception(reply)
    else:
        future.set_result(reply)
