"""Who is next among those who wait: tenants by what they have been served, tiers by what they are owed.

Tenants: a virtual token counter per customer, in pico-USD served. The one served least goes first. A customer who comes
back from idleness is lifted to the least served of those already waiting, so that saved-up idleness buys no monopoly.

Tiers: the better one goes first, but while a lower tier waits it is owed a floor of the work done in the meantime
(deficit round robin); once the debt covers its next job, that job goes first.

Sources: virtual token counter, Sheng et al., arXiv 2401.00588; deficit round robin, Shreedhar and Varghese (1995).
"""

from collections.abc import Mapping
from itertools import islice

from pricing.slo import Tier


class VirtualCounters:
    """Pico-USD served to each customer, as far as it still matters."""

    def __init__(self, customers_max: int) -> None:
        self._customers_max = customers_max
        self._served: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._last_left = 0

    def served(self, customer_id: str) -> int:
        """The counter of a customer."""
        return self._served.get(customer_id, 0)

    def charge(self, customer_id: str, pico: int) -> None:
        """Counts service given, or takes it back when negative."""
        self._served[customer_id] = self._served.get(customer_id, 0) + pico
        if len(self._served) > self._customers_max:
            self._forget_the_least()

    def lifted(self, customer_id: str) -> int:
        """The counter with which a customer would wait."""
        if customer_id in self._waiting:
            return self.served(customer_id)
        least = min((self.served(other) for other in self._waiting), default=self._last_left)
        return max(self.served(customer_id), least)

    def joins(self, customer_id: str) -> None:
        """A job of the customer starts to wait; the first one lifts the counter."""
        self._served[customer_id] = self.lifted(customer_id)
        self._waiting[customer_id] = self._waiting.get(customer_id, 0) + 1

    def leaves(self, customer_id: str) -> None:
        """A job of the customer waits no more."""
        self._waiting[customer_id] -= 1
        if not self._waiting[customer_id]:
            del self._waiting[customer_id]
            self._last_left = self.served(customer_id)

    def _forget_the_least(self) -> None:
        """Drops half of those who do not wait, least served first: a lift would raise them anyway."""
        idle = sorted((served, customer) for customer, served in self._served.items() if customer not in self._waiting)
        for _, customer in islice(idle, (len(idle) + 1) // 2):
            del self._served[customer]


class Deficits:
    """The work that each waiting lower tier of one model is owed, in tokens."""

    def __init__(self, floors: Mapping[Tier, float]) -> None:
        self._floors = floors
        self._owed: dict[Tier, float] = {}

    def worked(self, tier: Tier, tokens: int, waiting: Mapping[Tier, int]) -> None:
        """Work was given to ``tier``: the other tiers that wait are owed their floor of it.

        Args:
            tier: whose job was admitted.
            tokens: its work.
            waiting: by tier that waits, the work of its next job; a debt grows no larger than that.
        """
        if tier in self._owed:
            self._owed[tier] = max(0.0, self._owed[tier] - tokens)
        for other, next_tokens in waiting.items():
            if other is not tier:
                grown = self._owed.get(other, 0.0) + self._floors.get(other, 0.0) * tokens
                self._owed[other] = min(grown, float(next_tokens))

    def is_due(self, tier: Tier, next_tokens: int) -> bool:
        """Whether the debt covers the tier's next job."""
        return self._floors.get(tier, 0.0) > 0 and self._owed.get(tier, 0.0) >= next_tokens

    def settle(self, tier: Tier) -> None:
        """Nobody of the tier waits any more: the debt lapses."""
        self._owed.pop(tier, None)
