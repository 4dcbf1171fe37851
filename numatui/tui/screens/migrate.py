"""The migrate screen: chooses sources and targets, shows the plan, and starts the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Button, Input, Label, Static

from backend.cpuset.confinement import confinements
from backend.errors import NumatuiError
from backend.files.text import printable
from backend.job.planning import read_sharers
from backend.job.together import plan_one, plan_together
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.placement import VmaPlacement, sum_by_node
from backend.placement.reader import PlacementReader
from backend.plan.conditions import Conditions, read_conditions
from backend.plan.plan import Confinement, Plan, Subject
from backend.process.process import Process, read_process
from numatui.format import size
from numatui.shell import migrate_command
from numatui.tui.key_table import KEYS
from numatui.tui.keys import bindings
from numatui.tui.model.draft import Draft, drafted, likely_conditions
from numatui.tui.model.move_options import MoveOptions
from numatui.tui.model.presets import each_to_where_it_runs, presets, proposal, run_nodes
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint
from numatui.tui.paint.summary import command_line, summary
from numatui.tui.reading.reader import Snapshot, problem_of
from numatui.tui.screens.dialogs.chooser import Chooser
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.together import TogetherScreen, total_line
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.node_map import NodeMap, Side
from numatui.tui.widgets.short_input import ShortInput


@dataclass
class SubjectsRead(Message):
    """The placement of the selection, one line for each process that could not be read, and the conditions. `sharers`:
    by pid, the other processes that map its pages on `sources`, if these pages move too.
    `confinements`: the cpusets that are narrowed to `targets`, if they are."""

    subjects: list[Subject]
    problems: list[str]
    conditions: Conditions
    sharers: dict[int, list[tuple[int, str]]]
    sources: NodeSet
    confinements: list[Confinement]
    targets: NodeSet


_EACH = "each"
"""The choice among the suggestions that moves each process to a node of its own."""


_WITH_KEYS = 100
"""Cells of the screen from which each option has its key before it."""


class _Option(Button, can_focus=False):
    """For the mouse; each has a key too. Without focus, Enter stays with what the footer says."""


class MigrateScreen(TogetherScreen):
    """For one process or several. `sources`, `targets`: preselected nodes. `vma`: only this mapping of one process."""

    BINDINGS: ClassVar = bindings("migrate")

    READING: ClassVar = (
        ("arrows", "as the kernel will move: the n-th source goes to the (n modulo number of targets)-th target"),
        ("bars", "sources: what the selection has there; targets: how full the node is, and will be"),
        (
            "call",
            "the longest that one call of the kernel should take: a cancel waits for it; the process runs on "
            "meanwhile, but where it touches what is on its way",
        ),
        ("stall", "how long it then waits at a time, as bench has measured it or as other kernels were seen to"),
        ("cpuset", "their cpuset is narrowed to the targets too: new pages go there, and all who share it move"),
        ("shared", "pages that others map too stay, unless you say that they move (root)"),
    )  # fmt: skip

    def __init__(
        self,
        processes: Sequence[Process],
        sources: NodeSet | None = None,
        targets: NodeSet | None = None,
        vma: VmaPlacement | None = None,
    ) -> None:
        super().__init__()
        self.vma = vma
        self.within = (vma.start, vma.end or vma.start + 1) if vma is not None else None
        self.processes = list(processes)
        self.wanted = None if sources is None or targets is None else (sources, targets)
        self.subjects: list[Subject] | None = None
        self.problems: list[str] = []
        self.sources = NodeSet()
        self.targets = NodeSet()
        self.how = MoveOptions()
        self.conditions = Conditions()
        self.sharers: dict[int, list[tuple[int, str]]] = {}
        self._shared_on = NodeSet()
        """The nodes that `sharers` was read for."""
        self.confinements: list[Confinement] = []
        self._confined_to = NodeSet()
        """The nodes that `confinements` was read for."""
        self.plan: Plan | None = None
        self._reading = False
        self._set_errors: dict[str, str] = {}
        """Errors in the text of fields, by the field's id. There is no plan while there is an error."""

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static(id="title", markup=False)
        with Horizontal(id="sets"):
            yield Label("From")
            yield ShortInput(id="from", compact=True, max_length=200, placeholder="nodes, as 0-1,3")
            yield Label("To")
            yield ShortInput(id="to", compact=True, max_length=200, placeholder="nodes, as 2 or !0")
            yield _Option("Start", id="begin", variant="primary", compact=True)
        with Horizontal(id="how"):
            for what, text in self.how.labels.items():
                yield _Option(text, id=what, compact=True)
        yield Static(id="error", markup=False)
        yield NodeMap(id="map")
        with VerticalScroll(id="below", can_focus=False):
            yield Static(id="summary", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(NodeMap).focus()
        self._label()
        self.watch(self.app, "snapshot", self._snapshot)

    def on_resize(self) -> None:
        self._label()

    @property
    def snapshot(self) -> Snapshot | None:
        return state_of(self).snapshot

    def _snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None and not self._reading:
            self._reading = True
            self._read()

    @work(thread=True, group="subjects", exit_on_error=False)
    def _read(self) -> None:
        kernel, snapshot, sources, targets = state_of(self).kernel, self.snapshot, self.sources, self.targets
        placements = PlacementReader(kernel)
        subjects: list[Subject] = []
        problems: list[str] = []
        for known in self.processes:
            try:
                process = read_process(kernel, known.pid)
                if process.identity != known.identity:
                    problems.append(f"process {known.pid} has ended; another has its number now")
                    continue
                subjects.append(Subject(process, placements.read(process).within(self.within)))
            except NumatuiError as exc:
                problems.append(exc.what)
            except Exception as exc:
                problems.append(f"{known.pid}: {problem_of(exc)}")
        conditions = Conditions()
        sharers: dict[int, list[tuple[int, str]]] = {}
        narrowed: list[Confinement] = []
        try:
            if snapshot is not None:
                conditions = read_conditions(kernel, snapshot.topology, self.how.method)
            if self.how.move_all:
                sharers = read_sharers(kernel, subjects, sources)
            if self.how.confine and targets:
                narrowed = confinements(kernel, [one.process for one in subjects], targets)
        except Exception as exc:
            problems.append(problem_of(exc))
        self.post_message(SubjectsRead(subjects, problems, conditions, sharers, sources, narrowed, targets))

    def on_subjects_read(self, event: SubjectsRead) -> None:
        self._reading = False
        first = self.subjects is None
        self.subjects, self.problems = event.subjects, event.problems
        self.conditions, self.sharers, self._shared_on = event.conditions, event.sharers, event.sources
        self.confinements, self._confined_to = event.confinements, event.targets
        snapshot = self.snapshot
        if first and snapshot is not None:
            self.sources, self.targets = self.wanted or proposal(self.subjects, snapshot.topology)
            self._write_sets()
        self._title()
        self._replan()
        self._read_sharers()
        if first:
            self.query_one(NodeMap).point_at(self.sources)

    def _title(self) -> None:
        subjects = self.subjects or []
        total = sum(sum(one.placement.bytes_by_node.values()) for one in subjects)
        if len(self.processes) == 1:
            process = subjects[0].process if subjects else self.processes[0]
            name = f"{process.pid} {printable(process.command, max(10, self.size.width - 36))}"
        else:
            name = f"{len(subjects)} processes: " + " ".join(str(one.process.pid) for one in subjects[:12])
        pieces = [(" Migrate ", "dim"), (name, "bold"), (f"  {size(total)}", "accent")]
        if self.vma is not None:
            pieces.insert(1, (f"{self.vma.kind} at {self.vma.start:x} of ", "accent"))
        self.query_one("#title", Static).update(Paint.of(self.app).text(pieces))

    def _replan(self) -> None:
        """Plan what is chosen now, and draw it."""
        snapshot, subjects = self.snapshot, self.subjects
        if snapshot is None or subjects is None:
            return
        topology, state = snapshot.topology, state_of(self)
        draft = Draft(
            self.sources,
            self.targets,
            self.how,
            self.within,
            likely_conditions(self.conditions, topology, [job.rate for job in state.jobs if job.ended]),
            self.sharers if self._shared_on == self.sources else {},
            self.confinements if self._confined_to == self.targets and self.how.confine else (),
            "; ".join(self._set_errors.values()),
        )
        self.plan, error = drafted(draft, subjects, topology, snapshot.facts.release, state.kernel.page_size)
        self._draw(subjects, topology, error)

    def _draw(self, subjects: list[Subject], topology: Topology, error: str) -> None:
        amounts = sum_by_node(one.placement.bytes_by_node for one in subjects)
        running = NodeSet(run_nodes(subjects, topology))
        node_map = self.query_one(NodeMap)
        node_map.show(topology, amounts, running, self.sources, self.targets, self.plan)
        node_map.styles.height = len(topology.nodes) + 1
        self._error("; ".join([*self.problems, *([error] if error else [])]))
        width = max(20, self.size.width - 2)
        pieces = summary(self.plan, width, glyphs(), self.app.no_color) if self.plan is not None else []
        self.query_one("#summary", Static).update(Paint.of(self.app).text(pieces))

    def _chosen(self) -> None:
        """Other nodes were chosen."""
        self._replan()
        self._read_sharers()

    def _read_sharers(self) -> None:
        """Who shares the pages depends on the sources, and what a cpuset needs on the targets: read again when they are
        others than at the last reading."""
        sharers = self.how.move_all and self._shared_on != self.sources
        cpusets = self.how.confine and self._confined_to != self.targets
        if sharers or cpusets:
            self._snapshot(self.snapshot)

    def _error(self, text: str) -> None:
        self.query_one("#error", Static).update(
            Paint.of(self.app).text([(" " + printable(text, 400), "warn")] if text else [])
        )

    def _label(self) -> None:
        for what, text in self.how.labels.items():
            button = self.query_one(f"#{what}", Button)
            button.label = _labelled(what, text) if self.size.width >= _WITH_KEYS else text
            button.refresh(layout=True)

    def _write_sets(self) -> None:
        self._set_errors.clear()
        with self.prevent(Input.Changed):
            self.query_one("#from", Input).value = str(self.sources)
            self.query_one("#to", Input).value = str(self.targets)

    def on_node_map_toggled(self, event: NodeMap.Toggled) -> None:
        one = NodeSet([event.node])
        chosen = self.sources if event.side == "from" else self.targets
        chosen = chosen - one if event.node in chosen else chosen | one
        if event.side == "from":
            self.sources = chosen
        else:
            self.targets = chosen
        self._write_sets()
        self._chosen()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.snapshot is None:
            return
        nodes = self.snapshot.topology.ids
        try:
            if not event.value.strip():
                chosen = NodeSet()
            elif event.input.id == "from":
                chosen = NodeSet.parse(event.value, nodes)
            else:
                chosen = NodeSet.parse(event.value, nodes, same=self.sources)
        except NumatuiError as exc:
            self._set_errors[str(event.input.id)] = str(exc)
            self._replan()
            return
        self._set_errors.pop(str(event.input.id), None)
        if event.input.id == "from":
            self.sources = chosen
        else:
            self.targets = chosen
        self._chosen()

    def on_input_submitted(self) -> None:
        self.query_one(NodeMap).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "begin":
            self.action_start()
        else:
            self.action_how(str(event.button.id))

    def action_how(self, what: str) -> None:
        """Switch to the next choice and read again what it changes."""
        self.how = self.how.other(what)
        self._label()
        self._replan()
        if what in ("method", "move_all", "confine"):
            self._snapshot(self.snapshot)

    def action_presets(self) -> None:
        if self.snapshot is None or self.subjects is None:
            return
        node_map = self.query_one(NodeMap)
        node = node_map.nodes[node_map.cursor].id if node_map.nodes else 0
        found = presets(self.subjects, self.snapshot.topology, node)
        each = each_to_where_it_runs(self.subjects, self.snapshot.topology) if len(self.subjects) > 1 else []
        choices = [(str(number), one.text) for number, one in enumerate(found)]
        if each and self.within is None:
            choices.insert(0, (_EACH, f"{'each to where it runs':<42} {len(each)} processes, in one job"))

        def chosen(number: str | None) -> None:
            if number is None:
                return
            if number == _EACH:
                self._each(each)
                return
            preset = found[int(number)]
            if preset.why_not:
                state_of(self).tell(f"{preset.title}: {preset.why_not}", severity="warning")
                return
            self.sources, self.targets = preset.sources, preset.targets
            self._write_sets()
            self._chosen()

        self.app.push_screen(Chooser("Move", choices), chosen)

    def _each(self, wanted: Sequence[tuple[Process, NodeSet, NodeSet]]) -> None:
        """Each process to its own node, as one job."""
        kernel = state_of(self).kernel
        plans = [partial(plan_one, kernel, *one) for one in wanted]
        commands = [migrate_command(kernel, [one.pid], sources, targets) for one, sources, targets in wanted]
        self.ask_together(lambda: plan_together(kernel, plans), " ; ".join(commands))

    def action_edit(self, side: Side) -> None:
        self.query_one(f"#{side}", Input).focus()

    def action_swap(self) -> None:
        self.sources, self.targets = self.targets, self.sources
        self._write_sets()
        self._chosen()

    def action_leave(self) -> None:
        if not isinstance(self.focused, Input):
            self.dismiss(None)
            return
        self.query_one(NodeMap).focus()
        if self._set_errors:
            # What is wrong is dropped: the field has the nodes that are chosen again.
            self._write_sets()
            self._chosen()

    def action_start(self) -> None:
        state = state_of(self)
        plan = self.plan
        if not state.kernel.traits.writable:
            state.tell("A recording can be looked at but not changed.", title="Nothing was moved", severity="warning")
        elif self.how.confine and self._confined_to != self.targets:
            state.tell("The cpuset is still being read.", severity="warning")
        elif self._set_errors:
            state.tell(next(iter(self._set_errors.values())), severity="warning")
        elif plan is None or not (plan.bytes or plan.confinements):
            state.tell("There is nothing to move between these nodes.", severity="warning")
        else:
            how, command = self.how, command_line(plan, state.kernel, self.how)
            title = (
                f"Move {size(plan.bytes)} while "
                f"{'the process runs' if len(plan.processes) == 1 else 'the processes run'}?"
            )
            warned = [total_line(plan, state.snapshot), *(f"! {printable(one.text, 200)}" for one in plan.warnings)]

            def confirmed(yes: bool | None) -> None:
                """Start the plan that the user confirmed, even if a newer one was read since."""
                if yes:
                    state.show_job(state.start_job(plan, how, command))

            self.app.push_screen(Question(title, warned, "Migrate", command, undoable=True), confirmed)


def _labelled(what: str, text: str) -> str:
    """An option behind the key that changes it."""
    key = next(key.keys for key in KEYS["migrate"] if key.action == f"how('{what}')")
    return f"{key} {text}"
