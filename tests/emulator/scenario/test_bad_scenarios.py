"""Scenarios that are wrong, absurd or large: one clear error with file, line and key, or a defined outcome; never a
traceback, never a hang."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backend.emulator.scenarios as shipped
from backend.emulator.costs import Costs
from backend.emulator.mm.mmap import mmap, munmap
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import build, finish, report, run_scenario
from backend.emulator.storage.filesystem import MAX_PAGES
from backend.emulator.tasks.life import spawn
from backend.errors import NotFound, ParseError, UsageError
from tests.emulator import invariants
from tests.emulator.machines import machine

MACHINE = "machine:\n  nodes:\n    - {id: 0, memory: 8MiB, cpus: 0-1}\n    - {id: 1, memory: 8MiB, cpus: 2-3}\n"
PROCESS = "processes:\n  - {name: a, node: 0, memory: [{name: r, size: 64KiB, on: {0: 75%, 1: 25%}}]}\n"
FILE = "filesystems:\n  - {name: d, type: ext3, files: [{name: f, size: 64KiB}]}\n"
BUSY = PROCESS.replace("25%}}", "25%}, access: {}}")


def steps(*calls: str) -> str:
    return "steps:\n" + "".join(f"  - {{at: {number + 1}s, {call}}}\n" for number, call in enumerate(calls))


def outcomes(text: str) -> list[Any]:
    return [step["errno"] or step["result"] for step in run_scenario(parse_description(text))["steps"]]


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        (
            MACHINE + FILE + PROCESS + steps("write: {task: a, file: d/f, pages: 0-9999999999}"),
            10,
            "write.pages",
            "too much for one step",
        ),
        (
            MACHINE + FILE + PROCESS + steps("read: {task: a, file: d/f, pages: 0-1048576}"),
            10,
            "read.pages",
            "too much for one step",
        ),
        (
            MACHINE + FILE + PROCESS + steps("write: {task: a, file: d/f, pages: 9999999999}"),
            10,
            "write.pages",
            "too much for one step",
        ),
        (
            MACHINE + FILE + PROCESS + steps("truncate: {file: d/f, size: 999999999999999P}"),
            10,
            "truncate.size",
            "too large",
        ),
        (MACHINE + FILE + PROCESS + steps("truncate: {file: d/f, size: 4 pages}"), 10, "truncate.size", "not a size"),
        (MACHINE + FILE + PROCESS + steps("pin: {task: a, region: r, for: 4KiB}"), 10, "pin.for", "not a time"),
        (
            MACHINE + PROCESS + steps("touch: {task: a, region: r, pages: 0-99999999999}"),
            8,
            "touch.pages",
            "not a page",
        ),
        (MACHINE + PROCESS + steps("touch: {task: a, region: r, pages: 5-2}"), 8, "touch.pages", "not a page"),
        (MACHINE + PROCESS + steps("migrate_pages: {task: a, from: 0, to: 2}"), 8, "migrate_pages.to", "no node 2"),
        (MACHINE + PROCESS + steps("offline: {node: 2}"), 8, "offline.node", "no node 2"),
        (
            MACHINE + PROCESS + "steps:\n  - {at: 2min, exit: {task: a}}\n  - {at: 119s, exit: {task: a}}\n",
            9,
            "steps[1]",
            "before the step above",
        ),
        (MACHINE + PROCESS + "steps:\n  - {at: -1s, exit: {task: a}}\n", 8, "at", "not a time"),
        (MACHINE + PROCESS + "steps:\n  - {at: 1x, exit: {task: a}}\n", 8, "at", "not a time"),
        (MACHINE + PROCESS + "steps:\n  - {at: 2000min, exit: {task: a}}\n", 8, "at", "more than a day"),
        (MACHINE + BUSY + "run: 999999999999min\n", 7, "run", "more than a day"),
        (MACHINE + "  balance: 1ns\n", 5, "machine.balance", "too often"),
        (MACHINE + "  writeback: 1us\n", 5, "machine.writeback", "too often"),
        (MACHINE + "  swap: 8s\n", 5, "machine.swap", "not a size"),
        (MACHINE + "  costs: {copy: 4KiB}\n", 5, "machine.costs.copy", "not a time"),
        (MACHINE + "  costs: {copy: -1}\n", 5, "machine.costs.copy", "not a time"),
        (MACHINE + "  page_size: 5KiB\n", 5, "machine.page_size", "not a page size"),
        ("machine: {nodes: [{id: 0, memory: 999999999999999P, cpus: 0}]}\n", 1, "nodes[0].memory", "too large"),
        ("machine: {nodes: [{id: 0, memory: 8MiB, cpus: 0-99999999}]}\n", 1, "nodes[0].cpus", "too large"),
        (MACHINE + "users: {²: x}\n", 5, "users", "uid: name"),
        (MACHINE + "users: {99999999999: x}\n", 5, "users", "uid: name"),
        (MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, on: {²: 50%}}]}\n", 6, "on", "no node ²"),
        (
            MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, on: {" + "0" * 900 + ": 50%}}]}\n",
            6,
            "on",
            "no node",
        ),
        (
            MACHINE + "processes:\n  - {name: a, memory: [{size: 20MiB, on: {0: 50%, 1: 50%}}]}\n",
            6,
            "processes[0]",
            "no room",
        ),
        (MACHINE + "processes:\n  - {name: a, memory: [{size: 1MiB, address: 0x1000}]}\n", 6, "address", "unknown key"),
        (
            MACHINE + "cpusets: [{name: c, mems: 0, tasks: [a]}]\nprocesses:\n  - {name: a, policy: 'bind:1'}\n",
            7,
            "processes[0].policy",
            "does not have",
        ),
        (
            MACHINE + "cpusets: [{name: c, mems: 0, tasks: [a]}]\nprocesses:\n  - {name: a, memory: [{size: 1MiB, "
            "policy: 'bind:0-1'}]}\n",
            7,
            "policy",
            "does not have",
        ),
        (MACHINE + "name: " + "x" * 7_000_000 + "\n", 5, "name", "longer than"),
        (MACHINE + "<<: {a: b}\n", 5, "<<", "unknown key"),
        (MACHINE + "name: *x\n", 5, "", "anchors"),
        (MACHINE + "---\n" + MACHINE, 5, "", "not YAML"),
    ],
)
def test_an_error_names_file_line_and_key(text: str, line: int, key: str, says: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_description(text, "x.yaml")
    message = str(caught.value)
    assert message.startswith(f"x.yaml:{line}: ")
    assert key in message
    assert says in message
    assert len(message) < 600
    assert "\n" not in message


def test_more_regions_than_the_machine_has_memory_for() -> None:
    text = MACHINE + "processes:\n" + "".join(
        f"  - {{name: p{number}, memory: [{{name: r, size: 4MiB}}]}}\n" for number in range(5)
    )  # fmt: skip
    with pytest.raises(UsageError, match="no room"):
        run_scenario(parse_description(text))


def test_regions_never_overlap() -> None:
    m = machine()
    task = spawn(m, "t", cpu=0)
    kinds = ["anon", "heap", "stack", "heap", "anon", "heap", "anon"]
    vmas = [mmap(m, task, 3 + number, kind=kind) for number, kind in enumerate(kinds)]
    munmap(m, vmas[3])
    vmas[3] = mmap(m, task, 50, kind="heap")
    assert task.mm.vmas == sorted(vmas, key=lambda vma: vma.start)
    assert all(one.end < other.start for one, other in zip(task.mm.vmas, task.mm.vmas[1:], strict=False))
    for vma in vmas:
        assert [(found, index.tolist()) for found, index in task.mm.spans(vma.start, np.arange(vma.pages + 10))] == [
            (vma, list(range(vma.pages)))
        ]
    assert not list(task.mm.spans(vmas[0].end, np.arange(3)))


def test_every_step_on_a_task_that_has_exited_is_esrch() -> None:
    calls = (
        "touch: {task: a, region: r}",
        "schedule: {task: a, cpu: 3}",
        "migrate_pages: {task: a, from: 0, to: 1}",
        "move_pages: {task: a, region: r, node: 1}",
        "mbind: {task: a, region: r, policy: local}",
        "dontneed: {task: a, region: r}",
        "pin: {task: a, region: r, for: 1s}",
        "fork: {task: a, child: b}",
        "touch: {task: b, region: r}",
        "write: {task: a, file: d/f}",
        "exit: {task: a}",
    )
    assert outcomes(MACHINE + FILE + PROCESS + steps("exit: {task: a}", *calls)) == [
        0,
        *["ESRCH"] * len(calls),
    ]


def test_policies_outside_of_the_cpuset_are_einval() -> None:
    text = MACHINE + "cpusets: [{name: c, mems: 0, tasks: [a]}]\n" + PROCESS.replace("75%, 1: 25%", "100%")
    calls = ("set_mempolicy: {task: a, policy: 'bind:1'}", "mbind: {task: a, region: r, policy: 'bind:1'}")
    assert outcomes(text + steps(*calls)) == ["EINVAL", "EINVAL"]


def test_a_file_does_not_grow_without_bounds() -> None:
    calls = (
        "truncate: {file: d/f, size: 900TiB}",
        f"write: {{task: a, file: d/f, pages: {MAX_PAGES - 1}}}",
        "truncate: {file: d/f, size: 4KiB}",
        "read: {task: a, file: d/f, pages: 0-1048575}",
        "read: {task: a, file: d/f, pages: 5-9}",
    )
    assert outcomes(MACHINE + FILE + PROCESS + steps(*calls)) == ["EFBIG", 1, 0, 1, 0]


def test_want_of_memory_here_is_an_error_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object, **options: object) -> None:
        raise MemoryError

    description = parse_description(MACHINE + PROCESS + steps("touch: {task: a, region: r}"))
    with monkeypatch.context() as patch:
        patch.setattr("backend.emulator.scenario.run.map_region", none)
        with pytest.raises(UsageError, match="not enough memory"):
            run_scenario(description)
    monkeypatch.setattr("backend.emulator.scenario.memory_steps.touch", none)
    with pytest.raises(UsageError, match="not enough memory"):
        run_scenario(description)


def test_steps_that_take_for_ever_are_not_waited_for() -> None:
    costs = "  costs: {copy: 1000min}\n"
    text = MACHINE + costs + PROCESS + steps("migrate_pages: {task: a, from: 0, to: 1}")
    assert Costs().copy < 1
    with pytest.raises(UsageError, match="not done"):
        run_scenario(parse_description(text))


def test_a_hundred_thousand_steps_parse_and_run() -> None:
    """Linear, about ten seconds: the limit leaves room for a slow machine, not for anything quadratic."""
    text = MACHINE + PROCESS + "steps:\n" + "".join(
        f"  - {{at: {number}us, touch: {{task: a, region: r, pages: {number % 16}}}}}\n"
        for number in range(100_000)
    )  # fmt: skip
    began = time.process_time()
    assert outcomes(text) == [0] * 100_000
    assert time.process_time() - began < 90


def test_many_regions_processes_files_and_cpusets_are_no_burden() -> None:
    names = range(5000)
    text = (
        MACHINE
        + "filesystems:\n  - name: d\n    type: ext3\n    files:\n"
        + "".join(f"      - {{name: f{number}, size: 4KiB}}\n" for number in names)
        + "processes:\n"
        + "".join(f"  - {{name: p{number}}}\n" for number in names)
        + "  - name: a\n    memory:\n"
        + "".join(f"      - {{name: r{number}, size: 4KiB, touched: off}}\n" for number in names)
        + "cpusets:\n"
        + "".join(f"  - {{name: c{number}, mems: 0, tasks: [p{number}]}}\n" for number in names)
    )
    began = time.process_time()
    report = run_scenario(parse_description(text))
    assert (len(report["files"]), len(report["tasks"]), len(report["tasks"]["a"]["vmas"])) == (
        5000,
        5001,
        5000,
    )
    assert time.process_time() - began < 30


TEXTS = {path.stem: path.read_text() for path in sorted(Path(shipped.__file__).parent.glob("*.yaml"))}
SMALL = [text for text in TEXTS.values() if len(text) < 4000]
ODD = [
    "0",
    "-1",
    "1",
    "3",
    "99999999999999999999",
    "1KiB",
    "4097",
    "8MiB",
    "1ns",
    "5s",
    "200%",
    "0.5",
    "on",
    "off",
    "[]",
    "{}",
    "''",
    "null",
    "²",
    "0-1",
    "1-0",
    "all",
    "!0",
    "same",
    "bind:0",
    "bind:9",
    "x:y",
    "local",
    "a/b",
    "linux-6",
    "direct-v8",
    "nfs",
    "shared",
    "stack",
    "0x10",
    "~",
    "[1, 2]",
    "{a: 1}",
    '"\\0"',
    "é" * 40,
]
SCALAR = re.compile(r"(?<=: )[^\s\[\]{},#]+|(?<=[\[{,] )[^\s\[\]{},:#]+(?=[,\]}])")


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A shipped scenario with one to four of its values, keys or lines changed, repeated or left out."""
    text = draw(st.sampled_from(SMALL))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["value", "value", "swap", "drop", "repeat", "indent", "cut"]))
        places = list(SCALAR.finditer(text))
        lines = text.splitlines(keepends=True)
        if not places or not lines:
            break
        place = places[draw(st.integers(0, len(places) - 1))]
        at = draw(st.integers(0, len(lines) - 1))
        if kind == "value":
            text = text[: place.start()] + draw(st.sampled_from(ODD)) + text[place.end() :]
        elif kind == "swap":
            other = places[draw(st.integers(0, len(places) - 1))]
            text = text[: place.start()] + other[0] + text[place.end() :]
        elif kind == "drop":
            text = "".join(lines[:at] + lines[at + 1 :])
        elif kind == "repeat":
            text = "".join([*lines[: at + 1], *lines[at:]])
        elif kind == "indent":
            text = "".join([*lines[:at], "  " + lines[at], *lines[at + 1 :]])
        else:
            text = text[: draw(st.integers(0, len(text)))]
    return text


def test_names_in_an_error_are_written_in_visible_characters() -> None:
    """YAML has escapes: the name of another process went to the terminal as it is."""
    text = (
        MACHINE + PROCESS.replace("name: a,", 'name: "a\\x1b[2J",') + steps("migrate_pages: {task: b, from: 0, to: 1}")
    )
    with pytest.raises(ParseError, match="there is no process 'b'") as raised:
        parse_description(text)
    assert str(raised.value).isprintable(), str(raised.value)


def test_a_shipped_scenario_that_was_changed_is_an_error_of_one_line_or_runs() -> None:
    refused, done = [], []

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(mutated())
    def run(text: str) -> None:
        try:
            description = parse_description(text, "x.yaml")
        except ParseError as exc:
            refused.append(str(exc))
            return
        try:
            built = build(description, watch=True)
            finish(description, built)
        except (UsageError, NotFound) as exc:
            refused.append(f"x.yaml: {exc}")
            return
        invariants.check(built.machine)
        told = report(description, built)
        assert [step["call"] for step in told["steps"]] == [step.call for step in description.steps]
        for step in told["steps"]:
            assert (step["result"] is None) != (step["errno"] is None), step
        done.extend(told["steps"])

    run()
    assert len(refused) > 10
    assert [message for message in refused if not message.startswith("x.yaml:") or not message.isprintable()] == []
    assert len(done) > 10, "of 150 changed scenarios hardly any step was run: this tests nothing"
