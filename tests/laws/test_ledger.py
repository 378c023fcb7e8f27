"""The laws of the ledger, against a reference that keeps no balances and has no batches. Numbers are MONEY's."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.ledger.holds import Hold
from app.ledger.operations import (
    BeatHolds,
    ExtendHold,
    GrantCredit,
    NoCredit,
    Operation,
    Outcome,
    PlaceHold,
    SettleHold,
    SweepHolds,
    Transfer,
    UnknownHold,
    VoidHold,
)
from tests.ledger_books import CUSTOMERS, Books, funded
from tests.ledger_world import T0, hold_request, settlement

OVERDRAFTS = {"cus_ada": 0, "cus_bob": 50}


class Reference:
    """What the ledger must answer, from the whole history each time: no balance is ever stored."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, int]] = []
        self.holds: dict[str, dict[str, Any]] = {}
        self.settled: dict[str, tuple[str, int, int]] = {}
        self.granted: dict[str, tuple[str, int]] = {}

    def posted(self, customer: str) -> int:
        return sum(amount for who, amount in self.moves if who == customer)

    def held(self, customer: str) -> int:
        pending = (hold for hold in self.holds.values() if hold["state"] == "pending")
        return sum(hold["amount"] for hold in pending if hold["customer"] == customer)

    def room(self, customer: str) -> int:
        return self.posted(customer) - self.held(customer) + OVERDRAFTS[customer]

    def answer(self, operation: Operation) -> object:
        answer: object
        match operation:
            case PlaceHold(request):
                answer = self.place(
                    request.id, request.customer_id, request.amount, request.ceiling, request.expires_at_us
                )
            case ExtendHold(hold_id, amount):
                answer = self.extend(hold_id, amount)
            case VoidHold(hold_id):
                answer = self.resolve(hold_id, "void")
            case BeatHolds(hold_ids, expires_at_us):
                answer = sum(self.beat(hold_id, expires_at_us) for hold_id in hold_ids)
            case SweepHolds(now_us):
                expired = [key for key, hold in self.holds.items() if hold["expires"] <= now_us]
                answer = sum(self.resolve(hold_id, "expired") for hold_id in expired)
            case SettleHold(settlement):
                answer = self.settle(settlement.hold_id, settlement.charge.net)
            case GrantCredit(customer_id, amount, _, idem):
                answer = self.grant(customer_id, amount, idem)
        return answer

    def place(self, hold_id: str, customer: str, amount: int, ceiling: int, expires: int) -> object:
        if hold_id not in self.holds:
            if amount > self.room(customer):
                return "no credit"
            new = {"customer": customer, "amount": amount, "ceiling": ceiling, "expires": expires, "state": "pending"}
            self.holds[hold_id] = new
        hold = self.holds[hold_id]
        return ("hold", hold["amount"], hold["state"])

    def extend(self, hold_id: str, amount: int) -> bool:
        hold = self.holds.get(hold_id)
        if hold is None or hold["state"] != "pending":
            return False
        more = min(amount, hold["ceiling"] - hold["amount"])
        if more > self.room(hold["customer"]):
            return False
        hold["amount"] += more
        return True

    def resolve(self, hold_id: str, state: str) -> bool:
        hold = self.holds.get(hold_id)
        if hold is None or hold["state"] != "pending":
            return False
        hold["state"] = state
        return True

    def beat(self, hold_id: str, expires_at_us: int) -> bool:
        hold = self.holds.get(hold_id)
        if hold is None or hold["state"] != "pending":
            return False
        hold["expires"] = max(hold["expires"], expires_at_us)
        return True

    def settle(self, hold_id: str, net: int) -> object:
        if hold_id in self.settled:
            return self.settled[hold_id]
        hold = self.holds.get(hold_id)
        if hold is None:
            return "unknown hold"
        paid = min(net, hold["amount"])
        is_late = not self.resolve(hold_id, "captured" if paid else "void")
        self.moves.append((hold["customer"], -paid))
        kind = "late_settlement" if is_late else "settlement"
        self.settled[hold_id] = (kind, paid, 0 if is_late else hold["amount"] - paid)
        return self.settled[hold_id]

    def grant(self, customer: str, amount: int, idem: str) -> object:
        if idem not in self.granted:
            self.granted[idem] = (customer, amount)
            self.moves.append((customer, amount))
        return ("grant", amount, 0) if self.granted[idem] == (customer, amount) else "key reused"


def said(outcome: Outcome) -> object:
    """An outcome in the reference's words."""
    match outcome:
        case Hold():
            return ("hold", outcome.amount, outcome.state.value)
        case Transfer():
            return (outcome.kind, outcome.amount, outcome.released)
        case NoCredit():
            return "no credit"
        case UnknownHold():
            return "unknown hold"
        case bool() | int():
            return outcome
        case _:
            return "key reused"


HOLD_IDS = [f"gen-{number}" for number in range(12)]
CUSTOMER_OF = {hold_id: CUSTOMERS[number % 2] for number, hold_id in enumerate(HOLD_IDS)}
hold_ids = st.sampled_from(HOLD_IDS)
moments = st.integers(T0, T0 + 100)


def place(hold_id: str, amount: int, ceiling_more: int, expires_at_us: int) -> Operation:
    customer_id = CUSTOMER_OF[hold_id]
    return PlaceHold(
        hold_request(
            hold_id, amount, ceiling=amount + ceiling_more, customer_id=customer_id, expires_at_us=expires_at_us
        )
    )


def settle(hold_id: str, gross: int, adjustment: int) -> Operation:
    net = max(0, gross - adjustment)
    return SettleHold(settlement(hold_id, gross, net, customer_id=CUSTOMER_OF[hold_id]))


operations = st.one_of(
    st.builds(place, hold_ids, st.integers(0, 120), st.integers(0, 60), moments),
    st.builds(ExtendHold, hold_ids, st.integers(0, 60)),
    st.builds(settle, hold_ids, st.integers(0, 200), st.integers(0, 100)),
    st.builds(VoidHold, hold_ids, st.just("law"), moments),
    st.builds(BeatHolds, st.lists(hold_ids, max_size=3, unique=True).map(tuple), moments),
    st.builds(SweepHolds, moments, st.just(100)),
    st.builds(GrantCredit, st.sampled_from(CUSTOMERS), st.integers(1, 150), st.just("law"), st.sampled_from("abcdef"),
              st.just(T0)),
)  # fmt: skip


class Ledgers(RuleBasedStateMachine):
    """Batches of anything, duplicated at will, and after each the whole database held against the reference."""

    @initialize()
    def open(self) -> None:
        self.books = Books()
        self.reference = Reference()
        self.booked: list[Operation] = []
        for customer, overdraft in OVERDRAFTS.items():
            self.books.reader.execute(
                "INSERT INTO account VALUES (?, 'wallet', 0, 0, ?, 0)", (f"wallet:{customer}", overdraft)
            )

    def teardown(self) -> None:
        if hasattr(self, "books"):
            self.books.close()

    @rule(batch=st.lists(operations, min_size=1, max_size=12))
    def a_batch_answers_as_the_reference_does_one_by_one(self, batch: list[Operation]) -> None:
        outcomes = self.books.apply(*batch)
        assert [said(outcome) for outcome in outcomes] == [self.reference.answer(each) for each in batch]
        self.booked += [each for each, answer in zip(batch, outcomes, strict=True) if isinstance(answer, Transfer)]

    @precondition(lambda self: self.booked)
    @rule(data=st.data())
    def law_5_what_was_booked_and_is_delivered_again_changes_nothing(self, data: st.DataObject) -> None:
        before = self.books.digest()
        again = data.draw(st.lists(st.sampled_from(self.booked), min_size=1, max_size=5))
        outcomes = self.books.apply(*again)
        assert [said(outcome) for outcome in outcomes] == [self.reference.answer(each) for each in again]
        assert self.books.digest() == before

    @rule(hold_id=hold_ids)
    def law_11_void_restores_what_is_available_exactly(self, hold_id: str) -> None:
        customer = CUSTOMER_OF[hold_id]
        hold = self.reference.holds.get(hold_id)
        freed = hold["amount"] if hold and hold["state"] == "pending" else 0
        before = self.available(customer)
        self.books.apply(VoidHold(hold_id, "law", T0))
        self.reference.resolve(hold_id, "void")
        assert self.available(customer) == before + freed

    def available(self, customer: str) -> int:
        return self.books.rows(f"SELECT posted - held FROM account WHERE id = 'wallet:{customer}'")[0][0]  # noqa: S608

    @invariant()
    def law_1_entries_sum_to_zero(self) -> None:
        unbalanced = "SELECT txn_id FROM entry GROUP BY txn_id HAVING sum(amount) <> 0"
        assert not self.books.rows(unbalanced)
        drifted = (
            "SELECT a.id FROM account a LEFT JOIN entry e ON e.account_id = a.id "
            "GROUP BY a.id HAVING a.posted <> coalesce(sum(e.amount), 0)"
        )
        assert not self.books.rows(drifted)

    @invariant()
    def law_2_available_credit_stays_within_the_overdraft(self) -> None:
        short = "SELECT id FROM account WHERE kind = 'wallet' AND posted - held < -overdraft - overdue"
        assert not self.books.rows(short)
        for customer in CUSTOMERS:
            query = f"SELECT posted, held, overdue FROM account WHERE id = 'wallet:{customer}'"  # noqa: S608
            posted, held, overdue = self.books.rows(query)[0]
            assert (posted, held) == (self.reference.posted(customer), self.reference.held(customer))
            late = any(kind == "late_settlement" for kind, _, _ in self.reference.settled.values())
            assert overdue == 0 or late

    @invariant()
    def law_3_held_is_the_sum_of_pending_holds(self) -> None:
        drifted = (
            "SELECT a.id FROM account a LEFT JOIN hold h ON h.account_id = a.id AND h.state = 'pending' "
            "GROUP BY a.id HAVING a.held <> coalesce(sum(h.amount), 0) OR a.held < 0"
        )
        assert not self.books.rows(drifted)

    @invariant()
    def law_4_a_hold_resolves_once_and_law_8_pays_within_its_quote(self) -> None:
        found = self.books.rows("SELECT id, state, amount, captured, ceiling FROM hold")
        assert {row[0]: row[1] for row in found} == {key: hold["state"] for key, hold in self.reference.holds.items()}
        assert all(0 <= captured <= amount <= ceiling for _, _, amount, captured, ceiling in found)

    @invariant()
    def a_delivery_is_on_record_exactly_when_it_was_settled(self) -> None:
        events = self.books.rows("SELECT request_id FROM usage_event")
        assert {row[0] for row in events} == set(self.reference.settled)


Ledgers.TestCase.settings = settings(
    max_examples=30, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLedgers = Ledgers.TestCase


@settings(max_examples=25, deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 40)), min_size=2, max_size=12),
)
def test_law_5_messages_reordered_and_repeated_give_the_same_journal(
    random: Any, amounts: list[tuple[int, int]]
) -> None:
    holds = [place(hold_id, 100, 0, T0 + 100) for hold_id, _ in zip(HOLD_IDS, amounts, strict=False)]
    messages: list[Operation] = [
        settle(hold_id, *amount) if number % 3 else VoidHold(hold_id, "law", T0)
        for number, (hold_id, amount) in enumerate(zip(HOLD_IDS, amounts, strict=False))
    ]
    messages += [GrantCredit(CUSTOMERS[0], 5 + number, "law", f"late-{number}", T0) for number in range(3)]
    in_order = funded(holds, messages)
    shuffled = [*messages, *random.choices(messages, k=len(messages))]
    random.shuffle(shuffled)
    cut = random.randrange(len(shuffled))
    otherwise = funded(holds, shuffled[:cut], shuffled[cut:])
    try:
        assert otherwise.digest() == in_order.digest()
        accounts = "SELECT id, posted, held, overdue FROM account ORDER BY id"
        assert otherwise.rows(accounts) == in_order.rows(accounts)
    finally:
        in_order.close()
        otherwise.close()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(operations, min_size=1, max_size=8), min_size=1, max_size=6))
def test_one_big_batch_and_many_small_ones_write_the_same_journal(batches: list[list[Operation]]) -> None:
    apart, together = funded(*batches), funded([each for batch in batches for each in batch])
    try:
        assert together.digest() == apart.digest()
        for query in ("SELECT * FROM account ORDER BY id", "SELECT * FROM hold ORDER BY id"):
            assert together.rows(query) == apart.rows(query)
    finally:
        apart.close()
        together.close()
