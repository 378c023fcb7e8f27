"""The JSON form of a profile: what a prober writes, an operator edits and an importer produces.

The format is described in ``pricing/README.md``. A document is refused as a whole, with the path of the field, its
value and what to do; nothing is half imported.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from pricing.document_reader import Reader, shown
from pricing.money import MoneyError, Rate, format_usd_per_mtok, usd_per_mtok
from pricing.plausible import refuse_mixed_units
from pricing.profiles import (
    Basis,
    Configuration,
    EngineLimits,
    LengthClass,
    Mode,
    OperatingPoint,
    Profile,
    ProfileError,
    Provenance,
    little_output_tok_s,
)
from pricing.usage import Rates, TokenClass

FORMAT = "goodput-profile/1"
BYTES_MAX = 16_000_000
POINTS_MAX = 10_000
TTFT_S_MAX = 600.0
TPOT_S_MAX = 10.0
CONCURRENCY_MAX = 1_000_000
TOKENS_MAX = 10_000_000
TOK_S_MAX = 1e12
GPUS_MAX = 100_000
INTERACTIVITY_TOLERANCE = 0.02
"""A stated interactivity must agree with 1/TPOT this closely."""
THROUGHPUT_FACTOR_MAX = 3.0
"""A stated throughput must agree with Little's law within this factor; ramp-up explains less, mixed units far more."""

INPUT_FACTOR_MAX = 1.5
"""Each request reads a prompt for the answer it writes: stated input must agree with output within this factor."""


def profile_from_json(text: str | bytes) -> Profile:
    """Reads a profile document from its JSON text.

    Raises:
        ProfileError: not JSON, too large, or not a valid profile.
    """
    if len(text) > BYTES_MAX:
        raise ProfileError(f"the document is {len(text):,} long, at most {BYTES_MAX:,}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"the document is not JSON: {error}") from error
    return profile_from_document(document)


def profile_from_document(document: Mapping[str, Any]) -> Profile:
    """Reads and checks a profile document.

    Raises:
        ProfileError: with the path of the first wrong field, its value, and what is expected.
    """
    reader = Reader(document)
    if (found := reader.take("format")) != FORMAT:
        raise ProfileError(f"format: expected {FORMAT!r}, got {shown(found)}")
    provenance = _provenance(reader.section("provenance"))
    profile = Profile(
        model=reader.text("model"),
        configuration=_configuration(reader.section("configuration")),
        points=tuple(_point(each, provenance) for each in reader.sections("points", POINTS_MAX)),
        limits=_limits(reader.section_or_none("limits")),
        price=_price(reader.section_or_none("price_usd_per_mtok")),
        prefill_tok_s=reader.positive_or_none("prefill_tok_s", TOK_S_MAX),
        notes=reader.text("notes", default=""),
    )
    reader.finish()
    refuse_duplicates(profile)
    return profile


def refuse_duplicates(profile: Profile) -> None:
    """Refuses two points of one class, concurrency and date: nothing says which of them holds.

    Raises:
        ProfileError: naming the load.
    """
    seen: set[tuple[LengthClass, int, date | None]] = set()
    for point in profile.points:
        key = (point.lengths, point.concurrency, point.provenance.measured_on)
        if key in seen:
            raise ProfileError(
                f"{profile.id}: two operating points for {point.lengths} at concurrency {point.concurrency} "
                f"measured on {point.provenance.measured_on or 'no date'}; keep one"
            )
        seen.add(key)


def profile_document(profile: Profile) -> dict[str, Any]:
    """The JSON-ready document of a profile; the inverse of :func:`profile_from_document`."""
    provenance = profile.points[0].provenance
    return {
        "format": FORMAT,
        "model": profile.model,
        "configuration": _configuration_document(profile.configuration),
        "limits": {
            "concurrency_max": profile.limits.concurrency_max,
            "context_max": profile.limits.context_max,
            "batch_tokens_max": profile.limits.batch_tokens_max,
        },
        "provenance": _provenance_document(provenance),
        "price_usd_per_mtok": None if profile.price is None else _price_document(profile.price),
        "prefill_tok_s": profile.prefill_tok_s,
        "notes": profile.notes,
        "points": [_point_document(point, provenance) for point in profile.points],
    }


def _configuration(reader: Reader) -> Configuration:
    configuration = Configuration(
        hardware=reader.text("hardware").lower(),
        n_gpus=reader.whole("n_gpus", GPUS_MAX),
        engine=reader.text("engine").lower(),
        precision=reader.text("precision").lower(),
        parallelism=reader.text("parallelism", default=""),
        mode=Mode(reader.choice("mode", tuple(Mode))),
        spec_decoding=reader.text("spec_decoding", default="none").lower(),
        prefill_gpus=reader.whole_or_none("prefill_gpus", GPUS_MAX),
        decode_gpus=reader.whole_or_none("decode_gpus", GPUS_MAX),
    )
    reader.finish()
    return configuration


def _limits(reader: Reader | None) -> EngineLimits:
    if reader is None:
        return EngineLimits()
    limits = EngineLimits(
        concurrency_max=reader.whole_or_none("concurrency_max", CONCURRENCY_MAX),
        context_max=reader.whole_or_none("context_max", TOKENS_MAX),
        batch_tokens_max=reader.whole_or_none("batch_tokens_max", TOKENS_MAX),
    )
    reader.finish()
    return limits


def _provenance(reader: Reader) -> Provenance:
    measured_on = reader.text("measured_on", default="")
    try:
        day = date.fromisoformat(measured_on) if measured_on else None
    except ValueError as error:
        raise ProfileError(f"{reader.at('measured_on')}: expected a date such as 2026-11-24: {error}") from error
    provenance = Provenance(
        source=reader.text("source"),
        basis=Basis(reader.choice("basis", tuple(Basis))),
        licence=reader.text("licence"),
        measured_on=day,
        engine_version=reader.text("engine_version", default=""),
    )
    reader.finish()
    return provenance


def _price(reader: Reader | None) -> Rates | None:
    if reader is None:
        return None
    price = Rates(**{name.value: _rate(reader, name) for name in TokenClass})
    reader.finish()
    return price


def _rate(reader: Reader, name: TokenClass) -> Rate:
    try:
        return usd_per_mtok(reader.text(name.value))
    except MoneyError as error:
        raise ProfileError(f"{reader.at(name.value)}: {error}") from error


def _point(reader: Reader, provenance: Provenance) -> OperatingPoint:
    lengths = LengthClass(reader.whole("isl", TOKENS_MAX), reader.whole("osl", TOKENS_MAX))
    own = reader.section_or_none("provenance")
    point = OperatingPoint(
        lengths=lengths,
        concurrency=reader.whole("concurrency", CONCURRENCY_MAX),
        ttft_s_p50=reader.positive("ttft_s_p50", TTFT_S_MAX),
        tpot_s_p50=reader.positive("tpot_s_p50", TPOT_S_MAX),
        output_tok_s=reader.positive_or_none("output_tok_s", TOK_S_MAX) or 0.0,
        input_tok_s=reader.positive_or_none("input_tok_s", TOK_S_MAX) or 0.0,
        isl_mean=reader.positive_or_none("isl_mean", TOKENS_MAX) or float(lengths.isl),
        osl_mean=reader.positive_or_none("osl_mean", TOKENS_MAX) or float(lengths.osl),
        provenance=provenance if own is None else _provenance(own),
        ttft_s_p99=reader.positive_or_none("ttft_s_p99", TTFT_S_MAX),
        tpot_s_p99=reader.positive_or_none("tpot_s_p99", TPOT_S_MAX),
        requests=reader.whole_or_none("requests", TOKENS_MAX),
    )
    _check_latencies(reader, point)
    _check_interactivity(reader, point)
    reader.finish()
    point = _with_throughput(reader, point)
    refuse_mixed_units(point)
    return point


def _check_latencies(reader: Reader, point: OperatingPoint) -> None:
    if point.isl_mean < 1:
        raise ProfileError(
            f"{reader.at('isl_mean')}: a prompt has one token at least, got a mean of {point.isl_mean:g}"
        )
    if point.osl_mean <= 1:
        raise ProfileError(f"{reader.at('osl')}: an answer of one token has no time per further token; use osl >= 2")
    for name, median, tail in (
        ("ttft_s_p99", point.ttft_s_p50, point.ttft_s_p99),
        ("tpot_s_p99", point.tpot_s_p50, point.tpot_s_p99),
    ):
        if tail is not None and tail < median:
            raise ProfileError(f"{reader.at(name)}: a p99 of {tail} s lies below its median of {median} s")


def _check_interactivity(reader: Reader, point: OperatingPoint) -> None:
    stated = reader.positive_or_none("interactivity_tok_s_user", TOK_S_MAX)
    derived = point.interactivity_tok_s_user
    if stated is not None and abs(stated / derived - 1) > INTERACTIVITY_TOLERANCE:
        raise ProfileError(
            f"{reader.at('interactivity_tok_s_user')}: {stated:g} tok/s/user disagrees with 1 / tpot_s_p50 = "
            f"{derived:g}{_unit_hint(stated / derived)}"
        )


def _with_throughput(reader: Reader, point: OperatingPoint) -> OperatingPoint:
    expected = little_output_tok_s(point.concurrency, point.ttft_s_p50, point.tpot_s_p50, point.osl_mean)
    output_tok_s = point.output_tok_s or expected
    factor = output_tok_s / expected
    if not 1 / THROUGHPUT_FACTOR_MAX <= factor <= THROUGHPUT_FACTOR_MAX:
        raise ProfileError(
            f"{reader.at('output_tok_s')}: {output_tok_s:g} tok/s of the whole replica disagrees with concurrency and "
            f"latencies, which give {expected:g} (Little's law){_unit_hint(factor)}"
        )
    read_tok_s = output_tok_s * point.isl_mean / point.osl_mean
    input_tok_s = point.input_tok_s or read_tok_s
    if not 1 / INPUT_FACTOR_MAX <= input_tok_s / read_tok_s <= INPUT_FACTOR_MAX:
        raise ProfileError(
            f"{reader.at('input_tok_s')}: {input_tok_s:g} tok/s of the whole replica disagrees with {output_tok_s:g} "
            f"tok/s of output at {point.isl_mean:g} tokens in and {point.osl_mean:g} out, which give {read_tok_s:g}"
        )
    return replace(point, output_tok_s=output_tok_s, input_tok_s=input_tok_s)


def _unit_hint(factor: float) -> str:
    return "; are the times in milliseconds?" if 300 < max(factor, 1 / factor) < 3000 else ""  # noqa: PLR2004 (about a thousand)


def _configuration_document(configuration: Configuration) -> dict[str, Any]:
    return {
        "hardware": configuration.hardware,
        "n_gpus": configuration.n_gpus,
        "engine": configuration.engine,
        "precision": configuration.precision,
        "parallelism": configuration.parallelism,
        "mode": configuration.mode.value,
        "spec_decoding": configuration.spec_decoding,
        "prefill_gpus": configuration.prefill_gpus,
        "decode_gpus": configuration.decode_gpus,
    }


def _provenance_document(provenance: Provenance) -> dict[str, Any]:
    return {
        "source": provenance.source,
        "basis": provenance.basis.value,
        "licence": provenance.licence,
        "measured_on": None if provenance.measured_on is None else provenance.measured_on.isoformat(),
        "engine_version": provenance.engine_version,
    }


def _price_document(price: Rates) -> dict[str, str]:
    return {name.value: format_usd_per_mtok(rate) for name, rate in price.by_class().items()}


def _point_document(point: OperatingPoint, shared: Provenance) -> dict[str, Any]:
    document: dict[str, Any] = {
        "isl": point.lengths.isl,
        "osl": point.lengths.osl,
        "isl_mean": point.isl_mean,
        "osl_mean": point.osl_mean,
        "concurrency": point.concurrency,
        "ttft_s_p50": point.ttft_s_p50,
        "ttft_s_p99": point.ttft_s_p99,
        "tpot_s_p50": point.tpot_s_p50,
        "tpot_s_p99": point.tpot_s_p99,
        "output_tok_s": point.output_tok_s,
        "input_tok_s": point.input_tok_s,
        "interactivity_tok_s_user": point.interactivity_tok_s_user,
        "requests": point.requests,
    }
    if point.provenance != shared:
        document["provenance"] = _provenance_document(point.provenance)
    return document
