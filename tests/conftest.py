"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("numatui", deadline=None)
settings.load_profile("numatui")
"""How long an example takes is the machine's affair."""

SHARED = Path(__file__).parents[2] / "shared"
"""Recorded machines that lie beside a development checkout; tests that use more than the repository has skip
without."""


def without(why: str) -> None:
    """Skip a test for want of something; where everything has to be there (NUMATUI_REQUIRE_GUEST, as in CI), fail
    it."""
    if os.environ.get("NUMATUI_REQUIRE_GUEST"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Journals go to a folder of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"
