"""Moving on another machine: this one, with the agent in between. What it does is read in this machine's own files."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import MakeVictim, Numatui, Result, numatui, slowly, wait_until

SSH = '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n'
FAR = ("--host", "db7")


@pytest.fixture(autouse=True)
def ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of ssh, without a network."""
    path = Path(tempfile.mkdtemp(prefix="numatui-ssh-")) / "ssh"
    path.parent.chmod(0o755)
    path.write_text(SSH)
    path.chmod(0o755)
    monkeypatch.setenv("NUMATUI_SSH", str(path))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def there(*arguments: object, state: Path) -> Result:
    return numatui(*FAR, *arguments, state=state)


def agents() -> list[int]:
    """The agents that run: programs that read their text from their input."""
    out: list[int] = []
    for pid in Path("/proc").glob("[0-9]*"):
        try:
            words = (pid / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-IS" in words:
            out.append(int(pid.name))
    return out


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_there_and_back(victim: MakeVictim, state: Path, method: str) -> None:
    one = victim({0: 600, 1: 300})
    asked = (one.pid, "--from", "0-1", "--to", "2-3", "--json")
    assert there("plan", *asked, state=state).json["pages"] == 900
    done = there("migrate", *asked, "--yes", "--method", method, state=state)
    assert done.code == 0, done
    assert done.json["outcomes"][0]["moved"] == 900 * rig.PAGE
    assert one.pages() == {2: 600, 3: 300}
    one.verify()
    here, far = numatui("jobs", "--json", state=state).json, there("jobs", "--json", state=state).json
    assert here["jobs"] == far["jobs"], "one truth, wherever it is looked at"
    if method == "move_pages":
        back = there("undo", "--yes", "--json", state=state)
        assert back.code == 0, back
        assert one.pages() == {0: 600, 1: 300}
        one.verify()
    assert agents() == []


def test_what_is_told_names_the_host(victim: MakeVictim, state: Path) -> None:
    one = victim({0: 50})
    done = there("migrate", one.pid, "--from", "0", "--to", "1", "--yes", state=state)
    assert "numatui --host db7 undo 1 takes it back" in done.out


def begun(one: rig.LinuxVictim, state: Path) -> Numatui:
    """A slow job over there, of which something has moved."""
    job = Numatui(
        (*FAR, "migrate", str(one.pid), "--from", "0", "--to", "2", "--yes", "--json", "--max-rate", "4MiB/s"),
        state=state,
    )
    wait_until(lambda: one.pages().get(2, 0) > 0, "something has moved")
    return job


def interrupted(state: Path) -> bool:
    return [job["state"] for job in numatui("jobs", "--json", state=state).json["jobs"]] == ["interrupted"]


def test_this_side_is_killed(victim: MakeVictim, state: Path) -> None:
    """The agent finishes its call and ends; what it did is in the journal there, and goes back."""
    one = victim({0: 8000})
    job = begun(one, state)
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait().code == -signal.SIGKILL
    wait_until(lambda: agents() == [], "the agent ends")
    assert interrupted(state)
    assert 0 < one.pages()[2] < 8000
    back = there("undo", "--yes", "--json", state=state)
    assert back.code == 0, back
    assert one.pages() == {0: 8000}
    one.verify()


def test_the_agent_is_killed(victim: MakeVictim, state: Path) -> None:
    one = victim({0: 8000})
    job = begun(one, state)
    for pid in agents():
        os.kill(pid, signal.SIGKILL)
    done = job.wait()
    assert done.code == 1, done
    assert "the connection to db7 is lost" in done.err
    assert done.err.count("\n") <= 2, done.err
    assert interrupted(state)
    assert there("undo", "--yes", state=state).code == 0
    assert one.pages() == {0: 8000}
    one.verify()


def test_two_at_once_are_one_too_many(victim: MakeVictim, state: Path) -> None:
    one = victim({0: 8000})
    job = begun(one, state)
    os.kill(job.pid, signal.SIGSTOP)  # it goes on for as long as this takes
    for second in (
        there("migrate", one.pid, "--from", "0", "--to", "1", "--yes", state=state),
        numatui("migrate", one.pid, "--from", "0", "--to", "1", "--yes", state=state),
    ):
        assert second.code == 8, second
        assert "is being moved already" in second.err
    os.kill(job.pid, signal.SIGCONT)
    os.kill(job.pid, signal.SIGINT)
    assert job.wait().code == 130
    assert agents() == []


def test_a_job_here_is_seen_there(victim: MakeVictim, state: Path) -> None:
    one = victim({0: 8000})
    job = slowly(one.pid, state=state)
    wait_until(lambda: one.pages().get(2, 0) > 0, "something has moved")
    os.kill(job.pid, signal.SIGSTOP)  # it goes on for as long as this takes
    assert there("migrate", one.pid, "--from", "0", "--to", "1", "--yes", state=state).code == 8
    assert there("jobs", "--json", state=state).json["jobs"][0]["state"] == "running"
    os.kill(job.pid, signal.SIGCONT)
    os.kill(job.pid, signal.SIGINT)
    job.wait()


def test_an_ordinary_user_there_moves_their_own(victim: MakeVictim) -> None:
    mine, others = victim({0: 50}, uid=rig.USER), victim({0: 50})
    assert numatui(*FAR, "migrate", mine.pid, "--from", "0", "--to", "1", "--yes", uid=rig.USER).code == 0
    assert mine.pages() == {1: 50}
    assert numatui(*FAR, "migrate", others.pid, "--from", "0", "--to", "1", "--yes", uid=rig.USER).code == 3
    assert others.pages() == {0: 50}
