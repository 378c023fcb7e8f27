import pytest

from app.cli.tables import numbers, show, table, wide, words

ID = "gb200-trtllm-fp4-disagg-p-tp1dp1ep1x1-d-tp4dp1ep1x1"


def printed(capsys: pytest.CaptureFixture[str], *rows: tuple[str, str, str]) -> list[str]:
    found = table("", [*words("tier"), *wide("run on"), *numbers("USD/M")])
    for row in rows:
        found.add_row(*row)
    show(found)
    return capsys.readouterr().out.splitlines()


def test_what_is_piped_is_not_wrapped_and_bears_no_escapes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = printed(capsys, ("premium", f"{ID} {ID} {ID}", "0.1158"))
    assert lines[-2].split() == ["premium", ID, ID, ID, "0.1158"]
    assert "\x1b" not in "".join(lines)


def test_where_the_terminal_is_narrow_ids_fold_and_numbers_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    lines = printed(capsys, ("premium", ID, "0.1158"))
    assert max(map(len, lines)) <= 50
    first, *rest = lines[2:-1]
    cells = [first.split()[1], *(line.strip() for line in rest)]
    assert "".join(cells) == ID
    assert first.rstrip().endswith("0.1158")
    assert "…" not in "".join(lines)


def test_numbers_end_below_each_other(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(capsys, ("premium", "a", "0.1158"), ("bulk", "b", "12.5"))
    assert len({len(line.rstrip()) for line in lines[2:4]}) == 1


def test_brackets_and_colons_in_names_are_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = table("of [red]", wide("[bold]"))
    found.add_row("my[0]:smile:")
    show(found)
    assert capsys.readouterr().out.split() == ["of", "[red]", "[bold]", "─" * 12, "my[0]:smile:"]
