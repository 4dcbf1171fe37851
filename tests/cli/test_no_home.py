"""A user without a home, neither in passwd nor as HOME: one line where something would be kept, else no difference."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tests.cli.running import Cli, one_line


@pytest.fixture(autouse=True)
def no_home(private_state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*os.environ]:
        if name == "HOME" or name.startswith("XDG_"):
            monkeypatch.delenv(name)

    def nobody(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)


def test_undo_has_nowhere_to_look(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("--live", "undo")
    assert (code, out) == (4, "")
    assert one_line(err)
    assert "no home folder" in err
    assert not list(tmp_path.iterdir()), "no folder that is called ~"


@pytest.mark.parametrize("command", ["jobs", "doctor", "plan self --from 0 --to 0", "ps"])
def test_what_keeps_nothing_works(cli: Cli, tmp_path: Path, command: str) -> None:
    code, _, err = cli("--live", *command.replace("self", str(os.getpid())).split())
    assert code in (0, 3, 5), err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
