from dataclasses import replace

import pytest

from app.fleet.live_client import RETIRED_US_MAX, LiveClients
from providers.base import Provider
from providers.errors import ProviderUnreachable
from providers.registry import build
from providers.spec import ProviderKind, ProviderSpec
from scheduler.fleet import Load
from tests.app.fleet.rosters import B200, H100, T0_US, FakeProvider, deployed


class Workshop:
    """Builds fake clients and keeps them."""

    def __init__(self) -> None:
        self.built: list[FakeProvider] = []

    def __call__(self, spec: ProviderSpec) -> Provider:
        self.built.append(FakeProvider(spec))
        return self.built[-1]


async def test_a_client_is_kept_for_as_long_as_its_deployment_stays_as_it_is() -> None:
    workshop = Workshop()
    clients = LiveClients({}, workshop)
    for version in (1, 2):
        assert clients.update([deployed(version=(version, 1))], T0_US) == {}
    assert len(workshop.built) == 1
    assert clients.provider(B200.id) is workshop.built[0]
    assert workshop.built[0].spec.connections_max >= B200.concurrency_max
    await clients.close()
    assert workshop.built[0].is_closed


async def test_a_vanished_deployments_client_is_closed_once_nothing_runs_on_it() -> None:
    workshop = Workshop()
    clients = LiveClients({}, workshop)
    clients.update([deployed(B200), deployed(H100)], T0_US)
    clients.update([deployed(H100)], T0_US)
    with pytest.raises(ProviderUnreachable, match="is not in the fleet any more"):
        clients.provider(B200.id)
    assert clients.retired() == {B200.id}
    await clients.close_retired({B200.id: Load(1)}, T0_US + 1)
    assert not workshop.built[0].is_closed
    await clients.close_retired({B200.id: Load(0)}, T0_US + 2)
    assert workshop.built[0].is_closed
    assert not workshop.built[1].is_closed
    assert clients.retired() == frozenset()


async def test_a_former_client_is_closed_in_the_end_even_if_leases_never_end() -> None:
    workshop = Workshop()
    clients = LiveClients({}, workshop)
    clients.update([deployed(B200)], T0_US)
    clients.update([], T0_US)
    await clients.close_retired({B200.id: Load(1)}, T0_US + RETIRED_US_MAX)
    assert not workshop.built[0].is_closed
    await clients.close_retired({B200.id: Load(1)}, T0_US + RETIRED_US_MAX + 1)
    assert workshop.built[0].is_closed


async def test_a_moved_deployment_gets_a_new_client_while_answers_finish_on_the_old_one() -> None:
    workshop = Workshop()
    clients = LiveClients({}, workshop)
    clients.update([deployed(B200)], T0_US)
    clients.update([deployed(replace(B200, base_url="http://127.0.0.1:9100/v1"))], T0_US)
    assert clients.provider(B200.id) is workshop.built[1]
    assert not workshop.built[0].is_closed
    await clients.close()
    assert [client.is_closed for client in workshop.built] == [True, True]


async def test_a_credential_comes_from_the_environment_and_its_absence_is_told_by_name() -> None:
    workshop = Workshop()
    environment: dict[str, str] = {}
    clients = LiveClients(environment, workshop)
    keyed = replace(B200, api_key_env="ACME_API_KEY")
    troubles = clients.update([deployed(keyed), deployed(H100)], T0_US)
    assert troubles == {B200.id: "its credential is missing: set ACME_API_KEY where the gateway runs"}
    with pytest.raises(ProviderUnreachable):
        clients.provider(B200.id)
    environment["ACME_API_KEY"] = "sk-1"
    assert clients.update([deployed(keyed), deployed(H100)], T0_US) == {}
    assert [client.spec.api_key for client in workshop.built] == [None, "sk-1"]


@pytest.mark.parametrize("kind", list(ProviderKind))
async def test_every_kind_of_deployment_can_be_built(kind: ProviderKind) -> None:
    clients = LiveClients({}, build)
    clients.update([deployed(replace(B200, kind=kind))], T0_US)
    assert clients.provider(B200.id).id == "cluster-b200"
    await clients.close()
