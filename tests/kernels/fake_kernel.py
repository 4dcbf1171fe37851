"""A small NUMA machine in memory behind the `Kernel` protocol: deterministic, without time, pages really move."""

from __future__ import annotations

import errno
import os
from array import array
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from backend.emulator.abi.kernel import EmulatedKernel
from backend.kernel import Call, Capabilities, Capability, Numbers, Source, Traits
from backend.live.kernel import LiveKernel
from backend.nodeset import NodeSet
from backend.plan.remap import remap
from backend.recording.kernel import RecordedKernel
from backend.state.local import LOCAL

MIB = 1 << 20
PAGE = 4096
PAGES_PER_MIB = MIB // PAGE
CPUS_PER_NODE = 8
TOTAL = 16384
"""MiB of memory a node has."""


@dataclass
class Region:
    """One VMA: the node of every page, one byte each."""

    start: int
    words: str
    policy: str
    where: np.ndarray
    known: np.ndarray | None = None

    @property
    def counts(self) -> np.ndarray:
        """Pages by node; counted again after `moved`."""
        if self.known is None:
            self.known = np.bincount(self.where, minlength=64)
        return self.known

    def moved(self) -> None:
        self.known = None

    @property
    def end(self) -> int:
        return self.start + len(self.where) * PAGE


@dataclass
class FakeProcess:
    pid: int
    name: str
    user: str
    cpu: int
    regions: list[Region] = field(default_factory=list)
    cpuset: str = "/"
    threads: int = 1
    start_time: int = 100

    def counts(self) -> np.ndarray:
        return sum((one.counts for one in self.regions), np.zeros(64, int))


def region(start: int, words: str, mib: dict[int, float], policy: str = "default") -> Region:
    """MiB by node, one node after the other."""
    parts = [np.full(int(amount * PAGES_PER_MIB), node, np.int8) for node, amount in mib.items()]
    return Region(start, words, policy, np.concatenate(parts) if parts else np.zeros(0, np.int8))


def process(
    pid: int,
    name: str,
    user: str,
    cpu: int,
    mib: dict[int, float],
    policy: str = "default",
    cpuset: str = "/",
    threads: int = 1,
) -> FakeProcess:
    """A process with a program, a heap of that layout and a stack."""
    node = cpu // CPUS_PER_NODE
    return FakeProcess(
        pid,
        name,
        user,
        cpu,
        [
            region(0x55D0_0000_0000, f"file=/usr/bin/{name.split()[0].rsplit('/')[-1]} mapped=256", {node: 1}),
            region(0x55E0_0000_0000, "heap anon=1 dirty=1", mib, policy),
            region(0x7FFC_0000_0000, "stack anon=1 dirty=1", {node: 0.125}),
        ],
        cpuset,
        threads,
    )


def believable() -> list[FakeProcess]:
    """Some twenty processes on four nodes, several of them far from their memory."""
    return [
        process(1, "/sbin/init", "root", 0, {0: 6, 1: 2}),
        process(412, "/usr/sbin/sshd -D", "root", 3, {0: 5}),
        process(
            640,
            "/usr/bin/dockerd -H fd://",
            "root",
            12,
            {0: 40, 1: 60},
            cpuset="/system.slice/docker.service",
            threads=9,
        ),
        process(1001, "postgres: checkpointer", "postgres", 1, {0: 900, 1: 120}, cpuset="/db"),
        process(1002, "postgres: background writer", "postgres", 9, {0: 620, 1: 30}, cpuset="/db"),
        process(1003, "postgres: walwriter", "postgres", 2, {0: 70}, cpuset="/db"),
        process(
            1200,
            "java -Xmx4g -jar /opt/search/search.jar --cluster prod",
            "search",
            17,
            {0: 1024, 1: 400, 2: 300, 3: 600},
            cpuset="/search",
            threads=48,
        ),
        process(1201, "java -Xmx2g -jar /opt/search/index.jar", "search", 18, {2: 1100}, cpuset="/search", threads=30),
        process(1300, "redis-server *:6379", "redis", 25, {3: 800}, "bind:3", threads=4),
        process(1301, "redis-server *:6380", "redis", 4, {3: 640}, "bind:3", threads=4),
        process(1410, "memcached -m 1024", "cache", 26, {0: 256, 1: 256, 2: 256, 3: 256}, "interleave:0-3", threads=8),
        process(1500, "nginx: worker process", "www-data", 5, {0: 48}, threads=2),
        process(1501, "nginx: worker process", "www-data", 13, {1: 46}, threads=2),
        process(1502, "nginx: worker process", "www-data", 21, {2: 44}, threads=2),
        process(1503, "nginx: worker process", "www-data", 29, {3: 47}, threads=2),
        process(2100, "python3 train.py --epochs 40", "ada", 30, {1: 1536, 3: 64}, threads=16),
        process(2101, "python3 /srv/feed/collect.py", "feed", 11, {1: 210}),
        process(
            2200, "qemu-system-x86_64 -name guest=build1", "libvirt", 19, {2: 1500, 3: 20}, "prefer:2", "/machine", 6
        ),
        process(
            2201, "qemu-system-x86_64 -name guest=build2", "libvirt", 27, {2: 1400, 3: 100}, "default", "/machine", 6
        ),
        process(3000, "bash", "ada", 31, {3: 4}),
        process(3044, "vim notes.txt", "ada", 31, {3: 12}),
    ]


def many(count: int) -> list[FakeProcess]:
    """Thousands of small processes, every layout a little different."""
    return [
        process(
            100 + number,
            f"worker-{number % 97} --shard {number}",
            ("root", "web", "batch")[number % 3],
            number % 32,
            {number % 4: 0.5 + number % 7, (number * 3) % 4: 0.25},
        )
        for number in range(count)
    ]


TRAITS: dict[Source, Traits] = {
    "live": LiveKernel().traits,
    "demo": EmulatedKernel.traits,
    "replay": RecordedKernel.traits,
}


class FakeKernel:
    """Reads are rendered from the page arrays; both migration calls change them."""

    page_size = PAGE
    files = LOCAL

    def __init__(
        self,
        processes: list[FakeProcess] | None = None,
        source: Source = "demo",
        name: str = "db7",
        nodes: int = 4,
        privileged: bool = True,
    ) -> None:
        self.source: Source = source
        self.traits = TRAITS[source]
        self.name = name
        self.reference = "default" if source == "demo" else name
        self.nodes = nodes
        self.privileged = privileged
        self.processes = {one.pid: one for one in (believable() if processes is None else processes)}
        self.users = sorted({one.user for one in self.processes.values()})
        self.throughput: dict[int, float] | None = None
        self.balancing = False
        self.denied: set[int] = set()
        self.failure: OSError | None = None
        self.calls = 0
        self._clock = 0

    def capabilities(self) -> Capabilities:
        calls: tuple[Call, ...] = get_args(Call)
        there = Capability(
            self.source != "replay",
            "" if self.source != "replay" else "a recording can be looked at but not changed",
        )
        return {**dict.fromkeys(calls, there), "read": Capability(True), "pidfd": Capability(False, "none")}

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        if self.failure is not None:
            raise self.failure
        parts = path.strip("/").split("/")
        if parts[0] == "proc" and len(parts) > 2 and parts[1].isdigit():
            data = self._process_file(int(parts[1]), parts[2:], offset, size)
            if parts[2] == "pagemap":
                return data
        else:
            data = self._machine_file(path)
        return data[offset:] if size < 0 else data[offset : offset + size]

    def listdir(self, path: str) -> list[str]:
        if self.failure is not None:
            raise self.failure
        if path == "/proc":
            return [str(pid) for pid in self.processes] + ["meminfo"]
        if path == "/sys/devices/system/node":
            return [f"node{node}" for node in range(self.nodes)]
        parts = path.strip("/").split("/")
        if parts[0] == "proc" and parts[-1] == "task":
            one = self._process(int(parts[1]))
            return [str(one.pid + number) for number in range(one.threads)]
        raise FileNotFoundError(errno.ENOENT, "no", path)

    def file_id(self, path: str) -> tuple[int, int]:
        raise FileNotFoundError(errno.ENOENT, "no", path)

    def write(self, path: str, data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def username(self, uid: int) -> str:
        return self.users[uid - 1000]

    def clock(self) -> int:
        return self._clock

    def pause(self, nanoseconds: int) -> None:
        self._clock += nanoseconds

    def credentials(self) -> tuple[int, bool]:
        return (0, True) if self.privileged else (1000, False)

    def pidfd_open(self, pid: int) -> int:
        raise OSError(errno.ENOSYS, "no")

    def pidfd_alive(self, fd: int) -> bool:
        raise OSError(errno.ENOSYS, "no")

    def pidfd_close(self, fd: int) -> None:
        return

    def pidfd_send_signal(self, fd: int, number: int) -> None:
        raise OSError(errno.ENOSYS, "no")

    def setpriority(self, tid: int, nice: int) -> None:
        raise OSError(errno.ENOSYS, "no")

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        one = self._process(pid)
        for move in remap(NodeSet.from_mask(old), NodeSet.from_mask(new)):
            for part in one.regions:
                part.where[part.where == move.source] = move.target
                part.moved()
        self._clock += 1_000_000_000
        return 0

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        one = self._process(pid)
        self.calls += 1
        addresses = np.frombuffer(pages, dtype=np.uint64)
        out = np.full(len(addresses), -errno.EFAULT, np.int32)
        for part in one.regions:
            inside = (addresses >= part.start) & (addresses < part.end)
            index = ((addresses[inside] - np.uint64(part.start)) // np.uint64(PAGE)).astype(np.int64)
            if nodes is not None:
                part.where[index] = np.frombuffer(nodes, dtype=np.int32)[inside]
                part.moved()
                self._clock += len(index) * 2_000
            out[inside] = part.where[index]
        status[:] = array("i", out.tolist())
        return 0

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        raise OSError(errno.ENOTTY, "no")

    def mbind(self, address: int, length: int, mode: int, mask: bytes, maxnode: int, flags: int) -> int:
        raise OSError(errno.ENOSYS, "no")

    def set_mempolicy(self, mode: int, mask: bytes, maxnode: int) -> int:
        raise OSError(errno.ENOSYS, "no")

    def get_mempolicy(self, maxnode: int, address: int, flags: int) -> tuple[int, bytes]:
        raise OSError(errno.ENOSYS, "no")

    def _process(self, pid: int) -> FakeProcess:
        try:
            return self.processes[pid]
        except KeyError:
            raise ProcessLookupError(errno.ESRCH, "no such process") from None

    def _process_file(self, pid: int, parts: list[str], offset: int, size: int) -> bytes:
        one = self.processes.get(pid)
        if one is None:
            raise FileNotFoundError(errno.ENOENT, "no")
        name = parts[-1]
        if pid in self.denied and name in ("numa_maps", "maps", "pagemap"):
            raise PermissionError(errno.EACCES, "no")
        tid, cpu = pid, one.cpu
        if parts[0] == "task":
            tid = int(parts[1])
            within = CPUS_PER_NODE if one.threads <= CPUS_PER_NODE * 4 else self.nodes * CPUS_PER_NODE
            cpu = one.cpu // within * within + (one.cpu + tid - pid) % within
        pages = int(one.counts().sum())
        comm = one.name.encode("utf-8", "surrogateescape")[:15]
        if name == "stat":
            fields = [b"S", *[b"0"] * 50]
            fields[17], fields[19] = str(one.threads).encode(), str(one.start_time).encode()
            fields[21], fields[36] = str(pages).encode(), str(cpu).encode()
            return b"%d (%s) " % (tid, comm) + b" ".join(fields)
        if name == "status":
            uid = 1000 + self.users.index(one.user)
            return (
                f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nVmSwap:\t0 kB\n"
                f"Cpus_allowed_list:\t0-31\nMems_allowed_list:\t0-{self.nodes - 1}\n"
            ).encode()
        if name == "cmdline":
            return one.name.encode("utf-8", "surrogateescape") + b"\0"
        if name == "cpuset":
            return one.cpuset.encode("utf-8", "surrogateescape") + b"\n"
        if name == "numa_maps":
            return b"".join(self._numa_maps_line(part) for part in one.regions)
        if name == "maps":
            return b"".join(b"%x-%x rw-p 00000000 00:00 0 \n" % (part.start, part.end) for part in one.regions)
        if name == "pagemap":
            return self._pagemap(one, offset // 8, size // 8)
        raise FileNotFoundError(errno.ENOENT, "no")

    def _numa_maps_line(self, part: Region) -> bytes:
        nodes = " ".join(f"N{node}={count}" for node, count in enumerate(part.counts) if count)
        text = f"{part.start:x} {part.policy} {part.words} {nodes} kernelpagesize_kB=4\n"
        return text.encode("utf-8", "surrogateescape")

    def _pagemap(self, one: FakeProcess, first: int, count: int) -> bytes:
        out = np.zeros(count, np.uint64)
        for part in one.regions:
            low = max(first, part.start // PAGE)
            high = min(first + count, part.end // PAGE)
            if low < high:
                out[low - first : high - first] = np.uint64(1 << 63)
        return out.tobytes()

    def _machine_file(self, path: str) -> bytes:
        files = {
            "/proc/sys/kernel/osrelease": b"6.1.0-test\n",
            "/proc/sys/kernel/numa_balancing": b"1\n" if self.balancing else b"0\n",
            "/sys/devices/system/node/online": f"0-{self.nodes - 1}\n".encode(),
            "/sys/devices/system/cpu/online": f"0-{self.nodes * CPUS_PER_NODE - 1}\n".encode(),
            "/sys/devices/system/cpu/present": f"0-{self.nodes * CPUS_PER_NODE - 1}\n".encode(),
        }
        if path in files:
            return files[path]
        if path == "/proc/numatui/throughput" and self.throughput is not None:
            return "".join(f"{pid} {rate}\n" for pid, rate in self.throughput.items()).encode()
        if path == "/proc/zoneinfo":
            return b"".join(b"Node %d, zone   Normal\n        low      16384\n" % node for node in range(self.nodes))
        parts = path.strip("/").split("/")
        if len(parts) == 6 and parts[4].startswith("node"):
            return self._node_file(int(parts[4][4:]), parts[5])
        raise FileNotFoundError(errno.ENOENT, "no", path)

    def _node_file(self, node: int, name: str) -> bytes:
        if name == "cpulist":
            return f"{node * CPUS_PER_NODE}-{(node + 1) * CPUS_PER_NODE - 1}\n".encode()
        if name == "distance":
            return " ".join(
                str(10 if other == node else 12 + 6 * abs(other - node)) for other in range(self.nodes)
            ).encode()
        if name == "meminfo":
            used = sum(int(one.counts()[node]) for one in self.processes.values()) // PAGES_PER_MIB
            free = TOTAL - 9000 - 900 * node - used
            return (
                f"Node {node} MemTotal: {TOTAL * 1024} kB\nNode {node} MemFree: {free * 1024} kB\n"
                f"Node {node} FilePages: {3 << 20} kB\n"
            ).encode()
        raise FileNotFoundError(errno.ENOENT, "no")
