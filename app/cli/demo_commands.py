"""``goodput seed`` and ``goodput emulate``: the demo market's parts, one by one, for machines of their own."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.cli import demo
from app.cli.failure import Failure
from app.cli.seed import Credentials, seed
from app.cli.supply import Supply
from app.cli.terminal import with_ledger
from app.settings import Settings
from pricing.shipped import shipped_profiles


def seed_at(settings: Settings, places: Sequence[str]) -> Credentials | None:
    """Seeds the demo market whose emulated providers run elsewhere.

    Args:
        settings: name the database, which is at the newest schema.
        places: ``PROVIDER=http://host:port`` each; a provider's deployments have ports one after the other from there.

    Returns:
        What opens it; None when an earlier run made its operator and told then.

    Raises:
        Failure: a place that is no such pair, or a provider that the demo does not have.
    """
    urls = dict(_pair(place) for place in places)
    profiles = shipped_profiles()
    offers = _curves(urls)
    addresses: dict[str, str] = {}
    for provider_id, (host, first_port) in urls.items():
        addresses |= {
            name: f"http://{host}:{port}/v1" for name, port in _ports(offers, provider_id, first_port).items()
        }
    supply = Supply(profiles=profiles, offers=offers, addresses=addresses, engine=None)
    return with_ledger(settings, lambda database, ledger: seed(database, ledger, settings, supply, is_told_once=True))


def emulate(provider_id: str, host: str, port: int) -> int:
    """Runs one emulated provider of the demo market until it is told to stop; answers its exit status.

    Raises:
        Failure: the demo has no such provider.
    """
    from providers.emulated.__main__ import main

    offers = _curves([provider_id])
    document = demo.emulated_document(offers, _ports(offers, provider_id, port), host)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as spec:
        json.dump(document, spec)
        spec.flush()
        return main(["--spec", str(Path(spec.name))])


def _curves(providers: Sequence[str] | dict[str, tuple[str, int]]) -> demo.Curves:
    try:
        return demo.curves(shipped_profiles(), providers)
    except LookupError as error:
        raise Failure(str(error.args[0])) from error


def _ports(offers: demo.Curves, provider_id: str, first: int) -> dict[str, int]:
    names = sorted(name for name, (offer, _) in offers.items() if offer.provider_id == provider_id)
    return {name: first + index for index, name in enumerate(names)}


def _pair(place: str) -> tuple[str, tuple[str, int]]:
    provider_id, _, url = place.partition("=")
    host, colon, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    if not (provider_id and url.startswith("http://") and host and colon and port.isdigit()):
        raise Failure(f"--at {place!r}: expected PROVIDER=http://host:port, such as cluster-b200=http://10.0.0.7:9000.")
    return provider_id, (host, int(port))
