"""A task of an emulated machine that calls for itself; answers in the words of the measured tables."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import errno
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.mm.fault import touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mm import Vma
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet
from backend.placement.numa_maps import parse_numa_maps
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096
UNTOUCHED = -(1 << 30)
Answer = int | str


def answer(call: Callable[[], Any]) -> Any:
    """What a call returned, or `-EINVAL` and the like."""
    try:
        return call()
    except OSError as exc:
        return "-" + errno.errorcode[exc.errno or 0]


def status_word(status: int) -> Answer | None:
    """A node, `-ENOENT` and the like, None for a status that the call did not write."""
    if status == UNTOUCHED:
        return None
    return status if status >= 0 else "-" + errno.errorcode[-status]


class Me:
    """A task of linux-6 on `cpu`, as root or as user 1000."""

    def __init__(
        self,
        cpu: int = 0,
        privileged: bool = True,
        m: Machine | None = None,
        task: Task | None = None,
        **options: Any,
    ) -> None:
        self.m: Machine = m or machine("linux-6", **options)
        self.task: Task = task or spawn(self.m, "t", cpu=cpu)
        if not privileged:
            self.task.uid = 1000
        self.kernel = EmulatedKernel(self.m, Caller(0 if privileged else 1000, privileged, self.task.pid))

    def fork(self, privileged: bool = True) -> Me:
        """A child, as one that calls for itself."""
        return Me(privileged=privileged, m=self.m, task=self.m.run(fork(self.m, self.task)))

    def region(self, layout: dict[int, int] | None = None, pages: int = 0) -> Vma:
        return region(self.m, self.task, layout or {}, pages=pages)

    @property
    def vma(self) -> Vma:
        """Its only mapping."""
        (vma,) = self.task.mm.vmas
        return vma

    def addresses(self, vma: Vma, count: int = 0) -> list[int]:
        return [vma.start + index * PAGE for index in range(count or vma.pages)]

    def move(
        self,
        addresses: Sequence[int],
        nodes: Sequence[int] | int | None,
        flags: int = 2,
        pid: int | None = None,
    ) -> list[Any]:
        """move_pages(2): [result, statuses]. One node for all pages, one for each, or None to ask."""
        status = array("i", [UNTOUCHED]) * len(addresses)
        if isinstance(nodes, int):
            nodes = [nodes] * len(addresses)
        targets = None if nodes is None else array("i", nodes)
        number = self.task.pid if pid is None else pid
        result = answer(lambda: self.kernel.move_pages(number, array("Q", addresses), targets, status, flags))
        return [result, [status_word(one) for one in status]]

    def migrate(self, old: Sequence[int], new: Sequence[int], pid: int | None = None, maxnode: int = 65) -> Answer:
        number = self.task.pid if pid is None else pid
        bits = max(64, maxnode - 1) if maxnode < 2000 else 64
        masks = [NodeSet(nodes).mask(bits) for nodes in (old, new)]
        return answer(lambda: self.kernel.migrate_pages(number, maxnode, *masks))

    def mbind(
        self, vma: Vma, mode: int, nodes: Sequence[int], flags: int = 0, first: int = 0, count: int = 0
    ) -> Answer:
        length = (count or vma.pages) * PAGE
        return self.mbind_at(vma.start + first * PAGE, length, mode, nodes, flags)

    def mbind_at(self, address: int, length: int, mode: int, nodes: Sequence[int], flags: int = 0) -> Answer:
        return answer(lambda: self.kernel.mbind(address, length, mode, NodeSet(nodes).mask(), 65, flags))

    def set(self, mode: int, nodes: Sequence[int]) -> Answer:
        return answer(lambda: self.kernel.set_mempolicy(mode, NodeSet(nodes).mask(), 65))

    def get(self, address: int = 0, flags: int = 0) -> Any:
        """get_mempolicy(2): [0, mode or node, nodes], or [error, -1, []]."""
        got = answer(lambda: self.kernel.get_mempolicy(65, address, flags))
        return [got, -1, []] if isinstance(got, str) else [0, got[0], list(NodeSet.from_mask(got[1]))]

    def touch(self, vma: Vma, count: int = 0, write: bool = True, first: int = 0) -> list[int]:
        """Access pages. Returns the nodes of all."""
        index = np.arange(first, first + (count or vma.pages - first), dtype=np.int64)
        self.m.run(touch(self.m, self.task, self.task.leader, vma.start, index, write=write))
        return nodes_of(self.m, vma)

    def where(self, vma: Vma) -> list[Any]:
        """What move_pages says of each page."""
        return self.move(self.addresses(vma), None)[1]

    def counted(self, vma: Vma) -> dict[str, int]:
        """How many pages are on which node (or in which state), as move_pages has it."""
        return {str(word): count for word, count in Counter(self.where(vma)).items()}

    def line(self, vma: Vma) -> str:
        """Its line of numa_maps, without the address."""
        lines = self.kernel.read(f"/proc/{self.task.pid}/numa_maps").decode().splitlines()
        return next(line.partition(" ")[2] for line in lines if int(line.split()[0], 16) == vma.start)

    def policies(self) -> list[str]:
        return [vma.policy for vma in parse_numa_maps(self.kernel.read(f"/proc/{self.task.pid}/numa_maps"))]
