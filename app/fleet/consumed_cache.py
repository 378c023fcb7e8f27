"""What was used of contracts that limit requests or tokens in all: summed from usage events, kept up as they come.

Events are summed once: those that finished a while ago are remembered, only the newest are read again each time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.clock import US_PER_S
from app.fleet.contracts import Consumed, Contract
from app.metering.models import UsageEvent

SETTLED_US: Final = 600 * US_PER_S
"""An event that finished so long ago is there, or will never be: its row is written when its answer ends."""


@dataclass(frozen=True, slots=True)
class _Base:
    until_us: int
    consumed: Consumed


class ConsumedCache:
    """What was used of each contract so far."""

    def __init__(self) -> None:
        self._bases: dict[str, _Base] = {}

    async def read(self, session: AsyncSession, contracts: Iterable[Contract], now_us: int) -> dict[str, Consumed]:
        """What was used so far of those contracts that limit anything in all, by contract id."""
        every = tuple(contracts)
        limited = [each for each in every if each.allotment.has_totals and each.is_in_force(now_us)]
        self._bases = {each.id: self._bases[each.id] for each in limited if each.id in self._bases}
        found: dict[str, Consumed] = {}
        for each in limited:
            elsewhere = frozenset(other.model for other in every if other.provider_id == each.provider_id)
            found[each.id] = await self._consumed(session, each, elsewhere - {""}, now_us)
        return found

    async def _consumed(
        self, session: AsyncSession, contract: Contract, elsewhere: frozenset[str], now_us: int
    ) -> Consumed:
        base = self._bases.get(contract.id) or _Base(contract.starts_at_us, Consumed())
        settled_us = max(base.until_us, now_us - SETTLED_US)
        if settled_us > base.until_us:
            more = await _sum(session, contract, elsewhere, base.until_us, settled_us)
            base = _Base(settled_us, _together(base.consumed, more))
            self._bases[contract.id] = base
        return _together(base.consumed, await _sum(session, contract, elsewhere, base.until_us, None))


async def _sum(
    session: AsyncSession, contract: Contract, elsewhere: frozenset[str], from_us: int, until_us: int | None
) -> Consumed:
    """Requests and tokens of a contract's answers that finished in a period; ``elsewhere`` has contracts of its own."""
    tokens: Any = (
        col(UsageEvent.tokens_input)
        + col(UsageEvent.tokens_cached)
        + col(UsageEvent.tokens_cache_write)
        + col(UsageEvent.tokens_output)
    )
    statement = select(func.count(), func.coalesce(func.sum(tokens), 0)).where(
        col(UsageEvent.provider_id) == contract.provider_id, col(UsageEvent.finished_at_us) >= from_us
    )
    if until_us is not None:
        statement = statement.where(col(UsageEvent.finished_at_us) < until_us)
    if contract.model:
        statement = statement.where(col(UsageEvent.model) == contract.model)
    elif elsewhere:
        statement = statement.where(col(UsageEvent.model).not_in(sorted(elsewhere)))
    requests, used = (await session.exec(statement)).one()
    return Consumed(int(requests), int(used))


def _together(one: Consumed, other: Consumed) -> Consumed:
    return Consumed(one.requests + other.requests, one.tokens + other.tokens)
