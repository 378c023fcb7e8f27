"""What all tests share: settings that no machine's environment changes."""

import os

import pytest
from hypothesis import settings

from app.settings import Settings

settings.register_profile("quick", max_examples=20)
"""For ``make quick``; ``make test`` looks at five times as many."""


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_this_machine() -> None:
    """A developer's own ``GOODPUT_*`` variables and ``.env`` say nothing about the code."""
    for name in [name for name in os.environ if name.startswith("GOODPUT_")]:
        del os.environ[name]
    Settings.model_config["env_file"] = None
