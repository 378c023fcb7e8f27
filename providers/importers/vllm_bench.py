"""``vllm bench serve --save-result``: one JSON object per run, several after each other where results were appended.

Times carry their unit (``median_ttft_ms``). A run says what load it held only if ``--max-concurrency`` was given and
requests were sent as fast as that allows (``request_rate`` inf); it says nothing of hardware, precision or parallelism.
"""

import math

from pricing.document_reader import shown
from pricing.profiles import Basis, ProfileError
from providers.importers.facts import Facts
from providers.importers.latencies import latencies
from providers.importers.readings import Figures, Origin, Reading, reading
from providers.importers.row import Row
from providers.importers.source_file import Placed, SourceFile

TITLE = "vllm bench serve"
LICENCE = "own measurement"
FAILED_SHARE_MAX = 0.01
"""A load under which more requests than this failed was not held."""
THROUGHPUT_TOLERANCE = 0.02


def origin(source: SourceFile) -> Origin:
    """Where its rows come from."""
    return Origin(source, TITLE, Basis.MEASURED, LICENCE)


def read(placed: Placed, source: Origin, declared: Facts) -> Reading:
    """Reads one run.

    Raises:
        ProfileError: with the field and the reason.
    """
    if not isinstance(placed.value, dict):
        raise ProfileError(f"expected an object, got {shown(placed.value)}")
    row = Row(placed.value)
    concurrency = _load(row)
    times = latencies(row, bare_unit=None)
    completed = row.whole("completed")
    output_tok_s = row.positive("output_throughput")
    _check_total(row, output_tok_s)
    figures = Figures(
        concurrency=concurrency,
        ttft_s=times.ttft_s,
        tpot_s=times.tpot_s,
        ttft_s_p99=times.ttft_s_p99,
        tpot_s_p99=times.tpot_s_p99,
        output_tok_s=output_tok_s,
        isl_mean=row.whole("total_input_tokens") / completed,
        osl_mean=row.whole("total_output_tokens") / completed,
        requests=completed,
    )
    return reading(source, placed.where, _facts(row), declared, figures)


def _facts(row: Row) -> Facts:
    return Facts(
        model=row.text("model_id"),
        engine="vllm" if row.text("backend") == "vllm" else None,
        measured_on=row.day("date"),
    )


def _load(row: Row) -> int:
    if not row.has("max_concurrency"):
        raise ProfileError(
            f"{row.at('max_concurrency')}: missing: a point without its load says nothing; "
            "run it with --max-concurrency"
        )
    concurrency, prompts = row.whole("max_concurrency"), row.whole("num_prompts")
    if not _is_unlimited(row):
        raise ProfileError(
            f"{row.at('request_rate')}: requests came at {shown(row.fields['request_rate'])} per second, so that "
            f"{concurrency} at once were not held; run it with --request-rate inf"
        )
    if prompts < concurrency:
        raise ProfileError(f"{row.at('num_prompts')}: {prompts} requests never were {concurrency} at once; send more")
    lost = max(prompts - row.count("completed"), row.count("failed"))
    if lost > FAILED_SHARE_MAX * prompts:
        raise ProfileError(
            f"{row.at('completed')}: {lost} of {prompts} requests failed; a load of {concurrency} was not held"
        )
    return concurrency


def _is_unlimited(row: Row) -> bool:
    rate = row.fields.get("request_rate")
    return rate is None or str(rate).lower() in {"inf", "infinity", ""} or rate == math.inf


def _check_total(row: Row, output_tok_s: float) -> None:
    total = row.positive_or_none("total_token_throughput")
    if total is None:
        return
    tokens = row.whole("total_input_tokens") + row.whole("total_output_tokens")
    expected = output_tok_s * tokens / row.whole("total_output_tokens")
    if abs(total / expected - 1) > THROUGHPUT_TOLERANCE:
        raise ProfileError(
            f"{row.at('total_token_throughput')}: {total:g} tokens/s disagree with output_throughput and the token "
            f"counts, which give {expected:g}"
        )
