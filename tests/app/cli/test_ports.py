import asyncio
import socket

from app.cli.http_probe import BODY_BYTES_MAX, get, is_well
from app.cli.ports import LOOPBACK, free_ports


def test_ports_are_free_and_different() -> None:
    ports = free_ports(["a", "b", "c"], {})
    assert len(set(ports.values())) == 3
    for port in ports.values():
        with socket.socket() as listener:
            listener.bind((LOOPBACK, port))


def test_a_remembered_port_is_taken_again_unless_somebody_else_has_it() -> None:
    (before,) = free_ports(["a"], {}).values()
    assert free_ports(["a"], {"a": before}) == {"a": before}
    with socket.socket() as other:
        other.bind((LOOPBACK, before))
        other.listen()
        assert free_ports(["a"], {"a": before}) != {"a": before}


async def answering(answer: bytes) -> asyncio.Server:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(answer_once, LOOPBACK, 0)


async def test_a_probe_reads_status_and_body() -> None:
    async with await answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\nnot yet") as server:
        url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/readyz"
        assert await get(url) == (503, "not yet")
        assert not await is_well(url)


async def test_a_probe_of_nobody_or_of_garbage_is_status_zero() -> None:
    (port,) = free_ports(["a"], {}).values()
    assert await get(f"http://{LOOPBACK}:{port}/") == (0, "")
    async with await answering(b"what?") as server:
        assert (await get(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"))[0] == 0


async def test_a_probe_reads_no_more_than_it_must() -> None:
    async with await answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * BODY_BYTES_MAX)) as server:
        status, body = await get(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
        assert status == 200
        assert len(body) < BODY_BYTES_MAX
