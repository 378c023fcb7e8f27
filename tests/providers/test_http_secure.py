"""Under TLS: a certificate that we trust carries an answer, one that we do not is refused before anything is sent."""

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from providers.errors import ProviderUnreachable
from providers.http_port import HttpLimits, origin_of
from providers.http_secure import SecureTransport
from providers.openai_wire import Dialect, OpenAiWire, transport_for
from tests.providers.fake_backend import GOOD, LAST_PIECE, SECRET, STREAM_HEAD, collect, spec_for


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that nobody vouches for, with its key in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, pem = folder / "key.pem", folder / "cert.pem"
    said = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *said]
    subprocess.run([*command, "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


class Listener:
    """Answers every request over TLS with one good stream; keeps what it read."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self.read = b""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "localhost", 0, ssl=self._context)
        self.base_url = f"https://localhost:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.read += data
            writer.write(STREAM_HEAD + b"%x\r\n%s\r\n" % (len(GOOD), GOOD) + LAST_PIECE)
        writer.close()


async def test_an_answer_comes_through_tls_when_the_certificate_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    connector = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **options: connector(ssl=trusting, **options))
    async with Listener(certificate) as listener:
        client = OpenAiWire(spec_for(listener.base_url), Dialect())
        for _ in range(2):
            chunks = await collect(client)
            assert chunks[-1].finish_reason == "stop"
        await client.close()

    assert listener.read.count(f"Authorization: Bearer {SECRET}".encode()) == 2


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(certificate: Path) -> None:
    async with Listener(certificate) as listener:
        client = OpenAiWire(spec_for(listener.base_url), Dialect())
        with pytest.raises(ProviderUnreachable, match="certificate verify failed"):
            await collect(client)
        await client.close()

    assert listener.read == b""


def test_the_scheme_of_an_address_chooses_the_transport() -> None:
    secure = transport_for(spec_for("https://api.example.com/v1"), Dialect())
    plain = transport_for(spec_for("http://10.0.0.5:8000/v1"), Dialect())

    assert isinstance(secure, SecureTransport)
    assert not isinstance(plain, SecureTransport)
    assert (origin_of("https://api.example.com/v1").port, origin_of("http://[::1]/v1").host) == (443, "::1")


async def test_a_transport_that_was_never_used_closes() -> None:
    await SecureTransport(origin_of("https://localhost/v1"), HttpLimits()).close()
