"""Drivers of the measured rows of mbind, set_mempolicy and get_mempolicy."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from backend.kernel import Mode
from tests.emulator.oracle.oracle_rig import MODES, Row, drives, me_with, nodes_in
from tests.emulator.rig import PAGE, Me


@drives(r"mbind (\w+)\|(0x\w+) then touch")
def mbind_then_touch(row: Row, mode: str, flags: str) -> Row:
    me = me_with(size=12)
    result = me.mbind(me.vma, MODES[mode] | int(flags, 16), row["getpol"][2])
    where = me.touch(me.vma)
    return {"ret": result, "where": where, "line": me.line(me.vma), "getpol": me.get(me.vma.start, 2)}


@drives("mbind local")
def mbind_local(row: Row) -> Row:
    me = me_with(size=12)
    result = me.mbind(me.vma, Mode.LOCAL, [])
    me.touch(me.vma)
    return {"ret": result, "line": me.line(me.vma), "getpol": me.get(me.vma.start, 2)}


@drives(r"mbind (bind|interleave) (\[.*\]) MOVE over resident pages")
def mbind_moves(row: Row, mode: str, nodes: str) -> Row:
    """Interleaving goes by the page's offset, cut to 32 bits: the range begins at one that is like the measured one."""
    me = me_with({0: 16})
    offset = int(row["line"].split()[0], 16) // PAGE
    first = next(n for n in range(3) if (_cut(me.vma.pgoff + n) - _cut(offset)) % 3 == 0)
    result = me.mbind(me.vma, MODES[mode], nodes_in(nodes), 2, first=first, count=12)
    vma = next(vma for vma in me.task.mm.vmas if vma.policy)
    return {"ret": result, "where": me.where(vma), "line": me.line(vma)}


def _cut(offset: int) -> int:
    return offset & 0xFFFF_FFFF


@drives(r"mbind bind \[1\] (STRICT over misplaced|MOVE_ALL\|STRICT over pages mapped twice)")
def mbind_strict(row: Row, how: str) -> Row:
    me = me_with({0: 12})
    if "twice" in how:
        me.fork()
    result = me.mbind(me.vma, Mode.BIND, [1], 5 if "MOVE_ALL" in how else 1)
    return {"ret": result, "where": me.counted(me.vma)}


@drives(
    r"(mbind|set_mempolicy) (bind|default|local|prefer|interleave) (empty mask|empty|with nodes|absent "
    r"7|\{1,7\}|\{1,2\})"
)
def arguments(row: Row, call: str, mode: str, which: str) -> Row:
    me = me_with(size=4)
    nodes = [1] if which == "with nodes" else nodes_in(which)
    if call == "mbind":
        return {"ret": me.mbind(me.vma, MODES[mode], nodes)}
    return {"ret": me.set(MODES[mode], nodes), "get": me.get()}


@drives("mbind (unaligned addr|unmapped range|bad flags)")
def mbind_refusals(row: Row, which: str) -> Row:
    me = me_with(size=4)
    start = {"unaligned addr": me.vma.start + 1, "unmapped range": 0x10000}.get(which, me.vma.start)
    return {"ret": me.mbind_at(start, PAGE, Mode.BIND, [1], 64 if which == "bad flags" else 0)}


def under_policy(row: Row, mode: str, nodes: list[int], pages: int) -> tuple[Me, Any]:
    """A mapping of which `pages` are touched under the policy, after those that it had in the measured line already."""
    counts = {int(node): int(count) for node, count in re.findall(r"N(\d+)=(\d+)", row["line"])}
    before = sum(counts.values()) - pages
    me = me_with({1: before} if before else {}, before + pages)
    assert me.set(MODES[mode], nodes) == 0
    return me, me.touch(me.vma, first=before)[before:]


@drives(r"set_mempolicy (\w+) (\[.*\]) then touch")
def set_then_touch(row: Row, mode: str, nodes: str) -> Row:
    me, where = under_policy(row, mode, nodes_in(nodes), len(row["where"]))
    address = me.vma.end - PAGE * len(where)
    return {
        "where": where, "line": me.line(me.vma), "get": me.get(), "getaddr": me.get(address, 2),
        "getnode": me.get(address, 3),
    }  # fmt: skip


@drives(r" then migrate_pages all->1 under (\w+)")
def migrate_under_policy(row: Row, mode: str) -> Row:
    me, touched = under_policy(row, mode, row["get"][2], 8)
    result = me.migrate([0, 1, 2, 3], [1])
    where = Counter(str(node) for node in me.where(me.vma)[-len(touched) :])
    return {"res": result, "where": dict(where), "get": me.get(), "line": me.line(me.vma)}


@drives("get_mempolicy (MEMS_ALLOWED|F_NODE only|addr without flag)")
def get_arguments(row: Row, which: str) -> Row:
    me = me_with({0: 1})
    address, flags = {"MEMS_ALLOWED": (0, 4), "F_NODE only": (0, 1)}.get(which, (me.vma.start, 0))
    return {"res": me.get(address, flags)}
