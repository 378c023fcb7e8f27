"""aiconfigurator: ``pareto.csv``, and tables of its points with units in their column names. Modelled, not measured.

In ``pareto.csv`` times (``ttft``, ``tpot``) are milliseconds by the format's definition; ``tokens/s/user`` beside them
is 1 / TPOT and bears that out. ``tokens/s`` are output tokens of the whole replica.

Source: column lists of the aiconfigurator 0.12.0 package.
"""

from dataclasses import replace

from pricing.profiles import Basis, Mode, ProfileError
from providers.importers.facts import Facts, checked_width
from providers.importers.latencies import check_interactivity, latencies
from providers.importers.names import PRECISION, narrower
from providers.importers.readings import Figures, Origin, Reading, reading
from providers.importers.row import Row
from providers.importers.source_file import Placed, SourceFile

TITLE = "aiconfigurator"
LICENCE = "Apache-2.0"
THROUGHPUT_TOLERANCE = 0.02


def origin(source: SourceFile) -> Origin:
    """Where its rows come from."""
    return Origin(source, TITLE, Basis.MODELLED, LICENCE)


def read(placed: Placed, source: Origin, declared: Facts) -> Reading:
    """Reads one row.

    Raises:
        ProfileError: with the column and the reason.
    """
    row = Row(placed.value, is_text=True)
    _refuse_cached_prompts(row)
    times = latencies(row, bare_unit="ms")
    speed = row.first("tokens/s/user", "interactivity_tok_s_user")
    if speed is None:
        raise ProfileError("tokens/s/user: missing: nothing bears the unit of its times out")
    check_interactivity(times.tpot_s, row.positive(speed), speed)
    said = _facts(row)
    output_tok_s = _output_tok_s(row, said.n_gpus)
    figures = Figures(
        concurrency=row.whole("concurrency"),
        ttft_s=times.ttft_s,
        tpot_s=times.tpot_s,
        output_tok_s=output_tok_s,
        input_tok_s=_input_tok_s(row, said.n_gpus, output_tok_s),
    )
    found = reading(source, placed.where, said, declared, figures)
    return replace(found, variant=_variant(row))


def _variant(row: Row) -> str:
    """Kernels that a precision does not tell apart: weights, experts and cache, as written."""
    names = ("gemm", "moe", "kvcache", "(d)gemm", "(d)moe", "(d)kvcache")
    tidy = ("gemm_precision", "moe_precision", "kv_precision")
    return "/".join(row.text(name) or "" for name in (*names, *tidy) if row.has(name))


def _refuse_cached_prompts(row: Row) -> None:
    if cached := row.count("prefix"):
        raise ProfileError(f"prefix: {cached} tokens of each prompt were read from a cache; model it without a prefix")


def _facts(row: Row) -> Facts:
    is_disaggregated = row.text("mode") == Mode.DISAGGREGATED or row.has("(d)workers")
    side = "(d)" if row.has("(d)workers") else ""
    said = Facts(
        model=row.text("model"),
        hardware=_of_both(row, "system") or row.text("hardware"),
        n_gpus=row.whole(row.first("num_total_gpus", "n_gpus") or "num_total_gpus"),
        engine=_of_both(row, "backend") or row.text("engine"),
        engine_version=row.text(f"{side}version") or row.text("perf_db"),
        precision=_precision(row, side),
        parallelism=_parallelism(row, side),
        mode=Mode.DISAGGREGATED if is_disaggregated else Mode.AGGREGATED,
        isl=row.whole("isl"),
        osl=row.whole("osl"),
    )
    return checked_width(said)


def _of_both(row: Row, name: str) -> str | None:
    """A name that prefill and decode must share."""
    prefill, decode = row.text(f"(p){name}"), row.text(f"(d){name}")
    if prefill != decode:
        raise ProfileError(f"(p){name}: prefill on {prefill} and decode on {decode}; a profile has one of each")
    return decode or row.text(name)


def _precision(row: Row, side: str) -> str | None:
    """The narrower of dense and expert weights, in our words; as written where a name is in no table."""
    written = [
        text
        for names in ((f"{side}gemm", "gemm_precision"), (f"{side}moe", "moe_precision"))
        if (name := row.first(*names)) is not None and (text := row.text(name)) is not None
    ]
    known = [found for text in written if (found := PRECISION.find(text)) is not None]
    if len(known) < len(written):
        return next(text for text in written if PRECISION.find(text) is None)
    return narrower(known[0], known[-1]) if known else row.text("precision")


def _parallelism(row: Row, side: str) -> str | None:
    if side:
        sides = [f"{row.text(f'({pool})parallel') or ''}x{row.whole(f'({pool})workers')}" for pool in ("p", "d")]
        return f"P:{sides[0]} D:{sides[1]}"
    return row.text("parallel") or row.text("parallelism")


def _output_tok_s(row: Row, n_gpus: int | None) -> float:
    whole, each = row.positive_or_none("tokens/s"), row.first("tokens/s/gpu", "output_tok_s_per_gpu")
    by_gpu = None if each is None else row.positive(each) * (n_gpus or 1)
    if whole is None and by_gpu is None:
        raise ProfileError("tokens/s: missing")
    if whole is not None and by_gpu is not None and abs(by_gpu / whole - 1) > THROUGHPUT_TOLERANCE:
        raise ProfileError(f"tokens/s: {whole:g} disagrees with {each}: {by_gpu:g} on {n_gpus} accelerators")
    return whole or by_gpu or 0.0


def _input_tok_s(row: Row, n_gpus: int | None, output_tok_s: float) -> float | None:
    total = row.positive_or_none("tput_tok_s_per_gpu")
    if total is None:
        return None
    input_tok_s = total * (n_gpus or 1) - output_tok_s
    if input_tok_s <= 0:
        raise ProfileError(f"tput_tok_s_per_gpu: {total:g} in all are fewer than the output alone")
    return input_tok_s
