"""A backend on loopback that speaks the OpenAI wire exactly as a test tells it to, faults included."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal[
    "none",
    "refuse_500", "refuse_429", "refuse_400", "refuse_401", "refuse_404",
    "stall", "close", "garbage", "error_event",
    "usage_missing", "usage_twice", "usage_contradicts",
]  # fmt: skip


@dataclass
class Behaviour:
    """How the next answers come.

    Attributes:
        ttft_s: until the first token.
        tpot_s: between tokens.
        tokens: how many there are to say, unless the request allows fewer.
        token_text: what each token says.
        prompt_tokens: what the usage reports; ``hidden_tokens`` of reasoning come on top of what it says.
        finish_reason: said at the end, where not ``stop`` or ``length``.
        calls_tool: says its tokens as arguments of a call of this tool.
        heeds_limit: whether it stops where the request says.
        error_code: what an error event says.
        fault: what goes wrong; ``after_tokens`` says when.
    """

    ttft_s: float = 0.0
    tpot_s: float = 0.0
    tokens: int = 5
    token_text: str = "tok "
    prompt_tokens: int = 10
    hidden_tokens: int = 0
    finish_reason: str = ""
    heeds_limit: bool = True
    calls_tool: str = ""
    error_code: int = 500
    fault: Fault = "none"
    after_tokens: int = 0


@dataclass
class Backend:
    """The server; ``requests`` and ``abandoned`` are what it saw."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    abandoned: int = 0
    port: int = 0
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _read_head(reader):
                body = json.loads(await reader.readexactly(_content_length(head)))
                self.requests.append(body)
                if not await self._answer(body, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.abandoned += 1
        finally:
            writer.close()

    async def _answer(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        now = self.behaviour
        if now.fault.startswith("refuse_"):
            status = int(now.fault.removeprefix("refuse_"))
            error = {"error": {"message": f"backend says {status}", "type": "x", "code": None}}
            _write_json(writer, status, error, {"retry-after": "2"} if status == 429 else {})
            await writer.drain()
            return True
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or now.tokens
        tokens = min(now.tokens, limit) if now.heeds_limit else now.tokens
        reason = now.finish_reason or ("length" if tokens < now.tokens else "stop")
        usage: dict[str, Any] = {"prompt_tokens": now.prompt_tokens, "completion_tokens": tokens + now.hidden_tokens}
        usage["total_tokens"] = sum(usage.values())
        usage["completion_tokens_details"] = {"reasoning_tokens": now.hidden_tokens}
        if body.get("stream"):
            return await self._stream(tokens, reason, usage, reader, writer)
        await asyncio.sleep(now.ttft_s + now.tpot_s * (tokens - 1))
        if now.fault == "stall":
            await asyncio.sleep(60)
        message = {"role": "assistant", "content": now.token_text * tokens}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        fields = {} if now.fault == "usage_missing" else {"usage": usage}
        _write_json(
            writer, 200, {"id": "b-1", "object": "chat.completion", "model": "b", "choices": [choice], **fields}
        )
        await writer.drain()
        return True

    async def _stream(
        self,
        tokens: int,
        reason: str,
        usage: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        now = self.behaviour
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        _event(writer, {"role": "assistant", "content": ""})
        loop = asyncio.get_running_loop()
        due = loop.time() + now.ttft_s
        for index in range(tokens):
            if index == now.after_tokens and not await self._go_on(writer):
                return False
            await _sleep_until(due, reader)
            due += now.tpot_s
            _event(writer, _tool_call(now, index) if now.calls_tool else {"content": now.token_text})
            await writer.drain()
        _event(writer, {}, reason)
        if now.fault != "usage_missing":
            _usage_event(writer, usage)
        if now.fault == "usage_twice":
            _usage_event(writer, usage)
        if now.fault == "usage_contradicts":
            _usage_event(writer, {**usage, "completion_tokens": max(0, usage["completion_tokens"] - 3)})
        _chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _go_on(self, writer: asyncio.StreamWriter) -> bool:
        """What goes wrong in mid-stream; False when the connection is to end."""
        match self.behaviour.fault:
            case "stall":
                await writer.drain()
                await asyncio.sleep(60)
            case "close":
                await writer.drain()
                return False
            case "garbage":
                _chunk(writer, b"data: {this is no json\n\n")
            case "error_event":
                error = {"message": "backend fell over", "code": self.behaviour.error_code}
                _chunk(writer, b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
            case _:
                pass
        return True


async def _sleep_until(due: float, reader: asyncio.StreamReader) -> None:
    """Sleeps, but notices when the other side leaves."""
    wait_s = due - asyncio.get_running_loop().time()
    if wait_s <= 0:
        return
    try:
        async with asyncio.timeout(wait_s):
            if not await reader.read(1):
                raise ConnectionResetError
    except TimeoutError:
        return


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _write_json(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    encoded = json.dumps(body).encode()
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(encoded)}\r\n\r\n"
    writer.write(head.encode() + encoded)


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _event(writer: asyncio.StreamWriter, delta: dict[str, Any], reason: str | None = None) -> None:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    body = {"id": "b-1", "object": "chat.completion.chunk", "created": 1, "model": "b", "choices": [choice]}
    _chunk(writer, b"data: " + json.dumps(body).encode() + b"\n\n")


def _tool_call(now: Behaviour, index: int) -> dict[str, Any]:
    call: dict[str, Any] = {"index": 0, "function": {"arguments": now.token_text}}
    if not index:
        call |= {"id": "call_1", "type": "function"}
        call["function"]["name"] = now.calls_tool
    return {"tool_calls": [call]}


def _usage_event(writer: asyncio.StreamWriter, usage: dict[str, Any]) -> None:
    body = {"id": "b-1", "object": "chat.completion.chunk", "created": 1, "model": "b", "choices": [], "usage": usage}
    _chunk(writer, b"data: " + json.dumps(body).encode() + b"\n\n")
