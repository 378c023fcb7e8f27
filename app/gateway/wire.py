"""Reads a chat completion request: strict about what the market needs to know, tolerant about all the rest.

Unknown fields pass through to the backend untouched, as the bytes they came in.
"""

from dataclasses import dataclass

import msgspec

from app.errors import MarketError
from app.gateway.errors import invalid, missing, tier_unknown, unsupported
from app.gateway.provider_field import KNOWN, NO_WISHES, ProviderField, Wishes, read_wishes
from app.gateway.tiers import tier_asked
from pricing.slo import Tier
from scheduler.jobs import Capability

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MESSAGES_MAX = 10_000
MODEL_CHARS_MAX = 256
MODELS_MAX = 8
AFFINITY_CHARS_MAX = 256
STAYS_HERE = frozenset(
    {
        "model", "stream", "stream_options", "service_tier", "n",
        "max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "n_predict", "num_predict",
        "best_of", "use_beam_search",
        "provider", "models", "allow_downgrade", "store", "metadata", "user", "safety_identifier",
    }
)  # fmt: skip
"""Fields that are ours, that we set ourselves, or that say who the customer is; none goes to a backend as received.
Nor do the names under which some backend would take another limit than the quoted one, or work several times over.
"""

NO_PROMPT = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
        "logit_bias", "logprobs", "top_logprobs", "seed", "stop", "parallel_tool_calls", "tool_choice",
        "reasoning_effort", "verbosity", "modalities", "prompt_cache_key", "prompt_cache_retention",
    }
)  # fmt: skip
"""Fields of which no template makes prompt tokens. Of any other field one may, and whoever sends it pays for them."""


class _Message(msgspec.Struct):
    role: str


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ResponseFormat(msgspec.Struct):
    type: str = "text"


class _Known(msgspec.Struct):
    """The fields that the market itself must understand; all others pass."""

    model: str | None = None
    models: list[str] | None = None
    provider: ProviderField | None = None
    allow_downgrade: bool | None = None
    prompt_cache_key: str | None = None
    messages: list[_Message] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    service_tier: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    response_format: _ResponseFormat | None = None
    logprobs: bool | None = None


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KNOWN = msgspec.json.Decoder(_Known)


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer asks for.

    Attributes:
        model: the first of those that may serve it.
        tier: asked for.
        output_tokens_max: the answer's limit that they set; None when they set none.
        limit_field: the field in which the backend is told the limit.
        wants_usage: whether a usage chunk ends their stream.
        prompt_bytes: bytes, as received, of all that may become prompt tokens; from which they are predicted.
        messages: how many there are; each costs a template's few tokens.
        fields: what goes to the backend, by field.
        fallbacks: models to try when those before them cannot serve it, in this order.
        is_tier_named: whether the customer named the tier; one who did not may mean another by a suffix of the model.
        allows_downgrade: whether they take a lower tier rather than a refusal.
        wishes: about who serves it.
        affinity: requests of theirs with the same one share the beginning of their prompts.
    """

    model: str
    tier: Tier
    is_stream: bool
    wants_usage: bool
    output_tokens_max: int | None
    limit_field: str
    prompt_bytes: int
    messages: int
    needs: frozenset[Capability]
    fields: dict[str, msgspec.Raw]
    fallbacks: tuple[str, ...] = ()
    is_tier_named: bool = True
    allows_downgrade: bool = False
    wishes: Wishes = NO_WISHES
    affinity: str = ""


def read_order(body: bytes) -> Order:
    """Reads the body of ``POST /v1/chat/completions``.

    Raises:
        MarketError: 400 with the field at fault.
    """
    fields, known = _decode(body)
    passed = {name: raw for name, raw in fields.items() if name not in STAYS_HERE}
    limit_field, limit = _output_limit(known)
    if known.n is not None and known.n != 1:
        raise unsupported("n", f"'n' must be 1, got {_shown(known.n)}: send the request once for each answer you want.")
    model, *fallbacks = _models(known)
    wishes, needs = read_wishes(known.provider), _needs(known)
    if wishes.continues:
        _refuse_continuation(needs)
    return Order(
        model=model,
        tier=_tier(known.service_tier),
        is_stream=bool(known.stream),
        wants_usage=bool(known.stream and known.stream_options and known.stream_options.include_usage),
        output_tokens_max=limit,
        limit_field=limit_field,
        messages=_count_messages(known.messages),
        prompt_bytes=sum(memoryview(raw).nbytes for name, raw in passed.items() if name not in NO_PROMPT),
        needs=needs,
        fields=passed,
        fallbacks=tuple(fallbacks),
        is_tier_named=known.service_tier is not None,
        allows_downgrade=bool(known.allow_downgrade),
        wishes=wishes,
        affinity=(known.prompt_cache_key or "")[:AFFINITY_CHARS_MAX],
    )


def _decode(body: bytes) -> tuple[dict[str, msgspec.Raw], _Known]:
    try:
        body.decode()
        return _FIELDS.decode(body), _KNOWN.decode(body)
    except UnicodeDecodeError as error:
        at = f"byte {error.start} is 0x{body[error.start]:02x}"
        raise invalid(None, f"The body is not valid UTF-8: {at}.", "invalid_utf8") from error
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        detail = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid(None, f"The body is not valid JSON: {detail}.", "invalid_json") from error


def _wrong_type(detail: str) -> MarketError:
    """Turns "Expected `int`, got `str` - at `$.max_tokens`" into a refusal that names the field."""
    what, _, path = detail.partition(" - at ")
    param = path.strip("`").removeprefix("$").removeprefix(".")
    if not param:
        return invalid(None, f"The body must be a JSON object: {what}.", "invalid_json")
    if param == "provider" and "unknown field" in what:
        what += f"; known are {KNOWN}"
    return invalid(param, f"Invalid '{param}': {what}.", "invalid_type")


def _models(known: _Known) -> list[str]:
    """The models that may serve it, in the order to try them: ``model``, then ``models``."""
    listed = known.models or []
    if len(listed) > MODELS_MAX:
        raise invalid("models", f"'models' names {len(listed)} models; at most {MODELS_MAX} are tried.")
    first = [known.model] if known.model else []
    names = list(dict.fromkeys([*first, *listed]))
    if not names or not all(names):
        raise missing("model" if not names else "models")
    for name in names:
        if len(name) > MODEL_CHARS_MAX:
            param = "model" if name == known.model else "models"
            raise invalid(param, f"'{param}' has {len(name)} characters; at most {MODEL_CHARS_MAX} are allowed.")
    return names


def _refuse_continuation(needs: frozenset[Capability]) -> None:
    barred = needs & {Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS}
    if barred:
        raise unsupported(
            "provider.continue",
            f"'provider.continue' cannot go with {', '.join(sorted(barred))}: another provider cannot take up half a "
            "tool call, half a document or half a list of probabilities. Leave one of them out.",
        )


def _tier(word: str | None) -> Tier:
    tier = tier_asked(word)
    if tier is None:
        raise tier_unknown(word or "")
    return tier


def _count_messages(messages: list[_Message] | None) -> int:
    if messages is None:
        raise missing("messages")
    if not 0 < len(messages) <= MESSAGES_MAX:
        raise invalid("messages", f"'messages' must hold 1 to {MESSAGES_MAX} messages, got {len(messages)}.")
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            raise invalid(
                f"messages[{index}].role",
                f"Invalid role '{message.role[:64]}' in messages[{index}]; use one of {', '.join(sorted(ROLES))}.",
            )
    return len(messages)


def _output_limit(known: _Known) -> tuple[str, int | None]:
    for name, limit in (("max_completion_tokens", known.max_completion_tokens), ("max_tokens", known.max_tokens)):
        if limit is None:
            continue
        if limit < 1:
            raise invalid(name, f"'{name}' must be at least 1, got {_shown(limit)}.")
        return name, limit
    return "max_tokens", None


def _shown(number: int) -> str:
    """Huge integers are shown by their size: their digits help nobody."""
    digits_max = 24
    return str(number) if abs(number) < 10**digits_max else f"a number of over {digits_max} digits"


def _needs(known: _Known) -> frozenset[Capability]:
    wanted = {
        Capability.STREAMING: bool(known.stream),
        Capability.TOOLS: bool(known.tools or known.functions),
        Capability.JSON_SCHEMA: known.response_format is not None and known.response_format.type == "json_schema",
        Capability.LOGPROBS: bool(known.logprobs),
    }
    return frozenset(capability for capability, is_wanted in wanted.items() if is_wanted)
