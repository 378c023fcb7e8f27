"""What is left of quotas that offers share: a contract's requests and tokens a minute, a tuned model's places; pure.

A quota's per-minute limits are buckets like a customer's (:mod:`app.fleet.allowances`); its concurrency is counted over
the live leases of all offers that share it. ``leases.lua`` computes the same.
"""

from collections.abc import Callable, Iterable, Mapping

from app.fleet.allowances import Debt, after, drained, wait_us
from app.fleet.leases import Quota, Quotas
from app.fleet.roster import Deployed
from app.identity.caller import Limits
from scheduler.fleet import Load, OfferId

NO_LIMIT = 10**8
"""Stands for "no limit" where debt still has to drain."""


class QuotaBook:
    """The quotas in force, and what is owed under each.

    Args:
        in_flight: how many leases an offer has now.
    """

    __slots__ = ("_debts", "_in_flight", "_members", "_quotas")

    def __init__(self, in_flight: Callable[[OfferId], int]) -> None:
        self._in_flight = in_flight
        self._quotas: Quotas = {}
        self._members: dict[str, tuple[OfferId, ...]] = {}
        self._debts: dict[str, Debt] = {}

    def limit(self, quotas: Quotas) -> None:
        """From now on these are in force."""
        self._quotas = quotas
        self._members = members_of(quotas)
        self._debts = {name: debt for name, debt in self._debts.items() if name in self._members}

    def allows(self, offer_id: OfferId, tokens: int, now_us: int, gateways: int = 1) -> bool:
        """Whether an offer's quotas all take one more request of so many tokens.

        Args:
            offer_id: where.
            tokens: that it counts.
            now_us: on the clock of the store.
            gateways: how many processes share each quota without seeing each other.
        """
        return all(self._takes(quota, tokens, now_us, gateways) for quota in self._quotas.get(offer_id, ()))

    def take(self, offer_id: OfferId, tokens: int, now_us: int) -> None:
        """Counts a request that was leased there."""
        for quota in self._quotas.get(offer_id, ()):
            if quota.rpm is not None or quota.tpm is not None:
                self._debts[quota.name] = after(self._owed(quota, now_us), tokens)

    def shown(self, offer_id: OfferId, load: Load, now_us: int, *, tokens: int = 1, gateways: int = 1) -> Load:
        """A load as the scheduler may see it: where a quota is used up, nothing more is tolerated."""
        if offer_id not in self._quotas or self.allows(offer_id, tokens, now_us, gateways):
            return load
        return Load(load.in_flight, min(load.in_flight, load.in_flight_tolerated), load.prefill_tokens)

    def _takes(self, quota: Quota, tokens: int, now_us: int, gateways: int) -> bool:
        running = sum(self._in_flight(each) for each in self._members[quota.name])
        if quota.concurrency is not None and running >= max(1, quota.concurrency // gateways):
            return False
        debt = self._owed(quota, now_us)
        for owed, limit, cost in ((debt.requests, quota.rpm, 1), (debt.tokens, quota.tpm, tokens)):
            if limit is not None and wait_us(owed, max(1, limit // gateways), cost) != 0:
                return False
        return True

    def _owed(self, quota: Quota, now_us: int) -> Debt:
        rates = Limits(quota.rpm or NO_LIMIT, quota.tpm or NO_LIMIT, 0)
        return drained(self._debts.get(quota.name, Debt(at_us=now_us)), rates, now_us)


def members_of(quotas: Quotas) -> dict[str, tuple[OfferId, ...]]:
    """Which offers share each quota, by its name."""
    members: dict[str, list[OfferId]] = {}
    for offer_id, each in quotas.items():
        for quota in each:
            members.setdefault(quota.name, []).append(offer_id)
    return {name: tuple(offers) for name, offers in members.items()}


def distinct(quotas: Quotas, offer_ids: Iterable[OfferId]) -> list[Quota]:
    """The quotas of some offers, each once, in order."""
    return list({quota.name: quota for offer_id in offer_ids for quota in quotas.get(offer_id, ())}.values())


def quotas_of(deployed: Iterable[Deployed], caps: Mapping[str, Quota]) -> dict[OfferId, tuple[Quota, ...]]:
    """The quotas of every offer that has any: its contract's, its model's cap, and the engine that adapters share.

    Args:
        deployed: everything registered.
        caps: by the public name of a model.
    """
    known = tuple(deployed)
    engines = _shared_engines(known)
    found: dict[OfferId, tuple[Quota, ...]] = {}
    for each in known:
        quotas = (_contracts_own(each), caps.get(each.spec.model), engines.get(_engine_of(each)))
        if kept := tuple(quota for quota in quotas if quota is not None):
            found[each.id] = kept
    return found


def _contracts_own(each: Deployed) -> Quota | None:
    contract = each.contract
    if contract is None or (contract.allotment.rpm is None and contract.allotment.tpm is None):
        return None
    return Quota(contract.id, contract.allotment.rpm, contract.allotment.tpm)


def _engine_of(each: Deployed) -> tuple[str, str]:
    """Where it runs: an adapter runs on its base's engine."""
    return each.spec.base_url.rstrip("/"), each.spec.base_model or each.spec.backend_model


def _shared_engines(deployed: Iterable[Deployed]) -> dict[tuple[str, str], Quota]:
    """Engines that serve an adapter beside its base or another adapter: together no more than the largest takes."""
    groups: dict[tuple[str, str], list[Deployed]] = {}
    for each in deployed:
        groups.setdefault(_engine_of(each), []).append(each)
    return {
        engine: Quota(f"engine:{engine[0]} {engine[1]}", concurrency=max(each.spec.concurrency_max for each in group))
        for engine, group in groups.items()
        if len(group) > 1 and any(each.spec.base_model for each in group)
    }
