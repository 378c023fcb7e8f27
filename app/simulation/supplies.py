"""From offers to what stands behind them: an engine that makes their tokens, and what an hour of it costs; pure.

An offer carries the load curve of a measured deployment. Where that deployment is among the known profiles, the engine
is fitted to all that was measured; else to the curve alone, and the report says so.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.simulation.market import Market, Supply
from pricing.deployments import deployment as measured
from pricing.deployments import slowed
from pricing.hardware import HardwareCost
from pricing.money import NANO_PER_USD, ZERO, NanoUsd
from pricing.pricebook import PriceBook
from pricing.profiles import Deployment, Profile, cleaned
from providers.engine_model.deployments import batch_fit, remote_spec_of
from providers.engine_model.spec import BatchSpec, EngineSpec, RemoteSpec
from scheduler.fleet import Offer

PS_PER_US: Final = 1_000_000
PS_PER_S: Final = 10**12
NS_PER_US: Final = 1_000
CHUNK_TOKENS: Final = 8_192
SAME: Final = 1e-6
"""Two curves are one when their times differ by less than this share, up to a common factor."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about hardware.

    Attributes:
        profiles: everything measured.
        hardware_costs: by hardware.
    """

    profiles: tuple[Profile, ...]
    hardware_costs: Mapping[str, HardwareCost]


def market_of(book: PriceBook, offers: Iterable[Offer], evidence: Evidence, source: str) -> Market:
    """A market in which every offer has the engine that its evidence supports.

    Raises:
        ImpossibleMarket: no offer makes anything that the book sells.
        FitError: no engine fits a load curve.
    """
    known = cleaned(evidence.profiles)
    costs = evidence.hardware_costs
    return Market(book, tuple(supply_of(offer, followed(offer, known), costs) for offer in offers), source)


def supply_of(offer: Offer, found: Deployment | None, hardware_costs: Mapping[str, HardwareCost]) -> Supply:
    """An offer with its engine.

    Args:
        offer: as the scheduler sees it.
        found: the measured deployment that it follows; None when nobody measured one.
        hardware_costs: by hardware.
    """
    if found is None:
        note = "engine from the load curve alone: its profile is not among those known"
        unpriced = ("hours not costed: its hardware is not known",) if offer.is_owned else ()
        return Supply(offer, engine_for(offer), notes=(note, *unpriced))
    if not offer.is_owned:
        return Supply(offer, _within(remote_spec_of(found), offer), notes=(found.basis.value,))
    fitted = batch_fit(found)
    hour = hourly(found, hardware_costs)
    notes = (
        found.basis.value,
        *(f"{name} not told by the data" for name in fitted.unidentified),
        *(f"{name} assumed" for name in fitted.assumed),
        *(() if hour else (f"hours not costed: no cost of {found.configuration.hardware} per hour is known",)),
    )
    return Supply(offer, fitted.spec, hour or ZERO, notes)


def followed(offer: Offer, profiles: Iterable[Profile]) -> Deployment | None:
    """The measured deployment whose load curve an offer has, up to a common factor; None when there is none.

    Args:
        offer: with its curve.
        profiles: cleaned ones.
    """
    for profile in profiles:
        if profile.configuration.deployment_id == offer.deployment_id:
            for lengths in profile.classes:
                found = measured(profile, lengths)
                factor = _factor(offer, found)
                if factor is not None:
                    return found if math.isclose(factor, 1.0, rel_tol=SAME) else slowed(found, factor)
    return None


def hourly(found: Deployment, hardware_costs: Mapping[str, HardwareCost]) -> NanoUsd | None:
    """What an hour of one replica costs, nano-USD; None when nobody says what its hardware costs."""
    cost = hardware_costs.get(found.configuration.hardware)
    return None if cost is None else NanoUsd(round(found.n_gpus * cost.usd_per_hour * NANO_PER_USD))


def engine_for(offer: Offer) -> EngineSpec:
    """An engine for an offer of which only the load curve is known, not the lengths it was measured with.

    Its steps take what the curve says at each load, and prompts take their time on top; a hosted one shares its speed.
    """
    speed = offer.speed
    prefill_ps = round(PS_PER_S / speed.prefill_tok_s)
    entry_ns = round(speed.ttft_base_us * NS_PER_US)
    if not offer.is_owned:
        shared_ps = round(speed.tpot_us[-1] * PS_PER_US / max(offer.concurrency_max, speed.concurrency[-1]))
        alone_ps = round(speed.tpot_us[0] * PS_PER_US)
        return RemoteSpec(alone_ps, shared_ps, offer.concurrency_max, entry_ns=entry_ns, prefill_ps=prefill_ps)
    return BatchSpec(
        base_ps=tuple(
            (load, round(tpot_us * PS_PER_US)) for load, tpot_us in zip(speed.concurrency, speed.tpot_us, strict=True)
        ),
        kv_ps=0,
        prefill_ps=prefill_ps,
        chunk_tokens=max(CHUNK_TOKENS, offer.concurrency_max),
        max_seqs=offer.concurrency_max,
        entry_ns=entry_ns,
    )


def _factor(offer: Offer, found: Deployment) -> float | None:
    """How many times slower the offer's curve is than the deployment's; None when they have different shapes."""
    speed = offer.speed
    if speed.concurrency != found.concurrency:
        return None
    factor = speed.tpot_us[0] / found.tpot_us[0]
    pairs = zip(speed.tpot_us, found.tpot_us, strict=True)
    return factor if all(math.isclose(mine, theirs * factor, rel_tol=SAME) for mine, theirs in pairs) else None


def _within(spec: RemoteSpec, offer: Offer) -> RemoteSpec:
    """A hosted engine that holds at least the context that its offer promises."""
    if spec.context_max >= offer.context_max:
        return spec
    return RemoteSpec(
        spec.token_ps_min,
        spec.token_ps_shared,
        spec.concurrency_max,
        entry_ns=spec.entry_ns,
        prefill_ps=spec.prefill_ps,
        context_max=offer.context_max,
    )
