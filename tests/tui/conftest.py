"""The surroundings of every test of the screen."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Colours and Unicode whatever the shell says; nothing is written outside the test's folder; this host's load is
    in no picture."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("NUMATUI_ASCII", raising=False)
    monkeypatch.setattr("numatui.tui.reading.reader.read_load", lambda _: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
