"""Servers that tests of the fleet share."""

from collections.abc import Iterator

import pytest

from tests.app.fleet.lease_benches import RedisServer, running_server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests that leave it running; each takes a namespace of its own."""
    with running_server() as server:
        yield server


@pytest.fixture
def mortal_server() -> Iterator[RedisServer]:
    """A server for one test, to kill or freeze."""
    with running_server() as server:
        yield server
