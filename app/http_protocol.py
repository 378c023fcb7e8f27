"""An HTTP protocol for uvicorn that notes when the first byte of each request was read: the delivery clock's zero.

It also lets a request abort its own connection, for a reader that takes nothing any more: a plain close would wait
for that reader to empty the buffer.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.clock import monotonic_ns

BEGAN_NS = "goodput.began_ns"
ABORT = "goodput.abort"


class FirstByteProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, with two more entries in each request's scope."""

    def on_message_begin(self) -> None:
        """Called by the parser at the first byte of a request."""
        super().on_message_begin()
        extended: dict[str, Any] = self.scope  # pyright: ignore[reportAssignmentType] (a scope may carry more keys than its type names)
        extended[BEGAN_NS] = monotonic_ns()
        extended[ABORT] = self.transport.abort

    def on_response_complete(self) -> None:
        """Called when an answer is complete: a request that waited for it behind its sender's own back begins now."""
        if self.pipeline:
            cycle, _ = self.pipeline[-1]
            waited: Any = cycle.scope
            waited[BEGAN_NS] = monotonic_ns()
        super().on_response_complete()

    def shutdown(self) -> None:
        """Called by the server when it begins to drain: a page's live stream, which never ends by itself, ends now."""
        super().shutdown()
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete and _is_live_page(cycle.scope):
            self.transport.close()


def _is_live_page(scope: Any) -> bool:
    return scope.get("method") == "GET" and any(
        name == b"accept" and b"text/event-stream" in value for name, value in scope.get("headers", ())
    )
