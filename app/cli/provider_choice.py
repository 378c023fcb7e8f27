"""Which measured deployment a new one follows: a shipped profile by its id, a document, or a measurement of now."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.failure import Failure

if TYPE_CHECKING:
    from app.settings import Settings
    from pricing.profiles import Deployment, LengthClass, Profile
    from pricing.usage import Rates

NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """What a deployment follows.

    Attributes:
        profiled_as: the profiles' own name of the model; empty where the id says enough.
        isl, osl: the length class; 0 takes the one with the most loads measured.
    """

    profile: str
    profiled_as: str = ""
    isl: int = 0
    osl: int = 0


def followed(choice: Choice, profiles: "tuple[Profile, ...]") -> "Deployment":
    """The load curve of the deployment chosen.

    Raises:
        Failure: no profile has that id, several models do, or the length class was not measured.
    """
    from pricing.deployments import deployment
    from pricing.profiles import LengthClass, ProfileError, cleaned

    found = [
        each
        for each in cleaned(profiles)
        if choice.profile in {each.configuration.deployment_id, each.id} and choice.profiled_as in {"", each.model}
    ]
    if not found:
        known = sorted({each.configuration.deployment_id for each in profiles})
        near = [name for name in known if choice.profile.partition("-")[0] in name] or known
        raise Failure(
            f"no profile {choice.profile!r} of {choice.profiled_as or 'any model'}; there are "
            f"{', '.join(near[:NAMES_SHOWN])} … (see goodput profiles list)."
        )
    if len({each.model for each in found}) > 1:
        models = ", ".join(sorted({each.model for each in found}))
        raise Failure(f"{choice.profile} was measured for {models}: say which with --profiled-as.")
    profile = found[-1]
    lengths = LengthClass(choice.isl, choice.osl) if choice.isl else _best_measured(profile)
    try:
        return deployment(profile, lengths)
    except ProfileError as error:
        raise Failure(str(error)) from error


def _best_measured(profile: "Profile") -> "LengthClass":
    return max(profile.classes, key=lambda each: sum(point.lengths == each for point in profile.points))


def profiles_with(file: Path | None) -> "tuple[Profile, ...]":
    """The shipped profiles, or those of one document alone."""
    from app.cli.pricing_inputs import known_profiles
    from pricing.shipped import shipped_profiles

    if file is None:
        return shipped_profiles()
    return known_profiles([file])[-1:]


def rated_cost(settings: "Settings", profiles: "tuple[Profile, ...]", chosen: "Deployment") -> "Rates":
    """What a token costs there: its seller's declared price, else what its hardware costs at its own best load.

    Raises:
        Failure: its hardware has no known cost.
    """
    from app.cli.pricing_inputs import assumptions, known_costs
    from pricing.candidates import Selection
    from pricing.derive import derive
    from pricing.slo import Tier

    if chosen.price is not None:
        return chosen.price
    only = Selection(deployment_id=frozenset({chosen.deployment_id}))
    try:
        tiers = derive(
            chosen.model, profiles, known_costs(settings, []), assumptions(settings, chosen.lengths, only)
        ).tiers
    except ValueError as error:
        raise Failure(
            f"{chosen.deployment_id} cannot be rated: {error} Say what its tokens cost with --input and --output."
        ) from error
    return (tiers.get(Tier.STANDARD) or next(iter(tiers.values()))).cost
