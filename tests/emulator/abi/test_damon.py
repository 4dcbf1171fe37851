"""DAMON's files of the emulated machine, as its documentation has them (admin-guide/mm/damon/usage.rst)."""

from __future__ import annotations

import errno

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.mm.damon import three_areas
from tests.backend.heat.machines import worker

ROOT = "/sys/kernel/mm/damon/admin/kdamonds"
CONTEXT = f"{ROOT}/0/contexts/0"
SCHEME = f"{CONTEXT}/schemes/0"


def put(kernel: EmulatedKernel, path: str, value: object) -> None:
    kernel.write(path, str(value).encode())


def got(kernel: EmulatedKernel, path: str) -> str:
    return kernel.read(path).decode().strip()


def refused(kernel: EmulatedKernel, path: str, value: object) -> int | None:
    with pytest.raises(OSError) as failed:
        put(kernel, path, value)
    return failed.value.errno


def set_up(kernel: EmulatedKernel, pid: int) -> None:
    put(kernel, f"{ROOT}/nr_kdamonds", 1)
    put(kernel, f"{ROOT}/0/contexts/nr_contexts", 1)
    put(kernel, f"{CONTEXT}/operations", "vaddr")
    put(kernel, f"{CONTEXT}/targets/nr_targets", 1)
    put(kernel, f"{CONTEXT}/targets/0/pid_target", pid)
    put(kernel, f"{CONTEXT}/schemes/nr_schemes", 1)
    put(kernel, f"{SCHEME}/action", "stat")
    for what, most in (("sz", 1 << 60), ("nr_accesses", 20), ("age", 1 << 30)):
        put(kernel, f"{SCHEME}/access_pattern/{what}/max", most)


def test_as_documented() -> None:
    kernel, process = worker("hot: 25%")
    assert kernel.listdir(ROOT) == ["nr_kdamonds"]
    set_up(kernel, process.pid)
    assert set(kernel.listdir(f"{ROOT}/0")) == {"contexts", "state", "pid"}
    assert (got(kernel, f"{ROOT}/0/state"), got(kernel, f"{ROOT}/0/pid")) == ("off", "-1")
    put(kernel, f"{ROOT}/0/state", "on")
    assert got(kernel, f"{ROOT}/0/state") == "on"
    thread = int(got(kernel, f"{ROOT}/0/pid"))
    kernel.pause(3 * 10**9)
    put(kernel, f"{ROOT}/0/state", "update_schemes_tried_regions")
    regions = [one for one in kernel.listdir(f"{SCHEME}/tried_regions") if one.isdigit()]
    assert 10 <= len(regions) <= 1000
    total = 0
    for one in regions:
        values = {name: int(got(kernel, f"{SCHEME}/tried_regions/{one}/{name}")) for name in ("start", "end")}
        total += values["end"] - values["start"]
    assert int(got(kernel, f"{SCHEME}/tried_regions/total_bytes")) == total
    put(kernel, f"{SCHEME}/access_pattern/nr_accesses/min", 1)
    put(kernel, f"{ROOT}/0/state", "update_schemes_tried_regions")
    assert 0 < int(got(kernel, f"{SCHEME}/tried_regions/total_bytes")) < total / 2
    # utime: it is charged.
    assert int(kernel.read(f"/proc/{thread}/stat").split()[13]) > 0
    put(kernel, f"{ROOT}/0/state", "off")
    put(kernel, f"{ROOT}/nr_kdamonds", 0)
    assert str(thread) not in kernel.listdir("/proc")


def test_what_it_refuses() -> None:
    kernel, process = worker("hot: 25%")
    set_up(kernel, process.pid)
    assert refused(kernel, f"{ROOT}/0/state", "update_schemes_tried_regions") == errno.EINVAL
    assert refused(kernel, f"{ROOT}/0/state", "off") == errno.EPERM
    assert refused(kernel, f"{ROOT}/0/state", "dance") == errno.EINVAL
    assert refused(kernel, f"{ROOT}/0/contexts/nr_contexts", 2) == errno.EINVAL
    assert refused(kernel, f"{ROOT}/1/state", "on") == errno.ENOENT
    assert refused(kernel, f"{CONTEXT}/operations", "paddr") == errno.EINVAL
    assert refused(kernel, f"{CONTEXT}/avail_operations", "vaddr") == errno.EACCES
    assert refused(kernel, f"{SCHEME}/action", "dance") == errno.EINVAL
    assert refused(kernel, f"{SCHEME}/access_pattern/sz/max", "-1") == errno.EINVAL
    put(kernel, f"{CONTEXT}/targets/0/pid_target", 99999)
    assert refused(kernel, f"{ROOT}/0/state", "on") == errno.EINVAL
    put(kernel, f"{CONTEXT}/targets/0/pid_target", process.pid)
    put(kernel, f"{ROOT}/0/state", "on")
    assert refused(kernel, f"{ROOT}/0/state", "on") == errno.EBUSY
    assert refused(kernel, f"{ROOT}/nr_kdamonds", 0) == errno.EBUSY


def test_nobody_looks_and_the_machine_does_the_same() -> None:
    """Accessed bits are worked out for whoever looks; what happens is not changed by it."""
    (looked, process), (alone, _) = worker("hot: 25%"), worker("hot: 25%")
    set_up(looked, process.pid)
    put(looked, f"{ROOT}/0/state", "on")
    for kernel in (looked, alone):
        kernel.machine.advance(5.0)
    assert looked.machine.counters == alone.machine.counters
    assert looked.read(f"/proc/{process.pid}/numa_maps") == alone.read(f"/proc/{process.pid}/numa_maps")


@pytest.mark.parametrize(
    ("mappings", "areas"),
    [
        ([], []),
        ([(0, 10)], [(0, 10)]),
        ([(0, 10), (20, 30)], [(0, 10), (20, 30)]),
        ([(0, 10), (12, 20), (100, 110), (300, 310)], [(0, 20), (100, 110), (300, 310)]),
        ([(0, 10), (10, 20)], [(0, 20)]),
    ],
)
def test_three_areas(mappings: list[tuple[int, int]], areas: list[tuple[int, int]]) -> None:
    assert three_areas(mappings) == areas
