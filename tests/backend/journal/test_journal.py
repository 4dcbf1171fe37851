"""The journal that a job writes: before pages move, private, and told of when it cannot be."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.life import spawn
from backend.errors import NumatuiError
from backend.job.outcome import Progress
from backend.journal.past_job import JournaledChunk, PastJob
from backend.kernel import Numbers
from backend.plan.remap import Move
from tests.backend.job.moving import check_journal
from tests.backend.job.running import move
from tests.backend.job.test_migrate import PAGE, two_by_hundred
from tests.backend.journal.journals import everything, pages
from tests.emulator.machines import machine, nodes_of, region


def journal(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "jobs").glob("*.job")
    return path


def test_the_head_and_the_batch_are_on_disk_before_pages_move(tmp_path: Path) -> None:
    m, kernel, pid = two_by_hundred()
    vma = m.tasks[pid].mm.vmas[0]
    original = kernel.move_pages
    seen: list[tuple[PastJob, list[JournaledChunk]]] = []

    def watching(pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        if nodes is not None:
            seen.append(everything(journal(tmp_path)))
        return original(pid, pages, nodes, status, flags)

    kernel.move_pages = watching  # type: ignore[method-assign]
    outcome = move(kernel, pid, [0], [2], tmp_path)
    job, (batch,) = seen[0]
    (part,) = job.parts
    assert (part.identity.pid, part.identity.start_time) == (pid, m.tasks[pid].start_time)
    assert (job.state, part.moves) == ("running", (Move(0, 2),))
    assert (batch.part, batch.move, batch.page_size, batch.left, batch.shared) == (0, Move(0, 2), PAGE, None, False)
    assert batch.addresses.tolist() == pages(vma.start, 100).tolist()
    job, (batch,) = everything(journal(tmp_path))
    assert batch.left is not None
    assert not batch.left.any()
    assert (job.job, job.state) == (outcome.job, "done")
    check_journal(job)


def test_it_is_synced_before_pages_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, kernel, pid = two_by_hundred()
    original, sync = kernel.move_pages, os.fdatasync
    synced: list[int] = []

    def syncing(fd: int) -> None:
        sync(fd)
        synced.append(os.fstat(fd).st_size)

    def watching(pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        assert nodes is None or synced[-1] == journal(tmp_path).stat().st_size
        return original(pid, pages, nodes, status, flags)

    monkeypatch.setattr(os, "fdatasync", syncing)
    kernel.move_pages = watching  # type: ignore[method-assign]
    assert move(kernel, pid, [0], [2], tmp_path).complete
    assert len(synced) == 3, "the head, the chunk and the end"


def test_it_is_private(tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()
    old = os.umask(0)
    try:
        move(kernel, pid, [0], [2], tmp_path)
    finally:
        os.umask(old)
    path = journal(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def full(fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_nothing_moves_when_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    m, kernel, pid = two_by_hundred()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NumatuiError, match="disk is full"):
        move(kernel, pid, [0], [2], tmp_path)
    monkeypatch.undo()
    assert nodes_of(m, m.tasks[pid].mm.vmas[0]).count(2) == 0
    assert not list((tmp_path / "jobs").glob("*.job"))


def test_a_disk_that_fills_in_mid_move_stops_it_and_what_had_moved_is_said(tmp_path: Path) -> None:
    m = machine("linux-6", pages=20_000)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 18_000})
    kernel = EmulatedKernel(m)
    real = os.write

    def fill(_: Progress) -> None:
        os.write = full

    try:
        outcome = move(kernel, task.pid, [0], [1], tmp_path, on_progress=fill)
    finally:
        os.write = real
    moved = nodes_of(m, vma).count(1)
    assert 0 < moved < 18_000
    assert outcome.moved == moved * PAGE
    assert "disk is full" in outcome.error
    assert not outcome.complete


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "jobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NumatuiError, match="not a folder of yours"):
        move(kernel, pid, [0], [2], tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_job_that_breaks_down_says_that_it_failed(tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()

    def die(_: Progress) -> None:
        raise SystemExit(9)

    with pytest.raises(SystemExit):
        move(kernel, pid, [0], [2], tmp_path, on_progress=die)
    job, chunks = everything(journal(tmp_path))
    assert job.state == "failed"
    assert len(chunks) == 1
