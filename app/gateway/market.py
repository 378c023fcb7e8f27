"""What the gateway works with: the market's rooms, gathered once at start."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.catalog.book_cache import BookShelf
from app.db import Database
from app.fleet.leases import LeaseStore
from app.gateway.driver import Driver
from app.gateway.idempotency_store import IdempotencyStore
from app.gateway.lengths import Lengths
from app.gateway.meters import Meters
from app.gateway.quotes import QuoteSigner
from app.identity.auth import Authenticator
from app.ledger.service import Ledger
from app.settings import Settings
from pricing.slo import Tier
from providers.base import Provider, Timeouts
from providers.errors import ProviderError
from scheduler.fleet import Fleet, Load, OfferId


class Supply(Protocol):
    """The fleet as the gateway sees it, and what it tells the fleet."""

    @property
    def fleet(self) -> Fleet:
        """The snapshot in force."""
        ...

    def fold(self, loads: Mapping[OfferId, Load]) -> None:
        """Takes in fresher loads."""
        ...

    def provider(self, offer_id: OfferId) -> Provider:
        """The live client of an offer."""
        ...

    def is_emulated(self, offer_id: OfferId) -> bool:
        """Whether its tokens are made up at measured speeds."""
        ...

    def is_served(self, model: str, tier: Tier) -> bool:
        """Whether some offer for it takes new work."""
        ...

    def first_token(self, offer_id: OfferId, tier: Tier, predicted_us: float, observed_us: float) -> None:
        """A first token came."""
        ...

    def succeeded(
        self, offer_id: OfferId, tier: Tier, predicted_tpot_us: float, observed_tpot_us: float | None
    ) -> None:
        """An answer finished."""
        ...

    def failed(self, offer_id: OfferId, error: ProviderError) -> None:
        """An attempt failed."""
        ...


@dataclass(slots=True)
class Market:
    """The rooms a request passes through."""

    settings: Settings
    authenticator: Authenticator
    shelf: BookShelf
    supply: Supply
    leases: LeaseStore
    ledger: Ledger
    database: Database
    driver: Driver
    quotes: QuoteSigner
    idempotency: IdempotencyStore
    meters: Meters
    lengths: Lengths = field(default_factory=Lengths)
    holds: set[str] = field(default_factory=set[str])
    leases_trouble: Callable[[], str] = field(default=lambda: "")
    is_draining: bool = False

    @property
    def timeouts(self) -> Timeouts:
        """How long a backend may be silent."""
        settings = self.settings
        return Timeouts(
            connect_s=settings.connect_s_max,
            first_token_s=settings.first_token_s_max,
            gap_s=settings.token_gap_s_max,
            total_s=settings.answer_s_max,
        )
