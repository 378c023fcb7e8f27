"""``goodput providers emulate``: a backend that serves tokens at measured speeds, and misbehaves as told."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.failure import Failure
from app.cli.option_set import takes

CONTEXT_DEFAULT = 131_072


@dataclass(frozen=True, slots=True)
class EmulateOptions:
    """What ``goodput providers emulate`` is told."""

    profile: Annotated[str, typer.Option(help="Id of the measured deployment to follow; see goodput profiles list.")]
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 9000
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    model: Annotated[str, typer.Option(help="Name that it serves the model as; the profile's if empty.")] = ""
    profiled_as: Annotated[str, typer.Option(help="The profiles' own name of the model, if several have the id.")] = ""
    profile_file: Annotated[Path | None, typer.Option(help="A profile document to look in instead.")] = None
    isl: Annotated[int, typer.Option(min=0, help="Prompt length of the class; 0 for the one measured best.")] = 0
    osl: Annotated[int, typer.Option(min=0, help="Answer length of the class.")] = 0
    seed: Annotated[int, typer.Option(help="Of text and lengths.")] = 1
    api_key_env: Annotated[str, typer.Option(help="Variable that holds a credential which requests must carry.")] = ""
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE[,NAME=VALUE…]: slowdown=5 · status=429,retry_after_s=2,share=0.1 · stall_at_token=3,"
            "stall_s=20 · close_at_token=4 · garbage_at_token=4 · error_at_token=0 · usage=wrong|missing|repeated · "
            "requests=50 ends it after so many. Repeatable; all together are one fault."
        ),
    ] = None


def register(app: typer.Typer) -> None:
    """Adds the command to ``goodput providers``."""
    app.command()(emulate)


@takes(EmulateOptions)
def emulate(options: EmulateOptions) -> None:
    """Run a backend that follows a measured profile, with faults on request, until it is told to stop."""
    from providers.emulated.__main__ import main

    document = emulated_document(options)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as spec:
        json.dump(document, spec)
        spec.flush()
        raise typer.Exit(main(["--spec", spec.name]))


def emulated_document(options: EmulateOptions) -> dict[str, Any]:
    """What :mod:`providers.emulated` is told.

    Raises:
        Failure: no such profile, an unknown fault, or a credential that is not set.
    """
    import os

    from app.cli.demo import engine_document
    from app.cli.provider_choice import Choice, followed, profiles_with

    choice = Choice(options.profile, options.profiled_as, options.isl, options.osl)
    chosen = followed(choice, profiles_with(options.profile_file))
    api_key = os.environ.get(options.api_key_env, "") if options.api_key_env else ""
    if options.api_key_env and not api_key:
        raise Failure(f"--api-key-env: the variable {options.api_key_env} is not set.")
    deployment = {
        "deployment_id": chosen.deployment_id,
        "model": options.model or chosen.model,
        "host": options.host,
        "port": options.port,
        "context_max": chosen.context_max or CONTEXT_DEFAULT,
        "label": f"Emulated: {chosen.deployment_id} at measured speeds",
        "seed": options.seed,
        "api_key": api_key,
        "engine": engine_document(chosen),
        "fault": read_faults(options.fault or []),
    }
    return {"deployments": [deployment]}


def read_faults(given: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs as a fault's document.

    Raises:
        Failure: an unknown name, or a value of the wrong kind or out of range.

    >>> read_faults(["status=429,share=0.5", "usage=wrong"])
    {'status': 429, 'share': 0.5, 'usage': 'wrong'}
    """
    from providers.emulated.faults import FaultError, read_fault

    document: dict[str, Any] = {}
    for pair in ",".join(given).split(",") if given else ():
        name, equals, text = pair.strip().partition("=")
        if not equals:
            raise Failure(f"--fault {pair!r}: expected NAME=VALUE, such as slowdown=5.")
        if name in document:
            raise Failure(f"--fault: {name} is given twice.")
        document[name] = _value(text)
    try:
        read_fault(document)
    except FaultError as error:
        raise Failure(f"--fault: {error}.") from error
    return document


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
