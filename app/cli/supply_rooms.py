"""What commands about supply work with: the database in force, the vault of the market's secret, the clock."""

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import typer

from app import clock
from app.audit.service import Actor
from app.cli.configuration import load_settings
from app.cli.failure import Failure
from app.cli.terminal import with_database
from app.db import Database
from app.fleet.vault import SECRET_LETTERS_MAX, Vault
from app.settings import Settings

T = TypeVar("T")
ACTOR: Final = Actor("system", "goodput providers", "goodput providers")


@dataclass(frozen=True, slots=True)
class Counter:
    """The rooms that a command reaches into."""

    database: Database
    vault: Vault
    now_us: Callable[[], int] = clock.now_us


def at_counter(work: Callable[[Counter], Awaitable[T]]) -> T:
    """Runs work on the market that the settings name.

    Raises:
        Failure: its database is not there, or the work refuses; the message says why.
    """
    settings = load_settings()
    vault = vault_of(settings)
    return with_database(settings, lambda database: work(Counter(database, vault)))


def vault_of(settings: Settings) -> Vault:
    """The vault of this market: of its setting, else of the key that an embedded market keeps in its folder.

    Raises:
        Failure: the key is there and cannot be read.
    """
    secret = settings.secret_key.get_secret_value()
    file = settings.data_dir.expanduser() / "secret_key"
    if not secret and file.exists():
        try:
            secret = file.read_text().strip()
        except OSError as error:
            raise Failure(f"cannot read {file}: {error.strerror}.") from error
    return Vault(secret, settings.former_secrets)


def read_secret(*, is_from_stdin: bool) -> str:
    """A credential as it was piped in, or typed unseen; never an argument, which others can see.

    Raises:
        Failure: nothing came, or nobody is there to type it.
    """
    if is_from_stdin:
        secret = sys.stdin.readline(SECRET_LETTERS_MAX + 2).rstrip("\r\n")
    elif sys.stdin.isatty():
        secret = str(typer.prompt("Credential", hide_input=True, err=True))
    else:
        raise Failure("give the credential on standard input with --credential-stdin, or run this at a terminal.")
    if not secret:
        raise Failure("no credential came on standard input.")
    return secret


def said(document: Any, *, as_json: bool, otherwise: str) -> None:
    """Prints one JSON document, or a sentence for a person."""
    typer.echo(json.dumps(document) if as_json else otherwise)
