import math
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from app.simulation.workload import Arrival, Workload, WorkloadError, arrivals, read_trace
from pricing.slo import Tier
from tests.app.simulation.small_market import MODEL, book

DRAWS = 20_000
TRACE = Path(__file__).parents[3] / "../shared/data/traces/azure2023_conv.csv.gz"


def drawn(workload: Workload, seed: int = 1, count: int = DRAWS) -> list[Arrival]:
    return list(islice(arrivals(workload, book(), [MODEL], seed), count))


def test_arrivals_are_a_poisson_process_of_the_rate_asked_for() -> None:
    at_s = np.array([arrival.at_ns for arrival in drawn(Workload(rps=40.0))]) / 1e9
    gaps = np.diff(at_s)
    assert DRAWS / at_s[-1] == pytest.approx(40.0, rel=0.02)
    assert kstest(gaps * 40.0, "expon").statistic < 0.015
    counts = np.histogram(at_s, bins=int(at_s[-1]))[0]
    assert float(counts.var() / counts.mean()) == pytest.approx(1.0, rel=0.15)


def test_tiers_limits_and_streams_come_in_the_shares_asked_for() -> None:
    found = drawn(Workload(output_limits=((10, 3.0), (20, 1.0)), streamed_share=0.25))
    tiers = Counter(arrival.tier for arrival in found)
    assert tiers[Tier.PREMIUM] / DRAWS == pytest.approx(0.15, abs=0.01)
    assert tiers[Tier.STANDARD] / DRAWS == pytest.approx(0.60, abs=0.01)
    assert sum(arrival.output_limit == 10 for arrival in found) / DRAWS == pytest.approx(0.75, abs=0.01)
    assert sum(arrival.is_streamed for arrival in found) / DRAWS == pytest.approx(0.25, abs=0.01)


def test_lengths_are_log_normal_about_their_medians_and_independent_of_each_other() -> None:
    found = drawn(Workload(input_tokens=1_000, input_sigma=0.5, output_tokens=300, output_sigma=0.8))
    inputs, outputs = (np.array([getattr(a, name) for a in found]) for name in ("input_tokens", "output_tokens"))
    assert float(np.median(inputs)) == pytest.approx(1_000, rel=0.02)
    assert float(np.log(outputs).std()) == pytest.approx(0.8, rel=0.03)
    assert abs(float(np.corrcoef(np.log(inputs), np.log(outputs))[0, 1])) < 0.03


def test_a_few_customers_ask_most() -> None:
    asked = Counter(arrival.customer_id for arrival in drawn(Workload(customers=100, customer_skew=1.0)))
    harmonic = sum(1 / k for k in range(1, 101))
    assert asked["cus_00000"] / DRAWS == pytest.approx(1 / harmonic, abs=0.01)
    assert asked.most_common(1)[0][0] == "cus_00000"


def test_changing_one_part_leaves_all_other_draws_as_they_were() -> None:
    base = drawn(Workload(), count=5_000)
    dearer = drawn(Workload(tiers={Tier.BULK: 1.0}, output_limits=((7, 1.0),)), count=5_000)
    for name in ("at_ns", "customer_id", "prompt_bytes", "input_tokens", "output_tokens", "is_streamed"):
        assert [getattr(a, name) for a in base] == [getattr(a, name) for a in dearer]
    assert {a.tier for a in dearer} == {Tier.BULK}


def test_equal_seeds_give_equal_streams_and_others_do_not() -> None:
    assert drawn(Workload(), 3, 5_000) == drawn(Workload(), 3, 5_000)
    assert drawn(Workload(), 3, 100) != drawn(Workload(), 4, 100)


def test_tiers_that_a_model_lacks_are_left_out_for_it() -> None:
    only = islice(arrivals(Workload(), book(Tier.STANDARD, Tier.BULK), [MODEL], 1), 2_000)
    tiers = Counter(arrival.tier for arrival in only)
    assert set(tiers) == {Tier.STANDARD, Tier.BULK}
    assert tiers[Tier.STANDARD] / 2_000 == pytest.approx(0.60 / 0.85, abs=0.03)


def test_lengths_may_be_drawn_from_a_trace() -> None:
    found = drawn(Workload(trace=((10, 1), (20, 2))))
    assert {(a.input_tokens, a.output_tokens) for a in found} == {(10, 1), (20, 2)}
    assert sum(a.input_tokens == 10 for a in found) / DRAWS == pytest.approx(0.5, abs=0.02)


def test_a_trace_is_read_by_its_column_names_and_empty_rows_are_skipped() -> None:
    text = "output_tokens,other,input_tokens\n5,x,7\n0,x,7\n6,y,8\n"
    assert read_trace(text.splitlines()) == ((7, 5), (8, 6))


@pytest.mark.skipif(not TRACE.exists(), reason="the shared traces are not beside this checkout")
def test_the_default_lengths_resemble_a_real_trace_of_conversations() -> None:
    import gzip  # noqa: PLC0415 (only where the trace is there)

    with gzip.open(TRACE, "rt") as lines:
        rows = np.array(read_trace(lines))
    found = drawn(Workload())
    for column, name in ((0, "input_tokens"), (1, "output_tokens")):
        ratio = float(np.median([getattr(a, name) for a in found]) / np.median(rows[:, column]))
        assert abs(math.log(ratio)) < math.log(1.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this one has none"),
        ("a,b\n1,2\n", "needs the columns"),
        ("input_tokens,output_tokens\n1,x\n", "line 2 of the trace"),
        ("input_tokens,output_tokens\n1\n", "line 2 of the trace"),
        ("input_tokens,output_tokens\n0,5\n", "no row with tokens"),
    ],
)
def test_a_trace_that_cannot_be_read_is_refused_by_line(text: str, words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        read_trace(text.splitlines())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rps": 0.0}, "rps must be"),
        ({"rps": float("nan")}, "rps must be"),
        ({"customers": 0}, "customers must be"),
        ({"input_tokens": 0.5}, "input_tokens must be"),
        ({"output_sigma": -1}, "output_sigma must be"),
        ({"streamed_share": 2}, "streamed_share must be"),
        ({"tiers": {}}, "tiers must be weights"),
        ({"tiers": {Tier.BULK: -1.0}}, "tiers must be weights"),
        ({"output_limits": ((0, 1.0),)}, "output_limits must be"),
        ({"output_limits": ()}, "output_limits must be weights"),
        ({"trace": ((0, 1),)}, "lengths in a trace"),
        ({"models": {"x": 0.0}}, "models must be weights"),
    ],
)
def test_demand_that_cannot_be_is_refused_by_name(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        Workload(**fields)


def test_demand_for_what_is_not_sold_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"asks for other; on sale are m"):
        next(arrivals(Workload(models={"other": 1.0}), book(), [MODEL], 1))
    with pytest.raises(WorkloadError, match="tiers of m"):
        next(arrivals(Workload(tiers={Tier.PREMIUM: 1.0}), book(Tier.BULK), [MODEL], 1))


def test_bursts_move_arrivals_in_time_and_keep_their_mean() -> None:
    """Weights 1 : 3 over spans of 10 s: a quarter of the arrivals falls into the first half of each cycle."""
    busy = Workload(rps=100.0, bursts=(1.0, 3.0), burst_s=10.0)
    at_s = [a.at_ns / 1e9 for a in islice(arrivals(busy, book(), [MODEL], 3), 40_000)]
    first = sum(at % 20 < 10 for at in at_s)
    assert first / len(at_s) == pytest.approx(0.25, abs=0.01)
    assert len(at_s) / at_s[-1] == pytest.approx(100.0, rel=0.02)
    assert at_s == sorted(at_s)


@pytest.mark.parametrize("bursts", [(0.0, 1.0), (-1.0,), (float("inf"),)])
def test_bursts_that_cannot_be_are_refused(bursts: tuple[float, ...]) -> None:
    with pytest.raises(WorkloadError, match="bursts"):
        Workload(bursts=bursts)
