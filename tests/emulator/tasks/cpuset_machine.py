"""A machine with cpusets, driven through the seam as an administrator drives a real one."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from backend.emulator.abi.cgroupfs import directory
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.mm.fault import touch
from backend.emulator.mm.mm import Vma
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.permissions import caller_of
from backend.emulator.tasks.scheduler import schedule
from backend.emulator.tasks.task import Task
from backend.kernel import Mode
from backend.nodeset import NodeSet
from backend.placement.numa_maps import parse_numa_maps
from tests.emulator.machines import machine, nodes_of, region


def answer(call: Callable[[], Any]) -> Any:
    """What it returns, or the name of its errno."""
    try:
        return call()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]


class Admin:
    """Pid 1 is init, in the root; `kernel`: root's calls."""

    def __init__(self, profile: str = "linux-6", **options: Any) -> None:
        self.m = machine(profile, **options)
        spawn(self.m, "init", cpu=0)
        self.kernel = EmulatedKernel(self.m)

    def create(self, name: str, mems: str = "", parent: str = "", **options: Any) -> None:
        cpusets = Cpusets.of(self.m)
        cpus = options.pop("cpus", cpusets.root.cpus)
        above = cpusets.find(parent)
        assert above is not None
        cpusets.create(name, above, NodeSet.parse_list(mems), cpus, **options)

    def path(self, cpuset: str, file: str) -> str:
        return f"{directory(self.m, self.m.cpusets.root)}/{cpuset}/{file}".replace("//", "/")

    def write(self, cpuset: str, file: str, data: str, caller: Caller | None = None) -> Any:
        kernel = self.kernel if caller is None else EmulatedKernel(self.m, caller)
        return answer(lambda: kernel.write(self.path(cpuset, file), data.encode())) or "ok"

    def read(self, cpuset: str, file: str) -> str:
        return self.kernel.read(self.path(cpuset, file)).decode().strip()

    def mems(self, cpuset: str, mems: str) -> Any:
        return self.write(cpuset, "cpuset.mems", mems)

    def attach(self, cpuset: str, task: Task) -> Any:
        return self.write(cpuset, "cgroup.procs", f"{task.pid}\n")

    def spawn(self, cpuset: str = "", cpu: int = 0, **options: Any) -> Task:
        return spawn(self.m, "t", cpu=cpu, cpuset=Cpusets.of(self.m).find(cpuset), **options)

    def own(self, task: Task) -> EmulatedKernel:
        """The kernel as the task itself calls it."""
        return EmulatedKernel(self.m, caller_of(task))

    def touch(self, task: Task, vma: Vma, node: int | None = None) -> list[int]:
        """Write to all pages, with the thread on a node."""
        if node is not None:
            schedule(self.m, task, 2 * node)
        self.m.run(touch(self.m, task, task.leader, vma.start, np.arange(vma.pages, dtype=np.int64), write=True))
        return nodes_of(self.m, vma)

    def mbind(self, task: Task, vma: Vma, mode: int, nodes: list[int], flags: int = 0) -> Any:
        mask = NodeSet(nodes).mask()
        return answer(lambda: self.own(task).mbind(vma.start, vma.pages * 4096, mode, mask, 65, flags))

    def migrate(self, task: Task, old: list[int], new: list[int], caller: Caller | None = None) -> Any:
        kernel = self.kernel if caller is None else EmulatedKernel(self.m, caller)
        return answer(lambda: kernel.migrate_pages(task.pid, 65, NodeSet(old).mask(), NodeSet(new).mask()))


class Victim:
    """The task of the measured rows: mappings touched in a cpuset of nodes 0-1."""

    def __init__(self, admin: Admin, cpuset: str) -> None:
        self.admin = admin
        self.task = admin.spawn(cpuset)
        self.maps: dict[str, Vma] = {}
        self._map("default@0", 4, 0)
        self._map("default@1", 8, 1)
        self._map("bind0", 6, 0, Mode.BIND, [0])
        self._map("interleave01", 6, 0, Mode.INTERLEAVE, [0, 1])
        self._map("bind|static 0-1", 6, 0, Mode.BIND | 0x8000, [0, 1])

    def _map(self, name: str, pages: int, node: int, mode: int = 0, nodes: list[int] | None = None) -> None:
        vma = region(self.admin.m, self.task, {}, pages=pages)
        if nodes:
            assert self.admin.mbind(self.task, vma, mode, nodes) == 0
        self.admin.touch(self.task, vma, node)
        self.maps[name] = vma

    @property
    def lay(self) -> dict[str, dict[str, int]]:
        """Mapping → node → pages, as the measured rows have it."""
        counts = {name: Counter(nodes_of(self.admin.m, vma)) for name, vma in self.maps.items()}
        return {name: {str(node): n for node, n in count.items()} for name, count in counts.items()}

    @property
    def pol(self) -> dict[str, str]:
        shown = parse_numa_maps(self.admin.kernel.read(f"/proc/{self.task.pid}/numa_maps"))
        by_start = {vma.start: vma.policy for vma in shown}
        return {name: by_start[vma.start] for name, vma in self.maps.items()}

    @property
    def mems(self) -> str:
        status = self.admin.kernel.read(f"/proc/{self.task.pid}/status").decode()
        return status.split("Mems_allowed_list:\t")[1].split("\n")[0]
