"""Structured logs: one line per event, named ``noun.verb_past``, values with units.

Never prompts, answers, keys or card data: :func:`redact` sees to it for all loggers, libraries' included.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

SECRET_KEYS = frozenset(
    {
        *("api_key", "authorization", "card", "cookie", "password", "secret", "secret_key", "session", "token"),
        *("body", "content", "messages", "prompt", "answer", "completion"),
    }
)
"""Event keys whose values never reach a log, whoever passes them."""

REDACTED = "[redacted]"
_QUIET = ("aiosqlite", "asyncio", "httpx", "kombu", "celery.utils.functional", "alembic.runtime.plugins")


def configure(level: str, *, as_json: bool, stream: TextIO | None = None) -> None:
    """Sends every log of this process, libraries' included, to ``stream`` in one format.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        as_json: one JSON object per line; else aligned text for a person, coloured on a terminal.
        stream: standard error when None, so that standard output stays free for results.
    """
    out = stream or sys.stderr
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(out, as_json=as_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(room: str) -> structlog.stdlib.BoundLogger:
    """The logger of one room, for example ``app.ledger``."""
    return structlog.stdlib.get_logger(room)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces what must not be logged, at any depth of the values given."""
    for key, value in event.items():
        event[key] = REDACTED if key.lower() in SECRET_KEYS else _redacted(value)
    return event


def _redacted(value: object) -> object:
    if isinstance(value, dict):
        return {k: REDACTED if str(k).lower() in SECRET_KEYS else _redacted(v) for k, v in value.items()}
    return value


def _renderers(out: TextIO, *, as_json: bool) -> list[Any]:
    if as_json:
        return [_TRACEBACKS, structlog.processors.JSONRenderer()]
    return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)]


_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # variables hold keys, cookies and prompts
)
