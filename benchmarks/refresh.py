"""One refresh of the process table (Surveyor.read through the seam of an emulated machine) beside writing the same text
(numa_maps and stat of every process) from plain numbers and parsing it with one regular expression each: a ratio, in
one run.

`refresh.py [TASKS [VMAS]]`: 5000 tasks with 100000 mappings by default, half of them of files; a fifth of the tasks are
forked."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.boot import boot
from backend.emulator.machine import Machine, MachineSpec, NodeSpec
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mmap import mmap
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.layout import populate
from backend.emulator.storage.file_io import create, mount
from backend.emulator.tasks.life import spawn
from backend.machine.topology import read_topology
from backend.nodeset import CpuSet
from backend.placement.numa_maps import parse_totals
from backend.placement.survey import Surveyor

NODES, PAGES, FILES = 4, 8, 100
_TOTALS = re.compile(rb" N(\d+)=(\d+)(?=[ \n])|kernelpagesize_kB=(\d+)")
_STAT = re.compile(
    rb"(\d+) \((.*)\) (\S) (\d+)" + rb" \S+" * 15 + rb" (\d+) (\d+) (\d+) (\d+)" + rb" \S+" * 14 + rb" (\d+)"
)
_LINE = re.compile(r"([0-9a-f]+) (\S+)(?: file=(\S+))?((?: [a-z]+=\d+)*)((?: N\d+=\d+)+) kernelpagesize_kB=(\d+)")


def machine(tasks: int, vmas: int) -> Machine:
    """Every fifth task is forked from the one before it. Every other mapping is of a file that many tasks map; the
    others have pages on two nodes."""
    nodes = [NodeSpec(node, vmas * PAGES // 2 + 65536, CpuSet([node])) for node in range(NODES)]
    distances = {(a, b): 10 if a == b else 20 for a in range(NODES) for b in range(NODES)}
    m = boot(MachineSpec(PROFILES["linux-6"], nodes, distances))
    disk = mount(m, "disk", m.profile.filesystem_types["ext4"])
    files = [create(m, disk, f"/usr/lib/x86_64-linux-gnu/lib{number}.so", PAGES) for number in range(FILES)]
    task = None
    for number in range(tasks):
        if task is not None and number % 5 == 4:
            m.run(fork(m, task))
            continue
        task = spawn(m, f"task{number}", cpu=number % NODES, command=f"/usr/bin/task{number} --serve")
        for part in range(vmas // tasks):
            node = (number + part) % NODES
            if part % 2:
                vma = mmap(m, task, PAGES, file=files[(number + part) % FILES])
                populate(m, vma, np.arange(PAGES), node)
                continue
            vma = mmap(m, task, PAGES)
            populate(m, vma, np.arange(PAGES // 2), node)
            populate(m, vma, np.arange(PAGES // 2, PAGES), (node + 1) % NODES)
    return m


@dataclass(slots=True)
class Line:
    """What a line of numa_maps is written from."""

    start: int
    policy: str
    file: str
    counts: list[tuple[str, int]]
    nodes: list[tuple[int, int]]
    kilobytes: int


def numbers(kernel: EmulatedKernel) -> list[tuple[list[bytes], list[Line]]]:
    """What has to be written for each process: the words of stat, and the lines of numa_maps."""
    out: list[tuple[list[bytes], list[Line]]] = []
    for pid in kernel.machine.tasks:
        lines: list[Line] = []
        for text in kernel.read(f"/proc/{pid}/numa_maps").decode().splitlines():
            match = _LINE.fullmatch(text)
            assert match is not None, text
            start, policy, file, counts, nodes, kilobytes = match.groups()
            words = [word.split("=") for word in counts.split()]
            pairs = [(int(node), int(count)) for node, count in re.findall(r"N(\d+)=(\d+)", nodes)]
            line = Line(
                int(start, 16),
                policy,
                file or "",
                [(key, int(value)) for key, value in words],
                pairs,
                int(kilobytes),
            )
            lines.append(line)
        out.append((kernel.read(f"/proc/{pid}/stat").split(), lines))
    return out


def written_and_parsed(processes: list[tuple[list[bytes], list[Line]]]) -> int:
    """The text alone: written from numbers, and parsed. Returns its bytes."""
    size = 0
    for words, lines in processes:
        out: list[str] = []
        for line in lines:
            file = f" file={line.file}" if line.file else ""
            counts = "".join([f" {key}={count}" for key, count in line.counts])
            nodes = "".join([f" N{node}={count}" for node, count in line.nodes])
            out.append(f"{line.start:08x} {line.policy}{file}{counts}{nodes} kernelpagesize_kB={line.kilobytes}\n")
        text = "".join(out).encode()
        totals: dict[int, int] = {}
        pending: list[tuple[int, int]] = []
        for node, count, scale in _TOTALS.findall(text):
            if scale:
                for number, pages in pending:
                    totals[number] = totals.get(number, 0) + pages * int(scale) * 1024
                pending.clear()
            else:
                pending.append((int(node), int(count)))
        stat = b" ".join(words) + b"\n"
        assert _STAT.match(stat) is not None
        size += len(text) + len(stat)
    return size


def timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    tasks = words[0] if words else 5000
    vmas = words[1] if len(words) > 1 else 20 * tasks
    kernel = EmulatedKernel(machine(tasks, vmas))
    surveyor = Surveyor(kernel, read_topology(kernel))
    first = timed(surveyor.read)
    rows = surveyor.read()
    assert len(rows) == tasks
    processes = numbers(kernel)
    assert sum(len(lines) for _, lines in processes) == vmas
    assert rows[-1].by_node == dict(
        sorted(parse_totals(kernel.read(f"/proc/{rows[-1].process.pid}/numa_maps")).items())
    )
    size = written_and_parsed(processes)
    refresh, alone = [], []
    for _ in range(5):
        refresh.append(timed(surveyor.read))
        alone.append(timed(lambda: written_and_parsed(processes)))
    print(
        f"{tasks} tasks, {vmas} mappings, {size / 1e6:.1f} MB of text: a refresh {min(refresh) * 1e3:.0f} ms (the "
        f"first {first * 1e3:.0f} ms), "
        f"written and parsed alone {min(alone) * 1e3:.0f} ms: {min(refresh) / min(alone):.2f}"
    )


if __name__ == "__main__":
    main()
