"""Neighbours of the published cases: other models, hardware and speeds, worked out from the collection by other means.

Nothing of ``pricing`` computes an expected value here: frontiers are drawn and read with a few lines over the collected
rows, and costs follow from their own throughput columns.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from pricing.candidates import Candidate, Selection, candidates
from pricing.costs import split_of, token_costs
from pricing.frontier import frontier
from pricing.hardware import hardware_costs, joules_per_token, tok_s_per_mw, usd_per_mtok
from pricing.profiles import LengthClass, Profile, cleaned
from pricing.shipped import shipped_profiles

COLLECTED = Path(__file__).parents[2] / "../shared/data/profiles/inferencex_measured_points.csv"
needs_collection = pytest.mark.skipif(
    not COLLECTED.exists(), reason="the collected source data are not beside this checkout"
)
COSTS = hardware_costs("hyperscaler")
USD = {"h100": 1.3, "h200": 1.41, "b200": 1.95, "b300": 2.34, "gb200": 2.21, "gb300": 2.652}
"""As the source states them, copied by hand."""

Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with COLLECTED.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if not row["flag"]]


@pytest.fixture(scope="module")
def profiles() -> tuple[Profile, ...]:
    return cleaned(shipped_profiles())


def newest(rows: Iterable[Row]) -> list[Row]:
    """Of several days that one configuration was run at one load, the last."""
    named = ("model", "hardware", "n_gpus", "engine", "precision", "parallelism", "mode", "spec_decoding")
    by_load: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        by_load.setdefault(tuple(row[name] for name in (*named, "isl", "osl", "concurrency")), []).append(row)
    return [row for own in by_load.values() for row in own if row["date"] == max(each["date"] for each in own)]


def read_off(points: list[tuple[float, float]], x: float) -> float:
    """Tokens per second per accelerator at a speed: the upper-right points, and a monotone curve through their logs."""
    front = [each for each in points if not any(other[0] >= each[0] and other[1] > each[1] for other in points)]
    best = {speed: max(y for x_, y in front if x_ == speed) for speed, _ in front}
    speeds = sorted(best)
    return float(np.exp(PchipInterpolator(speeds, np.log([best[speed] for speed in speeds]))(x)))


@needs_collection
@pytest.mark.parametrize(
    "asked",
    [
        ("gpt-oss-120b", "b200", "fp4", 1024, 1024, 72),
        ("gpt-oss-120b", "h200", "fp4", 1024, 1024, 100),
        ("gpt-oss-120b", "b200", "fp4", 8192, 1024, 86),
        ("DeepSeek-R1-0528", "b200", "fp4", 8192, 1024, 60),
        ("DeepSeek-R1-0528", "gb200", "fp4", 1024, 8192, 45),
        ("DeepSeek-R1-0528", "h200", "fp8", 8192, 1024, 30),
        ("Kimi-K2.5", "b200", "fp4", 1024, 1024, 60),
        ("MiniMax-M2.5", "b200", "fp8", 1024, 1024, 70),
        ("Qwen3.5-397B-A17B", "b200", "fp8", 8192, 1024, 50),
    ],
)
def test_a_frontier_reads_what_the_collected_rows_say(
    rows: list[Row], profiles: tuple[Profile, ...], asked: tuple[str, str, str, int, int, float]
) -> None:
    model, hardware, precision, isl, osl, x = asked
    wanted = {"model": model, "hardware": hardware, "precision": precision, "isl": str(isl), "osl": str(osl)}
    own = newest(row for row in rows if all(row[name] == value for name, value in wanted.items()))
    expected = read_off([(1_000 / float(row["tpot_ms"]), float(row["tput_tok_s_per_gpu"])) for row in own], x)
    chosen = Selection(hardware=frozenset({hardware}), precision=frozenset({precision}))
    found = candidates(profiles, model, LengthClass(isl, osl), COSTS, chosen)
    read = frontier(found.points).at(x)
    assert read.tok_s_per_gpu == pytest.approx(expected, rel=0.005)
    assert read.usd_per_mtok == pytest.approx(USD[hardware] / (expected * 0.0036), rel=0.005)


@needs_collection
def test_two_pools_of_any_size_cost_what_their_own_throughput_says(
    rows: list[Row], profiles: tuple[Profile, ...]
) -> None:
    """C_in = 1e6·c·n_prefill/(3600·r·isl), C_out likewise, r from the collection's column, which keeps two decimals."""
    by_key: dict[tuple[object, ...], Row] = {}
    for row in newest(row for row in rows if row["prefill_gpus"] and row["decode_gpus"]):
        key = (row["model"], row["hardware"], row["parallelism"], row["precision"], row["engine"], row["spec_decoding"])
        load = (row["isl"], row["osl"], int(float(row["concurrency"])), round(float(row["tpot_ms"]) / 1e3, 7))
        by_key[*key, *load] = row
    checked = 0
    for profile in profiles:
        configuration = profile.configuration
        if not configuration.has_pools:
            continue
        key = (profile.model, configuration.hardware, configuration.parallelism, configuration.precision)
        for point in profile.points:
            load = (str(point.lengths.isl), str(point.lengths.osl), point.concurrency, round(point.tpot_s_p50, 7))
            row = by_key[*key, configuration.engine, configuration.spec_decoding, *load]
            usd = USD[configuration.hardware]
            output_tok_s = float(row["output_tok_s_per_gpu"]) * float(row["n_gpus"])
            costs = token_costs(split_of(Candidate(profile, point, COSTS[configuration.hardware])), usd)
            per_mtok = usd / 3_600 * 1e6 / output_tok_s
            rounding = 0.001 + 0.006 / float(row["output_tok_s_per_gpu"])
            assert costs.output == pytest.approx(per_mtok * float(row["decode_gpus"]), rel=rounding)
            input_tok_s = output_tok_s * float(row["isl"]) / float(row["osl"])
            assert costs.input == pytest.approx(
                usd / 3_600 * 1e6 / input_tok_s * float(row["prefill_gpus"]), rel=rounding
            )
            checked += 1
    assert checked > 400


def test_class_costs_make_up_the_cost_of_all_tokens_at_every_point(profiles: tuple[Profile, ...]) -> None:
    """(C_in · input + C_out · output) / (input + output) is the cost of a token, however it was split."""
    for profile in profiles[::7]:
        if profile.is_bought_by_token:
            continue
        for point in profile.points[::5]:
            candidate = Candidate(profile, point, COSTS[profile.configuration.hardware])
            split = split_of(candidate)
            if split.method == "fit":
                continue  # several classes share one split there; each is met within its residual
            costs = token_costs(split, COSTS[profile.configuration.hardware].usd_per_hour)
            spent = costs.input * point.input_tok_s + costs.output * point.output_tok_s
            assert spent / point.total_tok_s == pytest.approx(candidate.usd_per_mtok, rel=1e-9)


@pytest.mark.parametrize(
    ("hardware", "tok_s", "mw", "joules"),
    [("h200", 855.0, 494_219.7, 2.0234), ("gb200", 13_413.0, 6_387_142.9, 0.15656), ("mi355x", 2_650.0, 1e6, 1.0)],
)
def test_tokens_of_a_megawatt_and_joules_of_a_token(hardware: str, tok_s: float, mw: float, joules: float) -> None:
    """All-in power: 1.73, 2.1 and 2.65 kW."""
    kw = COSTS[hardware].kw
    assert kw is not None
    assert tok_s_per_mw(tok_s, kw) == pytest.approx(mw, rel=1e-4)
    assert joules_per_token(tok_s, kw) == pytest.approx(joules, rel=1e-3)
    assert tok_s_per_mw(tok_s, kw) * joules_per_token(tok_s, kw) == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("ownership", "hardware", "tok_s", "expected"),
    [
        ("hyperscaler", "mi355x", 3_000.0, 0.1370),
        ("rental", "b200", 25_319.6, 0.0318),
        ("neocloud", "h200", 855.0, 0.5653),
    ],
)
def test_dollars_of_a_million_tokens_by_ownership(ownership: str, hardware: str, tok_s: float, expected: float) -> None:
    """1.48/(3000·0.0036), 2.90/(25,319.6·0.0036), 1.74/(855·0.0036)."""
    cost = hardware_costs(ownership)[hardware]
    assert usd_per_mtok(cost.usd_per_hour, tok_s) == pytest.approx(expected, abs=0.00005)


@pytest.mark.parametrize(
    ("hardware", "lengths"),
    [(name, LengthClass(8192, 1024)) for name in ("b200", "b300", "gb200", "gb300", "h200", "h100")]
    + [(name, LengthClass(1024, 1024)) for name in ("b200", "b300", "gb200", "gb300")],
)
def test_no_machines_frontier_without_speculation_has_any(
    profiles: tuple[Profile, ...], hardware: str, lengths: LengthClass
) -> None:
    chosen = Selection(hardware=frozenset({hardware}), spec_decoding=frozenset({"none"}))
    plain = frontier(candidates(profiles, "DeepSeek-R1-0528", lengths, COSTS, chosen).points)
    assert {each.profile.configuration.spec_decoding for each in plain.points} == {"none"}
    everything = candidates(profiles, "DeepSeek-R1-0528", lengths, COSTS, Selection(hardware=frozenset({hardware})))
    assert len(everything.points) > len(plain.points)
