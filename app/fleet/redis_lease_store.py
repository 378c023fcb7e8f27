"""Leases kept in Redis, shared by all gateways: each operation is one atomic script on the server's own clock.

All keys carry one hash tag. An admission looks at several offers and one customer at once, and only keys of one slot
can be changed by one script; so a market's leases live on one node of a cluster, which is also what bounds them: one
core of Redis.
"""

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

from app.fleet.allowances import US_PER_S
from app.fleet.lease_table import CONCURRENCY_RETRY_S, Lease
from app.fleet.leases import Allowance, Denied, Leased, LeaseRequest, Limited, Quotas
from app.fleet.quotas import distinct, members_of
from app.fleet.redis_pipeline_client import Argument, Call, RedisPipelineClient, RedisRefused, RedisUnavailable
from app.identity.caller import Limits
from scheduler.fleet import Load, OfferId

CHUNK_MAX = 128
"""Leases or offers in one script call, so that a big batch does not hold up admissions."""
_LIMIT_OF_STATUS = {-1: "requests", -2: "tokens", -3: "concurrency"}
_KEYS_CACHED_MAX = 4096

T = TypeVar("T")


class RedisLeaseStore:
    """A :class:`app.fleet.leases.LeaseStore` that every gateway shares.

    Every method raises :class:`RedisUnavailable` or :class:`RedisRefused` when Redis cannot answer.

    Args:
        client: connected by its owner; closed with the store.
        namespace: tells markets on one server apart.
        virtual_now_us: a test's clock in place of the server's.
    """

    def __init__(
        self, client: RedisPipelineClient, namespace: str = "goodput", virtual_now_us: Callable[[], int] | None = None
    ) -> None:
        self._client = client
        self._prefix = f"{{{namespace}:lease}}:"
        self._virtual_now_us = virtual_now_us
        self._script = (resources.files("app.fleet") / "leases.lua").read_bytes()
        self._sha = hashlib.sha1(self._script, usedforsecurity=False).hexdigest()  # how Redis names a script
        self._keys: dict[OfferId, str] = {}
        self._quotas: Quotas = {}
        self._members: dict[str, tuple[OfferId, ...]] = {}
        client.before_use(self._load_script)

    async def admit(self, request: LeaseRequest) -> Leased | Denied | Limited:
        """Leases the first candidate with room.

        A caller cancelled meanwhile holds nothing: what it may have leased is released behind it.
        """
        try:
            reply = await self._run(
                self._client.call, "admit", self._admit_keys(request), self._admit_arguments(request)
            )
        except asyncio.CancelledError:
            self._release_behind(request)
            raise
        return _answer(request, reply)

    async def started(self, lease_id: str, offer_id: OfferId) -> None:
        """The first token came."""
        await self._run(self._client.call, "started", [self._key(offer_id)], [lease_id])

    async def release(self, lease_id: str, offer_id: OfferId, call: Call | None = None) -> bool:
        """Ends a lease; True exactly once."""
        return bool(await self._run(call or self._client.call, "release", [self._key(offer_id)], [lease_id]))

    async def beat(self, leases: Sequence[tuple[str, OfferId]], ttl_s: float) -> None:
        """Extends live leases."""
        for chunk in _chunks(leases):
            by_offer: dict[OfferId, list[Argument]] = {}
            for lease_id, offer_id in chunk:
                by_offer.setdefault(offer_id, []).append(lease_id)
            keys = [self._key(offer_id) for offer_id in by_offer]
            arguments: list[Argument] = [round(ttl_s * US_PER_S)]
            for lease_ids in by_offer.values():
                arguments += [len(lease_ids), *lease_ids]
            await self._run(self._client.call, "beat", keys, arguments)

    async def restore(self, leases: Sequence[Lease], now_us: int, call: Call | None = None) -> None:
        """Writes leases that run for a fact, whatever the limits say; live ones are extended, or marked as started.

        Args:
            leases: with expiries on the caller's clock.
            now_us: on the same clock; what is past its expiry is left out.
            call: a connection that is being prepared; None for the one in use.
        """
        for chunk in _chunks([lease for lease in leases if lease.expires_at_us > now_us]):
            keys = [self._key(lease.offer_id) for lease in chunk]
            arguments: list[Argument] = []
            for lease in chunk:
                ttl_us = lease.expires_at_us - now_us
                arguments += [lease.lease_id, lease.customer_id, ttl_us, lease.in_flight_max, lease.prefill_tokens]
            await self._run(call or self._client.call, "restore", keys, arguments)

    async def loads(self, offer_ids: Sequence[OfferId]) -> Mapping[OfferId, Load]:
        """Fresh loads."""
        loads: dict[OfferId, Load] = {}
        for chunk in _chunks(offer_ids):
            keys = [self._key(offer_id) for offer_id in chunk]
            quotas = self._quota_arguments(chunk)
            loads |= _loads(chunk, await self._run(self._client.call, "loads", keys, quotas))
        return loads

    def limit(self, quotas: Quotas) -> None:
        """From now on these are the offers' quotas; Redis keeps what was used of them, for all gateways."""
        self._quotas = quotas
        self._members = members_of(quotas)

    async def attend(self, gateway_id: str, ttl_s: float) -> int:
        """Says that a gateway lives, for ``ttl_s``; answers how many do."""
        return await self._run(self._client.call, "attend", [], [gateway_id, round(ttl_s * US_PER_S)])

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.close()

    async def _run(self, call: Call, operation: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        command = self._command(operation, keys, arguments)
        try:
            return await call(*command)
        except RedisRefused as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        await self._load_script(call)
        return await call(*command)

    def _command(self, operation: str, keys: Sequence[str], arguments: Sequence[Argument]) -> tuple[Argument, ...]:
        virtual_now_us = self._virtual_now_us() if self._virtual_now_us else 0
        return ("EVALSHA", self._sha, len(keys), *keys, operation, virtual_now_us, self._prefix, *arguments)

    async def _load_script(self, call: Call) -> None:
        await call("SCRIPT", "LOAD", self._script)

    def _release_behind(self, request: LeaseRequest) -> None:
        for candidate in request.candidates:
            try:
                future = self._client.call(
                    *self._command("release", [self._key(candidate.offer_id)], [request.lease_id])
                )
            except RedisUnavailable:
                return  # then it expires
            future.add_done_callback(_look_away)

    def _admit_keys(self, request: LeaseRequest) -> list[str]:
        customer = f"{self._prefix}customer:{request.customer_id}"
        offers = [self._key(candidate.offer_id) for candidate in request.candidates]
        return [f"{customer}:running", f"{customer}:debts", *offers]

    def _admit_arguments(self, request: LeaseRequest) -> list[Argument]:
        limits = request.limits or Limits(0, 0, 0)
        ttl_us = round(request.ttl_s * US_PER_S)
        arguments: list[Argument] = [request.lease_id, request.customer_id, ttl_us, request.prefill_tokens]
        arguments += [request.tokens, int(request.limits is not None), limits.rpm, limits.tpm, limits.concurrency]
        for candidate in request.candidates:
            arguments += [candidate.concurrency_max, candidate.in_flight_max]
        return arguments + self._quota_arguments([candidate.offer_id for candidate in request.candidates])

    def _quota_arguments(self, offer_ids: Sequence[OfferId]) -> list[Argument]:
        """The quotas of some offers, as ``leases.lua`` reads them; one zero when there are none."""
        quotas = distinct(self._quotas, offer_ids) if self._quotas else []
        arguments: list[Argument] = [len(quotas)]
        for quota in quotas:
            keys = [self._key(offer_id) for offer_id in self._members[quota.name]]
            arguments += [quota.name, quota.rpm or 0, quota.tpm or 0, quota.concurrency or 0, len(keys), *keys]
        place = {quota.name: at for at, quota in enumerate(quotas, start=1)}
        for offer_id in offer_ids if quotas else ():
            own = [place[quota.name] for quota in self._quotas.get(offer_id, ())]
            arguments += [len(own), *own]
        return arguments

    def _key(self, offer_id: OfferId) -> str:
        key = self._keys.get(offer_id)
        if key is None:
            if len(self._keys) >= _KEYS_CACHED_MAX:
                self._keys.clear()
            key = self._keys[offer_id] = f"{self._prefix}offer:{offer_id}"
        return key


def _answer(request: LeaseRequest, reply: Sequence[int]) -> Leased | Denied | Limited:
    status, index, wait_us = reply[:3]
    allowance = _allowance(request.limits, reply) if request.limits else None
    if status < 0 and allowance is not None:
        return Limited(_LIMIT_OF_STATUS[status], _retry_after_s(status, wait_us), allowance)
    loads = _loads([candidate.offer_id for candidate in request.candidates], reply[7:])
    if status == 1:
        return Leased(request.candidates[index].offer_id, loads, allowance)
    return Denied(loads, allowance)


def _retry_after_s(status: int, wait_us: int) -> float:
    if _LIMIT_OF_STATUS[status] == "concurrency":
        return CONCURRENCY_RETRY_S
    return wait_us / US_PER_S if wait_us >= 0 else math.inf


def _allowance(limits: Limits, reply: Sequence[int]) -> Allowance:
    return Allowance(
        limit_requests=limits.rpm,
        remaining_requests=reply[3],
        reset_requests_s=reply[4] / US_PER_S,
        limit_tokens=limits.tpm,
        remaining_tokens=reply[5],
        reset_tokens_s=reply[6] / US_PER_S,
    )


def _loads(offer_ids: Sequence[OfferId], numbers: Sequence[int]) -> dict[OfferId, Load]:
    return {offer_id: Load(*numbers[3 * at : 3 * at + 3]) for at, offer_id in enumerate(offer_ids)}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK_MAX):
        yield items[start : start + CHUNK_MAX]


def _look_away(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()
