"""What the tests in the guest work with: numatui as a process, victims, and switches of the running kernel."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import platform
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

import pytest

from backend.kernel import Kernel
from backend.live.kernel import LiveKernel
from backend.machine.kernel_versions import hides_marked_pages
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.placement.numa_maps import read_placement
from backend.placement.placement import VmaPlacement
from numatui.cli.app import run
from tests.schemas import check

for _module in (
    "platformdirs",
    "backend.cgroup.cgroup_memory",
    "backend.cpuset.confinement",
    "backend.job.job",
    "backend.placement.placement_walk",
    "backend.job.undo",
    "numatui.cli.printing.outcomes",
    "numatui.cli.move.undo",
):
    importlib.import_module(_module)
"""What commands import while they run: once here instead of in every child."""
VICTIM = Path(__file__).resolve().parent.parent / "victim.py"
PATIENCE = 180.0
"""Seconds after which something that must happen counts as not happening: generous, the guest is slow."""
USER, OTHER = 4001, 4002
"""Two user ids that nobody has."""
PAGE = 4096
MAX_NODES = 4
"""Of any guest."""
MiB = 1 << 20
HIDES = hides_marked_pages(platform.release())
"""Whether move_pages does not see what NUMA balancing has marked."""
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """How a numatui command ended."""

    code: int
    out: str
    err: str

    def __repr__(self) -> str:
        """For failing tests: what came out of a migration, else the output."""
        out = self.out
        if out.startswith("{"):
            outcomes = json.loads(out).get("outcomes")
            out = json.dumps(outcomes) if outcomes else out
        return f"exit code {self.code}, stdout {out!r}, stderr {self.err!r}"

    @property
    def json(self) -> dict[str, Any]:
        """Its document; a failure shows what there was instead."""
        assert self.out.startswith("{"), f"no JSON: {self}"
        return check(json.loads(self.out))

    def refused(self, code: int, *words: str) -> str:
        """Asserts that it ended with this code and one line on stderr that has these words; returns the line."""
        assert self.code == code, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self
        assert lines[0].startswith("numatui: "), self
        assert self.out == "" or self.json == {**self.json, "schema": "numatui/error/1", "code": code}, self
        for word in words:
            assert word in lines[0], self
        return lines[0]


class Numatui:
    """A running numatui command: forked from this process, which has it imported already."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        uid: int = 0,
        state: Path | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """`before` runs in the child as the user, right before the command."""
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
        if state is None:
            state = Path(tempfile.mkdtemp(prefix="numatui-state-"))
            os.chown(state, uid, uid)
        self.pid = os.fork()
        if self.pid == 0:
            self._child(arguments, uid, state, before)

    def _child(self, arguments: tuple[str, ...], uid: int, state: Path, before: Callable[[], None]) -> NoReturn:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self.out.fileno(), 1)
            os.dup2(self.err.fileno(), 2)
            sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
            signal.signal(signal.SIGINT, signal.default_int_handler)
            faulthandler.register(signal.SIGUSR1, self.err)
            os.environ["XDG_STATE_HOME"] = str(state)
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            if uid:
                become(uid)
            before()
            code = run(list(arguments))
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> Result:
        """Its end. A command that does not come to one says where all its threads are."""
        try:
            wait_until(self._ended, "the command ends")
        except AssertionError as exc:
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(1)
            self.err.seek(0)
            raise AssertionError(f"{exc}\n{self.err.read()}") from None
        texts: list[str] = []
        for stream in (self.out, self.err):
            stream.seek(0)
            texts.append(stream.read())
            stream.close()
        return Result(os.waitstatus_to_exitcode(self.status), *texts)

    def _ended(self) -> bool:
        pid, self.status = os.waitpid(self.pid, os.WNOHANG)
        return pid == self.pid


def numatui(*arguments: object, **how: Any) -> Result:
    """Run a command to its end. See `Numatui` for what it may be given."""
    return Numatui(tuple(str(one) for one in arguments), **how).wait()


def numatui_program(*arguments: object) -> Result:
    """The same as a program of its own, started from nothing: slow."""
    done = subprocess.run(
        [sys.executable, "-m", "numatui", *[str(one) for one in arguments]],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE * 2,
        env={**os.environ, "XDG_STATE_HOME": tempfile.mkdtemp(prefix="numatui-state-")},
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def slowly(pid: int, *options: str, **how: Any) -> Numatui:
    """A move from node 0 to 2 that has begun, and takes a second for each 4 MiB. See `Numatui` for `how`."""
    return Numatui(
        ("migrate", str(pid), "--from", "0", "--to", "2", "--yes", "--json", "--max-rate", "4MiB/s", *options), **how
    )  # fmt: skip


def become(uid: int) -> None:
    """Give up all privileges for good, as a login of that user would have none."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Poll until the condition holds; AssertionError naming `what` when it does not come true."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited {patience:.0f} s in vain: {what}"
        time.sleep(0.01)


def region_vmas(kernel: Kernel, pid: int, addresses: range) -> list[VmaPlacement]:
    """The lines of numa_maps that begin in a range of addresses."""
    return [vma for vma in read_placement(kernel, pid).vmas if vma.start in addresses]


def region_pages(kernel: Kernel, pid: int, addresses: range) -> dict[int, int]:
    """Node → base pages of the VMAs that lie in a range of addresses."""
    out: dict[int, int] = {}
    for vma in region_vmas(kernel, pid, addresses):
        for node, count in vma.pages.items():
            out[node] = out.get(node, 0) + count * vma.page_size // PAGE
    return dict(sorted(out.items()))


@dataclass
class LinuxVictim:
    """victim.py as a process: pinned to the CPUs of the node `home`, where all that is not a region lies. `before` runs
    in it as the user, before the program."""

    layout: dict[str, dict[str, Any]]
    uid: int = 0
    home: int = 3
    before: Callable[[], None] | None = None
    process: subprocess.Popen[str] = field(init=False)
    regions: dict[str, tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(VICTIM)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            user=self.uid, group=self.uid, extra_groups=[], preexec_fn=self.before,
        )  # fmt: skip
        kernel = LiveKernel()
        self._answer()
        self.run_on(self.home)
        others, home = memory_nodes() - NodeSet([self.home]), NodeSet([self.home])
        kernel.migrate_pages(self.pid, others.maxnode(), others.mask(), home.mask())
        self.regions = {name: tuple(where) for name, where in self.ask("allocate", self.layout).items()}
        # Once more to and fro: what its interpreter does after an answer has been done, and is mapped.
        self.ask("set_policy", 0, [])

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, command: str, *arguments: object) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(json.dumps([command, *arguments]) + "\n")
        stdin.flush()

    def ask(self, command: str, *arguments: object) -> Any:
        self.tell(command, *arguments)
        answer = self._answer()
        assert not (isinstance(answer, dict) and "failed" in answer), f"{command}: {answer}"
        return answer

    def _answer(self) -> Any:
        stdout: IO[str] | None = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], PATIENCE)
        assert ready, "the victim does not answer"
        line = stdout.readline()
        assert line, f"the victim ended ({self.process.wait()})"
        return json.loads(line)

    def pages(self, region: str = "memory") -> dict[int, int]:
        return region_pages(LiveKernel(), self.pid, self.addresses(region))

    def addresses(self, region: str = "memory") -> range:
        start, length = self.regions[region]
        return range(start, start + length, PAGE)

    def verify(self) -> None:
        wrong = self.ask("verify")
        assert wrong is None, wrong

    def touch(self) -> None:
        self.ask("touch")

    def run_on(self, node: int) -> None:
        os.sched_setaffinity(
            self.pid, NodeSet.parse_list(Path(f"/sys/devices/system/node/node{node}/cpulist").read_text())
        )

    def bind(
        self, mode: int, nodes: list[int], flags: int = 0, part: range | None = None, region: str = "memory"
    ) -> None:
        part = part or range(len(self.addresses(region)))
        self.ask("bind", region, mode, nodes, flags, part.start, len(part))

    def set_policy(self, mode: int, nodes: list[int]) -> None:
        self.ask("set_policy", mode, nodes)

    def page_out(self, region: str = "memory") -> None:
        self.ask("page_out", region)

    def sync(self, region: str = "memory") -> None:
        self.ask("sync", region)

    def forget(self, region: str = "memory") -> None:
        self.ask("forget", region)

    def fork(self, node: int | None = None) -> int:
        return self.ask("fork", node)

    def where(self) -> dict[str, list[int]]:
        """By region, what move_pages(2) says of each page: its node, or why there is none."""
        out: dict[str, list[int]] = {}
        for name in self.regions:
            pages = array("Q", self.addresses(name))
            status = array("i", [0]) * len(pages)
            LiveKernel().move_pages(self.pid, pages, None, status, 0)
            out[name] = list(status)
        return out

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class MakeVictim(Protocol):
    """Makes a victim that ends with the test. `on`: node → base pages of its region `memory`."""

    def __call__(self, on: dict[int, int] | None = None, /, **how: Any) -> LinuxVictim: ...


def vmstat(kernel: Kernel, name: str) -> int:
    """A line of /proc/vmstat; 0 where there is none."""
    match = re.search(rf"^{name} (\d+)$", kernel.read("/proc/vmstat").decode(), re.MULTILINE)
    return int(match[1]) if match else 0


def numastat(pid: int) -> dict[int, float]:
    """What the real `numastat -p` says: node → MB."""
    done = subprocess.run(["numastat", "-p", str(pid)], capture_output=True, text=True, check=True)
    nodes = [int(number) for number in re.findall(r"Node (\d+)", done.stdout)]
    totals = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("Total ")]
    assert len(totals) == 1, done.stdout
    return dict(zip(nodes, [float(one) for one in totals[0]], strict=False))


def memory_nodes() -> NodeSet:
    """The nodes with memory."""
    return NodeSet.parse_list(Path("/sys/devices/system/node/has_memory").read_text())


def free(node: int) -> int:
    """Free bytes of a node."""
    text = Path(f"/sys/devices/system/node/node{node}/meminfo").read_text()
    match = re.search(r"MemFree:\s+(\d+) kB", text)
    assert match
    return int(match[1]) * 1024


@contextmanager
def setting(path: str | Path, value: object) -> Iterator[None]:
    """A file of /proc/sys or /sys with another value for a while."""
    file = Path(path)
    before = file.read_text().strip()
    file.write_text(str(value))
    try:
        yield
    finally:
        file.write_text(before)


@contextmanager
def huge_pages(node: int, count: int) -> Iterator[None]:
    """A pool of that many 2 MiB pages on a node. They are gone from its free memory at once: a balloon, too. Afterwards
    the pools of all nodes are as before: pages that moved took their places in the pool along."""
    before = {pool: pool.read_text() for pool in map(_pool, range(MAX_NODES)) if pool.exists()}
    try:
        with setting(_pool(node), count):
            yield
    finally:
        for pool, had in before.items():
            pool.write_text(had)


def _pool(node: int) -> Path:
    return Path(f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages")


@contextmanager
def nearly_full(node: int, spare: int) -> Iterator[None]:
    """For a while the node has about that many bytes free beyond what the kernel keeps: huge pages take the rest.

    First they take all there is: only then is the page cache gone, and what the CPUs keep in lists of their own. Those
    may hold 30 MiB a CPU, which no count of free memory has; for a while they are short."""
    topology = read_topology(LiveKernel())
    with (
        setting("/proc/sys/vm/percpu_pagelist_high_fraction", 1_000_000),
        huge_pages(node, topology.node(node).total // (2 * MiB)),
    ):
        spare += topology.low_watermarks[node] * PAGE
        pool = int(_pool(node).read_text())
        _pool(node).write_text(str(pool - max(0, spare - free(node)) // (2 * MiB)))
        yield


def set_online(node: int, online: bool) -> None:
    """Plug the memory of a node in or out, block by block; OSError when the kernel cannot empty one."""
    for block in Path(f"/sys/devices/system/node/node{node}").glob("memory[0-9]*"):
        state = block / "state"
        if state.read_text().strip() == ("offline" if online else "online"):
            state.write_text("online_movable" if online else "offline")


@contextmanager
def mounted(kind: str, options: str, where: Path) -> Iterator[Path]:
    """A filesystem mounted for a while."""
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def mount_debugfs() -> None:
    """/sys/kernel/debug, where the periods of NUMA balancing are."""
    if not os.path.ismount("/sys/kernel/debug"):
        subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"], check=True)


@contextmanager
def eager_balancing() -> Iterator[None]:
    """NUMA balancing is on for a while, and looks at processes again and again."""
    mount_debugfs()
    with (
        setting("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", 1),
        setting("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", 10),
        setting("/proc/sys/kernel/numa_balancing", 1),
    ):
        yield


@contextmanager
def marked_by_balancing(victim: LinuxVictim) -> Iterator[None]:
    """NUMA balancing is on for a while, and has marked all pages of the victim."""
    pages = sum(victim.pages().values())
    with eager_balancing():
        before = vmstat(LiveKernel(), "numa_pte_updates")

        def marked() -> bool:
            victim.ask("spin", 0.2)
            if HIDES:
                return max(victim.where()["memory"]) < 0
            return vmstat(LiveKernel(), "numa_pte_updates") >= before + pages

        wait_until(marked, "balancing marks all pages")
        yield


@contextmanager
def hidden_by_balancing(victim: LinuxVictim) -> Iterator[None]:
    """The same where move_pages sees no such page. Elsewhere the test is skipped."""
    if not HIDES:
        pytest.skip("from Linux 6.12 on nothing is hidden")
    with marked_by_balancing(victim):
        yield
