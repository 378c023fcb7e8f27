"""Rebuilds the tables in pricing/data from a folder of collected public profile data.

    python docs/tools/rebuild_pricing_data.py FOLDER        # writes pricing/data/*.csv and MANIFEST.json
    python docs/tools/rebuild_pricing_data.py --manifest    # only re-hashes what lies in pricing/data

FOLDER holds ``inferencex_measured_points.csv`` (operating points of the PyPI package ``aiconfigurator-core`` 0.12.0,
file ``systems/silicon_sample.csv``, with worker counts joined from InferenceX's public configurations),
``hardware_cost.csv``, ``cost_market_points.csv`` and ``list_prices_open_models.csv`` (list prices in the PyPI package
``genai-prices`` 0.2.3). Which counts were joined and which the data set states is kept in a table of its own,
``worker_counts.csv``. Market figures that were recalled rather than read are left out. Only rows without a flag, and
only the columns that a price depends on, are kept. Throughput is not copied: it follows from concurrency, latencies and
mean lengths by Little's law, and the rebuild refuses a row whose own figure disagrees. What pricing/data holds beyond
that (``declared_offers.csv``, ``hardware_placeholders.csv``, ``models.csv``, ``sources.csv`` and ``demand.json``) is
written by hand, each row with its source.
"""

import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "pricing" / "data"
TABLES = (
    "operating_points.csv",
    "worker_counts.csv",
    "hardware.csv",
    "hardware_placeholders.csv",
    "market_costs.csv",
    "models.csv",
    "declared_offers.csv",
    "list_prices.csv",
    "sources.csv",
)
DOCUMENTS = ("demand.json",)
SOURCES = {
    "InferenceX dashboard CSV 2026-04-06": "inferencex-2026-04-06",
    "InferenceX db-dump 2026-04-27": "inferencex-2026-04-27",
    "InferenceX dashboard CSV 2026-03-25": "inferencex-2026-03-25",
    "InferenceX-derived gap-analysis": "inferencex-gap-analysis",
    "NVIDIA AIC gap-analysis runs": "nvidia-gap-analysis",
}
POINT_COLUMNS = [
    "model",
    "hardware",
    "n_gpus",
    "engine",
    "engine_version",
    "precision",
    "parallelism",
    "mode",
    "spec_decoding",
    "prefill_gpus",
    "decode_gpus",
    "isl",
    "osl",
    "length_factor",
    "concurrency",
    "ttft_s",
    "tpot_s",
    "measured_on",
    "basis",
    "source",
]
HARDWARE_NAMES = {
    "h100": "NVIDIA H100 SXM",
    "h200": "NVIDIA H200 SXM",
    "b200": "NVIDIA B200 SXM",
    "b300": "NVIDIA B300 SXM",
    "gb200": "NVIDIA GB200 NVL72",
    "gb300": "NVIDIA GB300 NVL72",
    "mi300x": "AMD Instinct MI300X",
    "mi325x": "AMD Instinct MI325X",
    "mi355x": "AMD Instinct MI355X",
}
WORKER_COLUMNS = [
    "model",
    "hardware",
    "engine",
    "precision",
    "parallelism",
    "spec_decoding",
    "prefill_gpus",
    "decode_gpus",
    "counted",
    "points",
    "first_measured_on",
    "last_measured_on",
    "source",
]
COUNTED = {
    "joined": ("joined", "inferencex-configs"),
    "dataset+config": ("dataset and configuration agree", "inferencex-configs"),
    "dataset": ("dataset", ""),
    "": ("dataset", ""),
}
"""How a worker count came about, by the collection's own mark; what is not joined is the data set's, in its own row."""
MARKET_COLUMNS = ["hardware", "what", "value", "unit", "as_of", "basis", "source"]
MARKET = {
    "H100 1-yr reserved": ("h100", "reserved for a year"),
    "H100 1-yr reserved trough": ("h100", "reserved for a year, its lowest"),
    "H100 on-demand median (37 providers)": ("h100", "on demand, median of 37 providers"),
    "H100 on-demand hyperscaler low": ("h100", "on demand, hyperscalers, low"),
    "H100 on-demand hyperscaler high": ("h100", "on demand, hyperscalers, high"),
    "H100 long-tail low": ("h100", "on demand, smallest providers, low"),
    "H200 specialty low": ("h200", "on demand, specialised providers, low"),
    "H200 specialty high": ("h200", "on demand, specialised providers, high"),
    "H200 on-demand (Spheron)": ("h200", "on demand, Spheron"),
    "B200 on-demand (Spheron)": ("b200", "on demand, Spheron"),
    "GB200 superchip (2 GPU) on-demand (Spheron)": ("gb200", "on demand, Spheron, superchip of two"),
    "AWS p5.48xlarge H100 on-demand": ("h100", "on demand, AWS p5.48xlarge"),
    "GB200 NVL72 rack capex": ("gb200", "purchase, NVL72 rack of 72"),
}
"""The market figures kept, by the collection's name of them: hardware and what it is a figure of. Nothing of wafers:
they are bought by the token, and no $/hour of theirs is stated."""
MARKET_SOURCES = {
    "SemiAnalysis GPU index via techreaderdaily.com / compux.net": "semianalysis-index",
    "aimultiple.com/gpu-index": "aimultiple",
    "mercatus-ai.com/blog/cloud-gpu-pricing": "mercatus",
    "spheron.network blog": "spheron",
    "techreaderdaily.com": "techreaderdaily",
    "InferenceX v2 article": "inferencex-v2",
}
LISTED = {
    "gpt-oss-120b": ("gpt-oss-120b", "standard"),
    "openai.gpt-oss-120b-1:0": ("gpt-oss-120b", "standard"),
    "databricks-gpt-oss-120b": ("gpt-oss-120b", "standard"),
    "deepseek-r1-0528": ("DeepSeek-R1-0528", "standard"),
    "deepseek-v3.1": ("DeepSeek-V3.1-NVFP4", "standard"),
    "kimi-k2.5": ("Kimi-K2.5", "standard"),
    "kimi-k2p5": ("Kimi-K2.5", "standard"),
    "glm-5": ("GLM-5", "standard"),
    "minimax-m2.5": ("MiniMax-M2.5", "standard"),
    "minimax-m2.5-highspeed": ("MiniMax-M2.5", "fast"),
    "llama-3.3-70b": ("Llama-3.x-70B", "standard"),
    "llama-3.3-70b-instruct": ("Llama-3.x-70B", "standard"),
    "llama-3.3-70b-instruct-turbo": ("Llama-3.x-70B", "standard"),
    "llama-3.3-70b-instruct-fp8-fast": ("Llama-3.x-70B", "standard"),
    "llama-3.3-70b-versatile": ("Llama-3.x-70B", "standard"),
    "meta-llama-3.3-70b-instruct": ("Llama-3.x-70B", "standard"),
    "meta.llama3-3-70b-instruct-v1:0": ("Llama-3.x-70B", "standard"),
    "databricks-meta-llama-3-3-70b-instruct": ("Llama-3.x-70B", "standard"),
    "qwen3-235b-a22b": ("Qwen3-235B-A22B-FP8", "standard"),
}
"""Listings of the models that were measured, by the last part of their name: our name, and whether it is sold as a
faster service. Other checkpoints of the same shape are other models. What a provider sells once is standard."""
VIA = "huggingface_"
"""A provider seen through a broker; its own listing, where there is one, counts."""
ROUTERS = ("openrouter",)
"""They sell what the others sell at the others' prices, so they are no further opinion."""
PROVIDERS = {"fireworks-ai": "fireworks"}
LISTED_ON = "2026-11-23"
LIST_COLUMNS = [
    "model",
    "provider",
    "service",
    "listed_as",
    "input_usd_per_mtok",
    "cached_usd_per_mtok",
    "output_usd_per_mtok",
    "basis",
    "as_of",
    "source",
]
ROUNDING = 1e-3
"""Latencies are kept to a µs, throughput to a hundredth; both were rounded from longer figures."""
ROUNDING_TOK_S = 0.006
"""The source keeps two decimals of tokens per second per accelerator."""


def main(arguments: list[str]) -> int:
    """Runs the rebuild and prints what it wrote."""
    if arguments == ["--manifest"]:
        print(write_manifest())
        return 0
    if len(arguments) != 1:
        print(__doc__)
        return 2
    folder = Path(arguments[0])
    collected = [row for row in read(folder / "inferencex_measured_points.csv") if not row["flag"]]
    points = [point_row(row) for row in collected]
    write(DATA / "operating_points.csv", sorted(points, key=sort_key), POINT_COLUMNS)
    write(DATA / "worker_counts.csv", worker_rows(collected), WORKER_COLUMNS)
    hardware = [hardware_row(row) for row in read(folder / "hardware_cost.csv") if row["hardware"] in HARDWARE_NAMES]
    write(DATA / "hardware.csv", hardware, list(hardware[0]))
    write(DATA / "market_costs.csv", market_rows(read(folder / "cost_market_points.csv")), MARKET_COLUMNS)
    write(DATA / "list_prices.csv", list_price_rows(read(folder / "list_prices_open_models.csv")), LIST_COLUMNS)
    print(write_manifest())
    return 0


def point_row(row: Mapping[str, str]) -> dict[str, str]:
    """One row of ``operating_points.csv``: seconds, whole numbers, and a key into ``sources.csv``."""
    from_inferencex = row["origin"].startswith("InferenceX")
    length_factor = 0.9 if from_inferencex else 1.0  # InferenceX draws lengths from U[0.8 L, L]
    ttft_s, tpot_s = float(row["ttft_ms"]) / 1_000, float(row["tpot_ms"]) / 1_000
    osl_mean = int(row["osl"]) * length_factor
    n_gpus = whole(row["n_gpus"])
    little = float(row["concurrency"]) * osl_mean / (ttft_s + (osl_mean - 1) * tpot_s) / int(n_gpus)
    if not math.isclose(little, float(row["output_tok_s_per_gpu"]), rel_tol=ROUNDING, abs_tol=ROUNDING_TOK_S):
        raise SystemExit(f"{row['point_id']}: {row['output_tok_s_per_gpu']} tok/s/GPU, but Little's law gives {little}")
    return {
        **{name: row[name] for name in ("model", "hardware", "engine", "precision", "mode", "spec_decoding")},
        "n_gpus": n_gpus,
        "engine_version": row["engine_version"],
        "parallelism": row["parallelism"],
        "prefill_gpus": whole(row["prefill_gpus"]) if row["decode_gpus"] else "",
        "decode_gpus": whole(row["decode_gpus"]) if row["prefill_gpus"] else "",
        "isl": row["isl"],
        "osl": row["osl"],
        "length_factor": f"{length_factor:g}",
        "concurrency": whole(row["concurrency"]),
        "ttft_s": f"{ttft_s:.6f}".rstrip("0"),
        "tpot_s": f"{tpot_s:.7f}".rstrip("0"),
        "measured_on": row["date"],
        "basis": "measured",
        "source": SOURCES[row["origin"]],
    }


def hardware_row(row: Mapping[str, str]) -> dict[str, str]:
    """One row of ``hardware.csv``; figures are facts cited from the named source."""
    return {
        "hardware": row["hardware"],
        "name": HARDWARE_NAMES[row["hardware"]],
        "usd_per_hour_hyperscaler": row["usd_gpu_hr_hyperscaler_own"],
        "usd_per_hour_neocloud": row["usd_gpu_hr_neocloud_own"],
        "usd_per_hour_rental": row["usd_gpu_hr_3yr_rental"],
        "kw": row["allin_kw_per_gpu"],
        "hbm_gb": row["hbm_gb"],
        "domain": row["gpus_per_scaleup_domain"],
        "basis": "declared",
        "as_of": "2026-04-03",
        "source": "semianalysis-tco-2026-04",
        "note": row["note"].replace("SemiAnalysis TODO: temporary = ", "provisional in the source: "),
    }


def worker_rows(collected: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """A row of ``worker_counts.csv`` for each configuration whose two pools are known: where its counts are from."""
    grouped: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in collected:
        if row["mode"] == "disagg" and row["prefill_gpus"] and row["decode_gpus"]:
            pools = (whole(row["prefill_gpus"]), whole(row["decode_gpus"]))
            grouped.setdefault((*(row[name] for name in WORKER_COLUMNS[:6]), *pools), []).append(row)
    found: list[dict[str, str]] = []
    for key, rows in sorted(grouped.items()):
        marks = {row["worker_count_from"] for row in rows}
        mark = next(each for each in COUNTED if each in marks)  # a join is named where any of the rows rests on one
        counted, source = COUNTED[mark]
        days = sorted(row["date"] for row in rows)
        last = [counted, str(len(rows)), days[0], days[-1], source or SOURCES[rows[0]["origin"]]]
        found.append(dict(zip(WORKER_COLUMNS, [*key, *last], strict=True)))
    return found


def market_rows(collected: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Rows of ``market_costs.csv``: figures that were read on the named page; recalled ones are left out."""
    found: list[dict[str, str]] = []
    source = ""
    for row in collected:
        source = source if row["source"] == "same" else row["source"]  # "same" as the row above
        if row["kind"] != "seen" or row["item"] not in MARKET:
            continue
        hardware, what = MARKET[row["item"]]
        cells = [hardware, what, row["value"], row["unit"], row["date"], "declared", MARKET_SOURCES[source]]
        found.append(dict(zip(MARKET_COLUMNS, cells, strict=True)))
    return found


def list_price_rows(collected: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Rows of ``list_prices.csv``: one for each provider, model and service, its own listing over a broker's."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    direct_last = sorted(collected, key=lambda row: not row["provider"].startswith(VIA))
    for row in direct_last:
        listed = LISTED.get(row["model_id"].rsplit("/", 1)[-1].lower())
        if listed is None or row["provider"] in ROUTERS or not row["input_usd_m"]:
            continue
        provider = row["provider"].removeprefix(VIA)
        provider = PROVIDERS.get(provider, provider)
        prices = [
            row[name] and f"{float(row[name]):.6g}" for name in ("input_usd_m", "cached_input_usd_m", "output_usd_m")
        ]
        cells = [listed[0], provider, listed[1], row["model_id"], *prices, "declared", LISTED_ON, "genai-prices-0.2.3"]
        found[listed[0], listed[1], provider] = dict(zip(LIST_COLUMNS, cells, strict=True))
    return [found[key] for key in sorted(found)]


def whole(text: str) -> str:
    """A whole number without the decimal point it was stored with."""
    number = float(text)
    if number != int(number):
        raise SystemExit(f"{text} is not a whole number")
    return str(int(number))


def sort_key(row: Mapping[str, str]) -> tuple[str | int, ...]:
    """By model, hardware and configuration, then by class and load."""
    named = ("model", "hardware", "engine", "precision", "mode", "parallelism", "spec_decoding", "n_gpus")
    loads = (int(row["isl"]), int(row["osl"]), int(row["concurrency"]))
    return (*(row[name] for name in named), *loads, row["measured_on"], row["source"], row["ttft_s"], row["tpot_s"])


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[Mapping[str, str]], columns: list[str]) -> None:
    """Writes rows with Unix line ends, so that the file hashes alike everywhere."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_manifest() -> str:
    """Hashes every table into ``MANIFEST.json``."""
    manifest = {
        name: {
            "sha256": hashlib.sha256((DATA / name).read_bytes()).hexdigest(),
            "rows": len(read(DATA / name)),
        }
        for name in TABLES
    } | {name: {"sha256": hashlib.sha256((DATA / name).read_bytes()).hexdigest(), "rows": 1} for name in DOCUMENTS}
    text = json.dumps({"format": "goodput-pricing-data/1", "tables": manifest}, indent=2) + "\n"
    (DATA / "MANIFEST.json").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
