"""What the presets of the migrate screen choose, and how a migration is done."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from backend.machine.topology import Node, Topology
from backend.nodeset import CpuSet
from backend.placement.placement import Placement, VmaPlacement, sum_by_node
from backend.plan.plan import Subject
from backend.plan.planner import make_plan
from numatui.cli.app import command_line
from numatui.cli.move.move_options import options_of, parse_rate
from numatui.tui.model.move_options import BUDGETS, RATES, WORKERS, MoveOptions
from numatui.tui.model.presets import presets
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.model.test_filtering import ROWS

PAGE = 4096
NODES = 5


def topology(free: list[int]) -> Topology:
    nodes = tuple(
        Node(
            one,
            CpuSet([one]) if one < 4 else CpuSet(),
            {"MemTotal": 1 << 30 if one != 3 else 0, "MemFree": amount},
            {other: 10 + 5 * abs(one - other) for other in range(NODES)},
        )
        for one, amount in enumerate(free)
    )
    return replace(TOPOLOGY, nodes=nodes, node_of_cpu={one: one for one in range(4)})


TOPOLOGY = Topology((), {}, CpuSet(), {})
machines = st.lists(st.integers(0, 1 << 29), min_size=NODES, max_size=NODES).map(topology)


def subject(cpu: int, pages: dict[int, int]) -> Subject:
    process = replace(ROWS[0].process, cpu=cpu)
    return Subject(process, Placement((VmaPlacement(0, "default", "heap", pages=pages, end=1 << 30),)))


selections = st.lists(
    st.builds(subject, st.integers(0, 3), st.dictionaries(st.sampled_from([0, 1, 2, 4]), st.integers(1, 9))),
    min_size=1,
    max_size=3,
)


@given(machines, selections, st.integers(0, NODES - 1))
def test_each_preset_can_be_planned_and_does_what_it_says(
    machine: Topology, subjects: list[Subject], node: int
) -> None:
    before = sum_by_node(one.placement.bytes_by_node for one in subjects)
    runs, together, ordered, off = presets(subjects, machine, node)
    for preset in (runs, together, ordered, off):
        assert bool(preset.why_not) != bool(preset.sources and preset.targets)
        assert preset.targets.issubset(machine.memory_ids)
    for preset in (runs, together, ordered, off):
        if preset.why_not:
            continue
        plan = make_plan(subjects, preset.sources, preset.targets, machine)
        after = sum_by_node(one.after for one in plan.processes)
        held = {one for one, amount in after.items() if amount}
        assert sum(after.values()) == sum(before.values())
        if preset is runs:
            assert len({machine.node_of_cpu[one.process.cpu] for one in subjects}) == 1
            assert held == {machine.node_of_cpu[subjects[0].process.cpu]}
        elif preset is together:
            assert len(held) == 1
        elif preset is ordered:
            assert [before[one] for one in preset.sources] == [after[one] for one in preset.targets]
            assert not held & set(preset.sources)
        else:
            assert after.get(node, 0) == 0
            assert sum(before.values()) - before[node] == sum(amount for one, amount in before.items() if one != node)


@given(st.lists(st.sampled_from(["method", "move_all", "confine", "budget", "workers", "max_rate"]), max_size=12))
def test_how_it_is_done_is_the_same_from_a_shell(steps: list[str]) -> None:
    how = MoveOptions()
    for step in steps:
        how = how.other(step)
    assert how.budget in BUDGETS
    assert how.workers in WORKERS
    assert how.max_rate in RATES
    words = how.flags.split()
    given_as = dict(itertools.pairwise(words))
    with ExitStack() as stack:
        options = options_of(
            FakeKernel(), stack, given_as.get("--budget", "100ms"), given_as.get("--workers", "auto")
        )  # fmt: skip
    wanted = how.options(Path("jobs"))
    assert (options.budget, options.workers) == (wanted.budget, wanted.workers)
    assert (given_as.get("--method", "auto"), "--all" in words, "--cpuset" in words) == (
        how.method, how.move_all, how.confine,
    )  # fmt: skip
    assert parse_rate(given_as.get("--max-rate", "0")) == how.max_rate


def test_the_commands_options_are_those_of_migrate() -> None:
    known = {name for option in command_line().commands["migrate"].params for name in option.opts}
    how = MoveOptions("move_pages", True, True, BUDGETS[0], 2, RATES[1])
    assert {word for word in how.flags.split() if word.startswith("--")} <= known
