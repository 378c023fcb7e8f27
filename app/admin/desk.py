"""What operators work with: the market's rooms, gathered once at start, for the JSON API and the console alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from app import clock
from app.db import Database
from app.fleet.vault import Vault
from app.identity.auth import Authenticator
from app.identity.session_store import SessionStore
from app.ledger.service import Ledger
from app.settings import Settings
from pricing.hardware import HardwareCost
from pricing.pricebook import PriceBook
from pricing.profiles import Profile
from scheduler.breaker import BreakerState
from scheduler.fleet import Fleet, OfferId


class Shelf(Protocol):
    """Price books, at hand in this process."""

    def live(self, now: datetime) -> PriceBook:
        """The book in force."""
        ...

    async def find(self, book_id: str) -> PriceBook | None:
        """Any book that was ever published; None when there is none of that id."""
        ...

    async def refresh(self) -> None:
        """Reads what was published and withdrawn since the last time."""
        ...


class LiveFleet(Protocol):
    """The fleet as this process sees it."""

    @property
    def fleet(self) -> Fleet:
        """The snapshot in force: offers, loads, calibrations, what is closed."""
        ...

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why a registered deployment cannot be used, by offer id, for those that cannot."""
        ...

    def breaker_state(self, offer_id: OfferId, now_us: int) -> BreakerState:
        """Whether an offer's breaker lets work through."""
        ...


@dataclass(frozen=True, slots=True)
class Economics:
    """What frontiers are drawn from.

    Attributes:
        profiles: cleaned ones.
        costs: by hardware.
        parameters_billion: by model; for the check that it fits memory.
        sources: titles of the profiles' sources, by key.
    """

    profiles: Sequence[Profile]
    costs: Mapping[str, HardwareCost]
    parameters_billion: Mapping[str, float]
    sources: Mapping[str, str]


@dataclass(slots=True)
class Desk:
    """The rooms that operators reach into.

    Attributes:
        economics: reads the profiles and hardware costs that frontiers are drawn from; None takes the shipped ones and
            this market's own measurements.
        vault: seals providers' credentials.
        now_us: µs since the epoch.
        is_closing: True once the market drains; live streams end then.
    """

    settings: Settings
    database: Database
    shelf: Shelf
    live_fleet: LiveFleet
    ledger: Ledger
    authenticator: Authenticator
    browsers: SessionStore
    economics: Callable[[], Economics] | None = None
    vault: Vault = field(default_factory=lambda: Vault(""))
    now_us: Callable[[], int] = clock.now_us
    is_closing: Callable[[], bool] = field(default=lambda: False)
