"""Each format, read into the same operating point, and what it refuses."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pricing.profiles import Basis, LengthClass, Mode
from providers.importers.facts import Facts
from providers.importers.importing import Format
from providers.importers.source_file import SourceFile
from tests.providers.importers.result_files import (
    AIPERF,
    FACTS,
    INFERENCEX,
    INPUT_TOK_S,
    OUTPUT_TOK_S,
    PARETO,
    VLLM,
    imported,
    json_file,
    one_profile,
    refusal,
    table,
    without,
)

DATA = Path(__file__).parents[3] / "../shared/data/profiles"
SOURCES: Mapping[str, tuple[SourceFile, Facts]] = {
    "inferencex": (json_file(INFERENCEX), Facts()),
    "vllm-bench": (json_file(VLLM), FACTS),
    "aiperf": (json_file(AIPERF), FACTS),
    "aiconfigurator": (table([PARETO]), Facts(parallelism=None)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_format_reads_the_same_run_into_the_same_figures(name: str) -> None:
    source, facts = SOURCES[name]
    profile = one_profile(source, facts)
    (point,) = profile.points
    assert (profile.model, profile.configuration.hardware, profile.configuration.n_gpus) == ("Model-A", "h200", 8)
    assert (profile.configuration.engine, profile.configuration.precision) == ("vllm", "fp8")
    assert (point.lengths, point.concurrency) == (LengthClass(1000, 101), 16)
    assert point.ttft_s_p50 == pytest.approx(0.5)
    assert point.tpot_s_p50 == pytest.approx(0.01)
    assert point.output_tok_s == pytest.approx(OUTPUT_TOK_S)
    assert point.input_tok_s == pytest.approx(INPUT_TOK_S)
    assert point.osl_mean == pytest.approx(101)
    assert f"sha256:{source.sha256}" in point.provenance.source
    assert imported(source, facts).files[0].format == name


@pytest.mark.parametrize("name", ["inferencex", "vllm-bench", "aiperf"])
def test_a_p99_is_kept_as_measured(name: str) -> None:
    source, facts = SOURCES[name]
    (point,) = one_profile(source, facts).points
    assert point.provenance.basis is Basis.MEASURED
    assert (point.ttft_s_p99, point.tpot_s_p99) == (pytest.approx(0.9), pytest.approx(0.012))


def test_aiconfigurators_points_are_modelled_and_have_no_p99() -> None:
    (point,) = one_profile(table([PARETO])).points
    assert point.provenance.basis is Basis.MODELLED
    assert (point.ttft_s_p99, point.requests, point.provenance.engine_version) == (None, None, "0.24.0")


def test_engine_version_and_day_are_kept() -> None:
    assert one_profile(json_file(INFERENCEX)).points[0].provenance.engine_version == "0.21.0"
    for source in (json_file(VLLM), json_file(AIPERF)):
        assert one_profile(source, FACTS).points[0].provenance.measured_on == date(2026, 4, 28)


def test_inferencex_answers_shorter_than_their_class_are_read_from_the_mean_times() -> None:
    # (1.4 − 0.5) / 0.01 + 1 = 91 tokens; prompts in the same proportion, input / output = 10.
    row = {**INFERENCEX, "mean_e2el": 1.4, "output_tput_per_gpu": 130.0, "input_tput_per_gpu": 1300.0}
    (point,) = one_profile(json_file(without(row, "tput_per_gpu"))).points
    assert point.osl_mean == pytest.approx(91)
    assert point.isl_mean == pytest.approx(910)


def disaggregated(**changes: Any) -> dict[str, Any]:
    """2 prefill and 6 decode accelerators: output per decode, input per prefill accelerator."""
    return {
        **without(INFERENCEX, "tp", "ep"),
        "disagg": True,
        **dict.fromkeys(("prefill_tp", "prefill_num_workers", "prefill_ep"), 1),
        "decode_tp": 3,
        "decode_num_workers": 2,
        "decode_ep": 1,
        "num_decode_gpu": 6,
        "num_prefill_gpu": 1,
        "framework": "dynamo-vllm",
        "tput_per_gpu": (OUTPUT_TOK_S + INPUT_TOK_S) / 7,
        "output_tput_per_gpu": OUTPUT_TOK_S / 6,
        "input_tput_per_gpu": INPUT_TOK_S / 1,
        **changes,
    }


@pytest.mark.parametrize("dropped", [(), ("input_tput_per_gpu",)])
def test_a_disaggregated_inferencex_result_counts_each_pools_tokens_on_its_own_accelerators(
    dropped: tuple[str, ...],
) -> None:
    profile = one_profile(json_file(without(disaggregated(), *dropped)))
    configuration, (point,) = profile.configuration, profile.points
    assert (configuration.mode, configuration.n_gpus) == (Mode.DISAGGREGATED, 7)
    assert (configuration.prefill_gpus, configuration.decode_gpus) == (1, 6)
    assert configuration.parallelism == "P:tp1dp1ep1x1 D:tp3dp1ep1x2"
    assert point.output_tok_s == pytest.approx(OUTPUT_TOK_S)
    assert point.input_tok_s == pytest.approx(INPUT_TOK_S)


def test_a_throughput_per_all_accelerators_is_not_taken_for_one_per_decode_accelerator() -> None:
    row = disaggregated(output_tput_per_gpu=OUTPUT_TOK_S / 7)
    assert "disagrees with input and output" in refusal(json_file(row))
    even = disaggregated(num_prefill_gpu=6, output_tput_per_gpu=OUTPUT_TOK_S / 12, tput_per_gpu=11_744 / 12)
    assert "must be per decode accelerator" in refusal(json_file(without(even, "input_tput_per_gpu")))


def test_a_disaggregated_pareto_row_knows_its_pools() -> None:
    row = {
        **without(PARETO, "parallel", "gemm", "moe", "kvcache", "backend", "version", "system"),
        "(p)workers": 2,
        "(p)parallel": "tp1pp1dp1etp1ep1",
        "(d)workers": 3,
        "(d)parallel": "tp2pp1dp1etp2ep1",
        "(d)gemm": "bfloat16",
        "(d)moe": "w4a16_mxfp4",
        "(p)backend": "trtllm",
        "(d)backend": "trtllm",
        "(p)system": "h200_sxm",
        "(d)system": "h200_sxm",
        "(d)version": "1.3.0rc20",
    }
    configuration = one_profile(table([row])).configuration
    assert (configuration.prefill_gpus, configuration.decode_gpus, configuration.n_gpus) == (2, 6, 8)
    assert (configuration.engine, configuration.precision) == ("trtllm", "fp4")
    mixed = refusal(table([{**row, "(d)system": "b200_sxm"}]))
    assert "line 2: (p)system: prefill on h200_sxm and decode on b200_sxm" in mixed


def test_a_modelled_alternative_for_a_load_gives_way_to_the_one_with_more_output() -> None:
    slower = {**PARETO, "ttft": 450.0, "tokens/s": 1000.0, "tokens/s/gpu": 125.0}
    found = imported(table([slower, PARETO]))
    assert found.left_out == 1
    assert [point.output_tok_s for point in found.profiles[0].points] == [pytest.approx(OUTPUT_TOK_S)]


def test_kernels_that_a_precision_does_not_tell_apart_are_not_mixed_in_one_curve() -> None:
    rows = [
        {**PARETO, "moe": "w4a16_mxfp4"},
        {**PARETO, "moe": "w4a8_mxfp4_mxfp8", "concurrency": 8, "tokens/s": 538.6, "tokens/s/gpu": 67.33},
    ]
    assert "line 3: one deployment with two of variant" in refusal(table(rows))


ROWS: Mapping[str, tuple[Callable[[Mapping[str, Any]], str], Mapping[str, Any]]] = {
    "inferencex": (lambda row: refusal(json_file(row)), INFERENCEX),
    "vllm": (lambda row: refusal(json_file(row), FACTS), VLLM),
    "aiperf": (lambda row: refusal(json_file(row), FACTS), AIPERF),
    "pareto": (lambda row: refusal(table([row])), PARETO),
}


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("inferencex", {"median_tpot": 10.0, "mean_tpot": 10.1, "p99_tpot": 12.0}, "is one of them in milliseconds"),
        ("inferencex", {"median_tpot_ms": 10.0}, "says the same as median_tpot"),
        ("inferencex", {"conc": None}, "conc: missing"),
        ("inferencex", {"conc": 0}, "conc: expected a number above 0, got 0"),
        ("inferencex", {"conc": 2.5}, "conc: expected a whole number"),
        ("inferencex", {"conc": True}, "conc: expected a number, got True"),
        ("inferencex", {"median_ttft": -0.5}, "median_ttft: expected a number above 0"),
        ("inferencex", {"median_ttft": "0.5"}, "median_ttft: expected a number, got '0.5'"),
        ("inferencex", {"hw": "h1000"}, "unknown hardware 'h1000'; did you mean h100?"),
        ("inferencex", {"precision": "fp12"}, "unknown precision 'fp12'"),
        ("inferencex", {"mean_e2el": 1500.0}, "mean times tell of answers of"),
        ("inferencex", {"tput_per_gpu": 1.0}, "fewer than"),
        ("inferencex", {"p99_ttft": 0.1}, "a p99 of 0.1 s lies below its median"),
        (
            "inferencex",
            {"output_tput_per_gpu": 134_666.0, "tput_per_gpu": 136_000.0},
            "do not belong to a class of 1000",
        ),
        ("vllm", {"max_concurrency": None}, "run it with --max-concurrency"),
        ("vllm", {"request_rate": 4.0}, "were not held"),
        ("vllm", {"num_prompts": 8, "completed": 8}, "never were 16 at once"),
        ("vllm", {"completed": 100}, "60 of 160 requests failed"),
        ("vllm", {"completed": 0}, "160 of 160 requests failed"),
        ("vllm", {"total_token_throughput": 5.0}, "total_token_throughput"),
        ("vllm", {"total_input_tokens": 160_001}, "state the class with --isl"),
        ("inferencex", {"p90_tpot": 0.011, "p50_e2el_ms": 1500.0}, "several units"),
        ("vllm", {"median_ttft_s": 0.5}, "says the same as"),
        ("aiperf", {"was_cancelled": True}, "the run was cancelled"),
        ("aiperf", {"input_config": {"loadgen": {}}}, "run it with --concurrency"),
        ("aiperf", {"error_request_count": {"unit": "requests", "avg": 9}}, "9 of 169 requests failed"),
        ("aiperf", {"inter_token_latency": {"avg": 10.0, "p50": 10.0}}, "inter_token_latency.unit: expected a unit"),
        ("aiperf", {"inter_token_latency": {"unit": "s", "p50": 10.0}}, "is one of them in milliseconds"),
        ("aiperf", {"output_token_throughput": {"unit": "tokens/min", "avg": 1.0}}, "expected tokens/sec"),
        ("pareto", {"tpot": 0.01}, "line 2: tokens/s/user: 100 tok/s/user disagrees"),
        ("pareto", {"tokens/s/user": ""}, "nothing bears the unit of its times out"),
        ("pareto", {"num_total_gpus": 4, "tokens/s/gpu": 269.33}, "is 8 wide"),
        ("pareto", {"tokens/s/gpu": 1.0}, "disagrees with tokens/s/gpu"),
        ("pareto", {"prefix": 500}, "read from a cache"),
        ("pareto", {"concurrency": "1_6"}, "concurrency: expected a number, got '1_6'"),
        ("pareto", {"ttft": "nan"}, "ttft: expected a number, got 'nan'"),
        ("pareto", {"ttft": "1e999"}, "expected a finite number"),
    ],
)
def test_a_bad_figure_is_refused_with_its_reason(kind: str, changes: Mapping[str, Any], words: str) -> None:
    refuse, row = ROWS[kind]
    said = refuse({**row, **changes})
    assert words in said


def test_all_that_a_file_does_not_say_is_asked_for_at_once() -> None:
    said = refusal(json_file(VLLM))
    assert "state with --hardware --n-gpus --engine --precision" in said


def test_a_result_whose_unit_nothing_bears_out_is_refused() -> None:
    bare = without(INFERENCEX, "median_intvty", "tput_per_gpu", "output_tput_per_gpu", "input_tput_per_gpu")
    assert "nothing bears the unit" in refusal(json_file(bare))


def test_milliseconds_without_an_interactivity_are_caught_by_the_throughput() -> None:
    row = without(INFERENCEX, "median_intvty", "mean_e2el", "mean_ttft", "mean_tpot", "p99_ttft", "p99_tpot")
    said = refusal(json_file({**row, "median_ttft": 500.0, "median_tpot": 9.9}))
    assert "output_tok_s: 1077.33 tok/s of the whole replica disagrees" in said
    assert "milliseconds" in said


def test_a_table_with_times_in_its_names_reads_either_unit_alike() -> None:
    row = {"hardware": "h200", "n_gpus": 8, "model": "A", "engine": "vllm", "precision": "fp8", "parallelism": "tp8"}
    row |= {"mode": "agg", "isl": 1000, "osl": 101, "concurrency": 16, "interactivity_tok_s_user": 100}
    in_ms = one_profile(table([{**row, "ttft_p50_ms": 500, "tpot_p50_ms": 10, "tpot_p99_ms": 12}]))
    in_s = one_profile(table([{**row, "ttft_p50_s": 0.5, "tpot_p50_s": 0.01, "tpot_p99_s": 0.012}]))
    assert replace(in_ms.points[0], provenance=in_s.points[0].provenance) == in_s.points[0]
    assert "several units" in refusal(table([{**row, "ttft_p50_ms": 500, "tpot_p50_s": 0.01}]))


@pytest.mark.parametrize(("stated", "words"), [({"hardware": "h100"}, "hardware: the file says h200, but --hardware")])
def test_a_stated_fact_never_overrules_a_file(stated: Mapping[str, str], words: str) -> None:
    assert words in refusal(json_file(INFERENCEX), Facts(**stated))  # pyright: ignore[reportArgumentType] (texts alone)


def test_a_stated_fact_names_what_no_table_knows_and_fills_what_is_missing() -> None:
    row = {**without(INFERENCEX, "precision"), "hw": "runner-7"}
    profile = one_profile(json_file(row), Facts(hardware="NVIDIA H200 SXM", precision="FP8_BLOCK"))
    assert (profile.configuration.hardware, profile.configuration.precision) == ("h200", "fp8")


@pytest.mark.parametrize("place", ["loadgen", "stimulus", "perf_analyzer", "phases"])
def test_the_load_is_found_where_each_version_of_the_tool_puts_it(place: str) -> None:
    configs: Mapping[str, Any] = {
        "loadgen": {"loadgen": {"concurrency": 16}},
        "stimulus": {"stimulus": {"concurrency": 16}},
        "perf_analyzer": {"perf_analyzer": {"stimulus": {"concurrency": 16}}, "model_names": ["org/Model-A"]},
        "phases": {"phases": [{"name": "warmup", "concurrency": 2}, {"name": "profiling", "concurrency": 16}]},
    }
    facts = FACTS if place == "perf_analyzer" else replace(FACTS, model="Model-A")
    source = json_file({**AIPERF, "input_config": configs[place]})
    assert one_profile(source, facts).points[0].concurrency == 16


def test_the_whole_modelled_table_imports() -> None:
    path = DATA / "aiconfigurator_pareto_points.csv"
    if not path.exists():
        pytest.skip("the collected profile data is not beside this checkout")
    found = imported(SourceFile(path.name, path.read_bytes()))
    points = [point for profile in found.profiles for point in profile.points]
    assert (found.files[0].rows, found.files[0].format) == (523, Format.AICONFIGURATOR)
    assert len(points) + found.left_out == 523
    assert {point.provenance.basis for point in points} == {Basis.MODELLED}
    assert {profile.configuration.hardware for profile in found.profiles} == {"b200", "h100", "h200"}
    for profile in found.profiles:
        assert (profile.configuration.mode is Mode.DISAGGREGATED) == profile.configuration.has_pools


def test_raw_runs_with_p99_import_with_their_p99() -> None:
    path = DATA / "inferencex_glm5_p50_p99_points.csv"
    if not path.exists():
        pytest.skip("the collected profile data is not beside this checkout")
    found = imported(SourceFile(path.name, path.read_bytes()), Facts(precision="fp8", spec_decoding="none"))
    points = [point for profile in found.profiles for point in profile.points]
    assert len(points) == 97
    assert all(point.tpot_s_p99 is not None and point.tpot_s_p99 >= point.tpot_s_p50 for point in points)
