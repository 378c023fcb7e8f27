"""One market for all journeys of a kind; each test finds its backend well-behaved and its requests forgotten."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.stage import Stage, opened


@pytest.fixture(scope="session")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("stage")
    with opened(folder, redis_url="memory://") as stage:
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    shared_stage.reset()
    return shared_stage
