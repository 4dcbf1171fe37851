"""What a policy has run after a move."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backend.errors import NotPermitted, ParseError
from backend.files.walk import Untrusted
from backend.mover import after_move
from backend.mover.after_move import check_program, run_after
from backend.mover.policy import parse_policy

RECORD = {"schema": "numatui/watch/1", "job": "7", "command": "a'; rm -rf /\n$(x)"}


def script(folder: Path, text: str, mode: int = 0o755) -> str:
    path = folder / "tell"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return str(path)


def test_it_gets_the_record_and_its_arguments_as_they_stand(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = script(tmp_path, f'cat > {out}; printf "%s\\n" "$#" "$@" >> {out}; echo not for people')
    assert run_after((program, "two words", "$(date)", ";", "*"), RECORD) == ""
    lines = out.read_text().splitlines()
    assert json.loads(lines[0]) == RECORD
    assert lines[1:] == ["4", "two words", "$(date)", ";", "*"]


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    assert run_after((script(tmp_path, "exit 3"),), RECORD).endswith("tell ended with exit code 3")
    assert run_after((script(tmp_path, "kill -9 $$"),), RECORD).endswith("tell ended with signal 9")
    assert "No such file" in run_after((str(tmp_path / "nosuch"),), RECORD)
    assert "is not a program" in run_after((script(tmp_path, "", 0o644),), RECORD)
    assert run_after((script(tmp_path, "exec <&-; exit 0"),), {"text": "x" * (1 << 20)}) == "", "it need not read it"


def test_one_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_move, "TIMEOUT", 0.4)
    monkeypatch.setattr(after_move, "_STEP", 0.1)
    signs: list[bool] = []
    pids = tmp_path / "pids"
    program = script(tmp_path, f"sleep 1000 & echo $! $$ > {pids}; wait")
    assert "was killed" in run_after((program,), RECORD, lambda: signs.append(True))
    assert len(signs) >= 3
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            _alive(int(pid))


def _alive(pid: int) -> None:
    os.kill(pid, 0)
    with open(f"/proc/{pid}/stat") as file:  # killed, and not yet collected by whoever its parent is now
        if file.read().rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError


def test_a_program_that_others_can_change_is_not_run(tmp_path: Path) -> None:
    for mode in (0o757, 0o777):
        with pytest.raises(Untrusted):
            check_program(script(tmp_path, "", mode))
    program = script(tmp_path, "exit 0")
    check_program(program)
    tmp_path.chmod(0o777)
    with pytest.raises(Untrusted):
        check_program(program)
    assert "can be changed by other users" in run_after((program,), RECORD)
    tmp_path.chmod(0o700)
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotPermitted):
        check_program(str(tmp_path / "folder"))


@pytest.mark.parametrize("text", ["[]", "[tell]", "['']", "tell", "{a: 1}", "[[/bin/true]]"])
def test_a_policy_names_a_whole_path(text: str) -> None:
    with pytest.raises(ParseError, match="after_move"):
        parse_policy(f"after_move: {text}")
    assert parse_policy("after_move: [/bin/true, -x]").after_move == ("/bin/true", "-x")
