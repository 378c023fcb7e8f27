"""One request as the operator sees it: where its time went, when each token was due, and what it cost; pure."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.metering.models import UsageEvent
from app.metering.timeline_codec import decode
from pricing.goodput import Timeline
from pricing.pricebook import PriceBook
from pricing.slo import Ladder, Rung, Tier
from pricing.usage import Rates, Usage

DRAWN_MAX = 400
DEADLINE_SPAN = 3
"""Deadlines further out than so many times the answer itself are told in words, not drawn."""

_US_PER_MS = 1_000


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a request's time.

    Attributes:
        look: how it is drawn.
        begin_us, end_us: since the request was read.
        x, span: of the whole drawing, per mille.
    """

    look: str
    title: str
    begin_us: int
    end_us: int
    x: float
    span: float


@dataclass(frozen=True, slots=True)
class Due:
    """When a tier's promise wanted something.

    Attributes:
        what: ``first token``, ``last token`` or ``whole answer``.
        x: of the whole drawing, per mille; None when it lies outside.
    """

    tier: Tier
    what: str
    due_us: int
    x: float | None


@dataclass(frozen=True, slots=True)
class BillLine:
    """What the tokens good at one tier cost; at that tier's rates."""

    tier: Tier
    usage: Usage
    rates: Rates | None
    amount: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that the page shows of one request.

    Attributes:
        ladder: from the book stamped at admission; None when that book is not at hand.
        charged: what the customer paid: net, at most what was held.
        chart: the delivery chart's data as JSON; None when the timeline was erased or is empty.
    """

    event: UsageEvent
    ladder: Ladder | None
    stages: tuple[Stage, ...]
    dues: tuple[Due, ...]
    lines: tuple[BillLine, ...]
    charged: int
    tpot_us: int | None
    chart: str | None

    @property
    def total_us(self) -> int:
        """From the first byte read to the last one sent."""
        return self.event.finished_at_us - self.event.requested_at_us

    @property
    def missed(self) -> int:
        """Tokens that met no tier's deadline."""
        return self.event.tokens_output - sum(line.usage.output for line in self.lines)


def receipt(event: UsageEvent, book: PriceBook | None) -> Receipt:
    """Shapes a usage event and the book it was sold under."""
    ladder = (
        None
        if book is None or event.tier_served not in set(Tier)
        else book.ladder(event.model, Tier(event.tier_served))
    )
    timeline = decode(event.timeline) if event.timeline else None
    first_us = None if event.first_token_at_us is None else event.first_token_at_us - event.requested_at_us
    total_us = max(1, event.finished_at_us - event.requested_at_us)
    dues = _dues(ladder, event.tokens_output, total_us)
    scale_us = max([total_us, *(due_us for _, _, due_us, is_near in dues if is_near)]) * 103 // 100
    return Receipt(
        event=event,
        ladder=ladder,
        stages=_stages(event, first_us, scale_us),
        dues=tuple(
            Due(tier, what, due_us, due_us * 1000 / scale_us if is_near else None)
            for tier, what, due_us, is_near in dues
        ),
        lines=_lines(event, ladder),
        charged=min(event.net, event.held),
        tpot_us=_tpot_us(event),
        chart=None if timeline is None or not timeline.tokens else delivery_chart(timeline, ladder),
    )


def _tpot_us(event: UsageEvent) -> int | None:
    if not event.is_streamed or event.first_token_at_us is None or event.tokens_output < 2:  # noqa: PLR2004 (a gap needs two tokens)
        return None
    return (event.finished_at_us - event.first_token_at_us) // (event.tokens_output - 1)


def _stages(event: UsageEvent, first_us: int | None, scale_us: int) -> tuple[Stage, ...]:
    placed_us = event.placed_at_us - event.requested_at_us
    total_us = event.finished_at_us - event.requested_at_us
    bounds = [("queue", "Admit and place", 0, placed_us)]
    decoding = f"decode-{event.tier_served}"
    if first_us is not None and not event.is_streamed:
        bounds.append((decoding, "Prefill and decode", placed_us, total_us))
    elif first_us is None:
        bounds.append(("prefill", "Waiting for a first token", placed_us, total_us))
    else:
        bounds += [("prefill", "Prefill", placed_us, first_us), (decoding, "Decode", first_us, total_us)]
    return tuple(
        Stage(look, title, begin, end, begin * 1000 / scale_us, max(1.5, (end - begin) * 1000 / scale_us))
        for look, title, begin, end in bounds
    )


def _dues(ladder: Ladder | None, tokens: int, total_us: int) -> list[tuple[Tier, str, int, bool]]:
    dues: list[tuple[Tier, str, int, bool]] = []
    for rung in ladder or ():
        moments = [("whole answer" if rung.slo.is_window else "first token", rung.slo.ttft_us)]
        if tokens > 1 and not rung.slo.is_window:
            moments.append(("last token", rung.slo.deadline_us(tokens - 1)))
        dues += [(rung.tier, what, due_us, due_us <= DEADLINE_SPAN * total_us) for what, due_us in moments]
    return dues


def _lines(event: UsageEvent, ladder: Ladder | None) -> tuple[BillLine, ...]:
    rates = {rung.tier: rung.rates for rung in ladder or ()}
    return tuple(
        BillLine(
            tier=Tier(line["tier"]),
            usage=Usage(line["input"], line["cached"], line["cache_write"], line["output"]),
            rates=rates.get(Tier(line["tier"])),
            amount=int(line["amount"]),
        )
        for line in event.lines
    )


def delivery_chart(timeline: Timeline, ladder: Ladder | None) -> str:
    """Tokens delivered over time, against when they were due, as JSON for the page's script."""
    chosen = _thinned(len(timeline.at_us))
    delivered = [
        [timeline.at_us[index] / _US_PER_MS, timeline.tokens_through[index], _tier_met(ladder, timeline, index)]
        for index in chosen
    ]
    horizon_us = max(1, timeline.at_us[-1])
    due = [
        (rung.tier.value, line)
        for rung in ladder or ()
        if not rung.slo.is_window and (line := _due_line(rung, timeline, chosen, horizon_us))
    ]
    latest_ms = max([horizon_us / _US_PER_MS, *(point[0] for _, line in due for point in line)])
    return json.dumps(
        {
            "delivered": delivered,
            "due": [{"tier": tier, "line": line} for tier, line in due],
            "tokens": timeline.tokens,
            "end_ms": math.ceil(latest_ms * 1.02),
        },
        separators=(",", ":"),
    )


def _due_line(rung: Rung, timeline: Timeline, chosen: Sequence[int], horizon_us: int) -> list[list[float]]:
    line: list[list[float]] = []
    for index in chosen:
        tokens = timeline.tokens_through[index]
        if not tokens:
            continue
        due_us = _due_us(rung, timeline, index)
        if due_us > DEADLINE_SPAN * horizon_us:
            break
        line.append([due_us / _US_PER_MS, tokens])
    return line


def _due_us(rung: Rung, timeline: Timeline, chunk: int) -> int:
    """When the last token of a chunk was due."""
    tokens = timeline.tokens_through[chunk] if timeline.streamed else timeline.tokens
    return rung.slo.deadline_us(max(0, tokens - 1), timeline.excused_us[chunk])


def _tier_met(ladder: Ladder | None, timeline: Timeline, chunk: int) -> str:
    """The best tier whose deadline a chunk's first token met, which is due first; ``missed`` when none.

    Empty when no promise is at hand.
    """
    if ladder is None:
        return ""
    first = timeline.tokens_through[chunk - 1] if timeline.streamed and chunk else 0
    token = first if timeline.streamed else timeline.tokens - 1
    met = (
        rung.tier.value
        for rung in ladder
        if timeline.at_us[chunk] <= rung.slo.deadline_us(token, timeline.excused_us[chunk])
    )
    return next(met, "missed")


def _thinned(chunks: int) -> list[int]:
    """Indices of at most ``DRAWN_MAX`` chunks, the first and the last among them."""
    if chunks <= DRAWN_MAX:
        return list(range(chunks))
    return sorted({index * (chunks - 1) // (DRAWN_MAX - 1) for index in range(DRAWN_MAX)})
