import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.logs import REDACTED, configure, get_logger


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_values_room_level_and_utc_time() -> None:
    out = io.StringIO()
    configure("info", as_json=True, stream=out)
    get_logger("app.ledger").info("hold.settled", hold_id="gen-1", net_nano=12)
    (event,) = lines(out)
    assert event["event"] == "hold.settled"
    assert (event["hold_id"], event["net_nano"]) == ("gen-1", 12)
    assert (event["logger"], event["level"]) == ("app.ledger", "info")
    assert str(event["timestamp"]).endswith("Z")


def test_prompts_and_keys_are_never_logged_at_any_depth() -> None:
    out = io.StringIO()
    configure("info", as_json=True, stream=out)
    get_logger("x").info("a.b", api_key="sk-1", request={"messages": "hi", "headers": {"Authorization": "Bearer q"}})
    (event,) = lines(out)
    assert event["api_key"] == REDACTED
    assert event["request"] == {"messages": REDACTED, "headers": {"Authorization": REDACTED}}


def test_a_librarys_own_log_takes_the_same_form() -> None:
    out = io.StringIO()
    configure("info", as_json=True, stream=out)
    logging.getLogger("uvicorn.error").warning("slow %s", "start")
    (event,) = lines(out)
    assert (event["event"], event["level"], event["logger"]) == ("slow start", "warning", "uvicorn.error")


def test_what_is_below_the_level_is_silent() -> None:
    out = io.StringIO()
    configure("warning", as_json=True, stream=out)
    get_logger("x").info("a.b")
    assert out.getvalue() == ""


def test_bound_ids_travel_with_the_context() -> None:
    out = io.StringIO()
    configure("info", as_json=True, stream=out)
    with structlog.contextvars.bound_contextvars(request_id="gen-7"):
        get_logger("x").info("a.b")
    assert lines(out)[0]["request_id"] == "gen-7"


def test_an_error_carries_its_traceback_as_data() -> None:
    out = io.StringIO()
    configure("info", as_json=True, stream=out)
    try:
        int("no number")
    except ValueError:
        get_logger("x").exception("a.failed")
    (event,) = lines(out)
    (raised,) = event["exception"]  # pyright: ignore[reportGeneralTypeIssues]
    assert raised["exc_type"] == "ValueError"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_never_shows_what_variables_held(*, as_json: bool) -> None:
    out = io.StringIO()
    configure("info", as_json=as_json, stream=out)
    try:
        cookie = f"secret{'-of-the-session'}"
        int(cookie and "no number")
    except ValueError:
        get_logger("x").exception("a.failed")
    assert "ValueError" in out.getvalue()
    assert "secret-of-the-session" not in out.getvalue()


def test_pretty_lines_are_plain_when_no_terminal_reads_them() -> None:
    out = io.StringIO()
    configure("info", as_json=False, stream=out)
    get_logger("x").info("hold.settled", net_nano=12)
    assert "hold.settled" in out.getvalue()
    assert "\x1b[" not in out.getvalue()
