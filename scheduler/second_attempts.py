"""How often a request may be tried a second time, after a failed attempt (retry) or beside a slow one (hedge).

Both are bounded by a share of all requests, so that trouble does not multiply itself.
"""

from dataclasses import replace
from random import Random

from pricing.slo import Tier
from scheduler.fleet import NEUTRAL, OfferId
from scheduler.jobs import Job, JobId
from scheduler.placement import Candidate
from scheduler.policy import Policy
from scheduler.shares import Share

HEDGE_MARK = "~2"
"""Ends the id of a hedge; the rest is its job's."""
_TAIL_ODDS = 19.0
"""0.95 / 0.05: of a time that is met with probability 0.95."""
_DOUBLINGS_MAX = 6


class SecondAttempts:
    """What one process may still repeat."""

    def __init__(self, policy: Policy, rng: Random) -> None:
        self._policy = policy
        self._rng = rng
        self.retries = Share(policy.retry_share, policy.retry_burst, policy.retry_burst)
        self.hedges = Share(policy.hedge_share, policy.hedge_burst)

    def on_arrival(self) -> None:
        """A request came."""
        self.retries.fill()
        self.hedges.fill()

    def may_hedge(self, job: Job) -> bool:
        """Whether a job is one that may be hedged: premium, and no hedge itself."""
        return bool(self._policy.hedge_share) and job.tier is Tier.PREMIUM and not job.id.endswith(HEDGE_MARK)

    def overdue_us(self, candidate: Candidate) -> int:
        """The predicted 0.95-quantile of the first token: what calibration follows, or what the curve's spread says."""
        if candidate.calibration == NEUTRAL:
            return round(candidate.ttft_us * _TAIL_ODDS ** (1.0 / self._policy.ttft_shape))
        return round(candidate.ttft_us * candidate.calibration.ttft)

    def delay_us(self, attempts: int) -> int:
        """How long to wait after so many attempts, at random: those who fail together do not return together."""
        return int(self._rng.random() * self._policy.retry_spread_us * 2.0 ** min(attempts - 1, _DOUBLINGS_MAX))


def hedge_of(job: Job, offer_id: OfferId) -> Job:
    """The second job beside one that runs on an offer."""
    return replace(job, id=JobId(job.id + HEDGE_MARK), excluded=job.excluded | {offer_id})
