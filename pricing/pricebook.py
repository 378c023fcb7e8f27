"""The immutable, dated, content-hashed set of promises and rates that are on sale.

The hash covers promises and rates together: change either, and it is another book. :func:`book_document` is the
published form from which anyone can recompute a receipt; its canonical JSON is what is hashed. Our own costs are no
part of what is published: :func:`book_record` adds them for storage.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NewType

from pricing.money import Rate, format_usd_per_mtok
from pricing.slo import US_PER_S, Ladder, Rung, Slo, Tier
from pricing.usage import Rates

PriceBookId = NewType("PriceBookId", str)


class PriceBookError(ValueError):
    """A book that must not be published: duplicate cards, or rates or promises that do not fall from tier to tier."""


@dataclass(frozen=True, slots=True)
class RateCard:
    """What one model costs at one tier, and what is promised for it.

    Attributes:
        model: the public name of the model on sale.
        rung: tier, promise and rates.
        deployment_id: the measured deployment whose operating point the promise snaps to.
        interactivity_tok_s_user: speed measured at that operating point; shown, never billed by.
        cost: our own cost of a token of each class at that point, pico-USD per token.
        concurrency_max: how many requests at once the operating point was measured for.
        explanation: one sentence a person can check.
    """

    model: str
    rung: Rung
    deployment_id: str
    interactivity_tok_s_user: float
    cost: Rates
    concurrency_max: int
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All rate cards of one moment.

    Attributes:
        sha256: hex digest of the canonical published document.
    """

    id: PriceBookId
    sha256: str
    effective_at: datetime
    cards: Mapping[tuple[str, Tier], RateCard]
    _ladders: Mapping[str, Mapping[Tier, Ladder]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ladders", ladders_of(self.cards))  # worked out once: every request asks for one

    def models(self) -> tuple[str, ...]:
        """The models on sale, by name."""
        return tuple(sorted(self._ladders))

    def tiers(self, model: str) -> tuple[Tier, ...]:
        """The tiers sold for a model, best first; empty when the model is not sold."""
        return tuple(self._ladders.get(model, ()))

    def ladder(self, model: str, tier: Tier) -> Ladder | None:
        """The ladder of a request served at ``tier``: its rung and every lower one; None when not sold."""
        return self._ladders.get(model, {}).get(tier)


def ladders_of(cards: Mapping[tuple[str, Tier], RateCard]) -> dict[str, dict[Tier, Ladder]]:
    """Every ladder that starts at a tier sold, by model and tier, best first; a draft's cards have them too."""
    rungs: dict[str, list[Rung]] = {}
    for model, tier in sorted(cards, key=lambda key: key[1].rank):
        rungs.setdefault(model, []).append(cards[model, tier].rung)
    return {
        model: {rung.tier: Ladder(tuple(sold[index:])) for index, rung in enumerate(sold)}
        for model, sold in rungs.items()
    }


def price_book(effective_at: datetime, cards: Iterable[RateCard]) -> PriceBook:
    """Builds and checks a book; its id is derived from its date and content.

    Raises:
        PriceBookError: no or duplicate cards, a naive date, a negative rate or cost, rates that do not fall strictly
            in every token class from each tier to the next, or a lesser tier that promises more than a better one.
    """
    if effective_at.tzinfo is None:
        raise PriceBookError("effective_at must carry a time zone")
    effective_at = effective_at.astimezone(UTC)
    by_key: dict[tuple[str, Tier], RateCard] = {}
    for card in cards:
        _check_card(card)
        key = (card.model, card.rung.tier)
        if key in by_key:
            raise PriceBookError(f"two rate cards for {card.model} {card.rung.tier}")
        by_key[key] = card
    if not by_key:
        raise PriceBookError("a price book needs at least one rate card")
    ordered = dict(sorted(by_key.items(), key=lambda item: (item[0][0], item[0][1].rank)))
    _check_tiers_fall(ordered)
    digest = hashlib.sha256(canonical_json(_document(effective_at, ordered.values()))).hexdigest()
    book_id = PriceBookId(f"pb-{effective_at:%Y%m%dT%H%M%S}-{digest[:8]}")
    return PriceBook(id=book_id, sha256=digest, effective_at=effective_at, cards=ordered)


def book_document(book: PriceBook) -> dict[str, Any]:
    """The published form of a book: JSON-ready, rates as integer pico-USD per token, promises in µs."""
    return _document(book.effective_at, book.cards.values())


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: sorted keys, no spaces, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def book_record(book: PriceBook) -> dict[str, Any]:
    """The stored form of a book: the published document, and beside it our cost of each card's tokens."""
    return {"document": book_document(book), "costs": cards_record(book.cards.values())["costs"]}


def book_from_record(record: Mapping[str, Any]) -> PriceBook:
    """Reads a stored book back; the inverse of :func:`book_record`."""
    return price_book(datetime.fromisoformat(record["document"]["effective_at"]), cards_from_record(record))


def cards_record(cards: Iterable[RateCard]) -> dict[str, Any]:
    """The stored form of cards that are no book yet: a draft's, whatever state they are in."""
    documents: list[dict[str, Any]] = []
    costs: list[dict[str, int]] = []
    for card in cards:
        documents.append(_card_document(card))
        costs.append({name.value: rate for name, rate in card.cost.by_class().items()})
    return {"document": {"cards": documents}, "costs": costs}


def cards_from_record(record: Mapping[str, Any]) -> tuple[RateCard, ...]:
    """Reads the cards of a stored book or draft; the inverse of :func:`cards_record`."""
    return tuple(
        _card_from_document(card, _rates(cost))
        for card, cost in zip(record["document"]["cards"], record["costs"], strict=True)
    )


def _document(effective_at: datetime, cards: Iterable[RateCard]) -> dict[str, Any]:
    return {
        "format": "goodput-price-book/1",
        "currency": "USD",
        "rate_unit": "pico-USD per token",
        "effective_at": effective_at.isoformat(),
        "cards": [_card_document(card) for card in cards],
    }


def _card_document(card: RateCard) -> dict[str, Any]:
    return {
        "model": card.model,
        "tier": card.rung.tier.value,
        "slo": {"ttft_us": card.rung.slo.ttft_us, "tpot_us": card.rung.slo.tpot_us},
        "rates": {name.value: rate for name, rate in card.rung.rates.by_class().items()},
        "deployment_id": card.deployment_id,
        "interactivity_tok_s_user": card.interactivity_tok_s_user,
        "concurrency_max": card.concurrency_max,
        "explanation": card.explanation,
    }


def _card_from_document(document: Mapping[str, Any], cost: Rates) -> RateCard:
    slo = Slo(document["slo"]["ttft_us"], document["slo"]["tpot_us"])
    return RateCard(
        model=document["model"],
        rung=Rung(Tier(document["tier"]), slo, _rates(document["rates"])),
        deployment_id=document["deployment_id"],
        interactivity_tok_s_user=document["interactivity_tok_s_user"],
        cost=cost,
        concurrency_max=document["concurrency_max"],
        explanation=document["explanation"],
    )


def _rates(document: Mapping[str, int]) -> Rates:
    return Rates(**{name: Rate(document[name]) for name in ("input", "cached", "cache_write", "output")})


def _check_card(card: RateCard) -> None:
    name = f"{card.model} {card.rung.tier}"
    for what, rates in (("rate", card.rung.rates), ("cost", card.cost)):
        for token_class, amount in rates.by_class().items():
            if amount < 0:
                raise PriceBookError(f"{name}: the {token_class} {what} is negative: {amount} pico-USD per token")
    speed = card.interactivity_tok_s_user
    if not (math.isfinite(speed) and speed > 0) or card.concurrency_max < 1:
        raise PriceBookError(
            f"{name}: needs a speed above 0 and a concurrency of at least 1, got {speed} tok/s/user "
            f"at {card.concurrency_max}"
        )


def _check_tiers_fall(cards: Mapping[tuple[str, Tier], RateCard]) -> None:
    previous: RateCard | None = None
    for card in cards.values():
        if previous is not None and previous.model == card.model:
            _check_step(previous, card)
        previous = card


def _check_step(better: RateCard, lesser: RateCard) -> None:
    pair = f"{better.model}: {better.rung.tier} → {lesser.rung.tier}"
    for name, dear in better.rung.rates.by_class().items():
        cheap = lesser.rung.rates.by_class()[name]
        if cheap > dear or cheap == dear > 0:
            raise PriceBookError(
                f"{pair}: the {name} rate must fall, but goes from {format_usd_per_mtok(dear)} "
                f"to {format_usd_per_mtok(cheap)} USD per million tokens"
            )
    fast, slow = better.rung.slo, lesser.rung.slo
    if slow.ttft_us < fast.ttft_us or (0 < slow.tpot_us < fast.tpot_us):
        raise PriceBookError(
            f"{pair}: the lesser tier promises more: first token {slow.ttft_us / US_PER_S} s against "
            f"{fast.ttft_us / US_PER_S} s, then {slow.tpot_us} µs a token against {fast.tpot_us} µs"
        )
