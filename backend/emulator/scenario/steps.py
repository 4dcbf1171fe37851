"""The actions of steps by name, and the parser of a step."""

from __future__ import annotations

from typing import Any

from backend.emulator.scenario import cpuset_steps, file_steps, machine_steps, memory_steps
from backend.emulator.scenario.describe_processes import ProcessSpec
from backend.emulator.scenario.file_steps import MAX_IO
from backend.emulator.scenario.step import Action, Known, Step, key_of, optional_keys, required_keys
from backend.emulator.scenario.step_arguments import ARGUMENTS
from backend.emulator.storage.filesystem import MAX_PAGES
from backend.files.yaml_reader import Value

STEPS: dict[str, type[Action]] = {
    "touch": memory_steps.Touch,
    "schedule": memory_steps.Schedule,
    "migrate_pages": memory_steps.MigratePages,
    "move_pages": memory_steps.MovePages,
    "set_mempolicy": memory_steps.SetMempolicy,
    "mbind": memory_steps.Mbind,
    "dontneed": memory_steps.Dontneed,
    "pin": memory_steps.Pin,
    "fork": memory_steps.Fork,
    "mlock": memory_steps.Mlock,
    "munlock": memory_steps.Munlock,
    "ksm": memory_steps.Ksm,
    "offline": machine_steps.Offline,
    "online": machine_steps.Online,
    "bad_page": machine_steps.BadPage,
    "read": file_steps.Read,
    "write": file_steps.Write,
    "fsync": file_steps.Fsync,
    "msync": file_steps.Msync,
    "truncate": file_steps.Truncate,
    "unlink": file_steps.Unlink,
    "swapoff": machine_steps.Swapoff,
    "cpuset": cpuset_steps.ChangeCpuset,
    "attach": cpuset_steps.Attach,
    "echo": cpuset_steps.Echo,
    "exit": memory_steps.Exit,
}


def parse_step(at: float, call: str, body: Value, known: Known) -> Step:
    """Parse a step. Raises ParseError that names file, line and key."""
    kind = STEPS.get(call)
    if kind is None:
        body.fail(f"there is no step '{call}'", f"choose one of {', '.join(STEPS)}")
    own = ("task",) if kind.of_task else ()
    required = (*own, *required_keys(kind))
    keys = body.mapping((*required, *optional_keys(kind)), required)
    process = _process(keys.pop("task"), known) if kind.of_task else None
    given: dict[str, Any] = {key: ARGUMENTS[key](value, known) for key, value in keys.items()}
    _check_pages(given, keys, process)
    fields = {key_of(name): name for name in kind.__dataclass_fields__}
    action = kind(**{fields[key]: value for key, value in given.items()})
    return Step(at, call, process.name if process else "", action, given)


def _process(value: Value, known: Known) -> ProcessSpec:
    found = known.processes.get(value.text())
    if found is None:
        value.fail(f"there is no process '{value.text(100)}'", f"there are {', '.join(known.processes) or 'none'}")
    return found


def _check_pages(given: dict[str, Any], keys: dict[str, Value], process: ProcessSpec | None) -> None:
    """Check that the region exists and has the pages, and that a page range of a file is within the limits. Raises
    ParseError."""
    if "file" in given and "pages" in given:
        first, last = given["pages"]
        if last - first >= MAX_IO or last >= MAX_PAGES:
            keys["pages"].fail("is too much for one step", f"{MAX_IO} pages at most, of the first {MAX_PAGES}")
    if "region" in given and process:
        regions = {region.name: region for region in process.memory}
        region = regions.get(given["region"])
        if region is None:
            keys["region"].fail(
                f"'{process.name}' has no region '{given['region']}'", f"it has {', '.join(regions) or 'none'}"
            )
        if "pages" in given and given["pages"][1] >= region.pages:
            keys["pages"].fail(f"the region has the pages 0-{region.pages - 1}")
