"""Every kind of hardware that the product knows by name, and what it knows of it; and where pool sizes come from.

Hardware can be known in part: with an hour's cost but no measured profile, by name alone (a placeholder), or as
capacity that is bought by the token and has no cost of an hour here. :func:`standing` says which, wherever it is shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pricing.hardware import Ownership
from pricing.profiles import Configuration, Mode, Profile
from pricing.tables import DATA_DIR, Row, optional_number, parse_table

NO_PROFILE = "no measured profile"
BOUGHT = "bought by the token at its declared price"
RACK_DOMAIN = 16
"""A scale-up domain beyond a server's eight or sixteen accelerators is a rack."""


class Scale(StrEnum):
    """What is bought at once."""

    SERVER = "server"
    RACK = "rack"
    WAFER = "wafer"


@dataclass(frozen=True, slots=True)
class HardwareEntry:
    """One kind of hardware, as a list shows it.

    Attributes:
        usd_per_hour: by ownership, where stated; none for a placeholder and for what is bought by the token.
        domain: accelerators that one fast network joins.
        is_bought_by_token: no $/hour or power is stated or derived.
    """

    hardware: str
    name: str
    scale: Scale
    usd_per_hour: tuple[tuple[Ownership, float], ...] = ()
    kw: float | None = None
    hbm_gb: float | None = None
    domain: int | None = None
    is_bought_by_token: bool = False
    source: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class MarketCost:
    """What somebody asks for an hour or a rack: to hold one's own figures against."""

    hardware: str
    what: str
    value: float
    unit: str
    as_of: str
    source: str


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """Where the sizes of a disaggregated configuration's pools come from.

    Attributes:
        counted: ``dataset``, ``joined`` from a public configuration, or ``dataset and configuration agree``.
        points: how many measured rows rest on it.
        source: key into the table of sources.
    """

    model: str
    configuration: Configuration
    counted: str
    points: int
    source: str


def known_hardware(data_dir: Path = DATA_DIR) -> tuple[HardwareEntry, ...]:
    """All hardware by name: with a cost first, then placeholders, then what is bought by the token.

    Raises:
        TableError: a table cannot be read.
    """
    costed = parse_table("hardware.csv", _costed, data_dir)
    named = parse_table("hardware_placeholders.csv", _named, data_dir)
    return (*costed, *sorted(named, key=lambda each: each.is_bought_by_token))


def market_costs(data_dir: Path = DATA_DIR) -> tuple[MarketCost, ...]:
    """Published figures of what hardware costs."""
    columns = ("hardware", "what", "unit", "as_of", "source")
    found = parse_table(
        "market_costs.csv", lambda row: ({name: row[name] for name in columns}, float(row["value"])), data_dir
    )
    return tuple(MarketCost(value=value, **texts) for texts, value in found)


def worker_counts(data_dir: Path = DATA_DIR) -> tuple[WorkerCount, ...]:
    """Where the pool sizes of the shipped disaggregated configurations come from."""
    return tuple(parse_table("worker_counts.csv", _counted, data_dir))


def standing(entry: HardwareEntry, profiles: Iterable[Profile]) -> str:
    """What can be done with a kind of hardware, in words."""
    if entry.is_bought_by_token:
        return BOUGHT
    count = sum(profile.configuration.hardware == entry.hardware for profile in profiles)
    return NO_PROFILE if count == 0 else f"{count} measured profile{'s' if count > 1 else ''}"


def without_profile(profiles: Iterable[Profile], data_dir: Path = DATA_DIR) -> tuple[str, ...]:
    """The slugs of hardware that is known by name or cost, and that nobody measured."""
    measured = {profile.configuration.hardware for profile in profiles}
    return tuple(each.hardware for each in known_hardware(data_dir) if each.hardware not in measured)


def _costed(row: Row) -> HardwareEntry:
    by_ownership = ((each, optional_number(row[f"usd_per_hour_{each.value}"])) for each in Ownership)
    domain = int(row["domain"])
    return HardwareEntry(
        hardware=row["hardware"],
        name=row["name"],
        scale=Scale.RACK if domain > RACK_DOMAIN else Scale.SERVER,
        usd_per_hour=tuple((each, usd) for each, usd in by_ownership if usd is not None),
        kw=optional_number(row["kw"]),
        hbm_gb=optional_number(row["hbm_gb"]),
        domain=domain,
        source=f"{row['source']} ({row['as_of']})",
        note=row["note"],
    )


def _named(row: Row) -> HardwareEntry:
    if row["sold"] not in {"hour", "token"}:
        raise ValueError(f"sold {row['sold']!r}: expected hour or token")
    return HardwareEntry(
        hardware=row["hardware"],
        name=row["name"],
        scale=Scale(row["scale"]),
        is_bought_by_token=row["sold"] == "token",
        source=f"{row['source']} ({row['as_of']})",
        note=row["note"],
    )


def _counted(row: Row) -> WorkerCount:
    prefill_gpus, decode_gpus = int(row["prefill_gpus"]), int(row["decode_gpus"])
    configuration = Configuration(
        hardware=row["hardware"],
        n_gpus=prefill_gpus + decode_gpus,
        engine=row["engine"],
        precision=row["precision"],
        parallelism=row["parallelism"],
        mode=Mode.DISAGGREGATED,
        spec_decoding=row["spec_decoding"],
        prefill_gpus=prefill_gpus,
        decode_gpus=decode_gpus,
    )
    return WorkerCount(row["model"], configuration, row["counted"], int(row["points"]), row["source"])
