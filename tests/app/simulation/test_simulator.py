"""The market on a virtual clock: conservation, hand-computed money, promises kept and broken, and theory."""

import json
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app import clock
from app.ledger.holds import LateCause
from app.metering.delivery import Delivery
from app.metering.meter import Bounds, Finish, Reported, meter
from app.metering.meter import Supply as MeteredSupply
from app.simulation.engine import Run, Simulator
from app.simulation.market import Market
from app.simulation.report import report, report_bytes
from app.simulation.tally import Tally
from app.simulation.workload import Workload
from pricing.rating import Ending
from pricing.slo import Tier
from pricing.usage import Usage
from providers.engine_model.spec import RemoteSpec
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import OfferId, SpeedCurve
from scheduler.jobs import Job
from tests.app.simulation.small_market import HOUR_NS, MODEL, market, offer, rates, steps, supply, workload

MINUTE_NS = HOUR_NS // 60
MIX = {Tier.PREMIUM: 0.3, Tier.STANDARD: 0.5, Tier.BULK: 0.2}


def run(over: Market, demand: Workload, duration_ns: int = MINUTE_NS, seed: int = 1) -> Run:
    return Simulator(over, demand, seed).run(duration_ns)


def test_money_and_times_are_what_a_hand_computes() -> None:
    """100 prompt tokens at 2 and 50 answer tokens at 8 USD/M, one step of 10 ms a token, all on time."""
    ended = run(market(), workload(rps=2.0))
    document = report(ended, "test")
    finished = document["requests"]["finished"]
    assert finished > 80
    assert document["conservation"]["billed_at_tier"] == finished
    each_usd = (100 * 2 + 50 * 8) / 1e6
    assert float(document["money"]["revenue_net"]) == pytest.approx(finished * each_usd, rel=1e-9)
    assert document["money"]["slo_adjustments"] == "0.00"
    premium = document["tiers"]["premium"]
    assert premium["attainment"] == 1.0
    # A prompt alone takes its 1 ms and one step; who comes within another's step waits for its end, and a
    # neighbour's prompt adds 1 ms to a step here and there.
    assert 11_000 <= premium["ttft_us"]["p50"] <= 22_000
    assert premium["tpot_us"]["p50"] == pytest.approx(10_000, rel=0.01)
    # 3.6 USD an hour for one minute, busy or not.
    assert document["money"]["cost_owned_by_time"] == "0.06"
    assert float(document["money"]["margin"]) == pytest.approx(finished * each_usd - 0.06, rel=1e-9)


@pytest.mark.parametrize(("rps", "seed"), [(0.05, 1), (5.0, 2), (60.0, 3), (200.0, 4)])
def test_every_request_is_somewhere_and_the_ledger_balances(rps: float, seed: int) -> None:
    demand = Workload(rps=rps, tiers=MIX, input_tokens=300, output_tokens=80, output_limits=((60, 1.0), (500, 1.0)))
    ended = run(market(), demand, MINUTE_NS // 12, seed)
    document = report(ended, "test")
    assert document["conservation"]["is_balanced"]
    assert document["ledger"]["sums_to_zero"]
    tally = ended.tally
    assert tally.offered.total() == tally.dispatched.total() + tally.refused.total() + ended.waiting
    assert tally.dispatched.total() == tally.finished + ended.in_flight
    by_model, by_offer = tally.by_model.values(), tally.by_offer.values()
    for name in ("finished", "tokens_output", "tokens_good", "gross", "net", "cost", "attained"):
        totals = {sum(getattr(s, name) for s in slices) for slices in (tally.by_tier.values(), by_model, by_offer)}
        assert len(totals) == 1, name
    revenue = -sum(amount for account, amount in tally.accounts.items() if account.startswith("wallet"))
    assert revenue == sum(sales.net for sales in by_offer)


def test_demand_beyond_the_fleet_is_refused_with_reasons_and_the_rest_is_kept() -> None:
    document = report(run(market(), workload(rps=200.0, tiers={Tier.STANDARD: 1.0}), MINUTE_NS // 6), "test")
    refused = document["requests"]["refused"]
    assert refused > 500
    assert sum(document["requests"]["refused_by_reason"].values()) == refused
    assert document["tiers"]["standard"]["attainment"] > 0.9
    (only,) = document["offers"].values()
    assert only["in_flight_peak"] <= 16


def test_the_same_seed_gives_the_same_report_byte_for_byte() -> None:
    demand = Workload(rps=20.0, tiers=MIX, input_tokens=200, output_tokens=50)
    first, again = (report_bytes(report(run(market(), demand, MINUTE_NS // 4, 7), "test")) for _ in range(2))
    other = report_bytes(report(run(market(), demand, MINUTE_NS // 4, 8), "test"))
    assert first == again
    assert first != other
    assert json.loads(first)["manifest"]["seed"] == 7


def test_no_clock_is_read_inside_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    simulating = threading.get_ident()  # a market of another test may be open in a thread of its own

    def forbidden(real: Any) -> Any:
        def read(*given: Any) -> Any:
            if threading.get_ident() == simulating:
                raise AssertionError("a simulation read the wall clock")
            return real(*given)

        return read

    simulator = Simulator(market(), workload(), 1)
    with monkeypatch.context() as patched:
        for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"):
            patched.setattr(time, name, forbidden(getattr(time, name)))
        for name in ("now", "now_us", "monotonic_us", "monotonic_ns"):
            patched.setattr(clock, name, forbidden(getattr(clock, name)))
        ended = simulator.run(MINUTE_NS // 10)
        report(ended, "test")
    assert ended.tally.offered.total() > 0


def test_the_dispatcher_never_sees_how_long_an_answer_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until something ends, worlds that differ only in true lengths look the same; later only through what ended."""
    seen: list[list[Job]] = []
    arrive = Dispatcher.on_arrival

    def noting(self: Dispatcher, job: Job, *args: Any) -> Any:
        seen[-1].append(job)
        return arrive(self, job, *args)

    monkeypatch.setattr(Dispatcher, "on_arrival", noting)
    for tokens in (400, 4_000):
        seen.append([])
        run(market(), workload(rps=3.0, trace=((100, tokens),), output_limits=((5_000, 1.0),)), 3_900_000_000)
    assert len(seen[0]) > 5
    assert seen[0] == seen[1]
    assert {job.output_tokens_max for job in seen[0]} == {5_000}


def test_an_engine_slower_than_its_curve_earns_less_and_says_so() -> None:
    """The offer's curve says 10 ms, the engine takes 20: premium's 12 ms is missed, standard's 25 is kept.

    The market learns it and refuses premium, but tries again now and then.
    """
    slow = market(supply(steps(step_ms=20.0)))
    ended = run(slow, workload(rps=0.3), 10 * MINUTE_NS)
    tally = ended.tally
    assert tally.finished > 5
    assert tally.charges["below_tier"] > 0
    sales = tally.by_tier[Tier.PREMIUM]
    assert sales.adjustment > 0
    assert sales.net == sales.gross - sales.adjustment
    assert sales.attained < sales.finished
    given_back = -sum(amount for name, amount in tally.accounts.items() if name.startswith("slo_adjustments"))
    assert given_back == sales.adjustment
    assert {name.split(":")[2] for name in tally.accounts if name.startswith("slo_adjustments")} == {
        LateCause.PROVIDER.value
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_slower_engines_never_earn_more_on_the_same_demand(seed: int) -> None:
    """Common random numbers: the same customers, only the steps get longer; some are late, then some are refused."""
    roomy = offer(concurrency_max=64, speed=SpeedCurve((1, 64), (10_000.0, 10_000.0), 10_000.0, 100_000.0))
    nets: list[int] = []
    for step_ms in (8.0, 13.0, 30.0):
        over = Market(market().book, (replace(supply(steps(step_ms=step_ms)), offer=roomy),))
        ended = run(over, workload(rps=0.4), 5 * MINUTE_NS, seed)
        nets.append(ended.tally.by_tier[Tier.PREMIUM].net)
    assert nets == sorted(nets, reverse=True)
    assert nets[0] > nets[-1]


def test_tokens_bought_cost_by_the_token_and_owned_ones_by_the_hour() -> None:
    bought = supply(RemoteSpec(10_000_000_000, 0, 16), per_hour=0, is_owned=False, cost=rates(300_000, 1_000_000))
    document = report(run(market(bought), workload(rps=2.0)), "test")
    finished = document["requests"]["finished"]
    cost_usd = finished * (100 * 0.3 + 50 * 1.0) / 1e6
    assert float(document["money"]["cost_bought_by_token"]) == pytest.approx(cost_usd, rel=1e-9)
    assert document["money"]["cost_owned_by_time"] == "0.00"
    idle = report(run(market(supply(per_hour=10**9)), workload(rps=1e-6), HOUR_NS), "test")
    assert (idle["requests"]["offered"], idle["money"]["cost"], idle["money"]["margin"]) == (0, "1.00", "-1.00")
    assert idle["money"]["margin_share"] is None


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_answer_is_graded_and_priced_exactly_as_the_gateway_meters_it(*, is_streamed: bool) -> None:
    """One answer of a simulation, recorded token by token through Delivery and metered: the same to the nano."""
    settled: list[Any] = []
    share = 1.0 if is_streamed else 0.0
    simulator = Simulator(market(supply(steps(step_ms=14.0))), workload(rps=1.0, streamed_share=share), 3)
    finish = simulator._finish

    def noting(done: Any, unit: Any, at_ns: int) -> None:
        settled.append((simulator._requests[done.key], done.token_ns.copy()))
        finish(done, unit, at_ns)

    simulator._finish = noting
    tally: Tally = simulator.run(3 * MINUTE_NS).tally
    net, ended_us = 0, list[int]()
    for request, token_ns in settled:
        delivery = Delivery(is_streamed=is_streamed)
        for count, at_ns in enumerate(token_ns.tolist(), start=1):
            moment = at_ns if is_streamed else int(token_ns[-1])
            delivery.record(moment - request.arrival.at_ns, content_bytes=4, tokens=count)
        tokens = len(token_ns)
        metered = meter(
            delivery,
            Reported(Usage(input=100, output=tokens), 0, "provider"),
            Bounds(request.quote.input_bound, request.job.output_tokens_max),
            request.ladder,
            MeteredSupply(offer().cost, request.dispatched_us - request.job.requested_at_us),
            Finish(Ending.STOP, 0),
        )
        net += metered.charge.net
        ended_us.append(metered.timeline.at_us[-1])
    assert len(settled) > 5
    assert ended_us == list(tally.ended_us[Tier.PREMIUM])
    assert net == tally.by_tier[Tier.PREMIUM].net


def sharing(load_places: int) -> Market:
    """A hosted service with R = r_max: egalitarian processor sharing, told to the dispatcher as 64 ms a token."""
    spec = RemoteSpec(token_ps_min=1_000_000_000, token_ps_shared=1_000_000_000, concurrency_max=load_places)
    curve = SpeedCurve((1, load_places), (1_000.0, 1_000.0 * load_places), ttft_base_us=0.0, prefill_tok_s=1e9)
    hosted = supply(spec, speed=curve, concurrency_max=load_places, is_owned=False, tiers=frozenset({Tier.BULK}))
    return market(hosted, tiers=(Tier.BULK,))


@pytest.mark.slow
def test_the_whole_market_obeys_processor_sharing_and_littles_law() -> None:
    """M/G/1-PS at ρ = 0.6: E[T] = E[S]/(1 − ρ); and the mean in flight is λ·E[T]."""
    demand = workload(rps=3.0, tiers={Tier.BULK: 1.0}, trace=((1, 101), (1, 301)), output_limits=((1_000, 1.0),))
    ended = run(sharing(256), demand, HOUR_NS)
    tally = ended.tally
    assert tally.refused.total() == 0
    took_s = np.array(tally.ended_us[Tier.BULK]) / 1e6
    service_s = 0.2  # the first token is there at once; 100 or 300 more at 1 ms
    assert float(took_s.mean()) == pytest.approx(service_s / (1 - 3.0 * service_s), rel=0.06)
    (unit,) = ended.units.values()
    rate_s = tally.finished / 3_600
    assert unit.area_us / (HOUR_NS / 1_000) == pytest.approx(rate_s * float(took_s.mean()), rel=1e-3)


def test_progress_is_told_and_time_only_runs_on() -> None:
    told: list[int] = []
    Simulator(market(), workload(rps=10.0), 1).run(2 * MINUTE_NS, told.append)
    assert told
    assert told == sorted(told)
    assert told[-1] < 2 * MINUTE_NS


@pytest.mark.parametrize("duration_ns", [0, -1, 10**19])
def test_an_impossible_duration_is_refused(duration_ns: int) -> None:
    with pytest.raises(ValueError, match="duration_ns must be 1 to"):
        Simulator(market(), workload(), 1).run(duration_ns)


def test_a_prompt_beyond_every_context_is_refused_and_counted() -> None:
    ended = run(market(supply(context_max=120)), workload(rps=5.0, trace=((119, 5), (200, 5))))
    refused = ended.tally.refused[Tier.PREMIUM, "context_too_long"]
    assert refused > 0
    assert report(ended, "test")["conservation"]["is_balanced"]


def test_two_offers_share_the_work_of_one_model() -> None:
    second = supply(id=OfferId("q/d"), provider_id="q")
    ended = run(market(supply(), second), workload(rps=30.0, tiers=MIX), MINUTE_NS // 3)
    answered = {name: sales.finished for name, sales in ended.tally.by_offer.items()}
    assert set(answered) == {"p/d", "q/d"}
    assert min(answered.values()) > 0.2 * sum(answered.values())
    assert MODEL in ended.tally.by_model


def test_the_dispatcher_sees_prompts_as_pending_until_their_first_token_and_places_until_their_last() -> None:
    """Answers of 10 s at 2 a second: many run, and all but the last few arrivals have had their first token."""
    simulator = Simulator(market(), workload(rps=2.0, trace=((100, 1_000),), output_limits=((2_000, 1.0),)), 1)
    ended = simulator.run(6 * 10**9)
    (load,) = simulator._plant.see(6_000_000).loads.values()
    placed = [request for request in simulator._requests.values() if request.unit is not None]
    unread = [request.job.input_tokens for request in placed if not request.first_us]
    assert len(placed) == ended.in_flight
    assert load.in_flight == ended.in_flight > 5
    assert load.prefill_tokens == sum(unread)
    assert len(unread) <= 1
