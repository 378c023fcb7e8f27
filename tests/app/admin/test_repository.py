from app.admin import repository
from app.admin.figures import Answer, Minute, Pace, Sums, day_began_us, filled_minutes, paces, percentile
from app.admin.pages import Cursor
from app.admin.repository import RequestFilter
from app.ledger.models import AccountRow, HoldRow
from pricing.slo import Tier
from tests.app.console.market_fixtures import NOON_US, Market, event, put

MINUTE = 60_000_000
MIDNIGHT = NOON_US - 12 * 60 * MINUTE


async def test_today_begins_at_midnight_utc_and_counts_what_finished_since(empty_market: Market) -> None:
    desk = empty_market.desk
    await put(
        desk,
        event("gen-1", MIDNIGHT - 1, net=7, gross=7),
        event("gen-2", MIDNIGHT),
        event(
            "gen-3",
            NOON_US,
            tokens_good=60,
            is_attained=False,
            gross=100_000_000,
            adjustment=30_000_000,
            net=70_000_000,
        ),
    )
    async with desk.database.reading() as session:
        figures = await repository.day_figures(session, NOON_US)
    assert day_began_us(NOON_US) == MIDNIGHT
    assert figures.by_tier[Tier.STANDARD] == Sums(
        accepted=2,
        attained=1,
        tokens_input=100,
        tokens_output=200,
        tokens_good=160,
        gross=200_000_000,
        adjustment=30_000_000,
        revenue=170_000_000,
        cost=80_000_000,
    )
    assert figures.by_tier[Tier.PREMIUM] == figures.by_tier[Tier.BULK] == Sums()
    assert figures.total.margin == 90_000_000


async def test_revenue_is_what_was_paid_never_more_than_was_held(empty_market: Market) -> None:
    await put(empty_market.desk, event("gen-1", NOON_US, net=90_000_000, gross=90_000_000, held=60_000_000))
    async with empty_market.desk.database.reading() as session:
        assert (await repository.day_figures(session, NOON_US)).total.revenue == 60_000_000


async def test_a_broken_answer_is_a_miss_and_a_failure_and_a_hang_up_is_neither(empty_market: Market) -> None:
    broken = {"gross": 100, "adjustment": 100, "net": 0, "is_attained": False, "tokens_good": 3}
    await put(
        empty_market.desk,
        event("gen-1", NOON_US, ending="provider_error", **broken),
        event("gen-2", NOON_US, ending="provider_timeout", **broken),
        event("gen-3", NOON_US, ending="crash", **broken),
        event("gen-4", NOON_US, ending="hangup"),
    )
    async with empty_market.desk.database.reading() as session:
        total = (await repository.day_figures(session, NOON_US)).total
    assert (total.accepted, total.attained, total.failed) == (4, 1, 3)


async def test_a_request_whose_process_died_is_an_accepted_miss(empty_market: Market) -> None:
    def hold(hold_id: str, state: str, resolved_at_us: int | None) -> HoldRow:
        return HoldRow(
            id=hold_id,
            account_id="wallet:cus_1",
            customer_id="cus_1",
            state=state,
            amount=5,
            ceiling=9,
            price_book_id="pb-1",
            model="m",
            tier="premium",
            created_at_us=MIDNIGHT,
            expires_at_us=MIDNIGHT,
            resolved_at_us=resolved_at_us,
        )

    await put(empty_market.desk, AccountRow(id="wallet:cus_1", kind="wallet", overdraft=0))
    await put(
        empty_market.desk,
        hold("gen-dead", "expired", NOON_US),
        hold("gen-dead-yesterday", "expired", MIDNIGHT - 1),
        hold("gen-refused", "void", NOON_US),
        hold("gen-running", "pending", None),
        hold("gen-late", "expired", NOON_US),
        event("gen-late", NOON_US, tier_served="premium"),
    )
    async with empty_market.desk.database.reading() as session:
        premium = (await repository.day_figures(session, NOON_US)).by_tier[Tier.PREMIUM]
    assert (premium.accepted, premium.attained, premium.failed) == (2, 1, 1)


async def test_sums_that_no_32_bit_number_holds_stay_exact(empty_market: Market) -> None:
    huge = 4 * 10**18
    await put(
        empty_market.desk,
        event(
            "gen-1", NOON_US, net=huge, gross=huge, held=huge, quote_ceiling=huge, tokens_output=10**12, tokens_good=0
        ),
        event("gen-2", NOON_US, net=1, gross=1, cost=huge),
    )
    async with empty_market.desk.database.reading() as session:
        total = (await repository.day_figures(session, NOON_US)).total
    assert (total.revenue, total.cost, total.tokens_output) == (huge + 1, huge + 40_000_000, 10**12 + 100)


async def test_the_last_hour_has_sixty_minutes_whether_or_not_anything_happened(empty_market: Market) -> None:
    await put(
        empty_market.desk,
        event("gen-1", NOON_US - 59 * MINUTE),
        event("gen-2", NOON_US - 60 * MINUTE),
        event("gen-3", NOON_US - 1),
        event("gen-4", NOON_US - MINUTE, tokens_good=1, is_attained=False),
    )
    async with empty_market.desk.database.reading() as session:
        minutes = (await repository.day_figures(session, NOON_US)).minutes
    assert len(minutes) == 60
    assert minutes[0] == Minute(NOON_US - 59 * MINUTE, 100, 100, 100_000_000, 40_000_000)
    assert minutes[-2] == Minute(NOON_US - MINUTE, 200, 101, 200_000_000, 80_000_000)
    assert minutes[-1] == Minute(NOON_US, 0, 0, 0, 0)
    assert sum(minute.tokens_output for minute in minutes) == 300


async def test_pages_of_requests_have_no_gap_and_no_repeat_though_many_finish_in_one_microsecond(
    empty_market: Market,
) -> None:
    ids = [f"gen-{number:02d}" for number in range(7)]
    await put(empty_market.desk, *(event(request_id, NOON_US) for request_id in ids), event("gen-later", NOON_US + 1))
    seen: list[str] = []
    after: Cursor | None = None
    async with empty_market.desk.database.reading() as session:
        for _ in range(4):
            rows = list(await repository.requests_page(session, RequestFilter(), after, 3))
            seen += [row.request_id for row in rows[:3]]
            if len(rows) <= 3:
                break
            after = Cursor(rows[2].finished_at_us, rows[2].request_id)
    assert seen == ["gen-later", *reversed(ids)]


async def test_an_outcome_is_good_late_or_failed_and_nothing_else(empty_market: Market) -> None:
    late = {"is_attained": False, "tokens_good": 3}
    await put(
        empty_market.desk,
        event("gen-good", NOON_US),
        event("gen-late", NOON_US, **late),
        event("gen-failed", NOON_US, ending="provider_error", **late),
    )
    found: dict[str, list[str]] = {}
    async with empty_market.desk.database.reading() as session:
        for outcome in repository.OUTCOMES:
            rows = await repository.requests_page(session, RequestFilter(outcome=outcome), None, 9)
            found[outcome] = [row.request_id for row in rows]
    assert found == {"good": ["gen-good"], "late": ["gen-late"], "failed": ["gen-failed"]}


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([10, 20, 30, 40], 50) == 20
    assert percentile([10, 20, 30, 40], 95) == 40
    assert percentile([10], 1) == 10


def test_a_pace_rests_on_streamed_answers_for_tpot_and_on_all_with_a_token_for_ttft() -> None:
    answers = [
        Answer("p/d", False, True, 101, 101, ttft_us=300, decode_us=1_000),
        Answer("p/d", False, False, 1, 0, ttft_us=500, decode_us=0),
        Answer("p/d", False, True, 50, 50, ttft_us=900, decode_us=None),
        Answer("p/d", True, False, 0, 0, ttft_us=None, decode_us=None),
    ]
    pace = paces(answers)["p/d"]
    assert (pace.answers, pace.failed, pace.attained) == (4, 1, 2)
    assert pace.ttft_us == {50: 500, 95: 900, 99: 900}
    assert pace.tpot_us == {50: 10, 95: 10, 99: 10}
    assert paces([]) == {}
    assert paces(answers[3:])["p/d"] == Pace(1, 1, 0, 0, 0)


def test_minutes_that_nothing_was_read_for_are_zero() -> None:
    assert filled_minutes({}, 5 * MINUTE, 2) == (Minute(4 * MINUTE, 0, 0, 0, 0), Minute(5 * MINUTE, 0, 0, 0, 0))


async def test_the_books_of_a_market_with_a_history_balance(market: Market) -> None:
    async with market.desk.database.snapshot() as session:
        balance = await repository.trial_balance(session)
        accounts = await repository.accounts(session)
        transactions = await repository.transactions_page(session, None, 100)
    assert balance.drift == 0
    assert balance.wallets == 3
    assert all(row.kind != "wallet" for row in accounts)
    assert all(sum(leg.amount for leg in legs) == 0 for _, legs in transactions)


async def test_the_days_revenue_equals_what_left_the_wallets(market: Market) -> None:
    async with market.desk.database.snapshot() as session:
        revenue = (await repository.day_figures(session, NOON_US)).total.revenue
        balance = await repository.trial_balance(session)
    assert balance.by_kind["wallet"] == 3 * 250_000_000_000 - revenue
