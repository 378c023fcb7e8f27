"""Relays an answer from provider to customer: holds back until the first content, meters every read, extends the hold.

While the customer has seen nothing, a failed attempt moves elsewhere unseen (:mod:`app.gateway.again`), and a slow
premium one may get a second beside it (:mod:`app.gateway.race_client`); afterwards the failure is theirs to know,
unless they asked for the answer to be continued. The delivery clock is never reset.

For premium a backend is asked to stream even where the customer wants one body, if it can: its silence is then noticed
after a token's time and not after a whole answer's. Elsewhere that is not worth its time; a body has a deadline of its
own, by what the longest answer would take there.
"""

from dataclasses import dataclass, field, replace

from app.clock import monotonic_ns
from app.gateway.again import go_on, place_again
from app.gateway.answer import Answer, Ended, Placement, Reserve, is_first_content
from app.gateway.attempt_client import Attempt
from app.gateway.continuation import Sound, Spoken, resumed_fields
from app.gateway.driver import allowance_headers
from app.gateway.head import Head
from app.gateway.market import Market
from app.gateway.race_client import Race, Won
from app.gateway.rewrite import Rewriter
from app.gateway.sse import STREAM_HEADERS, Exchange, Headers
from app.gateway.tiers import WORD_OF_TIER
from app.gateway.usage_row import held_amount
from app.gateway.whole import Whole
from pricing.money import NanoUsd, format_usd, half_even_to_nano
from pricing.rating import Ending
from pricing.slo import US_PER_S, Tier
from providers.base import CompletionRequest, Timeouts, TokenChunk
from providers.errors import ProviderError, ProviderProtocolError, ProviderTimeout
from scheduler.jobs import Capability

NS_PER_US = 1_000
US_PER_MS = 1_000
BODY_PATIENCE = 4.0
"""So many times the forecast may an answer take that comes in one body, whose silence says nothing before its end."""
REPEATS = "it repeats the answer instead of going on with it"
PACE_EVERY_NS = 500_000_000
PACE_TOKENS_MIN = 8
"""Fewer tokens say little about a pace."""


class HoldExhausted(Exception):
    """What is held, or may be, covers no further token; the answer ends cleanly."""


@dataclass(slots=True)
class Relay:
    """One answer on its way to one customer.

    Attributes:
        spoken: what it has said, where it may have to be continued.
        whole: what it has said, where it is put together here.
        attempt: the one that serves it now.
    """

    answer: Answer
    head: Head
    exchange: Exchange
    market: Market
    rewriter: Rewriter = field(init=False)
    spoken: Spoken | None = field(init=False)
    whole: Whole | None = None
    attempt: Attempt | None = None
    pace_due_ns: int = 0

    def __post_init__(self) -> None:
        self.rewriter = self._rewriter()
        order = self.answer.ask.order
        self.spoken = Spoken() if order.wishes.continues and order.is_stream else None

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
                if not await self._again(failure):
                    return Ended(_ending_of(failure), failure)
                self.rewriter = self._rewriter()
        except HoldExhausted:
            return Ended(Ending.HOLD_EXHAUSTED)

    async def _attempt(self) -> ProviderError | None:
        """Asks the offer where the request has its place, or a second one beside it; ends what it began."""
        try:
            self.attempt = self._begin()
            await self._read(self.attempt)
        except ProviderError as failure:
            if self.attempt is not None:
                self.attempt.failed(failure)
            self.answer.story.append({"offer": self.answer.placement.offer.id, "failure": failure.detail[:300]})
            return failure
        finally:
            attempt, self.attempt = self.attempt, None
            if attempt is not None:
                await attempt.close()
        return None

    async def _read(self, attempt: Attempt) -> None:
        """Takes all that the backend sends, or the other that won a race against it."""
        if attempt.placement.overdue_us is not None and attempt.is_streamed:
            won = await self._first_content(attempt)
            self.attempt = attempt = won.attempt
            for chunk in won.seen:
                await self._take(chunk)
        prefilled = None if attempt.is_streamed else self.market.driver.started_when_due(attempt.placement)
        try:
            async for chunk in attempt.chunks:
                await self._take(chunk)
        finally:
            if prefilled is not None:
                prefilled.cancel()
        await self._end(attempt)

    def _begin(self) -> Attempt:
        placement = self.answer.placement
        request = self._request(placement)
        is_whole = request.is_stream and not self.answer.ask.order.is_stream
        self.whole = Whole(placement.offer.provider_id) if is_whole else None
        return Attempt(placement, request, self.market.supply)

    async def _first_content(self, first: Attempt) -> Won:
        """Waits for the first content, of a second attempt if need be; the answer's place is then that one's."""
        driver = self.market.driver

        def discard(attempt: Attempt) -> None:
            driver.spawn(attempt.discard(driver))

        async def start() -> Attempt | None:
            return await self._second(first)

        race = Race(first, (first.placement.overdue_us or 0) / US_PER_S, start, discard)
        try:
            won = await race.run()
        except ProviderError:
            self.answer.tried.update(each.placement.offer.id for each in race.failed)
            raise
        if self.answer.hedge is not None:
            self._note_hedge(won, first)
        return won

    async def _second(self, first: Attempt) -> Attempt | None:
        """A second attempt beside the first, where one may be made and finds a place."""
        placement = await self.market.driver.hedge(first.placement)
        if placement is None:
            return None
        self.market.meters.hedged()
        self.answer.hedge = {"offer": placement.offer.id, "after_ms": round(self._since_request_us() / US_PER_MS, 3)}
        try:
            return Attempt(placement, self._request(placement), self.market.supply)
        except ProviderError:
            self.market.driver.release(placement)
            return None

    def _note_hedge(self, won: Won, first: Attempt) -> None:
        """Keeps who won, what the loser cost us, and that a loser's first token took at least as long as this."""
        answer, supply = self.answer, self.market.supply
        answer.attempts += 1
        cost_nano = sum(prompt_cost(each.placement, answer.ask.input_predicted) for each in won.lost)
        is_second = won.attempt is not first
        self.market.meters.hedge_ended(cost_nano, is_won=is_second)
        answer.hedge = {**(answer.hedge or {}), "won": is_second, "cost_usd": format_usd(cost_nano)}
        if not is_second:
            return
        before = answer.placement
        answer.placement = replace(won.attempt.placement, allowance=before.allowance)
        self.rewriter = self._rewriter()
        waited_us = self._since_request_us() - (before.placed_at_us - before.job.requested_at_us)
        supply.first_token(before.offer.id, before.tier, before.candidate.ttft_us, max(1.0, waited_us))

    async def _end(self, attempt: Attempt) -> None:
        """All that the backend sends is here."""
        if self.answer.pending and self.exchange.is_started:
            await self._flush()
        if self.whole is not None:
            chunk = self.whole.chunk()
            self.answer.body = chunk.events
            self._record(chunk, 0)
        attempt.finished()

    async def _again(self, failure: ProviderError) -> bool:
        """Whether the request goes on elsewhere."""
        answer = self.answer
        if not failure.is_retryable or answer.attempts >= self.market.settings.attempts_max:
            return False
        if self.spoken is not None and self.spoken.chars:
            return await go_on(answer, self.spoken, failure, self.market)
        if self.exchange.is_started:
            return False
        return await place_again(answer, self.market)

    def _request(self, placement: Placement) -> CompletionRequest:
        answer = self.answer
        ask, order = answer.ask, answer.ask.order
        left = ask.quote.output_bound - answer.tokens_before
        # Without a limit of the customer's the backend knows best what its context leaves: ours is only predicted.
        limits = {} if order.output_tokens_max is None else {order.limit_field: left}
        fields = order.fields
        if answer.tokens_before and self.spoken is not None:
            fields = resumed_fields(fields, self.spoken.text)
        is_stream = order.is_stream or self._streams_inside(placement)
        return CompletionRequest(
            id=ask.job.id,
            fields={**fields, **limits},
            is_stream=is_stream,
            timeouts=self.market.timeouts if is_stream else self._body_timeouts(placement, left),
        )

    def _streams_inside(self, placement: Placement) -> bool:
        """Whether a backend is to stream what its customer wants in one body."""
        if Capability.STREAMING not in placement.offer.capabilities:
            return False
        match self.market.settings.stream_inside:
            case "all":
                return True
            case "premium":
                return placement.tier is Tier.PREMIUM
            case "none":
                return False

    def _body_timeouts(self, placement: Placement, tokens: int) -> Timeouts:
        """A backend that accepts and never answers is told by the time that the longest answer would take there."""
        times, candidate = self.market.timeouts, placement.candidate
        decode_s = tokens * candidate.tpot_us * candidate.calibration.tpot / US_PER_S
        return replace(times, total_s=min(times.total_s, times.first_token_s + BODY_PATIENCE * decode_s))

    async def _take(self, chunk: TokenChunk) -> None:
        answer = self.answer
        answer.note(chunk)
        if answer.ask.order.is_stream:
            await self._pass_on(chunk)
        elif self.whole is None:
            answer.body = chunk.events
            self._record(chunk, 0)
        else:
            self._put_together(chunk, self.whole)
        if answer.reserve.wants_more(answer.tokens_likely):
            await self._extend()
        if answer.is_spent:
            answer.finish_reason = "length"
            raise HoldExhausted

    async def _pass_on(self, chunk: TokenChunk) -> None:
        if not self.exchange.is_started:
            self.answer.pending.append(chunk)
            if is_first_content(chunk):
                await self._commit()
        elif self.answer.tokens_before and not self.answer.resumed[-1].is_new:
            await self._take_up(chunk)
        else:
            await self._hand_over(chunk)

    async def _take_up(self, chunk: TokenChunk) -> None:
        """The beginning of a continuing attempt: told apart from a repetition, and without a second opening."""
        if not chunk.content_events and chunk.finish_reason is None:
            return
        self.answer.pending.append(chunk)
        match self.answer.resumed[-1].hear(chunk):
            case Sound.NEW:
                await self._flush()
            case Sound.ECHO:
                self.answer.pending.clear()
                raise ProviderProtocolError(self.answer.placement.offer.provider_id, REPEATS)
            case Sound.UNSURE:
                pass

    def _put_together(self, chunk: TokenChunk, whole: Whole) -> None:
        if not whole.has_content and chunk.content_events:
            self._note_first_token()
        whole.add(chunk)

    async def _commit(self) -> None:
        """The first content is here: from now on this offer's answer is the answer."""
        self._note_first_token()
        refused_ns = await self.exchange.start(200, [*STREAM_HEADERS, *self.headers])
        self.answer.delivery.excuse(refused_ns)
        await self._flush()

    async def _flush(self) -> None:
        """Hands over what was held back."""
        held_back = tuple(self.answer.pending)
        self.answer.pending.clear()
        for chunk in held_back:
            await self._hand_over(chunk)

    async def _hand_over(self, chunk: TokenChunk) -> None:
        data = self.rewriter.events(chunk.events, chunk.response_id, chunk.response_model)
        self._record(chunk, await self.exchange.write(data))
        if self.spoken is not None:
            self.spoken.hear(chunk)

    def _record(self, chunk: TokenChunk, refused_ns: int) -> None:
        at_ns = monotonic_ns() - self.head.began_ns
        through, before = chunk.tokens_through, self.answer.tokens_before
        self.answer.delivery.record(
            at_ns,
            chunk.content_bytes,
            chunk.content_events,
            tokens=through if through is None else through + before,
            refused_ns=refused_ns,
        )
        if at_ns >= self.pace_due_ns and not before:
            self._note_pace(at_ns)

    def _since_request_us(self) -> float:
        return (monotonic_ns() - self.head.began_ns) / NS_PER_US

    def _note_first_token(self) -> None:
        placement = self.answer.placement
        self.market.driver.started(placement)
        before_us = placement.placed_at_us - placement.job.requested_at_us
        self.market.supply.first_token(
            placement.offer.id,
            placement.tier,
            placement.candidate.ttft_us,
            max(1.0, self._since_request_us() - before_us),
        )

    def _note_pace(self, at_ns: int) -> None:
        """Tells the fleet now and then how a long answer goes, so that a provider that slows down is noticed soon."""
        self.pace_due_ns = at_ns + PACE_EVERY_NS
        delivery, placement = self.answer.delivery, self.answer.placement
        first_us, tokens = delivery.first_token_us, delivery.tokens_counted
        if first_us is None or tokens < PACE_TOKENS_MIN or not delivery.is_streamed:
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

    def _rewriter(self) -> Rewriter:
        order = self.answer.ask.order
        word = WORD_OF_TIER[self.answer.placement.tier]
        return Rewriter(self.head.request_id, order.model, word, wants_usage=order.wants_usage)


def _ending_of(failure: ProviderError) -> Ending:
    return Ending.PROVIDER_TIMEOUT if isinstance(failure, ProviderTimeout) else Ending.PROVIDER_ERROR


def prompt_cost(placement: Placement, input_tokens: int) -> NanoUsd:
    """What an attempt that was cancelled before its first content cost us at most: its prompt."""
    return half_even_to_nano(placement.offer.cost.input * input_tokens)
