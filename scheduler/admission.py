"""Whether an offer can keep a job's promise: now, or later if it waits.

An offer is feasible iff it has room and time:

* room: ``n + 1`` is at most its concurrency, the load that the job's own promise tolerates, and the load that every
  promise already running there tolerates (do no harm). Token i is due at ``ttft + i · tpot``, so a first token that
  comes early leaves time to the others: a job tolerates the load at which a token takes at most
  ``slo.tpot · (1 − m) + b · ((slo.ttft − elapsed) · (1 − m) − TTFT̂) / (osl − 1)``, b being the part of it that is
  planned with;
* time: ``TTFT̂ ≤ (slo.ttft − elapsed) · (1 − m)``. The margin m is waived where nothing else runs: an offer always
  keeps, alone, a promise that its own measured speed keeps.

A window (bulk) promises only when the last token comes: ``TTFT̂ + (osl − 1) · TPOT̂ ≤ (window − elapsed) · (1 − m)``.

A job may wait when room is expected in time. Requests leave an offer with n running every S / n, S being a typical
answer there, so that falling from n to m takes ``S · ln((n + ½) / (m + ½))`` on average, and every job that claims the
offer before this one adds ``S / m``, or more where better tiers take most of what comes free. Time cannot be waited
for: a queue of prompts shrinks no faster than the promise does.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pricing.slo import Tier
from scheduler.columns import Row
from scheduler.fleet import IDLE, Load, OfferId
from scheduler.jobs import Job
from scheduler.load_view import LoadView
from scheduler.pickers import Scored
from scheduler.policy import Policy
from scheduler.scorers import Stake, middle_token, revenue_pico, slot_pico, stakes


@dataclass(frozen=True, slots=True)
class Ask:
    """What one decision needs of a job served at one rung of its ladder, worked out once.

    Attributes:
        index: of the rung served.
        context_tokens: prompt and longest answer.
        decode_tokens: predicted output tokens after the first.
        budget_us: from now until the first token is due; until the last one when ``is_window``.
        safe_us: the same less its margin.
        tpot_safe_us: the promised time per token less its margin.
        bank: what a µs saved on the first token adds to the time that each later one may take.
        scarcity: by what a slot's shadow price is multiplied for this tier.
    """

    job: Job
    index: int
    now_us: int
    context_tokens: int
    decode_tokens: int
    middle: float
    budget_us: int
    safe_us: float
    tpot_safe_us: float
    bank: float
    is_window: bool
    at_stake: tuple[Stake, ...]
    policy: Policy
    scarcity: float = 1.0

    @property
    def tier(self) -> Tier:
        """The tier served."""
        return self.job.ladder.rungs[self.index].tier

    @property
    def token_pico(self) -> float:
        """The same per output token."""
        return self.price_pico / max(1, self.job.output_tokens)

    @property
    def price_pico(self) -> int:
        """What the job earns in full at the rung served, as predicted."""
        return self.at_stake[0].input_pico + self.at_stake[0].output_pico


def ask_of(job: Job, index: int, now_us: int, policy: Policy, scarcity: float = 1.0) -> Ask:
    """Works out what a decision about ``job`` at rung ``index`` needs."""
    slo = job.ladder.rungs[index].slo
    elapsed_us = max(0, now_us - job.requested_at_us)
    budget_us = slo.ttft_us - elapsed_us
    decode_tokens = max(0, job.output_tokens - 1)
    return Ask(
        job=job,
        index=index,
        now_us=now_us,
        context_tokens=job.input_tokens + job.output_tokens_max,
        decode_tokens=decode_tokens,
        middle=middle_token(job.output_tokens),
        budget_us=budget_us,
        safe_us=budget_us * (1.0 - policy.margin),
        tpot_safe_us=slo.tpot_us * (1.0 - policy.margin),
        bank=policy.bank_share / decode_tokens if decode_tokens else 0.0,
        is_window=slo.is_window,
        at_stake=stakes(job.ladder, index, elapsed_us, (job.input_tokens, job.output_tokens)),
        policy=policy,
        scarcity=scarcity,
    )


@dataclass(frozen=True, slots=True)
class Feasible:
    """The offers that can keep the promise now.

    Attributes:
        had_room: some offer had room, whether or not it also had time; when none had, no other job with the same
            promise and needs will find any.
    """

    found: list[Scored]
    had_room: bool


def feasible(rows: Sequence[Row], ask: Ask, view: LoadView, barred: Collection[str]) -> Feasible:
    """Finds and scores the offers that can keep the promise now; the hot loop of the house.

    Args:
        rows: offers that may serve the rung.
        ask: the job at that rung.
        view: loads.
        barred: offers to leave out: closed, already tried, or claimed by others who wait.
    """
    roomy = _roomy(rows, ask, view, barred)
    return Feasible(_in_time(roomy, ask, view.fleet.shadow_prices), bool(roomy))


def _roomy(rows: Sequence[Row], ask: Ask, view: LoadView, barred: Collection[str]) -> list[tuple[Row, Load]]:
    load_of, shares, context_tokens = view.load, view.fleet.shares, ask.context_tokens
    found: list[tuple[Row, Load]] = []
    for row in rows:
        if context_tokens > row.context_max or row.id in barred:
            continue
        load = load_of(row.id)
        in_flight = load.in_flight
        if in_flight >= row.room or in_flight >= load.in_flight_tolerated:
            continue
        if not shares or in_flight < room(row, shares):
            found.append((row, load))
    return found


def _in_time(roomy: list[tuple[Row, Load]], ask: Ask, shadow_prices: Mapping[OfferId, float]) -> list[Scored]:
    input_tokens, output_tokens = ask.job.input_tokens, ask.job.output_tokens
    safe_us, middle, at_stake, policy = ask.safe_us, ask.middle, ask.at_stake, ask.policy
    found: list[Scored] = []
    for row, load in roomy:
        in_flight = load.in_flight
        ttft_us = row.ttft_base_us + (load.prefill_tokens + input_tokens) * row.prompt_token_us
        if ttft_us > safe_us and not (_is_idle(load) and ttft_us <= ask.budget_us):
            continue
        tolerated = tolerated_by(row, ask, ttft_us, load)
        if in_flight >= tolerated:
            continue
        tpot_us = row.known_us.get(in_flight + 1) or row.tpot_at(in_flight + 1)
        value = revenue_pico(at_stake, ttft_us, ttft_us + middle * tpot_us, policy)
        value -= row.cost_input * input_tokens + row.cost_output * output_tokens
        if shadow_prices:
            value -= slot_pico(ask.scarcity * shadow_prices.get(row.id, 0.0), ttft_us + ask.decode_tokens * tpot_us)
        found.append(Scored(value, row, in_flight, tolerated, ttft_us, tpot_us, load.in_flight_tolerated))
    return found


def room(row: Row, shares: Mapping[OfferId, float]) -> int:
    """The most requests that may run on an offer now, slow start included; at least one."""
    share = shares.get(row.id)
    return row.room if share is None else min(row.room, max(1, int(row.room * share)))


def _is_idle(load: Load) -> bool:
    return load.in_flight == 0 and load.prefill_tokens == 0


def tolerated_by(row: Row, ask: Ask, ttft_us: float, load: Load) -> int:
    """The largest load at which every token of the predicted answer still comes in time.

    Args:
        row: the offer.
        ask: the job.
        ttft_us: forecast of its first token there, from now.
        load: what runs there.
    """
    if ask.is_window:
        return _window_tolerated(row, ask, ttft_us, load)
    saved_us = ask.safe_us - ttft_us
    return row.tolerated(ask.tpot_safe_us + ask.bank * saved_us) if saved_us > 0 else row.in_flight_max


def _window_tolerated(row: Row, ask: Ask, ttft_us: float, load: Load) -> int:
    """The largest load at which the last token still comes within the window."""
    decode_tokens = ask.decode_tokens
    if not decode_tokens:
        return row.in_flight_max
    within = row.load_within((ask.safe_us - ttft_us) / decode_tokens)
    if within == 0 and _is_idle(load) and ttft_us + decode_tokens * row.tpot_at(1) <= ask.budget_us:
        return 1
    return min(row.in_flight_max, within)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who else wants the room.

    Attributes:
        answer_tokens: typical output tokens of an answer of this model.
        ahead: by offer, the waiting jobs that claim it before this one.
        share: the part of the room that comes free which this job's tier may expect.
    """

    answer_tokens: float
    ahead: Mapping[OfferId, int]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Prospect:
    """Where a waiting job is expected to start first.

    Attributes:
        start_us: when room is expected there.
        until_us: the latest start, on whichever offer, that still keeps the promise.
    """

    offer_id: OfferId
    start_us: int
    until_us: int


def prospect(rows: Sequence[Row], ask: Ask, view: LoadView, crowd: Crowd) -> Prospect | None:
    """Where and when a job that waits may be expected to start in time; None when nowhere.

    Args:
        rows: offers that may serve the rung and are open to the job.
        ask: the job at that rung.
        view: loads.
        crowd: who else waits.
    """
    best: tuple[float, OfferId] | None = None
    latest_us = 0.0
    for row in rows:
        slack_us = ask.safe_us - _alone_us(row, ask)
        if slack_us < 0 or ask.context_tokens > row.context_max:
            continue
        latest_us = max(latest_us, slack_us / (1.0 - ask.policy.margin))
        load = view.load(row.id)
        drain_us = drain(row, load, _room_for(row, ask, load, view), crowd)
        if drain_us * (1.0 - ask.policy.margin) + max(0.0, _ahead_us(row, load) - drain_us) > slack_us:
            continue
        best = (drain_us, row.id) if best is None else min(best, (drain_us, row.id))
    if best is None:
        return None
    return Prospect(best[1], ask.now_us + math.ceil(best[0]), ask.now_us + int(latest_us))


def drain(row: Row, load: Load, room_for: int, crowd: Crowd) -> float:
    """Expected µs until the job finds room on an offer, after those who claim it before; infinite when never."""
    if room_for < 1 or crowd.share <= 0:
        return math.inf
    running = max(1, min(load.in_flight, row.concurrency[-1]))
    answer_us = crowd.answer_tokens * row.tpot_at(running)
    falling = math.log((running + 0.5) / (room_for - 0.5)) if load.in_flight >= room_for else 0.0
    return answer_us * (falling + crowd.ahead.get(row.id, 0) / (min(running, room_for) * crowd.share))


def could_alone(row: Row, ask: Ask) -> bool:
    """Whether an offer could keep the promise if nothing else ran there."""
    return ask.context_tokens <= row.context_max and row.room >= 1 and _alone_us(row, ask) <= ask.budget_us


def next_chance_us(rows: Sequence[Row], ask: Ask, view: LoadView, crowd: Crowd) -> float:
    """Expected µs until a request like this one, made afresh, would find room and time; infinite when never."""
    fresh_us = ask.job.ladder.rungs[ask.index].slo.ttft_us * (1.0 - ask.policy.margin)

    def wait_us(row: Row) -> float:
        load = view.load(row.id)
        late_us = _alone_us(row, ask) + _ahead_us(row, load) - fresh_us
        return max(drain(row, load, _room_for(row, ask, load, view), crowd), late_us)

    return min(map(wait_us, rows), default=math.inf)


def _alone_us(row: Row, ask: Ask) -> float:
    """µs from dispatch until what ``budget_us`` is about, alone there; infinite when too slow even then."""
    first_us = row.ttft_base_us + ask.job.input_tokens * row.prompt_token_us
    if row.room < 1 or (not ask.is_window and tolerated_by(row, ask, first_us, IDLE) < 1):
        return math.inf
    return first_us + ask.decode_tokens * row.tpot_at(1) if ask.is_window else first_us


def _ahead_us(row: Row, load: Load) -> float:
    return load.prefill_tokens * row.prompt_token_us


def _room_for(row: Row, ask: Ask, load: Load, view: LoadView) -> int:
    allowed = min(room(row, view.fleet.shares), load.in_flight_tolerated)
    first_us = row.ttft_base_us + ask.job.input_tokens * row.prompt_token_us
    own = tolerated_by(row, ask, first_us, load)
    return min(allowed, max(1, own) if ask.is_window else own)
