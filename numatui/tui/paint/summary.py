"""Summary of a plan for the migrate screen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.files.text import printable
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.plan.plan import Plan
from backend.process.process import Process
from numatui.format import BASIS, duration, size
from numatui.shell import migrate_command
from numatui.tui.model.move_options import MoveOptions
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece


def summary(plan: Plan, width: int, glyphs: Glyphs, plain: bool) -> list[Piece]:
    """Pages, bytes, time, moves, warnings with their remedies, and the placement before and after."""
    rate = f"{size(plan.rate)}/s, {BASIS[plan.rate_basis]}"
    pieces: list[Piece] = [
        (" Moves ", "dim"), (size(plan.bytes) if plan.bytes else "nothing", "bold"),
        (f"  {plan.pages:,} pages", ""), (f"  in about {duration(plan.seconds)}" if plan.bytes else "", ""),
        (f"  ({rate})" if plan.bytes else "", "dim"),
        (f"  stall {duration(plan.stall)}" if plan.bytes else "", "warn" if plan.stall > 0.5 else "dim"), ("\n", ""),
    ]  # fmt: skip
    by_move: dict[tuple[int, int], int] = {(move.source, move.target): 0 for move in plan.moves}
    for one in plan.processes:
        for move in one.moves:
            by_move[move.source, move.target] = by_move.get((move.source, move.target), 0) + move.bytes
    for (source, target), amount in by_move.items():
        pieces += [
            (f" {source}{glyphs.arrow}{target}", f"ink:{source}"),
            (f" {size(amount)}  ", "" if amount else "dim"),
        ]
    pieces.append(("\n" if by_move else " every source stays where it is\n", "dim"))
    for warning in plan.warnings:
        pieces += [("\n ! ", "far"), (printable(warning.text, 400), "warn")]
        if warning.fix:
            pieces.append(("\n     " + printable(warning.fix, 400), "dim"))
    pieces.append(("\n" if plan.warnings else "", ""))
    for one in plan.processes:
        if one.moves:
            pieces += before_after(
                one.process, one.runs_on, [("now", one.before), ("then", one.after)], width, glyphs, plain
            )
    return pieces


def before_after(
    process: Process,
    here: int | None,
    states: Sequence[tuple[str, Mapping[int, int]]],
    width: int,
    glyphs: Glyphs,
    plain: bool,
) -> list[Piece]:
    """A process with a bar for each named state, and the bytes of each node in the first and last state."""
    room = max(10, min(80, width - 12))
    pieces: list[Piece] = [
        (f"\n {process.pid} ", "bold"), (printable(process.command, max(10, width - 12)) + "\n", ""),
    ]  # fmt: skip
    for name, amounts in states:
        pieces.append((f" {name:>6}  ", "dim"))
        pieces += bars.placement(amounts, here, room, glyphs, plain) if amounts else [("it has ended", "dim")]
        pieces.append(("\n", ""))
    first, last = states[0][1], states[-1][1]
    used = width
    for node in NodeSet([*first, *last]):
        change = f"{size(first.get(node, 0))} {glyphs.arrow} {size(last.get(node, 0))}   "
        if used + len(change) + 4 > width:
            pieces.append(("\n         " if used < width else "         ", ""))
            used = 9
        used += len(change) + len(str(node)) + 1
        pieces += [(f"{node} ", f"ink:{node}"), (change, "")]
    return [*pieces, ("\n", "")]


def command_line(plan: Plan, kernel: Kernel, how: MoveOptions) -> str:
    """The shell command with the same effect, on the same machine."""
    pids = [one.process.pid for one in plan.processes]
    vma = f"--vma {plan.within[0]:x} " if plan.within is not None else ""
    return migrate_command(kernel, pids, plan.sources, plan.targets, vma + how.flags)
