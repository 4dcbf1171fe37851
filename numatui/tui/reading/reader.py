"""Reads the kernel in one thread, one reading at a time, and posts the result as a message."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.message import Message

from backend.advice.observing import Observation, ObservationHistory
from backend.errors import NumatuiError, describe_oserror
from backend.kernel import Capabilities, Kernel, helped, read_ahead
from backend.machine.activity import Activity, Meter
from backend.machine.kernel_info import balancing, release
from backend.machine.load import Load, read_load
from backend.machine.psi import pressures
from backend.machine.topology import FILES, Topology, read_topology
from backend.placement.survey import STATS, ProcessRow, Surveyor
from backend.process.process import Identity
from numatui.tui.model.extent import Extent, extent_of
from numatui.tui.model.flows import FlowMeter, Flows
from numatui.tui.model.groups import overall_local
from numatui.tui.model.history import Moment, PlacementHistory
from numatui.tui.reading.machine import Playback

if TYPE_CHECKING:
    from backend.recording.kernel import RecordedKernel

_LOOK_BACK = 0.3
"""Seconds spent on the samples before one that a recording has jumped to."""
_MOST_BACK = 60
THROUGHPUT = "/proc/numatui/throughput"
_EVERY_TIME = (*FILES, *STATS)


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that do not change while the screen is open. `helped`: a helper lets the user do more."""

    release: str
    uid: int
    privileged: bool
    can: Capabilities = field(default_factory=dict)
    helped: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading. `throughput`: operations a second by pid, None if the kernel does not report them. `observations`:
    each process up to now. `history`: its placement over time. `at`: nanoseconds of the kernel's clock. `local`: share
    of all memory that is where its process runs. `activity`: load of the nodes. `extent`: column widths.
    `load`: of this host, None for another machine. `flows`: pages that move between nodes. `pressure`: share of time in
    which tasks waited, for memory, cpu, io; empty where the kernel does not tell."""

    facts: Facts
    topology: Topology
    rows: tuple[ProcessRow, ...]
    throughput: dict[int, float] | None
    balancing: bool
    observations: Mapping[Identity, Observation] = field(default_factory=dict[Identity, Observation])
    history: Mapping[Identity, tuple[Moment, ...]] = field(default_factory=dict[Identity, tuple[Moment, ...]])
    at: int = 0
    local: float | None = None
    activity: Activity = field(default_factory=Activity)
    extent: Extent | None = None
    load: Load | None = None
    flows: Flows = field(default_factory=dict[tuple[int, int], float])
    pressure: Mapping[str, float] = field(default_factory=dict[str, float])

    def migrated(self, page_size: int) -> float:
        """Bytes a second that the kernel has migrated, on the whole machine."""
        return self.activity.machine.get("pgmigrate_success", 0.0) * page_size


@dataclass
class SnapshotRead(Message):
    """A reading has succeeded. `before`: what was read of the samples before, after a recording has jumped."""

    snapshot: Snapshot
    before: tuple[Snapshot, ...] = ()


@dataclass
class ReadFailed(Message):
    """A reading has failed. `error`: one line."""

    error: str


class Reader:
    """Reads on request, in a thread. Requests during a reading are merged into one. The thread is a daemon, so a file
    that never answers blocks neither the screen nor its end."""

    def __init__(self, kernel: Kernel, app: App[Any]) -> None:
        self.kernel = kernel
        self.app = app
        self._facts: Facts | None = None
        self._surveyor: Surveyor | None = None
        self._seen = ObservationHistory()
        self._meter = Meter()
        self._history = PlacementHistory()
        self._flows = FlowMeter()
        self._view: RecordedKernel | None = None
        """A recording at the sample that is read: others may look at another meanwhile."""
        self._at = -1
        self._wanted = threading.Event()
        self._ended = False
        self._anew = False
        self.kernel_threads = False
        self._thread = threading.Thread(target=self._run, name="numatui-reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, anew: bool = False) -> None:
        """Requests a reading. `anew`: includes large processes, which are otherwise read less often."""
        self._anew = self._anew or anew
        self._wanted.set()

    def end(self) -> None:
        """Ends the thread after the current reading."""
        self._ended = True
        self._wanted.set()

    def read(self) -> list[Snapshot]:
        """Reads everything once. Of a recording that has jumped, the samples before come first: what is measured
        between two readings is then known at once. One that plays goes on, though it may leave samples out. Raises
        NumatuiError, OSError."""
        if not isinstance(self.kernel, Playback):
            return [self._read(self.kernel)]
        self.kernel.settle()
        at = self.kernel.at
        if self._view is None:
            self._view = self.kernel.beside(at)
        if at == self._at:
            return [self._read(self._view)]
        out: list[Snapshot] = []
        if at != self._at + 1 and (at < self._at or not self.kernel.speed):
            self._forget()
            out = self._before(self._view, at)
        self._at = at
        return [*out, self._read_at(self._view, at)]

    def _before(self, view: RecordedKernel, at: int) -> list[Snapshot]:
        """Some samples before one, as many as are read in `_LOOK_BACK` seconds."""
        if not at:
            return []
        began = time.monotonic()
        last = self._read_at(view, at - 1)
        each = max(1e-3, time.monotonic() - began)
        first = max(0, at - 1 - min(_MOST_BACK, int(_LOOK_BACK / each)))
        if first == at - 1:
            return [last]
        self._forget()
        return [self._read_at(view, number) for number in range(first, at)]

    def _read_at(self, view: RecordedKernel, number: int) -> Snapshot:
        view.seek(number)
        view.settle()
        self._anew = True
        return self._read(view)

    def _read(self, kernel: Kernel) -> Snapshot:
        if self._facts is None:
            uid, privileged = kernel.credentials()
            self._facts = Facts(release(kernel), uid, privileged, kernel.capabilities(), bool(helped(kernel)[0]))
        near = read_ahead(kernel, "refresh", _EVERY_TIME)
        topology = read_topology(near)
        if self._surveyor is None:
            self._surveyor = Surveyor(kernel, topology)
        self._surveyor.topology = topology
        self._surveyor.kernel_threads = self.kernel_threads
        if self._anew:
            self._anew = False
            self._surveyor.expire()
        rows = tuple(self._surveyor.read(kernel=near))
        now = kernel.clock()
        observations, history = self._seen.add(now, rows), self._history.add(now, rows)
        activity = self._meter.read(near, topology, now)
        snapshot = Snapshot(
            self._facts,
            topology,
            rows,
            read_throughput(near),
            balancing(near),
            observations,
            history,
            now,
            overall_local(rows),
            activity,
            extent_of(rows),
            read_load(kernel),
            pressure=pressures(near),
        )
        return replace(snapshot, flows=self._flows.add(now, rows, snapshot.migrated(kernel.page_size)))

    def _forget(self) -> None:
        """Drops what was seen so far, because a recording has jumped."""
        self._surveyor = None
        self._seen, self._meter, self._history = ObservationHistory(), Meter(), PlacementHistory()
        self._flows = FlowMeter()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ended:
                return
            try:
                *before, snapshot = self.read()
                message: Message = SnapshotRead(snapshot, tuple(before))
            except Exception as exc:
                message = ReadFailed(problem_of(exc))
            if not self._ended:
                self.app.post_message(message)


def problem_of(exc: Exception) -> str:
    """One line for any exception in a thread, so that no thread dies unnoticed."""
    if isinstance(exc, NumatuiError):
        return str(exc)
    if isinstance(exc, OSError):
        return f"the kernel cannot be read: {describe_oserror(exc)}"
    return f"unexpected {type(exc).__name__}: {exc}"


def read_throughput(kernel: Kernel) -> dict[int, float] | None:
    """Parses lines of `pid operations_per_second`. None if the file does not exist."""
    try:
        raw = kernel.read(THROUGHPUT)
    except OSError:
        return None
    out: dict[int, float] = {}
    for line in raw.split(b"\n"):
        words = line.split()
        try:
            out[int(words[0])] = max(0.0, float(words[1]))
        except (IndexError, ValueError):
            continue
    return out
