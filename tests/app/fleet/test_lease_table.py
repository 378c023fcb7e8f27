from app.fleet.lease_table import DEBT_KEPT_US, LeaseTable
from app.fleet.leases import Denied, LeaseCandidate, Leased, LeaseRequest
from app.identity.caller import Limits
from scheduler.fleet import UNBOUNDED, Load, OfferId

A = OfferId("a/1")


def ask(
    lease_id: str, in_flight_max: int = 100, customer_id: str = "cus_1", limits: Limits | None = None
) -> LeaseRequest:
    return LeaseRequest(lease_id, customer_id, limits, (LeaseCandidate(A, 100, in_flight_max),), 7, 1, 15.0)


def load(table: LeaseTable) -> Load:
    return table.loads([A], 0)[A]


def test_a_process_alone_tells_loads_as_if_each_of_its_like_ran_as_much() -> None:
    table = LeaseTable(gateways=4)
    assert load(table) == Load()
    told: list[Load] = []
    for n in range(5):
        answer = table.admit(ask(f"l{n}", in_flight_max=13), 0)
        told.append(answer.loads[A] if isinstance(answer, Leased | Denied) else Load())
    assert [each.in_flight for each in told] == [7, 11, 15, 15, 15]  # one more here would make 8, 12, 16
    assert told[0] == Load(7, 13, 28)
    for n in range(3):
        assert table.release(f"l{n}", A, 0)
    assert load(table) == Load()


def test_a_long_lived_lease_does_not_make_the_table_keep_all_that_came_and_went_beside_it() -> None:
    table = LeaseTable()
    table.admit(ask("long", in_flight_max=50), 0)
    for n in range(5_000):
        table.admit(ask(f"l{n}", in_flight_max=60 + n % 7), 0)
        table.release(f"l{n}", A, 0)
    assert load(table) == Load(1, 50, 7)
    assert len(table._offers[A].bounds) < 2_000


def test_a_customers_debt_is_forgotten_when_it_can_mean_nothing_any_more() -> None:
    table, limits = LeaseTable(), Limits(60, 60, 9)
    for n in range(5_000):
        now_us = n * DEBT_KEPT_US // 100
        table.admit(ask(f"l{n}", customer_id=f"cus_{n}", limits=limits), now_us)
        table.release(f"l{n}", A, now_us)
    assert len(table._debts) < 1_100
    assert table.loads([A], 0)[A] == Load(0, UNBOUNDED, 0)
