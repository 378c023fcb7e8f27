import asyncio

import pytest

from app.ledger.holds import Balance, HoldState, PreparedRow
from app.ledger.models import AccountRow, EntryRow, HoldRow, JournalTxnRow, LedgerBatchRow
from app.ledger.operations import Transfer
from app.ledger.service import AMOUNT_MAX, HoldUnknown, IdempotencyKeyReused, InsufficientCredit, LedgerConflict
from app.ledger.sheet import AccountLine
from app.ledger.sql_store import UnknownColumns
from app.ledger.writer import LedgerRefused
from app.metering.models import UsageEvent
from app.outbox.models import OutboxMessage
from pricing.money import NanoUsd
from pricing.rating import Ending
from tests.ledger_world import CUSTOMER, LEASE_US, T0, World, charge, hold_request, settlement, usage_row

pytest_plugins = ("tests.postgres",)


async def fund(world: World, amount: int = 1_000, customer_id: str = CUSTOMER) -> None:
    await world.ledger.grant(customer_id, amount, "seed", f"seed-{customer_id}")


def balance(posted: int, held: int) -> Balance:
    return Balance(NanoUsd(posted), NanoUsd(held))


async def test_a_request_reserves_then_pays_what_it_owes_and_frees_the_rest(world: World) -> None:
    await fund(world)
    hold = await world.ledger.hold(hold_request("gen-1", 100))
    assert (hold.amount, hold.state) == (100, HoldState.PENDING)
    assert await world.ledger.balance(CUSTOMER) == balance(1_000, 100)
    transfer = await world.ledger.settle(settlement("gen-1", gross=80, net=60))
    assert transfer == Transfer(
        2, "settle:gen-1", "settlement", CUSTOMER, NanoUsd(60), NanoUsd(40), settlement().booked_at_us
    )
    assert await world.ledger.balance(CUSTOMER) == balance(940, 0)
    settled = await world.hold("gen-1")
    assert (settled.state, settled.captured, settled.amount) == ("captured", 60, 100)
    assert [event.request_id for event in await world.rows(UsageEvent)] == ["gen-1"]


async def test_a_wallet_that_lacks_the_money_refuses_with_the_numbers(world: World) -> None:
    await fund(world, 1_000_000_000)
    await world.ledger.hold(hold_request("gen-1", 400_000_000))
    with pytest.raises(InsufficientCredit) as refused:
        await world.ledger.hold(hold_request("gen-2", 700_000_000, ceiling=2_000_000_000))
    error = refused.value
    assert (error.status, error.code, error.type) == (402, "insufficient_credits", "insufficient_quota")
    assert error.headers() == {"x-should-retry": "false"}
    for number in ("0.70 USD", "2.00 USD", "0.60 USD are available", "balance of 1.00", "0.40 held"):
        assert number in error.message
    assert await world.ledger.balance(CUSTOMER) == balance(1_000_000_000, 400_000_000)


async def test_a_customer_who_never_had_credit_has_none(world: World) -> None:
    with pytest.raises(InsufficientCredit, match=r"0\.00 USD are available"):
        await world.ledger.hold(hold_request("gen-1", 1, customer_id="cus_new"))
    assert await world.ledger.balance("cus_new") == balance(0, 0)
    assert await world.rows(AccountRow) == []


async def test_the_last_nano_can_be_reserved(world: World) -> None:
    await fund(world, 100)
    await world.ledger.hold(hold_request("gen-1", 100))
    assert (await world.ledger.balance(CUSTOMER)).available == 0


async def test_a_free_request_needs_no_credit(world: World) -> None:
    await world.ledger.hold(hold_request("gen-1", 0, customer_id="cus_new"))
    settled = await world.ledger.settle(settlement("gen-1", gross=0, customer_id="cus_new"))
    assert settled.amount == 0
    assert (await world.hold("gen-1")).state == "void"


async def test_asking_for_the_same_hold_again_reserves_nothing_more(world: World) -> None:
    await fund(world)
    first = await world.ledger.hold(hold_request("gen-1", 100))
    assert await world.ledger.hold(hold_request("gen-1", 100)) == first
    assert await world.ledger.balance(CUSTOMER) == balance(1_000, 100)
    await world.ledger.settle(settlement("gen-1"))
    again = await world.ledger.hold(hold_request("gen-1", 100))
    assert (again.amount, again.state) == (100, HoldState.CAPTURED)
    assert (await world.ledger.balance(CUSTOMER)).held == 0


async def test_a_hold_of_another_customer_is_not_answered(world: World) -> None:
    await fund(world)
    await fund(world, customer_id="cus_bob")
    await world.ledger.hold(hold_request("gen-1", 100))
    with pytest.raises(LedgerConflict, match="belongs to another customer"):
        await world.ledger.hold(hold_request("gen-1", 100, customer_id="cus_bob"))
    with pytest.raises(LedgerConflict, match="belongs to another customer"):
        await world.ledger.settle(settlement("gen-1", customer_id="cus_bob"))


async def test_a_settlement_is_booked_once_and_answered_always(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1", 100))
    first = await world.ledger.settle(settlement("gen-1", gross=60))
    assert await world.ledger.settle(settlement("gen-1", gross=99)) == first
    together = await asyncio.gather(*(world.ledger.settle(settlement("gen-1", gross=60)) for _ in range(5)))
    assert set(together) == {first}
    assert await world.ledger.balance(CUSTOMER) == balance(940, 0)
    assert len(await world.rows(JournalTxnRow)) == 2


async def test_duplicates_within_one_batch_are_booked_once(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1", 100))
    answers = await asyncio.gather(*(world.ledger.settle(settlement("gen-1", gross=60)) for _ in range(8)))
    assert len(set(answers)) == 1
    assert await world.ledger.balance(CUSTOMER) == balance(940, 0)


async def test_when_nothing_is_owed_the_hold_is_void_and_the_delivery_still_on_record(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1", 100))
    transfer = await world.ledger.settle(settlement("gen-1", gross=80, net=0, ending=Ending.PROVIDER_ERROR))
    assert (transfer.amount, transfer.released) == (0, 100)
    hold = await world.hold("gen-1")
    assert (hold.state, hold.reason) == ("void", "nothing owed: provider_error")
    assert await world.ledger.balance(CUSTOMER) == balance(1_000, 0)
    accounts = await world.accounts()
    assert accounts["revenue:gpt-oss-120b:premium"] == -accounts["slo_adjustments:premium:none"] == 80
    assert len(await world.rows(UsageEvent)) == 1


async def test_no_more_than_was_held_is_ever_captured(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1", 50))
    assert (await world.ledger.settle(settlement("gen-1", gross=70))).amount == 50
    assert (await world.accounts())["provider_variance"] == -20
    assert await world.ledger.balance(CUSTOMER) == balance(950, 0)


async def test_a_hold_grows_to_its_ceiling_and_no_further(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1", 100, ceiling=170))
    assert await world.ledger.extend("gen-1", 50)
    assert (await world.hold("gen-1")).amount == 150
    assert await world.ledger.extend("gen-1", 50)
    assert (await world.hold("gen-1")).amount == 170
    assert await world.ledger.extend("gen-1", 50)
    assert await world.ledger.balance(CUSTOMER) == balance(1_000, 170)


async def test_a_hold_does_not_grow_beyond_the_wallet_or_after_its_end(world: World) -> None:
    await fund(world, 120)
    await world.ledger.hold(hold_request("gen-1", 100, ceiling=500))
    assert not await world.ledger.extend("gen-1", 21)
    assert (await world.hold("gen-1")).amount == 100
    assert await world.ledger.extend("gen-1", 20)
    await world.ledger.settle(settlement("gen-1"))
    assert not await world.ledger.extend("gen-1", 1)
    assert not await world.ledger.extend("gen-unknown", 1)


async def test_void_restores_what_was_available_once(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1", 300))
    assert await world.ledger.void("gen-1", "r" * 500)
    assert not await world.ledger.void("gen-1", "again")
    assert not await world.ledger.void("gen-unknown", "x")
    assert await world.ledger.balance(CUSTOMER) == balance(1_000, 0)
    assert (await world.hold("gen-1")).reason == "r" * 200
    assert len(await world.rows(JournalTxnRow)) == 1


async def test_a_hold_that_is_beaten_outlives_the_sweep_and_one_that_is_not_expires(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-alive", 100))
    await world.ledger.hold(hold_request("gen-dead", 100))
    expiry = T0 + LEASE_US
    assert await world.ledger.beat(["gen-alive", "gen-alive", "gen-unknown"], expiry + 10) == 1
    assert await world.ledger.beat(["gen-alive"], expiry - 10) == 1  # never moves back
    assert await world.ledger.sweep(expiry - 1) == 0
    assert await world.ledger.sweep(expiry) == 1
    assert (await world.hold("gen-dead")).state == "expired"
    assert await world.ledger.balance(CUSTOMER) == balance(1_000, 100)
    assert await world.ledger.beat(["gen-dead"], expiry + LEASE_US) == 0
    assert await world.ledger.sweep(expiry + 10) == 1


async def test_a_sweep_finds_more_than_one_batch_of_holds(world: World) -> None:
    await fund(world, 10_000)
    await asyncio.gather(*(world.ledger.hold(hold_request(f"gen-{n:04d}", 1)) for n in range(600)))
    assert await world.ledger.sweep(T0 + LEASE_US) == 600
    assert await world.ledger.balance(CUSTOMER) == balance(10_000, 0)
    assert {hold.state for hold in await world.rows(HoldRow)} == {"expired"}


async def test_nothing_to_beat_is_no_work(world: World) -> None:
    assert await world.ledger.beat([], T0) == 0


@pytest.mark.parametrize("ends", ["void", "sweep"])
async def test_a_settlement_that_comes_after_the_end_is_booked_flagged_and_told(world: World, ends: str) -> None:
    await fund(world, 100)
    await world.ledger.hold(hold_request("gen-1", 100))
    await (world.ledger.void("gen-1", "too early") if ends == "void" else world.ledger.sweep(T0 + LEASE_US))
    await world.ledger.hold(hold_request("gen-2", 70))
    late = await world.ledger.settle(settlement("gen-1", gross=60))
    assert late.is_late
    assert (late.amount, late.released) == (60, 0)
    assert await world.ledger.settle(settlement("gen-1", gross=60)) == late
    wallet = await world.wallet()
    assert (wallet.posted, wallet.held, wallet.overdue) == (40, 70, 30)
    (message,) = await world.rows(OutboxMessage)
    assert (message.id, message.state) == ("settlement.arrived_late:gen-1", "pending")
    assert message.payload["amount_nano_usd"] == "60"
    with pytest.raises(InsufficientCredit):
        await world.ledger.hold(hold_request("gen-3", 1))
    await world.ledger.grant(CUSTOMER, 20, "part", "part")
    assert (await world.wallet()).overdue == 10
    await world.ledger.void("gen-2", "over")
    assert (await world.wallet()).overdue == 0


async def test_an_overdue_wallet_gets_no_credit_line_from_it(world: World) -> None:
    await fund(world, 100)
    await world.ledger.hold(hold_request("gen-1", 100))
    await world.ledger.void("gen-1", "too early")
    await world.ledger.hold(hold_request("gen-2", 100))
    await world.ledger.settle(settlement("gen-1", gross=60))
    await world.ledger.grant(CUSTOMER, 61, "covers it", "covers")
    assert (await world.wallet()).overdue == 0
    with pytest.raises(InsufficientCredit):
        await world.ledger.hold(hold_request("gen-3", 2))
    await world.ledger.hold(hold_request("gen-4", 1))


async def test_an_agreed_overdraft_can_be_reserved_and_no_more(world: World) -> None:
    async with world.database.writing() as session:
        session.add(AccountRow(id=f"wallet:{CUSTOMER}", kind="wallet", overdraft=500))
    await world.ledger.hold(hold_request("gen-1", 500))
    with pytest.raises(InsufficientCredit):
        await world.ledger.hold(hold_request("gen-2", 1))
    await world.ledger.settle(settlement("gen-1", gross=450))
    assert await world.ledger.balance(CUSTOMER) == balance(-450, 0)


async def test_a_settlement_without_a_hold_is_refused(world: World) -> None:
    with pytest.raises(HoldUnknown, match="Nothing was held under gen-never"):
        await world.ledger.settle(settlement("gen-never"))
    assert await world.rows(JournalTxnRow) == []


async def test_a_settlement_under_another_price_book_is_refused(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1"))
    with pytest.raises(LedgerConflict, match="admitted under price book pb-test; it cannot be settled under pb-new"):
        await world.ledger.settle(settlement("gen-1", price_book_id="pb-new"))
    assert (await world.hold("gen-1")).state == "pending"


async def test_a_charge_that_contradicts_itself_is_refused_and_the_hold_stays(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1"))
    crooked = charge(100, 70)
    object.__setattr__(crooked, "net", 71)
    with pytest.raises(LedgerConflict, match="net 71 is not gross 100"):
        await world.ledger.settle(settlement("gen-1", charge=crooked))
    assert (await world.hold("gen-1")).state == "pending"


async def test_a_settlement_that_no_account_could_hold_is_refused(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1"))
    with pytest.raises(LedgerConflict, match="an account would pass"):
        await world.ledger.settle(settlement("gen-1", gross=2**63, net=0))


def test_a_wallet_without_bound_has_room_for_anything_and_is_never_overdue() -> None:
    line = AccountLine("wallet:house", -5, 10**12, None, 0)
    line.settle_overdue(may_rise=True)
    assert (line.room, line.overdue) == (2**63 - 1, 0)


async def test_a_grant_happens_once_per_key(world: World) -> None:
    first = await world.ledger.grant(CUSTOMER, 500, "welcome", "k1")
    assert await world.ledger.grant(CUSTOMER, 500, "other words", "k1") == first
    assert (await world.ledger.balance(CUSTOMER)).posted == 500
    with pytest.raises(IdempotencyKeyReused, match=r"already made: 0\.0000005 USD to cus_ada") as reused:
        await world.ledger.grant(CUSTOMER, 501, "more", "k1")
    assert reused.value.status == 400
    with pytest.raises(IdempotencyKeyReused):
        await world.ledger.grant("cus_bob", 500, "welcome", "k1")


@pytest.mark.parametrize(
    ("amount", "reason", "idem", "words"),
    [
        (0, "r", "k", "above 0"),
        (-5, "r", "k", "above 0"),
        (AMOUNT_MAX + 1, "r", "k", "at most 1000000000.00 USD"),
        (1, "r", "", "1 to 150 characters, got 0"),
        (1, "r", "k" * 151, "got 151"),
        (1, "r" * 1001, "k", "at most 1000 characters"),
    ],
)
async def test_a_grant_that_makes_no_sense_is_refused(
    world: World, amount: int, reason: str, idem: str, words: str
) -> None:
    with pytest.raises(Exception, match=words):
        await world.ledger.grant(CUSTOMER, amount, reason, idem)


async def test_a_balance_never_passes_what_the_database_can_hold(world: World) -> None:
    for number in range(9):
        await world.ledger.grant(CUSTOMER, AMOUNT_MAX, "rich", f"k{number}")
    with pytest.raises(LedgerConflict, match=r"an account would pass 9223372036\.854775807 USD"):
        await world.ledger.grant(CUSTOMER, AMOUNT_MAX, "richer", "k9")
    assert (await world.ledger.balance(CUSTOMER)).posted == 9 * AMOUNT_MAX


async def test_amounts_out_of_range_are_refused_before_they_reach_the_books(world: World) -> None:
    await fund(world)
    with pytest.raises(ValueError, match="not within 0 and its ceiling 10"):
        await world.ledger.hold(hold_request("gen-1", 11, ceiling=10))
    with pytest.raises(ValueError, match="an extension must be within"):
        await world.ledger.extend("gen-1", -1)
    with pytest.raises(InsufficientCredit):
        await world.ledger.hold(hold_request("gen-1", 2**70))
    assert (await world.ledger.hold(hold_request("gen-1", 10, ceiling=2**70))).amount == 10


async def test_a_duplicate_usage_event_fails_alone(world: World) -> None:
    await fund(world)
    for number in range(10):
        await world.ledger.hold(hold_request(f"gen-{number}", 60))
    await world.ledger.settle(settlement("gen-0"))
    settlements = [settlement(f"gen-{number}") for number in range(1, 10)]
    settlements[4] = settlement("gen-5", rows=(usage_row("gen-0"),))
    answers = await asyncio.gather(*map(world.ledger.settle, settlements), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Transfer] * 4 + [LedgerRefused] + [Transfer] * 4
    assert (await world.hold("gen-5")).state == "pending"
    assert (await world.ledger.balance(CUSTOMER)) == balance(1_000 - 9 * 60, 60)
    assert len(await world.rows(UsageEvent)) == 9


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (PreparedRow("no_such_table", {}), "there is no table no_such_table"),
        (usage_row("gen-1", secret=1), "has no columns secret"),
        (PreparedRow("usage_event", {"request_id": "gen-1"}), "needs .*adjustment, admitted_at_us"),
    ],
)
async def test_a_row_that_fits_no_table_is_told_to_its_maker(world: World, row: PreparedRow, words: str) -> None:
    with pytest.raises(UnknownColumns, match=words):
        await world.ledger.settle(settlement("gen-1", rows=(row,)))


async def test_rows_of_other_rooms_keep_their_types(world: World) -> None:
    await fund(world)
    await world.ledger.hold(hold_request("gen-1"))
    explained = {"scores": [1.5, None, True], "why": "it's “fast”"}
    row = usage_row("gen-1", explanation=explained, timeline=bytes(range(256)), lines="[]")
    await world.ledger.settle(settlement("gen-1", rows=(row,)))
    (event,) = await world.rows(UsageEvent)
    assert (event.explanation, event.lines, event.timeline) == (explained, [], bytes(range(256)))
    assert (event.is_emulated, event.first_token_at_us) == (True, T0 + 300)


async def test_transactions_are_numbered_and_batches_chained_without_gaps(world: World) -> None:
    await fund(world, 10_000)
    await asyncio.gather(*(world.ledger.hold(hold_request(f"gen-{n}", 60)) for n in range(20)))
    await asyncio.gather(*(world.ledger.settle(settlement(f"gen-{n}")) for n in range(20)))
    assert [txn.id for txn in await world.rows(JournalTxnRow)] == list(range(1, 22))
    batches = await world.rows(LedgerBatchRow)
    assert [batch.seq for batch in batches] == list(range(1, len(batches) + 1))
    assert [batch.prev_sha256 for batch in batches] == ["0" * 64, *(batch.sha256 for batch in batches[:-1])]
    assert sum(entry.amount for entry in await world.rows(EntryRow)) == 0
