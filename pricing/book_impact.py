"""What last period's traffic would have earned under another price book: the same deliveries, rated again.

Nothing is assumed about customers: who would buy more or less at other prices is the demand model's question. Costs
are what the tokens did cost us; a tier that a book does not sell earns nothing and costs nothing under it.

A delivery is rated from the tokens that met each promise, as its receipt states them, where the promises it is rated
under are those it was graded by; where they are others, its timeline is graded again. Revenue is what customers pay:
the net, and where they had not enough to cover it, what was held.

Laws (tests/laws/test_book_impact.py): a book against itself changes nothing; what was priced under the old book and
sold at its own promises earns what was booked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pricing.goodput import Grade, Timeline, grade
from pricing.money import format_usd
from pricing.pricebook import RateCard, ladders_of
from pricing.rating import Ending, rate
from pricing.slo import Ladder, Slo, Tier
from pricing.usage import Usage

Promises = tuple[tuple[Tier, Slo], ...]
Ladders = Mapping[tuple[str, Tier], Ladder]
"""What a book or draft charges and promises, by model and tier served; see :func:`all_ladders`."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One answer that was delivered, billed and settled.

    Attributes:
        usage: tokens of each class.
        graded: which promise each token met, as it was billed.
        net, held: nano-USD; the customer paid the smaller.
        cost: nano-USD that its tokens cost us.
        timeline: when its tokens left; None when it was erased, or is not needed.
    """

    usage: Usage
    graded: Grade
    ending: Ending
    net: int
    held: int
    cost: int
    timeline: Timeline | None = None

    @property
    def paid(self) -> int:
        """nano-USD that the customer paid."""
        return min(self.net, self.held)


@dataclass(frozen=True, slots=True)
class Slice:
    """A period's answers of one model and tier, priced under one book.

    Attributes:
        ladder: what they were graded and priced by; None where their book is not at hand.
        requests: how many there were.
        paid, cost: nano-USD of all of them, as booked.
        sample: all of them, or some that stand for all; empty where the totals suffice.
    """

    model: str
    tier: Tier
    ladder: Ladder | None
    requests: int
    paid: int
    cost: int
    sample: Sequence[Delivered] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One tier of a model, or all together, under both books; amounts in nano-USD.

    Attributes:
        is_sold_old, is_sold_new: whether the book sells it at all.
        requests: of the period.
        sampled: how many of them were rated one by one; 0 where the booked totals sufficed.
        ungraded: rated by the promises that they were billed by, for their timeline is erased.
        is_estimate: True when a sample was scaled up to all requests.
        booked: what the period's requests did pay, under whichever book.
    """

    requests: int = 0
    sampled: int = 0
    ungraded: int = 0
    is_estimate: bool = False
    booked: int = 0
    revenue_old: int = 0
    revenue_new: int = 0
    cost_old: int = 0
    cost_new: int = 0
    is_sold_old: bool = True
    is_sold_new: bool = True

    @property
    def margin_old(self) -> int:
        """Revenue less cost under the old book."""
        return self.revenue_old - self.cost_old

    @property
    def margin_new(self) -> int:
        """Revenue less cost under the new book."""
        return self.revenue_new - self.cost_new

    def plus(self, other: "Line") -> "Line":
        """Both together; sold only where both are."""
        return Line(
            requests=self.requests + other.requests,
            sampled=self.sampled + other.sampled,
            ungraded=self.ungraded + other.ungraded,
            is_estimate=self.is_estimate or other.is_estimate,
            booked=self.booked + other.booked,
            revenue_old=self.revenue_old + other.revenue_old,
            revenue_new=self.revenue_new + other.revenue_new,
            cost_old=self.cost_old + other.cost_old,
            cost_new=self.cost_new + other.cost_new,
            is_sold_old=self.is_sold_old and other.is_sold_old,
            is_sold_new=self.is_sold_new and other.is_sold_new,
        )


@dataclass(frozen=True, slots=True)
class Impact:
    """Revenue, cost and margin of a period's traffic under two books.

    Attributes:
        lines: by model and tier, best tier first; only where there was traffic.
    """

    lines: Mapping[tuple[str, Tier], Line] = field(default_factory=dict[tuple[str, Tier], Line])

    @property
    def total(self) -> Line:
        """All together."""
        total = Line()
        for line in self.lines.values():
            total = total.plus(line)
        return total

    def by_model(self) -> dict[str, Line]:
        """All tiers of each model together."""
        found: dict[str, Line] = {}
        for (model, _), line in self.lines.items():
            found[model] = found[model].plus(line) if model in found else line
        return found

    def by_tier(self) -> dict[Tier, Line]:
        """All models of each tier together, best first."""
        found: dict[Tier, Line] = {}
        for (_, tier), line in sorted(self.lines.items(), key=lambda item: item[0][1].rank):
            found[tier] = found[tier].plus(line) if tier in found else line
        return found


def all_ladders(cards: Mapping[tuple[str, Tier], RateCard]) -> dict[tuple[str, Tier], Ladder]:
    """The ladder of every tier that some cards sell."""
    return {(model, tier): ladder for model, sold in ladders_of(cards).items() for tier, ladder in sold.items()}


def margin_impact(old: Ladders, new: Ladders, traffic: Iterable[Slice]) -> Impact:
    """Rates a period's traffic under two books.

    Args:
        old: of the book compared with.
        new: of the book or draft proposed.
        traffic: each answer in one slice.
    """
    lines: dict[tuple[str, Tier], Line] = {}
    for each in traffic:
        key = (each.model, each.tier)
        line = _line(each, old.get(key), new.get(key))
        lines[key] = lines[key].plus(line) if key in lines else line
    return Impact(dict(sorted(lines.items(), key=lambda item: (item[0][0], item[0][1].rank))))


def needs_rows(each: Ladder | None, old: Ladder | None, new: Ladder | None) -> bool:
    """True when a slice's booked totals do not suffice: a book charges or promises otherwise than it was billed by."""
    return any(ladder is not None and ladder != each for ladder in (old, new))


def needs_timelines(each: Ladder | None, old: Ladder | None, new: Ladder | None) -> bool:
    """True when a book promises otherwise than the slice was graded by."""
    graded_by = None if each is None else promises(each)
    return any(ladder is not None and promises(ladder) != graded_by for ladder in (old, new))


def promises(ladder: Ladder) -> Promises:
    """What a ladder promises, rung by rung; its rates left out."""
    return tuple((rung.tier, rung.slo) for rung in ladder)


def _line(each: Slice, old: Ladder | None, new: Ladder | None) -> Line:
    revenue_old, revenue_new = _revenue(each, old), _revenue(each, new)
    rerated = needs_rows(each.ladder, old, new)
    return Line(
        requests=each.requests,
        sampled=len(each.sample) if rerated else 0,
        ungraded=_ungraded(each, old, new),
        is_estimate=rerated and len(each.sample) < each.requests,
        booked=each.paid,
        revenue_old=revenue_old,
        revenue_new=revenue_new,
        cost_old=0 if old is None else each.cost,
        cost_new=0 if new is None else each.cost,
        is_sold_old=old is not None,
        is_sold_new=new is not None,
    )


def _revenue(each: Slice, ladder: Ladder | None) -> int:
    """What a slice pays under a ladder, nano-USD.

    A sample is scaled up by what it did pay, or by its number where it paid nothing; where none was drawn, what was
    booked stands, marked as an estimate.
    """
    if ladder is None:
        return 0
    if ladder == each.ladder:
        return each.paid
    graded_by = None if each.ladder is None else promises(each.ladder)
    if not each.sample:
        return each.paid
    rerated = sum(_paid(delivered, ladder, graded_by) for delivered in each.sample)
    if len(each.sample) >= each.requests:
        return rerated
    sampled = sum(delivered.paid for delivered in each.sample)
    whole, part = (each.paid, sampled) if sampled else (each.requests, len(each.sample))
    return rerated * whole // part


def _paid(delivered: Delivered, ladder: Ladder, graded_by: Promises | None) -> int:
    """What one delivery pays, nano-USD: what it was short of when it was billed, it stays short of."""
    net = rate(ladder, delivered.usage, _graded(delivered, ladder, graded_by), delivered.ending).net
    return min(net, delivered.held) if delivered.net > delivered.held else net


def _graded(delivered: Delivered, ladder: Ladder, graded_by: Promises | None) -> Grade:
    if promises(ladder) == graded_by:
        return delivered.graded
    if delivered.timeline is not None:
        return grade(delivered.timeline, ladder)
    return _moved(delivered.graded, ladder)


def _moved(graded: Grade, ladder: Ladder) -> Grade:
    """A grade by other promises, tier by tier: tokens of a tier that is not sold count for the next one below."""
    met = dict.fromkeys((rung.tier for rung in ladder), 0)
    missed = graded.tokens_missed
    for tier, count in graded.tokens_met:
        place = _at_or_below(tier, ladder)
        if place is None:
            missed += count
        else:
            met[place] += count
    input_tier = None if graded.input_tier is None else _at_or_below(graded.input_tier, ladder)
    return Grade(tuple(met.items()), missed, input_tier)


def _at_or_below(tier: Tier, ladder: Ladder) -> Tier | None:
    return next((rung.tier for rung in ladder if rung.tier.rank >= tier.rank), None)


def _ungraded(each: Slice, old: Ladder | None, new: Ladder | None) -> int:
    if not needs_timelines(each.ladder, old, new):
        return 0
    return sum(delivered.timeline is None and delivered.graded.tokens > 0 for delivered in each.sample)


def impact_document(impact: Impact) -> dict[str, Any]:
    """The JSON form: amounts as strings of dollars beside whole nano-USD."""
    return {
        "total": line_document(impact.total),
        "by_model": {model: line_document(line) for model, line in impact.by_model().items()},
        "by_tier": {tier.value: line_document(line) for tier, line in impact.by_tier().items()},
        "lines": [
            {"model": model, "tier": tier.value, **line_document(line)} for (model, tier), line in impact.lines.items()
        ],
    }


def line_document(line: Line) -> dict[str, Any]:
    """One line of it."""
    amounts = {
        "booked": line.booked,
        "revenue_old": line.revenue_old,
        "revenue_new": line.revenue_new,
        "revenue_change": line.revenue_new - line.revenue_old,
        "cost_old": line.cost_old,
        "cost_new": line.cost_new,
        "margin_old": line.margin_old,
        "margin_new": line.margin_new,
        "margin_change": line.margin_new - line.margin_old,
    }
    return {
        "requests": line.requests,
        "requests_rated_again": line.sampled,
        "requests_without_timeline": line.ungraded,
        "is_estimate": line.is_estimate,
        "is_sold_old": line.is_sold_old,
        "is_sold_new": line.is_sold_new,
        **{f"{name}_usd": format_usd(amount) for name, amount in amounts.items()},
        **{f"{name}_nano": str(amount) for name, amount in amounts.items()},
    }
