"""An operator's own hardware costs as a JSON document: ``goodput-hardware-cost/1``, described in ``pricing/README.md``.

Each kind of hardware is stated in one of two ways: an hour at a price, or what it is built up from. A build-up is
stated per *unit* as it is bought (a card, a server of eight, a rack of 72); ``accelerators`` says how many share it,
and every amount is divided among them. A document is refused as a whole, with the path of the field, its value and what
to do.
"""

import json
from dataclasses import fields
from typing import Any

from pricing.document_reader import Reader, shown
from pricing.hardware import Buildup, HardwareCost, HardwareError, built_up
from pricing.profiles import ProfileError

FORMAT = "goodput-hardware-cost/1"
BYTES_MAX = 1_000_000
ENTRIES_MAX = 1_000
ACCELERATORS_MAX = 10_000
USD_MAX = 1e9
KW_MAX = 1e6
SHARED = ("capex_usd", "it_kw", "staff_usd_per_hour")
"""Amounts of a whole unit; the other fields are rates and hold as they are."""
PER_UNIT_OR_RATE = tuple(field.name for field in fields(Buildup))


def hardware_costs_from_json(text: str | bytes) -> tuple[HardwareCost, ...]:
    """Reads an operator's costs, one per kind of hardware, each of one accelerator-hour.

    Raises:
        HardwareError: not JSON, too large, or a field that cannot be, with its path and value.
    """
    if len(text) > BYTES_MAX:
        raise HardwareError(f"the document is {len(text):,} long, at most {BYTES_MAX:,}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HardwareError(f"the document is not JSON: {error}") from error
    try:
        return _costs(Reader(document))
    except ProfileError as error:
        raise HardwareError(str(error)) from error


def _costs(reader: Reader) -> tuple[HardwareCost, ...]:
    if (found := reader.take("format")) != FORMAT:
        raise HardwareError(f"format: expected {FORMAT!r}, got {shown(found)}")
    costs = tuple(_cost(each) for each in reader.sections("hardware", ENTRIES_MAX))
    reader.finish()
    names = [cost.hardware for cost in costs]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise HardwareError(f"{', '.join(doubled)}: stated twice; keep one")
    return costs


def _cost(reader: Reader) -> HardwareCost:
    hardware, source = reader.text("hardware").lower(), reader.text("source", default="operator")
    note = reader.text("note", default="")
    hbm_gb = reader.positive_or_none("hbm_gb", KW_MAX)
    parts = reader.section_or_none("build_up")
    usd_per_hour, kw = reader.positive_or_none("usd_per_hour", USD_MAX), reader.positive_or_none("kw", KW_MAX)
    accelerators = reader.whole_or_none("accelerators", ACCELERATORS_MAX) or 1
    reader.finish()
    if (parts is None) == (usd_per_hour is None):
        raise HardwareError(f"{hardware}: state usd_per_hour or build_up, one of them")
    if parts is None and usd_per_hour is not None:
        each_kw = None if kw is None else kw / accelerators
        return HardwareCost(hardware, usd_per_hour / accelerators, each_kw, hbm_gb, source, note)
    if parts is None or kw is not None:
        raise HardwareError(f"{hardware}: a build-up states its power as build_up.it_kw, not as kw")
    return built_up(hardware, _buildup(parts, accelerators), hbm_gb, source)


def _buildup(reader: Reader, accelerators: int) -> Buildup:
    """What one accelerator's hour is built up from: the unit's amounts, divided."""
    needed = {"capex_usd": USD_MAX, "life_years": USD_MAX, "it_kw": KW_MAX, "usd_per_kwh": USD_MAX}
    values = {name: reader.amount(name, most) for name, most in needed.items()}
    for name in PER_UNIT_OR_RATE:
        if name not in needed and (given := reader.amount_or_none(name, USD_MAX)) is not None:
            values[name] = given
    reader.finish()
    for name in SHARED:
        if name in values:
            values[name] /= accelerators
    return Buildup(**values)


def hardware_cost_document(cost: HardwareCost) -> dict[str, Any]:
    """A cost for machines, with the parts of its stack and their shares."""
    return {
        "hardware": cost.hardware,
        "usd_per_hour": cost.usd_per_hour,
        "kw": cost.kw,
        "hbm_gb": cost.hbm_gb,
        "source": cost.source,
        "note": cost.note,
        "parts": [{"part": name, "usd_per_hour": usd, "share": usd / cost.usd_per_hour} for name, usd in cost.parts],
    }
