"""From a period's tally to the revisions that it suggests, each with its evidence; pure.

See :mod:`pricing.feedback` for what is metered and how a figure moves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from app.clock import from_us
from app.planning.in_force import InForce
from app.planning.inputs import MARKET, Revision, Source
from app.planning.observed import Sample, samples, summary
from app.planning.priced import PricedModelSpec
from app.planning.resolve import Shipped, priced_model
from app.planning.supplied import Running
from app.planning.tally import Counted, Tally, attained
from pricing.assumptions import Adder, Assumptions
from pricing.candidates import Selection
from pricing.costs import TokenCosts
from pricing.derive import derive
from pricing.feedback import DEFAULT_CAUTION, DIGITS, Caution, gpu_seconds, moved, moved_shares, utilisation
from pricing.slo import US_PER_S, Tier

UTILISATION_MIN: Final = 0.2
"""Prices never rest on less, unless ``utilisation_min`` says so: idle hardware must not price the last buyer away."""
SCALE_MIN, SCALE_MAX = 0.5, 3.0
"""A profile that is further off than this should be measured again, not corrected."""


@dataclass(frozen=True, slots=True)
class Period:
    """What was metered.

    Attributes:
        since_us, until_us: µs since the epoch, half open.
        is_whole: False where there were more answers than are read; ``until_us`` is as far as they were.
    """

    since_us: int
    until_us: int
    is_whole: bool = True

    @property
    def once(self) -> str:
        """What makes a period metered twice metered once."""
        return f"metered:{self.since_us}"

    def document(self) -> dict[str, Any]:
        """For evidence."""
        return {"since": _iso(self.since_us), "until": _iso(self.until_us), "is_whole": self.is_whole}


@dataclass(frozen=True, slots=True)
class Loop:
    """What a run of the return loop works on.

    Attributes:
        given: the inputs in force.
        specs: every priced model.
        running: every deployment.
        now_us: when the revisions come into force, µs since the epoch.
        counts_emulated: False leaves emulated deployments out, with what they would cost.
    """

    given: InForce
    specs: tuple[PricedModelSpec, ...]
    running: tuple[Running, ...]
    shipped: Shipped
    now_us: int
    caution: Caution = DEFAULT_CAUTION
    counts_emulated: bool = True

    def counts(self, each: Running) -> bool:
        """True of a deployment whose hours are paid for and whose answers are counted."""
        return each.is_owned and each.is_paid and (self.counts_emulated or not each.is_emulated)


@dataclass(frozen=True, slots=True)
class Suggested:
    """What a period suggests.

    Attributes:
        revisions: to be stored; each moves an input.
        notes: why others do not move, in words.
    """

    revisions: tuple[Revision, ...]
    notes: tuple[str, ...]


def suggested(loop: Loop, tally: Tally, period: Period) -> Suggested:
    """Every revision that the period's evidence suffices for."""
    found: list[Revision] = []
    notes: list[str] = []
    for made in (
        _utilisations(loop, tally, period),
        _attainments(loop, tally, period),
        _corrections(loop, tally, period),
    ):
        for each in made:
            if isinstance(each, str):
                notes.append(each)
            else:
                found.append(each)
    return Suggested(tuple(found), tuple(notes))


def _utilisations(loop: Loop, tally: Tally, period: Period) -> Iterable[Revision | str]:
    for spec in loop.specs:
        subject = f"model:{spec.public_name}"
        used, parts, counted = _use_of(spec, loop, tally, period)
        paid_s = sum(part["gpu_s_paid"] for part in parts.values())
        observed = utilisation(used, paid_s)
        if observed is None:
            yield f"{subject} utilisation: no hardware of its own is paid for by the hour"
            continue
        base = loop.given.value("utilisation", [subject, MARKET], Assumptions().utilisation)
        least = loop.given.value("utilisation_min", [MARKET], UTILISATION_MIN)
        after = moved(base, observed, min(least, base), 1.0, loop.caution)
        evidence = {
            **_evidence(counted, period),
            "observed": _digits(observed),
            "before": base,
            "gpu_s_used": _digits(used),
            "gpu_s_paid": _digits(paid_s),
            "deployments": parts,
            "least": least,
        }
        yield _revision(loop, (subject, "utilisation"), after, base, (counted, evidence, period))


def _use_of(
    spec: PricedModelSpec, loop: Loop, tally: Tally, period: Period
) -> tuple[float, dict[str, dict[str, float]], Counted]:
    """Accelerator-seconds used, and by deployment used and paid; with how many answers say so."""
    total, parts, counted = 0.0, dict[str, dict[str, float]](), Counted()
    for each in loop.running:
        if each.model != spec.public_name or not loop.counts(each):
            continue
        point = _operating(spec, each, loop)
        if point is None:
            continue
        costs, usd_per_hour, n_gpus = point
        used = sum(
            gpu_seconds(tokens, costs.get(tier) or next(iter(costs.values())), usd_per_hour)
            for (offer, tier), tokens in tally.used.items()
            if offer == each.offer_id
        )
        paid = n_gpus * max(period.until_us - max(period.since_us, each.since_us), 0) / US_PER_S
        parts[each.offer_id] = {"gpu_s_used": _digits(used), "gpu_s_paid": _digits(paid)}
        total += used
        said = tally.counted.get(each.offer_id, Counted())
        counted.requests += said.requests
        counted.tokens += said.tokens
        counted.requests_emulated += said.requests_emulated
    return total, parts, counted


def _operating(spec: PricedModelSpec, each: Running, loop: Loop) -> tuple[Mapping[Tier, TokenCosts], float, int] | None:
    """Costs at full use by tier, price of an accelerator-hour and accelerators of a deployment; None where unknown."""
    model = priced_model(spec, loop.given, loop.shipped)
    ours = [one for one in model.profiles if one.configuration.deployment_id == each.deployment_id]
    if not ours or ours[0].configuration.hardware not in model.hardware_costs:
        return None
    alone = replace(
        model.assumptions,
        selection=Selection(deployment_id=frozenset({each.deployment_id})),
        adder=Adder(slowdown=spec.adder.slowdown),  # of a tuned model only its time; its dollars are no hardware's
        premium_deployment_id=None,
        uncertainty=None,
    )
    try:
        tiers = derive(spec.profiled_as, ours, model.hardware_costs, alone).tiers
    except ValueError:
        return None
    configuration = ours[0].configuration
    first = (Tier.STANDARD, *Tier)
    costs = {tier: tiers[tier].cost_full for tier in first if tier in tiers}
    return (costs, model.hardware_costs[configuration.hardware].usd_per_hour, configuration.n_gpus) if costs else None


def _attainments(loop: Loop, tally: Tally, period: Period) -> Iterable[Revision | str]:
    for served in Tier:
        subject = f"tier:{served}"
        counted = tally.counted_tier.get(served, Counted())
        met = attained(tally.earned.get(served, {}), loop.caution.tokens_min)
        if met is None:
            yield f"{subject} attainment: nothing was served"
            continue
        default = {tier.value: share for tier, share in Assumptions().attainment[served].items()}
        base = loop.given.value("attainment", [subject], default)
        before = {Tier(name): share for name, share in base.items()}
        after = moved_shares(before, met.shares, served, loop.caution)
        evidence = {
            **_evidence(counted, period),
            "observed": {tier.value: _digits(share) for tier, share in met.shares.items()},
            "before": dict(base),
            "customers": met.customers,
            "largest_customer_share": _digits(met.largest_share),
            "largest_customer_held_back": met.is_held_back,
        }
        value = {tier.value: share for tier, share in after.items()}
        yield _revision(loop, (subject, "attainment"), value, dict(base), (counted, evidence, period))


def _corrections(loop: Loop, tally: Tally, period: Period) -> Iterable[Revision | str]:
    """One correction per profile, of whatever offers run it."""
    by_profile: dict[str, list[Sample]] = {}
    emulated: dict[str, int] = {}
    for profile, each in _profiled(loop):
        found = [] if each.curve is None else samples(tally.passages.get(each.offer_id, []), each.curve)
        by_profile.setdefault(profile, []).extend(found)
        emulated[profile] = emulated.get(profile, 0) + (len(found) if each.is_emulated else 0)
    for profile, found in sorted(by_profile.items()):
        observed = summary(found, loop.caution.tokens_min)
        counted = Counted(observed.requests, observed.tokens, emulated[profile])
        for name, ratio in (("ttft_scale", observed.ttft), ("tpot_scale", observed.tpot)):
            subject = f"deployment:{profile}"
            if ratio is None:
                yield f"{subject} {name}: no streamed answer to judge by"
                continue
            base = loop.given.value(name, [subject], 1.0)
            after = moved(base, ratio, SCALE_MIN, SCALE_MAX, loop.caution)
            evidence = {
                **_evidence(counted, period),
                "observed": _digits(ratio),
                "before": base,
                "method": "median of observed over predicted, at the load that each answer met",
            }
            yield _revision(loop, (subject, name), after, base, (counted, evidence, period))


def _profiled(loop: Loop) -> Iterable[tuple[str, Running]]:
    """Deployments with the profile that they follow."""
    known = {spec.public_name: spec.profiled_as for spec in loop.specs}
    for each in loop.running:
        if each.model in known:
            yield f"{known[each.model]}@{each.deployment_id}", each


def _revision(
    loop: Loop, key: tuple[str, str], after: Any, before: Any, backed: tuple[Counted, Mapping[str, Any], Period]
) -> Revision | str:
    """The revision, or why there is none."""
    subject, name = key
    counted, evidence, period = backed
    current = loop.given.revisions.get(key) or loop.given.revisions.get((MARKET, name))
    if current is not None and current.is_pinned:
        return f"{subject} {name}: pinned by {current.actor}"
    if not loop.caution.suffices(counted.requests, counted.tokens):
        return (
            f"{subject} {name}: {counted.requests} answers of {counted.tokens} tokens; needs "
            f"{loop.caution.requests_min} of {loop.caution.tokens_min}"
        )
    if after == before:
        return f"{subject} {name}: as it was"
    return Revision(
        subject=subject,
        name=name,
        value=after,
        source=Source.METERED,
        effective_at_us=loop.now_us,
        created_at_us=loop.now_us,
        actor="return loop",
        reason=f"metered from {_iso(period.since_us)} to {_iso(period.until_us)}",
        evidence=evidence,
        once=period.once,
    )


def _evidence(counted: Counted, period: Period) -> dict[str, Any]:
    return {
        "period": period.document(),
        "requests": counted.requests,
        "tokens": counted.tokens,
        "requests_emulated": counted.requests_emulated,
    }


def _digits(value: float) -> float:
    return round(value, DIGITS)


def _iso(at_us: int) -> str:
    moment: datetime = from_us(at_us)
    return moment.isoformat()
