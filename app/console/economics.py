"""Reads what frontiers are drawn from: the shipped profiles, those measured here, and what hardware costs."""

from pathlib import Path

from app.admin.desk import Economics
from app.settings import Settings
from pricing.hardware import by_hardware, hardware_costs, local_machine
from pricing.profile_document import BYTES_MAX, profile_from_json
from pricing.profiles import Profile, cleaned
from pricing.shipped import parameters_billion, shipped_profiles, source_titles

PROFILES_DIR = "profiles"
DOCUMENTS_MAX = 200


def shipped_economics(settings: Settings) -> Economics:
    """The shipped tables, with this machine's own cost and what was measured on it."""
    local = local_machine(
        settings.local_power_w,
        settings.local_electricity_usd_kwh,
        settings.local_purchase_usd,
        settings.local_life_years,
    )
    costs = by_hardware([*hardware_costs(settings.ownership).values(), local])
    profiles = cleaned([*shipped_profiles(), *measured_here(settings.data_dir / PROFILES_DIR)])
    return Economics(profiles, costs, parameters_billion(), source_titles())


def measured_here(folder: Path) -> list[Profile]:
    """Profile documents of this market's own measurements; none where nothing was measured yet."""
    documents = sorted(folder.glob("*.json"))[:DOCUMENTS_MAX]
    profiles: list[Profile] = []
    for document in documents:
        with document.open("rb") as file:
            profiles.append(profile_from_json(file.read(BYTES_MAX + 1)))
    return profiles
