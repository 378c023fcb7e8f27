"""Turns templates into answers, with the headers that keep a page to itself."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response

from app.console import shapes
from app.console.assets import Assets
from app.console.audit_lines import audit_lines
from app.console.overview import minutes_chart, spark
from pricing.rating import Ending

TEMPLATES = Path(__file__).parent / "templates"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
FAILED_ENDINGS = frozenset(ending.value for ending in Ending if not ending.is_billable)
SHORT_ID_CHARS = 8
_ID_HEAD = re.compile(r"[a-z]{1,8}[-_]")
_FILTERS: Mapping[str, Callable[..., object]] = {
    name: getattr(shapes, name)
    for name in (
        "usd", "usd_exact", "rate", "rate_exact", "count", "tokens", "percent", "margin_percent", "width", "duration",
        "speed", "moment", "time_of_day", "iso", "ago", "until", "local_minute",
    )
}  # fmt: skip


def short_id(row_id: str) -> str:
    """An id short enough for a table: what it names, and its last characters, which differ most.

    >>> short_id("gen-0190a1b2c3d47e8f9a0b1c2d3e4f5061"), short_id("cus_0190a1b2c3d47e8f9a0b1c2d"), short_id("gen-1")
    ('gen-…3e4f5061', 'cus_…9a0b1c2d', 'gen-1')
    """
    head = _ID_HEAD.match(row_id)
    tail = row_id[head.end() :] if head is not None else row_id
    return f"{row_id[: -len(tail)]}…{tail[-SHORT_ID_CHARS:]}" if len(tail) > 2 * SHORT_ID_CHARS else row_id


def words(name: str) -> str:
    """A name out of code, for reading.

    >>> words("provider_timeout")
    'Provider timeout'
    """
    return name.replace("_", " ").capitalize()


def minus(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """Two series' difference, one by one."""
    return [one - other for one, other in zip(left, right, strict=True)]


class Renderer:
    """Renders the console's templates; every value is escaped, and an unknown name is an error."""

    def __init__(self, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        filters = cast("dict[str, Any]", self._environment.filters)
        filters.update(_FILTERS, short_id=short_id, words=words, minus=minus, spark=spark, query=query)
        filters["minutes_chart"] = minutes_chart
        filters["audit_lines"] = lambda row: audit_lines(row.before, row.after)
        names = cast("dict[str, Any]", self._environment.globals)
        names.update(asset=assets.address, failed_endings=FAILED_ENDINGS)

    def text(self, template: str, context: Mapping[str, Any]) -> str:
        """A template's text."""
        return self._environment.get_template(template).render(context)

    def page(self, template: str, context: Mapping[str, Any], status: int = 200) -> Response[str]:
        """A template as an answer."""
        return Response(
            self.text(template, context), status_code=status, media_type=MediaType.HTML, headers=SECURITY_HEADERS
        )


def query(values: Mapping[str, str]) -> str:
    """A query string of what is set."""
    return urlencode({name: value for name, value in values.items() if value})
