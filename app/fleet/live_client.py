"""The live clients of all deployments: built from their rows, kept while they stay, closed when they vanish.

A deployment whose row changed gets a new client; the old one is closed once nothing runs there any more, so that
answers under way finish on the connection they began on.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.fleet.roster import Deployed, Key, provider_spec
from app.fleet.vault import Vault, VaultError
from app.logs import get_logger
from pricing.slo import US_PER_S
from providers import registry
from providers.base import Provider
from providers.errors import ProviderUnreachable
from providers.spec import ProviderSpec, ProviderSpecError
from scheduler.fleet import Load, OfferId

RETIRED_US_MAX: Final = 900 * US_PER_S
"""A retired client is closed after this long, whatever still runs on it: no answer takes longer."""


@dataclass(frozen=True, slots=True)
class _Client:
    offer_id: OfferId
    spec: ProviderSpec
    provider: Provider


class LiveClients:
    """One client per deployment.

    Args:
        environment: where credentials are looked up by the names that rows give.
        build: makes a client; it opens no connection before the first request.
        vault: opens the credentials that rows keep sealed.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        build: Callable[[ProviderSpec], Provider] = registry.build,
        vault: Vault | None = None,
    ) -> None:
        self._environment = environment
        self._build = build
        self._vault = vault or Vault("")
        self._clients: dict[OfferId, _Client] = {}
        self._retired: list[tuple[_Client, int]] = []
        self._log = get_logger("app.fleet")

    def provider(self, offer_id: OfferId) -> Provider:
        """The client of an offer.

        Raises:
            ProviderUnreachable: it vanished, or cannot be talked to for want of a credential.
        """
        client = self._clients.get(offer_id)
        if client is None:
            raise ProviderUnreachable(offer_id.partition("/")[0], f"{offer_id} is not in the fleet any more")
        return client.provider

    def update(self, deployed: Iterable[Deployed], now_us: int) -> dict[OfferId, str]:
        """Builds what is new or changed and retires what is gone.

        Returns:
            Why there is no client, for those that cannot have one.
        """
        wanted: dict[OfferId, ProviderSpec] = {}
        troubles: dict[OfferId, str] = {}
        for each in deployed:
            try:
                wanted[each.id] = provider_spec(each.spec, self._key_of(each), each.access)
            except (VaultError, ProviderSpecError) as error:
                troubles[each.id] = f"its credential cannot be used: {error}"
            except LookupError:
                troubles[each.id] = f"its credential is missing: set {each.spec.api_key_env} where the gateway runs"
        for offer_id, client in tuple(self._clients.items()):
            if wanted.get(offer_id) != client.spec:
                self._retired.append((self._clients.pop(offer_id), now_us))
        for offer_id, spec in wanted.items():
            if offer_id not in self._clients:
                self._clients[offer_id] = _Client(offer_id, spec, self._build(spec))
        return troubles

    def uses(self, offer_id: OfferId, credential_id: str) -> bool:
        """Whether an offer's client sends this very credential now, and not one that came in its place."""
        client = self._clients.get(offer_id)
        return client is None or client.spec.credential_id == credential_id

    def _key_of(self, each: Deployed) -> Key | None:
        """The credential of a deployment; None where it has none.

        Raises:
            LookupError: the variable that should hold it is not set.
            VaultError: the stored one cannot be opened.
        """
        if variable := each.spec.api_key_env:
            if not self._environment.get(variable):
                raise LookupError(variable)
            return Key("", self._environment[variable])
        if each.sealed is None:
            return None
        return Key(each.sealed.id, self._vault.open(each.sealed.sealed, each.sealed.about))

    def retired(self) -> frozenset[OfferId]:
        """Offers of which a former client is still open."""
        return frozenset(client.offer_id for client, _ in self._retired)

    async def close_retired(self, loads: Mapping[OfferId, Load], now_us: int) -> None:
        """Closes former clients on which nothing can run any more."""
        idle = [
            (client, since_us)
            for client, since_us in self._retired
            if not loads.get(client.offer_id, Load()).in_flight or now_us - since_us > RETIRED_US_MAX
        ]
        self._retired = [entry for entry in self._retired if entry not in idle]
        for client, _ in idle:
            await client.provider.close()
            self._log.info("client.closed", offer=client.offer_id)

    async def close(self) -> None:
        """Closes all of them."""
        clients = [*self._clients.values(), *(client for client, _ in self._retired)]
        self._clients.clear()
        self._retired.clear()
        for client in clients:
            await client.provider.close()
