"""The ``provider`` object of a request: what its customer wishes of who serves it; pure.

The names are those that clients of other markets know. What is not understood here is refused, not ignored: a mistyped
price cap must not bill.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from app.gateway.errors import invalid, unsupported
from pricing.money import MoneyError, Rate, usd_per_mtok
from pricing.slo import US_PER_S
from scheduler.fleet import Offer
from scheduler.preferences import NO_PREFERENCES, Preferences, Sort, tpot_us_of

_Names = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]], msgspec.Meta(max_length=64)]
_Above0 = Annotated[float, msgspec.Meta(gt=0)]


class _Percentiles(msgspec.Struct, forbid_unknown_fields=True):
    p50: _Above0 | None = None
    p75: _Above0 | None = None
    p90: _Above0 | None = None
    p99: _Above0 | None = None

    def strictest(self) -> float | None:
        """The threshold of the highest percentile named: forecasts lean on high quantiles."""
        return next((each for each in (self.p99, self.p90, self.p75, self.p50) if each is not None), None)


class _SortBy(msgspec.Struct, forbid_unknown_fields=True):
    by: Sort
    partition: str = "model"


class _MaxPrice(msgspec.Struct, forbid_unknown_fields=True):
    prompt: Decimal | None = None
    completion: Decimal | None = None
    request: Decimal | None = None
    image: Decimal | None = None


class ProviderField(msgspec.Struct, forbid_unknown_fields=True, rename={"continues": "continue"}):
    """As it is sent."""

    order: _Names | None = None
    only: _Names | None = None
    ignore: _Names | None = None
    allow_fallbacks: bool | None = None
    sort: Sort | _SortBy | None = None
    max_price: _MaxPrice | None = None
    preferred_max_latency: _Above0 | _Percentiles | None = None
    preferred_min_throughput: _Above0 | _Percentiles | None = None
    region: str | _Names | None = None
    quantizations: _Names | None = None
    continues: bool | None = None
    require_parameters: bool | None = None
    data_collection: str | None = None
    zdr: bool | None = None


KNOWN = ", ".join(ProviderField.__struct_encode_fields__)


@dataclass(frozen=True, slots=True)
class PriceCap:
    """The most that a customer pays per token, pico-USD; None without a limit."""

    input: Rate | None = None
    output: Rate | None = None

    def admits(self, input_rate: int, output_rate: int) -> bool:
        """Whether rates are within it."""
        return (self.input is None or input_rate <= self.input) and (self.output is None or output_rate <= self.output)


NO_CAP = PriceCap()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a customer wishes.

    Attributes:
        preferences: which offers, and in which order.
        cap: at which price.
        continues: an answer that breaks off goes on at another provider, where one can.
    """

    preferences: Preferences = NO_PREFERENCES
    cap: PriceCap = NO_CAP
    continues: bool = False


NO_WISHES = Wishes()


def read_wishes(given: ProviderField | None) -> Wishes:
    """Checks what a customer wishes.

    Raises:
        MarketError: 400: the wishes contradict each other, or ask for what nobody here can promise.
    """
    if given is None:
        return NO_WISHES
    _refuse_unkept(given)
    preferences = Preferences(
        order=tuple(dict.fromkeys(given.order or ())),
        only=frozenset(given.only or ()),
        ignore=frozenset(given.ignore or ()),
        regions=_lower([given.region] if isinstance(given.region, str) else given.region),
        precisions=_lower(given.quantizations),
        allow_fallbacks=given.allow_fallbacks is not False,
        sort=given.sort.by if isinstance(given.sort, _SortBy) else given.sort,
        ttft_us_wished=_threshold_us(given.preferred_max_latency, lambda seconds: seconds * US_PER_S),
        tpot_us_wished=_threshold_us(given.preferred_min_throughput, tpot_us_of),
    )
    _refuse_contradictions(given, preferences)
    is_plain = preferences == NO_PREFERENCES
    return Wishes(NO_PREFERENCES if is_plain else preferences, _cap(given.max_price), bool(given.continues))


def check_known(
    preferences: Preferences, offers: Mapping[str, Iterable[Offer]], may_see: Callable[[str], bool]
) -> None:
    """Refuses names of providers that nobody has here, which are mistakes of typing.

    Who serves nothing but other customers' own models is as unknown as who does not exist.

    Args:
        preferences: that may name some.
        offers: all there are, by model.
        may_see: whether a model exists for the caller.

    Raises:
        MarketError: 400, with the name at fault.
    """
    named = {*preferences.order, *preferences.only, *preferences.ignore}
    if not named:
        return
    there = {offer.provider_id for model, each in offers.items() if may_see(model) for offer in each}
    if unknown := sorted(named - there):
        field = next(
            name
            for name, wished in (
                ("order", preferences.order), ("only", preferences.only), ("ignore", preferences.ignore)
            )
            if unknown[0] in wished
        )  # fmt: skip
        raise invalid(
            f"provider.{field}",
            f"There is no provider '{unknown[0][:64]}' here{_more(unknown)}. Each answer names its own in the header "
            "x-provider.",
            "unknown_provider",
        )


def _more(unknown: list[str]) -> str:
    return f", nor {', '.join(repr(name[:64]) for name in unknown[1:5])}" if len(unknown) > 1 else ""


def _refuse_unkept(given: ProviderField) -> None:
    """Refuses promises that nobody here can keep, rather than ignoring them."""
    if given.data_collection not in {None, "allow"} or given.zdr:
        field = "zdr" if given.zdr else "data_collection"
        raise unsupported(
            f"provider.{field}",
            f"'provider.{field}': which providers keep data is not known here, so nobody can be chosen by it. Name "
            "providers that you trust in 'provider.only', or where they run in 'provider.region'.",
        )
    if isinstance(given.sort, _SortBy) and given.sort.partition != "model":
        raise unsupported(
            "provider.sort.partition",
            "'provider.sort.partition' must be 'model': models are tried in the order of 'models', providers within.",
        )
    extras = given.max_price
    if extras is not None and (extras.request is not None or extras.image is not None):
        raise unsupported(
            "provider.max_price",
            "'provider.max_price' takes 'prompt' and 'completion': nothing is charged per request or image here.",
        )


def _refuse_contradictions(given: ProviderField, wishes: Preferences) -> None:
    for name, sent in (("only", given.only), ("order", given.order), ("region", given.region),
                       ("quantizations", given.quantizations)):  # fmt: skip
        if sent is not None and not sent:
            raise invalid(f"provider.{name}", f"'provider.{name}' is empty, which leaves nobody; leave it out.")
    left = set(wishes.only)
    if wishes.only and not left - wishes.ignore:
        raise invalid(
            "provider.ignore",
            f"'provider.only' and 'provider.ignore' leave nobody: only {_listed(wishes.only)}, "
            f"ignore {_listed(wishes.ignore)}.",
            "contradictory_preferences",
        )
    if not wishes.order or wishes.allow_fallbacks:
        return
    if not [each for each in wishes.order if each not in wishes.ignore and (not left or each in left)]:
        raise invalid(
            "provider.order",
            f"'provider.order' {_listed(wishes.order)} without fallbacks leaves nobody: only "
            f"{_listed(wishes.only) if wishes.only else 'not set'}, ignore {_listed(wishes.ignore)}.",
            "contradictory_preferences",
        )


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(sorted(names))}]"


def _lower(names: Iterable[str] | None) -> frozenset[str]:
    return frozenset(name.lower() for name in names or ())


def _threshold_us(given: float | _Percentiles | None, us_of: Any) -> float | None:
    value = given.strictest() if isinstance(given, _Percentiles) else given
    return None if value is None else float(us_of(value))


def _cap(given: _MaxPrice | None) -> PriceCap:
    return NO_CAP if given is None else PriceCap(_rate("prompt", given.prompt), _rate("completion", given.completion))


def _rate(name: str, price: Decimal | None) -> Rate | None:
    """USD per million tokens as a rate; what is finer than a rate can be is rounded down, as a cap must be."""
    if price is None:
        return None
    try:
        return usd_per_mtok(price.quantize(Decimal("0.000001"), rounding="ROUND_FLOOR"))
    except (MoneyError, ArithmeticError) as error:
        raise invalid(
            f"provider.max_price.{name}",
            f"'provider.max_price.{name}' must be USD per million tokens, 0 or more: {str(price)[:40]} is not.",
        ) from error
