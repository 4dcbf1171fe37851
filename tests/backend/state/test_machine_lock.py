"""Locks on processes: one job a process, whichever program it runs in, until it ends in whatever way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.errors import Busy, NumatuiError
from backend.job.job import lock_folder
from backend.state.local import LOCAL
from backend.state.machine_lock import ProcessLocks, open_lock
from tests import ROOT


def is_locked(folder: Path, pid: int) -> bool:
    try:
        ProcessLocks(folder, [pid]).close()
    except Busy:
        return True
    return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@contextmanager
def another_program(folder: Path, pid: int) -> Iterator[subprocess.Popen[str]]:
    """One that holds the lock until its input ends."""
    code = (
        "import sys; from pathlib import Path; from backend.state.machine_lock import ProcessLocks\n"
        f"locks = ProcessLocks(Path({str(folder)!r}), [{pid}])\n"
        "print('locked', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            yield other
        finally:
            other.kill()


class TestHolding:
    def test_a_second_job_on_a_process_is_refused_until_the_first_ends(self, folder: Path) -> None:
        first = ProcessLocks(folder, [4242])
        with pytest.raises(Busy, match="process 4242 is being moved already") as caught:
            ProcessLocks(folder, [4242])
        assert caught.value.exit_code == 8
        assert str(caught.value).isprintable()
        first.close()
        assert not is_locked(folder, 4242)

    def test_other_processes_are_free(self, folder: Path) -> None:
        first = ProcessLocks(folder, [1, 4242, (1 << 22) - 1])
        for pid in (2, 4241, 4243, 1 << 22):
            assert not is_locked(folder, pid)
        for pid in (1, 4242, (1 << 22) - 1):
            assert is_locked(folder, pid)
        first.close()

    def test_a_job_that_is_refused_holds_none_of_its_processes(self, folder: Path) -> None:
        first = ProcessLocks(folder, [5])
        before = descriptors()
        with pytest.raises(Busy):
            ProcessLocks(folder, [4, 5, 6])
        assert descriptors() == before
        assert not is_locked(folder, 4)
        assert is_locked(folder, 5)
        first.close()

    def test_a_process_that_is_named_twice_is_no_other_job(self, folder: Path) -> None:
        ProcessLocks(folder, [4, 4]).close()

    def test_closing_twice_closes_nothing_else(self, folder: Path) -> None:
        locks = ProcessLocks(folder, [4])
        locks.close()
        other = os.open(folder, os.O_RDONLY)
        locks.close()
        os.close(other)

    def test_thousands_of_processes_take_few_descriptors(self, folder: Path) -> None:
        before = descriptors()
        locks = ProcessLocks(folder, range(10, 15_010, 3))
        assert descriptors() <= before + 32
        assert is_locked(folder, 10)
        assert not is_locked(folder, 11)
        assert is_locked(folder, 15_007)
        locks.close()
        assert descriptors() == before


class TestAnotherProgram:
    def test_it_is_respected_until_it_ends(self, folder: Path) -> None:
        with another_program(folder, 4242) as other:
            assert is_locked(folder, 4242)
            assert not is_locked(folder, 4243)
            other.communicate()
            assert other.returncode == 0
            assert not is_locked(folder, 4242)

    def test_its_lock_ends_with_kill_9(self, folder: Path) -> None:
        with another_program(folder, 4242) as other:
            assert is_locked(folder, 4242)
            other.kill()
            other.wait()
            assert not is_locked(folder, 4242)

    def test_one_that_is_started_meanwhile_does_not_keep_the_lock(self, folder: Path) -> None:
        locks = ProcessLocks(folder, [4242])
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as other:
            locks.close()
            assert not is_locked(folder, 4242)
            other.communicate()


class TestFolder:
    def refused(self, folder: Path) -> str:
        """The one line that says so."""
        before = descriptors()
        with pytest.raises(NumatuiError) as caught:
            ProcessLocks(folder, [4242])
        assert descriptors() == before
        assert str(caught.value).isprintable()
        return str(caught.value)

    def test_it_is_made_private(self, folder: Path) -> None:
        old = os.umask(0)
        try:
            ProcessLocks(folder / "deep", [4242]).close()
        finally:
            os.umask(old)
        assert (folder / "deep").stat().st_mode & 0o777 == 0o700
        assert (folder / "deep" / "pids-18.lock").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("there", [True, False])
    def test_a_link_in_its_place_is_refused(self, folder: Path, tmp_path: Path, there: bool) -> None:
        if there:
            (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
        assert "nothing is moved" in self.refused(folder)
        assert not there or not list((tmp_path / "elsewhere").iterdir())

    @pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
    def test_one_that_others_can_write_to_is_refused(self, folder: Path, mode: int) -> None:
        folder.mkdir()
        folder.chmod(mode)
        assert "not a folder of yours alone" in self.refused(folder)
        assert not list(folder.iterdir())

    def test_another_users_is_refused(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(mode=0o700)
        owner = folder.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        assert "not a folder of yours alone" in self.refused(folder)

    def test_a_file_in_its_place_is_refused(self, folder: Path) -> None:
        folder.touch()
        assert "cannot be locked" in self.refused(folder)

    def test_a_link_in_place_of_the_file_is_refused(self, folder: Path, tmp_path: Path) -> None:
        folder.mkdir(mode=0o700)
        (folder / "pids-18.lock").symlink_to(tmp_path / "other")
        assert "cannot be locked" in self.refused(folder)
        assert not (tmp_path / "other").exists()

    def test_locks_of_another_name_are_others(self, folder: Path) -> None:
        fds = {name: open_lock(folder, name) for name in ("pids.lock", "mover.lock")}
        for fd in fds.values():
            os.close(fd)
        assert {one.name for one in folder.iterdir()} == {*fds}


@pytest.mark.parametrize(
    ("keeps_jobs", "uid", "has_own", "wanted"),
    [
        (False, 0, True, "/jobs"),
        (True, 0, True, "/run/numatui"),
        (True, 1000, True, "/run/user/1000/numatui"),
        (True, 1000, False, "/jobs"),
        (True, 0, False, "/jobs"),
    ],
)
def test_root_and_users_lock_where_all_their_jobs_do(
    keeps_jobs: bool, uid: int, has_own: bool, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel: Any = SimpleNamespace(traits=SimpleNamespace(keeps_jobs=keeps_jobs), files=LOCAL)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: uid)
        patch.setattr(os, "access", lambda *_: True)
        # Root of a user namespace sees the folder of another root.
        patch.setattr(Path, "stat", lambda _: SimpleNamespace(st_uid=uid if has_own else 65534))
        found = lock_folder(kernel, Path("/jobs"))
    assert found == Path(wanted)
