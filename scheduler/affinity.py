"""Remembers where prompts with the same beginning ran last: their prefix may still be cached there.

Going back saves the prefill of what is cached. It must not decide alone: followed blindly, a popular prefix sends ever
more work to the one offer that is already the busiest, which slows down, keeps its work longer, and attracts still more
(sglang #14305). So an offer is gone back to only while it is feasible, under a gate of load, and worth no less than the
best other by more than what the cache can save.
"""

from collections import OrderedDict
from collections.abc import Sequence

from scheduler.fleet import OfferId
from scheduler.jobs import Job
from scheduler.pickers import Scored
from scheduler.policy import Policy


class Affinity:
    """The offers lately leased, by customer and beginning of prompt; bounded."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._homes: OrderedDict[tuple[str, str, str], tuple[OfferId, int]] = OrderedDict()

    def note(self, job: Job, offer_id: OfferId, now_us: int) -> None:
        """A job was leased there."""
        if not job.affinity or not self._policy.affinity_load_max:
            return
        key = _key(job)
        self._homes[key] = offer_id, now_us + self._policy.affinity_us
        self._homes.move_to_end(key)
        if len(self._homes) > self._policy.affinity_max:
            self._homes.popitem(last=False)

    def lead(self, found: Sequence[Scored], job: Job, now_us: int) -> Scored | None:
        """The feasible offer that a job should go back to; None where it has none, or load or worth speak against it.

        Args:
            found: feasible offers.
            job: the job.
            now_us: the time.
        """
        home = self._homes.get(_key(job)) if job.affinity else None
        if home is None or now_us > home[1]:
            return None
        scored = next((each for each in found if each.row.id == home[0]), None)
        if scored is None or scored.in_flight > self._policy.affinity_load_max * scored.row.room:
            return None
        cost = scored.row.offer.cost
        saved_pico = max(0, cost.input - cost.cached) * job.input_tokens
        return scored if scored.value + saved_pico >= max(each.value for each in found) else None


def _key(job: Job) -> tuple[str, str, str]:
    return job.customer_id, job.model, job.affinity
