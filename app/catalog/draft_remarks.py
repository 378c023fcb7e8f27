"""What stands in the way of publishing some cards, and what about them has to be accepted knowingly; pure."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

from app.catalog.draft import RATE_MAX, Cards, Remark
from pricing.money import format_usd_per_mtok
from pricing.pricebook import PriceBookError, RateCard, price_book
from pricing.slo import US_PER_S, Tier

JUMP = 10
"""A rate or promise that changes by this factor or more is asked about: a unit was mistaken, most often."""
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


def problems(cards: Cards) -> tuple[Remark, ...]:
    """Why some cards make no price book; empty when they do."""
    if not cards:
        return (Remark("", None, "", "Nothing is to be sold: a price book needs at least one tier of one model."),)
    found = [*_out_of_range(cards), *_out_of_order(cards)]
    if found:
        return tuple(found)
    try:
        price_book(_ANY_MOMENT, cards.values())
    except PriceBookError as error:
        return (Remark("", None, "", str(error)),)
    return ()


def warnings(cards: Cards, base: Cards) -> tuple[Remark, ...]:
    """What the cards change for the questionable; what was so in ``base`` already is not asked about again."""
    return tuple(
        remark
        for key, card in cards.items()
        if key not in base or (base[key].rung, base[key].cost) != (card.rung, card.cost)
        for remark in (*_below_cost(card), *_faster_than_measured(card), *_jumps(card, base.get(key)))
    )


def _out_of_range(cards: Cards) -> Iterator[Remark]:
    for (model, tier), card in cards.items():
        for name, rate in card.rung.rates.by_class().items():
            if not 0 <= rate <= RATE_MAX:
                said = f"{model} {tier}: the {name} rate of {_usd(rate)} is not between 0 and {_usd(RATE_MAX)}"
                yield Remark(model, tier, name.value, said)


def _out_of_order(cards: Cards) -> Iterator[Remark]:
    for model in sorted({model for model, _ in cards}):
        sold = [cards[model, tier] for tier in Tier if (model, tier) in cards]
        for better, lesser in pairwise(sold):
            yield from _rates_that_do_not_fall(better, lesser)
            yield from _promises_that_rise(better, lesser)


def _rates_that_do_not_fall(better: RateCard, lesser: RateCard) -> Iterator[Remark]:
    cheaper = lesser.rung.rates.by_class()
    for name, dear in better.rung.rates.by_class().items():
        cheap = cheaper[name]
        if cheap > dear or cheap == dear > 0:
            said = f"the {name} rate of {_usd(cheap)} must be below {better.rung.tier}'s {_usd(dear)}"
            said = f"{_name(lesser)}: {said}"
            yield Remark(lesser.model, lesser.rung.tier, name.value, said)


def _promises_that_rise(better: RateCard, lesser: RateCard) -> Iterator[Remark]:
    fast, slow = better.rung.slo, lesser.rung.slo
    for name, is_more, was, now in (
        ("ttft", slow.ttft_us < fast.ttft_us, fast.ttft_us, slow.ttft_us),
        ("tpot", 0 < slow.tpot_us < fast.tpot_us, fast.tpot_us, slow.tpot_us),
    ):
        if is_more:
            said = (
                f"{_name(lesser)}: a {name} of {now / US_PER_S} s promises more than "
                f"{better.rung.tier}'s {was / US_PER_S} s"
            )
            yield Remark(lesser.model, lesser.rung.tier, name, said)


def _below_cost(card: RateCard) -> Iterator[Remark]:
    costs = card.cost.by_class()
    for name, rate in card.rung.rates.by_class().items():
        if rate < costs[name]:
            said = f"{_name(card)}: the {name} rate of {_usd(rate)} is below our cost of {_usd(costs[name])}"
            yield Remark(card.model, card.rung.tier, name.value, said)


def _faster_than_measured(card: RateCard) -> Iterator[Remark]:
    promised = card.rung.slo.tok_s_user
    if promised is not None and promised > card.interactivity_tok_s_user:
        said = (
            f"{_name(card)}: promises {promised:.1f} tok/s/user, but {card.deployment_id} was measured at "
            f"{card.interactivity_tok_s_user:.1f}"
        )
        yield Remark(card.model, card.rung.tier, "tpot", said)


def _jumps(card: RateCard, base: RateCard | None) -> Iterator[Remark]:
    if base is None:
        return
    old, new = base.rung, card.rung
    pairs = [
        *((name.value, was, new.rates.by_class()[name], _usd) for name, was in old.rates.by_class().items()),
        ("ttft", old.slo.ttft_us, new.slo.ttft_us, _seconds),
        ("tpot", old.slo.tpot_us, new.slo.tpot_us, _seconds),
    ]
    for name, was, now, shown in pairs:
        if was > 0 and now != was and (now >= was * JUMP or now * JUMP <= was):
            said = (
                f"{_name(card)}: {name} goes from {shown(was)} to {shown(now)}, {JUMP} times or more; is it the unit?"
            )
            yield Remark(card.model, card.rung.tier, name, said)


def _name(card: RateCard) -> str:
    return f"{card.model} {card.rung.tier}"


def _usd(rate: int) -> str:
    return f"{format_usd_per_mtok(rate)} USD per million tokens"


def _seconds(us: int) -> str:
    return f"{us / US_PER_S} s" if us else "one window"
