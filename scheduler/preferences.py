"""What a customer wishes of the offers that may serve a request, and the order in which they are then tried.

Wishes are of two kinds. *Hard* ones (``only``, ``ignore``, ``regions``, ``precisions``, and an ``order`` without
fallbacks) leave an offer out. *Soft* ones (``order``, ``sort``, thresholds of latency and throughput) only say which of
the feasible offers goes first: the promise comes before them, and an offer below a threshold is tried last, not never.
Prices do not depend on who serves, so a price cap is no matter of placing: the gateway looks at it.
"""

from dataclasses import dataclass
from enum import StrEnum

from pricing.slo import US_PER_S


class Sort(StrEnum):
    """What to prefer among offers that can keep the promise."""

    PRICE = "price"
    """Where the tokens cost least to make; the customer's own price is the same everywhere."""
    LATENCY = "latency"
    """Where the first token is forecast earliest."""
    THROUGHPUT = "throughput"
    """Where further tokens are forecast to follow fastest."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """Wishes about offers; the empty ones of :data:`NO_PREFERENCES` change nothing.

    Attributes:
        order: providers to try first, in this order.
        only: providers that may serve it at all; empty for any.
        ignore: providers that may not.
        regions: where it may be served: a region, or the part before a hyphen (``eu`` for ``eu-west-1``); empty for
            anywhere. An offer whose region is not known serves nobody who names one.
        precisions: at which precisions; empty for any. An offer whose precision is not known serves nobody who names
            one.
        allow_fallbacks: False: with an ``order`` nobody else may serve, without one a failed attempt is not repeated
            elsewhere.
        ttft_us_wished: forecast of a first token above which an offer is tried last.
        tpot_us_wished: forecast of a further token above which an offer is tried last.
    """

    order: tuple[str, ...] = ()
    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    precisions: frozenset[str] = frozenset()
    allow_fallbacks: bool = True
    sort: Sort | None = None
    ttft_us_wished: float | None = None
    tpot_us_wished: float | None = None

    @property
    def is_restrictive(self) -> bool:
        """Whether some offer may be left out."""
        return bool(
            self.only or self.ignore or self.regions or self.precisions or (self.order and not self.allow_fallbacks)
        )

    @property
    def reorders(self) -> bool:
        """Whether the order in which offers are tried depends on it."""
        return bool(self.order or self.sort or self.ttft_us_wished or self.tpot_us_wished)

    def why_not(self, provider: str, region: str, precision: str) -> str:
        """Why an offer of a provider, in a region, at a precision is left out, in a few words; empty when it is not."""
        if provider in self.ignore:
            return "ignored"
        if self.only and provider not in self.only:
            return "not among 'only'"
        if self.order and not self.allow_fallbacks and provider not in self.order:
            return "not in 'order', and no fallbacks are allowed"
        if self.regions and not is_within(region, self.regions):
            return f"in region {region}" if region else "in a region that is not known"
        if self.precisions and precision.lower() not in self.precisions:
            return f"at precision {precision}" if precision else "at a precision that is not known"
        return ""

    def words(self) -> str:
        """The hard wishes, as they were made."""
        lists = {
            "only": self.only,
            "ignore": self.ignore,
            "region": self.regions,
            "quantizations": self.precisions,
        }
        parts = [f"{name} [{', '.join(sorted(wished))}]" for name, wished in lists.items() if wished]
        if self.order and not self.allow_fallbacks:
            parts.append(f"order [{', '.join(self.order)}] without fallbacks")
        return ", ".join(parts)


NO_PREFERENCES = Preferences()


def is_within(region: str, regions: frozenset[str]) -> bool:
    """Whether a region is one of those wished for, or lies in one of them.

    >>> [is_within(each, frozenset({"eu"})) for each in ("eu", "eu-west-1", "europe", "")]
    [True, True, False, False]
    """
    parts = region.lower().split("-")
    return bool(region) and any("-".join(parts[:count]) in regions for count in range(1, len(parts) + 1))


def tpot_us_of(tok_s: float) -> float:
    """µs per token at a throughput.

    >>> tpot_us_of(50.0)
    20000.0
    """
    return US_PER_S / tok_s
