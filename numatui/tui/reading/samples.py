"""Looks at other samples of a recording than the one that is shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from textual.app import App
from textual.message import Message

from backend.errors import NumatuiError
from backend.kernel import Kernel
from backend.machine.kernel_info import read_or_nothing
from backend.machine.topology import Topology, parse_counters, read_topology
from backend.placement.survey import ProcessRow, Surveyor
from numatui.tui.model.course import Point, order
from numatui.tui.model.groups import overall_local
from numatui.tui.reading.machine import Playback


@dataclass(frozen=True, slots=True)
class SampleRead:
    """A sample as a whole. `migrated`: pages that the kernel has migrated since its start."""

    topology: Topology
    rows: tuple[ProcessRow, ...]
    migrated: int

    @property
    def local(self) -> float | None:
        return overall_local(self.rows)


def read_sample(kernel: Kernel) -> SampleRead:
    """Blocks: do not call it in the UI thread. Raises NumatuiError, OSError."""
    topology = read_topology(kernel)
    counters = parse_counters(read_or_nothing(kernel, "/proc/vmstat"))
    return SampleRead(topology, tuple(Surveyor(kernel, topology).read()), counters.get("pgmigrate_success", 0))


class SamplesReader:
    """Looks at the samples of a recording one after the other and posts each as `Found`, but for the `known` ones. Half
    of the time it rests: it shares a processor with the screen."""

    @dataclass
    class Found(Message):
        """A sample was looked at."""

        number: int
        point: Point

    def __init__(self, recording: Playback, app: App[Any], known: Collection[int] = ()) -> None:
        self._recording, self._app, self._known = recording, app, known
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="numatui-samples", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ends after the sample in progress."""
        self._ended.set()

    def _run(self) -> None:
        for number in order(len(self._recording.samples)):
            if number in self._known:
                continue
            began = time.monotonic()
            point = _point(self._recording.beside(number))
            if self._ended.is_set():
                return
            self._app.post_message(self.Found(number, point))
            if self._ended.wait(time.monotonic() - began):
                return


def _point(kernel: Kernel) -> Point:
    """A damaged sample is one of which nothing is known."""
    try:
        found = read_sample(kernel)
    except (NumatuiError, OSError):
        return Point(None)
    return Point(found.local, found.migrated)
