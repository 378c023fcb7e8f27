"""The figures behind a frontier's picture: the points on it, then what it reads at the speeds asked for."""

from collections.abc import Sequence

from app.cli.pictures.curve import Curve
from pricing.candidates import Candidate
from pricing.explain import configuration_name
from pricing.frontier import Interpolated

COLUMNS = (
    *("model", "tok/s/user", "tok/s/GPU", "USD/M", "Mtok/s/MW", "concurrency", "run on"),
    *("tier", "basis", "date", "source"),
)


def table(curves: Sequence[Curve]) -> tuple[Sequence[str], list[list[str]]]:
    """Columns, and a row for every point of every frontier, rising in speed, and for every reading."""
    rows = _rows(curves)
    return (COLUMNS, rows) if len(curves) > 1 else (COLUMNS[1:], [row[1:] for row in rows])


def _rows(curves: Sequence[Curve]) -> list[list[str]]:
    rows: list[list[str]] = []
    for curve in curves:
        tiers: dict[str, list[str]] = {}
        for tier, point in curve.sold.items():
            tiers.setdefault(point.chosen.id, []).append(tier.value)
        on_it = {each.id for each in curve.front.points}
        off_it = [point.chosen for point in curve.sold.values() if point.chosen.id not in on_it]
        shown = sorted((*curve.front.points, *off_it), key=lambda each: each.tok_s_user)
        rows += [_point(curve.model, each, " ".join(tiers.get(each.id, []))) for each in shown]
        rows += [_reading(curve.model, read) for read in curve.readings]
    return rows


def _point(model: str, each: Candidate, tier: str) -> list[str]:
    provenance = each.point.provenance
    return [
        model,
        f"{each.tok_s_user:.1f}",
        f"{each.tok_s_per_gpu:,.0f}",
        f"{each.usd_per_mtok:.4f}",
        _power(each.tok_s_per_mw),
        str(each.point.concurrency),
        configuration_name(each.profile.configuration),
        tier,
        provenance.basis.value,
        str(provenance.measured_on or ""),
        provenance.source,
    ]


def _reading(model: str, read: Interpolated) -> list[str]:
    left, right = read.between
    return [
        model,
        f"{read.tok_s_user:.1f}",
        f"{read.tok_s_per_gpu:,.0f}",
        f"{read.usd_per_mtok:.4f}",
        _power(read.tok_s_per_mw),
        "",
        f"promised on {read.attainable.id}" if left == right else f"between {left} and {right}",
        "",
        "interpolated",
        "",
        "",
    ]


def _power(tok_s_per_mw: float | None) -> str:
    return "" if tok_s_per_mw is None else f"{tok_s_per_mw / 1e6:.3f}"
