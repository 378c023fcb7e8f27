"""The JSON that the operators' API answers with; pure. Amounts are strings of dollars beside whole nano-USD."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.admin.figures import ATTAINMENT_TARGET_PERCENT, DayFigures, Pace, Sums
from app.admin.pages import Page
from app.admin.repository import TrialBalance
from app.audit.models import AuditEvent
from app.fleet.models import DeploymentRow, ProviderAccount
from app.identity.models import ApiKey, Customer
from app.ledger.models import AccountRow, EntryRow, JournalTxnRow
from app.metering.models import UsageEvent
from pricing.money import format_usd, format_usd_per_mtok
from pricing.pricebook import PriceBook, book_document
from scheduler.breaker import BreakerState
from scheduler.fleet import IDLE, Load


def page_document(page: Page[Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A page of a list; ``next`` goes into ``after`` of the next request, and is null on the last page."""
    return {"object": "list", "data": list(rows), "has_more": page.next is not None, "next": page.next}


def overview_document(figures: DayFigures) -> dict[str, Any]:
    """The UTC day so far."""
    return {
        "object": "overview",
        "as_of_us": figures.as_of_us,
        "total": sums_document(figures.total),
        "tiers": {tier.value: sums_document(sums) for tier, sums in figures.by_tier.items()},
        "attainment_target": f"{ATTAINMENT_TARGET_PERCENT / 100}",
    }


def sums_document(sums: Sums) -> dict[str, Any]:
    """What a set of requests adds up to."""
    return {
        "requests_accepted": sums.accepted,
        "requests_attained": sums.attained,
        "requests_failed": sums.failed,
        "tokens_input": sums.tokens_input,
        "tokens_output": sums.tokens_output,
        "tokens_good": sums.tokens_good,
        **amounts(
            gross=sums.gross,
            adjustment=sums.adjustment,
            revenue=sums.revenue,
            token_cost=sums.cost,
            token_margin=sums.margin,
        ),
    }


def amounts(**nano: int) -> dict[str, Any]:
    """Amounts of nano-USD, each twice: to read, and to reckon with.

    >>> amounts(net=1_500_000_000)
    {'net_usd': '1.50', 'net_nano': '1500000000'}
    """
    written: dict[str, Any] = {}
    for name, amount in nano.items():
        written[f"{name}_usd"] = format_usd(amount)
        written[f"{name}_nano"] = str(amount)
    return written


@dataclass(frozen=True, slots=True)
class LiveNow:
    """What this process knows of the fleet beyond its rows, by offer id.

    Attributes:
        troubles: why a deployment cannot be used, for those that cannot.
        paces: of the last hour's answers.
    """

    loads: Mapping[str, Load]
    breakers: Mapping[str, BreakerState]
    troubles: Mapping[str, str]
    paces: Mapping[str, Pace]


def provider_document(account: ProviderAccount, rows: Sequence[DeploymentRow], live: LiveNow) -> dict[str, Any]:
    """A provider and what it runs."""
    return {
        "id": account.id,
        "name": account.name,
        "state": account.state,
        "version": account.version,
        "deployments": [_deployment_document(row, live) for row in rows],
    }


def _deployment_document(row: DeploymentRow, live: LiveNow) -> dict[str, Any]:
    pace = live.paces.get(row.id, Pace())
    return {
        "id": row.id,
        "kind": row.kind,
        "precision": row.precision or None,
        "region": row.region or None,
        "model": row.model,
        "tiers": row.tiers,
        "state": row.state,
        "breaker": live.breakers.get(row.id, BreakerState.CLOSED).value,
        "trouble": live.troubles.get(row.id, ""),
        "is_emulated": row.is_emulated,
        "label": row.label,
        "is_owned": row.is_owned,
        "in_flight": live.loads.get(row.id, IDLE).in_flight,
        "concurrency_max": row.concurrency_max,
        "cost_usd_per_mtok": {
            "input": format_usd_per_mtok(row.cost_input),
            "cached": format_usd_per_mtok(row.cost_cached),
            "cache_write": format_usd_per_mtok(row.cost_cache_write),
            "output": format_usd_per_mtok(row.cost_output),
        },
        "last_hour": {
            "answers": pace.answers,
            "attained": pace.attained,
            "failed": pace.failed,
            "ttft_us": {f"p{percent}": value for percent, value in pace.ttft_us.items()},
            "tpot_us": {f"p{percent}": value for percent, value in pace.tpot_us.items()},
        },
    }


def request_document(event: UsageEvent) -> dict[str, Any]:
    """One line of the list of requests; the receipt has the rest."""
    first_us = None if event.first_token_at_us is None else event.first_token_at_us - event.requested_at_us
    return {
        "id": event.request_id,
        "customer_id": event.customer_id,
        "key_id": event.key_id,
        "model": event.model,
        "tier_asked": event.tier_asked,
        "tier_served": event.tier_served,
        "provider_id": event.provider_id,
        "precision": event.precision or None,
        "is_emulated": event.is_emulated,
        "requested_at_us": event.requested_at_us,
        "finished_at_us": event.finished_at_us,
        "ttft_us": first_us,
        "tokens_output": event.tokens_output,
        "tokens_good": event.tokens_good,
        "is_attained": event.is_attained,
        "ending": event.ending,
        "price_book_id": event.price_book_id,
        **amounts(gross=event.gross, adjustment=event.adjustment, charged=min(event.net, event.held), cost=event.cost),
    }


def customer_document(customer: Customer, wallet: AccountRow | None, keys: int) -> dict[str, Any]:
    """A customer with what they have left."""
    posted, held = (0, 0) if wallet is None else (wallet.posted, wallet.held)
    return {
        "id": customer.id,
        "name": customer.name,
        "email": customer.email,
        "is_frozen": customer.is_frozen,
        "limits": _limits(customer),
        "keys_working": keys,
        "created_at_us": customer.created_at_us,
        **amounts(balance=posted, held=held, available=posted - held),
    }


def key_document(key: ApiKey, secret: str | None = None) -> dict[str, Any]:
    """A key; its secret only in the answer that created it."""
    document = {
        "id": key.id,
        "customer_id": key.customer_id,
        "label": key.label,
        "prefix": key.prefix,
        "limits": _limits(key),
        "created_at_us": key.created_at_us,
        "last_used_at_us": key.last_used_at_us,
        "revoked_at_us": key.revoked_at_us,
    }
    return document if secret is None else {**document, "secret": secret}


def prices_document(book: PriceBook) -> dict[str, Any]:
    """A price book as published, and beside each card what its tokens cost us."""
    document = book_document(book)
    costs = [
        {name.value: format_usd_per_mtok(rate) for name, rate in card.cost.by_class().items()}
        for card in book.cards.values()
    ]
    cards = [{**card, "cost_usd_per_mtok": cost} for card, cost in zip(document["cards"], costs, strict=True)]
    return {"id": book.id, "sha256": book.sha256, **document, "cards": cards}


def audit_document(row: AuditEvent) -> dict[str, Any]:
    """One record of the audit log."""
    return {
        "id": row.id,
        "at_us": row.at_us,
        "actor": {"kind": row.actor_kind, "id": row.actor_id, "name": row.actor_name},
        "action": row.action,
        "subject": row.subject,
        "before": row.before,
        "after": row.after,
        "reason": row.reason,
        "ip": row.ip,
        "request_id": row.request_id,
    }


def balance_document(balance: TrialBalance, accounts: Sequence[AccountRow]) -> dict[str, Any]:
    """The trial balance, and every account but wallets."""
    return {
        "object": "trial_balance",
        "by_kind": {kind: amounts(balance=posted) for kind, posted in balance.by_kind.items()},
        "wallets": balance.wallets,
        **amounts(held=balance.held, drift=balance.drift),
        "accounts": [{"id": row.id, "kind": row.kind, **amounts(balance=row.posted)} for row in accounts],
    }


def transaction_document(txn: JournalTxnRow, legs: Sequence[EntryRow]) -> dict[str, Any]:
    """One transaction with its legs."""
    return {
        "id": txn.id,
        "idem": txn.idem,
        "kind": txn.kind,
        "subject": txn.subject,
        "booked_at_us": txn.booked_at_us,
        "price_book_id": txn.price_book_id,
        "memo": txn.memo,
        "legs": [{"account": leg.account_id, **amounts(amount=leg.amount)} for leg in legs],
    }


def _limits(owner: Customer | ApiKey) -> dict[str, int | None]:
    return {"rpm": owner.rpm, "tpm": owner.tpm, "concurrency": owner.concurrency}
