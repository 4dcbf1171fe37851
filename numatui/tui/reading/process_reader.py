"""Reads one process for the screen: where its memory lies, by VMA, and its threads."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.kernel import Kernel
from backend.machine.topology import Topology
from backend.placement.locate import Locator, Shown, large_from
from backend.placement.numa_maps import read_placement
from backend.placement.placement import Placement
from backend.placement.survey import REST_SHARE
from backend.process.process import Process, Stat, read_process, read_threads
from numatui.tui.reading.reader import problem_of


@dataclass(frozen=True, slots=True)
class ProcessLook:
    """`process`: None if it could not be read; `problem` then says why. `read_at`: when the placement was read,
    nanoseconds of the kernel's clock."""

    process: Process | None
    shown: Shown = field(default_factory=lambda: Shown(Placement(()), ""))
    threads: tuple[Stat, ...] = ()
    read_at: int = 0
    problem: str = ""


class ProcessReader:
    """Looks at one process again and again. A large one is read by pagemap or samples, at most a twentieth of the
    time. Not for two threads at once."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self.kernel, self.process = kernel, process
        self._shown = Shown(Placement(()), "")
        self._due = self._read_at = 0

    def look(self, topology: Topology | None) -> ProcessLook:
        """Never raises: it runs in a thread of the screen. `topology`: None before the first reading."""
        kernel, pid = self.kernel, self.process.pid
        try:
            process = read_process(kernel, pid)
            if process.identity != self.process.identity:
                return ProcessLook(None, problem=f"process {pid} has ended; another has its number now")
            shown = self._placement(process, topology)
            return ProcessLook(process, shown, tuple(read_threads(kernel, pid)), self._read_at)
        except Exception as exc:
            return ProcessLook(None, problem=problem_of(exc))

    def _placement(self, process: Process, topology: Topology | None) -> Shown:
        kernel = self.kernel
        before = kernel.clock()
        if topology is None or process.rss // kernel.page_size <= large_from(kernel):
            self._read_at = before
            return Shown(read_placement(kernel, process.pid, with_maps=True), "numa_maps")
        if not self._shown.way or before >= self._due:
            self._shown = Locator(kernel, topology).show(process)
            self._read_at = kernel.clock()
            self._due = self._read_at + (self._read_at - before) * REST_SHARE
        return self._shown
