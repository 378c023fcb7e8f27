"""Whole imports: every bad row is named, nothing is half imported, and what is written is the same each time."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli.failure import Failure
from app.cli.profiles import app
from pricing.profile_document import profile_document, profile_from_json
from pricing.profiles import (
    Basis,
    Configuration,
    EngineLimits,
    LengthClass,
    Mode,
    OperatingPoint,
    Profile,
    Provenance,
    little_output_tok_s,
)
from providers.importers import writing
from providers.importers.facts import Facts
from providers.importers.importing import FILES_MAX, Format, import_files
from providers.importers.names import HARDWARE, PRECISION
from providers.importers.refusal import PROBLEMS_SHOWN_MAX, ImportRefused
from providers.importers.source_file import FILE_BYTES_MAX, ROWS_MAX, SourceFile
from providers.importers.writing import State, document_text, write_profiles
from tests.providers.importers.result_files import (
    FACTS,
    INFERENCEX,
    PARETO,
    VLLM,
    imported,
    json_file,
    one_profile,
    refusal,
    table,
    without,
)


def inferencex_at(conc: int) -> dict[str, Any]:
    """The run at another load; throughput left to Little's law."""
    row = without(INFERENCEX, "tput_per_gpu", "output_tput_per_gpu", "input_tput_per_gpu")
    return {**row, "conc": conc}


def own_profile(loads: list[int], tpot_s: float, osl: int) -> Profile:
    """A profile as a prober would write it."""
    seen = Provenance("own bench", Basis.MEASURED, "own measurement", None, "b6500")
    points = tuple(
        OperatingPoint(
            lengths=LengthClass(128, osl),
            concurrency=load,
            ttft_s_p50=0.1,
            tpot_s_p50=tpot_s,
            output_tok_s=little_output_tok_s(load, 0.1, tpot_s, osl - 0.5),
            input_tok_s=little_output_tok_s(load, 0.1, tpot_s, osl - 0.5) * 127.25 / (osl - 0.5),
            isl_mean=127.25,
            osl_mean=osl - 0.5,
            provenance=replace(seen, engine_version=f"b{load}"),
            tpot_s_p99=2 * tpot_s,
            requests=load * 10,
        )
        for load in loads
    )
    configuration = Configuration("house-made", 3, "own", "odd", "P1D2", Mode.DISAGGREGATED, "none", 1, 2)
    return Profile("a-model", configuration, points, EngineLimits(99, 4096), notes="as it was")


@given(
    st.lists(st.integers(1, 5_000), min_size=1, max_size=8, unique=True),
    st.floats(1e-5, 1.9),
    st.integers(2, 4_000),
)
def test_importing_an_exported_profile_gives_it_back(loads: list[int], tpot_s: float, osl: int) -> None:
    profile = own_profile(loads, tpot_s, osl)
    assert imported(SourceFile("own.json", document_text(profile).encode())).profiles == (profile,)


@given(st.lists(st.integers(1, 2_000), min_size=2, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_files_changes_nothing(loads: list[int], shuffler: random.Random) -> None:
    rows = [inferencex_at(load) for load in loads]
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    files = [json_file(row, f"agg_{row['conc']}.json") for row in rows]
    mixed = [json_file(row, f"agg_{row['conc']}.json") for row in shuffled]
    assert import_files(files, Facts()).profiles == import_files(mixed, Facts()).profiles
    one, other = (one_profile(json_file(each)) for each in (rows, shuffled))
    same = one.points[0].provenance
    assert [replace(point, provenance=same) for point in other.points] == list(one.points)
    assert [point.concurrency for point in one.points] == sorted(loads)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.none(), max_size=2)


def problems_of(source: SourceFile) -> list[str]:
    """The files that a refused import names; empty when it was imported."""
    try:
        imported(source)
    except ImportRefused as refused:
        return [problem.file for problem in refused.problems]
    return []


@given(st.dictionaries(st.text(max_size=12) | st.sampled_from(sorted(INFERENCEX)), VALUES, max_size=6))
def test_whatever_a_result_holds_it_is_imported_or_refused(changes: dict[str, Any]) -> None:
    assert set(problems_of(json_file({**INFERENCEX, **changes}))) <= {"run.json"}


@given(st.dictionaries(st.sampled_from(sorted(PARETO)), VALUES.map(str), max_size=6))
def test_whatever_a_table_holds_it_is_imported_or_refused(changes: dict[str, Any]) -> None:
    assert set(problems_of(table([{**PARETO, **changes}]))) <= {"pareto.csv"}


@given(st.binary(max_size=300))
def test_whatever_bytes_a_file_holds_it_is_refused(data: bytes) -> None:
    with pytest.raises(ImportRefused):
        imported(SourceFile("noise.bin", data))


def test_every_bad_row_is_named_and_no_good_one_is_imported() -> None:
    rows = [inferencex_at(1), {**inferencex_at(2), "hw": "h1000"}, inferencex_at(4), {**inferencex_at(8), "conc": -1}]
    with pytest.raises(ImportRefused) as refused:
        import_files([json_file(rows, "agg.json"), table([{**PARETO, "isl": ""}])], Facts())
    assert [(each.file, each.where) for each in refused.value.problems] == [
        ("agg.json", "$[1]"),
        ("agg.json", "$[3]"),
        ("pareto.csv", "line 2"),
    ]


def test_a_table_names_the_line_although_texts_span_lines_and_lines_are_empty() -> None:
    header, good, bad = table([PARETO, {**PARETO, "tokens/s/user": 1}]).text().split("\n")
    spanning = good.replace("org/Model-A", '"Model-A\n"')
    source = SourceFile("pareto.csv", f"{header}\r\n{spanning}\r\n\r\n{bad}".encode())
    assert "line 5: tokens/s/user" in refusal(source)


def test_a_long_list_of_problems_is_cut_and_counted() -> None:
    said = refusal(json_file([{**INFERENCEX, "conc": -load} for load in range(1, PROBLEMS_SHOWN_MAX + 6)]))
    assert said.count("conc: expected") == PROBLEMS_SHOWN_MAX
    assert said.endswith("and 5 more")


def test_a_load_given_twice_is_refused_with_both_places() -> None:
    said = refusal(json_file([inferencex_at(4), inferencex_at(8), {**inferencex_at(4), "median_ttft": 0.6}]))
    assert (
        "$[2]: Model-A on h200-vllm-fp8-agg-tp8ep1, 1000/101 at concurrency 4 was already given by run.json $[0]"
        in said
    )
    assert "was already given" in refusal(table([PARETO, PARETO]))


def test_a_file_named_twice_is_refused() -> None:
    with pytest.raises(ImportRefused, match=r"copy\.json: holds the same bytes as run\.json"):
        import_files([json_file(INFERENCEX), json_file(INFERENCEX, "copy.json")], Facts())


def test_two_models_are_not_merged_under_one_stated_name() -> None:
    rows = [inferencex_at(1), {**inferencex_at(2), "model": "org/Model-B"}]
    assert len(imported(json_file(rows)).profiles) == 2
    assert "two of written_model" in refusal(json_file(rows), Facts(model="Model-A"))


def test_results_appended_after_each_other_are_read_by_line() -> None:
    lines = [json.dumps({**VLLM, "max_concurrency": load}) for load in (15, 16)]
    source = SourceFile("run.json", "\n".join(lines).encode())
    assert [point.concurrency for point in one_profile(source, FACTS).points] == [15, 16]
    bad = SourceFile("run.json", "\n".join([lines[0], json.dumps({**VLLM, "completed": -1})]).encode())
    assert "run.json: line 2: completed" in refusal(bad, FACTS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf  \n", "the file is empty"),
        ("{}".encode("utf-16"), "the file is utf-16; save it as UTF-8"),
        (b'{"model": "caf\xe9"}', "not UTF-8 at byte 14"),
        (b"{", "not JSON"),
        (b"[]", "empty list"),
        (b"[1]", "no known format"),
        (b"{}", "no known format"),
        (b'{"conc": NaN}', "NaN is no number"),
        (b'{"conc": -Infinity}', "-Infinity is no number"),
        (b'{"conc": 1, "conc": 2}', "'conc' is given twice"),
        (b"[" * 100_000, "cannot be read"),
        (b"model,ttft,tokens/s/user\n", "a header but no rows"),
        (b"model,ttft,ttft\n1,2,3\n", "'ttft' is named twice"),
        (b"tokens/s/user,ttft\n1\n", "line 2: 1 fields, but the header names 2"),
        (b'tokens/s/user,ttft\n"1,2\n', "not a table with commas"),
        (b"x" * (FILE_BYTES_MAX + 1), "larger than 16,000,000 bytes"),
        (b"tokens/s/user,ttft\n" + b"1,2\n" * (ROWS_MAX + 1), "more than 20,000 rows"),
    ],
    ids=lambda value: str(value[:24]),
)
def test_a_file_that_cannot_be_read_is_refused_with_its_reason(data: bytes, words: str) -> None:
    assert words in refusal(SourceFile("a.file", data))


def test_a_byte_order_mark_changes_nothing_but_the_digest() -> None:
    plain = json_file(INFERENCEX)
    marked = replace(plain, data=b"\xef\xbb\xbf" + plain.data)
    one, other = one_profile(plain).points[0], one_profile(marked).points[0]
    assert replace(other, provenance=one.provenance) == one


def test_too_many_files_and_none_are_refused() -> None:
    for count in (0, FILES_MAX + 1):
        with pytest.raises(ImportRefused, match="name from 1 to 5,000"):
            import_files([SourceFile("x", b"")] * count, Facts())


def test_a_format_that_a_file_is_not_in_is_refused() -> None:
    assert "looks like inferencex, not aiperf" in refusal(json_file(INFERENCEX), wanted=Format.AIPERF)


def test_a_profile_document_takes_no_stated_facts() -> None:
    source = SourceFile("own.json", document_text(own_profile([1], 0.01, 9)).encode())
    assert "leave --hardware out" in refusal(source, Facts(hardware="h100"))


def test_documents_of_one_deployment_are_united_unless_they_differ_in_more_than_points() -> None:
    whole = own_profile([1, 2], 0.01, 9)
    halves = [replace(whole, points=(point,)) for point in whole.points]
    files = [SourceFile(f"{index}.json", document_text(half).encode()) for index, half in enumerate(halves)]
    assert import_files(files, Facts()).profiles == (whole,)
    other = SourceFile("1.json", document_text(replace(halves[1], notes="another")).encode())
    with pytest.raises(ImportRefused, match="differ in notes"):
        import_files([files[0], other], Facts())


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("h200_sxm", "h200"),
        ("GB200-NVL72", "gb200"),
        ("b200-trt", "b200"),
        ("AMD Instinct MI355X OAM", "mi355x"),
        ("H100 PCIe", None),
        ("", None),
    ],
)
def test_hardware_has_one_name(written: str, name: str | None) -> None:
    assert HARDWARE.find(written) == name


def test_no_two_names_share_a_spelling() -> None:
    for vocabulary in (HARDWARE, PRECISION):
        for name, others in vocabulary.aliases.items():
            assert {vocabulary.find(spelled) for spelled in (name, name.upper(), *others)} == {name}


def test_documents_are_written_once_and_then_unchanged(tmp_path: Path) -> None:
    profiles = imported(json_file([inferencex_at(1), {**inferencex_at(1), "model": "B"}])).profiles
    first = write_profiles(profiles, tmp_path / "new", replace=False)
    assert [each.state for each in first] == [State.WRITTEN, State.WRITTEN]
    assert tuple(profile_from_json(each.path.read_bytes()) for each in first) == profiles
    again = write_profiles(profiles, tmp_path / "new", replace=False)
    assert {each.state for each in again} == {State.UNCHANGED}
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_a_document_that_differs_is_replaced_only_when_told_and_nothing_else_is_written(tmp_path: Path) -> None:
    (earlier,) = imported(json_file(inferencex_at(1))).profiles
    write_profiles([earlier], tmp_path, replace=False)
    later = imported(json_file([inferencex_at(2), {**inferencex_at(1), "model": "B"}])).profiles
    with pytest.raises(ImportRefused, match="use --replace"):
        write_profiles(later, tmp_path, replace=False)
    assert len(list(tmp_path.iterdir())) == 1
    states = [each.state for each in write_profiles(later, tmp_path, replace=True)]
    assert sorted(states) == [State.REPLACED, State.WRITTEN]


def test_a_failure_while_renaming_puts_back_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = inferencex_at(1)
    before = imported(json_file([row, {**row, "model": "B"}])).profiles
    places = write_profiles(before, tmp_path, replace=False)
    contents = {each.path: each.path.read_bytes() for each in places}
    after = imported(json_file([inferencex_at(2), *({**row, "model": name, "conc": 2} for name in "BC")])).profiles
    rename = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name.startswith("model-a"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(writing.Path, "replace", failing)
    with pytest.raises(OSError, match="No space"):
        write_profiles(after, tmp_path, replace=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == contents


def run(*words: str) -> Any:
    """Runs `goodput profiles …`."""
    return CliRunner().invoke(app, list(words))


def test_the_command_imports_into_documents_that_validate(tmp_path: Path) -> None:
    source = tmp_path / "agg.json"
    source.write_bytes(json_file([inferencex_at(1), inferencex_at(2)]).data)
    told = json.loads(run("import", str(source), "--out", str(tmp_path / "out"), "--json").stdout)
    (profile,) = told["profiles"]
    assert (profile["points"], profile["state"], told["files"][0]["format"]) == (2, "written", "inferencex")
    checked = json.loads(run("validate", profile["path"], "--json").stdout)
    assert (checked["valid"], checked["files"][0]["points"]) == (True, 2)


def test_without_a_folder_the_command_shows_and_writes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "run.json"
    source.write_bytes(json_file(VLLM).data)
    words = ("--hardware", "h200", "--engine", "vllm", "--precision", "fp8", "--parallelism", "tp8", "--json")
    (profile,) = json.loads(run("import", str(source), *words).stdout)["profiles"]
    assert profile["document"]["configuration"]["n_gpus"] == 8
    assert list(tmp_path.iterdir()) == [source]


def test_the_command_fails_with_the_problems_and_leaves_no_folder(tmp_path: Path) -> None:
    source = tmp_path / "agg.json"
    source.write_bytes(json_file([inferencex_at(1), {**inferencex_at(2), "conc": 0}]).data)
    result = run("import", str(source), "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, Failure)
    assert "agg.json: $[1]: conc: expected a number above 0" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_wrong_document_is_told_with_its_path_and_status_1(tmp_path: Path) -> None:
    document = profile_document(own_profile([1], 0.01, 9))
    document["points"][0]["tpot_s_p50"] = 10
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(document))
    result = run("validate", str(wrong))
    assert result.exit_code == 1
    assert "points[0]" in result.stdout
