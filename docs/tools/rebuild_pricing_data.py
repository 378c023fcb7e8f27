"""Rebuilds the tables in pricing/data from a folder of collected public profile data.

    python docs/tools/rebuild_pricing_data.py FOLDER        # writes pricing/data/*.csv and MANIFEST.json
    python docs/tools/rebuild_pricing_data.py --manifest    # only re-hashes what lies in pricing/data

FOLDER holds ``inferencex_measured_points.csv`` (operating points of the PyPI package ``aiconfigurator-core`` 0.12.0,
file ``systems/silicon_sample.csv``, with worker counts joined from InferenceX's public configurations) and
``hardware_cost.csv``. Only rows without a flag, and only the columns that a price depends on, are kept. Throughput is
not copied: it follows from concurrency, latencies and mean lengths by Little's law, and the rebuild refuses a row whose
own figure disagrees. What pricing/data holds beyond that (``declared_offers.csv``, ``models.csv``, ``sources.csv``) is
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
TABLES = ("operating_points.csv", "hardware.csv", "models.csv", "declared_offers.csv", "sources.csv")
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
    points = [point_row(row) for row in read(folder / "inferencex_measured_points.csv") if not row["flag"]]
    write(DATA / "operating_points.csv", sorted(points, key=sort_key), POINT_COLUMNS)
    hardware = [hardware_row(row) for row in read(folder / "hardware_cost.csv") if row["hardware"] in HARDWARE_NAMES]
    write(DATA / "hardware.csv", hardware, list(hardware[0]))
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
        "basis": "declared",
        "as_of": "2026-04-03",
        "source": "semianalysis-tco-2026-04",
        "note": row["note"].replace("SemiAnalysis TODO: temporary = ", "provisional in the source: "),
    }


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
    }
    text = json.dumps({"format": "goodput-pricing-data/1", "tables": manifest}, indent=2) + "\n"
    (DATA / "MANIFEST.json").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
