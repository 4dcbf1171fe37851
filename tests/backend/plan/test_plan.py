"""Plans: what they predict and what they warn of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NotFound, UsageError
from backend.machine.memory_tiers import read_tiers
from backend.machine.psi import memory_pressure
from backend.machine.topology import HugePool, Node, Topology
from backend.nodeset import CpuSet, NodeSet
from backend.placement.placement import Placement, VmaPlacement
from backend.plan.conditions import Conditions
from backend.plan.plan import Plan, Subject
from backend.plan.plan_warnings import policy_agrees
from backend.plan.planner import make_plan
from backend.plan.remap import Move, expected_after, landing, remaining, remap, rule_of
from backend.process.process import Identity, Process
from backend.recording.kernel import RecordedKernel

MIB = 1 << 20


def topology(free: int = 100 * MIB, cpuless: int | None = None, memoryless: int | None = None) -> Topology:
    nodes = tuple(
        Node(
            n,
            CpuSet() if n == cpuless else CpuSet([n]),
            {} if n == memoryless else {"MemTotal": 1 << 30, "MemFree": free},
            {m: 10 + 10 * abs(n - m) for m in range(4)},
        )
        for n in range(4)
    )
    return Topology(nodes, {n: n for n in range(4)}, CpuSet(), dict.fromkeys(range(4), 256))


def process(cpu: int = 0, swap: int = 0, mems: str = "0-3") -> Process:
    return Process(
        Identity(7, 1),
        1,
        "x",
        "x",
        0,
        "root",
        "S",
        1,
        cpu,
        0,
        swap,
        None,
        NodeSet.parse_list(mems),
        "/",
        is_kernel_thread=False,
    )


def vma(pages: dict[int, int], policy: str = "default", mapmax: int = 1) -> VmaPlacement:
    return VmaPlacement(0x1000, policy, "anon", "", 4096, pages, {"mapmax": mapmax})


def huge(pages: int) -> VmaPlacement:
    return VmaPlacement(0x200000, "default", "huge", "", 2 * MIB, {0: pages})


def plan(subject: Subject, sources: list[int], targets: list[int], where: Topology | None = None, **options) -> Plan:
    return make_plan([subject], NodeSet(sources), NodeSet(targets), where or topology(), **options)


def codes(made: Plan) -> set[str]:
    return {warning.code for warning in made.warnings}


def test_pages_bytes_room_and_time() -> None:
    made = plan(Subject(process(), Placement((vma({0: 10, 1: 5}),))), [0, 1], [2, 3])
    assert [(m.source, m.target) for m in made.moves] == [(0, 2), (1, 3)]
    assert (made.pages, made.bytes) == (15, 15 * 4096)
    assert made.processes[0].after == {2: 10 * 4096, 3: 5 * 4096}
    assert [room.incoming for room in made.room] == [10 * 4096, 5 * 4096]
    assert made.seconds > 0
    assert codes(made) == {"farther"}


def test_a_target_that_is_emptied_first_has_that_room_too() -> None:
    made = plan(Subject(process(), Placement((vma({0: 20_000, 1: 20_000}),))), [0, 1], [1, 2], topology(free=90 * MIB))
    room = {one.node: one for one in made.room}
    assert room[1].after == 90 * MIB
    assert room[1].enough
    assert room[2].enough


@pytest.mark.parametrize(
    ("subject", "options", "where", "code"),
    [
        (Subject(process(), Placement(())), {}, None, "nothing-to-move"),
        (Subject(process(3), Placement((vma({0: 30_000}),))), {}, None, "room"),
        (Subject(process(3), Placement((vma({0: 3}, "bind:0"),))), {}, None, "policy"),
        (Subject(process(3), Placement((vma({0: 3}, "interleave:0-3"),))), {}, None, "spread"),
        (Subject(process(3, mems="0-1"), Placement((vma({0: 3}),))), {}, None, "cpuset"),
        (Subject(process(3), Placement((vma({0: 3}, mapmax=2),))), {}, None, "shared"),
        (Subject(process(3), Placement((vma({0: 3}, mapmax=2),))), {"move_all": True}, None, "shared-moves"),
        (
            Subject(process(3), Placement((vma({0: 3}, mapmax=2),))),
            {"method": "migrate_pages", "conditions": Conditions(privileged=True)},
            None,
            "shared-moves",
        ),
        (Subject(process(3, swap=9), Placement((vma({0: 3}),))), {}, None, "swap"),
        (Subject(process(3), Placement((vma({0: 3}),))), {"conditions": Conditions(balancing=True)}, None, "balancing"),
        (Subject(process(3), Placement((vma({0: 3}),))), {"method": "migrate_pages"}, None, "stall"),
        (Subject(process(0), Placement((vma({0: 3}),))), {}, topology(cpuless=3), "cpuless"),
        (Subject(process(0), Placement((vma({0: 3}),))), {}, None, "farther"),
        (Subject(process(3), Placement((huge(3),))), {}, None, "huge-pool"),
        (Subject(process(3), Placement((vma({0: 3}),))), {"conditions": Conditions(tiers={0: 4, 3: 8})}, None, "tier"),
        (Subject(process(3), Placement((vma({0: 3}),))), {"conditions": Conditions(pressure=0.2)}, None, "pressure"),
        (
            Subject(process(3), Placement((vma({0: 3}),))),
            {"conditions": Conditions(balancing=True, tiering=True, tiers={0: 4, 3: 8})},
            None,
            "balancing",
        ),
        (
            Subject(process(3), Placement((vma({0: 3}),))),
            {"conditions": Conditions(demotion=True, tiers={0: 8, 3: 4})},
            None,
            "demotion",
        ),
    ],
)
def test_warnings_have_stable_codes(subject: Subject, options: dict, where: Topology | None, code: str) -> None:
    made = plan(subject, [0], [3], where, **options)
    assert code in codes(made)
    assert all(warning.text and "\n" not in warning.text for warning in made.warnings)


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        Conditions(tiers={0: 8, 3: 4}),
        Conditions(tiers={3: 4}),
        Conditions(pressure=0.05),
        Conditions(balancing=True, tiering=True, tiers={0: 8, 3: 4}),
        Conditions(demotion=True, tiers={0: 4, 3: 4}),
    ],
)
def test_no_warning_without_a_reason(conditions: Conditions) -> None:
    assert not plan(Subject(process(3), Placement((vma({0: 3}),))), [0], [3], conditions=conditions).warnings


@pytest.mark.parametrize(("free", "enough"), [(2, False), (3, True)])
def test_hugetlb_pages_need_their_pool_and_no_free_memory(free: int, enough: bool) -> None:
    where = topology(free=MIB)
    nodes = [replace(node, huge_pools=(HugePool(2 * MIB, 9, free, 0),)) for node in where.nodes]
    made = plan(Subject(process(3), Placement((huge(3),))), [0], [3], replace(where, nodes=tuple(nodes)))
    assert made.bytes == 6 * MIB
    assert made.room[0].incoming == 0
    assert made.room[0].huge_pages == {2 * MIB: 3}
    assert codes(made) == (set() if enough else {"huge-pool"})


def test_who_else_maps_what_moves_is_named_and_made_harmless() -> None:
    others = [(5, "worker\x1b[31m"), (6, "b"), (8, "c"), (9, "d")]
    made = plan(Subject(process(3), Placement((vma({0: 3}, mapmax=5),))), [0], [3], move_all=True, sharers={7: others})
    (warning,) = made.warnings
    assert "5 worker\\x1b[31m, 6 b, 8 c and 1 more" in warning.text


def test_the_estimate_is_by_the_rates_measured_for_each_way() -> None:
    subject = Subject(process(3), Placement((vma({0: 1000, 1: 500}),)))
    rates = {(0, 2): 4096 * 100, (1, 3): 4096 * 1000}
    conditions = Conditions(rates=rates, measured=frozenset(rates))
    made = plan(subject, [0, 1], [2, 3], conditions=conditions)
    assert made.seconds == 10.5
    assert made.rate_basis == "measured"
    assert plan(subject, [0, 1], [2, 3], conditions=Conditions(rates=rates)).rate_basis == "similar"
    assert made.stall < 0.1
    assert plan(subject, [0, 1], [2, 3], conditions=Conditions(rates=rates), method="migrate_pages").stall == 10.5
    some = plan(subject, [0, 1], [2, 3], conditions=Conditions(rates={(0, 2): 4096 * 100}))
    assert some.rate_basis == "assumed"
    assert 10 < some.seconds < 10.5


class TestReading:
    """What the kernel tells of tiers and pressure."""

    def kernel(self, tmp_path: Path, **files: bytes) -> RecordedKernel:
        (tmp_path / "proc").mkdir()
        for name, data in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return RecordedKernel(str(tmp_path))

    def test_tiers(self, tmp_path: Path) -> None:
        root = "sys__devices__virtual__memory_tiering__"
        files = {f"{root}memory_tier4__nodelist": b"0-1\n", f"{root}memory_tier961__nodelist": b"3\n"}
        assert read_tiers(self.kernel(tmp_path, **files, **{f"{root}memory_tier9__nodelist": b"?"})) == {
            0: 4, 1: 4, 3: 961,
        }  # fmt: skip

    def test_pressure(self, tmp_path: Path) -> None:
        text = b"some avg10=12.50 avg60=1.00 avg300=0.00 total=7\nfull avg10=90.00 avg60=0.00 avg300=0.00 total=0\n"
        assert memory_pressure(self.kernel(tmp_path, proc__pressure__memory=text)) == 0.125

    def test_neither_told(self, tmp_path: Path) -> None:
        kernel = self.kernel(tmp_path, proc__pressure__memory=b"some avg10=x")
        assert memory_pressure(kernel) is None
        assert read_tiers(kernel) == {}


@pytest.mark.parametrize(
    ("sources", "targets", "where", "error"),
    [
        ([], [1], None, UsageError),
        ([0], [], None, UsageError),
        ([0], [7], None, NotFound),
        ([9], [1], None, NotFound),
        ([0], [2], topology(memoryless=2), UsageError),
    ],
)
def test_impossible_sets(
    sources: list[int], targets: list[int], where: Topology | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        plan(Subject(process(), Placement(())), sources, targets, where)


@pytest.mark.parametrize(
    ("policy", "targets", "agrees"),
    [
        ("default", [1], True),
        ("bind:0", [1], False),
        ("bind:0-1", [1], True),
        ("prefer (many):1,3", [3], True),
        ("interleave:0-3", [2], True),
        ("local", [2], True),
        ("odd:x", [2], True),
    ],
)
def test_policies_that_contradict(policy: str, targets: list[int], agrees: bool) -> None:
    assert policy_agrees(policy, NodeSet(targets)) == agrees


@pytest.mark.parametrize(
    ("release", "rule"),
    [
        ("6.1.0-56-amd64", "linux-6"),
        ("3.5.0", "linux-6"),
        ("3.4.9", "direct-v8"),
        ("2.6.15-rc5-mm3-direct-v8", "direct-v8"),
        ("", "linux-6"),
    ],
)
def test_the_rule_of_a_kernel(release: str, rule: str) -> None:
    assert rule_of(release) == rule


node_sets = st.sets(st.integers(0, 7), min_size=1).map(NodeSet)


@given(
    node_sets,
    node_sets,
    st.sampled_from(["linux-6", "direct-v8"]),
    st.dictionaries(st.integers(0, 7), st.integers(1, 99)),
)
def test_what_is_expected_follows_from_where_each_node_lands(
    sources: NodeSet, targets: NodeSet, rule, before: dict[int, int]
) -> None:
    moves = remap(sources, targets, rule)
    after = expected_after(before, moves)
    by_landing: dict[int, int] = {}
    for node, amount in before.items():
        end = landing(moves, node)
        by_landing[end] = by_landing.get(end, 0) + amount
    assert after == by_landing
    assert sum(after.values()) == sum(before.values())
    assert remaining(before, after, moves) == 0
    assert all(move.target in targets and move.source in sources and move.source != move.target for move in moves)
    assert len({move.source for move in moves}) == len(moves)
    if rule == "linux-6":
        assert all(end in targets for end in (landing(moves, node) for node in sources))


def test_remaining_is_what_did_not_leave_also_where_a_source_is_a_target() -> None:
    moves = (Move(1, 2), Move(0, 1))
    assert remaining({0: 10, 1: 20}, {0: 3, 1: 7 + 4, 2: 16}, moves) == 3 + 1
