"""``goodput providers …``: what is done with backends from a terminal."""

import asyncio
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli import provider_add, provider_emulate, provider_state, provider_terms
from app.cli.failure import Failure
from app.cli.option_set import takes
from app.cli.terminal import answer, note

if TYPE_CHECKING:
    from pricing.profiles import Profile
    from providers.measure import Progress as SweepProgress
    from providers.measure import Sweep, SweepPlan
    from providers.measure_figures import MeasuredLoad
    from providers.openai_wire import ServedModel
    from providers.spec import ProviderSpec

UNREACHABLE: Final = 3
REFUSED: Final = 4
NOTHING_MEASURED: Final = 5
NAMES_SHOWN: Final = 5

app = typer.Typer(help="Who makes tokens: register, measure, watch, drain, pay.", no_args_is_help=True)
for _commands in (provider_state, provider_add, provider_terms, provider_emulate):
    _commands.register(app)


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What ``goodput providers measure`` is told."""

    url: Annotated[str, typer.Argument(help="Up to and without /chat/completions: http://host:port/v1")]
    model: Annotated[str, typer.Option(help="The backend's name of the model.")]
    concurrency: Annotated[str, typer.Option(help="Loads to hold, in this order.")] = "1,2,4,8"
    isl: Annotated[int, typer.Option(help="Prompt tokens wanted.")] = 128
    osl: Annotated[int, typer.Option(help="Output tokens wanted.")] = 64
    seconds_max: Annotated[float, typer.Option(help="For all of it, warm-up included.")] = 60.0
    requests_max: Annotated[int, typer.Option(help="Per load, or three per user where that is more.")] = 200
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 1
    api_key_env: Annotated[str, typer.Option(help="Name of the variable that holds the credential.")] = ""
    hardware: Annotated[str, typer.Option(help="Slug among the hardware costs.")] = "local"
    gpus: Annotated[int, typer.Option(min=1, help="Accelerators, or machines, of one replica.")] = 1
    engine: Annotated[str, typer.Option(help="Engine; else what the backend says of itself.")] = ""
    engine_version: Annotated[str, typer.Option(help="For the record.")] = ""
    precision: Annotated[str, typer.Option(help="Precision; else what the backend says of itself.")] = ""
    concurrency_max: Annotated[int, typer.Option(min=0, help="The engine's own limit; 0 where unknown.")] = 0
    out: Annotated[Path | None, typer.Option(help="Write the profile document to this file.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile document.")] = False


@app.command()
@takes(MeasureOptions)
def measure(options: MeasureOptions) -> None:
    """Measure a live backend into a profile.

    Exit status: 0 measured; 2 wrong usage; 3 nobody answers; 4 refused (model, credential or request);
    5 it answers, but with nothing that can be measured.
    """
    from providers.spec import ProviderSpecError

    try:
        plan, spec = _planned(options, None)
        _expect_folder(options.out)
    except (ValueError, ProviderSpecError) as error:
        raise typer.BadParameter(str(error)) from error
    sweep, served = _swept(spec, plan)
    _report(sweep, _profile(sweep, served, options), options)


def measured_profile(options: MeasureOptions, api_key: str | None) -> "Profile":
    """Measures a backend; a failure ends the program as :func:`measure` does.

    Raises:
        ValueError: options that cannot be.
    """
    plan, spec = _planned(options, api_key)
    sweep, served = _swept(spec, plan)
    for said in sweep.notes:
        note(said)
    return _profile(sweep, served, options)


def _planned(options: MeasureOptions, api_key: str | None) -> "tuple[SweepPlan, ProviderSpec]":
    from providers.measure import SweepPlan

    loads = _loads(options.concurrency)
    lengths = (options.isl, options.osl)
    plan = SweepPlan(loads, *lengths, options.seconds_max, options.requests_max, options.seed)
    return plan, _spec(options, max(loads), api_key)


def _loads(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"concurrency: expected whole numbers with commas, like 1,2,4,8, got {text!r}") from error


def _expect_folder(out: Path | None) -> None:
    """Looks before a minute is spent on measuring."""
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"--out: there is no folder {out.parent}")


def _spec(options: MeasureOptions, concurrency: int, api_key: str | None) -> "ProviderSpec":
    from providers.base import Timeouts
    from providers.spec import ProviderKind, ProviderSpec

    name = options.api_key_env
    key = api_key or (os.environ.get(name) if name else None)
    if name and not key:
        raise ValueError(f"--api-key-env: the variable {name} is not set")
    patient = Timeouts(connect_s=5.0, first_token_s=600.0, gap_s=600.0, total_s=3600.0)
    return ProviderSpec(
        id="measured",
        kind=ProviderKind.OPENAI_COMPATIBLE,
        base_url=options.url,
        backend_model=options.model,
        api_key=key,
        timeouts=patient,
        connections_max=concurrency + 8,
    )


def _swept(spec: "ProviderSpec", plan: "SweepPlan") -> "tuple[Sweep, ServedModel | None]":
    """Runs the sweep under a progress bar; a failure ends the program with its status and a message."""
    from providers.errors import ProviderCredentialRejected, ProviderError, ProviderRejectedRequest
    from providers.measure_figures import NothingMeasured

    try:
        return asyncio.run(_measured(spec, plan))
    except (ProviderRejectedRequest, ProviderCredentialRejected, _WrongModel) as refusal:
        note(f"goodput: {spec.base_url} refuses: {getattr(refusal, 'detail', refusal)}")
        raise typer.Exit(REFUSED) from refusal
    except ProviderError as failure:
        note(f"goodput: {spec.base_url} does not answer: {failure.detail}. Is it running, and is that its address?")
        raise typer.Exit(UNREACHABLE) from failure
    except NothingMeasured as nothing:
        note(f"goodput: {nothing}")
        raise typer.Exit(NOTHING_MEASURED) from nothing


class _WrongModel(Exception):
    """The backend lists its models, and this is none of them."""


async def _measured(spec: "ProviderSpec", plan: "SweepPlan") -> "tuple[Sweep, ServedModel | None]":
    from providers.kinds import openai_compatible
    from providers.measure import sweep

    provider = openai_compatible.build(spec)
    try:
        served = await provider.models()
        if served and spec.backend_model not in served:
            names = ", ".join(sorted(served)[:NAMES_SHOWN])
            raise _WrongModel(f"it does not serve {spec.backend_model!r}; it serves {names}")
        with _progress(plan.seconds_max) as tell:
            return await sweep(provider, plan, tell), served.get(spec.backend_model)
    finally:
        await provider.close()


@contextmanager
def _progress(seconds_max: float) -> "Generator[Callable[[SweepProgress], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("of {task.total:.0f} s"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("warm-up", total=seconds_max)

        def tell(progress: "SweepProgress") -> None:
            load = f"concurrency {progress.concurrency} ({progress.load}/{progress.loads}), {progress.requests} answers"
            bar.update(task, completed=progress.seconds, description=load if progress.load else "warm-up")

        yield tell


def _profile(sweep: "Sweep", served: "ServedModel | None", options: MeasureOptions) -> "Profile":
    from app.clock import now
    from pricing.profiles import Configuration, EngineLimits
    from providers.measure_profile import Subject, engine_facts, profile_of

    engine, precision, context_max = engine_facts(served)
    subject = Subject(
        model=options.model,
        configuration=Configuration(
            options.hardware, options.gpus, options.engine or engine, options.precision or precision
        ),
        source=f"goodput providers measure {options.url}",
        measured_on=now().date(),
        engine_version=options.engine_version,
        limits=EngineLimits(concurrency_max=options.concurrency_max or None, context_max=context_max),
    )
    return profile_of(sweep, subject)


def _report(sweep: "Sweep", profile: "Profile", options: MeasureOptions) -> None:
    from pricing.profile_document import profile_document

    document = json.dumps(profile_document(profile), indent=2)
    if options.out is not None:
        try:
            options.out.write_text(document + "\n")
        except OSError as error:
            typer.echo(document)
            raise Failure(f"{options.out} cannot be written: {error.strerror}; the profile is printed above") from error
        note(f"The profile is in {options.out}.")
    if options.as_json:
        typer.echo(document)
    else:
        answer([_row(load) for load in sweep.loads], as_json=False)
    for said in sweep.notes:
        note(said)


def _row(load: "MeasuredLoad") -> dict[str, str]:
    return {
        "concurrency": str(load.concurrency),
        "ttft_ms_p50": f"{load.ttft_s_p50 * 1000:.1f}",
        "ttft_ms_p99": f"{load.ttft_s_p99 * 1000:.1f}",
        "tpot_ms_p50": f"{load.tpot_s_p50 * 1000:.2f}",
        "tpot_ms_p99": f"{load.tpot_s_p99 * 1000:.2f}",
        "tok_s_user": f"{load.interactivity_tok_s_user:.1f}",
        "output_tok_s": f"{load.output_tok_s:.1f}",
        "total_tok_s": f"{load.total_tok_s:.1f}",
        "isl": f"{load.isl_mean:.0f}",
        "osl": f"{load.osl_mean:.0f}",
        "requests": str(load.requests),
        "errors": str(sum(load.errors.values())),
    }
