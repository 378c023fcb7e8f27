"""AIPerf and GenAI-Perf summaries: one JSON object per run, each metric with its ``unit``, ``avg``, ``p50`` and more.

A metric's unit is authoritative. ``inter_token_latency`` is the mean gap per request, which is TPOT. The load stands in
``input_config``, in one of the places that versions of the two tools put it.

Source: documentation of AIPerf's JSON export, schemas 1.0 to 1.5; exporter of GenAI-Perf 0.0.16.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pricing.document_reader import shown
from pricing.profiles import Basis, ProfileError
from providers.importers.facts import Facts
from providers.importers.latencies import unit_hint, unit_seconds
from providers.importers.readings import Figures, Origin, Reading, reading
from providers.importers.row import Row
from providers.importers.source_file import Placed, SourceFile
from providers.importers.vllm_bench import FAILED_SHARE_MAX

TITLE = "AIPerf"
LICENCE = "own measurement"
SPEED_TOLERANCE = 0.05
"""Between 1 / median gap and the median speed: both are interpolated between neighbours."""
_CONCURRENCY_PATHS = (
    ("loadgen", "concurrency"),
    ("concurrency",),
    ("stimulus", "concurrency"),
    ("perf_analyzer", "stimulus", "concurrency"),
    ("profiling", "concurrency"),
    ("phases", "profiling", "concurrency"),
)
_TOKENS_UNIT = re.compile(r"tok(en)?s?/s(ec(ond)?)?(/user)?")


def origin(source: SourceFile) -> Origin:
    """Where its rows come from."""
    return Origin(source, TITLE, Basis.MEASURED, LICENCE)


def read(placed: Placed, source: Origin, declared: Facts) -> Reading:
    """Reads one run.

    Raises:
        ProfileError: with the JSON path and the reason.
    """
    if not isinstance(placed.value, dict):
        raise ProfileError(f"expected an object, got {shown(placed.value)}")
    row = Row(placed.value)
    if row.flag("was_cancelled"):
        raise ProfileError(f"{row.at('was_cancelled')}: the run was cancelled; its figures are of part of a load")
    ttft, gap = _metric(row, "time_to_first_token"), _metric(row, "inter_token_latency")
    tpot_s = _central_s(gap)
    _check_speed(row, gap, tpot_s)
    config = row.row("input_config") or Row({}, "input_config")
    concurrency = _concurrency(config)
    figures = Figures(
        concurrency=concurrency,
        ttft_s=_central_s(ttft),
        tpot_s=tpot_s,
        ttft_s_p99=_seconds_or_none(ttft, "p99"),
        tpot_s_p99=_seconds_or_none(gap, "p99"),
        output_tok_s=_tokens_s(row, "output_token_throughput"),
        isl_mean=_mean_or_none(row, "input_sequence_length"),
        osl_mean=_mean_or_none(row, "output_sequence_length"),
        requests=_requests(row, concurrency),
    )
    said = Facts(model=_model(config), measured_on=row.day("start_time"))
    return reading(source, placed.where, said, declared, figures)


def _metric(row: Row, name: str) -> Row:
    found = row.row(name)
    if found is None:
        raise ProfileError(f"{row.at(name)}: missing; run it with --streaming, so that tokens are timed one by one")
    return found


def _central_s(metric: Row) -> float:
    name = metric.first("p50", "median", "avg", "mean")
    if name is None:
        raise ProfileError(f"{metric.at('p50')}: missing: neither a median nor a mean is given")
    return _seconds(metric, name)


def _seconds(metric: Row, name: str) -> float:
    return metric.positive(name) * unit_seconds(metric.fields.get("unit"), metric.at("unit"))


def _seconds_or_none(metric: Row, name: str) -> float | None:
    return _seconds(metric, name) if metric.has(name) else None


def _tokens_s(row: Row, name: str) -> float | None:
    metric = row.row(name)
    if metric is None:
        return None
    unit = metric.fields.get("unit")
    if not isinstance(unit, str) or not _TOKENS_UNIT.fullmatch(unit.strip().lower()):
        raise ProfileError(f"{metric.at('unit')}: expected tokens/sec, got {shown(unit)}")
    return metric.positive("avg")


def _mean_or_none(row: Row, name: str) -> float | None:
    metric = row.row(name)
    return None if metric is None else metric.positive("avg")


def _check_speed(row: Row, gap: Row, tpot_s: float) -> None:
    speed = row.row("output_token_throughput_per_user")
    if speed is None or not speed.has("p50") or not gap.has("p50"):
        return
    _tokens_s(row, "output_token_throughput_per_user")
    factor = speed.positive("p50") * tpot_s
    if abs(factor - 1) > SPEED_TOLERANCE:
        raise ProfileError(
            f"{speed.at('p50')}: {factor / tpot_s:g} tok/s/user disagrees with 1 / inter_token_latency = "
            f"{1 / tpot_s:g}{unit_hint(factor)}"
        )


def _concurrency(config: Row) -> int:
    found = dict(_loads(config))
    if not found:
        raise ProfileError(
            f"{config.at('loadgen.concurrency')}: missing: a point without its load says nothing; "
            "run it with --concurrency"
        )
    if len(set(found.values())) > 1:
        raise ProfileError(f"{config.path}: several loads: {found}; one run holds one load")
    return next(iter(found.values()))


def _loads(config: Row) -> Iterator[tuple[str, int]]:
    for path in _CONCURRENCY_PATHS:
        inner: Row | None = config
        for name in path[:-1]:
            inner = None if inner is None else inner.row(name)
        if inner is not None and inner.has(path[-1]):
            yield inner.at(path[-1]), inner.whole(path[-1])
    phases = config.fields.get("phases")
    for index, phase in enumerate(phases if isinstance(phases, list) else ()):
        inner = Row({"phase": phase}, f"{config.path}.phases[{index}]").row("phase")
        if inner is not None and not _is_warmup(inner) and inner.has("concurrency"):
            yield inner.at("concurrency"), inner.whole("concurrency")


def _is_warmup(phase: Row) -> bool:
    return any("warmup" in str(phase.fields.get(name, "")).lower() for name in ("name", "kind", "phase", "role"))


def _requests(row: Row, concurrency: int) -> int | None:
    metric = row.row("request_count")
    if metric is None:
        return None
    done = metric.whole("avg")
    if done < concurrency:
        raise ProfileError(f"{metric.at('avg')}: {done} requests never were {concurrency} at once; send more")
    failures = row.row("error_request_count")
    failed = 0 if failures is None else failures.count("avg")
    if failed > FAILED_SHARE_MAX * (done + failed):
        raise ProfileError(
            f"{row.at('error_request_count')}: {failed} of {done + failed} requests failed; "
            f"a load of {concurrency} was not held"
        )
    return done


def _model(config: Row) -> str | None:
    models = config.row("models")
    endpoint = config.row("endpoint")
    lists: tuple[Any, ...] = (
        None if models is None else models.fields.get("items"),
        None if endpoint is None else endpoint.fields.get("model_names"),
        config.fields.get("model_names"),
    )
    names = {_name(each) for found in lists if isinstance(found, list) for each in found}
    names |= {config.text("model") or ""}
    names -= {""}
    if len(names) > 1:
        raise ProfileError(f"{config.path}: several models: {', '.join(sorted(names))}; one run is of one model")
    return next(iter(sorted(names)), None)


def _name(each: object) -> str:
    found = each.get("name") if isinstance(each, Mapping) else each
    return found if isinstance(found, str) else ""
