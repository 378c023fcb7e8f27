"""Who decides in a run: what the simulator asks of a dispatcher; pure."""

from collections.abc import Mapping
from typing import Protocol

from scheduler.fleet import Fleet, Load, OfferId
from scheduler.jobs import Job, JobId
from scheduler.placement import Admit, Dispatch, Refuse, Wait


class Router(Protocol):
    """Who decides where requests run: the production dispatcher, or one to compare it with."""

    @property
    def waiting(self) -> int:
        """Jobs that wait now."""
        ...

    def on_arrival(self, job: Job, fleet: Fleet, now_us: int) -> Admit | Wait | Refuse:
        """A job arrives."""
        ...

    def on_leased(self, job_id: JobId, offer_id: OfferId, loads: Mapping[OfferId, Load], now_us: int) -> Dispatch:
        """A lease was written for an admitted job."""
        ...

    def on_denied(self, job_id: JobId, loads: Mapping[OfferId, Load], now_us: int) -> Admit | Wait | Refuse:
        """No candidate had room any more."""
        ...

    def on_released(self, fleet: Fleet, now_us: int) -> tuple[Admit, ...]:
        """Room may have come free."""
        ...

    def on_tick(self, fleet: Fleet, now_us: int) -> tuple[Admit | Refuse, ...]:
        """Time passed."""
        ...

    def next_tick_us(self, now_us: int) -> int | None:
        """When ``on_tick`` is due; None while nothing depends on time."""
        ...
