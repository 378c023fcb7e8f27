"""From what is known of a backend to something that can be asked. A kind is a file in :mod:`providers.kinds`."""

import pkgutil
from functools import lru_cache
from importlib import import_module

from providers import kinds
from providers.base import Provider
from providers.spec import ProviderSpec, ProviderSpecError


def known_kinds() -> tuple[str, ...]:
    """The names of all kinds, in order: those of the files in :mod:`providers.kinds`."""
    return _kinds_in(tuple(kinds.__path__))


@lru_cache(maxsize=8)
def _kinds_in(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Looked up once: every deployment is checked against it at every refresh of the fleet."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folders)))


def build(spec: ProviderSpec) -> Provider:
    """Makes the provider of its kind. It opens no connection before the first request.

    Raises:
        ProviderSpecError: there is no such kind.
    """
    check_kind(spec.kind)
    provider: Provider = import_module(f"{kinds.__name__}.{spec.kind}").build(spec)
    return provider


def check_kind(kind: str) -> None:
    """Refuses a kind that has no file.

    Raises:
        ProviderSpecError: it has none; the message names those that have.
    """
    if kind not in known_kinds():
        raise ProviderSpecError(f"kind {kind[:64]!r} is unknown; there are {', '.join(known_kinds())}")
