"""Taking a job back: what would go back is read first, then asked, then done."""

from __future__ import annotations

from textual.app import App

from backend.files.program import program
from backend.files.text import printable
from backend.plan.plan import Plan
from numatui.format import size
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.state.jobs import ShownJob
from numatui.tui.state.state import StatefulApp


def take_back(app: App[object], name: str, job: ShownJob | None) -> None:
    """`name`: of the job in the journal. `job`: the same, if it is one of this session."""
    assert isinstance(app, StatefulApp)

    def read() -> None:
        from backend.job.undo import plan_undo  # their numpy would slow the start
        from backend.journal.past_jobs import find_job

        try:
            plan = plan_undo(app.kernel, find_job(app.job_directory, name, app.kernel.files))
        except Exception as exc:
            app.call_from_thread(app.tell, problem_of(exc), severity="error")
            return
        app.call_from_thread(_ask, app, plan, job)

    app.run_worker(read, name="undo", group="undo", thread=True, exclusive=True, exit_on_error=False)


def _ask(app: StatefulApp, plan: Plan, job: ShownJob | None) -> None:
    if not plan.bytes and not plan.confinements:
        app.tell("No page is where the job had put it: nothing goes back.")
        return
    command = f"{program(app.kernel)} undo {plan.undoes}" if app.kernel.traits.keeps_jobs else ""

    def confirmed(yes: bool | None) -> None:
        if yes and (job is None or job.can_be_undone):
            app.show_job(app.start_undo(plan, job))

    title = f"Move {size(plan.bytes) if plan.bytes else 'nothing'} back to where it came from?"
    lines = ["only the pages that this job moved, as far as they are still where it put them"]
    lines += [
        f"the cpuset {printable(one.path, 80)} gets the nodes {one.final or 'of the cpuset above'} again"
        for one in plan.confinements
    ]
    lines += [f"! {printable(one.text, 200)}" for one in plan.warnings]
    app.push_screen(Question(title, lines, "Take it back", command, undoable=True), confirmed)
