"""Routers to compare the dispatcher with: the rules that gateways commonly follow; pure.

Each rule puts offers in the order to try them. It is used twice: by :class:`PlainRouter`, which sends every request
somewhere at once, and as the ``rank`` of the production dispatcher, which then admits, queues and refuses as ours does
and only chooses otherwise.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Final

from pricing.slo import Tier
from scheduler.columns import Row, Rows
from scheduler.dispatcher import Dispatcher, UnknownJob
from scheduler.fleet import Fleet, Load, OfferId
from scheduler.jobs import Job, JobId
from scheduler.pickers import Pick, Rank, Scored, ranked
from scheduler.placement import Admit, Candidate, Dispatch, RefusalReason, Refuse, Wait
from scheduler.policy import DEFAULT_POLICY, Policy


class PolicyName(StrEnum):
    """Who decides."""

    GOODPUT = "goodput"
    ROUND_ROBIN = "round_robin"
    LEAST_BUSY = "least_busy"
    LOWEST_PRICE = "lowest_price"
    LOWEST_LATENCY = "lowest_latency"
    STATIC_TIERS = "static_tiers"


class RoundRobin:
    """Each offer in turn."""

    def __init__(self) -> None:
        self._last: dict[str, OfferId] = {}

    def __call__(self, found: list[Scored], pick: Pick, rng: Random, policy: Policy) -> list[Scored]:  # noqa: ARG002 (a Rank)
        """The offers from the one after the last that was first, by id."""
        ordered = sorted(found, key=lambda scored: scored.row.id)
        model = ordered[0].row.offer.model if ordered else ""
        last = self._last.get(model, OfferId(""))
        turned = [s for s in ordered if s.row.id > last] + [s for s in ordered if s.row.id <= last]
        if turned:
            self._last[model] = turned[0].row.id
        return turned[: policy.candidates_max]


class StaticTiers:
    """Each tier on offers of its own, the least busy of them first.

    Args:
        homes: the offers of each tier.
    """

    def __init__(self, homes: Mapping[Tier, frozenset[OfferId]]) -> None:
        self._homes = homes

    def __call__(self, found: list[Scored], pick: Pick, rng: Random, policy: Policy) -> list[Scored]:
        """The offers at home in the tier; none where it has none there."""
        return least_busy([s for s in found if s.row.id in self._homes[pick.tier]], pick, rng, policy)


def least_busy(found: list[Scored], pick: Pick, rng: Random, policy: Policy) -> list[Scored]:  # noqa: ARG001 (a Rank)
    """The emptiest first, relative to what each can hold; ties at random."""
    return _by([(s.in_flight / s.row.offer.concurrency_max, rng.random()) for s in found], found, policy)


def lowest_price(found: list[Scored], pick: Pick, rng: Random, policy: Policy) -> list[Scored]:
    """Whose tokens cost us least first; ties by the emptiest."""
    costs = [s.row.cost_input * pick.input_tokens + s.row.cost_output * pick.output_tokens for s in found]
    busy = [s.in_flight / s.row.offer.concurrency_max for s in found]
    return _by(list(zip(costs, busy, [rng.random() for _ in found], strict=True)), found, policy)


def lowest_latency(found: list[Scored], pick: Pick, rng: Random, policy: Policy) -> list[Scored]:
    """Where the last token is predicted earliest first."""
    return _by([(s.ttft_us + pick.output_tokens * s.tpot_us, rng.random()) for s in found], found, policy)


def _by(keys: Sequence[tuple[float, ...]], found: list[Scored], policy: Policy) -> list[Scored]:
    order = sorted(range(len(found)), key=keys.__getitem__)
    return [found[index] for index in order[: policy.candidates_max]]


def rule(name: PolicyName, homes: Mapping[Tier, frozenset[OfferId]]) -> Rank:
    """The rule of a name, with a memory of its own where it needs one.

    Args:
        name: which.
        homes: the offers of each tier, for the rule that keeps them apart.
    """
    rules: Final[dict[PolicyName, Rank]] = {
        PolicyName.GOODPUT: ranked,
        PolicyName.ROUND_ROBIN: RoundRobin(),
        PolicyName.LEAST_BUSY: least_busy,
        PolicyName.LOWEST_PRICE: lowest_price,
        PolicyName.LOWEST_LATENCY: lowest_latency,
        PolicyName.STATIC_TIERS: StaticTiers(homes),
    }
    return rules[name]


class PlainRouter:
    """Sends each request where a rule says, at once: no promise is looked at, nobody waits, nobody is refused.

    Args:
        rank: the rule.
        seed: of ties.
        policy: only its calibration of rows is used.
    """

    waiting = 0

    def __init__(self, rank: Rank, seed: int, policy: Policy = DEFAULT_POLICY) -> None:
        self._rank = rank
        self._rng = Random(seed)  # noqa: S311 (ties, not secrets)
        self._policy = policy
        self._rows = Rows(policy)
        self._admitted: dict[JobId, Admit] = {}

    def on_arrival(self, job: Job, fleet: Fleet, now_us: int) -> Admit | Wait | Refuse:  # noqa: ARG002 (a Router)
        """Sends it somewhere; refused only when no offer could ever hold it."""
        context_tokens = job.input_tokens + job.output_tokens_max
        rows = self._rows.of(fleet, job.model, job.ladder.served, job.needs).rows
        found = [_forecast(row, fleet.load(row.id), job) for row in rows if context_tokens <= row.context_max]
        best = self._rank(found, Pick(job.tier, 0, job.input_tokens, job.output_tokens), self._rng, self._policy)
        if not best:
            return Refuse(job, RefusalReason.NO_OFFER, None, f"no offer of {job.model} may serve {job.tier}")
        admit = Admit(job, job.tier, (_candidate(best[0]),))
        self._admitted[job.id] = admit
        return admit

    def on_leased(self, job_id: JobId, offer_id: OfferId, loads: Mapping[OfferId, Load], now_us: int) -> Dispatch:  # noqa: ARG002 (a Router)
        """It runs there."""
        admit = self._admitted.pop(job_id, None)
        if admit is None:
            raise UnknownJob(f"job {job_id} is not being admitted")
        return Dispatch(job_id, admit.tier, admit.candidates[0])

    def on_denied(self, job_id: JobId, loads: Mapping[OfferId, Load], now_us: int) -> Admit | Wait | Refuse:  # noqa: ARG002 (a Router)
        """An offer that has limits said no; there is no other plan."""
        job = self._admitted.pop(job_id).job
        return Refuse(job, RefusalReason.NO_CAPACITY, None, "the offer chosen was full")

    def on_released(self, fleet: Fleet, now_us: int) -> tuple[Admit, ...]:  # noqa: ARG002 (a Router)
        """Nobody waits."""
        return ()

    def on_tick(self, fleet: Fleet, now_us: int) -> tuple[Admit | Refuse, ...]:  # noqa: ARG002 (a Router)
        """Nothing depends on time."""
        return ()

    def next_tick_us(self, now_us: int) -> int | None:  # noqa: ARG002 (a Router)
        """Never."""
        return None


class NeverRefuses:
    """The production dispatcher, but what it would refuse runs all the same, where it is expected to end first.

    Args:
        seed: of ties.
    """

    def __init__(self, seed: int) -> None:
        self._careful = Dispatcher(seed=seed)
        self._plain = PlainRouter(lowest_latency, seed)
        self._forced: set[JobId] = set()

    @property
    def waiting(self) -> int:
        """Jobs that wait now."""
        return self._careful.waiting

    def on_arrival(self, job: Job, fleet: Fleet, now_us: int) -> Admit | Wait | Refuse:
        """A job arrives."""
        decision = self._careful.on_arrival(job, fleet, now_us)
        return self._force(decision, fleet, now_us) if isinstance(decision, Refuse) else decision

    def on_leased(self, job_id: JobId, offer_id: OfferId, loads: Mapping[OfferId, Load], now_us: int) -> Dispatch:
        """A lease was written."""
        if job_id in self._forced:
            self._forced.discard(job_id)
            return self._plain.on_leased(job_id, offer_id, loads, now_us)
        return self._careful.on_leased(job_id, offer_id, loads, now_us)

    def on_denied(self, job_id: JobId, loads: Mapping[OfferId, Load], now_us: int) -> Admit | Wait | Refuse:
        """No candidate had room."""
        return self._careful.on_denied(job_id, loads, now_us)

    def on_released(self, fleet: Fleet, now_us: int) -> tuple[Admit, ...]:
        """Room may have come free."""
        return self._careful.on_released(fleet, now_us)

    def on_tick(self, fleet: Fleet, now_us: int) -> tuple[Admit | Refuse, ...]:
        """Time passed: who has become hopeless runs now."""
        decisions = self._careful.on_tick(fleet, now_us)
        return tuple(self._force(each, fleet, now_us) if isinstance(each, Refuse) else each for each in decisions)

    def next_tick_us(self, now_us: int) -> int | None:
        """When ``on_tick`` is due."""
        return self._careful.next_tick_us(now_us)

    def _force(self, refused: Refuse, fleet: Fleet, now_us: int) -> Admit | Refuse:
        decision = self._plain.on_arrival(refused.job, fleet, now_us)
        if isinstance(decision, Admit):
            self._forced.add(refused.job.id)
            return decision
        return refused


def _forecast(row: Row, load: Load, job: Job) -> Scored:
    """What is predicted there, the engine's own queue included; loads beyond what was measured wait for a place."""
    measured = row.concurrency[-1]
    tpot_us = row.tpot_at(min(load.in_flight + 1, measured))
    behind = max(0, load.in_flight + 1 - min(measured, row.offer.concurrency_max))
    queue_us = behind / measured * job.output_tokens * tpot_us
    prompts = load.prefill_tokens + job.input_tokens
    ttft_us = row.ttft_base_us + prompts * row.prompt_token_us + queue_us
    return Scored(0.0, row, load.in_flight, measured, ttft_us, tpot_us)


def _candidate(scored: Scored) -> Candidate:
    row = scored.row
    return Candidate(
        offer=row.offer,
        in_flight_max=scored.in_flight_max,
        ttft_us=scored.ttft_us / row.calibration.ttft,
        tpot_us=scored.tpot_us / row.calibration.tpot,
        value_pico=0.0,
        calibration=row.calibration,
    )
