"""Tables of price books, drafts and what differs between them, for a person at a terminal."""

from fractions import Fraction
from typing import TYPE_CHECKING

from rich.text import Text

from app.cli.tables import Column, numbers, table, wide, words
from pricing.explain import promise_in_short
from pricing.money import format_usd, format_usd_per_mtok
from pricing.slo import US_PER_S

if TYPE_CHECKING:
    from rich.table import Table

    from app.admin.price_service import Review
    from app.catalog.draft import Cards
    from pricing.book_diff import BookDiff, CardDiff, RateChange
    from pricing.book_impact import Impact, Line
    from pricing.pricebook import RateCard

RISES = "green"
FALLS = "yellow"
LOSES = "bold red"
HARDER = "magenta"
EASIER = "cyan"
PERCENT = Fraction(100)


def cards_table(title: str, cards: "Cards", withheld: "Cards", only: str | None) -> "Table":
    """Every card of a draft or book, those withheld marked; of one model where it is named."""
    found = table(
        f"{title} · USD per million tokens",
        [*words("model", "tier", "sold", "promise"), *numbers("input", "cached", "cache write", "output")],
    )
    every = sorted({**cards, **withheld}.items(), key=lambda item: (item[0][0], item[0][1].rank))
    for (model, tier), card in every:
        if only in {None, model}:
            found.add_row(*_card_cells(card, "yes" if (model, tier) in cards else "no"))
    return found


def _card_cells(card: "RateCard", sold: str) -> list[Text | str]:
    rates = [format_usd_per_mtok(rate) for rate in card.rung.rates.by_class().values()]
    return [Text(card.model), card.rung.tier.value, sold, promise_in_short(card.rung.slo), *rates]


def diff_table(review: "Review") -> "Table":
    """What differs, a row for each rate and promise; rates that rise are green, losses red."""
    found = table(
        f"{review.old.id or 'no prices'} → {review.new.id} · USD per million tokens",
        [*words("model", "tier", "what"), *numbers("old", "new", "Δ %", "our cost"), *wide("note")],
    )
    for card in review.diff.cards:
        for row in _diff_rows(card):
            found.add_row(Text(card.model), card.tier.value, *row)
    return found


def _diff_rows(card: "CardDiff") -> list[list[Text | str]]:
    rows: list[list[Text | str]] = [_rate_row(change) for change in card.rates if change.old != change.new]
    old, new = card.promise.old, card.promise.new
    for name, before, after in (
        ("first token", old and old.ttft_us, new and new.ttft_us),
        ("each token", old and old.tpot_us, new and new.tpot_us),
    ):
        if before != after:
            rows.append([name, _seconds(before), _seconds(after), _promise_delta(before, after), "", ""])
    if card.deployment_old != card.deployment_new and card.deployment_old and card.deployment_new:
        note = f"{card.deployment_old} → {card.deployment_new}"
        rows.append(["deployment", "", "", "", "", note])
    return rows or [["our cost", "", "", "", "", "costs differ; rates and promises do not"]]


def _rate_row(change: "RateChange") -> list[Text | str]:
    if change.old is None:
        note = "new"
    elif change.new is None:
        note = "no longer sold"
    else:
        note = "below our cost" if change.is_below_cost else ""
    style = LOSES if change.is_below_cost or change.new is None else RISES if (change.delta or 0) > 0 else FALLS
    cost = "" if change.cost_new is None else format_usd_per_mtok(change.cost_new)
    shown = Text(_percent(change.share), style=style)
    return [change.token_class.value, _rate(change.old), _rate(change.new), shown, cost, Text(note, style=style)]


def _promise_delta(before: int | None, after: int | None) -> Text:
    if not before or after is None:
        return Text("")
    return Text(_percent(Fraction(after - before, before)), style=HARDER if after < before else EASIER)


def _rate(rate: int | None) -> str:
    return "" if rate is None else format_usd_per_mtok(rate)


def _seconds(us: int | None) -> str:
    if us is None:
        return ""
    return f"{us / US_PER_S:g} s" if us else "window"


def _percent(share: Fraction | None) -> str:
    return "" if share is None else f"{float(share * PERCENT):+.2f}"


def diff_summary(diff: "BookDiff") -> str:
    """What differs, in a sentence."""
    if not diff.cards:
        return f"No card differs; {diff.unchanged} are alike."
    largest = diff.largest
    most = ""
    if largest is not None:
        most = f"; the largest change of a rate is {_percent(largest[1])} % ({largest[0].model} {largest[0].tier})"
    differ = "One card differs" if len(diff.cards) == 1 else f"{len(diff.cards):,} cards differ"
    return f"{differ}, {diff.unchanged:,} are alike{most}."


def impact_table(impact: "Impact", days: float) -> "Table":
    """What the traffic would have earned under both; losses are red."""
    found = table(
        f"The last {days:g} days of traffic under both · USD",
        [
            *words("model", "tier"),
            *numbers("requests", "revenue", "new revenue", "Δ revenue", "margin", "new margin", "Δ margin"),
            Column("note", is_wide=True),
        ],
    )
    for (model, tier), line in impact.lines.items():
        found.add_row(Text(model), tier.value, *_line_cells(line))
    if impact.lines:
        found.add_section()
        for tier, line in impact.by_tier().items():
            found.add_row("all models", tier.value, *_line_cells(line))
        found.add_row("all models", "all", *_line_cells(impact.total))
    return found


def _line_cells(line: "Line") -> list[Text | str]:
    return [
        f"{line.requests:,}",
        format_usd(line.revenue_old),
        format_usd(line.revenue_new),
        _change(line.revenue_new - line.revenue_old),
        format_usd(line.margin_old),
        format_usd(line.margin_new),
        _change(line.margin_new - line.margin_old),
        _line_note(line),
    ]


def _change(nano: int) -> Text:
    sign = "+" if nano > 0 else ""
    return Text(f"{sign}{format_usd(nano)}", style=LOSES if nano < 0 else RISES if nano else "")


def _line_note(line: "Line") -> str:
    notes = [
        *(["not all sold before"] if not line.is_sold_old else []),
        *(["no longer sold"] if not line.is_sold_new else []),
        *([f"estimate from {line.sampled:,}"] if line.is_estimate else []),
    ]
    return ", ".join(notes)
