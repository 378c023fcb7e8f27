"""The bare pass-through: the market's own server, ASGI mount and upstream client, without the market.

``python -m benchmarks.bare PORT UPSTREAM_PORT``. It parses as little as it can and bills nothing: the floor.
"""

import asyncio
import re
import sys
from typing import Any

import uvicorn
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send

from app.http_protocol import FirstByteProtocol
from providers.http_plain import PlainTransport
from providers.http_port import HttpAsk, HttpLimits, origin_of

STREAM = re.compile(rb'"stream":\s*true')
SILENCE_S = 30.0


def application(upstream_port: int) -> Litestar:
    """One route that passes bytes on."""
    transport = PlainTransport(origin_of(f"http://127.0.0.1:{upstream_port}"), HttpLimits())

    @asgi("/v1/chat/completions", copy_scope=False)
    async def chat_completions(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 (ASGI)
        body = b""
        while True:
            message: Any = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = (("content-type", "application/json"), ("accept", "*/*"))
        reply = await transport.ask(HttpAsk("POST", "/v1/chat/completions", headers, body, 5.0, SILENCE_S))
        kind = b"text/event-stream" if STREAM.search(body) else b"application/json"
        await send({"type": "http.response.start", "status": reply.status, "headers": [(b"content-type", kind)]})
        loop = asyncio.get_running_loop()
        while data := await reply.read(loop.time() + SILENCE_S):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        reply.finish()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return Litestar([chat_completions], logging_config=None, openapi_config=None)


if __name__ == "__main__":
    uvicorn.run(
        application(int(sys.argv[2])),
        port=int(sys.argv[1]),
        http=FirstByteProtocol,
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
    )
