"""A measured point taken as a tier's promise: the card that follows from it; pure.

The rates stay as they are: what changes is what is promised, where it runs and what it costs us, and the draft's
review shows what that leaves of the margin.
"""

from dataclasses import dataclass, replace

from app.catalog.draft import Cards
from app.console.books import promise_words
from pricing.assumptions import Assumptions
from pricing.candidates import Candidate, TailFactors
from pricing.cost_plus import costing, rate_rounded_up
from pricing.explain import configuration_name
from pricing.pricebook import RateCard
from pricing.slo import Rung, Slo, Tier
from pricing.tiers import promise
from pricing.usage import Rates


@dataclass(frozen=True, slots=True)
class Offered:
    """A card of the live book that could take the point as its promise.

    Attributes:
        key: of the form's choice: the tier and the model.
        after: the card as it would be.
    """

    key: str
    before: RateCard
    after: RateCard

    @property
    def promise_was(self) -> str:
        """The promise in force."""
        return ", ".join(promise_words(self.before.rung.slo))

    @property
    def promise(self) -> str:
        """The promise that the point can keep."""
        return ", ".join(promise_words(self.after.rung.slo))


def choices(cards: Cards, chosen: Candidate) -> tuple[Offered, ...]:
    """Every card that could promise what the point keeps, by model, best tier first."""
    return tuple(Offered(f"{card.rung.tier} {card.model}", card, card_at(card, chosen)) for card in cards.values())


def card_at(card: RateCard, chosen: Candidate, given: Assumptions | None = None) -> RateCard:
    """A card moved to a measured point: its promise, deployment and cost; a window stays the window it is."""
    given = given or Assumptions()
    slo, is_assumed = promise(chosen, given.rules.factors)
    if card.rung.slo.is_window:
        slo = card.rung.slo
    return replace(
        card,
        rung=Rung(card.rung.tier, slo, card.rung.rates),
        deployment_id=chosen.deployment_id,
        interactivity_tok_s_user=round(chosen.tok_s_user, 3),
        cost=_cost(chosen, given),
        concurrency_max=chosen.point.concurrency,
        explanation=_explained(card.rung.tier, chosen, slo, given.rules.factors if is_assumed else None),
    )


def _cost(chosen: Candidate, given: Assumptions) -> Rates:
    """What a token costs at the point, at the assumed use of the hardware, rounded up."""
    full = costing(given).full(chosen)
    return Rates(**{name.value: rate_rounded_up(usd / given.utilisation) for name, usd in full.by_class().items()})


def _explained(tier: Tier, chosen: Candidate, slo: Slo, assumed: TailFactors | None) -> str:
    where = configuration_name(chosen.profile.configuration)
    measured = f"{tier} on {where}, up to {chosen.point.concurrency} concurrent: chosen by an operator"
    basis = f"{chosen.point.provenance.basis} there: {chosen.tok_s_user:.0f} tok/s/user"
    if slo.is_window:
        return f"{measured}; {basis}"
    tail = "p99 as measured" if assumed is None else "p99 assumed from one statistic"
    return f"{measured}; {basis}; promised: {', '.join(promise_words(slo))} ({tail})"
