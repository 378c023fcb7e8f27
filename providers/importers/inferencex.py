"""InferenceX: ``agg_*.json`` result files, lists of them, and tables of its raw runs.

In a result file times are seconds by the format's definition (``median_ttft``, ``p99_tpot``), ``median_intvty`` is
1 / median TPOT, and throughputs are per accelerator: of all of them when aggregated; when disaggregated, output is per
decode accelerator, input per prefill accelerator, and ``tput_per_gpu`` over both. Answers are drawn between 0.8 and 1.0
of the nominal length, so that their mean is read from the mean times.

Source: result files of InferenceX as its public benchmark workflow writes them (2025-10 to 2026-05).
"""

from dataclasses import dataclass, replace

from pricing.document_reader import shown
from pricing.profiles import Basis, Mode, ProfileError
from providers.importers.facts import Facts
from providers.importers.latencies import Latencies, check_interactivity, latencies
from providers.importers.readings import Figures, Origin, Reading, reading
from providers.importers.row import Row
from providers.importers.source_file import Placed, SourceFile

TITLE = "InferenceX result"
LICENCE = "Apache-2.0"
SUM_TOLERANCE = 0.005
"""Input and output are exact parts of the total; rounding to three decimals is far less."""
SHARE_TOLERANCE = 0.25
"""Between prompt and answer tokens per second and the nominal lengths; drawn lengths differ by less."""
LENGTH_TOLERANCE = 0.05
MEAN_SHARE_MIN = 0.5
"""A mean answer shorter than this share of its class, as told by the mean times, is a contradiction."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Tokens per second of the whole replica; None where not given."""

    output_tok_s: float | None
    input_tok_s: float | None


def origin(source: SourceFile) -> Origin:
    """Where its rows come from."""
    return Origin(source, TITLE, Basis.MEASURED, LICENCE)


def read(placed: Placed, source: Origin, declared: Facts) -> Reading:
    """Reads one result.

    Raises:
        ProfileError: with the field and the reason.
    """
    if not isinstance(placed.value, dict):
        raise ProfileError(f"expected an object, got {shown(placed.value)}")
    is_table = placed.where.startswith("line") and "hardware" in placed.value and "hw" not in placed.value
    row = Row(placed.value, is_text=is_table)
    times = latencies(row, bare_unit="s")
    said = _facts(row)
    flow = _flow(row, said)
    _check_witness(row, times, flow)
    isl_mean, osl_mean = _mean_lengths(said, times, flow)
    concurrency = row.first("conc", "concurrency", "max_concurrency")
    if concurrency is None:
        raise ProfileError(f"{row.at('conc')}: missing: without the load a point says nothing")
    requests = row.first("completed", "num_prompts")
    figures = Figures(
        concurrency=row.whole(concurrency),
        ttft_s=times.ttft_s,
        tpot_s=times.tpot_s,
        ttft_s_p99=times.ttft_s_p99,
        tpot_s_p99=times.tpot_s_p99,
        output_tok_s=flow.output_tok_s,
        input_tok_s=flow.input_tok_s,
        isl_mean=isl_mean,
        osl_mean=osl_mean,
        requests=row.whole(requests) if requests else None,
    )
    return reading(source, placed.where, said, declared, figures)


def _facts(row: Row) -> Facts:
    said = Facts(
        model=row.text("model"),
        hardware=row.text("hw") or row.text("hardware"),
        engine=row.text("framework") or row.text("engine"),
        engine_version=_image_version(row.text("image")),
        precision=row.text("precision"),
        spec_decoding=_speculation(row),
        isl=row.whole_or_none("isl"),
        osl=row.whole_or_none("osl"),
        measured_on=row.day("date"),
    )
    if row.flag("disagg") or row.text("mode") == Mode.DISAGGREGATED:
        return _disaggregated(row, said)
    tp, n_gpus = row.whole_or_none("tp"), row.whole_or_none("n_gpus")
    return replace(
        said, mode=Mode.AGGREGATED, n_gpus=n_gpus or tp, parallelism=row.text("parallelism") or _label(row, tp)
    )


def _label(row: Row, tp: int | None) -> str | None:
    if tp is None:
        return None
    attention = "+dpattn" if row.flag("dp_attention") else ""
    return f"tp{tp}ep{row.whole_or_none('ep') or 1}{attention}"


def _disaggregated(row: Row, said: Facts) -> Facts:
    pools = {pool: row.whole_or_none(f"num_{pool}_gpu") for pool in ("prefill", "decode")}
    prefill, decode = pools["prefill"], pools["decode"]
    if prefill is None or decode is None:
        raise ProfileError(
            f"{row.at('num_prefill_gpu')}: a disaggregated result needs num_prefill_gpu and num_decode_gpu, "
            f"got {prefill} and {decode}"
        )
    return replace(
        said,
        mode=Mode.DISAGGREGATED,
        n_gpus=prefill + decode,
        prefill_gpus=prefill,
        decode_gpus=decode,
        parallelism=f"P:{_pool(row, 'prefill', prefill)} D:{_pool(row, 'decode', decode)}",
    )


def _pool(row: Row, pool: str, gpus: int) -> str:
    workers = row.whole_or_none(f"{pool}_num_workers") or 1
    tp = row.whole_or_none(f"{pool}_tp") or gpus // workers
    if tp * workers == 0 or gpus % (tp * workers):
        raise ProfileError(
            f"{row.at(f'num_{pool}_gpu')}: {gpus} accelerators do not divide into {workers} workers of tp {tp}"
        )
    attention = "+dpattn" if row.flag(f"{pool}_dp_attention") else ""
    ep = row.whole_or_none(f"{pool}_ep") or 1
    return f"tp{tp}dp{gpus // (tp * workers)}ep{ep}{attention}x{workers}"


def _speculation(row: Row) -> str | None:
    if row.has("spec_decoding"):
        return row.text("spec_decoding")
    older = row.text("mtp")
    return None if older is None else {"on": "mtp", "off": "none"}.get(older.lower(), older)


def _image_version(image: str | None) -> str | None:
    """The tag of a container image.

    >>> _image_version("lmsysorg/sglang:v0.5.9-cu130"), _image_version("registry:5000/vllm")
    ('0.5.9-cu130', None)
    """
    tag = (image or "").rpartition("/")[2].partition(":")[2]
    return tag.removeprefix("v") or None


def _flow(row: Row, said: Facts) -> Flow:
    total = _per_gpu(row, "tput_per_gpu", "tput_tok_s_per_gpu")
    output = _per_gpu(row, "output_tput_per_gpu", "output_tok_s_per_gpu")
    received = _per_gpu(row, "input_tput_per_gpu", "input_tok_s_per_gpu")
    n_gpus = said.n_gpus
    if output is None or n_gpus is None:
        return Flow(None, None)
    if total is not None and total < output and said.mode is Mode.AGGREGATED:
        raise ProfileError(f"tput_per_gpu: {total:g} tokens/s in all are fewer than {output:g} of output alone")
    if said.prefill_gpus is not None and said.decode_gpus is not None:
        return _pooled_flow(said, total, output, received)
    if received is None:
        received = total - output if total is not None and total > output else None
    elif total is not None:
        _check_sum(total, output + received)
    return Flow(output * n_gpus, None if received is None else received * n_gpus)


def _per_gpu(row: Row, *names: str) -> float | None:
    name = row.first(*names)
    return None if name is None else row.positive(name)


def _pooled_flow(said: Facts, total: float | None, output: float, received: float | None) -> Flow:
    n_gpus, prefill, decode = said.n_gpus or 0, said.prefill_gpus or 0, said.decode_gpus or 0
    output_tok_s = output * decode
    if received is not None:
        if total is not None:
            _check_sum(total, (output_tok_s + received * prefill) / n_gpus)
        return Flow(output_tok_s, received * prefill)
    rest = None if total is None else total * n_gpus - output_tok_s
    if rest is not None and rest <= 0:
        raise ProfileError(
            f"output_tput_per_gpu: {output:g} on each of {decode} decode accelerators is more than tput_per_gpu "
            f"{total:g} on {n_gpus}; it must be per decode accelerator"
        )
    _check_share(said, output_tok_s, rest)
    return Flow(output_tok_s, rest)


def _check_share(said: Facts, output_tok_s: float, input_tok_s: float | None) -> None:
    if input_tok_s is None or said.isl is None or said.osl is None:
        return
    if abs(input_tok_s / output_tok_s * said.osl / said.isl - 1) > SHARE_TOLERANCE:
        raise ProfileError(
            f"output_tput_per_gpu: {input_tok_s:g} input and {output_tok_s:g} output tokens/s do not fit prompts of "
            f"{said.isl} and answers of {said.osl}; it must be per decode accelerator"
        )


def _check_sum(total: float, parts: float) -> None:
    if abs(parts / total - 1) > SUM_TOLERANCE:
        raise ProfileError(
            f"tput_per_gpu: {total:g} disagrees with input and output, which give {parts:g} per accelerator; "
            "when disaggregated, output is per decode and input per prefill accelerator"
        )


def _check_witness(row: Row, times: Latencies, flow: Flow) -> None:
    names = {"p50": ("median_intvty", "p50_intvty", "interactivity_tok_s_user"), "mean": ("mean_intvty",)}
    name = row.first(*names.get(times.statistic, ()))
    if name is not None:
        check_interactivity(times.tpot_s, row.positive(name), row.at(name))
    elif flow.output_tok_s is None:
        raise ProfileError(
            "nothing bears the unit of its times out: neither median_intvty (1 / TPOT) nor output_tput_per_gpu is given"
        )


def _mean_lengths(said: Facts, times: Latencies, flow: Flow) -> tuple[float | None, float | None]:
    """Mean tokens per prompt and answer: from the mean times, and from input over output."""
    osl = said.osl
    if osl is None or times.e2e_tokens is None:
        return None, None
    if not MEAN_SHARE_MIN * osl <= times.e2e_tokens <= (1 + LENGTH_TOLERANCE) * osl + 1:
        raise ProfileError(
            f"mean_e2el: mean times tell of answers of {times.e2e_tokens:g} tokens, but osl is {osl}; "
            "is one of them in another unit?"
        )
    osl_mean = min(times.e2e_tokens, float(osl))
    if flow.input_tok_s is None or flow.output_tok_s is None:
        return None, osl_mean
    return osl_mean * flow.input_tok_s / flow.output_tok_s, osl_mean
