"""Puts our id, model name and tier into a backend's bytes without parsing each token; pure.

The backend's id stands in every event of one answer as the same JSON member. Its exact bytes are found once, then
replaced; inside content the quotes are escaped, so that nothing a model writes can look like that member. Events in
which it stands otherwise, or not at all, are decoded one by one.
"""

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

from app.gateway.tiers import WORD_OF_TIER
from pricing.money import NANO_PER_USD
from pricing.rating import Charge
from pricing.usage import Usage
from providers.sse import event_of

_SERVICE_TIER = re.compile(rb'"service_tier"\s*:\s*(?:null|"[^"\\]*")\s*,\s*')
_ENCODER = msgspec.json.Encoder()
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_END = b"\n\n"


class Rewriter:
    """Rewrites the events of one answer.

    Attributes:
        response_id: the public id of the answer.
        wants_usage: whether a usage chunk ends the stream; every chunk before it then says ``"usage":null``.
    """

    def __init__(self, response_id: str, model: str, tier_word: str, *, wants_usage: bool = False) -> None:
        self.response_id = response_id
        self.wants_usage = wants_usage
        self._model = model
        self._tier_word = tier_word
        self._replacements: tuple[tuple[bytes, bytes], ...] = ()
        self._seen: tuple[str, str] | None = None

    def events(self, events: bytes, backend_id: str, backend_model: str) -> bytes:
        """The same events under our id, model name and tier."""
        if (backend_id, backend_model) != self._seen:
            self._seen = (backend_id, backend_model)
            self._replacements = self._learn(events, backend_id, backend_model)
        if b'"service_tier"' in events:
            events = _SERVICE_TIER.sub(b"", events)
        if not self._is_as_learned(events):
            return self._one_by_one(events)
        is_null_due = self.wants_usage and b'"usage"' not in events
        for theirs, ours in self._replacements:
            events = events.replace(theirs, ours)
        return events.replace(self._id_member, self._id_member + b',"usage":null') if is_null_due else events

    def body(self, body: bytes, usage: dict[str, Any]) -> bytes:
        """A whole, not streamed answer under our id, model name, tier and usage."""
        return _ENCODER.encode({**_fields(body), **self._ours, "usage": usage})

    def usage_event(self, usage: dict[str, Any], created_s: int) -> bytes:
        """The event that ends a stream whose reader asked for usage."""
        return self._event(created_s, [], usage)

    def cut_event(self, created_s: int) -> bytes:
        """The event that ends a stream early, as if its length limit had been reached."""
        return self._event(created_s, [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}], None)

    def _event(self, created_s: int, choices: list[Any], usage: dict[str, Any] | None) -> bytes:
        chunk = {"object": "chat.completion.chunk", "created": created_s, "choices": choices, "usage": usage}
        return b"data: " + _ENCODER.encode({**self._ours, **chunk}) + _END

    @property
    def _ours(self) -> dict[str, Any]:
        return {"id": self.response_id, "model": self._model, "service_tier": self._tier_word}

    @property
    def _id_member(self) -> bytes:
        return b'"id":%s,"service_tier":%s' % (_json(self.response_id), _json(self._tier_word))

    def _learn(self, events: bytes, backend_id: str, backend_model: str) -> tuple[tuple[bytes, bytes], ...]:
        """Both members as they stand in the first events; nothing when one of them cannot be found there."""
        pairs: list[tuple[bytes, bytes]] = []
        for name, theirs, ours in (
            (b"id", backend_id, self._id_member),
            (b"model", backend_model, b'"model":' + _json(self._model)),
        ):
            quoted = re.escape(b'"%s"' % theirs.encode())  # as it stands between the quotes, escapes and all
            member = re.search(rb'"%s"\s*:\s*%s' % (name, quoted), events) if theirs else None
            if member is None:
                return ()
            pairs.append((member.group(), ours))
        return tuple(pairs)

    def _is_as_learned(self, events: bytes) -> bool:
        """Whether every event has both members as they were found at first, and no tier of its own any more."""
        count = events.count(_END)
        found = [events.count(theirs) for theirs, _ in self._replacements]
        return bool(found) and min(found) >= count and b'"service_tier"' not in events

    def _one_by_one(self, events: bytes) -> bytes:
        return b"".join(self._readdressed(block) for block in events.split(_END) if block)

    def _readdressed(self, block: bytes) -> bytes:
        event = event_of(block)
        if event is None:
            return b""
        usage: dict[str, Any] = {"usage": None} if self.wants_usage else {}
        return b"data: " + _ENCODER.encode({**usage, **_fields(event.data), **self._ours}) + _END


def _fields(data: bytes) -> dict[str, Any]:
    """A JSON object by field, values as received; read as leniently as what the backend sent was read at first."""
    try:
        return dict(_FIELDS.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError):  # such as an emoji cut in two, each half escaped
        return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in json.loads(data).items()}


def error_event(body: dict[str, Any]) -> bytes:
    """The event that tells a stream's reader of a failure after the first token."""
    return b"data: " + _ENCODER.encode(body) + b"\n\n"


def usage_body(usage: Usage, charge: Charge, reasoning_tokens: int, timing: dict[str, Any]) -> dict[str, Any]:
    """The ``usage`` object: OpenAI's counts, and beside them what it cost and which promise was kept.

    Args:
        usage: what was delivered.
        charge: what is owed for it.
        reasoning_tokens: of the output, generated but not shown.
        timing: ``ttft_ms``, ``tpot_ms`` and ``attained``, as delivered.
    """
    tokens_billed = sum(line.tokens_output for line in charge.lines) if charge.ending.is_billable else 0
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output,
        "total_tokens": usage.input_total + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": min(reasoning_tokens, usage.output)},
        "cost": _usd_number(charge.net),
        "cost_details": {"gross": _usd_number(charge.gross), "slo_adjustment": _usd_number(charge.adjustment)},
        "tier": charge.tier.value,
        "service_tier": WORD_OF_TIER[charge.tier],
        "goodput_tokens": charge.lines[0].tokens_output,
        "billed_tokens": tokens_billed,
        "slo": timing,
    }


def _usd_number(nano: int) -> msgspec.Raw:
    """A JSON number with the exact decimal digits; no float is involved."""
    return msgspec.Raw(format(Decimal(nano) / NANO_PER_USD, "f").encode())


def _json(text: str) -> bytes:
    return _ENCODER.encode(text)
