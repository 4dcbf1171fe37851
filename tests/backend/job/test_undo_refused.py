"""What cannot be taken back is refused with its reason, and nothing is touched."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.emulator.mm.mmap import mmap
from backend.emulator.scenario.layout import populate
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.errors import Busy, NotFound, NotPermitted, NotSupported, NumatuiError
from backend.job.outcome import Progress
from backend.job.undo import plan_undo
from backend.process import process
from backend.state.machine_lock import ProcessLocks
from tests import ROOT
from tests.backend.job.moving import Mover


def moved(folder: Path, **how: Any) -> Mover:
    one = Mover(folder, [0] * 50, **how)
    assert one.move([0], [2]).complete
    return one


def refused(one: Mover, error: type[NumatuiError], words: str, job: str | None = None) -> None:
    nodes, files = one.nodes, sorted(one.folder.iterdir())
    with pytest.raises(error, match=words) as caught:
        one.undo(job)
    assert str(caught.value).isprintable()
    assert one.nodes == nodes
    assert sorted(one.folder.iterdir()) == files, "no job began"


def test_a_process_that_has_ended(tmp_path: Path) -> None:
    one = moved(tmp_path)
    do_exit(one.machine, one.task)
    refused(one, NotFound, "no process")


def test_a_pid_that_is_anothers_now(tmp_path: Path) -> None:
    one = moved(tmp_path)
    do_exit(one.machine, one.task)
    other = spawn(one.machine, "other", cpu=0, pid=one.pid)
    vma = mmap(one.machine, other, 50)
    populate(one.machine, vma, np.arange(50), 2)
    one.vmas = [vma]
    refused(one, NotFound, "another has its number")


def test_another_program_in_the_process(tmp_path: Path) -> None:
    one = moved(tmp_path)
    one.kernel.program = 12
    refused(one, NotFound, "another program")


def test_a_journal_with_two_addresses_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they were written at first."""
    with monkeypatch.context() as patch:
        patch.setattr(process, "LAYOUT", process.LAYOUT[:2])
        one = moved(tmp_path)
    one.undo()
    assert set(one.nodes) == {0}


def test_a_program_that_starts_meanwhile(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 3000, pages=4096)
    one.move([0], [1])

    def run_another(_: Progress) -> None:
        one.kernel.program = 12

    back = one.undo(on_progress=run_another)
    assert "another program" in back.error
    assert back.moved + back.left.get("new-program", 0) == 3000 * 4096


def test_another_start_of_the_machine(tmp_path: Path) -> None:
    one = moved(tmp_path)
    for boot in ("second", "", "\x1b[2J"):
        one.kernel.boot = boot
        refused(one, NotFound, "was rebooted")


def test_a_job_that_was_taken_back(tmp_path: Path) -> None:
    one = moved(tmp_path)
    one.undo()
    one.meddle(2, range(50))
    refused(one, NumatuiError, "undone already")


def test_a_job_that_is_running(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 3000, pages=4096)
    seen: list[str] = []

    def look(_: Progress) -> None:
        with pytest.raises(NumatuiError, match="still running"):
            one.undo()
        seen.append(one.job().state)

    assert one.move([0], [1], on_progress=look).complete
    assert set(seen) == {"running"}


def test_one_that_was_taken_back_while_it_was_asked_for(tmp_path: Path) -> None:
    """Two ask at the same time: the second has read the journal before the first was done."""
    one = moved(tmp_path)
    plan = plan_undo(one.kernel, one.job())
    one.undo()
    one.meddle(2, range(50))
    with pytest.raises(NumatuiError, match="undone already"):
        one.carry_out(plan)
    assert one.nodes == [2] * 50
    assert one.states == ["done", "done"]


def test_direct_migration_v8_has_no_call_for_single_pages(tmp_path: Path) -> None:
    one = moved(tmp_path, profile="direct-v8")
    assert one.job().method == "migrate_pages"
    refused(one, NotSupported, "move by nodes instead")


def test_another_users_process(tmp_path: Path) -> None:
    one = moved(tmp_path)
    one.kernel.inner.caller = Caller(1001, False)
    refused(one, NotPermitted, "another user")


def test_a_user_takes_back_what_it_moved_itself_without_seeing_frames(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 50 + [2] * 9)
    one.kernel.inner.caller = Caller(1000, False)
    assert one.move([0], [2]).complete
    assert one.undo().complete
    assert one.nodes == [0] * 50 + [2] * 9


class TestOneJobAtATime:
    """On one process: jobs of this program and of others."""

    def test_a_second_thread_is_refused_while_a_job_runs_and_welcome_afterwards(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 3000, [1] * 20, pages=4096)
        errors: list[str] = []

        def again() -> None:
            try:
                one.move([1], [3])
            except NumatuiError as exc:
                errors.append(str(exc))

        def meanwhile(_: Progress) -> None:
            thread = threading.Thread(target=again)
            thread.start()
            thread.join()

        first = one.move([0], [2], on_progress=meanwhile)
        assert first.complete
        assert errors
        assert all(first.job in text for text in errors)
        assert one.nodes == [2] * 3000 + [1] * 20
        again()
        assert one.nodes == [2] * 3000 + [3] * 20

    def test_an_undo_is_refused_while_a_job_runs(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 3000, [1] * 20, pages=4096)
        first = one.move([1], [3])
        errors: list[str] = []

        def meanwhile(_: Progress) -> None:
            try:
                one.undo(first.job)
            except NumatuiError as exc:
                errors.append(str(exc))

        one.move([0], [2], on_progress=meanwhile)
        assert errors
        assert "being moved already" in errors[0]
        assert one.nodes == [2] * 3000 + [3] * 20

    @pytest.mark.parametrize("how", ["ends", "is killed"])
    def test_another_program_is_respected_until_it_ends(self, tmp_path: Path, how: str) -> None:
        one = Mover(tmp_path, [0] * 20)
        code = (
            "import sys; from pathlib import Path; from backend.state.machine_lock import ProcessLocks\n"
            f"locks = ProcessLocks(Path({str(one.folder)!r}), [{one.pid}])\n"
            "print('running', flush=True); sys.stdin.read(); locks.close()\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT,
        )  # fmt: skip
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "running\n"
            with pytest.raises(NumatuiError, match="being moved already"):
                one.move([0], [2])
            assert one.nodes == [0] * 20
        finally:
            if how == "ends":
                other.stdin.close()
            else:
                other.kill()
            other.wait()
            other.stdout.close()
            other.stdin.close() if how != "ends" else None
        assert one.move([0], [2]).complete

    def test_many_that_begin_at_once_see_each_other(self, tmp_path: Path) -> None:
        begin = threading.Barrier(8)
        won: list[ProcessLocks] = []
        lost: list[str] = []

        def start() -> None:
            begin.wait()
            try:
                won.append(ProcessLocks(tmp_path, [4, 5]))
            except Busy as exc:
                lost.append(str(exc))

        crowd = [threading.Thread(target=start) for _ in range(8)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        assert (len(won), len(lost)) == (1, 7)
        won[0].close()
        ProcessLocks(tmp_path, [5]).close()
