import doctest
import hashlib
import math
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest

from app.cli.failure import Failure
from app.cli.pictures.curve import Curve
from app.cli.pictures.figures import source_line
from app.cli.pictures.frontier import frontier_picture
from app.cli.pictures.picture import Picture, write_picture
from app.cli.pictures.target import refuse_target
from app.cli.pictures.tornado import tornado_picture
from app.cli.pictures.trial import Trial
from pricing.candidates import Axis, Candidates
from pricing.frontier import frontier
from pricing.profiles import Provenance
from pricing.tiers import tiers
from pricing.whatif import Effect, Lever, effects, tornado
from tests.pricing.points import curve, found

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"
PAIRS = ((10, 400), (20, 350), (40, 300), (70, 180), (100, 100), (60, 90))
ON_IT = 5
"""Of six points one, at 60, is beaten by the one at 70."""


def drawn(model: str = "m", *, at: Sequence[float] = (), axis: Axis = Axis.USD) -> Curve:
    candidates = replace(found(curve(*PAIRS)), model=model)
    front = frontier(candidates.points, axis)
    return Curve(candidates, candidates.points, front, tiers(candidates), tuple(front.at(x) for x in at))


def picture(*curves: Curve) -> Picture:
    return frontier_picture(curves or [drawn(at=(30,))], "hyperscaler", {"bench": "A bench of ours"})


def written(what: Picture, path: Path) -> ET.Element:
    write_picture(what, path)
    return ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 (our own)


def group(root: ET.Element, name: str) -> ET.Element:
    (one,) = [each for each in root.iter(f"{SVG}g") if each.get("id") == name]
    return one


def tips(root: ET.Element, name: str) -> list[str]:
    return [each.text or "" for each in group(root, name).iter(f"{SVG}title")]


def places(root: ET.Element, name: str) -> list[tuple[float, float]]:
    marks = [each for each in group(root, name).iter(f"{SVG}use") if each.find(f"{SVG}title") is not None]
    return [(float(each.attrib["x"]), float(each.attrib["y"])) for each in marks]


def texts(root: ET.Element) -> list[str]:
    return [each.text or "" for each in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("axis", list(Axis))
def test_both_axes_are_logarithmic(axis: Axis, tmp_path: Path) -> None:
    """From 10 to 100 a speed x lies log10(x/10) of the way; from 400 to 100 a yield y lies log4(400/y) of it."""
    spots = places(written(picture(drawn(axis=axis)), tmp_path / "f.svg"), "frontier-0")
    assert len(spots) == ON_IT
    (x0, y0), (x4, y4) = spots[0], spots[-1]
    for (x, y), speed, tokens in zip(spots, (10, 20, 40, 70, 100), (400, 350, 300, 180, 100), strict=True):
        assert (x - x0) / (x4 - x0) == pytest.approx(math.log10(speed / 10), abs=1e-4)
        assert (y - y0) / (y4 - y0) == pytest.approx(math.log(400 / tokens) / math.log(4), abs=1e-4)


def test_what_is_off_the_frontier_is_shown_beside_it(tmp_path: Path) -> None:
    (tip,) = tips(written(picture(), tmp_path / "f.svg"), "measured-0")
    assert "60.0 tok/s/user" in tip
    assert "measured 2026-11-01, bench" in tip


def test_what_misses_the_ceiling_is_told_apart(tmp_path: Path) -> None:
    whole = drawn()
    kept = tuple(each for each in whole.kept if each.tok_s_user > 15)
    shown = picture(replace(whole, kept=kept, front=frontier(kept)))
    root = written(shown, tmp_path / "f.svg")
    assert [tip.splitlines()[1].split(" tok")[0] for tip in tips(root, "refused-0")] == ["10.0"]
    assert "misses the ceiling (1)" in texts(root)


def test_readings_stand_beside_the_picture_and_in_its_table(tmp_path: Path) -> None:
    """Between 20 and 40: at least the 350 → 300 tokens a second, so between 1000/700 and 1000/600 USD per million."""
    shown = picture(drawn(at=(30,)))
    (said,) = [text for text in texts(written(shown, tmp_path / "f.svg")) if text.startswith("at 30:")]
    interpolated, promised = (float(usd) for usd in re.findall(r"\$([\d.]+)", said))
    assert 1_000 / 700 < interpolated < 1_000 / 600
    assert promised == pytest.approx(1_000 / 600, abs=0.005)
    assert shown.rows[-1][shown.columns.index("basis")] == "interpolated"


def test_tiers_on_one_point_share_one_name(tmp_path: Path) -> None:
    """Where the yield falls faster than speed rises, the slowest point is bulk and standard at once."""
    candidates = found(curve((10, 400), (20, 100), (40, 20)))
    front = frontier(candidates.points)
    root = written(picture(Curve(candidates, candidates.points, front, tiers(candidates))), tmp_path / "f.svg")
    assert "standard + bulk" in texts(root)
    assert places(root, "standard-0") == places(root, "bulk-0")


@pytest.mark.parametrize("suffix", [".svg", ".png", ".html"])
def test_equal_inputs_give_equal_bytes_whatever_a_machine_is_set_to(suffix: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_picture(picture(), first)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "x", "text.usetex": False}):
        write_picture(picture(), second)
    assert first.read_bytes() == second.read_bytes()


def test_a_page_asks_nothing_of_a_network_and_allows_its_own_style_alone(tmp_path: Path) -> None:
    write_picture(picture(), path := tmp_path / "f.html")
    text = path.read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<script|<img|<link|<iframe|\bstyle=|\bon\w+=|url\((?!#)|@import", text)
    assert text.count("<tr>") == 1 + ON_IT + 1


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    """A dollar sign starts no formula, an angle bracket no tag, and a script that the font lacks is no error."""
    name = "a$b$c <script>alert(1)</script> & 模型"
    shown = picture(drawn(name))
    assert any("a$b$c <script>" in text for text in texts(written(shown, tmp_path / "f.svg")))
    write_picture(shown, tmp_path / "f.html")
    assert "<script" not in (tmp_path / "f.html").read_text(encoding="utf-8")


def test_several_models_share_the_axes_each_with_its_own_marks(tmp_path: Path) -> None:
    root = written(picture(drawn("one"), drawn("two"), drawn("three")), tmp_path / "f.svg")
    for place in range(3):
        assert len(places(root, f"frontier-{place}")) == ON_IT
    assert {"one", "two", "three"} <= set(texts(root))


def test_more_models_than_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="6 models at most, not 7"):
        picture(*(drawn(str(place)) for place in range(7)))


def test_a_single_point_is_a_picture_too(tmp_path: Path) -> None:
    candidates = found(curve((50, 100)))
    one = Curve(candidates, candidates.points, frontier(candidates.points), tiers(candidates))
    assert len(places(written(picture(one), tmp_path / "f.svg"), "frontier-0")) == 1


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f.svg"
    path.write_text("old", encoding="utf-8")
    broken = replace(picture(), tips={"frontier-0": ["one tip for five marks"]})
    with pytest.raises(ValueError, match="zip"):
        write_picture(broken, path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["f.svg"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (blocked := tmp_path / "f.svg").mkdir()
    with pytest.raises(Failure, match=r"f\.svg: .*; name a file in a directory that can be written"):
        write_picture(picture(), blocked)
    assert [each.name for each in tmp_path.iterdir()] == ["f.svg"]
    with pytest.raises(Failure, match="is a directory; name a file in it"):
        refuse_target(blocked)
    with pytest.raises(Failure, match="there is no directory"):
        refuse_target(tmp_path / "none" / "f.svg")


LEVERS = (
    Lever("half speed", lambda each: each.tok_s_user < 50),
    Lever("only the fastest", lambda each: each.tok_s_user > 90),
    Lever("everything", lambda _: True),
)


def trial(*speeds: float, levers: Sequence[Lever] = LEVERS) -> Trial:
    candidates: Candidates = found(curve(*PAIRS))
    return Trial(candidates, "hyperscaler", tornado(effects(candidates.points, speeds, levers)))


def test_bars_are_as_long_as_what_doing_otherwise_adds(tmp_path: Path) -> None:
    """At 10 the base makes 400 tokens a second: the fastest's 100 cost four times as much, +300 %; 40 loses nothing."""
    shown = tornado_picture(trial(10), {})
    root = written(shown, tmp_path / "t.svg")
    assert {"+300%", "0%"} <= set(texts(root))
    by_lever = {row[1]: row[shown.columns.index("change")] for row in shown.rows}
    assert by_lever == {"only the fastest": "+300.0%", "half speed": "+0.0%", "everything": "+0.0%"}


def test_what_cannot_be_done_is_said_and_has_no_bar(tmp_path: Path) -> None:
    root = written(tornado_picture(trial(70, 10), {}), tmp_path / "t.svg")
    assert "cannot be done: the fastest point left reaches 40 tok/s/user" in texts(root)
    assert not [each for each in root.iter(f"{SVG}g") if each.get("id") == "bar-70-0"]


def bar_width(root: ET.Element, name: str) -> float:
    (path,) = group(root, name).iter(f"{SVG}path")
    across = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path.attrib["d"])]
    return max(across) - min(across)


def test_a_bar_off_the_scale_is_cut_off_and_says_its_length(tmp_path: Path) -> None:
    """+900 % is drawn as long as +400 %: twice as long as +200 %."""
    rows = (Effect("dear", 10, 1, 1, 10, 10, "d"), Effect("double", 10, 1, 1, 3, 3, "d"))
    shown = tornado_picture(Trial(found(curve(*PAIRS)), "rental", {10.0: rows}), {})
    root = written(shown, tmp_path / "t.svg")
    assert "+900% (cut off)" in texts(root)
    assert bar_width(root, "bar-10-0") == pytest.approx(2 * bar_width(root, "bar-10-1"), rel=1e-3)


def test_a_tornado_without_levers_or_with_too_many_speeds_is_refused() -> None:
    with pytest.raises(ValueError, match="no lever means anything for m at ISL/OSL 1000/1000"):
        tornado_picture(trial(10, levers=()), {})
    with pytest.raises(ValueError, match="8 speeds at most, not 9"):
        tornado_picture(trial(*range(11, 20)), {})


def test_a_source_line_names_basis_sources_and_days() -> None:
    points = [each.point.provenance for each in drawn().found.points]
    undated = Provenance("other", points[0].basis, "x", None)
    assert source_line(points, {"bench": "A bench, via P"}) == "Measured: A bench. Run on 2026-11-01."
    assert source_line([*points, undated], {}).endswith("bench; other. Run on 2026-11-01. 1 of 7 points bear no date.")


@pytest.mark.parametrize("name", ["figures", "scales"])
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(import_module(f"app.cli.pictures.{name}")).failed == 0
