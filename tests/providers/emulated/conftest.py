"""A quick emulated backend on a free port, and a client for it."""

from collections.abc import AsyncGenerator

import pytest

from tests.providers.emulated.emulated_client import Client, deployment, serving


@pytest.fixture
async def client() -> AsyncGenerator[Client]:
    async with serving(deployment()) as made:
        yield made
