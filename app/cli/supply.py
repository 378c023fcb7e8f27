"""Everything that makes tokens in the demo market, and what follows from it: prices to derive, offers to register."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.catalog.derivation import PricedModel
from app.cli import demo
from app.cli.local_profile import PROVIDER_ID, LocalEngine
from app.cli.pricing_inputs import assumptions
from app.fleet.roster import DeploymentSpec
from app.fleet.speeds import speed_curve
from app.settings import Settings
from pricing.assumptions import Adder, Assumptions
from pricing.candidates import Selection
from pricing.derive import derive
from pricing.hardware import HardwareCost
from pricing.profiles import Deployment, Profile
from pricing.quality import stated
from pricing.slo import Tier
from pricing.usage import Rates
from providers.local_engine import SLOT_TOKENS
from providers.spec import ProviderKind
from scheduler.jobs import Capability

Costs = Mapping[str, HardwareCost]


@dataclass(frozen=True, slots=True)
class Supply:
    """Who makes tokens.

    Attributes:
        profiles: shipped ones.
        offers: emulated ones with the load curves they follow, by offer id.
        addresses: base URL by offer id.
        engine: the local engine, measured; None where it is not wanted.
    """

    profiles: tuple[Profile, ...]
    offers: demo.Curves
    addresses: Mapping[str, str]
    engine: LocalEngine | None

    def models(self) -> list[demo.DemoModel]:
        """The models that somebody makes tokens of."""
        made = {offer.model for offer, _ in self.offers.values()}
        emulated = [model for model in demo.MODELS if model.name in made]
        return [*emulated, *([demo.LOCAL_MODEL] if self.engine else [])]


@dataclass(frozen=True, slots=True)
class Registration:
    """One deployment to register, and what its provider is called."""

    provider_name: str
    spec: DeploymentSpec


def priced_models(settings: Settings, supply: Supply, costs: Costs) -> list[PricedModel]:
    """What each model's prices follow from: the measurements of the deployments that the fleet really has of it."""
    priced = [
        PricedModel(model.profiled_as, model.name, supply.profiles, costs, _assumptions(settings, supply, model.name))
        for model in supply.models()
        if model is not demo.LOCAL_MODEL
    ]
    if supply.engine is not None:
        own = assumptions(settings, None, Selection())
        priced.append(PricedModel(supply.engine.profile.model, demo.LOCAL, (supply.engine.profile,), costs, own))
    return priced


def registrations(settings: Settings, supply: Supply, costs: Costs) -> list[Registration]:
    """Every deployment of the demo market, as the fleet keeps it."""
    emulated = [_emulated(settings, supply, costs, offer_id) for offer_id in sorted(supply.offers)]
    return emulated if supply.engine is None else [*emulated, _local(settings, supply.engine, costs)]


def _assumptions(settings: Settings, supply: Supply, model: str) -> Assumptions:
    ours = [(offer, deployment) for offer, deployment in supply.offers.values() if offer.model == model]
    runs = frozenset(deployment.deployment_id for _, deployment in ours if deployment.price is None)
    base = assumptions(settings, None, Selection(deployment_id=runs))
    slowdown = max(offer.slowdown for offer, _ in ours)
    return base if slowdown == 1 else replace(base, adder=Adder(slowdown=slowdown))


def _emulated(settings: Settings, supply: Supply, costs: Costs, offer_id: str) -> Registration:
    offer, deployment = supply.offers[offer_id]
    spec = DeploymentSpec(
        provider_id=offer.provider_id,
        deployment_id=offer.deployment_id,
        kind=offer.kind,
        model=offer.model,
        base_url=supply.addresses[offer_id],
        backend_model=offer.backend_model,
        base_model=demo.GPT_OSS if offer.kind is ProviderKind.TUNED else "",
        speed=speed_curve(deployment),
        concurrency_max=deployment.concurrency_max,
        context_max=demo.CONTEXT_MAX,
        cost=_cost(settings, supply.profiles, deployment, costs, offer.slowdown),
        is_owned=offer.is_owned,
        tiers=offer.tiers,
        is_emulated=True,
        label=offer.label,
        precision=stated(deployment.configuration.precision),
    )
    return Registration(offer.provider_name, spec)


def _local(settings: Settings, engine: LocalEngine, costs: Costs) -> Registration:
    deployment = engine.deployment
    spec = DeploymentSpec(
        provider_id=PROVIDER_ID,
        deployment_id=deployment.deployment_id,
        kind=ProviderKind.LOCAL_ENGINE,
        model=demo.LOCAL,
        base_url=engine.base_url,
        backend_model=engine.profile.model,
        speed=speed_curve(deployment),
        concurrency_max=deployment.concurrency_max,
        context_max=SLOT_TOKENS,
        cost=_cost(settings, (engine.profile,), deployment, costs),
        capabilities=frozenset({Capability.STREAMING, Capability.CONTINUATION}),
        label="llama.cpp on this machine, measured at its first start",
        precision=stated(deployment.configuration.precision),
    )
    return Registration("This machine", spec)


def _cost(
    settings: Settings, profiles: tuple[Profile, ...], deployment: Deployment, costs: Costs, slowdown: float = 1.0
) -> Rates:
    """What a token costs us there: at its declared price, else at the deployment's own standard operating point."""
    if deployment.price is not None:
        return deployment.price
    only = Selection(deployment_id=frozenset({deployment.deployment_id}))
    given = replace(assumptions(settings, None, only), adder=Adder(slowdown=slowdown))
    tiers = derive(deployment.model, profiles, costs, given).tiers
    return (tiers.get(Tier.STANDARD) or next(iter(tiers.values()))).cost
