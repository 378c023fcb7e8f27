"""The local engine's profile: measured on its first start on this machine, then kept until somebody removes it."""

import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app.cli.data_dir import write_private
from app.cli.failure import Failure
from app.cli.terminal import note
from app.clock import now
from app.logs import get_logger
from pricing.deployments import deployment
from pricing.profile_document import profile_document, profile_from_json
from pricing.profiles import Configuration, Deployment, EngineLimits, LengthClass, Profile, ProfileError
from providers.errors import ProviderError
from providers.local_engine import ENGINE, MODEL_NAME, PRECISION, SLOT_TOKENS, SLOTS
from providers.measure import Progress, SweepPlan, sweep
from providers.measure_figures import NothingMeasured
from providers.measure_profile import Subject, profile_of
from providers.registry import build
from providers.spec import ProviderKind, ProviderSpec

PROVIDER_ID: Final = "local"
HARDWARE: Final = "local"
ISL: Final = 64
OSL: Final = 32
LOADS: Final = (1, 2, 4, 8)

log = get_logger("app.cli")


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """The engine on this machine and what was measured of it."""

    base_url: str
    profile: Profile

    @property
    def deployment(self) -> Deployment:
        """Its load curve."""
        return deployment(self.profile, LengthClass(ISL, OSL))


async def measured_once(base_url: str, folder: Path, seconds_max: float) -> LocalEngine:
    """The engine's profile, from the file of an earlier measurement or else measured now.

    Raises:
        Failure: it cannot be measured, or the file is no profile.
    """
    file = folder / f"{MODEL_NAME}.json"
    known = _read(file)
    if known is not None:
        return LocalEngine(base_url, known)
    note(f"Measuring the local engine once, for at most {seconds_max:g} s; its prices follow from it.")
    engine = LocalEngine(base_url, await _measure(base_url, seconds_max))
    write_private(file, json.dumps(profile_document(engine.profile), indent=1))
    return engine


def _read(file: Path) -> Profile | None:
    if not file.exists():
        return None
    try:
        return profile_from_json(file.read_text())
    except (OSError, ProfileError) as error:
        raise Failure(f"{file}: {error}. Remove it to measure the local engine anew.") from error


async def _measure(base_url: str, seconds_max: float) -> Profile:
    provider = build(ProviderSpec(PROVIDER_ID, ProviderKind.LOCAL_ENGINE, base_url, MODEL_NAME))
    plan = SweepPlan(concurrencies=LOADS, isl=ISL, osl=OSL, seconds_max=seconds_max)
    try:
        measured = await sweep(provider, plan, _tell)
    except (ProviderError, NothingMeasured) as error:
        raise Failure(f"the local engine cannot be measured: {error}. --engine none leaves it out.") from error
    finally:
        _end_line()
        await provider.close()
    log.info("engine.measured", took_s=round(measured.seconds, 3), loads=len(measured.loads), notes=measured.notes)
    subject = Subject(
        model=MODEL_NAME,
        configuration=Configuration(HARDWARE, 1, ENGINE, PRECISION),
        source="goodput up, on this machine",
        measured_on=now().date(),
        engine_version=version("xllamacpp"),
        limits=EngineLimits(concurrency_max=SLOTS, context_max=SLOT_TOKENS),
    )
    return profile_of(measured, subject)


def _tell(progress: Progress) -> None:
    """A line that is written over on a terminal; nothing where nobody watches."""
    if sys.stderr.isatty():
        share = min(progress.seconds / progress.seconds_max, 1.0)
        sys.stderr.write(f"\r  {progress.concurrency:>2} at once: {progress.requests:>3} answers, {share:4.0%} ")
        sys.stderr.flush()


def _end_line() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
