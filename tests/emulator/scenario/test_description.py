"""Scenario files: errors name file, line and key; what is not there yet says so; nothing hangs or explodes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.errors import NumatuiError, ParseError

MACHINE = "machine:\n  nodes:\n    - {id: 0, memory: 8MiB, cpus: 0-1}\n    - {id: 1, memory: 8MiB, cpus: 2-3}\n"
PROCESS = "processes:\n  - {name: a, node: 0, memory: [{name: r, size: 64KiB, on: {0: 75%, 1: 25%}}]}\n"
FILE = "filesystems:\n  - {name: d, type: ext3, files: [{name: f, size: 64KiB}]}\n"


def test_a_small_scenario_runs() -> None:
    report = run_scenario(parse_description(MACHINE + PROCESS))
    (vma,) = report["tasks"]["a"]["vmas"]
    assert vma["nodes"] == {"0": 12, "1": 4}
    assert vma["pages"] == 16


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("", 0, "", "empty"),
        ("machine: [", 2, "", "not YAML"),
        ("a: &x [1]\nb: *x\n", 1, "", "anchors"),
        ("machine: {nodes: []}", 1, "machine.nodes", "no node has"),
        ("machine:\n  nodes: 7\n", 2, "machine.nodes", "must be a list"),
        ("machine:\n  nodes:\n    - {id: 0, memory: 1MB!}\n", 3, "machine.nodes[0].memory", "not a size"),
        (
            "machine:\n  nodes:\n    - {id: 0, memory: 8MiB, cpus: 0}\n    - {id: 0, memory: 8MiB}\n",
            4,
            "machine.nodes[1].id",
            "there already",
        ),
        (
            "machine:\n  nodes:\n    - {id: 0, memory: 8MiB, cpus: 0}\n    - {id: 1, memory: 8MiB, cpus: 0}\n",
            4,
            "cpus",
            "another node",
        ),
        ("machine:\n  nodes:\n    - {id: 0, memory: 900TiB, cpus: 0}\n", 3, "memory", "too large"),
        (
            "machine:\n  profile: vms\n  nodes:\n    - {id: 0, memory: 8MiB, cpus: 0}\n",
            2,
            "machine.profile",
            "no profile",
        ),
        (MACHINE + "  distances: [[10, 20]]\n", 5, "machine.distances", "1 rows for 2"),
        (MACHINE + "  distances: [[10, 20], [20]]\n", 5, "machine.distances[1]", "1 numbers for 2"),
        (MACHINE + "  speed: 3\n", 5, "machine.speed", "unknown key"),
        (MACHINE + "  patches: {node_sets: off}\n", 5, "machine.patches", "not made of these patches"),
        (MACHINE + "filesystems: [{name: d, type: fat}]\n", 5, "filesystems[0].type", "no filesystem 'fat'"),
        (MACHINE + "filesystems: [{name: d, type: ext3}, {name: d, type: xfs}]\n", 5, "filesystems[1].name", "already"),
        (MACHINE + "filesystems: [{name: a/b, type: ext3}]\n", 5, "filesystems[0].name", "without '/'"),
        (MACHINE + "filesystems: [{name: d, type: xfs, migratepage: some}]\n", 5, "migratepage", "no method"),
        (MACHINE + FILE + "processes:\n  - {name: a, memory: [{kind: file}]}\n", 8, "memory[0]", "'file' is missing"),
        (MACHINE + FILE + "processes:\n  - {name: a, memory: [{file: d/none}]}\n", 8, "memory[0].file", "no file"),
        (MACHINE + FILE + "processes:\n  - {name: a, memory: [{file: d/f, size: 1MiB}]}\n", 8, "size", "16 pages only"),
        (
            MACHINE + FILE + "processes:\n  - {name: a, memory: [{size: 1MiB, private: on}]}\n",
            8,
            "private",
            "of a file",
        ),
        (MACHINE + FILE + "processes:\n  - {name: a, memory: [{size: 1MiB, dirty: on}]}\n", 8, "dirty", "of a file"),
        (MACHINE + FILE + "processes:\n  - {name: a, memory: [{file: d/f, offset: 100}]}\n", 8, "offset", "page size"),
        (
            MACHINE + "processes:\n  - {name: a, memory: [{kind: shared, size: 1MiB, shared_with: b}]}\n",
            6,
            "processes[0]",
            "no process 'b' above",
        ),
        (MACHINE + FILE + PROCESS + "steps:\n  - {at: 1s, fsync: {file: d/g}}\n", 10, "fsync.file", "no file 'd/g'"),
        (MACHINE + "processes:\n  - {name: a, node: 7}\n", 6, "processes[0].node", "no node 7"),
        (MACHINE + "processes:\n  - {name: a, cpu: 9}\n", 6, "processes[0].cpu", "no CPU 9"),
        (MACHINE + "processes:\n  - {name: a, cpus: 0-9}\n", 6, "processes[0].cpus", "no CPU 4-9"),
        (MACHINE + "processes:\n  - {name: a, cpus: 0, node: 1}\n", 6, "processes[0].node", "given already"),
        (MACHINE + "processes:\n  - {name: a}\n  - {name: a}\n", 7, "processes[1]", "two processes"),
        (
            MACHINE + "processes:\n  - {name: a, memory: [{size: 0}]}\n",
            6,
            "processes[0].memory[0].size",
            "at least a page",
        ),
        (
            MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, on: {0: 70%, 1: 40%}}]}\n",
            6,
            "memory[0].on",
            "110%",
        ),
        (MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, on: {9: 70%}}]}\n", 6, "on.9", "no node 9"),
        (MACHINE + "processes:\n  - {name: a, memory: [{size: 90MiB, on: {0: 100%}}]}\n", 6, "processes[0]", "no room"),
        (
            MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, kind: hugetlb}]}\n",
            6,
            "size",
            "multiple of 2048KiB",
        ),
        (
            MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, kind: stack, huge: on}]}\n",
            6,
            "huge",
            "only anonymous",
        ),
        (MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, kind: odd}]}\n", 6, "kind", "no kind"),
        (MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, policy: 'bind:7'}]}\n", 6, "policy", "no node 7"),
        (MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB}, {size: 1MiB}]}\n", 6, "memory", "same name"),
        (
            MACHINE + PROCESS + "steps:\n  - {at: 2s, exit: {task: a}}\n  - {at: 1s, exit: {task: a}}\n",
            9,
            "steps[1]",
            "before the step above",
        ),
        (MACHINE + PROCESS + "steps:\n  - {exit: {task: a}}\n", 8, "steps[0]", "'at' is missing"),
        (MACHINE + PROCESS + "steps:\n  - {at: 1s, exit: {task: b}}\n", 8, "exit.task", "no process 'b'"),
        (MACHINE + PROCESS + "steps:\n  - {at: 1s, fly: {task: a}}\n", 8, "fly", "no step 'fly'"),
        (MACHINE + PROCESS + "steps:\n  - {at: 1s, cpuset: {}}\n", 8, "cpuset", "'cpuset' is missing"),
        (MACHINE + PROCESS + "steps:\n  - {at: 1s, touch: {task: a, region: x}}\n", 8, "touch.region", "no region 'x'"),
        (
            MACHINE + PROCESS + "steps:\n  - {at: 1s, touch: {task: a, region: r, pages: 3-99}}\n",
            8,
            "touch.pages",
            "0-15",
        ),
        (MACHINE + PROCESS + "steps:\n  - {at: soon, exit: {task: a}}\n", 8, "at", "not a time"),
        (
            MACHINE + PROCESS + "steps:\n  - {at: 1s, migrate_pages: {task: a, from: 0}}\n",
            8,
            "migrate_pages",
            "'to' is missing",
        ),
        (MACHINE + PROCESS + "steps:\n  - {at: 1s, schedule: {task: a, cpu: 77}}\n", 8, "cpu", "no CPU 77"),
    ],
)
def test_errors_name_file_line_and_key(text: str, line: int, key: str, says: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_description(text, "x.yaml")
    message = str(caught.value)
    assert message.startswith(f"x.yaml:{line}: " if line else "x.yaml: ")
    assert key in message
    assert says in message
    assert "\n" not in message


def test_a_yaml_bomb_is_refused_at_once() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    with pytest.raises(ParseError, match="anchors"):
        parse_description(bomb)


def test_deep_nesting_and_python_tags_are_refused() -> None:
    for text in ("[" * 5000, "machine: !!python/object/apply:os.system ['true']", "a: " + "{b: " * 3000):
        with pytest.raises(ParseError):
            parse_description(text)


@given(st.text(max_size=200))
def test_any_text_is_a_description_or_a_parse_error(text: str) -> None:
    with contextlib.suppress(ParseError):
        parse_description(MACHINE + text)
    with contextlib.suppress(ParseError):
        parse_description(text)


def test_a_step_on_a_task_that_has_exited_is_esrch() -> None:
    steps = "steps:\n  - {at: 1s, exit: {task: a}}\n  - {at: 2s, migrate_pages: {task: a, from: 0, to: 1}}\n"
    report = run_scenario(parse_description(MACHINE + PROCESS + steps))
    assert [(step["result"], step["errno"]) for step in report["steps"]] == [(0, None), (None, "ESRCH")]
    assert report["tasks"]["a"]["exited"] == "exited"


def test_a_step_without_the_right_is_eperm() -> None:
    steps = "steps:\n  - {at: 1s, migrate_pages: {task: a, from: 0, to: 1, as: 1000}}\n"
    report = run_scenario(parse_description(MACHINE + PROCESS + steps))
    assert report["steps"][0]["errno"] == "EPERM"
    assert report["steps"][0]["result"] is None


def test_a_task_that_runs_out_of_memory_is_killed_and_said_so() -> None:
    process = "processes:\n  - {name: a, node: 0, memory: [{name: r, size: 64MiB, touched: off}]}\n"
    report = run_scenario(parse_description(MACHINE + process + "steps:\n  - {at: 1s, touch: {task: a, region: r}}\n"))
    assert report["tasks"]["a"]["exited"] == "out of memory"
    assert report["steps"][0]["errno"] == "ENOMEM"
    assert all(node["free"] == node["pages"] for node in report["nodes"])


def test_processes_that_do_not_fit_are_one_line() -> None:
    process = "processes:\n  - {name: a, node: 0, memory: [{name: r, size: 64MiB}]}\n"
    with pytest.raises(NumatuiError, match="no room"):
        run_scenario(parse_description(MACHINE + process))


def test_many_steps_end() -> None:
    steps = "steps:\n" + "".join(
        f"  - {{at: {n}ms, touch: {{task: a, region: r, pages: {n % 16}}}}}\n" for n in range(5000)
    )
    report = run_scenario(parse_description(MACHINE + PROCESS + steps))
    assert len(report["steps"]) == 5000
    assert all(step["result"] == 0 for step in report["steps"])


def test_policies_place_pages() -> None:
    regions = "".join(
        f"{{name: '{policy}', size: 48KiB, policy: '{policy}'}}, "
        for policy in ("bind:1", "prefer:1", "interleave:0-1", "local", "default")
    )
    report = run_scenario(parse_description(MACHINE + f"processes:\n  - {{name: a, node: 0, memory: [{regions}]}}\n"))
    nodes = {vma["name"]: vma["nodes"] for vma in report["tasks"]["a"]["vmas"]}
    assert nodes == {
        "bind:1": {"1": 12},
        "prefer:1": {"1": 12},
        "interleave:0-1": {"0": 6, "1": 6},
        "local": {"0": 12},
        "default": {"0": 12},
    }
