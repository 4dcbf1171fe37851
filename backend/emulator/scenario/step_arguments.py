"""Parsers of step arguments, by key. They check names against the scenario and raise ParseError."""

from __future__ import annotations

import re
from collections.abc import Callable

from backend.emulator.mm import mempolicy
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.scenario.step import Known, Pages
from backend.files.yaml_reader import Value
from backend.kernel import MoveFlag
from backend.nodeset import CpuSet, NodeSet

MOVES = {"none": 0, "own": int(MoveFlag.MOVE), "all": int(MoveFlag.MOVE_ALL)}
"""Values of `move:` of mbind → MPOL_MF_ flags."""


def _nodes(value: Value, known: Known) -> NodeSet:
    return value.through(lambda text: NodeSet.parse(text, known.nodes))


def _pages(value: Value, known: Known) -> Pages:
    match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", value.text().strip())
    if not match or int(match[2] or match[1]) < int(match[1]):
        value.fail("is not a page or a range of pages", "write it like 0-99")
    return int(match[1]), int(match[2] or match[1])


def _cpu(value: Value, known: Known) -> int:
    cpu = value.integer()
    if cpu not in known.cpus:
        value.fail(f"there is no CPU {cpu}")
    return cpu


def _cpus(value: Value, known: Known) -> CpuSet:
    chosen = value.through(CpuSet.parse_list)
    if not chosen.issubset(CpuSet(known.cpus)):
        value.fail(f"there is no CPU {chosen - CpuSet(known.cpus)}")
    return chosen


def _node(value: Value, known: Known) -> int:
    node = value.integer()
    if node not in known.nodes:
        value.fail(f"there is no node {node}", f"the nodes are {known.nodes}")
    return node


def _policy(value: Value, known: Known) -> Mempolicy:
    return value.through(lambda text: mempolicy.parse(text, known.nodes))


def _file(value: Value, known: Known) -> str:
    path = value.text()
    if path not in known.files:
        value.fail(f"there is no file '{value.text(200)}'", f"there are {', '.join(known.files) or 'none'}")
    return path


def _move(value: Value, known: Known) -> str:
    if value.text() not in MOVES:
        value.fail(f"must be one of {', '.join(MOVES)}")
    return value.text()


def _caller(value: Value, known: Known) -> int | str:
    return value.integer(0, 1 << 31) if value.text().isdigit() else value.text()


ARGUMENTS: dict[str, Callable[[Value, Known], object]] = {
    "from": _nodes,
    "to": _nodes,
    "mems": _nodes,
    "node": _node,
    "cpu": _cpu,
    "cpus": _cpus,
    "policy": _policy,
    "move": _move,
    "pages": _pages,
    "file": _file,
    "as": _caller,
    "all": lambda value, known: value.truth(),
    "memory_migrate": lambda value, known: value.truth(),
    "strict": lambda value, known: value.truth(),
    "wait": lambda value, known: value.truth(),
    "write": lambda value, known: value.truth(),
    "block": lambda value, known: value.integer(0, 1 << 20),
    "thread": lambda value, known: value.integer(0, 4095),
    "value": lambda value, known: value.integer(0, 1 << 48),
    "for": lambda value, known: value.seconds(),
    "size": lambda value, known: value.size(),
    "child": lambda value, known: value.text(15),
    "cpuset": lambda value, known: value.text(255),
    "data": lambda value, known: value.text(),
    "path": lambda value, known: value.text(),
    "region": lambda value, known: value.text(),
}
