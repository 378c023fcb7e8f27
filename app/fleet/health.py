"""How well each offer does, as this process experienced it: breakers, learned corrections, loads met; pure."""

import zlib
from collections.abc import Iterable, Mapping
from enum import StrEnum

from app.fleet.experience import LoadHistory
from app.fleet.roster import Deployed, State
from pricing.slo import US_PER_S, Tier
from providers.errors import ProviderCredentialRejected, ProviderError, ProviderOverloaded
from scheduler.breaker import Breaker, BreakerState, FailureKind, is_panicking, shut
from scheduler.calibration import Calibrator
from scheduler.fleet import NEUTRAL, Calibration, Load, OfferId


class Entry(StrEnum):
    """How one attempt at an offer begins."""

    FREE = "free"
    """Like any other."""
    PROBE = "probe"
    """It alone tells whether the offer is well again; whoever makes it owes a verdict, or says that it left."""
    SHUT = "shut"
    """Not at all: the breaker shut since the place was given, or another probes it."""


class Health:
    """Breaker, calibration and load history of every registered offer."""

    def __init__(self) -> None:
        self._breakers: dict[OfferId, Breaker] = {}
        self._histories: dict[OfferId, LoadHistory] = {}
        self._deployed: dict[OfferId, Deployed] = {}
        self._calibrator = Calibrator()
        self._calibrations: dict[OfferId, Calibration] = {}

    def update(self, deployed: Iterable[Deployed], now_us: int) -> None:
        """Begins to follow new offers, forgets vanished ones, and starts afresh with those that were changed."""
        found = {each.id: each for each in deployed}
        for offer_id in self._deployed.keys() - found.keys():
            self._forget(offer_id)
            del self._breakers[offer_id]
        for offer_id, each in found.items():
            before = self._deployed.get(offer_id)
            if before is None:
                self._breakers[offer_id] = Breaker(seed=zlib.crc32(offer_id.encode()))
            elif before.version != each.version:
                self._breakers[offer_id].mend(now_us)
            if before is None or before.spec.speed != each.spec.speed:
                self._forget(offer_id)
                self._histories[offer_id] = LoadHistory(each.spec.speed, 0, now_us)
        self._deployed = found

    def note_loads(self, loads: Mapping[OfferId, Load], now_us: int) -> None:
        """The loads are these from now on."""
        for offer_id, load in loads.items():
            if history := self._histories.get(offer_id):
                history.note(load.in_flight, now_us)

    def first_token(self, offer_id: OfferId, tier: Tier, predicted_us: float, observed_us: float) -> None:
        """A first token came."""
        if offer_id in self._breakers:
            self._calibrator.on_first_token(offer_id, predicted_us, observed_us, tier)
            self._keep(offer_id, self._calibrator.calibration(offer_id))

    def paced(self, offer_id: OfferId, tier: Tier, predicted_tpot_us: float, observed_tpot_us: float) -> None:
        """An answer came at this pace, or comes at it so far."""
        if offer_id in self._breakers:
            self._calibrator.on_finished(offer_id, predicted_tpot_us, observed_tpot_us, tier)
            self._keep(offer_id, self._calibrator.calibration(offer_id))

    def tpot_us_since(self, offer_id: OfferId, since_us: int, now_us: int) -> float | None:
        """What the measured curve predicts per token for the load met since then; None when that is not known."""
        history = self._histories.get(offer_id)
        return None if history is None else history.tpot_us_since(since_us, now_us)

    def succeeded(self, offer_id: OfferId, now_us: int) -> None:
        """An answer finished."""
        if breaker := self._breakers.get(offer_id):
            breaker.on_success(now_us)

    def failed(self, offer_id: OfferId, error: ProviderError, now_us: int) -> None:
        """An attempt failed."""
        if breaker := self._breakers.get(offer_id):
            breaker.on_failure(failure_kind(error), now_us, _retry_after_us(error))

    def enter(self, offer_id: OfferId, now_us: int) -> Entry:
        """A request goes there; of those that meet a half-open breaker, exactly one is the probe."""
        breaker = self._breakers.get(offer_id)
        if breaker is None or breaker.state(now_us) is BreakerState.CLOSED:
            return Entry.FREE
        is_panic = is_panicking(self._beside(offer_id), now_us)
        is_probed = breaker.is_probed(now_us)
        if not breaker.enter(now_us, is_panic=is_panic):
            return Entry.SHUT
        return Entry.PROBE if breaker.state(now_us) is BreakerState.HALF_OPEN and not is_probed else Entry.FREE

    def left(self, offer_id: OfferId) -> None:
        """A probe ended without a verdict; the next request may be one."""
        if breaker := self._breakers.get(offer_id):
            breaker.on_left()

    def _beside(self, offer_id: OfferId) -> dict[OfferId, Breaker]:
        """The breakers of all offers of the same model that operators let work."""
        model = self._deployed[offer_id].spec.model
        return {
            other: self._breakers[other]
            for other, each in self._deployed.items()
            if each.spec.model == model and each.decided is State.ENABLED
        }

    def breaker_state(self, offer_id: OfferId, now_us: int) -> BreakerState:
        """The breaker's state; closed for an offer that is not known."""
        breaker = self._breakers.get(offer_id)
        return BreakerState.CLOSED if breaker is None else breaker.state(now_us)

    def closed(self, now_us: int) -> frozenset[OfferId]:
        """Offers that must get no new work: by an operator's decision, or because they fail."""
        decided = {offer_id for offer_id, each in self._deployed.items() if each.decided is not State.ENABLED}
        by_model: dict[str, dict[OfferId, Breaker]] = {}
        for offer_id, each in self._deployed.items():
            if offer_id not in decided:
                by_model.setdefault(each.spec.model, {})[offer_id] = self._breakers[offer_id]
        return frozenset(decided).union(*(shut(breakers, now_us) for breakers in by_model.values()))

    def limits(self, loads: Mapping[OfferId, Load], now_us: int) -> dict[OfferId, int]:
        """For offers that recover: how many requests they may run now."""
        limits: dict[OfferId, int] = {}
        for offer_id, breaker in self._breakers.items():
            if breaker.state(now_us) is BreakerState.HALF_OPEN:
                limits[offer_id] = loads.get(offer_id, Load()).in_flight + 1  # one probe beside what still runs
            elif (share := breaker.share(now_us)) < 1:
                limits[offer_id] = round(self._deployed[offer_id].spec.concurrency_max * share)
        return limits

    def calibrations(self, now_us: int | None = None) -> Mapping[OfferId, Calibration]:
        """All corrections that are not neutral; with a time, untested ones drift towards neutral first.

        A correction that did not change stays the same object.
        """
        if now_us is not None:
            for offer_id, calibration in self._calibrator.calibrations(now_us).items():
                self._keep(offer_id, calibration)
        return dict(self._calibrations)

    def _keep(self, offer_id: OfferId, calibration: Calibration) -> None:
        if calibration != self._calibrations.get(offer_id, NEUTRAL):
            self._calibrations[offer_id] = calibration

    def _forget(self, offer_id: OfferId) -> None:
        self._calibrator.forget(offer_id)
        self._calibrations.pop(offer_id, None)
        self._histories.pop(offer_id, None)


def failure_kind(error: ProviderError) -> FailureKind:
    """What a failure says about the backend."""
    match error:
        case ProviderOverloaded():
            return FailureKind.OVERLOADED
        case ProviderCredentialRejected():
            return FailureKind.CREDENTIAL
        case _:
            return FailureKind.UNHEALTHY if error.trips_breaker else FailureKind.REQUEST


def _retry_after_us(error: ProviderError) -> int | None:
    if isinstance(error, ProviderOverloaded) and error.retry_after_s is not None:
        return round(error.retry_after_s * US_PER_S)
    return None
