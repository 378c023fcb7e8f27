"""What a run adds up: requests by how they ended, tokens, money by account, and times by tier; pure."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.ledger.journal import Draft
from pricing.rating import Charge
from pricing.slo import Tier
from pricing.usage import Usage
from scheduler.fleet import OfferId
from scheduler.jobs import Job
from scheduler.placement import Refuse

Micros = NDArray[np.int64]


@dataclass(slots=True)
class Sales:
    """Requests, tokens and money of one slice: a tier, a model, an offer.

    Attributes:
        gross, adjustment, net: nano-USD.
        cost: nano-USD of its tokens at the offers' token costs.
        attained: answers whose every token, and input, was good.
    """

    finished: int = 0
    attained: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_good: int = 0
    gross: int = 0
    adjustment: int = 0
    net: int = 0
    cost: int = 0

    def add(self, answer: "Settled") -> None:
        """Counts one settled answer in."""
        self.finished += 1
        self.attained += answer.attained
        self.tokens_input += answer.usage.input_total
        self.tokens_output += answer.usage.output
        self.tokens_good += answer.tokens_good
        self.gross += answer.charge.gross
        self.adjustment += answer.charge.adjustment
        self.net += answer.charge.net
        self.cost += answer.cost


class Settled(NamedTuple):
    """One finished answer, as the tally needs it.

    Attributes:
        ended_us: from the first byte of the request to the last token.
        ttft_us: to the first token; None when nothing was streamed.
        tpot_us: mean after the first token; None where there is none, or nothing was streamed.
    """

    job: Job
    tier: Tier
    offer_id: OfferId
    is_owned: bool
    usage: Usage
    charge: Charge
    cost: int
    tokens_good: int
    attained: bool
    ended_us: int
    ttft_us: int | None
    tpot_us: int | None


@dataclass(slots=True)
class Tally:
    """Everything counted in one run.

    Attributes:
        offered: requests by tier asked for.
        dispatched: requests that were given a place, by tier served.
        refused: by tier asked for and reason.
        charges: settled requests by what came of them: ``at_tier``, ``below_tier``, ``free``.
        accounts: balance of each ledger account, nano-USD, credits positive.
        bought: nano-USD of tokens bought from others.
    """

    offered: Counter[Tier] = field(default_factory=Counter[Tier])
    dispatched: Counter[Tier] = field(default_factory=Counter[Tier])
    waited: int = 0
    refused: Counter[tuple[Tier, str]] = field(default_factory=Counter[tuple[Tier, str]])
    charges: Counter[str] = field(default_factory=Counter[str])
    accounts: Counter[str] = field(default_factory=Counter[str])
    entries: int = 0
    transactions: int = 0
    bought: int = 0
    quoted: int = 0
    by_tier: dict[Tier, Sales] = field(default_factory=dict[Tier, Sales])
    by_model: dict[str, Sales] = field(default_factory=dict[str, Sales])
    by_offer: dict[OfferId, Sales] = field(default_factory=dict[OfferId, Sales])
    ended_us: dict[Tier, "array[int]"] = field(default_factory=dict[Tier, "array[int]"])
    ttft_us: dict[Tier, "array[int]"] = field(default_factory=dict[Tier, "array[int]"])
    tpot_us: dict[Tier, "array[int]"] = field(default_factory=dict[Tier, "array[int]"])

    def refuse(self, refusal: Refuse) -> None:
        """Counts a request that was not taken."""
        self.refused[refusal.job.tier, refusal.reason.value] += 1

    def settle(self, answer: Settled, draft: Draft) -> None:
        """Counts a finished answer and books its transaction."""
        self.by_tier.setdefault(answer.tier, Sales()).add(answer)
        self.by_model.setdefault(answer.job.model, Sales()).add(answer)
        self.by_offer.setdefault(answer.offer_id, Sales()).add(answer)
        self.charges[_outcome(answer)] += 1
        if not answer.is_owned:
            self.bought += answer.cost
        _note(self.ended_us, answer.tier, answer.ended_us)
        _note(self.ttft_us, answer.tier, answer.ttft_us)
        _note(self.tpot_us, answer.tier, answer.tpot_us)
        self.transactions += 1
        self.entries += len(draft.legs)
        for leg in draft.legs:
            self.accounts[leg.account_id] += leg.amount

    @property
    def finished(self) -> int:
        """Answers that ended."""
        return self.charges.total()


def _note(times: "dict[Tier, array[int]]", tier: Tier, value: int | None) -> None:
    if value is None:
        return
    if tier not in times:
        times[tier] = array("q")
    times[tier].append(value)


def _outcome(answer: Settled) -> str:
    if answer.charge.adjustment == 0:
        return "at_tier"
    return "below_tier" if answer.charge.net > 0 else "free"
