"""Reads the console's forms: text in, checked values out, with a message for the person who typed it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from app.admin.wire import ReasonBody
from app.console.guard import HttpRequest
from app.errors import MarketError

FIELD_CHARS_MAX = 4_000
B = TypeVar("B", bound=BaseModel)


class FormRefused(MarketError):
    """Something in a form cannot be taken as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "invalid_form", message)


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent, by field."""

    fields: Mapping[str, str]

    def text(self, name: str) -> str:
        """A field as typed; empty when it is not there."""
        return self.fields.get(name, "")

    def path_part(self, name: str) -> str:
        """A field fit for one part of a path."""
        return quote(self.text(name).strip()[:200], safe="")

    def reason(self) -> str:
        """Why something is done.

        Raises:
            FormRefused: it is missing or too long.
        """
        return self.read(ReasonBody, reason=self.text("reason")).reason

    def version(self) -> int | None:
        """Which version of a row was looked at.

        Raises:
            FormRefused: it is no number.
        """
        text = self.text("version")
        if text and not (text.isascii() and text.isdigit() and len(text) < 12):  # noqa: PLR2004 (a version is small)
            raise FormRefused("the form's version is damaged; reload the page and send it again")
        return int(text) if text else None

    def read(self, body: type[B], **values: object) -> B:
        """Checks values as the JSON API would.

        Raises:
            FormRefused: naming each field and what is wrong with it.
        """
        try:
            return body.model_validate({name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise FormRefused("; ".join(_finding(finding) for finding in error.errors())) from error


async def read_form(request: HttpRequest) -> Form:
    """The fields of a form; files and oversized ones are not taken.

    Raises:
        FormRefused: a field is too long.
    """
    fields: dict[str, str] = {}
    for name, value in (await request.form()).items():
        if isinstance(value, str):
            if len(value) > FIELD_CHARS_MAX:
                raise FormRefused(f"{name} has {len(value)} characters, at most {FIELD_CHARS_MAX}")
            fields[name] = value
    return Form(fields)


def _finding(finding: Any) -> str:
    field = ".".join(str(part) for part in finding["loc"]) or "form"
    return f"{field}: {finding['msg']}"
