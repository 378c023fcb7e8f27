"""What a start of the demo market tells planning: which models are priced from what, and the settings as inputs."""

from collections.abc import Mapping
from typing import Any

from app.cli import demo
from app.cli.supply import Supply
from app.cli.terminal import note
from app.planning.inputs import MARKET
from app.planning.priced import PricedModelSpec, Serving
from app.planning.service import Opened, Seeding
from app.settings import Settings
from pricing.assumptions import Adder
from pricing.hardware import local_machine
from pricing.profile_document import profile_document

W_PER_KW = 1_000


def seeding(settings: Settings, supply: Supply) -> Seeding:
    """Every model that somebody makes tokens of, and the inputs that the settings state."""
    specs = [_spec(supply, model) for model in supply.models() if model is not demo.LOCAL_MODEL]
    defaults = _defaults(settings)
    if supply.engine is not None:
        profile = supply.engine.profile
        runs = frozenset({profile.configuration.deployment_id})
        specs.append(PricedModelSpec(demo.LOCAL, profile.model, runs))
        defaults[f"profile:{profile.id}", "document"] = profile_document(profile)
    return Seeding(specs, defaults)


def tell(opened: Opened) -> None:
    """Says what a start left to a person."""
    for model, why in sorted(opened.troubles.items()):
        note(f"{model} cannot be priced and keeps what it had: {why}")
    if opened.draft_id is not None:
        note(
            f"The prices in force stay: {opened.why_draft}. What is derived now waits as draft {opened.draft_id}; "
            "see it in the console, or with: goodput prices draft list"
        )


def _spec(supply: Supply, model: demo.DemoModel) -> PricedModelSpec:
    """Priced from the measurements of the deployments that the fleet really has of it."""
    ours = [(offer, deployment) for offer, deployment in supply.offers.values() if offer.model == model.name]
    slowdown = max(offer.slowdown for offer, _ in ours)
    return PricedModelSpec(
        public_name=model.name,
        profiled_as=model.profiled_as,
        deployment_ids=frozenset(each.deployment_id for _, each in ours if each.price is None),
        serving=Serving.NONE if slowdown == 1 else Serving.SHARED,
        adder=Adder(slowdown=slowdown),
    )


def _defaults(settings: Settings) -> dict[tuple[str, str], Any]:
    own: Mapping[str, float] = {
        "capex_usd": settings.local_purchase_usd,
        "life_years": settings.local_life_years,
        "it_kw": settings.local_power_w / W_PER_KW,
        "usd_per_kwh": settings.local_electricity_usd_kwh,
    }
    hardware = local_machine(
        settings.local_power_w,
        settings.local_electricity_usd_kwh,
        settings.local_purchase_usd,
        settings.local_life_years,
    ).hardware
    return {
        (MARKET, "ownership"): settings.ownership,
        (MARKET, "utilisation"): settings.utilisation,
        (MARKET, "margin"): settings.margin,
        (MARKET, "flex_window_s"): settings.flex_window_s,
        (f"hardware:{hardware}", "buildup"): dict(own),
    }
