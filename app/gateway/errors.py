"""What the gateway refuses, each with the numbers and what to do; pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.errors import NO_RETRY, MarketError, Retry
from app.gateway.tiers import WORD_OF_TIER
from pricing.money import Rate, format_usd_per_mtok
from pricing.slo import Rung, Tier
from providers.errors import (
    ProviderCredentialRejected,
    ProviderError,
    ProviderModelMissing,
    ProviderOverloaded,
    ProviderRejectedRequest,
    ProviderTimeout,
)

GATEWAY_TIMEOUT = 504


def invalid(param: str | None, message: str, code: str = "invalid_value") -> MarketError:
    """A request that is wrong in itself."""
    return MarketError(400, code, message, param=param)


def missing(param: str) -> MarketError:
    """A required field is absent."""
    return invalid(param, f"Missing required parameter: '{param}'.", "missing_required_parameter")


def unsupported(param: str, message: str) -> MarketError:
    """A field or value that exists elsewhere but not here."""
    return invalid(param, message, "unsupported_parameter")


def context_too_long(prompt_tokens: int, output_tokens: int, context_max: int) -> MarketError:
    """The prompt leaves no room in the model's context."""
    return invalid(
        "messages",
        f"This model's context is {context_max} tokens, but about {prompt_tokens} prompt tokens and "
        f"{output_tokens} output tokens were asked for. Shorten the messages or ask for fewer output tokens.",
        "context_length_exceeded",
    )


def model_not_found(model: str, sold: Iterable[str]) -> MarketError:
    """A model that is not on sale."""
    names = ", ".join(sold) or "nothing yet"
    return MarketError(
        404, "model_not_found", f"The model '{model[:128]}' does not exist here. On sale: {names}.", param="model"
    )


def tier_unknown(word: str) -> MarketError:
    """A ``service_tier`` nobody knows."""
    return invalid(
        "service_tier",
        f"Unknown service_tier '{word[:64]}'. Use 'priority', 'default' or 'flex' (or 'auto').",
        "invalid_service_tier",
    )


def tier_not_sold(model: str, tier: Tier, sold: Iterable[Tier]) -> MarketError:
    """A tier that this model is not sold at."""
    words = ", ".join(f"'{WORD_OF_TIER[each]}' ({each})" for each in sold)
    return invalid(
        "service_tier",
        f"The model '{model}' is not sold at tier '{WORD_OF_TIER[tier]}' ({tier}). Sold: {words}.",
        "invalid_service_tier",
    )


def none_of_models(refused: Sequence[MarketError]) -> MarketError:
    """None of the models named can serve the request: why the first cannot, and briefly why the others cannot."""
    first, *others = refused
    if not others:
        return first
    rest = " ".join(each.message for each in others)
    return replace(first, message=f"{first.message} Of the other models named: {rest}")


def over_price_cap(
    model: str, input_cap: Rate | None, output_cap: Rate | None, asked: Rung, cheapest: Rung
) -> MarketError:
    """A model that costs more than the customer pays."""
    caps = {"prompt": input_cap, "completion": output_cap}
    capped = ", ".join(f"${format_usd_per_mtok(cap)} {name}" for name, cap in caps.items() if cap is not None)
    return MarketError(
        503,
        "no_provider_available",
        f"'provider.max_price' is {capped} per million tokens, but {model} costs {_rates(asked)}. The cheapest it is "
        f"sold at is {_rates(cheapest)}. Nothing was charged.",
        type="service_unavailable_error",
        param="provider.max_price",
        retry=NO_RETRY,
    )


def _rates(rung: Rung) -> str:
    return (
        f"${format_usd_per_mtok(rung.rates.input)} prompt, ${format_usd_per_mtok(rung.rates.output)} completion at "
        f"service_tier '{WORD_OF_TIER[rung.tier]}'"
    )


def body_too_large(bytes_max: int) -> MarketError:
    """A body over the limit."""
    return MarketError(
        413, "request_too_large", f"The request body is over the limit of {bytes_max} bytes; send less.", retry=NO_RETRY
    )


def body_too_slow(seconds: float) -> MarketError:
    """A body that did not arrive in time."""
    return MarketError(408, "request_timeout", f"The request body did not arrive within {seconds:g} s.", retry=NO_RETRY)


def rate_limited(limit: str, retry_after_s: float, headers: dict[str, str]) -> MarketError:
    """A customer over one of their limits; without end when this request alone is over it."""
    if math.isinf(retry_after_s):
        message = f"This request alone is over your limit for {limit}: it can never start. Ask for fewer tokens."
        retry = NO_RETRY
    else:
        message = f"Rate limit reached for {limit}. Try again in {retry_after_s:.2f} s."
        retry = Retry(should_retry=True, after_s=retry_after_s)
    return MarketError(
        429,
        "rate_limit_exceeded",
        message,
        type="tokens" if limit == "tokens" else "requests",
        retry=retry,
        extra_headers=headers,
    )


def capacity_exceeded(explanation: str, retry_after_s: float | None) -> MarketError:
    """The promise cannot be kept now; nothing is charged."""
    return MarketError(
        429,
        "capacity_exceeded",
        f"{explanation} Nothing was charged.",
        type="rate_limit_exceeded",
        retry=Retry(should_retry=True, after_s=1.0 if retry_after_s is None else retry_after_s),
    )


def no_provider(explanation: str, retry_after_s: float | None) -> MarketError:
    """No provider serves this at all, or none is well; None when trying again cannot help."""
    return MarketError(
        503,
        "no_provider_available",
        f"{explanation} Nothing was charged.",
        type="service_unavailable_error",
        retry=Retry(should_retry=retry_after_s is not None, after_s=retry_after_s),
    )


def failure_answer(error: ProviderError, *, is_started: bool) -> MarketError:
    """What a customer is told when a provider failed them."""
    if isinstance(error, ProviderRejectedRequest) and not is_started:
        return provider_rejected(error.detail, error.status or 400)
    if isinstance(error, ProviderOverloaded) and not is_started:
        return provider_overloaded(error.retry_after_s)
    if isinstance(error, ProviderCredentialRejected):  # our own affair: what it said is in the log, not in the answer
        return provider_failed("it does not take our requests at the moment", 502, is_started=is_started)
    if isinstance(error, ProviderModelMissing) and not is_started:
        return model_unavailable()
    if isinstance(error, ProviderTimeout):
        return provider_failed(error.detail, 504, is_started=is_started)
    return provider_failed(error.detail, 502, is_started=is_started)


def provider_failed(detail: str, status: int = 502, *, is_started: bool = False) -> MarketError:
    """Every provider tried failed, or the one that had begun did."""
    when = "in mid-answer" if is_started else "before any token was delivered"
    return MarketError(
        status,
        "provider_timeout" if status == GATEWAY_TIMEOUT else "provider_unavailable",
        f"The provider failed {when}: {detail.rstrip('.')}. Nothing was charged.",
        type="server_error",
        retry=Retry(should_retry=True, after_s=1.0),
    )


def model_unavailable() -> MarketError:
    """No provider tried has the model, or the adapter of a tuned one, loaded; nobody is served another in its place."""
    return MarketError(
        503,
        "model_unavailable",
        "This model is not loaded at its provider at the moment; another was not used in its place. The operator can "
        "see why. Nothing was charged.",
        type="service_unavailable_error",
        retry=Retry(should_retry=True, after_s=5.0),
    )


def provider_overloaded(retry_after_s: float | None) -> MarketError:
    """Every provider tried is full."""
    after_s = 1.0 if retry_after_s is None else retry_after_s
    return MarketError(
        503,
        "server_is_overloaded",
        f"The provider has no room for this request; try again in {after_s:.1f} s. Nothing was charged.",
        type="service_unavailable_error",
        retry=Retry(should_retry=True, after_s=after_s),
    )


def provider_rejected(detail: str, status: int) -> MarketError:
    """The backend finds the request itself wrong."""
    is_context = "context" in detail.lower() and ("length" in detail.lower() or "exceed" in detail.lower())
    return MarketError(
        400 if status not in {413, 422} else status,
        "context_length_exceeded" if is_context else "invalid_value",
        f"The model's backend refused the request: {detail}",
        retry=NO_RETRY,
    )


def frozen() -> MarketError:
    """A customer whose spending is stopped."""
    return MarketError(
        403,
        "account_frozen",
        "This account is frozen, so no new request can start. Contact the operator.",
        type="permission_error",
        retry=NO_RETRY,
    )


def shutting_down() -> MarketError:
    """The market is draining."""
    return MarketError(
        503,
        "server_is_overloaded",
        "The market is shutting down; try again in a moment. Nothing was charged.",
        type="service_unavailable_error",
        retry=Retry(should_retry=True, after_s=2.0),
    )
