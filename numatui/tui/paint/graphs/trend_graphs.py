"""Graphs of the whole machine over time: local share, migrated pages, work of a demo. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from numatui.format import age, count, percent, size
from numatui.tui.model.flows import Flows
from numatui.tui.model.trends import Trends
from numatui.tui.paint import bars
from numatui.tui.paint.cells import FAR, MIXED
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.graphs.graph import Role, titled
from numatui.tui.paint.paint import Piece

_ROWS = 3
"""Least rows of a graph with its heading."""


def trend_graphs(
    trends: Trends, flows: Flows, now: int, width: int, height: int, glyphs: Glyphs
) -> list[list[Piece]]:  # fmt: skip
    """`height` lines of `width` cells: as many graphs, each with a heading, as have room. `now`: nanoseconds of the
    kernel's clock."""
    some: list[tuple[list[Piece], Sequence[float], float, Role]] = [_local(trends)]
    if trends.work:
        some.append(_work(trends, now))
    some.append(_moved(trends, flows, glyphs))
    some = some[: max(1, height // _ROWS)]
    lines: list[list[Piece]] = []
    for index, (heading, values, top, role) in enumerate(some):
        rows = (height - len(lines)) // (len(some) - index)
        lines += titled(heading, values, width, rows, top, role, glyphs)
    return lines


def local_role(share: float | None) -> str:
    return "" if share is None else "far" if share < FAR else "warn" if share < MIXED else "good"


def _local(trends: Trends) -> tuple[list[Piece], Sequence[float], float, Role]:
    now = trends.local[-1] if trends.local else None
    heading: list[Piece] = [("local ", "bold"), (percent(now), local_role(now)), (" of all memory", "dim")]
    if trends.local and min(trends.local) < max(trends.local):
        heading.append((f", {percent(min(trends.local))} to {percent(max(trends.local))} seen", "dim"))
    return heading, trends.local, 1.0, local_role


def _moved(trends: Trends, flows: Flows, glyphs: Glyphs) -> tuple[list[Piece], Sequence[float], float, str]:
    now = trends.moved[-1] if trends.moved else 0.0
    heading: list[Piece] = [("moved ", "bold"), (f"{size(now)}/s" if now >= 1 else "nothing now", "" if now else "dim")]
    for (source, target), rate in sorted(flows.items(), key=lambda one: -one[1])[:2]:
        heading += [("  ", ""), (str(source), f"ink:{source}"), (glyphs.arrow, ""), (str(target), f"ink:{target}"),
                    (f" {size(rate)}/s", "")]  # fmt: skip
    if trends.most and not flows:
        heading.append((f", up to {size(trends.most)}/s", "dim"))
    return heading, trends.moved, trends.most, "accent"


def _work(trends: Trends, now: int) -> tuple[list[Piece], Sequence[float], float, str]:
    work, (best, at) = trends.work[-1], trends.best
    role = work_role(work, best)
    heading: list[Piece] = [
        ("work ", "bold"),
        (f"{count(work)} ops/s", role),
        (f" {_of_best(work, best, now - at)}", "dim"),
    ]
    return heading, trends.work, best, role


def _of_best(work: float, best: float, since: int) -> str:
    """`94% of the best, 3 s ago`. `since`: nanoseconds."""
    when = f", {age(since / 1e9)} ago" if since >= 1_000_000_000 else ""
    return f"{work / best * 100:3.0f}% of the best{when}" if best else ""


def work_line(trends: Trends, now: int, width: int, glyphs: Glyphs) -> list[Piece]:
    """The work of a demo on one line: its course, its last value, and that value relative to the best."""
    work, (best, at) = trends.work[-1], trends.best
    number = f" {count(work):>6} ops/s"
    if width >= 70:
        number = f"{number}, {_of_best(work, best, now - at)}".rstrip(", ").ljust(42)
    role = work_role(work, best)
    line = bars.sparkline(trends.work, max(4, width - len(number) - 8), glyphs, best)
    return [(" work ", "bold"), (line, role), (number, role)]


def work_role(work: float, best: float) -> str:
    return "good" if work >= best * 0.95 else "warn" if work >= best * 0.7 else "far"
