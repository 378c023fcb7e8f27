"""The chart of accounts: what each account is called and what kind it is; pure.

An account id is its family, then what it is about, joined by colons: ``revenue:gpt-oss-120b:premium``.
"""

from enum import StrEnum


class AccountKind(StrEnum):
    """What an account is in the books. Entries are signed, credits positive: assets and expenses run negative."""

    WALLET = "wallet"
    """A liability to one customer; the only kind that holds reserve on, and the only bounded one."""
    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    CONTRA = "contra"
    EXPENSE = "expense"
    EQUITY = "equity"


KIND_BY_FAMILY = {
    "wallet": AccountKind.WALLET,
    "stripe_clearing": AccountKind.ASSET,
    "bank": AccountKind.ASSET,
    "receivable": AccountKind.ASSET,
    "provider_sla_receivable": AccountKind.ASSET,
    "provider_payable": AccountKind.LIABILITY,
    "fleet_cost_accrued": AccountKind.LIABILITY,
    "tax_payable": AccountKind.LIABILITY,
    "refund_payable": AccountKind.LIABILITY,
    "invoice_carry": AccountKind.LIABILITY,
    "dispute_reserve": AccountKind.LIABILITY,
    "revenue": AccountKind.INCOME,
    "breakage": AccountKind.INCOME,
    "slo_adjustments": AccountKind.CONTRA,
    "promo_discount": AccountKind.CONTRA,
    "cogs": AccountKind.EXPENSE,
    "processor_fees": AccountKind.EXPENSE,
    "bad_debt": AccountKind.EXPENSE,
    "provider_variance": AccountKind.EXPENSE,
    "rounding": AccountKind.EXPENSE,
    "equity_opening": AccountKind.EQUITY,
}

PROVIDER_VARIANCE = "provider_variance"
"""What a delivery cost beyond its hold: usage above the quoted bound is ours, never the customer's."""
PROMO_DISCOUNT = "promo_discount"
"""Counter-account of credit given away."""


class UnknownAccount(ValueError):
    """An account id whose family is not in the chart."""


def kind_of(account_id: str) -> AccountKind:
    """The kind of an account, from its family.

    Raises:
        UnknownAccount: the family is not in the chart.

    >>> kind_of("slo_adjustments:premium:provider")
    <AccountKind.CONTRA: 'contra'>
    """
    family = account_id.partition(":")[0]
    if family not in KIND_BY_FAMILY:
        raise UnknownAccount(f"no account family {family!r} in the chart; the families are {', '.join(KIND_BY_FAMILY)}")
    return KIND_BY_FAMILY[family]


def wallet(customer_id: str) -> str:
    """What we owe a customer: credit not yet spent."""
    return f"wallet:{customer_id}"


def revenue(model: str, tier: str) -> str:
    """Sales before adjustments, by model and tier served."""
    return f"revenue:{model}:{tier}"


def slo_adjustments(tier: str, cause: str) -> str:
    """What late or failed deliveries gave back, by tier served and by who made them late."""
    return f"slo_adjustments:{tier}:{cause}"


def cogs(provider_id: str) -> str:
    """What the tokens of one provider cost us."""
    return f"cogs:{provider_id}"


def provider_counter(provider_id: str, *, is_owned: bool) -> str:
    """Against which ``cogs`` is booked: a payable where tokens are bought, accrued fleet cost where they are made."""
    return f"fleet_cost_accrued:{provider_id}" if is_owned else f"provider_payable:{provider_id}"
