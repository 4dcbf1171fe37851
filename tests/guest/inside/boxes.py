"""The two machines that the contract is tested on: this Linux, and an emulated one of the same shape."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import pytest

from backend.emulator.fork import fork
from backend.emulator.kernel import EmulatedKernel
from backend.emulator.layout import populate
from backend.emulator.machine import Machine, NodeSpec
from backend.emulator.mm import PTE_PRESENT, Vma
from backend.emulator.profile import PROFILES
from backend.emulator.syscalls import Caller
from backend.emulator.task import Task
from backend.kernel import Kernel
from backend.live.kernel import LiveKernel
from backend.nodeset import CpuSet
from numatui.cli.app import run
from numatui.cli.source import Choice
from tests.guest.inside.rig import LinuxVictim, MiB, Result, Victim, nearly_full, numatui, region_pages

DISTANCES = [[10, 16, 22, 28], [16, 10, 28, 22], [22, 28, 10, 16], [28, 22, 16, 10]]
"""As guest.sh describes the machine with four nodes."""


class Box(Protocol):
    """A machine with four nodes, one CPU each. All is done as root unless a uid says otherwise."""

    @property
    def kernel(self) -> Kernel: ...

    def victim(self, on: dict[int, int], uid: int = 0) -> Victim:
        """A process on node 3 with so many pages on each node, which ends with the test."""
        ...

    def numatui(self, *arguments: object, uid: int = 0) -> Result:
        """Run a command as a user."""
        ...

    def nearly_full(self, node: int, spare: int) -> AbstractContextManager[None]:
        """For a while the node has about that many bytes free beyond what the kernel keeps."""
        ...


class LinuxBox:
    """This Linux."""

    def __init__(self) -> None:
        self.kernel = LiveKernel()
        self.made: list[LinuxVictim] = []

    def victim(self, on: dict[int, int], uid: int = 0) -> LinuxVictim:
        self.made.append(LinuxVictim({"memory": {"on": on}}, uid=uid))
        return self.made[-1]

    def numatui(self, *arguments: object, uid: int = 0) -> Result:
        return numatui(*arguments, uid=uid)

    def nearly_full(self, node: int, spare: int) -> AbstractContextManager[None]:
        return nearly_full(node, spare)

    def close(self) -> None:
        for one in self.made:
            one.end()


class EmulatedVictim:
    """A task of an emulated machine. Contents are compared with what was last stored there."""

    def __init__(self, kernel: EmulatedKernel, task: Task, vma: Vma) -> None:
        self.kernel, self.task, self.vma = kernel, task, vma
        self.start = vma.start

    @property
    def pid(self) -> int:
        return self.task.pid

    def pages(self, region: str = "memory") -> dict[int, int]:
        return region_pages(self.kernel, self.pid, self.start, self.vma.pages * self.kernel.page_size)

    def addresses(self, region: str = "memory") -> range:
        size = self.kernel.page_size
        return range(self.start, self.start + self.vma.pages * size, size)

    def verify(self) -> None:
        vma = self.vma
        assert vma.start == self.start
        assert vma.expected is not None
        index = np.arange(vma.pages, dtype=np.int64)
        assert ((vma.pte & PTE_PRESENT) != 0).all()
        assert (self.kernel.machine.frames.contents[vma.pfns(index)] == vma.expected).all()

    def fork(self) -> int:
        child: Task = self.kernel.machine.run(fork(self.kernel.machine, self.task))
        return child.pid

    def end(self) -> None:
        self.kernel.machine.exit(self.task)


class EmulatedBox:
    """An emulated machine of four nodes with 64 MiB each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nodes = [NodeSpec(node, 64 * MiB // 4096, CpuSet([node])) for node in range(4)]
        distances = {(a, b): value for a, row in enumerate(DISTANCES) for b, value in enumerate(row)}
        self.machine = Machine(PROFILES["linux-6"], nodes, distances)
        self.kernel = EmulatedKernel(self.machine)
        self.monkeypatch = monkeypatch
        self.machine.spawn("init", cpu=0, command="/sbin/init")
        self.machine.spawn("kthreadd", cpu=0, kernel_thread=True)

    def victim(self, on: dict[int, int], uid: int = 0) -> EmulatedVictim:
        task = self.machine.spawn("victim", cpu=3, uid=uid, command="victim.py")
        vma = self.machine.mmap(task, sum(on.values()), name="memory")
        vma.expected = np.zeros(vma.pages, np.uint64)
        position = 0
        for node, pages in on.items():
            populate(self.machine, vma, np.arange(position, position + pages, dtype=np.int64), node)
            position += pages
        return EmulatedVictim(self.kernel, task, vma)

    def numatui(self, *arguments: object, uid: int = 0) -> Result:
        caller = EmulatedKernel(self.machine, Caller(uid, uid == 0))
        out, err = io.StringIO(), io.StringIO()
        with self.monkeypatch.context() as patch:
            patch.setattr(Choice, "open", lambda _: caller)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run([str(one) for one in arguments])
        return Result(code, out.getvalue(), err.getvalue())

    @contextmanager
    def nearly_full(self, node: int, spare: int) -> Iterator[None]:
        free_pages = self.machine.frames.zones[node].free - spare // self.machine.page_size
        task = self.machine.spawn("balloon", cpu=node)
        vma = self.machine.mmap(task, free_pages)
        populate(self.machine, vma, np.arange(free_pages, dtype=np.int64), node)
        yield
        self.machine.exit(task)

    def close(self) -> None:
        pass


def make_box(kind: str, monkeypatch: pytest.MonkeyPatch) -> LinuxBox | EmulatedBox:
    """`linux` or `emulator`."""
    makers: dict[str, Callable[[], Any]] = {
        "linux": LinuxBox,
        "emulator": lambda: EmulatedBox(monkeypatch),
    }
    return makers[kind]()
