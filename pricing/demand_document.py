"""Reads a demand file (``goodput-demand/1``, described in ``pricing/README.md``) and draws buyer types from it.

The shipped one, ``data/demand.json``, holds the documented defaults. A file says what it rests on, and which money its
figures are in: USD per million tokens, or multiples of what others publish for the model, so that one file can serve
models whose prices lie far apart. A document is refused as a whole, with the path of the field and its value.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from pricing.demand import TYPES_MAX, Buyers, DemandError, Floats
from pricing.document_reader import Reader, shown
from pricing.profiles import LengthClass, ProfileError
from pricing.tables import DATA_DIR

FORMAT = "goodput-demand/1"
DEFAULTS = "demand.json"
BYTES_MAX = 1_000_000
SEGMENTS_MAX = 100
FIGURE_MAX = 1e12
SPREAD_MAX = 10.0
TASTE_MAX = 100.0
SEED_MAX = 2**63 - 1
LENGTH_MAX = 10_000_000
SHARES_SUM = 1e-6


class Money(StrEnum):
    """What a file's figures of money are in."""

    USD_PER_MTOK = "usd_per_mtok"
    LIST_PRICE = "list_price"


@dataclass(frozen=True, slots=True)
class Segment:
    """One kind of buyer; figures are medians, spread log-normally where a spread is given.

    Attributes:
        share: of all types.
        value: v at standard's speed, in the file's money.
        value_spread: σ of the log of value.
        speed_taste: γ.
        wait_per_s: β, in the file's money per second.
        miss: μ, in the file's money.
        volume_mtok_per_h: of the whole segment.
        volume_spread: σ of the log of a type's part of it.
    """

    name: str
    share: float
    value: float
    value_spread: float
    speed_taste: float
    wait_per_s: float
    miss: float
    volume_mtok_per_h: float
    volume_spread: float


_MOST = {
    "share": 1.0,
    "value": FIGURE_MAX,
    "value_spread": SPREAD_MAX,
    "speed_taste": TASTE_MAX,
    "wait_per_s": FIGURE_MAX,
    "miss": FIGURE_MAX,
    "volume_mtok_per_h": FIGURE_MAX,
    "volume_spread": SPREAD_MAX,
}
_OPTIONAL = frozenset({"value_spread", "volume_spread"})


@dataclass(frozen=True, slots=True)
class DemandModel:
    """What a demand file says.

    Attributes:
        basis: ``assumed``, ``measured`` …: what stands behind the figures.
        temperature_share: τ as a share of the mean value.
        types: how many buyer types to draw.
        mix: the lengths at which prices are blended; None takes those that are priced.
    """

    segments: tuple[Segment, ...]
    money: Money
    temperature_share: float
    types: int
    seed: int
    basis: str
    source: str
    mix: LengthClass | None = None


def shipped_demand(data_dir: Path = DATA_DIR) -> DemandModel:
    """The documented defaults.

    Raises:
        DemandError: see :func:`demand_from_file`.
    """
    return demand_from_file(data_dir / DEFAULTS)


def demand_from_file(path: Path) -> DemandModel:
    """Reads a demand file.

    Raises:
        DemandError: it cannot be read, or says what cannot be; the message names the file and the field.
    """
    try:
        with path.open("rb") as file:
            return demand_from_json(file.read(BYTES_MAX + 1))
    except OSError as error:
        raise DemandError(f"{path}: {error.strerror}") from error
    except DemandError as error:
        raise DemandError(f"{path}: {error}") from error


def demand_from_json(text: str | bytes) -> DemandModel:
    """Reads a demand document.

    Raises:
        DemandError: not JSON, too large, or a field that cannot be.
    """
    if len(text) > BYTES_MAX:
        raise DemandError(f"the document is longer than {BYTES_MAX:,} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DemandError(f"the document is not JSON: {error}") from error
    try:
        return _model(Reader(document))
    except ProfileError as error:
        raise DemandError(str(error)) from error


def _model(reader: Reader) -> DemandModel:
    if (found := reader.take("format")) != FORMAT:
        raise DemandError(f"format: expected {FORMAT!r}, got {shown(found)}")
    mix = reader.section_or_none("mix")
    reader.text("note", default="")
    model = DemandModel(
        segments=tuple(_segment(each) for each in reader.sections("segments", SEGMENTS_MAX)),
        money=Money(reader.choice("money", [each.value for each in Money])),
        temperature_share=reader.amount("temperature_share", FIGURE_MAX),
        types=reader.whole("types", TYPES_MAX),
        seed=reader.whole("seed", SEED_MAX),
        basis=reader.text("basis"),
        source=reader.text("source"),
        mix=None if mix is None else _mix(mix),
    )
    reader.finish()
    total = math.fsum(each.share for each in model.segments)
    if abs(total - 1) > SHARES_SUM:
        raise DemandError(f"segments: their shares must sum to 1, got {total:g}")
    return model


def _mix(reader: Reader) -> LengthClass:
    lengths = LengthClass(reader.whole("isl", LENGTH_MAX), reader.whole("osl", LENGTH_MAX))
    reader.finish()
    return lengths


def _segment(reader: Reader) -> Segment:
    name, figures = reader.text("name"), dict[str, float]()
    for field, most in _MOST.items():
        if field in _OPTIONAL:
            figures[field] = reader.amount_or_none(field, most) or 0.0
        else:
            figures[field] = reader.amount(field, most)
    reader.finish()
    return Segment(name=name, **figures)


def drawn_buyers(model: DemandModel, unit_usd: float = 1.0, types: int | None = None) -> Buyers:
    """Draws buyer types, each segment with its share of them, at least one each unless its share is 0; seeded.

    Args:
        model: what a demand file says.
        unit_usd: what one of the file's money is, USD per million tokens; 1 where that is the file's money.
        types: how many to draw; None takes the file's.
    """
    if not (math.isfinite(unit_usd) and unit_usd > 0):
        raise DemandError(f"a unit of money must be above 0 USD per million tokens, got {unit_usd}")
    generator = np.random.default_rng(model.seed)
    wanted = model.types if types is None else types
    counts = [max(round(each.share * wanted), 1) if each.share > 0 else 0 for each in model.segments]
    parts = [_drawn(each, count, generator) for each, count in zip(model.segments, counts, strict=True)]
    value, taste, wait, miss, volume = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Buyers(value * unit_usd, taste, wait * unit_usd, miss * unit_usd, volume)


def _drawn(segment: Segment, count: int, generator: np.random.Generator) -> Sequence[Floats]:
    value = segment.value * np.exp(segment.value_spread * generator.standard_normal(count))
    weight = np.exp(segment.volume_spread * generator.standard_normal(count))
    volume = segment.volume_mtok_per_h * weight / max(float(weight.sum()), 1e-300)
    even = [np.full(count, figure) for figure in (segment.speed_taste, segment.wait_per_s, segment.miss)]
    return (value, *even, volume)


def temperature(model: DemandModel, buyers: Buyers) -> float:
    """τ in USD per million tokens: a share of the mean value."""
    return model.temperature_share * float(buyers.value.mean())
