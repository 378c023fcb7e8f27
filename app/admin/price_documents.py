"""The JSON about drafts, published books and their comparison; pure."""

from typing import Any

from app.admin.price_service import Review
from app.catalog.book_store import BookHead, Released
from app.catalog.draft import Cards, Draft, DraftHead, Remark
from app.catalog.impact_store import Assessment
from app.clock import from_us
from pricing.book_diff import diff_document
from pricing.book_impact import impact_document
from pricing.money import format_usd_per_mtok
from pricing.pricebook import RateCard

REMARKS_MAX = 100
REVENUE = (
    "Revenue is what customers pay: the net, and where their balance did not cover it, what was held. Costs are what "
    "the tokens did cost. The traffic is taken as it was: nobody is assumed to buy more or less."
)


def book_head_document(head: BookHead, live_id: str | None, now_us: int) -> dict[str, Any]:
    """A published book in a list."""
    return {
        "id": head.id,
        "sequence": head.sequence,
        "state": head.state(live_id, now_us).value,
        "origin": head.origin.value,
        "effective_at": from_us(head.effective_at_us).isoformat(),
        "effective_at_us": head.effective_at_us,
        "predecessor_id": head.predecessor_id,
        "sha256": head.sha256,
        "published_by": head.published_by,
        "published_at_us": head.created_at_us,
        "reason": head.reason,
        "withdrawal": None
        if head.withdrawn_at_us is None
        else {"at_us": head.withdrawn_at_us, "by": head.withdrawn_by, "reason": head.withdrawal_reason},
    }


def released_document(released: Released, live_id: str | None, now_us: int) -> dict[str, Any]:
    """What came of a publication."""
    return {
        "price_book_id": released.book.id,
        "sha256": released.book.sha256,
        "effective_at": released.book.effective_at.isoformat(),
        "replaces": released.replaces,
        "followed_by": [book_head_document(head, live_id, now_us) for head in released.followed_by],
        "models_not_on_sale": list(released.off_sale),
        "models_without_price": list(released.unpriced),
    }


def draft_head_document(draft: Draft | DraftHead) -> dict[str, Any]:
    """A draft in a list."""
    return {
        "id": draft.id,
        "title": draft.title,
        "state": draft.state.value,
        "origin": draft.origin.value,
        "version": draft.version,
        "base_price_book_id": draft.base_book_id,
        "published_price_book_id": draft.published_book_id,
        "created_by": draft.created_by,
        "created_at_us": draft.created_at_us,
        "updated_at_us": draft.updated_at_us,
    }


def draft_document(draft: Draft) -> dict[str, Any]:
    """A draft with everything about it."""
    return {
        **draft_head_document(draft),
        "cards": cards_document(draft.cards),
        "withheld": cards_document(draft.withheld),
        "problems": [remark_document(remark) for remark in draft.problems[:REMARKS_MAX]],
        "problems_count": len(draft.problems),
        "warnings": [remark_document(remark) for remark in draft.warnings[:REMARKS_MAX]],
        "warnings_count": len(draft.warnings),
    }


def cards_document(cards: Cards) -> list[dict[str, Any]]:
    """Cards with rates and costs as decimal strings of USD per million tokens."""
    return [_card_document(card) for card in cards.values()]


def _card_document(card: RateCard) -> dict[str, Any]:
    return {
        "model": card.model,
        "tier": card.rung.tier.value,
        "slo": {"ttft_us": card.rung.slo.ttft_us, "tpot_us": card.rung.slo.tpot_us},
        "usd_per_mtok": {name.value: format_usd_per_mtok(rate) for name, rate in card.rung.rates.by_class().items()},
        "cost_usd_per_mtok": {name.value: format_usd_per_mtok(rate) for name, rate in card.cost.by_class().items()},
        "deployment_id": card.deployment_id,
        "interactivity_tok_s_user": card.interactivity_tok_s_user,
        "concurrency_max": card.concurrency_max,
    }


def remark_document(remark: Remark) -> dict[str, Any]:
    """Something that stands in the way, or has to be accepted."""
    tier = None if remark.tier is None else remark.tier.value
    return {"model": remark.model or None, "tier": tier, "field": remark.field or None, "message": remark.message}


def review_document(review: Review) -> dict[str, Any]:
    """Two books, or a book and a draft, compared."""
    draft = review.new.draft
    return {
        "object": "price_diff",
        "old": review.old.id or None,
        "new": review.new.id,
        **diff_document(review.diff),
        "problems": [] if draft is None else [remark_document(remark) for remark in draft.problems[:REMARKS_MAX]],
        "warnings": [] if draft is None else [remark_document(remark) for remark in draft.warnings[:REMARKS_MAX]],
        "impact": None if review.assessment is None else _assessment_document(review.assessment),
    }


def _assessment_document(found: Assessment) -> dict[str, Any]:
    return {
        "since": from_us(found.period.since_us).isoformat(),
        "until": from_us(found.period.until_us).isoformat(),
        "days": found.period.days,
        "basis": basis(found),
        **impact_document(found.impact),
    }


def basis(found: Assessment) -> str:
    """What the figures of an assessment rest on, in words."""
    total = found.impact.total
    if not total.requests:
        return f"No request finished in these {found.period.days:g} days."
    parts = [REVENUE]
    if total.is_estimate:
        parts.append(
            f"{total.sampled:,} of the requests that a change touches were rated one by one, drawn with seed "
            f"{found.effort.seed}, and scaled up to all: an estimate."
        )
    if total.ungraded:
        parts.append(
            f"{total.ungraded:,} of them have no timeline any more and count as they were graded when they were billed."
        )
    return " ".join(parts)
