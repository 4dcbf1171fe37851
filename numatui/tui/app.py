"""The app: themes, keys that work everywhere, and which screen is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.screen import ModalScreen

from backend.kernel import Kernel
from numatui import theming
from numatui.tui.elsewhere import OF_HTOP, why_not
from numatui.tui.keys import bindings
from numatui.tui.palette_app import PaletteApp
from numatui.tui.reading.machine import simulated_time
from numatui.tui.reading.reader import SnapshotRead
from numatui.tui.replay_app import ReplayApp
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.help import HelpScreen
from numatui.tui.screens.job import JobScreen
from numatui.tui.screens.jobs import JobsScreen
from numatui.tui.screens.nodes import NodesScreen
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.state.jobs import ShownJob
from numatui.tui.state.saved_state import SavedState
from numatui.tui.state.state import INTERVALS

_HERE = Path(__file__).parent


class NumatuiApp(PaletteApp, ReplayApp):
    """The app with all screens. `kept`: the state saved by the last session; `interval` and `theme` override it.
    `keys`: the user's key bindings, by name. `notice`: says why this machine was opened; shown once, not at each start.
    `problem`: an error in the configuration, shown at start. `own_themes`: a folder with more themes. `copy`: the
    machine is a copy, which the top line says. `back`: Esc leaves it, where there is nothing else to leave."""

    TITLE = "numatui"
    CSS_PATH: ClassVar = [
        *sorted((_HERE / "widgets").glob("*.tcss")),
        *sorted((_HERE / "screens").rglob("*.tcss")),
    ]
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar = bindings("app")

    def __init__(
        self,
        kernel: Kernel,
        notice: str = "",
        kept: SavedState | None = None,
        interval: float | None = None,
        theme: str | None = None,
        own_themes: Path | None = None,
        problem: str = "",
        keys: Mapping[str, str] | None = None,
        copy: bool = False,
        back: bool = False,
    ) -> None:
        super().__init__(kernel, kept, interval)
        self.is_copy, self.goes_back = copy, back
        self.wanted_keys = keys or {}
        self.notice = notice
        self.problem = problem
        self.warned = False
        self.config_theme = theme
        self.dress(theme or self.kept.theme, own_themes)

    def on_mount(self) -> None:
        self.put_on()
        self.push_screen(ProcessesScreen())
        if self.notice and self.notice != self.kept.notice:
            self.kept = replace(self.kept, notice=self.notice)
            self.tell(self.notice, timeout=6)
        if self.problem:
            self.tell(self.problem, severity="error")

    def cancel_jobs(self) -> None:
        for job in self.jobs:
            job.cancel.set()

    def jobs_run(self) -> bool:
        return any(not job.ended for job in self.jobs)

    def left(self) -> SavedState:
        """The state to save for the next session."""
        theme = self.theme.removeprefix(theming.PREFIX)
        return replace(self.kept, theme=theme, interval=self.interval or self.kept.interval)

    def on_snapshot_read(self, event: SnapshotRead) -> None:
        """Shows the impossible statements of the firmware once, after the first reading."""
        warnings = event.snapshot.topology.warnings
        if warnings and not self.warned:
            first, *others = warnings
            more = f" (and {len(others)} more: numatui doctor)" if others else ""
            self.tell(first + more, title="Topology", severity="warning", timeout=10)
        self.warned = True

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys for simulated time need a kernel that has it; keys for jobs need a job."""
        if action == "speed":
            return simulated_time(self.kernel) is not None
        return bool(self.jobs) if action == "jobs" else super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """Says something of a key that does nothing here. Called before the app looks for its binding."""
        if isinstance(self.screen, ModalScreen) or event.key in self.screen.active_bindings:
            return
        text = OF_HTOP.get(event.key) or why_not(event.key, lambda action: self.check_action(action, ()))
        if text:
            self.tell(text)

    def job_ended(self, job: ShownJob) -> None:
        self.refresh_bindings()
        screen = self.screen
        if not (isinstance(screen, JobScreen) and screen.job is job):
            self.tell(
                job.summary,
                title="Migration",
                severity="information" if job.state == "done" else "warning",
                timeout=10,
            )

    def show_job(self, job: ShownJob) -> None:
        """Replaces the current screen by the screen of a job."""
        self.refresh_bindings()
        self.switch_screen(JobScreen(job))

    def action_jobs(self) -> None:
        if isinstance(self.screen, JobsScreen) or (isinstance(self.screen, JobScreen) and len(self.jobs) == 1):
            return
        if len(self.jobs) == 1:
            self.push_screen(JobScreen(self.jobs[0]))
        else:
            self.push_screen(JobsScreen())

    def action_cgroups(self) -> None:
        from numatui.tui.screens.cgroups import CgroupsScreen

        if not any(isinstance(one, CgroupsScreen) for one in self.screen_stack):
            self.push_screen(CgroupsScreen())

    def action_log(self) -> None:
        from numatui.tui.screens.log import LogScreen

        if not any(isinstance(one, LogScreen) for one in self.screen_stack):
            self.push_screen(LogScreen())

    def action_advice(self) -> None:
        from numatui.tui.screens.advice import AdviceScreen

        if not any(isinstance(one, AdviceScreen) for one in self.screen_stack):
            self.push_screen(AdviceScreen())

    def action_nodes(self) -> None:
        if not any(isinstance(one, NodesScreen) for one in self.screen_stack):
            self.push_screen(NodesScreen())

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            about = getattr(self.screen, "READING", ())
            self.push_screen(HelpScreen(list(self.screen.active_bindings.values()), about))

    def go_back(self) -> None:
        """Esc on the first screen, with nothing to clear."""
        if self.goes_back:
            self.call_later(self.action_quit)

    async def action_quit(self) -> None:
        running = [job for job in self.jobs if not job.ended]
        if not running:
            self.exit(0)
            return
        self.push_screen(
            Question("A migration is running.", [job.title for job in running], "Cancel it and quit"),
            self._quit,
        )

    def _quit(self, yes: bool | None) -> None:
        if yes:
            self.cancel_jobs()
            self.exit(0)

    def action_kernel_threads(self) -> None:
        self._reader.kernel_threads = not self._reader.kernel_threads
        self.read_now(anew=True)

    def action_pause(self) -> None:
        self.paused = not self.paused

    def action_reread(self) -> None:
        self.read_now(anew=True)

    def action_refresh(self, step: int) -> None:
        choices = INTERVALS if step > 0 else INTERVALS[::-1]
        self.interval = next((one for one in choices if (one - self.interval) * step > 0), choices[-1])

    def action_speed(self, step: int) -> None:
        self.set_speed(step)
