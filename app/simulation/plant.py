"""The supply side while it runs: engines, what is in flight on each, and what the scheduler may know of it; pure.

The snapshot a decision sees is the production one: loads from the same lease table, calibrations from the same
calibrator, refreshed at most once a second, with each lease and release folded in at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from app.fleet.lease_table import LeaseTable
from app.fleet.leases import Denied, LeaseCandidate, Leased, LeaseRequest, Limited
from app.simulation.conditions import AS_IN_PRODUCTION, Conditions
from app.simulation.market import Market, Supply
from pricing.slo import US_PER_S, Tier
from providers.engine_model.batch import ContinuousBatch
from providers.engine_model.engine import Engine
from providers.engine_model.remote import RemoteApi
from providers.engine_model.spec import BatchSpec, EngineSpec
from scheduler.calibration import Calibrator, ExperiencedLoad
from scheduler.fleet import UNBOUNDED, Fleet, Load, OfferId
from scheduler.placement import Admit, Candidate

NS_PER_US: Final = 1_000
LEASE_TTL_S: Final = 900.0
BEAT_US: Final = 300 * US_PER_S
CALIBRATE_US: Final = US_PER_S


class UnlimitedWasLimited(RuntimeError):
    """The lease table held a request to limits that it does not have."""


def engine_of(spec: EngineSpec) -> Engine:
    """The engine that a spec describes."""
    return ContinuousBatch(spec) if isinstance(spec, BatchSpec) else RemoteApi(spec)


@dataclass(slots=True)
class Unit:
    """One offer at work.

    Attributes:
        experienced: what its measured curve would have given one stream by now.
        in_flight: leases on it.
        area_us: ∫ in_flight dt up to ``changed_us``.
        busy_us: time with anything in flight, up to ``changed_us``.
        worked_until_us: when the last answer left it.
    """

    supply: Supply
    engine: Engine
    experienced: ExperiencedLoad
    in_flight: int = 0
    in_flight_peak: int = 0
    changed_us: int = 0
    area_us: int = 0
    busy_us: int = 0
    worked_until_us: int = 0

    def change(self, by: int, now_us: int) -> None:
        """Something came onto it or left it."""
        passed_us = now_us - self.changed_us
        self.area_us += self.in_flight * passed_us
        self.busy_us += passed_us if self.in_flight else 0
        self.changed_us = now_us
        self.in_flight += by
        self.worked_until_us = now_us if by < 0 else self.worked_until_us
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        self.experienced = self.experienced.advance(self.in_flight, now_us)


class Plant:
    """All offers of a market at work.

    Args:
        market: its offers.
        conditions: what differs from production.
    """

    def __init__(self, market: Market, conditions: Conditions = AS_IN_PRODUCTION) -> None:
        self._conditions = conditions
        self.units = {
            supply.offer.id: Unit(supply, engine_of(supply.engine), ExperiencedLoad(supply.offer.speed, 0, 0))
            for supply in market.supplies
        }
        self._leases = LeaseTable()
        self._calibrator = Calibrator()
        self._calibrated_us = 0
        self._beaten_us = 0
        self._seen_us = 0
        self._fleet = Fleet(market.by_model())
        self._changed: set[OfferId] = set()

    def see(self, now_us: int) -> Fleet:
        """The snapshot that a decision sees; loads are as fresh as in a market of one gateway."""
        if now_us - self._beaten_us >= BEAT_US:
            self._beaten_us = now_us
            live = [(lease.lease_id, lease.offer_id) for lease in self._leases.live(now_us)]
            self._leases.beat(live, LEASE_TTL_S, now_us)
        calibrations = self._fleet.calibrations
        is_due = now_us - self._calibrated_us >= CALIBRATE_US
        if is_due:
            self._calibrated_us = now_us
            calibrations = self._calibrator.calibrations(now_us)
        if (self._changed and now_us - self._seen_us >= self._conditions.stale_us) or is_due:
            fresh = self._fresh(now_us)
            fleet = self._fleet
            self._fleet = Fleet(fleet.offers, {**fleet.loads, **fresh}, calibrations, fleet.closed)
        return self._fleet

    def _fresh(self, now_us: int) -> dict[OfferId, Load]:
        """The loads that changed since they were last looked at; none while what is known may still be stale."""
        if now_us - self._seen_us < self._conditions.stale_us:
            return {}
        loads = self._told(self._leases.loads(sorted(self._changed), now_us))
        self._changed.clear()
        self._seen_us = now_us
        return loads

    def _told(self, loads: Mapping[OfferId, Load]) -> dict[OfferId, Load]:
        """Loads as the dispatcher learns them."""
        if not self._conditions.does_harm:
            return dict(loads)
        return {name: Load(load.in_flight, UNBOUNDED, load.prefill_tokens) for name, load in loads.items()}

    def lease(self, admit: Admit, now_us: int) -> Leased | Denied:
        """Tries the candidates of an admission, as the lease store does."""
        job = admit.job
        request = LeaseRequest(
            lease_id=job.id,
            customer_id=job.customer_id,
            limits=None,
            candidates=tuple(map(self._candidate, admit.candidates)),
            prefill_tokens=job.input_tokens,
            tokens=job.input_tokens + job.output_tokens_max,
            ttl_s=LEASE_TTL_S,
        )
        answer = self._leases.admit(request, now_us)
        if isinstance(answer, Limited):
            raise UnlimitedWasLimited(f"{job.id} has no limits, yet it was over its {answer.limit}")
        if isinstance(answer, Leased):
            self.units[answer.offer_id].change(+1, now_us)
            self._changed.add(answer.offer_id)
        return replace(answer, loads=self._loads_told(answer.loads))

    def _candidate(self, candidate: Candidate) -> LeaseCandidate:
        offer, conditions = candidate.offer, self._conditions
        if conditions.has_no_limits or conditions.stale_us:  # whoever does not look first cannot be held to a limit
            return LeaseCandidate(offer.id, UNBOUNDED, UNBOUNDED)
        tolerated = UNBOUNDED if conditions.does_harm else candidate.in_flight_max
        return LeaseCandidate(offer.id, offer.concurrency_max, tolerated)

    def _loads_told(self, loads: Mapping[OfferId, Load]) -> Mapping[OfferId, Load]:
        """The loads that a lease answers with: fresh, where state is shared."""
        return {} if self._conditions.stale_us else self._told(loads)

    def first_token(self, job_id: str, offer_id: OfferId, now_us: int) -> None:
        """A prompt no longer waits to be prefilled."""
        self._leases.started(job_id, offer_id, now_us)
        self._changed.add(offer_id)

    def release(self, job_id: str, offer_id: OfferId, now_us: int) -> None:
        """An answer ended and its place is free."""
        self._leases.release(job_id, offer_id, now_us)
        self.units[offer_id].change(-1, now_us)
        self._changed.add(offer_id)

    def learn_ttft(self, offer_id: OfferId, predicted_us: float, observed_us: float, tier: Tier) -> None:
        """Compares a first token with its forecast."""
        if not self._conditions.is_calibrated:
            return
        self._calibrator.on_first_token(offer_id, predicted_us, observed_us, tier)

    def learn_tpot(self, offer_id: OfferId, predicted_us: float, observed_us: float, tier: Tier) -> None:
        """Compares an answer's pace with what the measured curve says for the load it met."""
        if not self._conditions.is_calibrated:
            return
        self._calibrator.on_finished(offer_id, predicted_us, observed_us, tier)
