"""From what is known of a backend to something that can be asked. A kind is a file in :mod:`providers.kinds`."""

import pkgutil
from importlib import import_module

from providers import kinds
from providers.base import Provider
from providers.spec import ProviderSpec, ProviderSpecError


def known_kinds() -> tuple[str, ...]:
    """The names of all kinds, in order: those of the files in :mod:`providers.kinds`."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(kinds.__path__)))


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
