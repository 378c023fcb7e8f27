"""Laws of the dispatcher that hold for any fleet, any jobs and any order of events."""

import copy
from collections import Counter
from dataclasses import fields, replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pricing.money import Rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Calibration, Fleet, Load, Offer, OfferId, SpeedCurve
from scheduler.jobs import Capability, Job, JobId
from scheduler.placement import Admit, Candidate, Refuse, Wait
from scheduler.policy import Policy

MODEL = "model"
S = 1_000_000
Command = Admit | Wait | Refuse


def rates(per_token: int) -> Rates:
    return Rates(Rate(per_token), Rate(per_token), Rate(per_token), Rate(4 * per_token))


RUNGS = (
    Rung(Tier.PREMIUM, Slo(600_000, 20_000), rates(800)),
    Rung(Tier.STANDARD, Slo(2_000_000, 60_000), rates(200)),
    Rung(Tier.BULK, Slo(900 * S, 0), rates(100)),
)


def a_curve(rng: Random) -> SpeedCurve:
    loads = sorted(rng.sample(range(1, 25), rng.randint(1, 4)))
    times = sorted(rng.uniform(1_000, 80_000) for _ in loads)
    return SpeedCurve(tuple(loads), tuple(times), rng.uniform(0, 300_000), rng.uniform(1_000, 100_000))


def an_offer(rng: Random, name: str) -> Offer:
    return Offer(
        id=OfferId(name),
        provider_id=name,
        deployment_id="d",
        model=MODEL,
        speed=a_curve(rng),
        concurrency_max=rng.randint(0, 30),
        context_max=rng.choice([2_000, 100_000]),
        cost=rates(rng.randint(0, 300)),
        is_owned=rng.random() < 0.5,
        capabilities=frozenset(each for each in (Capability.TOOLS, Capability.STREAMING) if rng.random() < 0.7),
        tiers=frozenset(rng.sample(list(Tier), rng.randint(1, 3))),
    )


def a_fleet(rng: Random) -> Fleet:
    """Up to four offers in any state; about what each field says nothing is known every other time."""
    ids = [OfferId(f"o{index}") for index in range(rng.randint(0, 4))]

    def some() -> list[OfferId]:
        return [offer_id for offer_id in ids if rng.random() < 0.5]

    return Fleet(
        offers={MODEL: tuple(an_offer(rng, offer_id) for offer_id in ids)} if ids else {},
        loads={each: Load(rng.randint(0, 30), rng.randint(1, 30), rng.randint(0, 20_000)) for each in some()},
        calibrations={each: Calibration(rng.uniform(0.5, 5), rng.uniform(0.5, 5)) for each in some()},
        closed=frozenset(rng.sample(ids, min(len(ids), rng.randint(0, 2)))),
        shares={each: rng.uniform(0.1, 1) for each in some()},
        shadow_prices={each: rng.uniform(0, 1e6) for each in some()},
    )


def a_job(rng: Random, name: str = "j") -> Job:
    index = rng.randint(0, 2)
    output_tokens_max = rng.choice([0, 1, rng.randint(0, 1_500)])
    return Job(
        id=JobId(name),
        customer_id=rng.choice(["ada", "bob", "eve"]),
        model=MODEL,
        tier=RUNGS[index].tier,
        ladder=Ladder(RUNGS[index:]),
        requested_at_us=rng.randint(0, 3 * S),
        input_tokens=rng.choice([0, rng.randint(0, 5_000)]),
        output_tokens=rng.randint(0, output_tokens_max),
        output_tokens_max=output_tokens_max,
        needs=frozenset([Capability.TOOLS] if rng.random() < 0.2 else []),
        excluded=frozenset([rng.choice(["o0", "o1"])] if rng.random() < 0.2 else []),
        downgrade_allowed=rng.random() < 0.3,
    )


# Drawn whole from a seed: drawing every field apart takes Hypothesis a hundred times as long.
rngs = st.integers(0, 2**32).map(Random)
fleets = rngs.map(a_fleet)
jobs = rngs.map(a_job)
moments = st.integers(0, 4 * S)


def served(admit: Admit) -> Rung:
    return next(rung for rung in admit.job.ladder if rung.tier is admit.tier)


def keeps_its_promise(candidate: Candidate, admit: Admit, fleet: Fleet, now_us: int) -> None:
    """Everything an admission asserts, checked from the definitions."""
    offer, load, slo = candidate.offer, fleet.load(candidate.offer.id), served(admit).slo
    job, factor = admit.job, fleet.calibration(offer.id)
    assert offer.id not in fleet.closed
    assert offer.id not in job.excluded
    assert admit.tier in offer.tiers
    assert job.needs <= offer.capabilities
    assert job.input_tokens + job.output_tokens_max <= offer.context_max
    assert load.in_flight + 1 <= min(offer.concurrency_max, offer.speed.concurrency[-1])
    assert load.in_flight + 1 <= load.in_flight_tolerated
    assert load.in_flight + 1 <= candidate.in_flight_max <= offer.concurrency_max
    left_us = slo.ttft_us - max(0, now_us - job.requested_at_us)
    first_us = candidate.ttft_us * factor.ttft
    if slo.is_window:
        first_us += max(0, job.output_tokens - 1) * candidate.tpot_us * factor.tpot
    else:
        assert candidate.tpot_us * factor.tpot <= slo.tpot_us * 1.000001
    assert first_us <= left_us * 1.000001


@given(fleet=fleets, job=jobs, now_us=moments)
def test_every_candidate_keeps_the_promise_and_does_no_harm(fleet: Fleet, job: Job, now_us: int) -> None:
    command = Dispatcher().on_arrival(job, fleet, now_us)
    if isinstance(command, Admit):
        assert 1 <= len(command.candidates) <= 3
        assert len({each.offer.id for each in command.candidates}) == len(command.candidates)
        for candidate in command.candidates:
            keeps_its_promise(candidate, command, fleet, now_us)


@given(fleet=fleets, job=jobs, now_us=moments)
def test_the_tier_served_is_the_one_asked_for_or_an_allowed_lower_one(fleet: Fleet, job: Job, now_us: int) -> None:
    command = Dispatcher().on_arrival(job, fleet, now_us)
    if isinstance(command, Admit):
        assert command.tier is job.tier or (job.downgrade_allowed and command.tier.rank > job.tier.rank)


@given(fleet=fleets, job=jobs, now_us=moments)
def test_waiting_ends_before_the_promise_and_a_refusal_explains_itself(fleet: Fleet, job: Job, now_us: int) -> None:
    command = Dispatcher().on_arrival(job, fleet, now_us)
    if isinstance(command, Wait):
        last = job.ladder.rungs[-1 if job.downgrade_allowed else 0].slo
        assert now_us <= command.until_us <= max(now_us, job.requested_at_us) + last.ttft_us
    if isinstance(command, Refuse):
        assert len(command.explanation) > 20
        assert "inf" not in command.explanation.split()
        assert "nan" not in command.explanation
        assert command.retry_after_us is None or 100_000 <= command.retry_after_us <= 120 * S


@given(fleet=fleets, arriving=st.lists(jobs, max_size=6), seed=st.integers(0, 5))
def test_the_same_inputs_and_seed_give_the_same_outputs(fleet: Fleet, arriving: list[Job], seed: int) -> None:
    def decisions() -> list[Command]:
        dispatcher = Dispatcher(Policy(explore_share=0.3), seed)
        return [
            dispatcher.on_arrival(replace(job, id=JobId(f"j{index}")), fleet, job.requested_at_us)
            for index, job in enumerate(arriving)
        ]

    assert decisions() == decisions()


@given(fleet=fleets, first=jobs, second=jobs, now_us=moments)
def test_a_decision_depends_on_the_state_alone_not_on_how_often_it_was_asked(
    fleet: Fleet, first: Job, second: Job, now_us: int
) -> None:
    dispatcher = Dispatcher()
    dispatcher.on_arrival(replace(first, id=JobId("first")), fleet, now_us)
    twin = copy.deepcopy(dispatcher)
    assert twin.on_arrival(second, fleet, now_us) == dispatcher.on_arrival(second, fleet, now_us)


@given(
    fleet=fleets,
    job=jobs,
    offer=rngs.map(lambda rng: an_offer(rng, "z")),
    why=st.sampled_from(["shut", "small", "none at once"]),
    now_us=moments,
)
def test_an_offer_that_cannot_serve_changes_nothing(
    fleet: Fleet, job: Job, offer: Offer, why: str, now_us: int
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "shut": {},
        "small": {"context_max": -1},
        "none at once": {"concurrency_max": 0},
    }
    known = fleet.offers.get(MODEL, ())
    position = len(offer.speed.concurrency)
    larger = replace(
        fleet,
        offers={MODEL: (*known[:position], replace(offer, **changes[why]), *known[position:])},
        closed=fleet.closed | ({offer.id} if why == "shut" else frozenset()),
    )
    before = Dispatcher().on_arrival(job, fleet, now_us)
    after = Dispatcher().on_arrival(job, larger, now_us)
    assert type(after) is type(before)
    if not isinstance(before, Refuse):
        assert after == before


@given(fleet=fleets, job=jobs, seed=st.integers(0, 100))
def test_the_true_length_of_an_answer_is_out_of_sight(fleet: Fleet, job: Job, seed: int) -> None:
    # a driver knows how long answers will be; shuffling what it knows cannot reach a decision, because nothing that the
    # dispatcher is given has a place for it
    assert {field.name for field in fields(Job)} == {
        *("id", "customer_id", "model", "tier", "ladder", "requested_at_us", "input_tokens", "output_tokens"),
        *("output_tokens_max", "needs", "excluded", "downgrade_allowed", "wishes", "affinity", "is_explained"),
    }
    lengths = list(range(10))

    def decisions() -> list[Command]:
        dispatcher = Dispatcher()
        commands: list[Command] = []
        for true_length in lengths:
            command = dispatcher.on_arrival(replace(job, id=JobId(f"j{len(commands)}")), fleet, job.requested_at_us)
            if isinstance(command, Admit):
                dispatcher.on_leased(command.job.id, command.candidates[0].offer.id, {}, job.requested_at_us + 1)
            commands.append(command)
            assert 0 <= true_length < len(lengths)
        return commands

    before = decisions()
    Random(seed).shuffle(lengths)  # noqa: S311 (a test's seeded generator)
    assert decisions() == before


class Market(RuleBasedStateMachine):
    """Any interleaving of events, driven as a driver would: every job has exactly one end, and no bound is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 0
        self.count = 0
        self.dispatcher = Dispatcher(Policy(queue_max=4, admitted_max=6, tries_max=3))
        self.running: dict[str, Candidate] = {}
        self.admitted: dict[str, Admit] = {}
        self.waiting: set[str] = set()
        self.ends: Counter[str] = Counter()
        self.tuple_of_offers = tuple(
            Offer(
                OfferId(name), name, "d", MODEL,
                SpeedCurve((1, 4, 8), (10_000.0, 15_000.0, 30_000.0), 50_000.0, 20_000.0),
                concurrency_max, 100_000, rates(10),
            )
            for name, concurrency_max in (("a", 3), ("b", 8))
        )  # fmt: skip

    @property
    def loads(self) -> dict[OfferId, Load]:
        by_offer: dict[OfferId, Load] = {}
        for candidate in self.running.values():
            load = by_offer.get(candidate.offer.id, Load())
            tolerated = min(load.in_flight_tolerated, candidate.in_flight_max)
            by_offer[candidate.offer.id] = Load(load.in_flight + 1, tolerated, load.prefill_tokens)
        return by_offer

    @property
    def fleet(self) -> Fleet:
        return Fleet({MODEL: self.tuple_of_offers}, self.loads)

    def obey(self, command: Command) -> None:
        job_id = command.job.id
        assert not self.ends[job_id], "a job that had its end is heard of again"
        self.waiting.discard(job_id)
        match command:
            case Admit():
                assert job_id not in self.admitted
                self.admitted[job_id] = command
            case Wait():
                self.waiting.add(job_id)
            case Refuse():
                self.ends[job_id] += 1

    @rule(tier=st.integers(0, 2), customer=st.sampled_from("ab"), tokens=st.integers(0, 4_000), lower=st.booleans())
    def arrive(self, tier: int, customer: str, tokens: int, lower: bool) -> None:  # noqa: FBT001 (Hypothesis draws it)
        self.count += 1
        job = Job(
            JobId(f"j{self.count}"), customer, MODEL, RUNGS[tier].tier, Ladder(RUNGS[tier:]), self.now_us,
            tokens, 50, 50, downgrade_allowed=lower,
        )  # fmt: skip
        self.obey(self.dispatcher.on_arrival(job, self.fleet, self.now_us))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def lease(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.admitted)))
        admit = self.admitted.pop(job_id)
        for candidate in admit.candidates:
            load = self.fleet.load(candidate.offer.id)
            room = min(candidate.offer.concurrency_max, candidate.in_flight_max, load.in_flight_tolerated)
            if load.in_flight < room:
                self.running[job_id] = candidate
                dispatch = self.dispatcher.on_leased(JobId(job_id), candidate.offer.id, self.loads, self.now_us)
                assert dispatch.tier is admit.tier
                self.ends[job_id] += 1
                return
        self.obey(self.dispatcher.on_denied(JobId(job_id), self.loads, self.now_us))

    @precondition(lambda self: self.admitted or self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted({*self.admitted, *self.waiting})))
        self.dispatcher.on_withdrawn(JobId(job_id))
        self.admitted.pop(job_id, None)
        self.waiting.discard(job_id)
        self.ends[job_id] += 1

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        del self.running[data.draw(st.sampled_from(sorted(self.running)))]
        for admit in self.dispatcher.on_released(self.fleet, self.now_us):
            self.obey(admit)

    @rule(pass_us=st.sampled_from([1_000, 50_000, 400_000, 2 * S, 100 * S]))
    def tick(self, pass_us: int) -> None:
        self.now_us += pass_us
        for command in self.dispatcher.on_tick(self.fleet, self.now_us):
            self.admitted.pop(command.job.id, None)  # one refused because nobody answered
            self.obey(command)

    @invariant()
    def no_job_is_lost(self) -> None:
        known = self.dispatcher.waiting + len(self.dispatcher._shed)
        assert known == len(self.waiting)
        assert self.dispatcher.admitted == len(self.admitted)
        assert all(count == 1 for count in self.ends.values())
        assert len(self.ends) + len(self.waiting) + len(self.admitted) == self.count

    @invariant()
    def no_bound_is_broken(self) -> None:
        assert self.dispatcher.waiting <= 4
        assert self.dispatcher.admitted <= 6
        for offer in self.tuple_of_offers:
            load = self.fleet.load(offer.id)
            assert load.in_flight <= min(offer.concurrency_max, load.in_flight_tolerated)

    @invariant()
    def what_waits_is_looked_at_again(self) -> None:
        if self.waiting or self.admitted:
            due_us = self.dispatcher.next_tick_us(self.now_us)
            assert due_us is not None
            assert self.now_us <= due_us <= self.now_us + 60 * S


TestMarket = Market.TestCase
TestMarket.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
