"""What the price commands work on: shipped profiles and an operator's own, hardware costs, and named assumptions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from app.cli.failure import Failure
from app.cli.terminal import note
from app.settings import Settings
from pricing.assumptions import Assumptions, margins
from pricing.candidates import Selection
from pricing.hardware import HardwareCost, HardwareError, by_hardware, hardware_costs, local_machine
from pricing.hardware_document import BYTES_MAX as COSTS_BYTES_MAX
from pricing.hardware_document import hardware_costs_from_json
from pricing.profile_document import BYTES_MAX, profile_from_json
from pricing.profiles import LengthClass, Profile, ProfileError
from pricing.quality import Floor
from pricing.shipped import parameters_billion, shipped_profiles
from pricing.slo import Tier
from pricing.tables import TableError


def known_profiles(files: list[Path]) -> tuple[Profile, ...]:
    """The shipped profiles and those in ``files``, which come last and so replace older runs of the same load.

    Raises:
        Failure: a table or document that cannot be read; nothing is half read.
    """
    try:
        return (*shipped_profiles(), *(_read(path) for path in files))
    except TableError as error:
        raise Failure(str(error)) from error


def _read(path: Path) -> Profile:
    try:
        with path.open("rb") as file:
            return profile_from_json(file.read(BYTES_MAX + 1))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except ProfileError as error:
        raise Failure(f"{path}: {error}") from error


def known_costs(settings: Settings, overrides: list[str], files: Sequence[Path] = ()) -> dict[str, HardwareCost]:
    """Hardware costs for the ownership in force, this machine's, and an operator's own.

    Args:
        settings: name the ownership.
        overrides: ``HARDWARE=USD_PER_HOUR``; they come last.
        files: documents of an operator's costs (``goodput-hardware-cost/1``).

    Raises:
        Failure: a file or an override that is no such thing, or a figure that cannot be.
    """
    try:
        local = local_machine(
            settings.local_power_w,
            settings.local_electricity_usd_kwh,
            settings.local_purchase_usd,
            settings.local_life_years,
        )
        own = by_hardware(cost for path in files for cost in read_costs(path))
        costs = {**hardware_costs(settings.ownership), local.hardware: local, **own}
        return {**costs, **by_hardware(_override(text, costs) for text in overrides)}
    except (HardwareError, TableError) as error:
        raise Failure(str(error)) from error


def read_costs(path: Path) -> tuple[HardwareCost, ...]:
    """An operator's own costs from a document.

    Raises:
        Failure: it cannot be read, or says what cannot be.
    """
    try:
        with path.open("rb") as file:
            return hardware_costs_from_json(file.read(COSTS_BYTES_MAX + 1))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except HardwareError as error:
        raise Failure(f"{path}: {error}") from error


def _override(text: str, costs: dict[str, HardwareCost]) -> HardwareCost:
    hardware, _, usd = text.partition("=")
    try:
        usd_per_hour = float(usd)
    except ValueError as error:
        raise Failure(f"{text!r}: expected HARDWARE=USD_PER_HOUR, such as b200=2.10") from error
    known = costs.get(hardware)
    if known is None:
        note(f"goodput: {hardware} is no hardware with a cost so far; its own profiles alone are costed at {usd} USD/h")
        return HardwareCost(hardware, usd_per_hour)
    return replace(known, usd_per_hour=usd_per_hour, source="operator", parts=())


def selection(hardware: list[str], engine: list[str], precision: list[str]) -> Selection:
    """A selection from repeated options; none given means all."""
    return Selection(
        hardware=frozenset(hardware) or None,
        engine=frozenset(engine) or None,
        precision=frozenset(precision) or None,
    )


def assumptions(
    settings: Settings, lengths: LengthClass | None, chosen: Selection, floors: Mapping[Tier, Floor] | None = None
) -> Assumptions:
    """The settings' utilisation, margin and window, as a derivation's assumptions, with each tier's quality floor."""
    base = Assumptions(
        lengths=lengths,
        selection=chosen,
        utilisation=settings.utilisation,
        margins=margins(settings.margin),
        parameters_billion=parameters_billion(),
    )
    return replace(base, rules=replace(base.rules, flex_window_s=settings.flex_window_s, floors=floors or {}))


def length_class(isl: int | None, osl: int | None) -> LengthClass | None:
    """A class from two options; both or neither.

    Raises:
        Failure: only one of them.
    """
    if (isl is None) != (osl is None):
        raise Failure("give both --isl and --osl, or neither")
    return None if isl is None or osl is None else LengthClass(isl, osl)
