"""Keeps a gateway admitting when Redis is lost, and heals by itself when it is back.

Degraded mode. Every lease that this process takes is also kept in a table of its own. While Redis cannot answer, that
table alone decides: a process takes at most its share of each offer, the promise-keeping maximum divided by the number
of live gateways (at least one request), and counts a customer's limits by itself, so that they hold per process. Paid
traffic continues, attainment is kept, and at worst some capacity stays unused.

Healing. Before a new connection is used, what was released meanwhile is released there, and what still runs here is
written there, whatever the limits say. Each heartbeat writes it again, so that Redis also regains what it lost without
a broken connection (a flush, a fail-over to an older copy). What nobody beats any more expires.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence

from app.clock import monotonic_us
from app.fleet.lease_table import Lease, LeaseKey, LeaseTable, lease_of
from app.fleet.leases import Denied, Leased, LeaseRequest, Limited, Quotas
from app.fleet.redis_lease_store import RedisLeaseStore
from app.fleet.redis_pipeline_client import Call, RedisPipelineClient, RedisRefused, RedisUnavailable
from app.logs import get_logger
from scheduler.fleet import Load, OfferId

ATTEND_US = 1_000_000
ATTEND_TTL_S = 15.0


class SteadyLeaseStore:
    """A :class:`app.fleet.leases.LeaseStore` over Redis that never fails for want of Redis.

    Args:
        shared: what all gateways share.
        client: the connection under it.
        gateways_min: how many gateways there are at least; degraded mode divides capacity by the number that were
            alive when Redis was last heard, and never by less.
        clock_us: µs that never run backwards.
    """

    def __init__(
        self,
        shared: RedisLeaseStore,
        client: RedisPipelineClient,
        gateways_min: int = 1,
        clock_us: Callable[[], int] = monotonic_us,
    ) -> None:
        self._shared = shared
        self._table = LeaseTable(gateways_min)
        self._gateways_min = gateways_min
        self._gateway_id = secrets.token_hex(8)
        self._attends_at_us = 0
        self._clock_us = clock_us
        self._unreleased: dict[LeaseKey, int] = {}
        self._trouble = ""
        self._log = get_logger("app.fleet")
        client.before_use(self._heal)

    @property
    def is_degraded(self) -> bool:
        """True while this process decides alone."""
        return bool(self._trouble)

    @property
    def trouble(self) -> str:
        """Why; empty when all is well."""
        return self._trouble

    async def admit(self, request: LeaseRequest) -> Leased | Denied | Limited:
        """Leases the first candidate with room, in Redis or else in this process's share."""
        try:
            answer = await self._shared.admit(request)
        except (RedisUnavailable, RedisRefused) as error:
            self._lost(error)
            return self._table.admit(request, self._clock_us())
        self._answered()
        if isinstance(answer, Leased):
            now_us = self._clock_us()
            self._unreleased.pop((answer.offer_id, request.lease_id), None)
            self._table.mirror(lease_of(request, answer.offer_id, now_us), now_us)
        return answer

    async def started(self, lease_id: str, offer_id: OfferId) -> None:
        """The first token came."""
        self._table.started(lease_id, offer_id, self._clock_us())
        try:
            await self._shared.started(lease_id, offer_id)
        except (RedisUnavailable, RedisRefused) as error:
            self._lost(error)

    async def release(self, lease_id: str, offer_id: OfferId) -> bool:
        """Ends a lease; True exactly once."""
        now_us = self._clock_us()
        mine = self._table.find(lease_id, offer_id, now_us)
        was_mine = self._table.release(lease_id, offer_id, now_us)
        if (offer_id, lease_id) in self._unreleased:
            return False
        try:
            return await self._shared.release(lease_id, offer_id) or was_mine
        except (RedisUnavailable, RedisRefused) as error:
            self._lost(error)
        if mine is not None:
            self._owe_release(mine, now_us)
        return was_mine

    async def beat(self, leases: Sequence[tuple[str, OfferId]], ttl_s: float) -> None:
        """Extends live leases; Redis regains those of this process that it lost."""
        now_us = self._clock_us()
        self._table.beat(leases, ttl_s, now_us)
        found = [(key, self._table.find(*key, now_us)) for key in leases]
        mine = [lease for _, lease in found if lease is not None]
        try:
            await self._release_owed()
            await self._shared.restore(mine, now_us)
            await self._shared.beat([key for key, lease in found if lease is None], ttl_s)
        except (RedisUnavailable, RedisRefused) as error:
            self._lost(error)
        else:
            self._answered()

    async def loads(self, offer_ids: Sequence[OfferId]) -> Mapping[OfferId, Load]:
        """Fresh loads; in degraded mode as if every gateway ran what this one does."""
        try:
            await self._attend()
            loads = await self._shared.loads(offer_ids)
        except (RedisUnavailable, RedisRefused) as error:
            self._lost(error)
            return self._table.loads(offer_ids, self._clock_us())
        self._answered()
        return loads

    def limit(self, quotas: Quotas) -> None:
        """From now on these are the offers' quotas, in Redis and where this process decides alone."""
        self._shared.limit(quotas)
        self._table.limit(quotas)

    async def close(self) -> None:
        """Closes the connection."""
        await self._shared.close()

    async def _heal(self, call: Call) -> None:
        await self._release_owed(call)
        now_us = self._clock_us()
        await self._shared.restore(self._table.live(now_us), now_us, call)
        self._answered()

    async def _release_owed(self, call: Call | None = None) -> None:
        for key in tuple(self._unreleased):
            offer_id, lease_id = key
            await self._shared.release(lease_id, offer_id, call)
            self._unreleased.pop(key, None)

    async def _attend(self) -> None:
        """Says now and then that this gateway lives, and learns how many do."""
        now_us = self._clock_us()
        if now_us >= self._attends_at_us:
            self._attends_at_us = now_us + ATTEND_US
            alive = await self._shared.attend(self._gateway_id, ATTEND_TTL_S)
            self._table.gateways = max(self._gateways_min, alive)

    def _owe_release(self, lease: Lease, now_us: int) -> None:
        """Remembers to release a lease in Redis, for as long as it can be alive there."""
        while self._unreleased and next(iter(self._unreleased.values())) <= now_us:
            del self._unreleased[next(iter(self._unreleased))]
        self._unreleased[lease.offer_id, lease.lease_id] = lease.expires_at_us

    def _lost(self, error: Exception) -> None:
        if not self._trouble:
            self._log.warning("lease_store.lost", trouble=str(error))
        self._trouble = str(error)

    def _answered(self) -> None:
        if self._trouble:
            self._log.info("lease_store.healed", trouble=self._trouble)
            self._trouble = ""
