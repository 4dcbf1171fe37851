"""The two machines that the contract is tested on: this Linux, and an emulated one of the same shape."""

from __future__ import annotations

from array import array
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest

from backend.emulator.profile import PROFILES
from backend.kernel import Kernel
from backend.live.kernel import LiveKernel
from backend.nodeset import NodeSet
from backend.placement.placement import VmaPlacement
from tests.guest.inside import facilities
from tests.guest.inside.contract.emulated import SWAP, EmulatedBox, version
from tests.guest.inside.rig import LinuxVictim, Result, nearly_full, numatui, region_vmas, vmstat

FilesystemName = Literal["ext4", "tmpfs"]


class Victim(Protocol):
    """A process with regions of known layout and contents, real or emulated."""

    @property
    def pid(self) -> int: ...

    def pages(self, region: str = "memory") -> dict[int, int]:
        """Node → base pages of the region, as numa_maps has them."""
        ...

    def verify(self) -> None:
        """Reads every page. Asserts that the contents are what was written, at the addresses where they were."""
        ...

    def touch(self) -> None:
        """Write to every page."""
        ...

    def addresses(self, region: str = "memory") -> range:
        """The addresses of the region's base pages."""
        ...

    def run_on(self, node: int) -> None:
        """From now on it runs on the CPUs of a node."""
        ...

    def bind(
        self, mode: int, nodes: list[int], flags: int = 0, part: range | None = None, region: str = "memory"
    ) -> None:
        """mbind(2) of the region, or of the pages of a part of it."""
        ...

    def set_policy(self, mode: int, nodes: list[int]) -> None:
        """set_mempolicy(2)."""
        ...

    def page_out(self, region: str = "memory") -> None:
        """Anonymous pages into swap (MADV_PAGEOUT)."""
        ...

    def sync(self, region: str = "memory") -> None:
        """fsync(2) of a file."""
        ...

    def forget(self, region: str = "memory") -> None:
        """A synced file's pages leave memory; the next access reads them from its device."""
        ...

    def fork(self) -> int:
        """A child that maps the same pages."""
        ...

    def end(self) -> None:
        """End the process and wait until its pid is free."""
        ...


class Box(Protocol):
    """A machine with four nodes, one CPU each. All is done as root unless a uid says otherwise."""

    @property
    def kernel(self) -> Kernel: ...

    @property
    def version(self) -> tuple[int, ...]:
        """Of the kernel: (6, 1)."""
        ...

    def victim(self, on: dict[int, int], uid: int = 0, more: dict[str, dict[str, Any]] = ..., **memory: Any) -> Victim:
        """A process on node 3, which ends with the test. Its region `memory` has so many pages on each node; `memory`
        and `more` say what else it is and which regions there are besides, in the words of victim.py, where a file has
        a `filesystem` instead of a path."""
        ...

    def numatui(self, *arguments: object, uid: int = 0) -> Result:
        """Run a command as a user."""
        ...

    def nearly_full(self, node: int, spare: int) -> AbstractContextManager[None]:
        """For a while the node has about that many bytes free beyond what the kernel keeps."""
        ...

    def swap(self) -> AbstractContextManager[None]:
        """For a while there is swap space, plenty of it. Nobody may have pages there when it goes."""
        ...

    def cpuset(self, name: str, mems: str) -> str:
        """A new cgroup with these nodes: its directory."""
        ...

    def counter(self, name: str) -> int:
        """A line of /proc/vmstat, up to date."""
        ...


def query(box: Box, pid: int, addresses: list[int]) -> list[int]:
    """What move_pages(2) says of addresses: nodes or negative errnos."""
    status = array("i", [99]) * len(addresses)
    box.kernel.move_pages(pid, array("Q", addresses), None, status, 0)
    return list(status)


def move(box: Box, pid: int, addresses: list[int], node: int, flags: int = 2) -> list[int]:
    """move_pages(2) of addresses to one node: their statuses."""
    status = array("i", [99]) * len(addresses)
    box.kernel.move_pages(pid, array("Q", addresses), array("i", [node]) * len(addresses), status, flags)
    return list(status)


def migrate_pages(box: Box, pid: int, old: list[int], new: list[int]) -> int:
    """migrate_pages(2) with masks of one word."""
    return box.kernel.migrate_pages(pid, 65, NodeSet(old).mask(), NodeSet(new).mask())


def lines(box: Box, one: Victim, region: str = "memory") -> list[VmaPlacement]:
    """What numa_maps says of a region."""
    return region_vmas(box.kernel, one.pid, one.addresses(region))


class LinuxBox:
    """This Linux."""

    def __init__(self) -> None:
        self.kernel = LiveKernel()
        self.version = version(self.kernel)
        self.made: list[LinuxVictim] = []
        self.cpusets: list[Path] = []
        self.files: list[Path] = []

    def victim(
        self, on: dict[int, int], uid: int = 0, more: dict[str, dict[str, Any]] | None = None, **memory: Any
    ) -> LinuxVictim:
        layout = {"memory": {"on": on, **memory}, **(more or {})}
        for region in layout.values():
            if "filesystem" in region:
                self.files.append(_folder(region.pop("filesystem")) / f"file{len(self.files)}")
                region["path"] = str(self.files[-1])
        self.made.append(LinuxVictim(layout, uid=uid))
        return self.made[-1]

    def numatui(self, *arguments: object, uid: int = 0) -> Result:
        return numatui(*arguments, uid=uid)

    def nearly_full(self, node: int, spare: int) -> AbstractContextManager[None]:
        return nearly_full(node, spare)

    def swap(self) -> AbstractContextManager[None]:
        return facilities.swap_on(SWAP)

    def cpuset(self, name: str, mems: str) -> str:
        self.cpusets.append(facilities.make_cpuset(name, mems))
        return str(self.cpusets[-1])

    def counter(self, name: str) -> int:
        Path("/proc/sys/vm/stat_refresh").write_text("1")
        return vmstat(self.kernel, name)

    def close(self) -> None:
        for one in self.made:
            one.end()
        for folder in self.cpusets:
            folder.rmdir()
        for file in self.files:
            file.unlink(missing_ok=True)


def _folder(filesystem: FilesystemName) -> Path:
    return facilities.ext4() if filesystem == "ext4" else Path("/dev/shm")


def make_box(kind: str, monkeypatch: pytest.MonkeyPatch) -> LinuxBox | EmulatedBox:
    """`linux`, or a profile of the emulator."""
    return LinuxBox() if kind == "linux" else EmulatedBox(monkeypatch, PROFILES[kind])
