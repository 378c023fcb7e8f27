"""The settings a command runs with: flags over the environment over ``.env``, and how children inherit them."""

import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr, ValidationError

from app.cli.failure import Failure
from app.settings import Settings

PREFIX: Final = "GOODPUT_"
HIDDEN: Final = "********"


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Reads the settings; a flag that is None was not given.

    Raises:
        Failure: listing every setting that is wrong, at once.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise Failure("\n  ".join(["wrong settings:", *map(_problem, error.errors())])) from error


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting stated, for a child that must see the same ones."""
    return {**os.environ, **{name: _revealed(value) for name, value in _variables(settings).items()}}


def shown(settings: Settings, *, redact: bool) -> dict[str, str]:
    """Every setting by the name of its variable; with ``redact``, no secret and no password in a URL."""
    return {name: _redacted(value) if redact else _revealed(value) for name, value in _variables(settings).items()}


def _variables(settings: Settings) -> dict[str, Any]:
    return {f"{PREFIX}{name.upper()}": getattr(settings, name) for name in Settings.model_fields}


def _problem(problem: Any) -> str:
    name = f"{PREFIX}{'_'.join(str(part) for part in problem['loc']).upper()}"
    return f"{name}: {problem['msg']}, got {problem['input']!r}"


def _revealed(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _redacted(value: Any) -> str:
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else ""
    parts = urlsplit(text := str(value))
    if not parts.password:
        return text
    location = parts.netloc.replace(f":{parts.password}@", f":{HIDDEN}@")
    return urlunsplit(parts._replace(netloc=location))
