"""Reading where memory lies beside `numastat -p`: ratios, measured alternately in one run.

`reading.py time [PROCESSES [MIB]]`: the time for many processes (300 of 30 MiB), start-up of numastat and of Python
aside. `reading.py stall [MIB]`: the worst time that a process of 600 MiB waits for its own mmap and munmap meanwhile.
`another`: while another process like it is read, which shows what of it the machine's own noise is. Waiting for a CPU
is not counted, as far as the kernel tells. What a reading causes happens each time, so the calmest round has it with
the least noise. `reading.py sparse [TIB [PAGES]]`: finding 1,000 pages in 2 TiB that are empty otherwise, with
PAGEMAP_SCAN (Linux 6.7) and by pagemap alone."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from backend.live.kernel import LiveKernel
from backend.machine.topology import Topology, read_topology
from backend.placement.locate import Locator
from backend.placement.survey import ProcessRow, Surveyor
from backend.process.process import Process, read_process

ROUNDS = 15
MIB = 1 << 20
AT_LEISURE = 1 << 60
NOT_HUGE = 15
WAITERS: list[subprocess.Popen[bytes]] = []
"""Kept: their stdin must stay open."""
SMALL = 64 * 1024


def fill(mib: int, huge: bool = False) -> mmap.mmap:
    """So much anonymous memory, every page written."""
    memory = mmap.mmap(-1, mib * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE if huge else NOT_HUGE)
    for position in range(0, mib * MIB, mmap.PAGESIZE):
        memory[position] = 1
    return memory


WAITER = """
import ctypes, mmap, sys
ctypes.CDLL(None).prctl(1, 9)
memory = mmap.mmap(-1, int(sys.argv[1]) << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(int(sys.argv[2]))
for position in range(0, len(memory), mmap.PAGESIZE):
    memory[position] = 1
print("filled", flush=True)
sys.stdin.read()
"""


def waiter(mib: int, huge: bool = False) -> int:
    """A small process of its own with so much memory more; it ends with this one. Returns when it is filled."""
    one = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WAITER, str(mib), str(mmap.MADV_HUGEPAGE if huge else NOT_HUGE)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert one.stdout is not None
    assert one.stdout.readline() == b"filled\n"
    WAITERS.append(one)
    return one.pid


def end(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    WAITERS.clear()


def numastat(*pids: int) -> None:
    subprocess.run(["numastat", "-p", *map(str, pids)], stdout=subprocess.DEVNULL, check=True)


def elapsed(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds, seconds of CPU of this process and its children)."""

    def used() -> float:
        each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in each)

    began, before = time.perf_counter(), used()
    work()
    return time.perf_counter() - began, used() - before


def survey(kernel: LiveKernel, topology: Topology, pids: list[int]) -> list[ProcessRow]:
    """What `ps` reads when it starts."""
    chosen = set(pids)
    rows = Surveyor(kernel, topology).read(lambda process: process.pid in chosen)
    assert [row.process.pid for row in rows] == sorted(pids), "some processes are missing"
    return rows


def compare_time(processes: int, mib: int) -> None:
    pids = [waiter(mib) for _ in range(processes)]
    kernel = LiveKernel()
    topology = read_topology(kernel)
    known = Surveyor(kernel, topology)
    chosen = set(pids)
    known.read(lambda process: process.pid in chosen)
    works: dict[str, Callable[[], object]] = {
        "numastat of one": lambda: numastat(pids[0]),
        "numastat -p": lambda: numastat(*pids),
        "the first reading": lambda: survey(kernel, topology, pids),
        "the next reading": lambda: known.read(lambda process: process.pid in chosen),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(elapsed(work))
    end(pids)
    best = {name: [min(one[which] for one in all_) for which in (0, 1)] for name, all_ in times.items()}
    bare = [best["numastat -p"][which] - best["numastat of one"][which] for which in (0, 1)]
    print(f"{processes} processes of {mib} MiB, {os.cpu_count()} CPUs; the best of {ROUNDS} rounds")
    print(f"numastat -p, start-up aside  {bare[0] * 1e3:7.1f} ms")
    for name in ("the first reading", "the next reading"):
        print(
            f"{name:27}  {best[name][0] * 1e3:7.1f} ms, {best[name][0] / bare[0]:.2f} × numastat -p"
            f" ({best[name][1] / bare[1]:.2f} × its CPU time)"
        )


def victim(mib: int, huge: bool, words: memoryview[int], cpu: int) -> int:
    """A process on a CPU of its own that maps, touches and unmaps memory, and keeps the longest time that took, in
    nanoseconds (without what it waited for its CPU), in the first of `words`, then how often it did."""

    ready, said = os.pipe()
    pid = os.fork()
    if pid:
        os.close(said)
        os.read(ready, 1)
        os.close(ready)
        return pid
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.sched_setaffinity(0, [cpu])
    memory = fill(mib, huge)
    queued = os.open("/proc/self/schedstat", os.O_RDONLY)
    os.write(said, b"!")
    while len(memory):
        waited = int(os.pread(queued, 64, 0).split()[1])
        before = time.perf_counter_ns()
        one = mmap.mmap(-1, SMALL, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        one[0] = 1
        one.close()
        took = time.perf_counter_ns() - before
        took -= int(os.pread(queued, 64, 0).split()[1]) - waited
        words[0] = max(words[0], took)
        words[1] += 1
    return 0


def worst_wait(words: memoryview[int], work: Callable[[], object]) -> int:
    """Nanoseconds, of what the victim did from before `work` until after it."""
    words[0] = 0
    work()
    turns = words[1]
    while words[1] < turns + 2:
        time.sleep(0.001)
    return words[0]


def compare_stalls(mib: int) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    kernel = LiveKernel()
    topology = read_topology(kernel)
    for huge in (False, True):
        words = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        pid = victim(mib, huge, words, cpus[0])
        os.sched_setaffinity(0, cpus[1:] or cpus)
        gentle, sampling = Locator(kernel, topology), Locator(kernel, topology)
        sampling.frames_shown = False
        for one in (gentle, sampling):
            one.prepare()
        process, other = read_process(kernel, pid), read_process(kernel, waiter(mib, huge))

        def look(locator: Locator, way: str, process: Process = process) -> None:
            located = locator.locate(process, 1, AT_LEISURE)
            assert located.way == way, f"{located.way}, not {way}"

        ways: dict[str, Callable[[], object]] = {
            "nothing": lambda: time.sleep(0.05),
            "numastat -p": lambda pid=pid: numastat(pid),
            "numastat, another": lambda other=other: numastat(other.pid),
            "ours, by pagemap": lambda look=look, gentle=gentle: look(gentle, "pagemap"),
            "pagemap, another": lambda look=look, gentle=gentle, other=other: look(gentle, "pagemap", other),
            "ours, sampled": lambda look=look, sampling=sampling: look(sampling, "sampled"),
            "sampled, another": lambda look=look, sampling=sampling, other=other: look(sampling, "sampled", other),
        }
        if os.geteuid():
            del ways["ours, by pagemap"], ways["pagemap, another"]
        worst: dict[str, list[int]] = {name: [] for name in ways}
        for turn in range(ROUNDS + 1):
            for name, work in ways.items():
                waited = worst_wait(words, work)
                if turn:
                    worst[name].append(waited)
        end([pid, other.pid])
        base = [min(worst["numastat -p"]), statistics.median(worst["numastat -p"])]
        print(
            f"{mib} MiB of {'huge' if huge else 'small'} pages: the worst wait in a reading, in the calmest of "
            f"{ROUNDS} (in the middle one, in the worst)"
        )
        for name, values in worst.items():
            low, middle = min(values), statistics.median(values)
            print(
                f"  {name:17} {low / 1e6:7.2f} ms ({middle / 1e6:7.2f} {max(values) / 1e6:7.2f})  "
                f"{low / base[0]:.2f} ({middle / base[1]:.2f}) × numastat -p"
            )


SPARSE = """
import mmap, sys
size, pages = int(sys.argv[1]), int(sys.argv[2])
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
memory.madvise(15)
for number in range(pages):
    memory[size // pages * number] = 1
print("filled", flush=True)
sys.stdin.read()
"""


class WithoutScan(LiveKernel):
    """This Linux as before 6.7."""

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        raise OSError(errno.ENOTTY, "no PAGEMAP_SCAN")


def compare_sparse(tib: int, pages: int) -> None:
    from backend.placement.frame_nodes import read_frame_nodes
    from backend.placement.placement_walk import walk_placement

    command = [sys.executable, "-c", SPARSE, str(tib << 40), str(pages)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took: dict[str, float] = {}
        for name, kernel in (("PAGEMAP_SCAN", LiveKernel()), ("pagemap alone", WithoutScan())):
            frame_nodes = read_frame_nodes(kernel)
            assert frame_nodes is not None, "frames are hidden: run it as root"
            began = time.perf_counter()
            placement = walk_placement(kernel, process.pid, frame_nodes)
            took[name] = time.perf_counter() - began
            assert placement is not None
            assert sum(placement.bytes_by_node.values()) >= pages * mmap.PAGESIZE
        process.kill()
    for name, seconds in took.items():
        print(f"  {name:14} {seconds * 1e3:9.1f} ms  {seconds / took['pagemap alone']:.4f} × pagemap alone")


def main() -> None:
    which, numbers = sys.argv[1] if len(sys.argv) > 1 else "", [int(word) for word in sys.argv[2:]]
    if not shutil.which("numastat"):
        raise SystemExit("numastat is not installed (package numactl)")
    if which == "time":
        compare_time(*(numbers or [300]), *([30] if len(numbers) < 2 else []))
    elif which == "stall":
        compare_stalls(*(numbers or [600]))
    elif which == "sparse":
        compare_sparse(*(numbers or [2]), *([1000] if len(numbers) < 2 else []))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
