"""The files of cpusets: what they say, what a write answers, what it does to threads and charges."""

from __future__ import annotations

from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.migration.hotplug import offline, online
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.nodeset import CpuSet
from tests.emulator.machines import machine, nodes_of, region
from tests.emulator.tasks.cpuset_machine import Admin, answer


def test_v2_empty_mems_are_the_parents_and_children_follow() -> None:
    admin = Admin()
    admin.create("P", "0-1")
    admin.create("C", "", "P")
    task = admin.spawn("P/C")
    vma = region(admin.m, task, {0: 4, 1: 4})
    assert admin.read("P/C", "cpuset.mems") == ""
    assert admin.read("P/C", "cpuset.mems.effective") == "0-1"
    assert admin.mems("P", "2-3") == "ok"
    assert admin.read("P/C", "cpuset.mems.effective") == "2-3"
    assert nodes_of(admin.m, vma) == [2] * 4 + [3] * 4
    assert admin.mems("P/C", "0") == "ok", "more than the parent has: what is left of it counts"
    assert admin.read("P/C", "cpuset.mems") == "0"
    assert admin.read("P/C", "cpuset.mems.effective") == "2-3"
    assert admin.kernel.read(f"/proc/{task.pid}/cpuset") == b"/P/C\n"
    assert admin.kernel.read(f"/proc/{task.pid}/cgroup") == b"0::/P/C\n"


@pytest.mark.parametrize(
    ("cgroups", "cpuset", "file", "data", "result"),
    [
        ("v2", "P", "cpuset.mems", "zero", "EINVAL"),
        ("v2", "P", "cpuset.mems", "3-1", "EINVAL"),
        ("v2", "P", "cpuset.mems", "1024", "ERANGE"),
        ("v2", "P", "cpuset.mems", "99999", "ERANGE"),
        ("v2", "P", "cpuset.mems", "0-1\n", "ok"),
        ("v2", "P", "cpuset.mems", "1,7", "EINVAL"),
        ("v2", "P/C", "cpuset.mems", "\n", "ENOSPC"),
        ("v1", "P/C", "cpuset.mems", "\n", "ENOSPC"),
        ("v1", "P", "cpuset.mems", "1", "EBUSY"),
        ("v1", "P/C", "cpuset.mems", "0-3", "EACCES"),
        ("v1", "", "cpuset.mems", "0", "EACCES"),
        ("v2", "", "cpuset.mems", "0", "ENOENT"),
        ("v2", "N", "cpuset.mems", "0", "ENOENT"),
        ("v2", "P", "cpuset.memory_migrate", "1", "ENOENT"),
        ("v1", "P", "cpuset.memory_migrate", "yes", "EINVAL"),
        ("v2", "P", "cpuset.mems.effective", "0", "EINVAL"),
        ("v2", "P", "cpuset.mems", "1023", "EINVAL"),
        ("v1", "P", "cpuset.mems", "0-1,4", "EINVAL"),
        ("v1", "", "cpuset.mems", "0-3", "EACCES"),
        ("v2", "P", "cpuset.cpus", "0-99", "ERANGE"),
        ("v2", "P", "cpuset.cpus", "8", "ERANGE"),
        ("v2", "P/C", "cpuset.cpus", "\n", "ENOSPC"),
        ("v1", "P", "cpuset.cpus", "7", "EBUSY"),
        ("v2", "P/C", "cgroup.procs", "999", "ESRCH"),
        ("v2", "P/C", "cgroup.procs", "x", "EINVAL"),
        ("v2", "P", "cgroup.procs", "1", "EBUSY"),
        ("v2", "P/C", "cgroup.procs", "0", "ok"),
        ("v1", "E", "tasks", "1", "ENOSPC"),
        ("v2", "P/C", "cgroup.procs", "kernel", "EINVAL"),
    ],
)
def test_what_a_write_answers(cgroups: Any, cpuset: str, file: str, data: str, result: str) -> None:
    admin = Admin(cgroups=cgroups)
    admin.create("P", "0-1", cpus=CpuSet(range(4)))
    admin.create("C", "0", "P", cpus=CpuSet(range(4)))
    if cgroups == "v1":
        admin.create("E", "", cpus=CpuSet())
    admin.spawn("P/C")
    kthread = spawn(admin.m, "kthread", cpu=0, kernel_thread=True)
    assert admin.write(cpuset, file, str(kthread.pid) if data == "kernel" else data) == result


@pytest.mark.parametrize(("cgroups", "result"), [("v1", "EINVAL"), ("v2", "ok")])
def test_a_node_that_is_offline_may_be_named_in_v2_only(cgroups: Any, result: str) -> None:
    admin = Admin(cgroups=cgroups)
    admin.create("A", "0")
    admin.m.run(offline(admin.m, 3))
    assert admin.mems("A", "0,3") == result
    effective = "cpuset.effective_mems" if cgroups == "v1" else "cpuset.mems.effective"
    assert admin.read("A", effective) == "0"
    admin.m.run(online(admin.m, 3))
    assert admin.read("A", effective) == ("0" if cgroups == "v1" else "0,3")


def test_the_2_6_profiles_ignore_absent_nodes() -> None:
    admin = Admin("direct-v8")
    admin.create("A", "0")
    assert admin.mems("A", "1,9") == "ok"
    assert admin.read("A", "cpuset.mems") == "1"


def test_only_root_writes_and_a_process_that_ends_meanwhile_is_ESRCH() -> None:
    admin = Admin()
    admin.create("A", "0")
    assert admin.write("A", "cpuset.mems", "1", Caller(1000, privileged=False)) == "EACCES"
    assert admin.read("A", "cpuset.mems") == "0"
    assert admin.kernel.capabilities()["write"].available
    assert not EmulatedKernel(admin.m, Caller(1000, privileged=False)).capabilities()["write"].available
    assert answer(lambda: admin.kernel.write("/proc/1/comm", b"x")) == "EACCES"
    m, task = admin.m, admin.spawn()
    cs = Cpusets.of(m).find("A")
    assert cs is not None
    holding = m.env.process(Cpusets.of(m).mutex.down_write(m.env))
    m.env.run(until=holding)
    waiting = m.env.process(Cpusets.of(m).attach(cs, task))
    m.env.run(until=m.now + 1e-3)
    do_exit(m, task)
    Cpusets.of(m).mutex.up_write()
    with pytest.raises(ProcessLookupError):
        m.env.run(until=waiting)


def test_cpus_confine_threads_and_the_scheduler() -> None:
    admin = Admin()
    admin.create("A", "0-1", cpus=CpuSet(range(4)))
    task = admin.spawn("", cpu=6, threads=[7, 5])
    assert admin.attach("A", task) == "ok"
    assert {thread.cpu for thread in task.threads} <= {0, 1, 2, 3}
    assert answer(lambda: admin.touch(task, region(admin.m, task, {}, pages=1), 3)) == "EINVAL"
    assert admin.write("A", "cpuset.cpus", "3") == "ok"
    assert {thread.cpu for thread in task.threads} == {3}
    assert b"Cpus_allowed_list:\t3\n" in admin.kernel.read(f"/proc/{task.pid}/status")


def test_the_files_are_listed_and_read() -> None:
    for cgroups, root, own in (("v2", "", "cgroup.controllers"), ("v1", "/cpuset", "tasks")):
        admin = Admin(cgroups=cgroups)
        admin.create("A", "0-1")
        task = admin.spawn("A", threads=[1])
        top = f"/sys/fs/cgroup{root}"
        names = admin.kernel.listdir(top)
        assert {"A", own} <= set(names)
        for name in set(admin.kernel.listdir(f"{top}/A")) - {"memory.reclaim"}:
            assert admin.kernel.read(f"{top}/A/{name}").endswith(b"\n")
        assert admin.read("A", "cgroup.procs") == str(task.pid)
        assert answer(lambda: admin.kernel.read(f"{top}/A/nothing")) == "ENOENT"  # noqa: B023
        if cgroups == "v2":
            assert answer(lambda: admin.kernel.read(f"{top}/A/memory.reclaim")) == "EINVAL"  # noqa: B023
        assert answer(lambda: admin.kernel.listdir(f"{top}/B")) == "ENOENT"  # noqa: B023
        status = admin.kernel.read(f"/proc/{task.pid}/status")
        assert b",00000003\nMems_allowed_list:\t0-1\n" in status
    assert b"1:cpuset:/A\n" in admin.kernel.read(f"/proc/{task.pid}/cgroup")


def test_pages_touched_after_an_attach_are_charged_to_the_new_cgroup() -> None:
    admin = Admin()
    for name in "AB":
        admin.create(name, "0-1")
    task = admin.spawn("A")
    vma = region(admin.m, task, {0: 2}, pages=5)
    admin.attach("B", task)
    admin.touch(task, vma)
    assert [admin.read(name, "memory.current") for name in "AB"] == [str(2 * 4096), str(3 * 4096)]
    assert admin.read("", "memory.numa_stat").startswith(f"anon N0={5 * 4096} ")
    do_exit(admin.m, task)
    assert [admin.read(name, "memory.current") for name in "AB"] == ["0", "0"]


def test_a_partition_below_an_invalid_one_is_invalid() -> None:
    m = machine("linux-6")
    kernel = EmulatedKernel(m)
    Cpusets.of(m).create("s", Cpusets.of(m).create("p"))
    for path, text in (
        ("p/cpuset.cpus.partition", "root"),
        ("p/s/cpuset.cpus", "1"),
        ("p/s/cpuset.cpus.partition", "root"),
    ):
        kernel.write(f"/sys/fs/cgroup/{path}", text.encode())
    assert (
        kernel.read("/sys/fs/cgroup/p/s/cpuset.cpus.partition")
        == b"root invalid (Parent is an invalid partition root)\n"
    )
    kernel.write("/sys/fs/cgroup/p/cpuset.cpus", b"0-1")
    assert kernel.read("/sys/fs/cgroup/p/cpuset.cpus.partition") == b"root\n"
    assert kernel.read("/sys/fs/cgroup/cpuset.cpus.effective") == b"2-7\n"
