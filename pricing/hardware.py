"""What an hour of one accelerator costs, and what power it draws, however that is known.

Two routes end in the same :class:`HardwareCost`: a direct $/hour by ownership (the shipped table, or an operator's own
figure), or one built up from capital, energy, colocation, staff and spares.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pricing.tables import DATA_DIR, Row, optional_number, parse_table

HOURS_PER_YEAR = 8_760
MONTHS_PER_YEAR = 12
KW_MAX = 250.0
"""All-in power of one accelerator (or wafer, or rack sold as one); beyond it somebody wrote watts."""
PLAUSIBLE: dict[str, tuple[float, str]] = {
    "capex_usd": (1e8, "is that of a whole cluster? state accelerators"),
    "life_years": (30, "is it in months?"),
    "it_kw": (KW_MAX, "is it in watts, or of a whole rack?"),
    "usd_per_kwh": (5, "is it in USD/MWh or in cents?"),
    "cost_of_capital": (1, "write 8 % as 0.08"),
    "pue": (4, "all-in power over that of the machines: 1.1 to 2 are usual"),
    "colocation_usd_per_kw_month": (5_000, "is it per year, or per rack?"),
    "staff_usd_per_hour": (10_000, "is it per year?"),
    "spares_share": (1, "write 2 % as 0.02"),
    "residual_share": (1, "write 10 % as 0.10"),
}
"""The most that each part of a build-up can be, and what is likely meant beyond it: units are easily mixed."""
TOKENS_PER_MTOK_HOUR = 0.0036
"""Seconds per hour over tokens per million: $/M = c / (T · 0.0036) for c in $/hour and T in tokens/s."""


class HardwareError(ValueError):
    """A cost or power that cannot be: zero, negative, or missing where it is needed."""


class Ownership(StrEnum):
    """Whose balance sheet the hardware is on."""

    HYPERSCALER = "hyperscaler"
    NEOCLOUD = "neocloud"
    RENTAL = "rental"


@dataclass(frozen=True, slots=True)
class HardwareCost:
    """One accelerator (or machine) for one hour.

    Attributes:
        usd_per_hour: all in: capital, energy, space, people.
        kw: all-in power, cooling included; None where it is not known (then nothing is said per MW).
        hbm_gb: memory of one accelerator; None skips the check that a model fits.
        parts: what ``usd_per_hour`` is made of, in USD per hour; empty when given directly.
    """

    hardware: str
    usd_per_hour: float
    kw: float | None = None
    hbm_gb: float | None = None
    source: str = "operator"
    note: str = ""
    parts: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("usd_per_hour", self.usd_per_hour), ("kw", self.kw), ("hbm_gb", self.hbm_gb)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise HardwareError(f"{self.hardware}: {name} must be above 0, got {value}; leave unknown power out")
        if self.kw is not None and self.kw > KW_MAX:
            raise HardwareError(f"{self.hardware}: kw of {self.kw:g} is more than {KW_MAX:g}; is it in watts?")


@dataclass(frozen=True, slots=True)
class Buildup:
    """What an hour is built up from, per accelerator.

    Attributes:
        capex_usd: purchase, network and housing included.
        life_years: over which it is written off to ``residual_share`` of its price.
        cost_of_capital: per year, 0.08 for 8 %.
        it_kw: power at the plug of the machine; times ``pue`` it is the all-in power.
        usd_per_kwh: electricity.
        colocation_usd_per_kw_month: space and cooling contracts, per IT kW.
        staff_usd_per_hour: people and software, per accelerator-hour.
        spares_share: of the purchase price, per year.
    """

    capex_usd: float
    life_years: float
    it_kw: float
    usd_per_kwh: float
    cost_of_capital: float = 0.0
    pue: float = 1.0
    colocation_usd_per_kw_month: float = 0.0
    staff_usd_per_hour: float = 0.0
    spares_share: float = 0.0
    residual_share: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value: float = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise HardwareError(f"{name} must not be negative, got {value}")
            if value > (most := PLAUSIBLE[name][0]):
                raise HardwareError(f"{name} of {value:g} is more than {most:g} an accelerator; {PLAUSIBLE[name][1]}")
        if not (self.life_years > 0 and self.it_kw > 0 and self.pue >= 1 and self.residual_share < 1):
            raise HardwareError(
                f"a build-up needs life_years > 0, it_kw > 0, pue >= 1 and residual_share < 1, got "
                f"{self.life_years}, {self.it_kw}, {self.pue} and {self.residual_share}"
            )


def built_up(hardware: str, buildup: Buildup, hbm_gb: float | None = None, source: str = "operator") -> HardwareCost:
    """Builds the cost of an hour from what it is made of.

    Capital is an annuity: the purchase price less the discounted residual, paid back in equal amounts over the life at
    the cost of capital, ``A = (K − R/(1+r)^n) · r / (1 − (1+r)^−n)``, which is ``(K − R)/n`` at r = 0.

    >>> cost = built_up("box", Buildup(capex_usd=8_760, life_years=4, it_kw=0.1, usd_per_kwh=0.2, pue=1.5))
    >>> round(cost.usd_per_hour, 6), cost.kw and round(cost.kw, 6)
    (0.28, 0.15)
    """
    kw = buildup.it_kw * buildup.pue
    parts = (
        ("capital", _annuity_usd(buildup) / HOURS_PER_YEAR),
        ("energy", kw * buildup.usd_per_kwh),
        ("colocation", buildup.it_kw * buildup.colocation_usd_per_kw_month * MONTHS_PER_YEAR / HOURS_PER_YEAR),
        ("staff", buildup.staff_usd_per_hour),
        ("spares", buildup.capex_usd * buildup.spares_share / HOURS_PER_YEAR),
    )
    usd_per_hour = sum(usd for _, usd in parts)
    if usd_per_hour <= 0:
        raise HardwareError(f"{hardware}: an hour costs nothing; state a purchase price, an electricity price or both")
    return HardwareCost(hardware, usd_per_hour, kw, hbm_gb, source, parts=parts)


def _annuity_usd(buildup: Buildup) -> float:
    residual_usd = buildup.capex_usd * buildup.residual_share
    rate, years = buildup.cost_of_capital, buildup.life_years
    if rate == 0:
        return (buildup.capex_usd - residual_usd) / years
    log_discount = -years * math.log1p(rate)  # keeps its digits at a rate of next to nothing
    return (buildup.capex_usd - residual_usd * math.exp(log_discount)) * rate / -math.expm1(log_discount)


def local_machine(
    power_w: float, usd_per_kwh: float, purchase_usd: float, life_years: float, hardware: str = "local"
) -> HardwareCost:
    """The cost of an hour of the machine that the market itself runs on."""
    buildup = Buildup(purchase_usd, life_years, power_w / 1_000, usd_per_kwh)
    return built_up(hardware, buildup, source="stated power, electricity and purchase price of this machine")


def hardware_costs(ownership: Ownership | str, data_dir: Path = DATA_DIR) -> dict[str, HardwareCost]:
    """The shipped costs by hardware, for one kind of ownership; hardware without a figure for it is left out.

    Raises:
        ValueError: unknown ownership.
        TableError: the table cannot be read.
    """
    column = f"usd_per_hour_{Ownership(ownership).value}"

    def cost(row: Row) -> HardwareCost | None:
        usd_per_hour = optional_number(row[column])
        if usd_per_hour is None:
            return None
        return HardwareCost(
            hardware=row["hardware"],
            usd_per_hour=usd_per_hour,
            kw=optional_number(row["kw"]),
            hbm_gb=optional_number(row["hbm_gb"]),
            source=f"{row['source']} ({row['as_of']})",
            note=row["note"],
        )

    return by_hardware(found for found in parse_table("hardware.csv", cost, data_dir) if found is not None)


def by_hardware(costs: Iterable[HardwareCost]) -> dict[str, HardwareCost]:
    """Keys costs by hardware; a later one replaces an earlier one, as an operator's own figure does."""
    return {cost.hardware: cost for cost in costs}


def usd_per_mtok(usd_per_hour: float, tok_s: float) -> float:
    """Dollars per million tokens of something that costs ``usd_per_hour`` and makes ``tok_s``: $/M = c / (T · 0.0036).

    **Source:** units alone. 1,998.6 tok/s at $1.28 an hour:

    >>> round(usd_per_mtok(1.28, 1_998.6), 3)
    0.178
    """
    return usd_per_hour / (tok_s * TOKENS_PER_MTOK_HOUR)


def tok_s_per_mw(tok_s: float, kw: float) -> float:
    """Tokens per second of a megawatt of such accelerators: T · 1000 / kW.

    >>> round(tok_s_per_mw(25_319.6, 2.17) / 1e6, 3)
    11.668
    """
    return tok_s * 1_000 / kw


def joules_per_token(tok_s: float, kw: float) -> float:
    """Energy per token: kW · 1000 / T.

    >>> joules_per_token(1_000, 2.0)
    2.0
    """
    return kw * 1_000 / tok_s
