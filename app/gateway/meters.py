"""Records each finished or refused request once, in the market's metrics."""

from app.errors import MarketError
from app.gateway.answer import Answer, Ended
from app.gateway.errors import failure_answer
from app.gateway.usage_row import is_attained, tpot_us
from app.metering.meter import Metered
from app.telemetry import NANO_PER_USD, Finished, Metrics
from pricing.rating import Ending
from pricing.slo import US_PER_S, Tier

STATUS_OK = 200
STATUS_CLIENT_CLOSED = 499
STATUS_OURS = 500


class Meters:
    """The gateway's side of :class:`app.telemetry.Metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def began(self, tier: Tier) -> None:
        """A request holds a place."""
        self._metrics.began(tier.value)

    def refused(self, error: MarketError) -> None:
        """A request was not taken."""
        self._metrics.refused(error.code)

    def hung_up(self) -> None:
        """A customer left before they had a place."""
        self._metrics.refused("client_closed_request")

    def failed_over(self, offer_id: str) -> None:
        """An attempt is repeated on another offer."""
        self._metrics.failovers.labels(offer_id).inc()

    def not_tried_again(self, error: MarketError) -> None:
        """A failed attempt is not repeated, because nobody else could serve it in time or retries are used up."""
        self._metrics.retries_refused.labels(error.code).inc()

    def hedged(self) -> None:
        """A second attempt runs beside a slow first one."""
        self._metrics.hedges.inc()

    def hedge_ended(self, cost_nano: int, *, is_won: bool) -> None:
        """One of the two brought the first content; the other's cost is ours."""
        self._metrics.hedges_won.inc(int(is_won))
        self._metrics.hedge_cost.inc(cost_nano / NANO_PER_USD)

    def continued(self) -> None:
        """An answer that broke off goes on at another offer."""
        self._metrics.continuations.inc()

    def settled(self, answer: Answer, ended: Ended, metered: Metered) -> None:
        """A request that :meth:`began` is over and booked."""
        order, placement, first_us = answer.ask.order, answer.placement, answer.delivery.first_token_us
        pace_us = tpot_us(metered, is_stream=order.is_stream)
        self._metrics.finished(
            Finished(
                tier=answer.ask.order.tier.value,
                model=order.model,
                provider=placement.offer.provider_id,
                status=_status(answer, ended),
                e2e_s=metered.ended_us / US_PER_S,
                ttft_s=None if first_us is None else first_us / US_PER_S,
                tpot_s=None if pace_us is None else pace_us / US_PER_S,
                tokens_input=metered.usage.input_total,
                tokens_delivered=metered.usage.output,
                tokens_good=metered.grade.tokens_good,
                attained=is_attained(answer, ended, metered),
                revenue_nano=metered.charge.net,
                adjustment_nano=metered.charge.adjustment,
                cost_nano=metered.cost,
            )
        )


def _status(answer: Answer, ended: Ended) -> int:
    """The HTTP status that the customer saw."""
    if ended.ending is Ending.HANGUP:
        return STATUS_CLIENT_CLOSED
    is_started = answer.ask.order.is_stream and answer.delivery.first_token_us is not None
    if ended.error is not None:
        return STATUS_OK if is_started else failure_answer(ended.error, is_started=False).status
    return STATUS_OK if ended.ending.is_billable or is_started else STATUS_OURS
