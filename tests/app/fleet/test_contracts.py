"""Contracts: what they may say, which one is in force, and what that does to offers."""

from dataclasses import replace
from typing import Any

import pytest

from app.db import Database
from app.fleet.contract_store import contract_document, end, set_access, sign
from app.fleet.contracts import Allotment, Basis, Consumed, Contract, ContractError, covering, exhausted, in_force
from app.fleet.fleet_view import FleetView
from app.fleet.lease_store import InProcessLeaseStore
from app.fleet.leases import LeaseCandidate, Leased, LeaseRequest
from app.fleet.live_client import LiveClients
from app.fleet.repository import read_roster
from app.fleet.roster import Access
from app.fleet.service import FleetChanged, NotInFleet, register_deployment, register_provider, remove_provider
from app.fleet.supply_store import contracts
from pricing.money import NanoUsd, Rate
from pricing.slo import Slo
from pricing.usage import Rates
from providers.spec import ProviderSpecError
from tests.app.console.market_fixtures import event
from tests.app.fleet.lease_benches import FakeClock
from tests.app.fleet.rosters import ACTOR, B200, T0_US, FakeProvider

DAY_US = 86_400_000_000
RATES = Rates(Rate(300_000), Rate(30_000), Rate(300_000), Rate(900_000))
BY_TOKEN = Contract("cluster-b200", Basis.BOUGHT, T0_US, T0_US + 10 * DAY_US, rates=RATES)
BY_HOUR = Contract("cluster-b200", Basis.HOURLY, T0_US, None, usd_per_hour=NanoUsd(98_000_000_000))


async def signed(database: Database, *given: Contract) -> list[Contract]:
    async with database.writing() as session:
        await register_provider(session, "cluster-b200", "B200", ACTOR, T0_US)
        await register_deployment(session, B200, ACTOR, T0_US)
        return [await sign(session, each, ACTOR, T0_US) for each in given]


def view_of(database: Database, clock: FakeClock, leases: InProcessLeaseStore | None = None) -> FleetView:
    return FleetView(database, leases or InProcessLeaseStore(clock), LiveClients({}, FakeProvider), clock)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"usd_per_hour": NanoUsd(1)}, "by the token or by the hour"),
        ({"basis": Basis.HOURLY}, "names usd_per_hour"),
        ({"ends_at_us": T0_US - 1}, "ends before it starts"),
        ({"usd_per_hour": NanoUsd(-1)}, "rates cannot be negative"),
        ({"note": "x" * 1001}, "at most"),
    ],
)
def test_terms_that_contradict_each_other_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        replace(BY_TOKEN, **change)


@pytest.mark.parametrize("change", [{"rpm": 0}, {"tpm": 10**8 + 1}, {"requests_max": -1}, {"tokens_max": 10**16}])
def test_a_quota_out_of_range_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ContractError, match="left out for no limit"):
        Allotment(**change)


def test_a_models_own_contract_goes_before_the_one_for_all_models() -> None:
    general, own = replace(BY_HOUR, id="ctr_a"), replace(BY_TOKEN, id="ctr_b", model="open/one")
    assert covering((general, own), "cluster-b200", "open/one") == (own,)
    assert covering((general, own), "cluster-b200", "open/two") == (general,)
    assert covering((general, own), "elsewhere", "open/one") == ()
    assert in_force((own,), T0_US + 10 * DAY_US) is None  # the term is half open
    assert in_force((own,), T0_US + 10 * DAY_US - 1) is own


async def test_a_contract_by_the_token_sets_what_tokens_cost_and_that_they_are_bought(database: Database) -> None:
    await signed(database, BY_TOKEN)
    async with database.reading() as session:
        (deployed,) = (await read_roster(session, T0_US)).deployed
        (plain,) = (await read_roster(session)).deployed
    assert (deployed.spec.cost, deployed.spec.is_owned) == (RATES, False)
    assert (plain.spec.cost, plain.spec.is_owned) == (B200.cost, True)


async def test_a_contract_by_the_hour_leaves_the_rated_cost_of_tokens_and_owns_the_capacity(database: Database) -> None:
    await signed(database, BY_HOUR)
    async with database.reading() as session:
        (deployed,) = (await read_roster(session, T0_US)).deployed
    assert (deployed.spec.cost, deployed.spec.is_owned) == (B200.cost, True)


async def test_an_offer_is_out_before_its_contract_begins_and_once_it_has_ended(database: Database) -> None:
    await signed(database, BY_TOKEN)
    clock = FakeClock(T0_US - 1)
    view = view_of(database, clock)
    closed: list[tuple[bool, str]] = []
    for at_us in (T0_US - 1, T0_US, T0_US + 10 * DAY_US - 1, T0_US + 10 * DAY_US):
        clock.now_us = at_us
        await view.refresh()
        closed.append((B200.id in view.fleet.closed, view.troubles.get(B200.id, "")[-34:]))
    await view.close()
    assert [is_closed for is_closed, _ in closed] == [True, False, False, True]
    assert "has not begun yet" in closed[0][1]
    assert "goodput providers contract add" in closed[3][1]


async def test_a_total_that_is_used_up_takes_the_offer_out(database: Database) -> None:
    await signed(database, replace(BY_TOKEN, allotment=Allotment(requests_max=2)))
    clock = FakeClock(T0_US + DAY_US)
    view = view_of(database, clock)
    seen: list[bool] = []
    for number, at_us in enumerate((T0_US - 1, clock(), clock())):  # the first was before the term
        async with database.writing() as session:
            session.add(event(f"gen-{number}", at_us, provider_id="cluster-b200", model="open/one"))
        await view.refresh()
        seen.append(B200.id in view.fleet.closed)
    assert seen == [False, False, True]
    assert "the 2 requests of contract" in view.troubles[B200.id]
    await view.close()


async def test_what_was_summed_once_is_not_read_again_and_not_counted_twice(database: Database) -> None:
    (contract,) = await signed(database, replace(BY_TOKEN, allotment=Allotment(tokens_max=10_000)))
    clock = FakeClock(T0_US + DAY_US)
    view = view_of(database, clock)
    for number in range(4):  # an hour apart: each is remembered before the next comes
        async with database.writing() as session:
            session.add(event(f"gen-{number}", clock(), provider_id="cluster-b200", model="open/one"))
        await view.refresh()
        clock.advance(3600)
    async with database.reading() as session:
        consumed = await view._consumed.read(session, [contract], clock())
    assert consumed == {contract.id: Consumed(requests=4, tokens=4 * 150)}
    await view.close()


def test_a_total_is_used_up_at_its_last_request_or_token() -> None:
    contract = replace(BY_TOKEN, id="ctr_1", allotment=Allotment(requests_max=3, tokens_max=100))
    assert exhausted(contract, Consumed(2, 99)) == ""
    assert "3 requests" in exhausted(contract, Consumed(3, 99))
    assert "100 tokens" in exhausted(contract, Consumed(2, 100))


async def test_requests_a_minute_are_kept_to_where_requests_are_admitted(database: Database) -> None:
    await signed(database, replace(BY_TOKEN, allotment=Allotment(rpm=1)))
    clock = FakeClock(T0_US)
    leases = InProcessLeaseStore(clock)
    view = view_of(database, clock, leases)
    await view.refresh()
    candidates = (LeaseCandidate(B200.id, 64, 64),)
    answers = [await leases.admit(LeaseRequest(f"l{n}", "c", None, candidates, 0, 0, 60.0)) for n in range(2)]
    assert [isinstance(answer, Leased) for answer in answers] == [True, False]
    await view.close()


async def test_two_contracts_for_the_same_thing_at_the_same_time_are_refused(database: Database) -> None:
    await signed(database, BY_TOKEN)
    async with database.writing() as session:
        with pytest.raises(ContractError, match="end it first"):
            await sign(session, replace(BY_HOUR, starts_at_us=T0_US + 9 * DAY_US), ACTOR, T0_US)
        later = await sign(session, replace(BY_HOUR, starts_at_us=T0_US + 10 * DAY_US), ACTOR, T0_US)
        other = await sign(session, replace(BY_TOKEN, model="open/one"), ACTOR, T0_US)
        assert {each.id for each in await contracts(session, "cluster-b200")} >= {later.id, other.id}
        with pytest.raises(NotInFleet):
            await sign(session, replace(BY_TOKEN, provider_id="nobody"), ACTOR, T0_US)


async def test_a_contract_can_be_ended_sooner_but_never_later(database: Database) -> None:
    (contract,) = await signed(database, BY_TOKEN)
    async with database.writing() as session:
        ended = await end(session, contract.id, T0_US + DAY_US, ACTOR, "sold", T0_US)
        assert ended.ends_at_us == T0_US + DAY_US
        with pytest.raises(ContractError, match="before that already"):
            await end(session, contract.id, T0_US + 2 * DAY_US, ACTOR, "sold", T0_US)
        with pytest.raises(NotInFleet, match="no contract 'ctr_x'"):
            await end(session, "ctr_x", T0_US, ACTOR, "sold", T0_US)


async def test_a_contract_reads_back_with_money_as_text(database: Database) -> None:
    promised = replace(BY_TOKEN, promise=Slo(400_000, 20_000), allotment=Allotment(rpm=60, tokens_max=10**9), note="n")
    (contract,) = await signed(database, promised)
    async with database.reading() as session:
        assert await contracts(session) == (contract,)
    document = contract_document(contract)
    assert document["usd_per_mtok"] == {"input": "0.30", "cached": "0.03", "cache_write": "0.30", "output": "0.90"}
    assert document["promise"] == {"ttft_us": 400_000, "tpot_us": 20_000}
    assert document["quota"] == {"rpm": 60, "tpm": None, "requests_max": None, "tokens_max": 10**9}


async def test_how_a_provider_wants_to_be_asked_reaches_its_clients(database: Database) -> None:
    await signed(database)
    access = Access("X-Api-Key", "", (("x-org", "acme"),))
    async with database.writing() as session:
        assert await set_access(session, "cluster-b200", access, ACTOR, T0_US)
        assert not await set_access(session, "cluster-b200", access, ACTOR, T0_US)
    view = view_of(database, FakeClock(T0_US))
    await view.refresh()
    provider = view.provider(B200.id)
    assert isinstance(provider, FakeProvider)
    assert (provider.spec.auth_header, provider.spec.auth_scheme) == ("X-Api-Key", "")
    assert provider.spec.headers == (("x-org", "acme"),)
    await view.close()
    with pytest.raises(ProviderSpecError):
        Access(headers=(("Host", "x"),))


async def test_a_provider_leaves_only_when_it_runs_nothing_and_never_had_a_contract(database: Database) -> None:
    async with database.writing() as session:
        await register_provider(session, "acme", "Acme", ACTOR, T0_US)
        await remove_provider(session, "acme", ACTOR, "gone", T0_US)
        with pytest.raises(NotInFleet):
            await remove_provider(session, "acme", ACTOR, "gone", T0_US)
    await signed(database, BY_TOKEN)
    async with database.writing() as session:
        with pytest.raises(FleetChanged, match="remove them first"):
            await remove_provider(session, "cluster-b200", ACTOR, "gone", T0_US)
