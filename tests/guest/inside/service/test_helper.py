"""An ordinary user moves what the helper allows, and nothing else. Each test has a helper as a socket of systemd
starts one: test_systemd.py has that itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backend.agent.helped_files import SOCKET
from tests.guest.inside import rig
from tests.guest.inside.rig import OTHER, USER, MakeVictim, numatui, slowly, wait_until

STRANGER = 4003
CONFIG, STATE = Path("/etc/numatui-helper-test.yaml"), Path("/var/numatui-helper-test")
RULES = f"""
rules:
- users: [{USER}]
  processes: [own, "user:{OTHER}"]
  nodes: 0-2
  move: true
"""


class Accepting:
    """Starts a helper for each caller."""

    def __init__(self, rules: str) -> None:
        CONFIG.write_text(rules)
        CONFIG.chmod(0o600)
        STATE.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(SOCKET)
        os.chmod(SOCKET, 0o666)
        self._listening.listen(16)
        self.begun: list[subprocess.Popen[bytes]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            with one, open("/mnt/out/helper", "ab") as said:
                self.begun.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "numatui", "helper", "--serve", "--config", CONFIG],
                        stdin=one.fileno(), stdout=said, stderr=said,
                        env={**os.environ, "XDG_STATE_HOME": str(STATE)},
                    )
                )  # fmt: skip

    def end(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        os.unlink(SOCKET)
        for one in self.begun:
            one.kill()
            one.wait()
        (STATE / "numatui/helper.jsonl").unlink(missing_ok=True)


@contextmanager
def helper(rules: str = RULES) -> Iterator[Accepting]:
    one = Accepting(rules)
    try:
        yield one
    finally:
        one.end()


@pytest.fixture
def state() -> Path:
    """The state directory of an ordinary user."""
    folder = Path(tempfile.mkdtemp(prefix="numatui-state-"))
    os.chown(folder, USER, USER)
    return folder


def audit() -> list[dict[str, object]]:
    return [json.loads(line) for line in (STATE / "numatui/helper.jsonl").read_text().splitlines()]


def move(one: rig.LinuxVictim, *options: str, state: Path | None = None, to: str = "2", **how: object) -> rig.Result:
    return numatui(
        "migrate", one.pid, "--from", "0", "--to", to, "--yes", "--json", *options, uid=USER, state=state, **how
    )


def test_of_another_user_there_and_back(victim: MakeVictim, state: Path) -> None:
    one = victim({0: 700}, uid=OTHER)
    move(one, state=state).refused(3, "it belongs to another user")
    with helper():
        done = move(one, state=state)
        assert done.code == 0, done
        assert done.json["outcomes"][0]["moved"] == 700 * rig.PAGE
        assert one.pages() == {2: 700}
        one.verify()
        assert [(record["event"], record["uid"], record["pid"]) for record in audit()] == [
            ("moving", USER, one.pid), ("moved", USER, one.pid),
        ]  # fmt: skip
        assert audit()[1]["arrived"] == {"2": 700}
        assert "1" in numatui("jobs", uid=USER, state=state).out
        back = numatui("undo", "--yes", "--json", uid=USER, state=state)
        assert back.code == 0, back
    assert one.pages() == {0: 700}
    one.verify()


def test_it_shows_whom_it_allows_and_no_others(victim: MakeVictim) -> None:
    theirs, strangers = victim({0: 64}, uid=OTHER), victim({0: 64}, uid=STRANGER)
    with helper():
        rows = {one["pid"]: one for one in numatui("ps", "--json", uid=USER).json["processes"]}
    assert rows[theirs.pid]["nodes"]["0"] >= 64 * rig.PAGE
    assert not rows[strangers.pid]["nodes"]


def test_what_it_does_not_allow(victim: MakeVictim) -> None:
    theirs, strangers = victim({0: 64}, uid=OTHER), victim({0: 64}, uid=STRANGER)
    with helper():
        move(strangers).refused(3)
        assert strangers.pages() == {0: 64}
        elsewhere = move(theirs, to="3")
        assert elsewhere.code == 7, elsewhere
        assert "the helper does not move process" in elsewhere.out
    assert theirs.pages() == {0: 64}


def test_shared_pages_where_a_rule_says_so(victim: MakeVictim) -> None:
    one = victim({0: 128}, uid=OTHER)
    one.fork()
    with helper(RULES.replace("move: true", "move: true\n  shared: true")):
        done = move(one, "--all")
        assert done.code == 0, done
    assert one.pages() == {2: 128}
    one.verify()


@pytest.mark.parametrize("end", ["the helper", "numatui"])
def test_killed_in_mid_job(victim: MakeVictim, state: Path, end: str) -> None:
    one = victim({0: 4000}, uid=OTHER)
    with helper() as accepting:
        job = slowly(one.pid, uid=USER, state=state)
        wait_until(lambda: one.pages().get(2, 0) > 0, "something has moved")
        if end == "numatui":
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
            wait_until(lambda: all(process.poll() is not None for process in accepting.begun), "the helper ends")
            assert audit()[-1]["event"] == "moved"
        else:
            for process in accepting.begun:
                process.kill()
            done = job.wait()
            assert done.code in (6, 7), done
            assert "the connection to the helper is lost" in done.json["outcomes"][0]["error"]
        moved = one.pages().get(2, 0)
        assert 0 < moved < 4000
        back = numatui("undo", "--yes", "--json", uid=USER, state=state)
        assert back.code == 0, back
        assert one.pages() == {0: 4000}
        one.verify()


def test_one_lock_with_root(victim: MakeVictim, state: Path) -> None:
    one = victim({0: 4000}, uid=OTHER)
    with helper():
        job = slowly(one.pid, uid=USER, state=state)
        wait_until(lambda: one.pages().get(2, 0) > 0, "something has moved")
        numatui("migrate", one.pid, "--from", "0", "--to", "1", "--yes", "--json").refused(8, "another job")
        os.kill(job.pid, signal.SIGINT)
        assert job.wait().code == 130


def test_from_another_machine(victim: MakeVictim, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent of an ordinary user uses the helper that it finds there."""
    ssh = Path(tempfile.mkdtemp(prefix="numatui-ssh-")) / "ssh"
    ssh.parent.chmod(0o755)
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("NUMATUI_SSH", str(ssh))
    one = victim({0: 300}, uid=OTHER)
    with helper():
        done = numatui(
            "--host", "db7", "migrate", one.pid, "--from", "0", "--to", "1", "--yes", "--json", uid=USER, state=state
        )
        assert done.code == 0, done
        assert one.pages() == {1: 300}
        assert "you may" in numatui("--host", "db7", "helper", uid=USER, state=state).out
        assert numatui("--host", "db7", "undo", "--yes", uid=USER, state=state).code == 0
    assert one.pages() == {0: 300}
    one.verify()
