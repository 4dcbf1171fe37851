"""The processes to show, their order, and which are tagged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backend.placement.survey import ProcessRow
from backend.process.process import Identity
from numatui.process_tree import Branch, as_tree
from numatui.tui.model.extent import Extent, extent_of
from numatui.tui.model.filtering import Filter
from numatui.tui.model.groups import Grouping, GroupRow, as_groups
from numatui.tui.model.scale import Scale

if TYPE_CHECKING:
    from numatui.tui.paint.glyphs import Glyphs

SMALL = 16 << 20
"""Bytes. A process with less resident memory is small; this hides shells and small daemons."""
Order = Callable[[ProcessRow], Any]


@dataclass
class Listing:
    """`tree`: children stand below their parents. `grouping`: groups with sums instead of single processes.
    `hide_small`: processes below `SMALL` are hidden. `turned`: rows whose fold is not the default (tree rows open,
    groups closed). `followed`: the process that the cursor stays on. `moved`: last move by numatui, as text. `scale`:
    of the bars; `largest`: the most memory of a row. `fitting`: rows that fit the filter; `small`: how
    many of them are hidden."""

    rows: Sequence[ProcessRow] = ()
    extent: Extent = field(default_factory=lambda: extent_of(()))
    filter: Filter = field(default_factory=Filter)
    sort: str = "rss"
    descending: bool = True
    tree: bool = False
    grouping: Grouping = ""
    hide_small: bool = False
    tagged: set[Identity] = field(default_factory=set[Identity])
    turned: set[Identity] = field(default_factory=set[Identity])
    followed: Identity | None = None
    moved: Mapping[Identity, str] = field(default_factory=dict[Identity, str])
    branches: dict[Identity, Branch[ProcessRow]] = field(default_factory=dict[Identity, Branch[ProcessRow]])
    scale: Scale = "size"
    small: int = 0
    fitting: int = 0
    largest: int = 0
    _numbers: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def folds(self) -> bool:
        """Whether rows can be opened and closed."""
        return self.tree or bool(self.grouping)

    def read(self, rows: Sequence[ProcessRow], extent: Extent | None = None) -> None:
        """Takes a new reading. Tags and folds of processes that have ended are dropped."""
        self.rows = rows
        self.extent = extent or extent_of(rows)
        if not (self.tagged or self.turned or self.followed):
            return
        there = {row.process.identity for row in rows}
        self.tagged &= there
        self.turned = {one for one in self.turned if one.pid < 0 or one in there}
        if self.followed not in there:
            self.followed = None

    def view(self, order: Order | None) -> list[ProcessRow]:
        """The rows to show. Rows without a value come last in both directions; equal rows ascend by pid. Sets
        `fitting` (rows that match the filter) and `small` (how many of them are hidden)."""
        rows = [row for row in self.rows if self.filter.fits(row)] if self.filter.terms else list(self.rows)
        self.fitting = len(rows)
        if self.hide_small:
            rows = [row for row in rows if row.resident >= SMALL or row.process.identity == self.followed]
        self.small = self.fitting - len(rows)
        self.largest = self.extent.largest if not self.filter.terms else max((row.resident for row in rows), default=0)
        if self.grouping:
            return self._grouped(rows, order)
        if self.tree:
            return self._hung(self._sorted(self._with_ancestors(rows), order))
        self.branches = {}
        return self._sorted(rows, order)

    def toggle(self, row: ProcessRow) -> None:
        """Tags a process or a whole group, or removes the tags."""
        some = {one.process.identity for one in members_of(row)}
        self.tagged = self.tagged - some if some <= self.tagged else self.tagged | some

    def is_tagged(self, row: ProcessRow) -> bool:
        """A group is tagged if all its members are."""
        return bool(self.tagged) and all(one.process.identity in self.tagged for one in members_of(row))

    def hangs_below(self, row: ProcessRow) -> bool:
        """Whether the row has children."""
        branch = self.branches.get(row.process.identity)
        return branch is not None and bool(branch.children)

    def fold(self, row: ProcessRow, close: bool) -> bool:
        """Opens or closes a row. Returns False if nothing changed."""
        identity = row.process.identity
        branch = self.branches.get(identity)
        if branch is None or not branch.children or branch.folded == close:
            return False
        self.turned ^= {identity}
        return True

    def chosen(self, current: ProcessRow | None) -> list[ProcessRow]:
        """The tagged processes; without tags, the process or group under the cursor."""
        tagged = [row for row in self.rows if row.process.identity in self.tagged]
        return tagged or ([] if current is None else members_of(current))

    def prefix(self, row: ProcessRow, glyphs: Glyphs) -> str:
        """Text before a name: the lines of the tree and the sign for open or closed."""
        branch = self.branches.get(row.process.identity)
        if branch is None:
            return ""
        lines = "".join(f"{glyphs.lines[3]} " if more else "  " for more in branch.more[1:-1])
        if branch.more:
            lines += glyphs.lines[11] if branch.more[-1] else glyphs.lines[9]
        return lines + ("+ " if branch.folded else "- " if self.grouping and branch.children else " ")

    def _sorted(self, rows: Sequence[ProcessRow], order: Order | None) -> list[ProcessRow]:
        if order is None:
            return list(rows)
        values = [order(row) for row in rows]
        having = [place for place, value in enumerate(values) if value is not None]
        having.sort(key=values.__getitem__, reverse=self.descending)
        out = [rows[place] for place in having]
        if len(out) < len(rows):
            out += [row for value, row in zip(values, rows, strict=True) if value is None]
        return out

    def _with_ancestors(self, rows: list[ProcessRow]) -> list[ProcessRow]:
        """Adds the ancestors of `rows` that the filter had removed."""
        if len(rows) == len(self.rows):
            return rows
        by_pid = {row.process.pid: row for row in self.rows}
        kept = {row.process.pid for row in rows}
        for row in rows:
            parent = by_pid.get(row.process.ppid)
            while parent is not None and parent.process.pid not in kept:
                kept.add(parent.process.pid)
                parent = by_pid.get(parent.process.ppid)
        return [row for row in self.rows if row.process.pid in kept]

    def _hung(self, rows: list[ProcessRow]) -> list[ProcessRow]:
        branches = as_tree(
            rows,
            lambda row: row.process.pid,
            lambda row: row.process.ppid,
            lambda row: row.process.identity in self.turned,
        )
        return self._take(branches)

    def _grouped(self, rows: list[ProcessRow], order: Order | None) -> list[ProcessRow]:
        branches: list[Branch[ProcessRow]] = []
        heads = list(as_groups(rows, self.grouping, self._numbers))
        self.largest = max((head.resident for head in heads), default=0)
        for head in self._sorted(heads, order):
            some = members_of(head)
            close = head.process.identity not in self.turned
            branches.append(Branch(head, (), len(some), close))
            if not close:
                members = self._sorted(some, order)
                branches += [Branch(row, (place < len(members) - 1,)) for place, row in enumerate(members)]
        return self._take(branches)

    def _take(self, branches: list[Branch[ProcessRow]]) -> list[ProcessRow]:
        self.branches = {branch.row.process.identity: branch for branch in branches}
        return [branch.row for branch in branches]


def members_of(row: ProcessRow) -> list[ProcessRow]:
    """The members of a group, or the process itself."""
    return list(row.members) if isinstance(row, GroupRow) else [row]
