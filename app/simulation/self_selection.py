"""Which tiers a market's customers choose at its price book's prices: the optimiser's own demand model; pure.

A book's tiers are the terms: the speed on each rate card, and as wait the first token's promise. Prices are blended at
the demand file's mix, else at the workload's mean lengths. What finds nothing worth its price stays away.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from app.simulation.workload import Workload, WorkloadError
from pricing.anchors import ListPrice, anchors
from pricing.assumptions import ATTAINMENT
from pricing.cost_plus import blended
from pricing.demand import Buyers, terms_of, tier_shares
from pricing.demand_document import DemandModel, Money, drawn_buyers, temperature
from pricing.pricebook import PriceBook
from pricing.profiles import LengthClass
from pricing.slo import Tier


def self_selected(
    workload: Workload,
    book: PriceBook,
    models: Sequence[str],
    demand: DemandModel,
    list_prices: Iterable[ListPrice] = (),
) -> Workload:
    """The same demand, each model's tiers as its customers choose them.

    Where the demand is in multiples of list prices, a model that nobody publishes a price of (a tuned one, say) keeps
    the workload's own tiers.

    Args:
        workload: what is asked for otherwise.
        book: what is sold, and at which prices.
        models: those that are made.
        demand: who would buy what; the same for every model.
        list_prices: what a demand in multiples of list prices rests on.

    Raises:
        WorkloadError: the demand rests on list prices, and nobody publishes one of any of the models.
        DemandError: a demand that cannot be.
    """
    mix, known = demand.mix or mean_lengths(workload), tuple(list_prices)
    chosen: dict[str, Mapping[Tier, float]] = {}
    for model in models:
        buyers = _buyers(model, demand, known, mix)
        if buyers is not None:
            chosen[model] = tier_mix(book, model, demand, buyers, mix)
    if not chosen:
        raise WorkloadError(
            f"the demand is in multiples of list prices, and nobody publishes a standard price of {', '.join(models)}; "
            "state the demand in usd_per_mtok"
        )
    return replace(workload, tiers_of_models=chosen)


def tier_mix(
    book: PriceBook, model: str, demand: DemandModel, buyers: Buyers, mix: LengthClass
) -> Mapping[Tier, float]:
    """What share of a model's demand each of its tiers is chosen by; they sum to less than one where some stay away."""
    cards = {tier: book.cards[model, tier] for tier in book.tiers(model)}
    offered = {tier: (card.interactivity_tok_s_user, card.rung.slo) for tier, card in cards.items()}
    terms = terms_of(offered, dict.fromkeys(cards, 1 - ATTAINMENT))
    prices = np.array([blended(cards[tier].rung.rates, mix) for tier in terms.tiers])
    shares = tier_shares(buyers, terms, prices, temperature(demand, buyers))
    return dict(zip(terms.tiers, map(float, shares), strict=True))


def mean_lengths(workload: Workload) -> LengthClass:
    """The mix that prices are blended at: the mean lengths, of the trace or of the two log-normal distributions."""
    if workload.trace:
        inputs, outputs = (float(np.mean(column)) for column in zip(*workload.trace, strict=True))
    else:
        inputs = workload.input_tokens * np.exp(workload.input_sigma**2 / 2)
        outputs = workload.output_tokens * np.exp(workload.output_sigma**2 / 2)
    return LengthClass(max(round(inputs), 1), max(round(outputs), 1))


def _buyers(model: str, demand: DemandModel, list_prices: Sequence[ListPrice], mix: LengthClass) -> Buyers | None:
    if demand.money is Money.USD_PER_MTOK:
        return drawn_buyers(demand)
    anchor = anchors(model, list_prices).get(Tier.STANDARD)
    return None if anchor is None else drawn_buyers(demand, anchor.usd_per_mtok(mix))
