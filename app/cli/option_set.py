"""Lets a command take its many options as one value: a dataclass whose fields are Typer options."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def takes(options: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Turns ``command(options)`` into a command with one option per field of the dataclass ``options``.

    Args:
        options: a dataclass; each field is annotated as a Typer parameter would be.
    """

    def decorate(command: Callable[[Options], None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            command(options(**given))

        hints = get_type_hints(options, include_extras=True)
        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__annotations__ = {**hints, "return": None}
        run.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess] (inspect reads it)
            [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if field.default is MISSING else field.default,
                    annotation=hints[field.name],
                )
                for field in fields(options)  # pyright: ignore[reportArgumentType] (a dataclass, as said)
            ]
        )
        return run

    return decorate
