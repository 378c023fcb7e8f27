"""The editor's grid: one model of a draft, tier beside tier, each field with what it was and what is wrong; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.catalog.draft import Cards, Draft, Remark
from app.console.books import CLASS_WORDS
from app.console.card_fields import FIELDS, FieldRefused, read_gap, read_rate, read_span, texts_of
from app.console.shapes import change, rate, speed
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.slo import Slo, Tier
from pricing.usage import Rates, TokenClass

LABELS: Mapping[str, str] = {
    **{name.value: word for name, word in CLASS_WORDS.items()},
    "ttft": "First token within",
    "tpot": "Then a token every",
}


_RATE_UNIT = " USD per million tokens"
"""The heading of the fields says it once for all of them."""


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
    is_sold: bool = False
    was_sold: bool = False
    cells: tuple[Cell, ...] = ()
    cost: tuple[str, ...] = ()
    deployment_id: str = ""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One entry of the editor's list of models."""

    name: str
    is_changed: bool
    is_blocked: bool


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


@dataclass(frozen=True, slots=True)
class Typed:
    """A form that could not be taken: what was typed stands in the fields, and what is wrong with it beside them."""

    fields: Mapping[str, str]
    refused: Mapping[str, str]


def grid(model: str, old: Cards, draft: Draft, typed: Typed | None = None) -> tuple[Column, ...]:
    """One model, best tier first.

    Args:
        model: its public name.
        old: the cards compared with.
        draft: as it is saved.
        typed: what was typed in place of it and could not be taken.
    """
    marks = _Marks(_beside(draft.problems, model), _beside(draft.warnings, model))
    if typed is not None:
        marks = _Marks(typed.refused, {})
    return tuple(_column((model, tier), old, draft, typed, marks) for tier in Tier)


@dataclass(frozen=True, slots=True)
class _Marks:
    problems: Mapping[str, str]
    warnings: Mapping[str, str]


def _beside(remarks: Iterable[Remark], model: str) -> dict[str, str]:
    """What stands beside which field: a remark without its model and tier, which the column says already."""
    found: dict[str, str] = {}
    for remark in remarks:
        if remark.model == model and remark.tier is not None and remark.field:
            name = f"{remark.tier}.{remark.field}"
            said = remark.message.removeprefix(f"{model} {remark.tier}: ").replace(_RATE_UNIT, "")
            found[name] = f"{found[name]}; {said}" if name in found else said
    return found


def _column(key: tuple[str, Tier], old: Cards, draft: Draft, typed: Typed | None, marks: _Marks) -> Column:
    before, sold = old.get(key), draft.cards.get(key)
    known = sold or draft.withheld.get(key) or before
    tier = key[1]
    if known is None:
        return Column(tier, is_known=False)
    was = {} if before is None else texts_of(before.rung.rates, before.rung.slo)
    now = texts_of(known.rung.rates, known.rung.slo)
    values = now if typed is None else {name: typed.fields.get(f"{tier}.{name}", now[name]) for name in FIELDS}
    return Column(
        tier=tier,
        is_known=True,
        is_sold=sold is not None if typed is None else typed.fields.get(f"{tier}.sold") == "yes",
        was_sold=before is not None,
        cells=tuple(_cell(f"{tier}.{name}", values[name], was.get(name, ""), marks) for name in FIELDS),
        cost=tuple(rate(cost) for cost in known.cost.by_class().values()),
        deployment_id=known.deployment_id,
    )


def _cell(name: str, value: str, was: str, marks: _Marks) -> Cell:
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
        problem=marks.problems.get(name, ""),
        warning=marks.warnings.get(name, ""),
    )


def number_of(field: str, text: str) -> int | None:
    """What a field's text says, in pico-USD per token or µs; None where it says nothing readable."""
    read = read_span if field == "ttft" else read_gap if field == "tpot" else read_rate
    try:
        return read(text)
    except FieldRefused:
        return None


def listed_models(old: Cards, draft: Draft) -> tuple[ListedModel, ...]:
    """Every model of draft and book, by name, and whether the draft changes it."""
    names = sorted({model for model, _ in (*old, *draft.cards, *draft.withheld)})
    blocked = {remark.model for remark in draft.problems}
    return tuple(ListedModel(name, _is_changed(name, old, draft.cards), name in blocked) for name in names)


def _is_changed(model: str, old: Cards, new: Cards) -> bool:
    return any(_offer(old.get((model, tier))) != _offer(new.get((model, tier))) for tier in Tier)


def _offer(card: RateCard | None) -> tuple[object, ...] | None:
    return None if card is None else (card.rung, card.deployment_id, card.cost)
