"""Who may do what: the row measured as uid 1000 (Linux 6.1), and each capability by itself, in every profile."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.mm.fork import fork
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.tasks.credentials import Caller, Cap
from backend.emulator.tasks.task import Task
from backend.errors import ParseError
from backend.kernel import Mode, MoveFlag
from backend.nodeset import NodeSet
from tests import DATA
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import nodes_of, region
from tests.emulator.tasks.cpuset_machine import Admin, answer

ROWS: list[dict[str, Any]] = json.loads((DATA / "cpusets.json").read_text())


def migrate(kernel: EmulatedKernel, pid: int, old: list[int], new: list[int]) -> Any:
    result = answer(lambda: kernel.migrate_pages(pid, 65, NodeSet(old).mask(), NodeSet(new).mask()))
    return result if isinstance(result, int) else f"-{result}"


def move(kernel: EmulatedKernel, pid: int, pages: list[int], node: int | None, flags: int = 2) -> Any:
    status = array("i", [-77] * len(pages))
    nodes = None if node is None else array("i", [node] * len(pages))
    result = answer(lambda: kernel.move_pages(pid, array("Q", pages), nodes, status, flags))
    if not isinstance(result, int):
        return f"-{result}"
    return [result, ["-EACCES" if one == -13 else one for one in status]]


def test_the_measured_row_of_an_unprivileged_user() -> None:
    row = next(row for row in ROWS if row["case"] == "unprivileged uid 1000")
    admin = Admin()
    m = admin.m
    root, other = admin.spawn(uid=0), admin.spawn(uid=1001)
    mine = admin.spawn(uid=1000)
    before = region(m, mine, {0: 8}, name="shared")
    child = m.run(fork(m, mine))
    shared = child.mm.find(before.start)
    own_pages = region(m, child, {0: 4})
    kernel = admin.own(child)
    addresses = [own_pages.start + n * 4096 for n in range(4)]
    theirs = [region(m, other, {0: 1}).start]
    common = [shared.start + n * 4096 for n in range(8)]
    got = {
        "case": row["case"],
        "migrate other uid 0->1": migrate(kernel, other.pid, [0], [1]),
        "move query other uid": move(kernel, other.pid, theirs, None),
        "move other uid": move(kernel, other.pid, theirs, 1),
        "migrate root proc": migrate(kernel, root.pid, [0], [1]),
        "migrate self 0->1": migrate(kernel, 0, [0], [1]),
        "self where": nodes_of(m, own_pages),
        "self MOVE_ALL": move(kernel, 0, addresses, 2, int(MoveFlag.MOVE_ALL)),
        "self mbind MOVE_ALL": f"-{admin.mbind(child, own_pages, Mode.BIND, [1], int(MoveFlag.MOVE_ALL))}",
        "self MOVE": move(kernel, 0, addresses, 2),
        "shared with parent MOVE": move(kernel, 0, common, 2),
        "migrate self 0->3, page shared with parent": [
            migrate(kernel, 0, [0], [3]), {"0": nodes_of(m, shared).count(0)},
        ],
        "read other numa_maps": answer(lambda: kernel.read(f"/proc/{other.pid}/numa_maps")),
        "read own numa_maps": bool(kernel.read(f"/proc/{child.pid}/numa_maps")),
    }  # fmt: skip
    assert got == row
    check_at_rest(m)


def as_user(admin: Admin, uid: int, *caps: Cap) -> EmulatedKernel:
    return EmulatedKernel(admin.m, Caller(uid, privileged=False, caps=frozenset(caps)))


@pytest.mark.parametrize(
    ("profile", "caps", "other", "outside", "all_of_them"),
    [
        ("linux-6", [], "-EPERM", "-EPERM", False), ("linux-6", [Cap.SYS_NICE], "-EPERM", 0, True),
        ("linux-6", [Cap.SYS_PTRACE], 0, "-EPERM", False), ("linux-6", [Cap.SYS_ADMIN], "-EPERM", "-EPERM", False),
        ("direct-v8", [], "-EPERM", "-EPERM", False), ("direct-v8", [Cap.SYS_NICE], "-EPERM", "-EPERM", False),
        ("direct-v8", [Cap.SYS_ADMIN], 0, 0, True), ("swap-2.6.15", [Cap.SYS_ADMIN], 0, 0, True),
        ("swap-2.6.15", [], "-EPERM", "-EPERM", False),
    ],
)  # fmt: skip
def test_each_capability_opens_what_it_should(
    profile: str, caps: list[Cap], other: Any, outside: Any, all_of_them: bool
) -> None:
    admin = Admin(profile)
    admin.create("A", "0-1")
    theirs, mine = admin.spawn("A", uid=1001), admin.spawn("A", uid=1000)
    region(admin.m, theirs, {0: 2})
    vma = region(admin.m, mine, {0: 2})
    kernel = as_user(admin, 1000, *caps)
    assert migrate(kernel, theirs.pid, [0], [1]) == other
    assert migrate(kernel, mine.pid, [0], [3]) == outside
    assert nodes_of(admin.m, vma) in ([[0, 0]] if outside else [[3, 3], [-1, -1]])
    shared = region(admin.m, mine, {0: 2})
    admin.m.run(fork(admin.m, mine))
    assert migrate(kernel, mine.pid, [0], [1]) == 0
    assert (nodes_of(admin.m, shared) != [0, 0]) == all_of_them
    check_at_rest(admin.m)


@pytest.mark.parametrize(
    ("profile", "uid", "suid", "caps", "result"),
    [
        ("linux-6", 1000, 1000, None, 0), ("linux-6", 1000, 0, None, "-EPERM"), ("linux-6", 0, 1000, None, "-EPERM"),
        ("linux-6", 1000, 1000, [Cap.SYS_NICE], "-EPERM"),
        ("direct-v8", 1000, 0, None, 0), ("direct-v8", 0, 1000, None, 0), ("direct-v8", 0, 0, None, "-EPERM"),
    ],
)  # fmt: skip
def test_which_uids_have_to_match(profile: str, uid: int, suid: int, caps: list[Cap] | None, result: Any) -> None:
    """linux-6: all of them, and no capability that the caller lacks (ptrace_may_access()); 2.6: any."""
    admin = Admin(profile)
    task = admin.spawn(uid=uid, suid=suid, caps=None if caps is None else frozenset(caps))
    region(admin.m, task, {0: 1})
    assert migrate(as_user(admin, 1000), task.pid, [0], [1]) == result
    assert f"Uid:\t{uid}\t{uid}\t{suid}\t" in admin.kernel.read(f"/proc/{task.pid}/status").decode()
    child: Task = admin.m.run(fork(admin.m, task))
    assert (child.uid, child.suid, child.caps) == (task.uid, task.suid, task.caps)


def test_mbind_move_all_wants_sys_resource_in_2_6_and_sys_nice_later() -> None:
    for profile, cap, wrong in (
        ("direct-v8", Cap.SYS_RESOURCE, Cap.SYS_NICE),
        ("linux-6", Cap.SYS_NICE, Cap.SYS_RESOURCE),
    ):
        admin = Admin(profile)
        results = []
        for one in (cap, wrong):
            task = admin.spawn(uid=1000, caps=frozenset([one]))
            vma = region(admin.m, task, {0: 1})
            results.append(admin.mbind(task, vma, Mode.BIND, [1], int(MoveFlag.MOVE_ALL)))
        assert results == [0, "EPERM"]


def test_frame_numbers_want_sys_admin() -> None:
    admin = Admin()
    task = admin.spawn(uid=1000)
    vma = region(admin.m, task, {0: 1})
    path, offset = f"/proc/{task.pid}/pagemap", vma.start // 4096 * 8

    def frame(kernel: EmulatedKernel) -> int:
        return int.from_bytes(kernel.read(path, offset, 8), "little") & 0xFFFFFF

    assert frame(admin.kernel) == int(vma.pte[0]) >> 8
    assert frame(as_user(admin, 1000)) == frame(as_user(admin, 1000, Cap.SYS_NICE)) == 0
    assert as_user(admin, 1000).credentials() == (1000, False)
    assert as_user(admin, 1000, Cap.SYS_PTRACE).credentials() == (1000, True)


MACHINE = "machine:\n  nodes:\n    - {id: 0, memory: 8MiB, cpus: 0-1}\n    - {id: 1, memory: 8MiB, cpus: 2-3}\n"
PROCESS = "processes:\n  - {name: a, uid: 1000, memory: [{name: r, size: 64KiB, policy: 'bind:0'}]}\n"


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("cpusets: [{mems: 0}]\n", 5, "cpusets[0]", "'name' is missing"),
        ("cpusets: [{name: a/b, mems: 0}]\n", 5, "cpusets[0].name", "not a name"),
        ("cpusets: [{name: cgroup.procs, mems: 0}]\n", 5, "cpusets[0].name", "there already"),
        ("cpusets:\n  - {name: x}\n  - {name: x}\n", 7, "cpusets[1].name", "there already"),
        ("cpusets: [{name: x, mems: 0-7}]\n", 5, "cpusets[0].mems", "no node 7"),
        ("cpusets: [{name: x, cpus: 0-9}]\n", 5, "cpusets[0].cpus", "no CPU 4-9"),
        ("cpusets: [{name: x, parent: y}]\n", 5, "cpusets[0].parent", "no cpuset 'y'"),
        ("cpusets: [{name: x, memory_migrate: false}]\n", 5, "cpusets[0].memory_migrate", "v2 always migrates"),
        ("cpusets: [{name: x, tasks: [b]}]\n", 5, "cpusets[0].tasks[0]", "no process 'b'"),
        ("cpusets: [{name: x, speed: 1}]\n", 5, "cpusets[0].speed", "unknown key"),
        (
            PROCESS + "cpusets:\n  - {name: x, tasks: [a]}\n  - {name: y, tasks: [a]}\n",
            9,
            "cpusets[1].tasks[0]",
            "already",
        ),
        (
            PROCESS + "cpusets:\n  - {name: x, mems: 1, tasks: [a]}\n",
            6,
            "processes[0].memory[0].policy",
            "bind:0 names node 0, which the cpuset 'x'",
        ),
        (
            PROCESS + "cpusets:\n  - {name: x}\n  - {name: y, parent: x}\nsteps: [{at: 1s, attach: {task: a, cpuset: "
            "z}}]\n",
            10,
            "attach.cpuset",
            "no cpuset 'z'",
        ),
        (
            PROCESS + "cpusets:\n  - {name: x, tasks: [a]}\n  - {name: y, parent: x}\n",
            6,
            "processes[0].name",
            "cpusets below it",
        ),
        (
            PROCESS + "steps: [{at: 1s, migrate_pages: {task: a, from: 0, to: 1, as: b}}]\n",
            7,
            "migrate_pages.as",
            "'b' is neither",
        ),
        (PROCESS + "cpusets: [{name: x}]\nsteps: [{at: 1s, cpuset: {cpuset: x}}]\n", 8, "cpuset", "nothing to change"),
        (
            PROCESS + "cpusets: [{name: x}]\nsteps: [{at: 1s, cpuset: {cpuset: x, mems: 5}}]\n",
            8,
            "cpuset.mems",
            "no node 5",
        ),
        ("processes: [{name: a, cpuset: x}]\n", 5, "processes[0].cpuset", "no cpuset 'x'"),
        ("processes: [{name: a, caps: [CAP_CHOWN]}]\n", 5, "processes[0].caps[0]", "does not matter"),
        (
            "processes: [{name: a, cpu: 0}]\ncpusets: [{name: x, cpus: 2, tasks: [a]}]\n",
            5,
            "processes[0].cpu",
            "CPU 0 is not one of",
        ),
        (
            "processes: [{name: a, node: 0}]\ncpusets: [{name: x, cpus: 2, tasks: [a]}]\n",
            5,
            "processes[0].node",
            "node 0 has no CPU",
        ),
        ("  cgroups: v3\n", 5, "machine.cgroups", "no cgroups 'v3'"),
        ("  cgroups: v1\ncpusets: [{name: x}]\n", 6, "cpusets[0]", "needs mems"),
        (
            "  cgroups: v1\ncpusets:\n  - {name: x, mems: 0}\n  - {name: y, parent: x, mems: 0-1}\n",
            8,
            "cpusets[1].mems",
            "not in the parent's mems",
        ),
    ],
)
def test_errors_name_file_line_and_key(text: str, line: int, key: str, says: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_description(MACHINE + text, "x.yaml")
    message = str(caught.value)
    assert message.startswith(f"x.yaml:{line}: ")
    assert key in message
    assert says in message


def test_a_step_is_made_as_a_process_with_its_cpuset_and_capabilities() -> None:
    text = MACHINE + (
        "processes:\n"
        "  - {name: helper, uid: 5, caps: [sys_nice, CAP_SYS_PTRACE], cpuset: small}\n"
        "  - {name: a, uid: 1000, memory: [{name: r, size: 64KiB, on: {0: 100%}}]}\n"
        "cpusets: [{name: small, mems: 0}]\n"
        "steps:\n"
        "  - {at: 1s, migrate_pages: {task: a, from: 0, to: 1, as: helper}}\n"
        "  - {at: 2s, attach: {task: helper, cpuset: small}}\n"
        "  - {at: 3s, cpuset: {cpuset: small, mems: 0-1}}\n"
        "  - {at: 4s, migrate_pages: {task: a, from: 0, to: 1, as: helper}}\n"
        "  - {at: 5s, migrate_pages: {task: a, from: 0, to: 1, as: 5}}\n"
        "  - {at: 6s, echo: {path: /sys/fs/cgroup/small/cpuset.mems, data: '1', as: 5}}\n"
        "  - {at: 7s, echo: {path: /sys/fs/cgroup/small/cpuset.mems, data: '1'}}\n"
    )
    report = run_scenario(parse_description(text))
    outcomes = [step["errno"] or step["result"] for step in report["steps"]]
    assert outcomes == ["EINVAL", 0, 0, 0, "EPERM", "EACCES", 1]
    assert report["tasks"]["a"]["vmas"][0]["nodes"] == {"1": 16}
