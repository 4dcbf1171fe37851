"""Migrations through the seam, on the emulated machine: the code path is the live one."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import errno
import threading
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.mm.fault import touch
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.errors import NotFound, NotPermitted, NotSupported
from backend.job.outcome import Progress
from backend.journal.past_jobs import list_jobs
from backend.kernel import Numbers
from backend.process.process import read_process
from tests.backend.job.moving import chunks_of
from tests.backend.job.running import move, plan_for, run_job
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region
from tests.kernels.around import Around

PAGE = 4096


def two_by_hundred(profile: str = "linux-6", **options: Any) -> tuple[Machine, EmulatedKernel, int]:
    m = machine(profile, pages=1024, swap_pages=1024, **options)
    task = spawn(m, "oltp", cpu=0, uid=1000)
    region(m, task, {0: 100, 1: 50})
    return m, EmulatedKernel(m), task.pid


@pytest.mark.parametrize(
    ("profile", "method"),
    [("linux-6", "auto"), ("linux-6", "move_pages"), ("linux-6", "migrate_pages"), ("direct-v8", "auto")],
)
def test_all_pages_move_keeping_relative_position_and_the_counts_add_up(
    profile: str, method: Any, tmp_path: Path
) -> None:
    m, kernel, pid = two_by_hundred(profile)
    outcome = move(kernel, pid, [0, 1], [2, 3], tmp_path, method=method)
    assert outcome.complete
    assert outcome.before == {0: 100 * PAGE, 1: 50 * PAGE}
    assert outcome.after == {2: 100 * PAGE, 3: 50 * PAGE}
    assert outcome.moved == 150 * PAGE
    assert outcome.method == (
        "migrate_pages"
        if "migrate_pages" in (method, *(["migrate_pages"] if profile == "direct-v8" else []))
        else "move_pages"
    )
    check_at_rest(m)


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_overlapping_sets_land_where_the_plan_says(method: Any, tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()
    process = read_process(kernel, pid)
    plan = plan_for(kernel, process, [0, 1], [1, 2], method)
    outcome = run_job(kernel, plan, tmp_path / "j")
    assert outcome.after == plan.processes[0].after == {1: 100 * PAGE, 2: 50 * PAGE}
    assert outcome.complete


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_a_target_without_room_gives_a_partial_result_with_its_reason(method: Any, tmp_path: Path) -> None:
    m = machine("linux-6", pages=1024)
    task = spawn(m, "big", cpu=0)
    vma = region(m, task, {0: 600})
    region(m, spawn(m, "hog", cpu=2), {1: 700})
    outcome = move(EmulatedKernel(m), task.pid, [0], [1], tmp_path, method=method)
    moved = nodes_of(m, vma).count(1)
    assert 0 < moved < 600
    assert outcome.moved == moved * PAGE
    assert outcome.left == {"no-room": (600 - moved) * PAGE}
    assert not outcome.complete
    assert outcome.after == {0: (600 - moved) * PAGE, 1: moved * PAGE}


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_pinned_pages_stay_with_their_reason_and_all_others_move(method: Any, tmp_path: Path) -> None:
    m, kernel, pid = two_by_hundred()
    vma = m.tasks[pid].mm.vmas[0]
    for index in (0, 17, 18, 99):
        m.locks.get_page(int(vma.pfns(np.array([index]))[0]))
    outcome = move(kernel, pid, [0], [2], tmp_path, method=method)
    assert outcome.left == {"busy": 4 * PAGE}
    assert outcome.moved == 96 * PAGE
    assert [i for i, node in enumerate(nodes_of(m, vma)) if node == 0] == [0, 17, 18, 99]


def test_many_pinned_pages_end_soon(tmp_path: Path) -> None:
    m, kernel, pid = two_by_hundred()
    vma = m.tasks[pid].mm.vmas[0]
    for index in range(100):
        m.locks.get_page(int(vma.pfns(np.array([index]))[0]))
    outcome = move(kernel, pid, [0], [2], tmp_path)
    assert outcome.left == {"busy": 100 * PAGE}
    assert outcome.moved == 0


def test_cancelling_stops_within_a_batch_and_says_what_is_left(tmp_path: Path) -> None:
    m = machine("linux-6", pages=4096)
    task = spawn(m, "t", cpu=0)
    region(m, task, {0: 3000})
    cancel = threading.Event()
    seen: list[int] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress.moved)
        cancel.set()

    outcome = move(EmulatedKernel(m), task.pid, [0], [1], tmp_path, on_progress=on_progress, cancel=cancel)
    assert len(seen) == 1
    assert outcome.cancelled
    assert outcome.moved == seen[0]
    assert outcome.left == {"cancelled": 3000 * PAGE - outcome.moved}
    assert outcome.after == {0: 3000 * PAGE - outcome.moved, 1: outcome.moved}


def test_a_process_that_exits_in_mid_migration_is_an_outcome(tmp_path: Path) -> None:
    m = machine("linux-6", pages=4096)
    task = spawn(m, "t", cpu=0)
    region(m, task, {0: 3000})
    outcome = move(EmulatedKernel(m), task.pid, [0], [1], tmp_path, on_progress=lambda _: do_exit(m, task))
    assert not outcome.complete
    assert outcome.after == {}
    assert outcome.left["process-ended"] == 3000 * PAGE - outcome.moved
    assert "ended" in outcome.error


def test_a_recycled_pid_is_never_touched(tmp_path: Path) -> None:
    m, kernel, pid = two_by_hundred()
    process = read_process(kernel, pid)
    plan = plan_for(kernel, process, [0], [1])
    do_exit(m, m.tasks[pid])
    other = region(m, spawn(m, "other", cpu=0, pid=pid), {0: 20})
    with pytest.raises(NotFound, match="another has its number"):
        run_job(kernel, plan, tmp_path / "j")
    assert nodes_of(m, other) == [0] * 20


def test_a_pid_recycled_in_mid_migration_is_not_touched(tmp_path: Path) -> None:
    m = machine("linux-6", pages=4096)
    task = spawn(m, "t", cpu=0)
    region(m, task, {0: 2000})
    others: list[Any] = []

    def recycle(_: Progress) -> None:
        if not others:
            do_exit(m, task)
            others.append(region(m, spawn(m, "other", cpu=0, pid=task.pid), {0: 500}))

    outcome = move(EmulatedKernel(m), task.pid, [0], [1], tmp_path, on_progress=recycle)
    assert outcome.error
    assert nodes_of(m, others[0]) == [0] * 500


def test_kernel_threads_and_missing_calls_are_refused_before_anything(tmp_path: Path) -> None:
    m, kernel, pid = two_by_hundred("direct-v8")
    with pytest.raises(NotSupported, match="move_pages"):
        move(kernel, pid, [0], [1], tmp_path, method="move_pages")
    thread = spawn(m, "kswapd0", cpu=0, kernel_thread=True)
    with pytest.raises(NotSupported, match="kernel thread"):
        move(kernel, thread.pid, [0], [1], tmp_path)
    assert not [*(tmp_path / "jobs").glob("*.job")]


def test_other_users_processes_are_refused(tmp_path: Path) -> None:
    m, _, pid = two_by_hundred()
    stranger = EmulatedKernel(m, Caller(1001, False))
    process = read_process(stranger, pid)
    plan = plan_for(EmulatedKernel(m), process, [0], [1])
    with pytest.raises(NotPermitted):
        run_job(stranger, plan, tmp_path / "j")
    owner = EmulatedKernel(m, Caller(1000, False))
    with pytest.raises(NotPermitted, match="--all"):
        run_job(owner, plan_for(owner, process, [0], [1], move_all=True), tmp_path / "j")
    assert run_job(owner, plan, tmp_path / "j").complete


class Hiding(Around):
    """A machine with NUMA balancing on: move_pages does not see the pages."""

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        status[:] = array("i", [-errno.ENOENT]) * len(pages)
        return 0


def test_hidden_pages_are_moved_by_migrate_pages_or_reported(tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()
    outcome = move(Hiding(kernel), pid, [0], [2], tmp_path, method="move_pages")
    assert outcome.left == {"hidden": 100 * PAGE}
    assert outcome.moved == 0
    outcome = move(Hiding(kernel), pid, [0], [2], tmp_path, move_all=True)
    assert outcome.left == {"hidden": 100 * PAGE}, "without balancing they are hidden for another reason (PROT_NONE)"
    outcome = move(balancing(Hiding(kernel)), pid, [0], [2], tmp_path)
    assert outcome.left == {"hidden": 100 * PAGE}, "with CAP_SYS_NICE migrate_pages moves what others map"
    outcome = move(balancing(Hiding(kernel)), pid, [0], [2], tmp_path, move_all=True)
    assert outcome.complete
    assert outcome.method == "move_pages+migrate_pages"
    assert outcome.after == {1: 50 * PAGE, 2: 100 * PAGE}


def balancing(kernel: Around) -> Around:
    """NUMA balancing is on."""
    kernel.answers["numa_balancing"] = lambda _: b"1\n"
    return kernel


class HidingSome(Around):
    """The first page of each query is hidden, until migrate_pages."""

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        result = self.inner.move_pages(pid, pages, nodes, status, flags)
        if nodes is None:
            status[0] = -errno.ENOENT
        return result


def test_a_few_hidden_pages_do_not_send_others_twice_where_a_target_is_a_source_too(tmp_path: Path) -> None:
    m, kernel, pid = two_by_hundred()
    outcome = move(balancing(HidingSome(kernel)), pid, [0, 1], [1, 2], tmp_path, move_all=True)
    assert outcome.after == {1: 100 * PAGE, 2: 50 * PAGE}
    assert outcome.complete
    assert outcome.moved == 150 * PAGE
    check_at_rest(m)


def test_pages_that_something_moves_back_are_not_called_moved(tmp_path: Path) -> None:
    m = machine("linux-6", pages=4096)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 1000})
    kernel = EmulatedKernel(m)
    calls: list[int] = []

    def meddle(progress: Progress) -> None:
        if not calls:
            calls.append(1)
            pages = array("Q", [vma.start + n * PAGE for n in range(200)])
            kernel.move_pages(task.pid, pages, array("i", [0]) * 200, array("i", [0]) * 200, 2)

    outcome = move(kernel, task.pid, [0], [1], tmp_path, on_progress=meddle)
    assert outcome.after == {0: 200 * PAGE, 1: 800 * PAGE}
    assert outcome.left == {"returned": 200 * PAGE}
    assert outcome.moved == 800 * PAGE
    assert not outcome.complete


def test_memory_that_is_new_on_a_source_is_told_apart_from_what_stayed(tmp_path: Path) -> None:
    m = machine("linux-6", pages=4096)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 1000}, pages=1300)
    calls: list[int] = []

    def grow(_: Progress) -> None:
        if not calls:
            calls.append(1)
            m.run(touch(m, task, task.leader, vma.start, np.arange(1000, 1300, dtype=np.int64), write=True))

    outcome = move(EmulatedKernel(m), task.pid, [0], [1], tmp_path, on_progress=grow)
    assert outcome.complete
    assert outcome.appeared + outcome.moved >= 1000 * PAGE
    assert outcome.after.get(0, 0) == outcome.appeared


def test_without_the_ends_of_mappings_nothing_is_called_done(tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()
    outcome = move(Around(kernel, refused={"maps": errno.EACCES}), pid, [0, 1], [2, 3], tmp_path)
    assert outcome.left == {"unlocated": 150 * PAGE}
    assert not outcome.complete


def test_a_placement_that_cannot_be_read_in_the_end_is_an_error_of_the_outcome(tmp_path: Path) -> None:
    _, kernel, pid = two_by_hundred()
    garbled = Around(kernel)

    def garble(_: Progress) -> None:
        garbled.answers["numa_maps"] = lambda _: b"garbage"

    outcome = move(garbled, pid, [0], [2], tmp_path, on_progress=garble)
    assert "numa_maps" in outcome.error
    assert not outcome.complete


class Huge(Around):
    """Transparent huge pages on a machine that has none: moving one small page takes its neighbours along, as many as a
    page table has entries."""

    def __init__(self, kernel: EmulatedKernel, folder: Path) -> None:
        super().__init__(kernel)
        self.folder = folder
        self.unjournaled = 0
        self.asked: list[int] = []
        """Huge pages, once for every call that names a part of them."""

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        if nodes is None:
            return self.inner.move_pages(pid, pages, nodes, status, flags)
        page_size = self.inner.page_size
        each = page_size // 8
        blocks = sorted({page // (each * page_size) for page in pages})
        self.asked += blocks
        whole = array("Q", [(block * each + n) * page_size for block in blocks for n in range(each)])
        (job,), _ = list_jobs(self.folder / "jobs")
        known = {address for chunk in chunks_of(job) for address in chunk.addresses.tolist()}
        vma = self.inner.machine.tasks[pid].mm.vmas[0]
        self.unjournaled += sum(vma.start <= page < vma.end and page not in known for page in whole)
        self.inner.move_pages(pid, whole, array("i", [nodes[0]]) * len(whole), array("i", [0]) * len(whole), flags)
        status[:] = array("i", [nodes[0]]) * len(pages)
        return 0


@pytest.mark.parametrize(("page_size", "huge"), [(4096, 2 << 20), (65536, 512 << 20)])
def test_no_part_of_a_transparent_huge_page_moves_before_it_is_journaled(
    tmp_path: Path, page_size: int, huge: int
) -> None:
    pages = 2 * huge // page_size
    m = machine("linux-6", pages=2 * pages, nodes=2, page_size=page_size)
    task = spawn(m, "t", cpu=0)
    region(m, task, {0: pages})
    kernel = Huge(EmulatedKernel(m), tmp_path)
    outcome = move(kernel, task.pid, [0], [1], tmp_path, budget=100_000)
    assert outcome.complete
    assert outcome.moved == pages * page_size
    assert kernel.unjournaled == 0
    assert len(kernel.asked) == len(set(kernel.asked)) == pages * page_size // huge


def test_batches_are_measured_in_bytes(tmp_path: Path) -> None:
    sizes: dict[int, list[int]] = {}
    for page_size in (PAGE, 1 << 21):
        m = machine("linux-6", pages=4096, page_size=page_size)
        task = spawn(m, "t", cpu=0)
        region(m, task, {0: 100})
        kernel = EmulatedKernel(m)
        original, seen = kernel.move_pages, sizes.setdefault(page_size, [])

        def watching(
            pid: int,
            pages: array[int],
            nodes: Any,
            status: array[int],
            flags: int,
            original=original,
            seen=seen,
        ) -> int:
            if nodes is not None:
                seen.append(len(pages))
            return original(pid, pages, nodes, status, flags)

        kernel.move_pages = watching  # type: ignore[method-assign]
        assert move(kernel, task.pid, [0], [1], tmp_path).complete
    assert sizes[PAGE] == [100]
    assert max(sizes[1 << 21]) * (1 << 21) <= 32 << 20
    assert sizes[1 << 21][0] == 1


def test_a_job_that_waits_for_its_rate_can_be_cancelled(tmp_path: Path) -> None:
    m = machine("linux-6", pages=4096)
    task = spawn(m, "t", cpu=0)
    region(m, task, {0: 3000})
    kernel = EmulatedKernel(m)
    cancel = threading.Event()
    pauses: list[int] = []
    original = kernel.pause

    def pause(nanoseconds: int) -> None:
        pauses.append(nanoseconds)
        cancel.set()
        original(nanoseconds)

    kernel.pause = pause  # type: ignore[method-assign]
    outcome = move(kernel, task.pid, [0], [1], tmp_path, max_rate=PAGE, cancel=cancel)
    assert outcome.cancelled
    assert len(pauses) == 1
    assert pauses[0] <= 100_000_000


def test_a_rate_limit_is_kept(tmp_path: Path) -> None:
    m = machine("linux-6", pages=4096)
    task = spawn(m, "t", cpu=0)
    region(m, task, {0: 3000})
    kernel = EmulatedKernel(m)
    outcome = move(kernel, task.pid, [0], [1], tmp_path, max_rate=1 << 20)
    assert outcome.moved * 1e9 / outcome.elapsed <= (1 << 20) * 1.01


def test_batches_adapt_to_the_budget(tmp_path: Path) -> None:
    worst = {}
    for budget in (500_000, 20_000_000):
        m = machine("linux-6", pages=20_000)
        task = spawn(m, "t", cpu=0)
        region(m, task, {0: 18_000})
        worst[budget] = move(EmulatedKernel(m), task.pid, [0], [1], tmp_path, budget=budget).worst_call
    assert worst[500_000] < worst[20_000_000]
