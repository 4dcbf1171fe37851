"""The journal that a job writes: before pages move, private, and told of when it cannot be."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import errno
import json
import os
import stat
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.life import spawn
from backend.errors import NumatuiError
from backend.job.outcome import Progress
from backend.placement.pagemap import runs_of
from tests.backend.job.test_migrate import PAGE, move, two_by_hundred
from tests.emulator.machines import machine, nodes_of, region


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    (path,) = (tmp_path / "jobs").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_head_and_the_batch_are_on_disk_before_pages_move(tmp_path: Path) -> None:
    m, kernel, pid = two_by_hundred()
    vma = m.tasks[pid].mm.vmas[0]
    original = kernel.move_pages
    seen: list[list[dict[str, Any]]] = []

    def watching(pid: int, pages: array[int], nodes: array[int] | None, status: array[int], flags: int) -> int:
        if nodes is not None:
            seen.append(lines(tmp_path))
        return original(pid, pages, nodes, status, flags)

    kernel.move_pages = watching  # type: ignore[method-assign]
    outcome = move(kernel, pid, [0], [2], tmp_path)
    head, batch = seen[0]
    assert head["pid"] == pid
    assert head["start_time"] == m.tasks[pid].start_time
    assert head["moves"] == [[0, 2]]
    assert batch == {"chunk": 1, "from": 0, "to": 2, "page_size": PAGE, "runs": [[vma.start, 100]]}
    assert lines(tmp_path)[-2:][0] == {"after": 1, "moved": 100}
    assert lines(tmp_path)[-1]["end"] == "done"
    assert lines(tmp_path)[0]["job"] == outcome.job


def test_it_is_private(tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()
    old = os.umask(0)
    try:
        move(kernel, pid, [0], [2], tmp_path)
    finally:
        os.umask(old)
    (path,) = (tmp_path / "jobs").glob("*.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_moves_when_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    m, kernel, pid = two_by_hundred()

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NumatuiError, match="disk is full"):
        move(kernel, pid, [0], [2], tmp_path)
    monkeypatch.undo()
    assert nodes_of(m, m.tasks[pid].mm.vmas[0]).count(2) == 0


def test_a_disk_that_fills_in_mid_move_stops_it_and_what_had_moved_is_said(tmp_path: Path) -> None:
    m = machine("linux-6", pages=20_000)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 18_000})
    kernel = EmulatedKernel(m)
    real = os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

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
    assert lines(tmp_path)[-1]["end"] == "failed"


def test_runs() -> None:
    for addresses, runs in (
        ([], []),
        ([4096], [(4096, 1)]),
        ([0, 4096, 8192, 20480], [(0, 3), (20480, 1)]),
        ([0, 8192, 12288], [(0, 1), (8192, 2)]),
    ):
        assert runs_of(np.array(addresses, np.uint64), 4096) == runs
