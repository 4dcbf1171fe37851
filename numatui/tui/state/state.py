"""State that all screens share: kernel, last reading, jobs. Widgets watch its reactives."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any

from textual import work
from textual.dom import DOMNode
from textual.reactive import var
from textual.screen import Screen
from textual.timer import Timer

from backend.job.options import Options
from backend.kernel import Kernel
from backend.plan.plan import Plan
from backend.process.process import Identity
from numatui.tui.dressed_app import DressedApp
from numatui.tui.model.course import Course
from numatui.tui.model.move_options import MoveOptions
from numatui.tui.model.node_history import NodeHistory
from numatui.tui.model.trends import Trends
from numatui.tui.reading.machine import other_speed, simulated_time
from numatui.tui.reading.moved import read_moved
from numatui.tui.reading.reader import Reader, ReadFailed, Snapshot, SnapshotRead
from numatui.tui.state.actions import Actions
from numatui.tui.state.closed_watchers import forget_closed, forget_subscribers
from numatui.tui.state.jobs import JobEnded, JobProgress, ShownJob, migration, undoing
from numatui.tui.state.saved_state import SavedState

_COLLECT_AFTER = (20_000, 20, 100)
"""Arguments of `gc.set_threshold`. Python 3.11 has (700, 10, 10); each collection holds the screen up."""
# Seconds between readings that the keys offer.
INTERVALS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class StatefulApp(DressedApp):
    """Reads the kernel every `interval` seconds (0: only on request) and runs jobs. `kept`: the saved state.
    Reactives: `snapshot`: the last reading. `stalled`: seconds that a late reading has taken so far, else 0.
    `job_ticks`: grows with every progress of a job. `speed`: simulated seconds a second. `error`: why the last reading
    failed. `moved`: last move of each process by numatui, as text. Of a recording: `course`: all its samples, as far as
    they are known; `course_ticks` grows with it; `marked`: the sample that others are compared with, or -1."""

    snapshot = var[Any](None, always_update=True)
    interval: var[float] = var(1.0)
    paused: var[bool] = var(False)
    stalled: var[int] = var(0)
    job_ticks: var[int] = var(0)
    speed: var[float] = var(1.0)
    error: var[str] = var("")
    moved: var[dict[Identity, str]] = var(dict[Identity, str])
    course_ticks: var[int] = var(0)
    marked: var[int] = var(-1)

    def __init__(self, kernel: Kernel, kept: SavedState | None = None, interval: float | None = None) -> None:
        super().__init__()
        self.kernel = kernel
        self.is_copy = False
        self.kept = kept or SavedState()
        interval = self.kept.interval if interval is None else interval
        self.jobs: list[ShownJob] = []
        self.node_history, self.trends = NodeHistory(), Trends()
        self.actions = Actions()
        self.course: Course | None = None
        # An assignment would call watchers before the app runs (Textual: DOMNode.set_reactive).
        self.set_reactive(StatefulApp.interval, interval)
        self._reader = Reader(kernel, self)
        self._asked_at: float | None = None
        self._read_at = 0.0
        self._next: Timer | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.left_at: float | None = None
        """Simulated seconds a second when the screen was left; None before."""
        self.comes_back = False
        """This machine is shown again after a copy of it: what was done here is kept."""

    def on_mount(self) -> None:
        self._reader.start()
        self.read_now()
        self._read_moved()
        self.set_interval(1.0, self._look_after)

    def on_unmount(self) -> None:
        self._reader.end()
        for job in self.jobs:
            job.cancel.set()
        if self._folder is not None and all(job.ended for job in self.jobs) and not self.comes_back:
            self._folder.cleanup()

    def go_on_from(self, before: StatefulApp) -> None:
        """Takes over what another app did on the same machine, before a copy of it was looked at: jobs and their
        journals, log, what was seen."""
        self.jobs, self.actions, self._folder = before.jobs, before.actions, before._folder
        self.node_history, self.trends = before.node_history, before.trends
        self.course, self.left_at = before.course, before.left_at
        self.set_reactive(StatefulApp.marked, before.marked)
        self.set_reactive(StatefulApp.speed, before.speed)

    @work(thread=True, group="moved", exclusive=True, exit_on_error=False)
    def _read_moved(self) -> None:
        """Reads the journals. A demo has only its own."""
        if self._folder is not None or self.kernel.traits.keeps_jobs:
            found = read_moved(self.kernel, self.job_directory)
            self.call_from_thread(setattr, self, "moved", found)

    @property
    def job_directory(self) -> Path:
        """The folder of the journals; that of a demo is deleted when the app ends."""
        if self.kernel.traits.keeps_jobs:
            return self.kernel.files.jobs_dir()
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="numatui-demo-")
        return Path(self._folder.name) / "jobs"

    def read_now(self, anew: bool = False) -> None:
        """Requests a reading, unless one is in progress. `anew`: a reading of all processes, also of those that are
        read less often; it follows a reading in progress."""
        if self._asked_at is None or anew:
            self._asked_at = time.monotonic()
            self._reader.ask(anew)

    def _look_after(self) -> None:
        forget_closed(self)
        forget_subscribers(self)
        if self._asked_at is not None:
            late = int(time.monotonic() - self._asked_at)
            self.stalled = late if late >= 3 else 0

    def watch_interval(self) -> None:
        self._plan_next()

    def watch_paused(self) -> None:
        self._plan_next()

    def _plan_next(self) -> None:
        """The next reading: `interval` seconds after the last one has ended."""
        if self._next is not None:
            self._next.stop()
            self._next = None
        if self.is_running and self.interval and not self.paused and self._asked_at is None:
            # A timer of 0 s never fires (Textual: a division by zero in its task).
            self._next = self.set_timer(max(0.001, self._read_at + self.interval - time.monotonic()), self.read_now)

    def on_snapshot_read(self, event: SnapshotRead) -> None:
        """After the first reading, the long-lived objects (code, an emulated machine) exist. They are frozen: a full
        garbage collection over them would block the screen for 0.1 s."""
        self._asked_at, self._read_at, self.stalled = None, time.monotonic(), 0
        self._plan_next()
        self.error = ""
        first = self.snapshot is None
        if not first and (event.before or event.snapshot.at < self.snapshot.at):
            self.node_history, self.trends = NodeHistory(), Trends()
        for snapshot in (*event.before, event.snapshot):
            self._remember(snapshot)
        self.snapshot = event.snapshot
        if first:
            self.call_after_refresh(_collect_seldom)

    def _remember(self, snapshot: Snapshot) -> None:
        self.node_history.add(snapshot.topology, snapshot.activity)
        work = sum(snapshot.throughput.values()) if snapshot.throughput else None
        self.trends.add(snapshot.at, snapshot.local, snapshot.migrated(self.kernel.page_size), work)

    def on_read_failed(self, event: ReadFailed) -> None:
        self._asked_at, self._read_at, self.stalled = None, time.monotonic(), 0
        self._plan_next()
        if event.error != self.error:
            self.error = event.error
            self.tell(event.error, severity="error")

    def start_job(self, plan: Plan, how: MoveOptions, command: str = "") -> ShownJob:
        """Runs a plan in a worker. A demo writes its journal to a folder that is deleted with the app."""
        options = how.options(self.job_directory)
        return self._begin(migration(self.kernel, plan, options, len(self.jobs) + 1, command))

    def start_undo(self, plan: Plan, job: ShownJob | None) -> ShownJob:
        """Takes a job back, in a worker. `job`: that job, if it is one of this session."""
        options = Options(journal_dir=self.job_directory)
        return self._begin(undoing(self.kernel, plan, options, len(self.jobs) + 1, job))

    def _begin(self, job: ShownJob) -> ShownJob:
        self.jobs.append(job)
        job.action = self.actions.record(job.title, job.command)
        self.job_ticks += 1
        self.run_worker(
            lambda: job.run(self.post_message), name=job.title, group="jobs", thread=True, exit_on_error=False
        )
        return job

    def on_job_progress(self, _: JobProgress) -> None:
        self.job_ticks += 1

    def on_job_ended(self, event: JobEnded) -> None:
        if event.job.action is not None:
            event.job.action.result = event.job.summary.removeprefix(f"{event.job.title}: ")
        self.job_ticks += 1
        self._read_moved()
        self.read_now(anew=True)
        self.job_ended(event.job)

    def job_ended(self, job: ShownJob) -> None:
        """Hook: a job has ended."""

    def show_job(self, job: ShownJob) -> None:
        """Hook: a job was started."""

    def go_back(self) -> None:
        """Hook: Esc was pressed where there is nothing to clear."""

    def back_to(self, screen: Screen[Any]) -> None:
        """Closes all screens above `screen`."""
        while self.screen is not screen and screen in self.screen_stack:
            self.pop_screen()

    def set_speed(self, step: int) -> None:
        """Makes simulated time faster or slower; 0 stops or continues it."""
        clock = simulated_time(self.kernel)
        if clock is None:
            return
        if step:
            clock.speed = other_speed(clock.speed or self.speed, step)
            self.speed = clock.speed
        else:
            clock.speed = 0.0 if clock.speed else self.speed or 1.0
            # `self.speed` keeps the speed to continue with; watchers must still see the stop.
            self.mutate_reactive(StatefulApp.speed)


def _collect_seldom() -> None:
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def state_of(node: DOMNode) -> StatefulApp:
    """The app that a widget or screen belongs to."""
    app = node.app
    assert isinstance(app, StatefulApp)
    return app
