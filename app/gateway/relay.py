"""Relays an answer from provider to customer: holds back until the first content, meters every read, extends the hold.

While the customer has seen nothing, a failed attempt moves to another offer unseen; afterwards the failure is theirs
to know. The delivery clock is never reset.
"""

from contextlib import aclosing
from dataclasses import dataclass, field, replace

from app.clock import monotonic_ns
from app.errors import MarketError
from app.gateway.answer import Admission, Answer, Ended, Reserve, is_first_content, without
from app.gateway.driver import allowance_headers
from app.gateway.head import Head
from app.gateway.market import Market
from app.gateway.rewrite import Rewriter
from app.gateway.sse import STREAM_HEADERS, Exchange, Headers
from app.gateway.tiers import WORD_OF_TIER
from app.gateway.usage_row import held_amount
from pricing.money import NanoUsd
from pricing.rating import Ending
from providers.base import CompletionRequest, TokenChunk
from providers.errors import ProviderError, ProviderTimeout

NS_PER_US = 1_000
PACE_EVERY_NS = 500_000_000
PACE_TOKENS_MIN = 8
"""Fewer tokens say little about a pace."""


class HoldExhausted(Exception):
    """What is held, or may be, covers no further token; the answer ends cleanly."""


@dataclass(slots=True)
class Relay:
    """One answer on its way to one customer."""

    answer: Answer
    head: Head
    exchange: Exchange
    market: Market
    rewriter: Rewriter = field(init=False)
    pace_due_ns: int = 0

    def __post_init__(self) -> None:
        self.rewriter = self._rewriter()

    @property
    def headers(self) -> Headers:
        """What every answer says in its headers: ids, who serves it at which tier, what is left of the limits."""
        placement, request_id = self.answer.placement, self.head.request_id
        named = {
            "x-request-id": request_id,
            "x-generation-id": request_id,
            "x-tier": placement.tier.value,
            "x-provider": placement.offer.provider_id,
            **({"x-precision": placement.offer.precision} if placement.offer.precision else {}),
            **allowance_headers(placement.allowance),
        }
        return [(name.encode(), value.encode()) for name, value in named.items()]

    async def run(self) -> Ended:
        """Streams the answer, trying other offers while the customer has seen nothing; a failure is a value."""
        try:
            while True:
                failure = await self._attempt()
                if failure is None:
                    return Ended(self.answer.natural_ending)
                if not self._may_try_again(failure) or not await self._place_again():
                    return Ended(_ending_of(failure), failure)
        except HoldExhausted:
            return Ended(Ending.HOLD_EXHAUSTED)

    async def _attempt(self) -> ProviderError | None:
        placement, offer = self.answer.placement, self.answer.placement.offer
        prefilled = None if self.answer.ask.order.is_stream else self.market.driver.started_when_due(placement)
        try:
            async with aclosing(self.market.supply.provider(offer.id).stream(self._request())) as chunks:
                async for chunk in chunks:
                    await self._take(chunk)
        except ProviderError as failure:
            self.market.supply.failed(offer.id, failure)
            return failure
        finally:
            if prefilled is not None:
                prefilled.cancel()
        return None

    def _request(self) -> CompletionRequest:
        ask, order = self.answer.ask, self.answer.ask.order
        # Without a limit of the customer's the backend knows best what its context leaves: ours is only predicted.
        limits = {} if order.output_tokens_max is None else {order.limit_field: ask.quote.output_bound}
        return CompletionRequest(
            id=ask.job.id,
            fields={**order.fields, **limits},
            is_stream=order.is_stream,
            timeouts=self.market.timeouts,
        )

    async def _take(self, chunk: TokenChunk) -> None:
        answer = self.answer
        answer.note(chunk)
        if not answer.ask.order.is_stream:
            answer.body = chunk.events
            self._record(chunk, 0)
        elif self.exchange.is_started:
            await self._hand_over(chunk)
        else:
            answer.pending.append(chunk)
            if is_first_content(chunk):
                await self._commit()
        if answer.reserve.wants_more(answer.tokens_likely):
            await self._extend()
        if answer.is_spent:
            answer.finish_reason = "length"
            raise HoldExhausted

    async def _commit(self) -> None:
        """The first content is here: from now on this offer's answer is the answer."""
        self._note_first_token()
        refused_ns = await self.exchange.start(200, [*STREAM_HEADERS, *self.headers])
        self.answer.delivery.excuse(refused_ns)
        for chunk in self.answer.pending:
            await self._hand_over(chunk)
        self.answer.pending.clear()

    async def _hand_over(self, chunk: TokenChunk) -> None:
        data = self.rewriter.events(chunk.events, chunk.response_id, chunk.response_model)
        self._record(chunk, await self.exchange.write(data))

    def _record(self, chunk: TokenChunk, refused_ns: int) -> None:
        at_ns = monotonic_ns() - self.head.began_ns
        self.answer.delivery.record(
            at_ns, chunk.content_bytes, chunk.content_events, tokens=chunk.tokens_through, refused_ns=refused_ns
        )
        if at_ns >= self.pace_due_ns:
            self._note_pace(at_ns)

    def _note_first_token(self) -> None:
        placement = self.answer.placement
        self.market.driver.started(placement)
        since_request_us = (monotonic_ns() - self.head.began_ns) / NS_PER_US
        before_us = placement.placed_at_us - placement.job.requested_at_us
        self.market.supply.first_token(
            placement.offer.id, placement.tier, placement.candidate.ttft_us, max(1.0, since_request_us - before_us)
        )

    def _note_pace(self, at_ns: int) -> None:
        """Tells the fleet now and then how a long answer goes, so that a provider that slows down is noticed soon."""
        self.pace_due_ns = at_ns + PACE_EVERY_NS
        delivery, placement = self.answer.delivery, self.answer.placement
        first_us, tokens = delivery.first_token_us, delivery.tokens_counted
        if first_us is None or tokens < PACE_TOKENS_MIN:
            return
        since_us = placement.job.requested_at_us + first_us
        pace_us = (at_ns / NS_PER_US - first_us) / (tokens - 1)
        candidate = placement.candidate
        self.market.supply.paced(candidate.offer.id, placement.tier, candidate.tpot_us, pace_us, since_us=since_us)

    async def _extend(self) -> None:
        """Holds further steps of output; when the wallet covers no more, the answer ends with what it has."""
        answer = self.answer
        while answer.reserve.wants_more(answer.tokens_likely):
            reserve = answer.reserve
            tokens = min(reserve.tokens + self.market.settings.hold_step_tokens, reserve.tokens_max)
            grown = Reserve(tokens, reserve.tokens_max)
            step = held_amount(answer.ask, grown) - held_amount(answer.ask, reserve)
            if await self.market.ledger.extend(answer.ask.job.id, NanoUsd(step)):
                answer.reserve = grown
            else:
                reserve.is_refused = True

    def _may_try_again(self, failure: ProviderError) -> bool:
        is_within = self.answer.attempts < self.market.settings.attempts_max
        return failure.is_retryable and not self.exchange.is_started and is_within

    async def _place_again(self) -> bool:
        """Moves the request to another offer; False when there is none."""
        answer, driver = self.answer, self.market.driver
        await driver.give_back(answer.placement)
        self.market.meters.failed_over(answer.placement.offer.id)
        job = without(answer.placement.job, answer.placement.offer.id)
        answer.begin_again()
        try:
            placement = await driver.lease(driver.arrive(job), Admission(None, answer.ask.tokens))
        except MarketError:
            return False
        answer.placement = replace(placement, allowance=answer.placement.allowance)
        answer.attempts += 1
        self.rewriter = self._rewriter()
        return True

    def _rewriter(self) -> Rewriter:
        order = self.answer.ask.order
        word = WORD_OF_TIER[self.answer.placement.tier]
        return Rewriter(self.head.request_id, order.model, word, wants_usage=order.wants_usage)


def _ending_of(failure: ProviderError) -> Ending:
    return Ending.PROVIDER_TIMEOUT if isinstance(failure, ProviderTimeout) else Ending.PROVIDER_ERROR
