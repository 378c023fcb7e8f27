import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from pricing.tables import DATA_DIR

ROOT = Path(__file__).parents[2]
COLLECTED = ROOT / "../shared/data/profiles"


@pytest.fixture
def rebuild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The rebuild script, writing into a copy of pricing/data without the tables that it makes."""
    spec = importlib.util.spec_from_file_location("rebuild", ROOT / "docs/tools/rebuild_pricing_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder)
    made = ("operating_points.csv", "worker_counts.csv", "hardware.csv", "market_costs.csv", "list_prices.csv")
    for name in (*made, "MANIFEST.json"):
        (folder / name).unlink()
    monkeypatch.setattr(module, "DATA", folder)
    return module


@pytest.mark.skipif(not COLLECTED.exists(), reason="the collected source data are not beside this checkout")
def test_the_shipped_tables_are_rebuilt_byte_for_byte(rebuild: ModuleType) -> None:
    assert rebuild.main([str(COLLECTED)]) == 0
    for path in DATA_DIR.iterdir():
        assert (rebuild.DATA / path.name).read_bytes() == path.read_bytes(), path.name


def collected_row() -> dict[str, str]:
    """Eight requests of 90 tokens that take 0.11 + 89 · 0.01 = 1 s, on two accelerators: 360 tok/s each."""
    return {
        "point_id": "p",
        "origin": "InferenceX dashboard CSV 2026-04-06",
        "ttft_ms": "110",
        "tpot_ms": "10",
        "osl": "100",
        "isl": "800",
        "concurrency": "8.0",
        "n_gpus": "2.0",
        "output_tok_s_per_gpu": "360.0",
        "prefill_gpus": "",
        "decode_gpus": "",
        **dict.fromkeys(("model", "hardware", "engine", "precision", "mode", "spec_decoding"), "x"),
        **dict.fromkeys(("engine_version", "parallelism", "date"), ""),
    }


def test_a_row_becomes_seconds_whole_numbers_and_a_source_key(rebuild: ModuleType) -> None:
    row = rebuild.point_row(collected_row())
    figures = ("ttft_s", "tpot_s", "concurrency", "n_gpus", "length_factor", "source")
    assert [row[name] for name in figures] == ["0.11", "0.01", "8", "2", "0.9", "inferencex-2026-04-06"]


@pytest.mark.parametrize(("column", "value"), [("output_tok_s_per_gpu", "370"), ("n_gpus", "1.5")])
def test_a_row_whose_figures_disagree_stops_the_rebuild(rebuild: ModuleType, column: str, value: str) -> None:
    with pytest.raises(SystemExit):
        rebuild.point_row({**collected_row(), column: value})


def test_without_a_folder_it_says_how_it_is_used(rebuild: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert rebuild.main([]) == 2
    assert "rebuild_pricing_data.py FOLDER" in capsys.readouterr().out


def listing(provider: str, name: str, price: str) -> dict[str, str]:
    return {
        "provider": provider,
        "model_id": name,
        "input_usd_m": price,
        "cached_input_usd_m": "",
        "output_usd_m": price and "2",
    }


def test_each_provider_lists_a_model_once_by_itself_where_it_can_and_routers_and_gifts_do_not_count(
    rebuild: ModuleType,
) -> None:
    rows = rebuild.list_price_rows(
        [
            listing("novita", "openai/gpt-oss-120b", "0.5"),
            listing("huggingface_novita", "openai/gpt-oss-120b", "0.7"),
            listing("huggingface_fireworks-ai", "openai/GPT-OSS-120b", "1.0399999999999998"),
            listing("openrouter", "openai/gpt-oss-120b", "0.1"),
            listing("aws", "openai.gpt-oss-120b-1:0", ""),
            listing("groq", "deepseek-r1-distill-llama-70b", "0.1"),
            listing("minimax", "MiniMax-M2.5-highspeed", "0.6"),
        ]
    )
    told = [(row["model"], row["provider"], row["service"], row["input_usd_per_mtok"]) for row in rows]
    assert told == [
        ("MiniMax-M2.5", "minimax", "fast", "0.6"),
        ("gpt-oss-120b", "fireworks", "standard", "1.04"),
        ("gpt-oss-120b", "novita", "standard", "0.5"),
    ]
