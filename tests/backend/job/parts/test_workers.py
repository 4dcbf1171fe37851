"""Several workers move what one would, and account for it as one would."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.emulator.mm.mmap import mmap
from backend.emulator.scenario.layout import populate
from backend.emulator.tasks.life import do_exit, spawn
from backend.job.outcome import Progress
from backend.job.parts import page_mover
from backend.job.parts.pausable_cancel import PausableCancel
from tests.backend.job.moving import PAGE, Mover, check_journal
from tests.backend.job.test_undo_interrupted import small_batches
from tests.emulator.invariants import check_at_rest

LAYOUT = ([0, 1] * 150 + [2] * 30, [1] * 40 + [0] * 77, [3, 0] * 20)
WORKERS = [1, 2, 3, 4]


def accounts(one: Mover, outcome: Any, total: int) -> None:
    assert outcome.moved + sum(outcome.left.values()) == total * PAGE
    assert not [thread for thread in threading.enumerate() if thread.name == "numatui-mover"]
    check_journal(one.job(outcome.job))
    check_at_rest(one.machine)


@pytest.mark.parametrize("workers", WORKERS)
def test_the_same_as_with_one(workers: int, tmp_path: Path) -> None:
    one = Mover(tmp_path, *LAYOUT)
    before = one.nodes
    threads: set[int] = set()

    def note(_: Progress) -> None:
        threads.add(threading.get_ident())

    with small_batches():
        outcome = one.move([0, 1], [1, 2], workers=workers, on_progress=note)
        assert outcome.complete
        assert one.nodes == [{0: 1, 1: 2}.get(node, node) for node in before]
        assert outcome.workers == workers
        assert (threading.get_ident() in threads) == (workers == 1)
        accounts(one, outcome, before.count(0) + before.count(1))
        back = one.undo(workers=workers)
        assert back.complete
        assert back.moved == outcome.moved
    assert one.nodes == before


@pytest.mark.parametrize("workers", WORKERS)
def test_each_page_that_is_held_is_busy_once(workers: int, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 400)
    held = [0, 5, 6, 7, 8, 100, 101, 399]
    one.pin(held)
    with small_batches():
        outcome = one.move([0], [2], workers=workers)
    assert outcome.left == {"busy": len(held) * PAGE}
    assert [number for number, node in enumerate(one.nodes) if node == 0] == held
    one.release(held)
    accounts(one, outcome, 400)


@pytest.mark.parametrize("workers", WORKERS)
def test_no_room_is_told_once_and_for_all_that_stayed(workers: int, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 600, pages=1024)
    hog = spawn(one.machine, "hog", cpu=2)
    populate(one.machine, mmap(one.machine, hog, 700), np.arange(700), 1)
    with small_batches():
        outcome = one.move([0], [1], workers=workers)
        assert outcome.left == {"no-room": one.nodes.count(0) * PAGE}
        assert outcome.moved == one.nodes.count(1) * PAGE > 0
        accounts(one, outcome, 600)
        do_exit(one.machine, hog)
        assert one.undo(workers=workers).moved == outcome.moved
    assert one.nodes == [0] * 600


@pytest.mark.parametrize("workers", WORKERS)
def test_cancelling_stops_all_and_the_counts_add_up(workers: int, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 900)
    cancel = threading.Event()
    with small_batches():
        outcome = one.move([0], [2], workers=workers, cancel=cancel, on_progress=lambda _: cancel.set())
    assert outcome.cancelled
    assert 0 < outcome.moved <= workers * 4 * PAGE
    assert outcome.moved == one.nodes.count(2) * PAGE
    assert outcome.left == {"cancelled": one.nodes.count(0) * PAGE}
    accounts(one, outcome, 900)


def test_a_cancel_is_not_taken_for_want_of_room(tmp_path: Path) -> None:
    """One worker is told that there is no room while another finds that the job was cancelled."""
    one = Mover(tmp_path, [0] * 300)
    original, cancel = one.kernel.move_pages, threading.Event()
    both, first = threading.Barrier(2, timeout=20), threading.Lock()

    def move_pages(pid: int, pages: Any, nodes: Any, status: Any, flags: int) -> int:
        if nodes is None or cancel.is_set():
            return original(pid, pages, nodes, status, flags)
        if first.acquire(blocking=False):
            both.wait()
            cancel.set()
            raise OSError(errno.ENOMEM, "no room")
        both.wait()
        assert cancel.wait(20)
        return original(pid, pages, nodes, status, flags)

    one.kernel.move_pages = move_pages
    with small_batches(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_mover, "_LARGEST", 8 * PAGE)
        outcome = one.move([0], [2], workers=2, cancel=cancel)
    assert outcome.cancelled
    assert outcome.moved == 4 * PAGE
    assert sum(outcome.left.values()) == 296 * PAGE


@pytest.mark.parametrize("workers", WORKERS)
def test_a_process_that_ends_ends_the_job(workers: int, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 900)
    once = threading.Lock()

    def end(_: Progress) -> None:
        if once.acquire(blocking=False):
            one.kernel._locked(lambda: do_exit(one.machine, one.task))

    with small_batches():
        outcome = one.move([0], [2], workers=workers, on_progress=end)
    assert set(outcome.left) == {"process-ended"}
    assert outcome.moved + outcome.left["process-ended"] == 900 * PAGE
    assert one.job().state == "partly"


@pytest.mark.parametrize("workers", WORKERS)
def test_a_full_disk_stops_all_at_what_is_journaled(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Mover(tmp_path, [0] * 500, [0] * 500, [0] * 500)
    real = os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with small_batches():
        outcome = one.move([0], [2], workers=workers, on_progress=lambda _: monkeypatch.setattr(os, "write", full))
    monkeypatch.setattr(os, "write", real)
    assert "disk is full" in outcome.error
    assert set(outcome.left) == {"stopped"}
    assert outcome.moved == one.nodes.count(2) * PAGE > 0
    assert outcome.moved + outcome.left["stopped"] == 1500 * PAGE
    assert one.job().state == "interrupted"
    assert one.undo().moved == outcome.moved
    assert one.nodes == [0] * 1500


@pytest.mark.parametrize("workers", [2, 4])
def test_a_breakdown_of_one_worker_is_not_swallowed(workers: int, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 500)

    def die(_: Progress) -> None:
        raise MemoryError

    with small_batches(), pytest.raises(MemoryError):
        one.move([0], [2], workers=workers, on_progress=die)
    assert one.job().state == "failed"
    assert one.undo().moved > 0
    assert one.nodes == [0] * 500


@pytest.mark.parametrize("workers", [1, 3])
def test_a_call_of_which_it_is_not_known_what_it_did_can_be_taken_back(workers: int, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 50)
    original = one.kernel.move_pages

    def move_pages(pid: int, pages: Any, nodes: Any, status: Any, flags: int) -> int:
        original(pid, pages, nodes, status, flags)
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one.kernel, "move_pages", move_pages, raising=False)
        with pytest.raises(MemoryError):
            one.move([0], [2], workers=workers)
    assert one.nodes == [2] * 50
    assert one.undo().moved == 50 * PAGE
    assert one.nodes == [0] * 50


def test_a_paused_jobs_clock_stands_still(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 3000, pages=4096)
    cancel = PausableCancel(one.kernel.clock)
    seen: list[int] = []

    def rest(_: Progress) -> None:
        seen.append(one.kernel.clock())
        if len(seen) == 1:
            cancel.hold()
            one.kernel.pause(5_000_000_000)
            cancel.release()

    began = one.kernel.clock()
    outcome = one.move([0], [1], on_progress=rest, cancel=cancel, workers=1)
    assert outcome.complete
    assert cancel.held_for == 5_000_000_000
    assert outcome.whole.elapsed == outcome.elapsed <= one.kernel.clock() - began - 5_000_000_000
