"""Following advice makes emulated machines faster, and never slower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.advice.advice import Advice
from backend.advice.applying import plan_of
from backend.advice.gathering import Adviser, Watch, limits_for, watch
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.open import open_scenario
from backend.emulator.scenario.shipped import names
from backend.errors import Refused
from backend.heat.choosing import HeatWish
from backend.job.job import Job
from backend.job.options import Options
from backend.plan.remap import remap

MIB = 1 << 20
WATCHED, MEASURED = 8, 30


def work_done(kernel: EmulatedKernel) -> float:
    """Accesses a second of all tasks, over the next three seconds."""
    total = 0.0
    for _ in range(MEASURED):
        kernel.machine.advance(0.1)
        total += sum(thread.rate for task in kernel.machine.tasks.values() for thread in task.threads)
    return total / MEASURED


def advice_for(kernel: EmulatedKernel, least: int = 4 * MIB, heat: HeatWish | None = None) -> list[Advice]:
    seen = watch(kernel, WATCHED, lambda _: True)
    items = Adviser(kernel, limits_for(WATCHED, least), heat=heat).advise(seen.observations, seen.topology)
    check_room(items, kernel)
    return [one for one in items if one.proposal is not None]


def check_room(items: list[Advice], kernel: EmulatedKernel) -> None:
    """Together they never need more than there is, and each makes its process's memory nearer."""
    coming: dict[int, int] = {}
    for advice in items:
        one = advice.proposal
        assert (one is None) == bool(advice.reasons)
        if one is None:
            continue
        assert one.after < one.before
        assert one.rule_moves == remap(one.sources, one.targets)
        for move in one.moves:
            coming[move.target] = coming.get(move.target, 0) + move.bytes
            coming[move.source] = coming.get(move.source, 0) - move.bytes
    for node, amount in coming.items():
        free = sum(zone.free for zone in kernel.machine.frames.zones.values() if zone.nid == node)
        assert amount <= free * kernel.page_size


def follow(kernel: EmulatedKernel, advised: list[Advice], folder: Path) -> None:
    for advice in advised:
        assert advice.proposal is not None
        Job(kernel, plan_of(kernel, advice), Options(journal_dir=folder)).run()


def compared(name: str, folder: Path, least: int = 4 * MIB, heat: HeatWish | None = None) -> tuple[int, float, float]:
    """(how many were advised, work without, work with following), on two machines of the same scenario."""
    without, following = open_scenario(name), open_scenario(name)
    advised = advice_for(following, least, heat)
    without.pause(WATCHED * 1_000_000_000)
    if not advised:
        return 0, 1.0, 1.0
    follow(following, advised, folder)
    behind = following.machine.now - without.machine.now
    without.machine.advance(max(0.0, behind))
    return len(advised), work_done(without), work_done(following)


@pytest.mark.parametrize("heat", [None, HeatWish("hot")], ids=["all", "hot"])
@pytest.mark.parametrize("name", sorted(names()))
def test_advice_makes_no_shipped_scenario_slower(name: str, heat: HeatWish | None, tmp_path: Path) -> None:
    _, without, following = compared(name, tmp_path, heat=heat)
    assert following >= without * 0.99


@pytest.mark.parametrize("name", ["default", "huge-pages", "node-removal"])
def test_where_memory_is_misplaced_advice_makes_it_faster(name: str, tmp_path: Path) -> None:
    advised, without, following = compared(name, tmp_path)
    assert advised
    assert following > without * 1.2


SIZES = st.integers(2, 24)
NODES = 4
shares = st.lists(st.integers(0, 3), min_size=NODES, max_size=NODES).filter(any)
tasks = st.fixed_dictionaries(
    {
        "node": st.integers(0, NODES - 1),
        "threads": st.integers(1, 3),
        "size": SIZES,
        "on": shares,
        "policy": st.sampled_from(["default", "default", "default", "bind:1", "interleave:0-3", "prefer:2"]),
    }
)


def scenario(chosen: list[dict], far: list[int]) -> str:
    """A machine with these tasks. What each uses of its memory, and from where on: all of it, if it does not say."""
    processes = []
    for number, one in enumerate(chosen):
        whole = sum(one["on"])
        memory = {
            "kind": "heap",
            "size": f"{one['size']}MiB",
            "access": {"sample": 64, **one.get("access", {"hot": "100%"})},
        }
        if one["policy"] == "default":
            left = 100
            on: dict[int, str] = {}
            for node, share in enumerate(one["on"]):
                part = share * 100 // whole
                on[node] = f"{part}%"
                left -= part
            first = next(node for node, share in enumerate(one["on"]) if share)
            on[first] = f"{int(on[first][:-1]) + left}%"
            memory["on"] = {node: part for node, part in on.items() if part != "0%"}
        else:
            memory["policy"] = one["policy"]
        processes.append({"name": f"t{number}", "node": one["node"], "threads": one["threads"], "memory": [memory]})
    distances = [[10 if a == b else 10 + far[abs(a - b) - 1] for b in range(NODES)] for a in range(NODES)]
    document = {
        "name": "random",
        "machine": {
            "profile": "linux-6",
            "nodes": [{"id": node, "memory": "128MiB", "cpus": f"{node * 4}-{node * 4 + 3}"} for node in range(NODES)],
            "distances": distances,
        },
        "processes": processes,
    }
    return yaml.safe_dump(document)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tasks, min_size=1, max_size=5), st.lists(st.integers(1, 30), min_size=3, max_size=3).map(sorted))
def test_advice_makes_no_random_machine_slower(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[dict], far: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("random")
    path = folder / "random.yaml"
    path.write_text(scenario(chosen, far))
    _, without, following = compared(str(path), folder / "jobs", least=MIB)
    assert following >= without * 0.98


some_hot = st.fixed_dictionaries(
    {"hot": st.integers(1, 50).map(lambda share: f"{share}%"), "begin": st.integers(0, 99).map(lambda at: f"{at}%")}
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(tasks, some_hot), min_size=1, max_size=4),
    st.lists(st.integers(1, 30), min_size=3, max_size=3).map(sorted),
)
def test_advice_by_heat_makes_no_random_machine_slower(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[tuple[dict, dict]], far: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("random")
    path = folder / "random.yaml"
    path.write_text(scenario([{**one, "access": access} for one, access in chosen], far))
    _, without, following = compared(str(path), folder / "jobs", least=MIB, heat=HeatWish("hot"))
    assert following >= without * 0.98


def test_memory_that_is_not_used_stays_where_it_is(tmp_path: Path) -> None:
    """Half of it is far: the half that is used, or the half that is not."""
    advised: dict[str, Advice] = {}
    for where in ("0%", "50%"):
        path = tmp_path / "one.yaml"
        one = {"node": 0, "threads": 1, "size": 32, "on": [1, 1, 0, 0], "policy": "default"}
        path.write_text(scenario([{**one, "access": {"hot": "50%", "begin": where}}], [10, 20, 30]))
        kernel = open_scenario(str(path))
        seen = watch(kernel, WATCHED, lambda _: True)
        adviser = Adviser(kernel, limits_for(WATCHED, MIB), heat=HeatWish("hot"))
        advised[where] = of_the_task(adviser.advise(seen.observations, seen.topology))
    near, far = advised["0%"], advised["50%"]
    assert [reason.code for reason in near.reasons] == ["cold"]
    assert far.proposal is not None
    assert far.proposal.bytes == pytest.approx(16 * MIB, rel=0.1)
    assert far.proposal.ratio > 1.8  # by all of its memory it would be 1.5
    assert far.proposal.heat is not None
    assert far.proposal.heat.way == "damon"


def of_the_task(items: list[Advice]) -> Advice:
    return next(one for one in items if one.process.comm == "t0")


def test_what_was_placed_on_purpose_or_hops_or_has_no_room_is_left(tmp_path: Path) -> None:
    base = {"node": 0, "threads": 1, "size": 16, "on": [0, 1, 0, 0]}
    codes = {}
    for policy in ("default", "bind:1", "interleave:0-3"):
        path = tmp_path / "one.yaml"
        path.write_text(scenario([{**base, "policy": policy}], [10, 20, 30]))
        kernel = open_scenario(str(path))
        seen = watch(kernel, WATCHED, lambda _: True)
        advice = of_the_task(Adviser(kernel, limits_for(WATCHED, MIB)).advise(seen.observations, seen.topology))
        codes[policy] = "" if advice.proposal else advice.reasons[0].code
    assert codes == {"default": "", "bind:1": "policy", "interleave:0-3": "interleave"}


def test_too_short_a_watch_is_no_ground_for_advice(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        scenario([{"node": 0, "threads": 1, "size": 16, "on": [0, 1, 0, 0], "policy": "default"}], [10, 20, 30])
    )
    kernel = open_scenario(str(path))
    seen = watch(kernel, 1, lambda _: True)
    adviser = Adviser(kernel, replace(limits_for(WATCHED, MIB), settled=4.0))
    advice = of_the_task(adviser.advise(seen.observations, seen.topology))
    assert [reason.code for reason in advice.reasons] == ["young"]


def test_one_node_gives_no_advice() -> None:
    kernel = open_scenario("default")
    seen = watch(kernel, WATCHED, lambda _: True)
    one = replace(seen.topology, nodes=seen.topology.nodes[:1])
    assert all(advice.proposal is None for advice in Adviser(kernel).advise(seen.observations, one))


def test_where_it_cannot_be_learnt_what_is_used_nothing_is_advised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kernel, adviser, seen = watched_by_heat(tmp_path, "50%")

    def refuses(*_: object, **__: object) -> None:
        raise Refused("this would lock the memory map for 3 s at a time", "")

    with monkeypatch.context() as patch:
        patch.setattr("backend.advice.heated.learn", refuses)
        advice = of_the_task(adviser.advise(seen.observations, seen.topology))
    assert [reason.code for reason in advice.reasons] == ["heat"]
    assert "would lock" in advice.reasons[0].text


def test_after_a_move_what_is_used_is_known_to_be_near(tmp_path: Path) -> None:
    """What was learnt is kept; where it lies is read again."""
    kernel, adviser, seen = watched_by_heat(tmp_path, "50%")
    advice = of_the_task(adviser.advise(seen.observations, seen.topology))
    assert advice.proposal is not None
    follow(kernel, [advice], tmp_path / "jobs")
    seen = watch(kernel, WATCHED, lambda _: True)
    after = of_the_task(adviser.advise(seen.observations, seen.topology))
    assert [reason.code for reason in after.reasons] in (["cold"], ["near"])


def watched_by_heat(tmp_path: Path, begin: str) -> tuple[EmulatedKernel, Adviser, Watch]:
    """Half of it is far, and half is used, from `begin` on."""
    path = tmp_path / "one.yaml"
    one = {"node": 0, "threads": 1, "size": 48, "on": [1, 2, 0, 0], "policy": "default"}
    path.write_text(scenario([{**one, "access": {"hot": "50%", "begin": begin}}], [10, 20, 30]))
    kernel = open_scenario(str(path))
    seen = watch(kernel, WATCHED, lambda _: True)
    return kernel, Adviser(kernel, limits_for(WATCHED, MIB), heat=HeatWish("hot")), seen
