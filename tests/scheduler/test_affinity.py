"""A prompt goes back to where its beginning may be cached, but only under a gate of load and at no loss."""

from dataclasses import replace

from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load
from scheduler.jobs import Job
from scheduler.policy import Policy
from tests.scheduler.round_numbers import S, dispatch, fleet, job, names, offer, oid, rates

GATED = Policy(affinity_load_max=0.5)
NAMES = "abcdefgh"


def chat(name: str, affinity: str = "chat", customer_id: str = "ada") -> Job:
    return replace(job(name, Tier.STANDARD), affinity=affinity, customer_id=customer_id)


def market(loads: dict[str, Load] | None = None) -> Fleet:
    return fleet(*map(offer, NAMES), loads=loads)


def at_home(dispatcher: Dispatcher, loads: dict[str, Load] | None = None, now_us: int = 0, **changes: str) -> int:
    """Of 20 later turns of the conversation, how many are sent home first."""
    home = dispatch(dispatcher, chat("first"), market(), 0).candidate.offer.provider_id
    sent = 0
    for number in range(20):
        turn = replace(chat(f"turn{number}", **changes), requested_at_us=now_us)
        crowded = market({home: loads["home"]} if loads else None)
        sent += names(dispatcher.on_arrival(turn, crowded, now_us))[0] == home
        dispatcher.on_withdrawn(turn.id)
    return sent


def test_later_turns_of_a_conversation_go_home() -> None:
    assert at_home(Dispatcher(GATED)) == 20


def test_without_the_gate_open_nobody_is_sent_anywhere() -> None:
    assert at_home(Dispatcher()) < 15


def test_above_the_gate_a_popular_prefix_attracts_nobody() -> None:
    assert at_home(Dispatcher(GATED), loads={"home": Load(16)}) == 20  # half of its 32 places
    assert at_home(Dispatcher(GATED), loads={"home": Load(17)}) < 15


def test_another_conversation_another_customer_and_one_long_ago_are_not_at_home_there() -> None:
    assert at_home(Dispatcher(GATED), affinity="another") < 15
    assert at_home(Dispatcher(GATED), customer_id="bob") < 15
    assert at_home(Dispatcher(GATED), now_us=301 * S) < 15


def test_home_is_left_where_staying_loses_more_than_the_cache_saves() -> None:
    # 1,000 prompt tokens cost 10,000 pico each fresh and 1,000 cached: the cache saves at most 9 million pico.
    dispatcher = Dispatcher(GATED)
    only_a = fleet(offer("a"))
    dispatch(dispatcher, chat("first"), only_a)
    for output_pico, first in ((90_000, "a"), (150_000, "b")):  # 101 tokens at 50,000 more are 5, at 110,000 more 11
        turn = chat(f"turn{output_pico}")
        dearer = fleet(offer("a", cost=rates(10_000, output_pico)), offer("b"))
        assert names(dispatcher.on_arrival(turn, dearer, 0))[0] == first
        dispatcher.on_withdrawn(turn.id)


def test_what_is_remembered_is_bounded() -> None:
    dispatcher = Dispatcher(Policy(affinity_load_max=0.5, affinity_max=2))
    for number in range(5):
        dispatch(dispatcher, chat(f"j{number}", affinity=f"chat{number}"), fleet(offer("a")))
    assert len(dispatcher._placer._affinity._homes) == 2
    assert oid("a") in {home for home, _ in dispatcher._placer._affinity._homes.values()}
