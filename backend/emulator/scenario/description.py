"""Parses the description of a machine and its scenario from YAML. Errors have file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from backend.emulator.machine import MachineSpec
from backend.emulator.scenario.describe_cpusets import CpusetSpec, Describer
from backend.emulator.scenario.describe_files import FilesystemSpec, parse_filesystems
from backend.emulator.scenario.describe_machine import MachineReader
from backend.emulator.scenario.describe_processes import ProcessSpec, check_room, check_sharing, read_process
from backend.emulator.scenario.memory_steps import Fork
from backend.emulator.scenario.step import Known, Step
from backend.emulator.scenario.steps import STEPS, parse_step
from backend.errors import ParseError
from backend.files.yaml_reader import Value, number_key, parse_yaml, uncollected

MAX_STEPS = 200_000


@dataclass(frozen=True, slots=True)
class Description:
    """A whole scenario, consistent in itself. `hugepages`: size of the hugetlb pool by node, in huge pages. `run`:
    least simulated seconds. `balance`, `writeback`: seconds between two rounds of the scheduler's balancing and of the
    flusher; 0: never."""

    machine: MachineSpec
    processes: tuple[ProcessSpec, ...] = ()
    cpusets: tuple[CpusetSpec, ...] = ()
    filesystems: tuple[FilesystemSpec, ...] = ()
    hugepages: dict[int, int] = field(default_factory=dict[int, int])
    steps: tuple[Step, ...] = ()
    run: float = 0.0
    balance: float = 0.0
    writeback: float = 0.0
    numa_balancing: int = 0
    demotion: bool = False
    about: str = ""
    notes: tuple[str, ...] = ()
    """What was made of something that cannot be as it was written."""

    @property
    def name(self) -> str:
        return self.machine.name


@uncollected()
def parse_description(
    text: str,
    file: str = "scenario",
    name: str = "",
    profile: str = "",
    tries: Sequence[str] = (),
    at: float | None = None,
) -> Description:
    """Raises ParseError with file, line and key. `profile`: replaces the kernel of the description, and its patches.
    `tries`: further steps, a second apart, the first at `at` or after all others."""
    root = parse_yaml(text, file)
    top = root.mapping(
        ("name", "about", "machine", "users", "filesystems", "processes", "cpusets", "steps", "run"),
        ("machine",),
    )
    machine = MachineReader(top["machine"], profile)
    users = {0: "root"}
    if "users" in top:
        for key, value in top["users"].pairs():
            uid = number_key(key)
            if uid is None or uid > 1 << 31:
                value.fail("users are given as uid: name")
            users[uid] = value.text(64)
    filesystems = (
        parse_filesystems(top["filesystems"], machine.profile.filesystem_types, machine.page_size)
        if "filesystems" in top
        else ()
    )
    machine.files = {file.path: file for filesystem in filesystems for file in filesystem.files}
    processes = tuple(read_process(value, machine) for value in top["processes"].items()) if "processes" in top else ()
    earlier: dict[str, ProcessSpec] = {}
    pids: set[int | None] = set()
    for process, value in zip(processes, top["processes"].items() if processes else (), strict=True):
        if process.name in earlier:
            value.fail(f"there are two processes '{process.name}'", "give each its own name")
        if process.pid is not None and process.pid in pids:
            value.fail(f"there are two processes with the pid {process.pid}", "give each its own")
        pids.add(process.pid)
        check_sharing(process, earlier, value)
        earlier[process.name] = process
    check_room(machine, processes, top.get("processes"))
    cpusets = Describer(machine.cgroups, machine.ids, machine.node_of_cpu)
    processes = cpusets.read(top.get("cpusets"), processes, top.get("processes"))
    run = top.read("run", Value.seconds, 0.0)
    entries = list(_entries(top["steps"])) if "steps" in top else []
    entries += _tried(tries, max([run, *(one[0] for one in entries)]) + 1.0 if at is None else at)
    steps = _steps(entries, machine, processes, cpusets)
    name = top.read("name", lambda value: value.text(200), name or file)
    return Description(
        replace(machine.spec(), name=name, users=users),
        processes=processes,
        cpusets=tuple(cpusets.specs.values()),
        filesystems=filesystems,
        hugepages=machine.hugepages,
        steps=steps,
        run=run,
        balance=machine.balance,
        writeback=machine.writeback,
        numa_balancing=machine.numa_balancing,
        demotion=machine.demotion,
        about=top.read("about", Value.text, ""),
        notes=tuple(machine.notes),
    )


_Entry = tuple[float, str, Value]
"""When, which call, its arguments."""


def _entries(value: Value) -> Iterator[_Entry]:
    items = value.items()
    if len(items) > MAX_STEPS:
        value.fail(f"has more than {MAX_STEPS} steps")
    latest = 0.0
    for item in items:
        keys = dict(item.pairs())
        if "at" not in keys:
            item.fail("the key 'at' is missing", "write - {at: 1s, touch: {task: …}}")
        at = keys.pop("at").seconds()
        if at < latest:
            item.fail(f"at {at:g}s comes before the step above ({latest:g}s)", "put the steps in the order of time")
        latest = at
        if len(keys) != 1:
            item.fail("a step is 'at' and one call", f"calls: {', '.join(STEPS)}")
        yield at, *next(iter(keys.items()))


def _tried(tries: Sequence[str], at: float) -> Iterator[_Entry]:
    for number, text in enumerate(tries):
        calls = list(parse_yaml(text, f"--try {number + 1}").pairs())
        if len(calls) != 1:
            raise ParseError(f"--try {number + 1} is not one call", "write 'migrate_pages: {task: db, from: 0, to: 1}'")
        yield at + number, *calls[0]


def _steps(
    entries: list[_Entry], machine: MachineReader, processes: tuple[ProcessSpec, ...], cpusets: Describer
) -> tuple[Step, ...]:
    by_name = {process.name: process for process in processes}
    out: list[Step] = []
    for at, call, body in sorted(entries, key=lambda entry: entry[0]):
        step = parse_step(at, call, body, Known(machine.ids, machine.node_of_cpu, by_name, machine.files))
        cpusets.check_step(step, body, by_name)
        if isinstance(step.action, Fork):
            child = step.action.child
            if child in by_name:
                body.fail(f"there is a process '{child}' already", "give the child its own name")
            by_name[child] = replace(by_name[step.task], name=child)
        out.append(step)
    return tuple(out)
