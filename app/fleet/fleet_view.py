"""The fleet as one process sees it: an immutable snapshot for decisions, kept fresh, and the live clients behind it.

Rows, loads and corrections are read again at least once a second; what an admission or an answer tells is taken in at
once. A database or lease store that is away leaves what was known in force.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from sqlmodel.ext.asyncio.session import AsyncSession

from app import clock
from app.catalog.book_cache import keep_fresh
from app.db import Database
from app.fleet.consumed_cache import ConsumedCache
from app.fleet.contracts import exhausted
from app.fleet.credential_store import note_refused
from app.fleet.health import Entry, Health
from app.fleet.leases import LeaseStore, Quota
from app.fleet.live_client import LiveClients
from app.fleet.offers import offers_by_model
from app.fleet.quotas import quotas_of
from app.fleet.repository import read_roster
from app.fleet.roster import Deployed
from app.fleet.standing import ProviderStanding, Signals, provider_standings
from app.logs import get_logger
from pricing.slo import Tier
from providers.base import Provider
from providers.errors import ProviderCredentialRejected, ProviderError
from scheduler.breaker import BreakerState
from scheduler.fleet import Fleet, Load, OfferId
from scheduler.shadow import ShadowPrices

REFRESH_S = 1.0
Caps = Callable[[AsyncSession], Awaitable[Mapping[str, Quota]]]
"""Reads the caps of models that have one, by public name."""


async def no_caps(_session: AsyncSession) -> Mapping[str, Quota]:
    """No model has a cap."""
    return {}


class FleetView:
    """What the gateway decides by, and what it tells the fleet.

    Args:
        database: where the fleet is registered.
        leases: where loads are known.
        clients: of all deployments; closed with the view.
        now_us: µs since the epoch.
        caps: of models that only so much of may be used.
    """

    def __init__(
        self,
        database: Database,
        leases: LeaseStore,
        clients: LiveClients,
        now_us: Callable[[], int] = clock.now_us,
        caps: Caps = no_caps,
    ) -> None:
        self._database = database
        self._leases = leases
        self._clients = clients
        self._now_us = now_us
        self._caps = caps
        self._consumed = ConsumedCache()
        self._refusals: dict[str, str] = {}
        self._health = Health()
        self._shadow = ShadowPrices()
        self._deployed: dict[OfferId, Deployed] = {}
        self._troubles: dict[str, str] = {}
        self._fleet = Fleet({})
        self._log = get_logger("app.fleet")

    @property
    def fleet(self) -> Fleet:
        """The snapshot in force."""
        return self._fleet

    def fold(self, loads: Mapping[OfferId, Load]) -> None:
        """Takes in fresher loads than the snapshot's."""
        self._health.note_loads(loads, self._now_us())
        self._fleet = replace(self._fleet, loads={**self._fleet.loads, **loads})

    def provider(self, offer_id: OfferId) -> Provider:
        """The live client of an offer.

        Raises:
            ProviderUnreachable: the offer vanished, or its credential is missing.
        """
        return self._clients.provider(offer_id)

    def enter(self, offer_id: OfferId) -> Entry:
        """Begins one attempt there. A probe ends with :meth:`succeeded`, :meth:`failed` or :meth:`left`."""
        now_us = self._now_us()
        entry = self._health.enter(offer_id, now_us)
        if entry is Entry.PROBE:
            self._snap(now_us)
        return entry

    def left(self, offer_id: OfferId) -> None:
        """A probe ended without a verdict: its customer left, or another attempt was quicker."""
        self._health.left(offer_id)
        self._snap(self._now_us())

    def is_emulated(self, offer_id: OfferId) -> bool:
        """Whether its tokens are made up at measured speeds."""
        deployed = self._deployed.get(offer_id)
        return deployed is not None and deployed.spec.is_emulated

    def first_token(self, offer_id: OfferId, tier: Tier, predicted_us: float, observed_us: float) -> None:
        """A first token came.

        Args:
            offer_id: where.
            tier: served.
            predicted_us: of the dispatch, by the measured curve alone.
            observed_us: from dispatch to it.
        """
        self._health.first_token(offer_id, tier, predicted_us, observed_us)
        self._fleet = replace(self._fleet, calibrations=self._health.calibrations())

    def paced(
        self,
        offer_id: OfferId,
        tier: Tier,
        predicted_tpot_us: float,
        observed_tpot_us: float,
        *,
        since_us: int | None = None,
    ) -> None:
        """An answer came at this pace, or comes at it so far; a long one may be told again and again.

        Args:
            offer_id: where.
            tier: served.
            predicted_tpot_us: of the dispatch; used where the load that it met since is not known.
            observed_tpot_us: mean µs per token since its first token.
            since_us: when that came, µs since the epoch; None when not known.
        """
        met_us = None if since_us is None else self._health.tpot_us_since(offer_id, since_us, self._now_us())
        self._health.paced(offer_id, tier, met_us or predicted_tpot_us, observed_tpot_us)
        self._fleet = replace(self._fleet, calibrations=self._health.calibrations())

    def succeeded(
        self,
        offer_id: OfferId,
        tier: Tier,
        predicted_tpot_us: float,
        observed_tpot_us: float | None,
        *,
        since_us: int | None = None,
    ) -> None:
        """An answer finished; as :meth:`paced`, with None for the pace of one that was not streamed."""
        now_us = self._now_us()
        before = self._health.breaker_state(offer_id, now_us)
        self._health.succeeded(offer_id, now_us)
        if observed_tpot_us is not None:
            self.paced(offer_id, tier, predicted_tpot_us, observed_tpot_us, since_us=since_us)
        if before is not BreakerState.CLOSED:
            self._snap(now_us)

    def failed(self, offer_id: OfferId, error: ProviderError) -> None:
        """An attempt failed. A credential that was replaced meanwhile says nothing about the one in its place."""
        if isinstance(error, ProviderCredentialRejected):
            if not self._clients.uses(offer_id, error.credential_id):
                return
            if error.credential_id:
                self._refusals[error.credential_id] = error.detail
        now_us = self._now_us()
        before = self._health.breaker_state(offer_id, now_us)
        self._health.failed(offer_id, error, now_us)
        self._snap(now_us)
        after = self._health.breaker_state(offer_id, now_us)
        if after is not before:
            self._log.warning("breaker.moved", offer=offer_id, before=before, after=after, error=str(error))

    def breaker_state(self, offer_id: OfferId, now_us: int) -> BreakerState:
        """Whether an offer's breaker lets work through."""
        return self._health.breaker_state(offer_id, now_us)

    def standings(self) -> tuple[ProviderStanding, ...]:
        """How every provider stands, by id."""
        now_us = self._now_us()
        breakers = {offer_id: self._health.breaker_state(offer_id, now_us) for offer_id in self._deployed}
        return provider_standings(self._deployed.values(), Signals(self._fleet.loads, breakers, self._troubles))

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why a registered deployment cannot be used, by offer id, for those that cannot."""
        return self._troubles

    async def refresh(self) -> None:
        """Tells which credentials were refused, and reads rows and loads again; loads too when the database is away."""
        try:
            await self._tell_refusals()
            await self._refresh_rows()
        finally:
            await self.refresh_loads()

    async def refresh_loads(self) -> None:
        """Reads all loads again and takes a new snapshot."""
        offer_ids = sorted(self._deployed.keys() | self._clients.retired())
        loads = await self._leases.loads(offer_ids)
        now_us = self._now_us()
        self._health.note_loads(loads, now_us)
        self._fleet = replace(self._fleet, loads=loads, calibrations=self._health.calibrations(now_us))
        self._snap(now_us)
        self._fleet = replace(self._fleet, shadow_prices=self._shadow.observe(self._fleet, now_us))
        await self._clients.close_retired(loads, now_us)

    async def run(self, every_s: float = REFRESH_S) -> None:
        """Refreshes for as long as the process runs."""
        await keep_fresh(self.refresh, every_s, self._log)

    async def close(self) -> None:
        """Closes all clients."""
        await self._clients.close()

    async def _tell_refusals(self) -> None:
        """Writes down, for all gateways and for operators, which credentials their providers refused."""
        for credential_id, refusal in tuple(self._refusals.items()):
            async with self._database.writing() as session:
                if await note_refused(session, credential_id, refusal, self._now_us()):
                    self._log.warning("credential.refused", credential=credential_id, refusal=refusal)
            self._refusals.pop(credential_id, None)

    async def _refresh_rows(self) -> None:
        now_us = self._now_us()
        async with self._database.reading() as session:
            roster = await read_roster(session, now_us)
            signed = {each.contract.id: each.contract for each in roster.deployed if each.contract is not None}
            consumed = await self._consumed.read(session, signed.values(), now_us)
            caps = await self._caps(session)
        used_up = {contract_id: exhausted(signed[contract_id], used) for contract_id, used in consumed.items()}
        troubles = {**roster.troubles, **self._clients.update(roster.deployed, now_us)}
        for each in roster.deployed:
            if trouble := each.trouble or used_up.get(each.contract.id if each.contract else "", ""):
                troubles[each.id] = trouble
        for offer_id in troubles.keys() - self._troubles.keys():
            self._log.warning("deployment.unusable", offer=offer_id, trouble=troubles[offer_id])
        self._leases.limit(quotas_of(roster.deployed, caps))
        self._troubles = troubles
        self._deployed = {each.id: each for each in roster.deployed}
        self._health.update(roster.deployed, now_us)

    def _snap(self, now_us: int) -> None:
        """Decides anew what is on offer, what is closed, and how much of each may be used."""
        limits = self._health.limits(self._fleet.loads, now_us)
        offers = offers_by_model(self._deployed.values(), limits, self._fleet.offers)
        unusable = frozenset(OfferId(offer_id) for offer_id in self._troubles)
        self._fleet = replace(self._fleet, offers=offers, closed=self._health.closed(now_us) | unusable)
