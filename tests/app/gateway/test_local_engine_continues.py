"""The local engine goes on with an answer that is sent as its last message, and repeats nothing of it."""

from collections.abc import AsyncGenerator

import msgspec
import pytest

from app.gateway.continuation import Resumed, Sound, Spoken, resumed_fields
from providers.base import CompletionRequest, TokenChunk
from providers.engine_process import EngineProcess
from providers.registry import build
from providers.spec import ProviderKind, ProviderSpec

pytestmark = [pytest.mark.slow, pytest.mark.engine]

FIELDS = {
    "messages": msgspec.Raw(b'[{"role":"user","content":"Count from one to twenty in words, with commas."}]'),
    "temperature": 0,
    "ignore_eos": True,
}


@pytest.fixture
async def engine() -> AsyncGenerator[EngineProcess]:
    running = await EngineProcess.start()
    yield running
    await running.stop()


async def test_the_rest_follows_where_the_beginning_ended(engine: EngineProcess) -> None:
    provider = build(ProviderSpec("local", ProviderKind.LOCAL_ENGINE, engine.base_url, engine.model_name))

    async def said(fields: dict[str, object], tokens: int) -> tuple[str, list[TokenChunk]]:
        request = CompletionRequest("gen", {**fields, "max_tokens": tokens}, is_stream=True)
        spoken, chunks = Spoken(), list[TokenChunk]()
        async for chunk in provider.stream(request):
            spoken.hear(chunk)
            chunks.append(chunk)
        return spoken.text, chunks

    beginning, first = await said(dict(FIELDS), 24)
    rest, after = await said(resumed_fields(FIELDS, beginning), 24)
    await provider.close()
    resumed = Resumed(beginning, 24, "a/d", "b/d", "closed")
    sounds = [resumed.hear(chunk) for chunk in after if chunk.content_events]
    assert sounds[-1] is Sound.NEW
    assert Sound.ECHO not in sounds
    assert len(beginning) >= 16
    assert not rest.startswith(beginning)
    usages = [chunk.usage for chunks in (first, after) for chunk in chunks if chunk.usage is not None]
    # The second prompt is the first and what was said; the count of what was said may differ by a token's cut.
    assert abs(usages[1].input_total - usages[0].input_total - 24) <= 2
    assert usages[1].output == 24
