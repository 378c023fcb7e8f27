"""One answer on its way: which of its tokens are due, what goes wrong with it, and how it ends."""

from dataclasses import dataclass
from typing import Any, Protocol

from providers.emulated.faults import Fault, UsageFault
from providers.emulated.wire import DONE, AnswerWriter, Asked, error_body, sse, usage_document

GARBAGE = b"\x00\xff<html>\r\nnot the protocol you expect\r\n"
WRONG_BY = 1_000
"""How far off a wrong usage is."""


class Outlet(Protocol):
    """Where an answer's bytes go: one exchange of one connection."""

    @property
    def is_paused(self) -> bool:
        """Whether the customer's side takes nothing at present."""
        ...

    def begin_stream(self) -> None:
        """Sends the head of a streamed answer."""
        ...

    def write(self, data: bytes) -> None:
        """Sends a part of a streamed answer."""
        ...

    def end_stream(self) -> None:
        """Ends a streamed answer properly."""
        ...

    def respond(self, status: int, body: bytes) -> None:
        """Sends a whole answer."""
        ...

    def break_off(self, last: bytes = b"") -> None:
        """Sends ``last`` as it is and cuts the connection."""
        ...


@dataclass(slots=True, eq=False)
class Answer:
    """A live answer.

    Attributes:
        key: the engine's key of it.
        made: tokens that the engine has made.
        sent: tokens that have left.
        silent_until_s: while it stalls, until when; loop seconds.
    """

    key: int
    asked: Asked
    writer: AnswerWriter
    outlet: Outlet
    fault: Fault
    made: int = 0
    sent: int = 0
    silent_until_s: float | None = None
    is_over: bool = False

    def deliver(self, now_s: float) -> None:
        """Sends what is due: tokens made, unless a fault holds them back or ends the answer here."""
        if self.is_over or self.outlet.is_paused:
            return
        through = self._through(now_s)
        ends_at = self.fault.ends_at()
        breaks = ends_at is not None and ends_at < through
        if breaks and ends_at is not None:
            through = ends_at
        if through > self.sent and self.asked.is_stream:
            self.outlet.write(self.writer.events(self.sent, through))
        self.sent = max(self.sent, through)
        if breaks:
            self._break()
        elif self.sent == self.asked.output_tokens:
            self._finish()

    def _through(self, now_s: float) -> int:
        """How many tokens may have left by now."""
        stall_at = self.fault.stall_at_token
        if stall_at is None or self.made <= stall_at:
            return self.made
        if self.silent_until_s is None:
            self.silent_until_s = now_s + self.fault.stall_s
        return stall_at if now_s < self.silent_until_s else self.made

    def _break(self) -> None:
        self.is_over = True
        fault, at = self.fault, self.sent
        if fault.close_at_token == at:
            self.outlet.break_off()
        elif fault.garbage_at_token == at and self.asked.is_stream:
            self.outlet.break_off(GARBAGE)
        elif fault.garbage_at_token == at:
            self.outlet.respond(200, GARBAGE)
        elif self.asked.is_stream:
            self.outlet.write(sse(_error()))
            self.outlet.end_stream()
        else:
            self.outlet.respond(500, error_body(500, "emulated_fault", "the engine failed in mid-answer, on request"))

    def _finish(self) -> None:
        self.is_over = True
        usage = self.fault.usage
        tokens = self.asked.output_tokens + (WRONG_BY if usage is UsageFault.WRONG else 0)
        if not self.asked.is_stream:
            document = None if usage is UsageFault.MISSING else usage_document(self.asked, tokens)
            self.outlet.respond(200, self.writer.body(document))
            return
        parts = [self.writer.finish_event()]
        if self.asked.include_usage and usage is not UsageFault.MISSING:
            parts += [self.writer.usage_event(tokens)] * (2 if usage is UsageFault.REPEATED else 1)
        self.outlet.write(b"".join((*parts, DONE)))
        self.outlet.end_stream()


def _error() -> dict[str, Any]:
    return {"error": {"message": "the engine failed in mid-stream, on request", "type": "server_error", "code": 500}}
