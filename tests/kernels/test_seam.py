"""What every kernel keeps, real, emulated, recorded or made up by a test: the contract of `backend.kernel.Kernel`."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from array import array
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.life import spawn
from backend.kernel import Call, MoveFlag
from backend.live.kernel import LiveKernel
from backend.placement.numa_maps import parse_numa_maps, parse_totals
from backend.placement.pagemap import PageMap
from backend.recording.kernel import RecordedKernel
from tests.emulator.machines import machine, region
from tests.kernels.around import Around
from tests.kernels.fake_kernel import FakeKernel, process
from tests.kernels.laid_out import LaidOut
from tests.trees import process_files, two_nodes, write

PAGE = 4096
NOBODY = (1 << 22) - 5
"""A pid that is nobody's: PID_MAX_LIMIT is 2^22, and a counter starts low."""


class Case(NamedTuple):
    """`start`: 8 pages there are resident. `nodes`: of memory that can be moved to; one: nothing moves."""

    kernel: Any
    pid: int
    start: int
    nodes: int


@contextmanager
def live(_: Path) -> Generator[Case]:
    if sys.platform != "linux":
        pytest.skip("Linux only")
    with mmap.mmap(-1, 8 * PAGE) as memory:
        memory[:] = b"x" * len(memory)
        held = ctypes.c_char.from_buffer(memory)
        yield Case(LiveKernel(), os.getpid(), ctypes.addressof(held), 1)
        del held


@contextmanager
def emulated(_: Path) -> Generator[Case]:
    m = machine("linux-6", pages=256)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 8})
    yield Case(EmulatedKernel(m), task.pid, vma.start, 2)


@contextmanager
def around(folder: Path) -> Generator[Case]:
    with emulated(folder) as case:
        yield case._replace(kernel=Around(case.kernel))


@contextmanager
def fake(_: Path) -> Generator[Case]:
    one = process(7, "t", "u", 0, {0: 1})
    yield Case(FakeKernel([one]), 7, one.regions[1].start, 4)


@contextmanager
def laid_out(_: Path) -> Generator[Case]:
    kernel = LaidOut([np.zeros(8, int)])
    yield Case(kernel, 7, kernel.starts[0], 1)


@contextmanager
def recorded(folder: Path) -> Generator[Case]:
    two_nodes(folder)
    yield Case(RecordedKernel(write(folder, process_files(7, b"t"))), 7, 0, 1)


Opened = Callable[[Path], Any]
EVERY: list[Opened] = [live, emulated, around, fake, laid_out, recorded]
WHOLE: list[Opened] = [live, emulated, around, fake, recorded]
"""All but the one that has no more than a test of sampling reads."""
MOVING: list[Opened] = [emulated, around, fake]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Case]:
    with request.param(tmp_path) as opened:
        yield opened


def kernels(some: list[Opened]) -> Any:
    return pytest.mark.parametrize("case", some, ids=lambda one: one.__name__, indirect=True)


@kernels(EVERY)
def test_a_file_is_read_whole_or_in_parts(case: Case) -> None:
    path = f"/proc/{case.pid}/{'maps' if case.start else 'stat'}"
    first = case.kernel.read(path, 0, 10)
    assert len(first) <= 10
    assert case.kernel.read(path).startswith(first)
    assert case.kernel.read(path, 4, 6) == first[4:10]


@kernels(EVERY)
def test_what_is_not_there_is_an_oserror_with_its_number(case: Case) -> None:
    for call, argument in ((case.kernel.read, f"/proc/{NOBODY}/stat"), (case.kernel.listdir, "/sys/no/such")):
        with pytest.raises(OSError) as refused:
            call(argument)
        assert refused.value.errno in (errno.ENOENT, errno.ESRCH)


@kernels(WHOLE)
def test_abilities_name_every_call_and_never_raise(case: Case) -> None:
    found = case.kernel.capabilities()
    assert set(found) == set(get_args(Call))
    assert all(one.available or one.why for one in found.values())
    assert "\n" not in "".join(one.why for one in found.values())


@kernels(WHOLE)
def test_processes_and_nodes_are_listed_and_can_be_read(case: Case) -> None:
    assert str(case.pid) in case.kernel.listdir("/proc")
    assert case.kernel.read(f"/proc/{case.pid}/stat").startswith(b"%d (" % case.pid)
    assert any(name.startswith("node") for name in case.kernel.listdir("/sys/devices/system/node"))


@kernels(WHOLE)
def test_time_never_goes_back_and_a_caller_has_a_uid(case: Case) -> None:
    before = case.kernel.clock()
    case.kernel.pause(1000)
    assert case.kernel.clock() >= before
    uid, privileged = case.kernel.credentials()
    assert uid >= 0
    assert privileged in (True, False)


@kernels([live, emulated, around, fake, laid_out])
def test_the_page_map_and_the_query_see_the_same_pages(case: Case) -> None:
    addresses = array("Q", range(case.start, case.start + 8 * PAGE, PAGE))
    found = [a for part in PageMap(case.kernel, case.pid, None).walk(addresses[0], addresses[-1] + PAGE)
             for a in part.addresses.tolist()]  # fmt: skip
    assert found == [*addresses]
    try:
        status = array("i", [-1000] * 8)
        case.kernel.move_pages(case.pid, addresses, None, status, 0)
    except OSError:
        if case.kernel.traits.is_host:
            pytest.skip("this kernel or container has no move_pages")
        raise
    assert [*status] == [0] * 8


@kernels(MOVING)
def test_a_move_is_what_the_calls_answer_and_what_the_files_say(case: Case) -> None:
    addresses = array("Q", range(case.start, case.start + 4 * PAGE, PAGE))
    before = parse_totals(case.kernel.read(f"/proc/{case.pid}/numa_maps"))
    status = array("i", [-1000] * 4)
    assert case.kernel.move_pages(case.pid, addresses, array("i", [1] * 4), status, MoveFlag.MOVE) == 0
    assert [*status] == [1] * 4
    after = parse_totals(case.kernel.read(f"/proc/{case.pid}/numa_maps"))
    assert after[1] - before.get(1, 0) == 4 * PAGE == before[0] - after.get(0, 0)
    assert {vma.start for vma in parse_numa_maps(case.kernel.read(f"/proc/{case.pid}/numa_maps"), PAGE)} >= {case.start}


@kernels(MOVING)
def test_migrate_pages_moves_all_that_is_there(case: Case) -> None:
    old, new = (1).to_bytes(8, "little"), (2).to_bytes(8, "little")
    assert case.kernel.migrate_pages(case.pid, 9, old, new) == 0
    assert 0 not in parse_totals(case.kernel.read(f"/proc/{case.pid}/numa_maps"))


@kernels(MOVING)
def test_calls_on_nobody_and_addresses_without_a_page(case: Case) -> None:
    with pytest.raises(ProcessLookupError):
        case.kernel.migrate_pages(NOBODY, 9, (1).to_bytes(8, "little"), (2).to_bytes(8, "little"))
    status = array("i", [-1000])
    with pytest.raises(ProcessLookupError):
        case.kernel.move_pages(NOBODY, array("Q", [case.start]), None, status, 0)
    case.kernel.move_pages(case.pid, array("Q", [PAGE]), None, status, 0)
    assert status[0] == -errno.EFAULT


@kernels([recorded])
def test_a_recording_is_only_read(case: Case) -> None:
    assert not case.kernel.traits.writable
    for call in (
        lambda: case.kernel.write("/proc/x", b"1"),
        lambda: case.kernel.migrate_pages(7, 9, bytes(8), bytes(8)),
        lambda: case.kernel.move_pages(7, array("Q", [PAGE]), None, array("i", [0]), 0),
    ):
        with pytest.raises(OSError) as refused:
            call()
        assert refused.value.errno in (errno.ENOSYS, errno.EROFS)
