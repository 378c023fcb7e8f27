"""Small result files in the formats of other tools, written here with figures that were worked out by hand.

All describe one run where they can: 16 users, prompts of 1,000 and answers of 101 tokens, 0.5 s to the first token and
10 ms per further one. One answer takes 0.5 + 100 · 0.01 = 1.5 s, so 16 users make 16 · 101 / 1.5 = 1077.33 tokens/s.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pricing.profiles import Profile
from providers.importers.facts import Facts
from providers.importers.importing import Format, Imported, import_files
from providers.importers.refusal import ImportRefused
from providers.importers.source_file import SourceFile

OUTPUT_TOK_S = 16 * 101 / 1.5
INPUT_TOK_S = 16 * 1000 / 1.5
FACTS = Facts(hardware="h200", n_gpus=8, engine="vllm", precision="fp8", parallelism="tp8ep1", spec_decoding="none")

INFERENCEX: Mapping[str, Any] = {
    "hw": "h200",
    "conc": 16,
    "image": "vllm/vllm-openai:v0.21.0",
    "model": "org/Model-A",
    "framework": "vllm",
    "precision": "fp8",
    "spec_decoding": "none",
    "disagg": False,
    "isl": 1000,
    "osl": 101,
    "tp": 8,
    "ep": 1,
    "dp_attention": "false",
    "tput_per_gpu": (OUTPUT_TOK_S + INPUT_TOK_S) / 8,
    "output_tput_per_gpu": OUTPUT_TOK_S / 8,
    "input_tput_per_gpu": INPUT_TOK_S / 8,
    "mean_ttft": 0.5,
    "median_ttft": 0.5,
    "p99_ttft": 0.9,
    "mean_tpot": 0.01,
    "median_tpot": 0.01,
    "median_intvty": 100.0,
    "p99_tpot": 0.012,
    "mean_e2el": 1.5,
}

VLLM: Mapping[str, Any] = {
    "date": "20260428-120731",
    "backend": "openai",
    "model_id": "org/Model-A",
    "num_prompts": 160,
    "request_rate": "inf",
    "max_concurrency": 16,
    "duration": 15.0,
    "completed": 160,
    "total_input_tokens": 160_000,
    "total_output_tokens": 16_160,
    "request_throughput": 16 / 1.5,
    "output_throughput": OUTPUT_TOK_S,
    "total_token_throughput": OUTPUT_TOK_S + INPUT_TOK_S,
    "mean_ttft_ms": 510.0,
    "median_ttft_ms": 500.0,
    "p99_ttft_ms": 900.0,
    "mean_tpot_ms": 10.1,
    "median_tpot_ms": 10.0,
    "p99_tpot_ms": 12.0,
}

AIPERF: Mapping[str, Any] = {
    "schema_version": "1.4",
    "start_time": "2026-04-28T12:07:31",
    "input_config": {"models": {"items": [{"name": "org/Model-A"}]}, "loadgen": {"concurrency": 16}},
    "request_count": {"unit": "requests", "avg": 160.0},
    "time_to_first_token": {"unit": "ms", "avg": 510.0, "p50": 500.0, "p99": 900.0},
    "inter_token_latency": {"unit": "ms", "avg": 10.1, "p50": 10.0, "p99": 12.0},
    "output_token_throughput": {"unit": "tokens/sec", "avg": OUTPUT_TOK_S},
    "output_token_throughput_per_user": {"unit": "tokens/sec/user", "avg": 99.0, "p50": 100.0},
    "input_sequence_length": {"unit": "tokens", "avg": 1000.0},
    "output_sequence_length": {"unit": "tokens", "avg": 101.0},
}

PARETO: Mapping[str, object] = {
    "model": "org/Model-A",
    "isl": 1000,
    "osl": 101,
    "prefix": 0,
    "concurrency": 16,
    "ttft": 500.0,
    "tpot": 10.0,
    "tokens/s": OUTPUT_TOK_S,
    "tokens/s/gpu": OUTPUT_TOK_S / 8,
    "tokens/s/user": 100.0,
    "num_total_gpus": 8,
    "parallel": "tp8pp1dp1etp8ep1",
    "gemm": "fp8_block",
    "moe": "fp8_block",
    "kvcache": "fp8",
    "backend": "vllm",
    "version": "0.24.0",
    "system": "h200_sxm",
}


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The row less some fields."""
    return {name: value for name, value in row.items() if name not in names}


def json_file(value: object, name: str = "run.json") -> SourceFile:
    """A JSON file."""
    return SourceFile(name, json.dumps(value).encode())


def table(rows: Sequence[Mapping[str, object]], name: str = "pareto.csv") -> SourceFile:
    """A table of rows with the same columns."""
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    return SourceFile(name, "\n".join(lines).encode())


def imported(source: SourceFile, facts: Facts | None = None, wanted: Format | None = None) -> Imported:
    """The import of one file."""
    return import_files((source,), facts or Facts(), wanted)


def one_profile(source: SourceFile, facts: Facts | None = None) -> Profile:
    """The only profile of a file."""
    (profile,) = imported(source, facts).profiles
    return profile


def refusal(source: SourceFile, facts: Facts | None = None, wanted: Format | None = None) -> str:
    """What a refused import says."""
    try:
        imported(source, facts, wanted)
    except ImportRefused as refused:
        return str(refused)
    raise AssertionError("it was imported")
