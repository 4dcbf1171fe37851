"""Plays a sequence of calls on a machine, and says after each step what came back and what is now where."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable
from typing import Any, Protocol

from backend.errors import NumatuiError
from backend.kernel import Kernel, PolicyFlag
from backend.nodeset import NodeSet
from backend.placement.numa_maps import parse_numa_maps
from tests.guest.inside.differential.sequence import Step

PAGE = 4096
BASE, APART = 0x1000_0000_0000, 1 << 30
"""Where the first region is mapped, and how far the next ones are from it: the same addresses on both machines, since
interleaving counts them."""
UNTOUCHED = -9999
Answer = Any
"""A number, text for an errno, or a list of such."""


def address_of(region: int, page: int = 0) -> int:
    """Where a page of a region is."""
    return BASE + region * APART + page * PAGE


def word(status: int) -> int | str | None:
    """A node, `-ENOENT` and the like, None for a status that the call did not write."""
    if status == UNTOUCHED:
        return None
    return status if status >= 0 else "-" + errno.errorcode[-status]


def answer(call: Callable[[], Any]) -> Any:
    """What a call returned, or `-EINVAL` and the like."""
    try:
        return call()
    except OSError as exc:
        return "-" + errno.errorcode[exc.errno or 0]


class Process:
    """A process of a machine that makes calls of its own. The calls of the seam are made here, for both machines; the
    rest is done by each in its own way."""

    kernel: Kernel
    pid: int

    def call(self, method: str, *arguments: Any) -> Answer:
        """Do a step of a sequence."""
        return getattr(self, method)(*arguments)

    def map(self, region: int, kind: str, pages: int) -> Answer:
        raise NotImplementedError

    def touch(self, region: int, first: int, count: int, write: bool) -> Answer:
        raise NotImplementedError

    def forget(self, region: int, first: int, count: int) -> Answer:
        """madvise(2) MADV_DONTNEED."""
        raise NotImplementedError

    def unmap(self, region: int, first: int, count: int) -> Answer:
        raise NotImplementedError

    def run_on(self, cpu: int) -> Answer:
        raise NotImplementedError

    def mbind(self, region: int, first: int, count: int, mode: int, nodes: list[int], flags: int) -> Answer:
        where = address_of(region, first)
        return answer(lambda: self.kernel.mbind(where, count * PAGE, mode, NodeSet(nodes).mask(), 65, flags))

    def set_mempolicy(self, mode: int, nodes: list[int]) -> Answer:
        return answer(lambda: self.kernel.set_mempolicy(mode, NodeSet(nodes).mask(), 65))

    def get_mempolicy(self, region: int | None, page: int, flags: int) -> Answer:
        where = 0 if region is None else address_of(region, page)
        got = answer(lambda: self.kernel.get_mempolicy(65, where, flags))
        # Where the zero page is, no other machine knows: it is part of the kernel.
        at = None if region is None or flags != PolicyFlag.NODE | PolicyFlag.ADDR else [[region, page]]
        if at is not None and self.move_pages(0, at, None, 0)[1] == ["-EFAULT"]:
            return "the zero page"
        if isinstance(got, str):
            return got
        # Which node is next, the interpreter's own allocations change.
        return ["a node" if flags == PolicyFlag.NODE else got[0], list(NodeSet.from_mask(got[1]))]

    def move_pages(self, pid: int, pages: list[list[int]], nodes: list[int] | None, flags: int) -> Answer:
        status = array("i", [UNTOUCHED]) * len(pages)
        where = array("Q", [address_of(*page) for page in pages])
        targets = None if nodes is None else array("i", nodes)
        result = answer(lambda: self.kernel.move_pages(pid, where, targets, status, flags))
        return [result, [word(one) for one in status]]

    def migrate_pages(self, pid: int, old: list[int], new: list[int]) -> Answer:
        return answer(lambda: self.kernel.migrate_pages(pid, 65, NodeSet(old).mask(), NodeSet(new).mask()))


class Machine(Protocol):
    """Where a sequence is played: processes by name, the first of which is there from the start."""

    @property
    def kernel(self) -> Kernel: ...

    @property
    def processes(self) -> dict[str, Process]: ...

    def fork(self) -> None:
        """`B` is now a child of `A`."""
        ...

    def end(self) -> None:
        """`B` is gone."""
        ...

    @property
    def cpuset(self) -> str:
        """The cgroup that the processes are in."""
        ...


def play(machine: Machine, steps: list[Step]) -> list[Answer]:
    """For each step [what came back, what is now where]. The second is {} where it is as it was."""
    out: list[Answer] = []
    sizes: dict[int, int] = {}
    before: Any = None
    for who, method, *arguments in steps:
        if method == "map":
            sizes[arguments[0]] = arguments[2]
        result = _do(machine, who, method, arguments)
        now = {name: _look(machine.kernel, one.pid, sizes) for name, one in machine.processes.items()}
        out.append([result, now if now != before else {}])
        before = now
    return out


def _do(machine: Machine, who: str, method: str, arguments: list[Any]) -> Answer:
    if who == "cpuset":
        data = arguments[0].encode()
        return answer(lambda: machine.kernel.write(f"{machine.cpuset}/cpuset.mems", data))
    if method in ("fork", "end"):
        return getattr(machine, method)()
    if method in ("move_pages", "migrate_pages"):
        arguments = [machine.processes[arguments[0]].pid, *arguments[1:]]
    return machine.processes[who].call(method, *arguments)


def _look(kernel: Kernel, pid: int, sizes: dict[int, int]) -> dict[str, Any]:
    """By region: the status of each page, as [status, how many in a row]; and the lines of numa_maps, as [first page,
    policy, pages by node, counts]."""
    out: dict[str, Any] = {}
    try:
        text = kernel.read(f"/proc/{pid}/numa_maps").splitlines(keepends=True)
        # The rest of a real process is some two hundred lines that nobody asks for.
        lines = parse_numa_maps(b"".join(line for line in text if line.startswith(b"1000") and line[12:13] == b" "))
    except NumatuiError as exc:
        return {"unreadable": str(exc)}
    for region, pages in sizes.items():
        status = array("i", [UNTOUCHED]) * pages
        kernel.move_pages(pid, array("Q", [address_of(region, page) for page in range(pages)]), None, status, 0)
        runs: list[list[Any]] = []
        for one in map(word, status):
            if runs and runs[-1][0] == one:
                runs[-1][1] += 1
            else:
                runs.append([one, 1])
        mine = [line for line in lines if address_of(region) <= line.start < address_of(region, pages)]
        shown = [
            [(line.start - address_of(region)) // PAGE, line.policy, {str(k): v for k, v in line.pages.items()},
             {name: count for name, count in line.counts.items() if name not in ("active", "writeback")}]
            for line in mine
        ]  # fmt: skip
        out[str(region)] = [runs, shown]
    return out
