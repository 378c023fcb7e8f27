"""The editor's grid: one model of a draft, tier beside tier, each field with what it was and what is wrong; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.console.books import CLASS_WORDS, promise_words
from app.console.card_fields import FIELDS, FieldRefused, read_gap, read_rate, read_span, texts_of
from app.console.shapes import change, rate, speed
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.slo import Slo, Tier
from pricing.usage import Rates, TokenClass

Cards = Mapping[tuple[str, Tier], RateCard]
LABELS: Mapping[str, str] = {
    **{name.value: word for name, word in CLASS_WORDS.items()},
    "ttft": "First token within",
    "tpot": "Then a token every",
}


@dataclass(frozen=True, slots=True)
class TypedCard:
    """One tier as an operator wants it.

    Attributes:
        rates, slo: None where the tier is not sold, for then nothing of it is read.
    """

    tier: Tier
    is_sold: bool
    rates: Rates | None
    slo: Slo | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One field.

    Attributes:
        name: of the form's field, ``tier.field``.
        value: what stands in it.
        was: what it is in the book compared with; empty where that has no such card.
        old: for the page's script: the rate in pico-USD per token, or the span in µs; empty with ``was``.
        change: from ``was`` to ``value``, in words; empty where it is the same or cannot be told.
        note: what the value means: tok/s/user of a gap.
        problem: why it cannot be published as it is.
        warning: what has to be accepted knowingly.
    """

    name: str
    label: str
    value: str
    was: str = ""
    old: str = ""
    change: str = ""
    note: str = ""
    problem: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One tier of the model.

    Attributes:
        is_known: False where neither book nor draft has such a card, so that there is nothing to edit.
    """

    tier: Tier
    is_known: bool
    is_sold: bool
    was_sold: bool
    promise: str
    promise_was: str
    cells: tuple[Cell, ...]
    cost: tuple[str, ...]
    deployment_id: str

    @property
    def has_trouble(self) -> bool:
        """True when a field has a problem."""
        return any(cell.problem for cell in self.cells)


def read_typed(fields: Mapping[str, str], tiers: Sequence[Tier]) -> tuple[tuple[TypedCard, ...], dict[str, str]]:
    """Reads the grid's form: the tiers that could be read, and what is wrong with each field that could not."""
    cards: list[TypedCard] = []
    problems: dict[str, str] = {}
    for tier in tiers:
        if fields.get(f"{tier}.sold") != "yes":
            cards.append(TypedCard(tier, is_sold=False, rates=None, slo=None))
            continue
        numbers: dict[str, int] = {}
        for name in FIELDS:
            read = read_span if name == "ttft" else read_gap if name == "tpot" else read_rate
            try:
                numbers[name] = read(fields.get(f"{tier}.{name}", ""))
            except FieldRefused as error:
                problems[f"{tier}.{name}"] = str(error)
        if len(numbers) == len(FIELDS):
            cards.append(_typed_card(tier, numbers))
    return tuple(cards), problems


def _typed_card(tier: Tier, numbers: Mapping[str, int]) -> TypedCard:
    rates = Rates(**{name.value: Rate(numbers[name.value]) for name in TokenClass})
    return TypedCard(tier, is_sold=True, rates=rates, slo=Slo(numbers["ttft"], numbers["tpot"]))


def grid(
    model: str, old: Cards, new: Cards, typed: Mapping[str, str] | None = None, refused: Mapping[str, str] | None = None
) -> tuple[Column, ...]:
    """One model, best tier first.

    Args:
        model: its public name.
        old: the cards compared with.
        new: the draft's.
        typed: what was typed and could not be taken; it stands in the fields in place of the draft's.
        refused: what is wrong with that, by field.
    """
    found = misfits(model, new) if typed is None else dict(refused or {})
    warned = below_cost(model, new) if typed is None else {}
    return tuple(_column(tier, old.get((model, tier)), new.get((model, tier)), typed, (found, warned)) for tier in Tier)


def _column(
    tier: Tier,
    old: RateCard | None,
    new: RateCard | None,
    typed: Mapping[str, str] | None,
    marks: tuple[Mapping[str, str], Mapping[str, str]],
) -> Column:
    known = new or old
    if known is None:
        return Column(tier, False, False, False, "", "", (), (), "")
    was = {} if old is None else texts_of(old.rung.rates, old.rung.slo)
    now = texts_of(known.rung.rates, known.rung.slo)
    values = now if typed is None else {name: typed.get(f"{tier}.{name}", now[name]) for name in FIELDS}
    cells = tuple(_cell(f"{tier}.{name}", values[name], was.get(name, ""), marks) for name in FIELDS)
    return Column(
        tier=tier,
        is_known=True,
        is_sold=new is not None if typed is None else typed.get(f"{tier}.sold") == "yes",
        was_sold=old is not None,
        promise=" ".join(promise_words(known.rung.slo)),
        promise_was="" if old is None else " ".join(promise_words(old.rung.slo)),
        cells=cells,
        cost=tuple(rate(cost) for cost in known.cost.by_class().values()),
        deployment_id=known.deployment_id,
    )


def _cell(name: str, value: str, was: str, marks: tuple[Mapping[str, str], Mapping[str, str]]) -> Cell:
    field = name.rpartition(".")[2]
    before, after = number_of(field, was), number_of(field, value)
    return Cell(
        name=name,
        label=LABELS[field],
        value=value,
        was=was,
        old="" if before is None else str(before),
        change="" if before is None or after is None else change(before, after),
        note=f"{speed(after)} tok/s/user" if field == "tpot" and after else "",
        problem=marks[0].get(name, ""),
        warning=marks[1].get(name, ""),
    )


def number_of(field: str, text: str) -> int | None:
    """What a field's text says, in pico-USD per token or µs; None where it says nothing readable."""
    read = read_span if field == "ttft" else read_gap if field == "tpot" else read_rate
    try:
        return read(text)
    except FieldRefused:
        return None


def misfits(model: str, cards: Cards) -> dict[str, str]:
    """Why a model cannot be published as it is, beside the lesser tier's field of each pair that does not fall."""
    found: dict[str, str] = {}
    sold = [cards[model, tier] for tier in Tier if (model, tier) in cards]
    for better, lesser in pairwise(sold):
        found.update(_rates_that_do_not_fall(better, lesser))
        found.update(_promises_that_rise(better, lesser))
    return found


def _rates_that_do_not_fall(better: RateCard, lesser: RateCard) -> dict[str, str]:
    cheap = lesser.rung.rates.by_class()
    return {
        f"{lesser.rung.tier}.{name}": f"must be below {better.rung.tier}'s {rate(dear)}"
        for name, dear in better.rung.rates.by_class().items()
        if cheap[name] > dear or cheap[name] == dear > 0
    }


def _promises_that_rise(better: RateCard, lesser: RateCard) -> dict[str, str]:
    fast, slow = better.rung.slo, lesser.rung.slo
    found: dict[str, str] = {}
    if slow.ttft_us < fast.ttft_us:
        found[f"{lesser.rung.tier}.ttft"] = f"promises more than {better.rung.tier} does"
    if 0 < slow.tpot_us < fast.tpot_us:
        found[f"{lesser.rung.tier}.tpot"] = f"promises more than {better.rung.tier} does"
    return found


def below_cost(model: str, cards: Cards) -> dict[str, str]:
    """Rates that do not earn what the token costs us, by field."""
    found: dict[str, str] = {}
    for tier in Tier:
        card = cards.get((model, tier))
        if card is None:
            continue
        costs = card.cost.by_class()
        for name, charged in card.rung.rates.by_class().items():
            if charged < costs[name]:
                found[f"{tier}.{name}"] = f"below our cost of {rate(costs[name])}"
    return found
