"""`numatui jobs --wait`: ends when the job has, and as it did."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from backend.journal.journal import Journal
from backend.state.jobs_dir import jobs_dir
from tests.backend.journal.journals import begin, ended, interrupted, move_some
from tests.cli.running import Cli, one_line


@pytest.fixture
def folder() -> Path:
    return jobs_dir()


def name_of(journal: Journal) -> str:
    return journal.path.stem


@pytest.mark.parametrize(("end", "code"), [("done", 0), ("partly", 6), ("cancelled", 130), ("failed", 1)])
def test_one_that_has_ended_says_how(cli: Cli, folder: Path, end: str, code: int) -> None:
    journal = begin(folder)
    journal.end(end, moved=4096)
    document = cli.json("jobs", "--wait", name_of(journal), code=code)
    assert (document["schema"], document["state"], document["moved"]) == ("numatui/job/1", end, 4096)
    got, out, err = cli("jobs", "--wait", name_of(journal))
    assert (got, err) == (code, "")
    assert end in out


def test_one_that_was_killed_has_failed(cli: Cli, folder: Path) -> None:
    assert cli.json("jobs", "--wait", name_of(interrupted(folder)), code=1)["state"] == "interrupted"


def test_it_waits_for_one_that_runs(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begin(folder)
    move_some(journal, 5)
    looked: list[bool] = []

    def ticks(*_: object) -> object:
        for number in range(3):
            looked.append(True)
            if number == 2:
                journal.end("done", moved=5 * 4096)
            yield number

    monkeypatch.setattr("numatui.cli.look.jobs.ticks", ticks)
    assert cli.json("jobs", "--wait", name_of(journal))["moved"] == 5 * 4096
    assert len(looked) == 3


def test_a_signal_ends_the_waiting_not_the_job(cli: Cli, folder: Path) -> None:
    journal = begin(folder)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), 2))
    timer.start()
    code, out, err = cli("jobs", "--wait", name_of(journal))
    timer.join()
    assert (code, out) == (130, "")
    assert one_line(err)
    assert "still running" in err
    journal.end("done", moved=0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--wait", "77"), 4), (("--wait", "../x"), 4), (("--wait", "1", "--csv"), 2), (("--wait", "1", "--follow"), 2)],
)
def test_what_cannot_be_waited_for(cli: Cli, folder: Path, arguments: tuple[str, ...], code: int) -> None:
    ended(folder)
    got, out, err = cli("jobs", *arguments)
    assert (got, out) == (code, "")
    assert one_line(err)
