"""``goodput providers add``: register a provider's deployment, measured now or following a profile."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.failure import Failure
from app.cli.option_set import takes

if TYPE_CHECKING:
    from app.cli.supply_rooms import Counter
    from app.fleet.roster import DeploymentSpec
    from pricing.profiles import Deployment, Profile
    from pricing.usage import Rates


@dataclass(frozen=True, slots=True)
class AddOptions:
    """What ``goodput providers add`` is told."""

    provider: Annotated[str, typer.Argument(help="The provider's id, a slug such as acme.")]
    url: Annotated[str, typer.Option(help="Up to and without /chat/completions: http://host:port/v1")]
    model: Annotated[str, typer.Option(help="Public name of the model that it serves.")]
    profile: Annotated[str, typer.Option(help="Id of the measured deployment that it follows.")] = ""
    profile_file: Annotated[Path | None, typer.Option(help="Document of a measurement, in place of --profile.")] = None
    measure: Annotated[bool, typer.Option("--measure", help="Measure it now, in place of --profile.")] = False
    seconds_max: Annotated[float, typer.Option(help="For the measurement.")] = 60.0
    concurrency: Annotated[str, typer.Option(help="Loads to measure.")] = "1,2,4,8"
    profiled_as: Annotated[str, typer.Option(help="The profiles' own name of the model, if several have the id.")] = ""
    isl: Annotated[int, typer.Option(min=0, help="Prompt length of the class; 0 for the one measured best.")] = 0
    osl: Annotated[int, typer.Option(min=0, help="Answer length of the class.")] = 0
    name: Annotated[str, typer.Option(help="The provider's name; its id if empty.")] = ""
    kind: Annotated[str, typer.Option(help="A file in providers/kinds.")] = "openai_compatible"
    deployment_id: Annotated[str, typer.Option(help="Its id beside the provider's; the profile's if empty.")] = ""
    backend_model: Annotated[str, typer.Option(help="The backend's name of the model; the public one if empty.")] = ""
    base_model: Annotated[str, typer.Option(help="Of an adapter, the backend's name of its base.")] = ""
    input: Annotated[str, typer.Option(help="USD per million input tokens, where they are bought.")] = ""
    output: Annotated[str, typer.Option(help="USD per million output tokens, where they are bought.")] = ""
    tier: Annotated[list[str] | None, typer.Option(help="A tier that it may serve; repeatable; all if none.")] = None
    capability: Annotated[list[str] | None, typer.Option(help="tools, json_schema, logprobs …; repeatable.")] = None
    context_max: Annotated[int, typer.Option(min=0, help="Prompt and answer; the profile's if 0.")] = 0
    concurrency_max: Annotated[int, typer.Option(min=0, help="Requests at once; the profile's if 0.")] = 0
    is_emulated: Annotated[bool, typer.Option("--emulated", help="Its tokens are made up.")] = False
    label: Annotated[str, typer.Option(help="What it is, in words.")] = ""
    region: Annotated[str, typer.Option(help="Where it runs, such as eu-west-1; customers may ask for it.")] = ""
    api_key_env: Annotated[str, typer.Option(help="Variable that holds the credential where the gateway runs.")] = ""
    credential_stdin: Annotated[bool, typer.Option("--credential-stdin", help="Read the credential there.")] = False
    auth_header: Annotated[str | None, typer.Option(help="Header that carries it.")] = None
    auth_scheme: Annotated[str | None, typer.Option(help="Word before it; '' for none.")] = None
    header: Annotated[list[str] | None, typer.Option(help="NAME=VALUE sent always; repeatable.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


def register(app: typer.Typer) -> None:
    """Adds the command to ``goodput providers``."""
    app.command()(add)


@takes(AddOptions)
def add(options: AddOptions) -> None:
    """Register a deployment of a provider: measured now, or following a profile. It takes work within a second."""
    from app.cli.supply_rooms import at_counter, read_secret, said
    from providers.spec import ProviderSpecError

    secret = read_secret(is_from_stdin=True) if options.credential_stdin else ""
    try:
        _check_source(options)
        spec = _spec(options, secret)
    except (ValueError, ProviderSpecError) as error:
        raise Failure(str(error)) from error
    row = at_counter(lambda counter: _register(counter, options, spec, secret))
    said(row, as_json=options.as_json, otherwise=f"{row['id']} is registered and {row['state']}.")


def _check_source(options: AddOptions) -> None:
    sources = (bool(options.profile), options.profile_file is not None, options.measure)
    if sum(sources) != 1:
        raise ValueError("say what its speed follows: one of --profile ID, --profile-file FILE or --measure")
    if bool(options.input) != bool(options.output):
        raise ValueError("give both --input and --output, or neither for the cost of the hardware that it runs on")


def _spec(options: AddOptions, secret: str) -> "DeploymentSpec":
    """What is to be registered; its address is checked before anything is measured there."""
    from app.cli.configuration import load_settings
    from app.cli.provider_choice import Choice, followed, profiles_with
    from app.fleet.roster import DeploymentSpec
    from app.fleet.speeds import speed_curve
    from pricing.quality import stated
    from pricing.slo import Tier
    from scheduler.jobs import Capability

    _check_names(options)
    profiles = _measured(options, secret) if options.measure else profiles_with(options.profile_file)
    own = profiles[-1].configuration.deployment_id
    chosen = followed(Choice(options.profile or own, options.profiled_as, options.isl, options.osl), profiles)
    context_max = options.context_max or chosen.context_max
    if not context_max:
        raise ValueError("the profile does not say how long a context may be: say it with --context-max")
    return DeploymentSpec(
        provider_id=options.provider,
        deployment_id=options.deployment_id or chosen.deployment_id,
        kind=options.kind,
        model=options.model,
        base_url=options.url,
        backend_model=options.backend_model or options.model,
        base_model=options.base_model,
        speed=speed_curve(chosen),
        concurrency_max=options.concurrency_max or chosen.concurrency_max,
        context_max=context_max,
        cost=_cost(options, load_settings(), profiles, chosen),
        is_owned=not options.input and chosen.price is None,
        tiers=frozenset(map(Tier, options.tier or list(Tier))),
        capabilities=frozenset({Capability.STREAMING, *map(Capability, options.capability or [])}),
        is_emulated=options.is_emulated,
        label=options.label or (f"Emulated: {chosen.deployment_id}" if options.is_emulated else ""),
        api_key_env=options.api_key_env,
        precision=stated(chosen.configuration.precision),
        region=options.region,
    )


def _check_names(options: AddOptions) -> None:
    from app.fleet.roster import check_provider_id
    from providers.registry import check_kind
    from providers.spec import ProviderSpec

    check_provider_id(options.provider)
    check_kind(options.kind)
    ProviderSpec(options.provider, options.kind, options.url, options.backend_model or options.model)


def _cost(options: AddOptions, settings: Any, profiles: "tuple[Profile, ...]", chosen: "Deployment") -> "Rates":
    from app.cli.provider_choice import rated_cost
    from pricing.money import usd_per_mtok
    from pricing.usage import Rates

    if not options.input:
        return rated_cost(settings, profiles, chosen)
    read = usd_per_mtok(options.input)
    return Rates(read, read, read, usd_per_mtok(options.output))


def _measured(options: AddOptions, secret: str) -> "tuple[Profile, ...]":
    """A profile of the backend, measured now."""
    from app.cli.providers import MeasureOptions, measured_profile

    sweep = MeasureOptions(
        url=options.url,
        model=options.backend_model or options.model,
        concurrency=options.concurrency,
        seconds_max=options.seconds_max,
        api_key_env=options.api_key_env,
    )
    return (measured_profile(sweep, secret or None),)


async def _register(counter: "Counter", options: AddOptions, spec: "DeploymentSpec", secret: str) -> dict[str, Any]:
    from app.admin.supply_service import written
    from app.cli.provider_terms import headers_of
    from app.cli.supply_rooms import ACTOR
    from app.fleet import contract_store, credential_store, service
    from app.fleet.roster import Access

    access = Access(options.auth_header, options.auth_scheme, tuple(sorted(headers_of(options.header or []).items())))

    async def work(session: Any, now_us: int) -> dict[str, Any]:
        name = options.name or options.provider
        await service.register_provider(session, options.provider, name, ACTOR, now_us)
        is_new = await service.register_deployment(session, spec, ACTOR, now_us)
        if access != Access():
            await contract_store.set_access(session, options.provider, access, ACTOR, now_us)
        if secret:
            await credential_store.set_credential(session, counter.vault, options.provider, secret, ACTOR, now_us)
        return {"id": spec.id, "state": "enabled", "is_changed": is_new, "concurrency_max": spec.concurrency_max}

    return await written(counter, work)
