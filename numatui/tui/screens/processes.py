"""The main screen: the nodes on top, all processes below."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Static

from backend.files.text import printable
from backend.machine.psi import PRESSING
from backend.placement.survey import ProcessRow
from backend.process.process import Identity, Process
from numatui.format import percent, size
from numatui.tui.elsewhere import HTOP_LEGEND
from numatui.tui.keys import bindings
from numatui.tui.model.filtering import with_word
from numatui.tui.model.listing import SMALL
from numatui.tui.paint.columns import CHOICES, DEFAULT
from numatui.tui.paint.machine_map import FORMS
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import Snapshot
from numatui.tui.screens.dialogs.chooser import Chooser, SeveralChooser
from numatui.tui.screens.heat import HeatScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.screens.process_control import ProcessControl
from numatui.tui.state.state import state_of
from numatui.tui.widgets.detail_pane import WIDE, DetailPane
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.node_panel import NodePanel
from numatui.tui.widgets.process_table import ProcessTable
from numatui.tui.widgets.short_input import ShortInput
from numatui.tui.widgets.table import Table
from numatui.tui.widgets.time_line import TimeLine

_LEAST_PRESSURE = 0.01
"""Share of time in which tasks waited, from which on it is told."""
_HINTS = {
    "filter": "text, user:web, node:2, on:2, cgroup:/db, local<50, rss>1G, swap>0, !not …",
    "search": "text or filter: the cursor goes there; F3 to the next, Enter ends",
}


class ProcessesScreen(ProcessControl):
    """The first screen; it opens the process and migrate screens."""

    BINDINGS: ClassVar = bindings("processes")

    READING: ClassVar = (
        (
            "map",
            "a box for each node: memory by use (a anonymous, f files, s shared or kernel, h hugetlb, k kernel, o "
            "other), free memory, CPU load; on a link its distance, heavier is nearer; beads are pages that move",
        ),
        (
            "refault",
            "pages a second that came back to a node after its memory was short; out, miss: as on the nodes screen",
        ),
        ("waiting for", "share of the last ten seconds in which some task waited for memory, a CPU, a disk"),
        ("work", "of a demo: what all its processes get done, beside the most that was seen so far"),
        ("CPU@N", "the CPU that a process last ran on, and the node of that CPU"),
        (
            "LOCAL",
            "the share of its memory where it runs; ! marks less than half, red that this is over a hundredth of the "
            "machine's memory, ~ an estimate",
        ),
        (
            "PLACEMENT",
            "where its memory lies, as long as it is large (B: other scales): each segment begins with its node's "
            "number; where the process runs it is bright, elsewhere dim",
        ),
        (
            "filter",
            "words that all have to fit, in pid, user or command; ! before one turns it round, quotes keep spaces",
        ),
        ("", "user:web   match:ora_*   regex:^java   unit:nginx   cgroup:/db   pid:1,2   min:100M"),
        ("", "pod:UID   vm:NAME   cpuset:/db   policy:bind   state:D"),
        ("", "node:2 has memory there   on:0-1 runs there"),
        ("", "local<50   rss>1G   far>100M   swap>0   threads>8   cpu>50   cost>1.5   n2>500M"),
        (
            "threads × memory",
            "rows: where threads run, columns: where memory lies, as shares of all accesses; the shade is what is lost",
        ),
        ("digits", "go to the process with that pid"),
        ("htop", HTOP_LEGEND),
    )

    def __init__(self) -> None:
        super().__init__()
        self.editing = ""
        self.sought = ""
        self._status_shown: list[Piece] = []
        self.with_detail = True
        self._came_from = ("", "")
        self._wrong = ""

    def compose(self) -> ComposeResult:
        yield Header()
        yield NodePanel(id="nodes")
        yield TimeLine(id="time-line")
        with Horizontal(id="bar"):
            yield Static(id="status", markup=False)
            yield Static("/", id="slash", markup=False)
            yield ShortInput(id="filter", compact=True, max_length=400)
            yield Static(id="wrong", markup=False)
        with Horizontal(id="body"):
            yield ProcessTable(id="table")
            yield DetailPane(id="detail")
        yield KeyFooter()

    def on_mount(self) -> None:
        kept, table = state_of(self).kept, self.table
        table.chosen_columns = kept.columns
        listing = table.listing
        listing.sort, listing.descending, listing.scale = kept.sort, kept.descending, kept.scale
        listing.tree, listing.grouping, listing.hide_small = kept.tree, kept.grouping, kept.hide_small
        self.query_one(NodePanel).become(kept.panel)
        self.with_detail = kept.detail
        self._edit("")
        table.focus()
        self.watch(self.app, "snapshot", self._show)
        self.watch(self.app, "error", self._status)
        self.watch(self.app, "moved", self._show_moved)
        self.app.theme_changed_signal.subscribe(self, self._repaint)

    def _repaint(self, _: object) -> None:
        self._status_shown = []
        self._status()

    @property
    def table(self) -> ProcessTable:
        return self.query_one(ProcessTable)

    @property
    def filter_text(self) -> str:
        return self.table.listing.filter.text

    def filter_by(self, text: str, back: str = "") -> None:
        """Shows only the processes that match the filter. `back`: the action that Esc then does: the way to where the
        user came from."""
        if self.editing == "filter":
            self.query_one(Input).value = text
        self.table.filter(text)
        self._came_from = (back, text)

    def _keep(self) -> None:
        """Puts the state of this screen into the saved state."""
        listing, app = self.table.listing, state_of(self)
        app.kept = replace(
            app.kept,
            columns=self.table.chosen_columns,
            scale=listing.scale,
            sort=listing.sort,
            descending=listing.descending,
            tree=listing.tree,
            grouping=listing.grouping,
            hide_small=listing.hide_small,
            panel=self.query_one(NodePanel).form,
            detail=self.with_detail,
        )

    def _show(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self.table.update(snapshot.rows, snapshot.topology, snapshot.extent)
            self.query_one(DetailPane).show(self.table.current, again=True)
            self._status()

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out(event.size.width)

    def _lay_out(self, width: int) -> None:
        """The detail pane where there is room for it."""
        pane = self.query_one(DetailPane)
        pane.display = self.with_detail and width >= WIDE
        pane.show(self.table.current)

    def on_process_table_moved(self) -> None:
        self.query_one(DetailPane).show(self.table.current)

    def _show_moved(self, moved: dict[Identity, str]) -> None:
        self.table.listing.moved = moved
        self.table.arrange()

    def on_process_table_changed(self) -> None:
        self.query_one(DetailPane).show(self.table.current)
        self._keep()
        self._status()

    def on_process_table_followed_gone(self, event: ProcessTable.FollowedGone) -> None:
        state_of(self).tell(f"process {event.identity.pid}, which you followed, has ended")

    def _status(self, *_: object) -> None:
        listing = self.table.listing
        total, text = len(listing.rows), listing.filter.text
        pieces: list[Piece] = [
            (f" {listing.fitting} of {total}" if text else f" {total}", "bold"),
            (" process" if total == 1 else " processes", "dim"),
        ]
        if listing.grouping:
            pieces.append((f" by {listing.grouping}", ""))
        if self.query_one(NodePanel).form == "off":
            pieces.append(("  nodes hidden (#)", "dim"))
        if listing.small:
            pieces.append((f"  {listing.small} below {size(SMALL)} hidden (H)", "warn"))
        pieces += _waiting(state_of(self).snapshot)
        if state_of(self).error:
            pieces = [(" " + printable(state_of(self).error, 400), "far")]
        if listing.tagged:
            pieces.append((f"  {len(listing.tagged)} tagged", "tag"))
        if listing.followed is not None:
            pieces.append((f"  following {listing.followed.pid} (F)", "accent"))
        if text:
            pieces += [("  filter ", "dim"), (printable(text, 200), "accent"), ("  Esc clears", "dim")]
        pieces += [(f"  {problem}", "warn") for problem in listing.filter.problems[:1]]
        if pieces != self._status_shown:
            self._status_shown = pieces
            # The line has a fixed size; a layout of the whole screen is slow (Textual: Static.update).
            self.query_one("#status", Static).update(Paint.of(self.app).text(pieces), layout=False)

    def on_table_opened(self, event: Table.Opened) -> None:
        self.app.push_screen(ProcessScreen(event.row.process))

    def action_migrate(self) -> None:
        rows = self.table.chosen()
        if not rows:
            state_of(self).tell("no process to migrate", severity="warning")
            return
        self.app.push_screen(MigrateScreen([row.process for row in rows]))

    def controlled(self) -> list[Process]:
        return [row.process for row in self.table.chosen()]

    def action_heat(self) -> None:
        row = self.query_one(ProcessTable).current
        if row is not None:
            self.app.push_screen(HeatScreen(row.process))

    def action_edit(self, what: str) -> None:
        self._edit(what)

    def action_search(self, step: int) -> None:
        """Asks for a text, as in htop; while it is typed, goes to the next match. What was sought before is there,
        selected: a letter replaces it."""
        if self.editing != "search":
            self._edit("search")
        elif self.sought and not self.table.find(self.sought, step):
            state_of(self).tell(f"nothing fits {self.sought}", severity="warning")

    def action_user(self) -> None:
        users: dict[str, list[ProcessRow]] = {}
        for row in self.table.listing.rows:
            users.setdefault(row.process.user, []).append(row)
        if users:
            choices = [
                (
                    name,
                    f"{printable(name, 32):<16} {_processes(len(rows))}  {size(sum(one.resident for one in rows)):>5}",
                )
                for name, rows in sorted(users.items())
            ]
            self.app.push_screen(Chooser("Processes of", [("", "all users"), *choices]), self._of_user)

    def _of_user(self, user: str | None) -> None:
        if user is not None:
            self.filter_by(with_word(self.filter_text, "user", user))

    def action_choose_sort(self) -> None:
        columns = [(column.id, column.title) for column in self.table.sortable()]
        choices = [(one, f"{title:<10} {CHOICES.get(one, '')}") for one, title in columns]
        if choices:
            self.app.push_screen(Chooser("Sort by", choices, self.table.listing.sort), self._sort)

    def _sort(self, column: str | None) -> None:
        if column is not None:
            self.table.sort_by(column)

    def action_choose_columns(self) -> None:
        choices = [(one, f"{one:<10} {about}") for one, about in CHOICES.items()]
        chosen = self.table.chosen_columns
        self.app.push_screen(SeveralChooser("Columns, where there is room", choices, chosen, DEFAULT), self._columns)

    def _columns(self, chosen: tuple[str, ...] | None) -> None:
        if chosen is not None:
            self.table.chosen_columns = chosen
            self.table.arrange()

    def action_clear(self) -> None:
        """Clears one thing at a time, in this order: typed text, filter, following, tags."""
        table = self.table
        if self.editing == "search":
            self._edit("")
        elif self.editing or self.filter_text:
            back, text = self._came_from
            there = back if text == self.filter_text and not self.editing else ""
            self._edit("")
            self.filter_by("")
            if there:
                self.call_later(self.run_action, f"app.{there}")
        elif table.listing.followed is not None:
            table.action_follow()
        elif table.listing.tagged:
            table.action_untag()
        else:
            state_of(self).go_back()

    def action_panel(self) -> None:
        """Map, lines, nothing; on a screen without room for the map: lines, nothing."""
        panel = self.query_one(NodePanel)
        shown = panel.form if panel.grid is not None or panel.form == "off" else "lines"
        panel.become(FORMS[(FORMS.index(shown) + 1) % len(FORMS)])
        self._keep()
        self._status()

    def action_detail(self) -> None:
        if self.size.width < WIDE:
            state_of(self).tell(f"details stand beside the table from {WIDE} columns on; Enter opens the process")
            return
        self.with_detail = not self.with_detail
        self._lay_out(self.size.width)
        self._keep()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.editing == "filter":
            self.table.filter(event.value)
            self._tell_problem()
        elif self.editing == "search":
            self.sought = event.value
            found = not event.value or self.table.find(event.value)
            self.query_one("#slash", Static).update("search" if found else "nothing fits")
            self.query_one("#bar").set_class(not found, "in-vain")

    def _tell_problem(self) -> None:
        """What is wrong with the filter, beside where it is typed."""
        problems = self.table.listing.filter.problems if self.editing == "filter" else ()
        wrong = problems[0] if problems else ""
        if wrong != self._wrong:
            # A change of it lays the screen out again, which is slow.
            self._wrong = wrong
            label = self.query_one("#wrong", Static)
            label.display = bool(wrong)
            label.update(wrong)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self.editing) if action == "edited" else True

    def action_edited(self) -> None:
        """Ends typing. The binding has priority, because `Input` handles Enter itself."""
        self._edit("")

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        if isinstance(event.widget, Input) and self.editing:
            self._edit("", focus=False)

    def _edit(self, what: str, focus: bool = True) -> None:
        """Shows the input line for `filter` or `search` in place of the status; an empty `what` shows the status."""
        self.editing = what
        field = self.query_one(Input)
        self.query_one("#bar").set_class(bool(what), "editing")
        self.query_one("#bar").remove_class("in-vain")
        field.can_focus = bool(what)
        self._tell_problem()
        if what:
            self.query_one("#slash", Static).update("/" if what == "filter" else "search")
            with field.prevent(Input.Changed):
                field.value = self.filter_text if what == "filter" else self.sought
            field.placeholder = _HINTS[what]
            field.cursor_position = len(field.value)
            if what == "search":
                field.action_select_all()
        if focus:
            self.set_focus(field if what else self.table)


def _waiting(snapshot: Snapshot | None) -> list[Piece]:
    """What tasks wait for, if some do (the kernel's pressure stall information)."""
    some = [] if snapshot is None else [one for one in snapshot.pressure.items() if one[1] >= _LEAST_PRESSURE]
    told = ", ".join(f"{name} {percent(share)}" for name, share in some)
    short = any(name == "memory" and share >= PRESSING for name, share in some)
    return [("  waiting for ", "dim"), (told, "far" if short else "")] if told else []


def _processes(count: int) -> str:
    return f"{count:>5} process{'  ' if count == 1 else 'es'}"
