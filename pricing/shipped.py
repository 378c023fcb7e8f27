"""The measured profiles that ship with the product, read from ``pricing/data`` (see its README for sources)."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from pricing.money import usd_per_mtok
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
    is_positive,
    little_output_tok_s,
)
from pricing.tables import DATA_DIR, Row, TableError, optional_day, parse_table
from pricing.usage import Rates

DECLARED_CLASSES = (LengthClass(1024, 1024), LengthClass(1024, 8192), LengthClass(8192, 1024))
"""An offer bought by the token declares one speed; it is taken to hold in the classes that are measured elsewhere."""


def shipped_profiles(data_dir: Path = DATA_DIR) -> tuple[Profile, ...]:
    """All shipped profiles, measured ones first, then offers with a declared price; in the order of their tables.

    Raises:
        TableError: a table cannot be read, with the line and the reason.
    """
    licences = _licences(data_dir)
    grouped: dict[tuple[str, Configuration], list[OperatingPoint]] = {}
    for key, point in parse_table("operating_points.csv", lambda row: _measured(row, licences), data_dir):
        grouped.setdefault(key, []).append(point)
    measured = [Profile(model, configuration, tuple(points)) for (model, configuration), points in grouped.items()]
    declared = parse_table("declared_offers.csv", lambda row: _declared(row, licences), data_dir)
    return (*measured, *declared)


def parameters_billion(data_dir: Path = DATA_DIR) -> dict[str, float]:
    """How many parameters each shipped model has, in billions; for the check that it fits its memory."""
    return dict(parse_table("models.csv", lambda row: (row["model"], _positive(row, "parameters_billion")), data_dir))


def source_titles(data_dir: Path = DATA_DIR) -> dict[str, str]:
    """What the source keys of the tables stand for."""
    return dict(parse_table("sources.csv", lambda row: (row["source"], row["title"]), data_dir))


def _licences(data_dir: Path) -> dict[str, str]:
    return dict(parse_table("sources.csv", lambda row: (row["source"], row["licence"]), data_dir))


def _measured(row: Row, licences: Mapping[str, str]) -> tuple[tuple[str, Configuration], OperatingPoint]:
    lengths = LengthClass(int(row["isl"]), int(row["osl"]))
    factor, concurrency = _positive(row, "length_factor"), int(row["concurrency"])
    ttft_s, tpot_s = _positive(row, "ttft_s"), _positive(row, "tpot_s")
    isl_mean, osl_mean = lengths.isl * factor, lengths.osl * factor
    if concurrency < 1 or osl_mean <= 1:
        raise ProfileError(f"concurrency {concurrency} and osl {lengths.osl} must be above 1")
    output_tok_s = little_output_tok_s(concurrency, ttft_s, tpot_s, osl_mean)
    point = OperatingPoint(
        lengths=lengths,
        concurrency=concurrency,
        ttft_s_p50=ttft_s,
        tpot_s_p50=tpot_s,
        output_tok_s=output_tok_s,
        input_tok_s=output_tok_s * isl_mean / osl_mean,
        isl_mean=isl_mean,
        osl_mean=osl_mean,
        provenance=_provenance(row, licences, optional_day(row["measured_on"]), row["engine_version"]),
    )
    refuse_mixed_units(point)
    return (row["model"], _configuration(row)), point


def _configuration(row: Row) -> Configuration:
    return Configuration(
        hardware=row["hardware"],
        n_gpus=int(row["n_gpus"]),
        engine=row["engine"],
        precision=row["precision"],
        parallelism=row["parallelism"],
        mode=Mode(row["mode"]),
        spec_decoding=row["spec_decoding"],
        prefill_gpus=int(row["prefill_gpus"]) if row["prefill_gpus"] else None,
        decode_gpus=int(row["decode_gpus"]) if row["decode_gpus"] else None,
    )


def _declared(row: Row, licences: Mapping[str, str]) -> Profile:
    concurrency_max = int(row["concurrency_max"])
    provenance = _provenance(row, licences, optional_day(row["as_of"]), "")
    tpot_s, base_s = 1 / _positive(row, "interactivity_tok_s_user"), _positive(row, "ttft_base_s")
    prefill_tok_s = _positive(row, "prefill_tok_s")
    points: list[OperatingPoint] = []
    for lengths in DECLARED_CLASSES:
        ttft_s = base_s + lengths.isl / prefill_tok_s
        for concurrency in sorted({1, concurrency_max}):
            output_tok_s = little_output_tok_s(concurrency, ttft_s, tpot_s, lengths.osl)
            rate_in, rate_out = output_tok_s * lengths.isl / lengths.osl, output_tok_s
            means = (float(lengths.isl), float(lengths.osl))
            points.append(OperatingPoint(lengths, concurrency, ttft_s, tpot_s, rate_out, rate_in, *means, provenance))
    price = Rates(*(usd_per_mtok(row[f"{name}_usd_per_mtok"]) for name in ("input", "cached", "cache_write", "output")))
    return Profile(
        model=row["model"],
        configuration=Configuration(row["hardware"], 1, row["engine"], row["precision"]),
        points=tuple(points),
        limits=EngineLimits(concurrency_max=concurrency_max),
        price=price,
        prefill_tok_s=prefill_tok_s,
        notes=f"price: {row['price_source']}; assumed, not declared: {row['assumed']}",
    )


def _provenance(row: Row, licences: Mapping[str, str], day: date | None, engine_version: str) -> Provenance:
    source = row["source"]
    if source not in licences:
        raise TableError(f"source {source!r} is not in sources.csv")
    return Provenance(source, Basis(row["basis"]), licences[source], day, engine_version)


def _positive(row: Row, name: str) -> float:
    value = float(row[name])
    if not is_positive(value):
        raise ProfileError(f"{name} must be above 0, got {row[name]}")
    return value
