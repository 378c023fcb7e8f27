"""What the gateway works with: the market's rooms, gathered once at start."""

from collections.abc import Callable
from dataclasses import dataclass, field

from app.catalog.book_cache import BookShelf
from app.db import Database
from app.fleet.fleet_view import FleetView
from app.fleet.leases import LeaseStore
from app.gateway.driver import Driver
from app.gateway.idempotency_store import IdempotencyStore
from app.gateway.lengths import Lengths
from app.gateway.meters import Meters
from app.gateway.quotes import QuoteSigner
from app.identity.auth import Authenticator
from app.ledger.service import Ledger
from app.settings import Settings
from app.tuning.audience_view import AudienceView
from providers.base import Timeouts


@dataclass(slots=True)
class Market:
    """The rooms a request passes through.

    Attributes:
        audience: who may see which model.
    """

    settings: Settings
    authenticator: Authenticator
    shelf: BookShelf
    supply: FleetView
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
    audience: AudienceView = field(init=False)

    def __post_init__(self) -> None:
        self.audience = AudienceView(self.database)

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
