"""A frontier as a table for a person, with its readings and its zone."""

from typing import Any

import typer
from rich.table import Table

from app.cli.tables import numbers, show, table, wide, words
from pricing.candidates import Candidate
from pricing.explain import configuration_name
from pricing.frontier import Frontier

COLUMNS = (
    *numbers("tok/s/user", "tok/s/GPU", "USD/M", "Mtok/s/MW", "load"),
    *wide("run on"),
    *words("measured"),
)


def print_frontier(front: Frontier, document: dict[str, Any]) -> None:
    """Prints the points of a frontier, bold inside the goldilocks zone, then each reading and the zone."""
    zone = document["goldilocks"]
    show(_table(front, document))
    for read in document["at"]:
        sure = read["attainable"]
        typer.echo(
            f"at {read['interactivity_tok_s_user']:g} tok/s/user: {read['tput_tok_s_per_gpu']:,.0f} tok/s/GPU, "
            f"{read['usd_per_mtok_total']:.4f} USD/M interpolated between {' and '.join(read['between'])}; "
            f"attainable: {sure['tput_tok_s_per_gpu']:,.0f} tok/s/GPU, {sure['usd_per_mtok_total']:.4f} USD/M "
            f"on {sure['id']}"
        )
    typer.echo(
        f"goldilocks: {zone['interactivity_tok_s_user']:.0f} tok/s/user, {zone['share']:.0%} zone "
        f"{zone['low']:.0f}–{zone['high']:.0f}; {document['candidates']} points considered"
    )


def _table(front: Frontier, document: dict[str, Any]) -> Table:
    title = f"{document['model']} · ISL/OSL {document['isl']}/{document['osl']} · {document['ownership']}"
    found = table(title, COLUMNS)
    zone = document["goldilocks"]
    for candidate in front.points:
        is_in_zone = zone["low"] <= candidate.tok_s_user <= zone["high"]
        found.add_row(*_row(candidate), style="bold" if is_in_zone else None)
    return found


def _row(candidate: Candidate) -> list[str]:
    point, power = candidate.point, candidate.tok_s_per_mw
    return [
        f"{candidate.tok_s_user:.1f}",
        f"{candidate.tok_s_per_gpu:,.0f}",
        f"{candidate.usd_per_mtok:.4f}",
        "" if power is None else f"{power / 1e6:.3f}",
        str(point.concurrency),
        configuration_name(candidate.profile.configuration),
        str(point.provenance.measured_on or point.provenance.basis),
    ]
