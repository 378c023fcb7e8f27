"""The streaming client that every kind of backend shares: one request out, one :class:`TokenChunk` per read back."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from providers.base import CompletionRequest, TokenChunk
from providers.errors import ProviderModelMissing, ProviderRejectedRequest
from providers.http_plain import PlainTransport
from providers.http_port import HttpAsk, HttpLimits, HttpTransport, origin_of
from providers.http_secure import SecureTransport
from providers.openai_call import Call, Pace, choices_asked, plain_value
from providers.spec import ProviderSpec

PROBE_BYTES_MAX = 4_194_304
PROBE_S_MAX = 10.0
NAMES_SHOWN = 5
USER_AGENT = "goodput"
MARKET_FIELDS = frozenset({"model", "stream", "stream_options", "service_tier", "provider", "models"})
"""Fields of a request that speak to the market, or that are set here; a backend is not shown the customer's."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between kinds of backend.

    Attributes:
        stream_options: sent with every streamed request, beside ``include_usage``.
        is_always_streamed: True where the backend notices a hang-up only while it streams; an answer that the customer
            wants whole is then streamed all the same and put together here.
        idle_fields: fields that this kind refuses even at a value which asks for nothing, and those values; with such a
            value they are left out, with any other they are sent, and the backend says no.
        lists_models: True where ``GET /models`` names every model that it serves, so that a probe can look.
        idle_max: connections kept open for the next request.
        auth_header, auth_scheme: how a credential is sent, where its spec does not say otherwise.
    """

    stream_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    is_always_streamed: bool = False
    idle_fields: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: MappingProxyType({}))
    lists_models: bool = True
    idle_max: int = 256
    auth_header: str = "Authorization"
    auth_scheme: str = "Bearer"


class OpenAiWire:
    """A backend that speaks the OpenAI wire. Belongs to one event loop."""

    __slots__ = ("_dialect", "_spec", "_transport")

    def __init__(self, spec: ProviderSpec, dialect: Dialect, transport: HttpTransport | None = None) -> None:
        self._spec = spec
        self._dialect = dialect
        self._transport = transport or transport_for(spec, dialect)

    @property
    def id(self) -> str:
        """The provider's id in the fleet."""
        return self._spec.id

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        """Runs one completion; closing the iterator closes the connection, which cancels the work at the backend.

        Raises:
            ProviderError: of the kind that tells the caller what may be done about it.
        """
        is_streamed = request.is_stream or self._dialect.is_always_streamed
        pace = Pace(self._spec.timeouts.tightest(request.timeouts), is_streamed=is_streamed)
        ask = self._completion_ask(request, pace)
        async with Call(self._spec, self._transport, ask, pace, choices_asked(request.fields)) as call:
            if not is_streamed:
                yield await call.whole()
            elif not request.is_stream:
                yield await call.assembled()
            else:
                while not call.is_over:
                    for chunk in await call.read():
                        yield chunk

    async def probe(self) -> None:
        """Asks for the list of models, and looks whether ours is in it.

        Raises:
            ProviderError: no list, or without our model.
        """
        served = await self.models()
        wanted = self._spec.backend_model
        if self._dialect.lists_models and served and wanted not in served:
            names = ", ".join(sorted(served)[:NAMES_SHOWN])
            raise ProviderModelMissing(self.id, f"does not serve {wanted!r}; it serves {names}")

    async def models(self) -> Mapping[str, "ServedModel"]:
        """The models that the backend says it serves, by name and alias; empty when it does not say.

        Raises:
            ProviderError: it does not answer.
        """
        times = self._spec.timeouts
        pace = Pace(times.tightest(type(times)(total_s=PROBE_S_MAX)), is_streamed=False)
        ask = HttpAsk("GET", "/models", self._headers("application/json"), b"", pace.connect_s, pace.answer_s)
        try:
            async with Call(self._spec, self._transport, ask, pace) as call:
                return _served(await call.body(PROBE_BYTES_MAX))
        except ProviderRejectedRequest:
            if self._dialect.lists_models:
                raise
            return {}  # it answered: it lives, and keeps no list

    async def close(self) -> None:
        """Closes its connections."""
        await self._transport.close()

    def _completion_ask(self, request: CompletionRequest, pace: Pace) -> HttpAsk:
        headers = self._headers("text/event-stream" if pace.is_streamed else "application/json")
        identified = (*headers, ("Content-Type", "application/json"), ("X-Request-Id", _header_safe(request.id)))
        body = self._body(request.fields, is_streamed=pace.is_streamed)
        return HttpAsk("POST", "/chat/completions", identified, body, pace.connect_s, pace.answer_s)

    def _body(self, fields: Mapping[str, Any], *, is_streamed: bool) -> bytes:
        idle = self._dialect.idle_fields
        body = {
            name: value
            for name, value in fields.items()
            if name not in MARKET_FIELDS and not (name in idle and plain_value(value) in idle[name])
        }
        body["model"] = self._spec.backend_model
        body["stream"] = is_streamed
        if is_streamed:
            body["stream_options"] = {"include_usage": True, **self._dialect.stream_options}
        return msgspec.json.encode(body)

    def _headers(self, accept: str) -> tuple[tuple[str, str], ...]:
        spec, dialect = self._spec, self._dialect
        ours = (("Accept", accept), ("Accept-Encoding", "identity"), ("User-Agent", USER_AGENT))
        headers = (*ours, *spec.headers)
        if spec.api_key is None:
            return headers
        scheme = dialect.auth_scheme if spec.auth_scheme is None else spec.auth_scheme
        return (*headers, (spec.auth_header or dialect.auth_header, f"{scheme} {spec.api_key}".lstrip()))


class ServedModel(msgspec.Struct):
    """One model in a backend's list."""

    id: str
    aliases: list[str] = []
    owned_by: str | None = None
    parent: str | None = None
    root: str | None = None
    max_model_len: int | None = None
    meta: dict[str, Any] | None = None


class _ModelList(msgspec.Struct):
    data: list[ServedModel] = []


def transport_for(spec: ProviderSpec, dialect: Dialect) -> HttpTransport:
    """Sockets of our own for ``http://``, aiohttp for ``https://``."""
    origin = origin_of(spec.base_url)
    limits = HttpLimits(connections_max=spec.connections_max, idle_max=min(dialect.idle_max, spec.connections_max))
    return SecureTransport(origin, limits) if origin.is_tls else PlainTransport(origin, limits)


def _served(body: bytes) -> Mapping[str, ServedModel]:
    try:
        models = msgspec.json.decode(body, type=_ModelList).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}  # no list that we know how to read
    return {name: model for model in models for name in (model.id, *model.aliases)}


def _header_safe(text: str) -> str:
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable())[:128]
