"""What is derived at one moment for everything on sale, and how it differs from a book; pure.

A tier whose derivation runs the same deployment at the same load as the live book is *comparable*: its rate may move by
itself. Whatever else would change (another deployment, a promise, a tier more or less) is told as a review.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from app.planning.in_force import InForce
from app.planning.priced import PricedModelSpec
from app.planning.resolve import Shipped, priced_model
from pricing.derive import derive_cards
from pricing.money import Rate
from pricing.pricebook import PriceBook, RateCard
from pricing.repricing import DEFAULT_LIMITS, CardKey, CardRates, Limits, Seen, stepped
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates, TokenClass


@dataclass(frozen=True, slots=True)
class Derived:
    """What followed from the inputs of one moment.

    Attributes:
        cards: of every model that could be priced.
        troubles: why not, by public name; one model that cannot be priced does not stop the others.
    """

    cards: tuple[RateCard, ...]
    troubles: Mapping[str, str]

    def by_key(self) -> dict[CardKey, RateCard]:
        """The cards by model and tier."""
        return {(card.model, card.rung.tier): card for card in self.cards}

    def models(self) -> frozenset[str]:
        """Every model that could be priced."""
        return frozenset(card.model for card in self.cards)


def derived(specs: Iterable[PricedModelSpec], given: InForce, shipped: Shipped) -> Derived:
    """Derives every model's cards from the inputs in force."""
    cards: list[RateCard] = []
    troubles: dict[str, str] = {}
    for spec in specs:
        try:
            model = priced_model(spec, given, shipped)
            made = derive_cards(model.model, model.public_name, model.profiles, model.hardware_costs, model.assumptions)
            cards.extend(made)
            if not made:
                troubles[spec.public_name] = "no tier that it may be sold at can be priced from what was measured"
        except ValueError as error:
            troubles[spec.public_name] = str(error)
    return Derived(tuple(cards), troubles)


def seen(live: PriceBook, found: Derived, published_at_us: int, now_us: int) -> Seen:
    """What a run of the repricer compares.

    Models that were not derived (hand-made cards, or a model in trouble) are neither compared nor reviewed.
    """
    new = found.by_key()
    models = found.models()
    reviews = {model: text for model in sorted(models) if (text := _review(model, live, new))}
    comparable = {model for model in models if _is_comparable(model, live, new)}
    return Seen(
        book_id=live.id,
        published_at_us=published_at_us,
        live={key: card.rung.rates for key, card in live.cards.items()},
        target={key: card.rung.rates for key, card in new.items() if key[0] in comparable},
        reviews=reviews,
        now_us=now_us,
    )


def stepped_cards(live: PriceBook, found: Derived, rates: CardRates) -> tuple[RateCard, ...]:
    """The live book's cards with new rates and today's costs: what may be published without a person."""
    new = found.by_key()
    return tuple(
        card
        if key not in rates
        else replace(card, rung=replace(card.rung, rates=rates[key]), cost=new[key].cost if key in new else card.cost)
        for key, card in live.cards.items()
    )


def review_cards(
    live: PriceBook, found: Derived, rates: CardRates, reviews: frozenset[str], limits: Limits = DEFAULT_LIMITS
) -> tuple[RateCard, ...]:
    """What a person should look at: derived promises and configurations, with rates at most a step from the live ones.

    Args:
        live: the book in force.
        found: what was derived.
        rates: that move by themselves.
        reviews: models of which more than rates would change.
        limits: of a step.
    """
    kept = [card for card in stepped_cards(live, found, rates) if card.model not in reviews]
    for model in sorted(reviews):
        kept.extend(_within_a_step(model, live, found, limits))
    return tuple(kept)


def with_kept(live: PriceBook | None, found: Derived) -> tuple[RateCard, ...]:
    """The derived cards, and the live ones of models that are in trouble today: they stay on sale as they were."""
    kept = () if live is None else (card for card in live.cards.values() if card.model in found.troubles)
    return (*found.cards, *kept)


def with_all_kept(live: PriceBook | None, found: Derived, gone: Iterable[str] = ()) -> tuple[RateCard, ...]:
    """The derived cards, and the live ones of every model that was not derived: hand-made ones too.

    Args:
        live: the book in force.
        found: what was derived.
        gone: models that were taken off sale; nothing of theirs is kept.
    """
    models = found.models() | frozenset(gone)
    kept = () if live is None else (card for card in live.cards.values() if card.model not in models)
    return (*found.cards, *kept)


def _is_comparable(model: str, live: PriceBook, new: Mapping[CardKey, RateCard]) -> bool:
    tiers = _tiers(model, live.cards)
    return tiers == _tiers(model, new) and all(_runs_alike(live.cards[model, t], new[model, t]) for t in tiers)


def _runs_alike(one: RateCard, other: RateCard) -> bool:
    return (one.deployment_id, one.concurrency_max) == (other.deployment_id, other.concurrency_max)


def _tiers(model: str, cards: Mapping[CardKey, RateCard]) -> list[Tier]:
    return [tier for tier in Tier if (model, tier) in cards]


def _review(model: str, live: PriceBook, new: Mapping[CardKey, RateCard]) -> str:
    """What would change beyond rates, in words; empty when nothing does."""
    said: list[str] = []
    for tier in Tier:
        old, card = live.cards.get((model, tier)), new.get((model, tier))
        if old is None and card is not None:
            said.append(f"{tier} would be sold")
        elif card is None and old is not None:
            said.append(f"{tier} would be sold no more")
        elif old is not None and card is not None:
            said.extend(_differences(tier, old, card))
    return "; ".join(said)


def _differences(tier: Tier, old: RateCard, card: RateCard) -> list[str]:
    said: list[str] = []
    if not _runs_alike(old, card):
        said.append(
            f"{tier} would run {card.deployment_id} at {card.concurrency_max} at once instead of {old.deployment_id} "
            f"at {old.concurrency_max}"
        )
    if old.rung.slo != card.rung.slo:
        said.append(f"{tier} would promise {_promise(card.rung.slo)} instead of {_promise(old.rung.slo)}")
    return said


def _promise(slo: Slo) -> str:
    return f"{slo.ttft_us:,} µs" if slo.is_window else f"{slo.ttft_us:,} µs then {slo.tpot_us:,} µs a token"


def _within_a_step(model: str, live: PriceBook, found: Derived, limits: Limits) -> list[RateCard]:
    """Derived cards with stepped rates; with the derived ones where steps would let two tiers meet."""
    new = found.by_key()
    tiers = _tiers(model, new)
    columns = {name: [_stepped(live, new[model, tier], name, limits) for tier in tiers] for name in TokenClass}
    rates = [Rates(**{name.value: column[index] for name, column in columns.items()}) for index in range(len(tiers))]
    falls = all(dear > cheap or dear == cheap == 0 for column in columns.values() for dear, cheap in pairwise(column))
    cards = [new[model, tier] for tier in tiers]
    if not falls:
        return cards
    return [
        replace(card, rung=Rung(card.rung.tier, card.rung.slo, each)) for card, each in zip(cards, rates, strict=True)
    ]


def _stepped(live: PriceBook, card: RateCard, name: TokenClass, limits: Limits) -> Rate:
    old = live.cards.get((card.model, card.rung.tier))
    rate = card.rung.rates.by_class()[name]
    return rate if old is None else stepped(old.rung.rates.by_class()[name], rate, limits)
