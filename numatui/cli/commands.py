"""The commands by name. The module of a command is imported when it is looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer

from numatui.cli.option_groups import expanded


class Entry(NamedTuple):
    """`where`: module:function, or a typer.Typer that has commands of its own. `summary`: what --help lists, and what a
    shell shows beside the name."""

    where: str
    summary: str


GROUPS: dict[str, dict[str, Entry]] = {
    "Look": {
        "ps": Entry("numatui.cli.look.ps:ps", "List processes with their memory per node."),
        "nodes": Entry("numatui.cli.look.nodes:nodes", "List nodes: memory, CPUs, distances, allocations."),
        "tier": Entry("numatui.cli.look.tier:tier", "List memory tiers, and who moves pages between them."),
        "show": Entry("numatui.cli.look.show:show", "Show one process, mapping by mapping."),
        "heat": Entry("numatui.cli.look.heat:heat", "Show how much of a process's memory is used, and where."),
        "cgroups": Entry("numatui.cli.look.cgroups:cgroups", "List services and containers with memory per node."),
        "doctor": Entry("numatui.cli.look.doctor:doctor", "Check kernel and permissions, and say how to fix them."),
    },
    "Move": {
        "plan": Entry("numatui.cli.move.plan:plan", "Say what a migration would move, without moving anything."),
        "migrate": Entry("numatui.cli.move.migrate:migrate", "Move pages between nodes while the process runs."),
        "apply": Entry("numatui.cli.move.apply:apply", "Carry out a saved plan, if it still holds."),
        "jobs": Entry("numatui.cli.look.jobs:jobs", "List migrations, the newest first."),
        "undo": Entry("numatui.cli.move.undo:undo", "Move the pages of a job back to where they were."),
        "advise": Entry("numatui.cli.move.advise:advise", "Watch processes for a while, and advise what to move."),
        "watch": Entry("numatui.cli.move.watch:watch", "Keep memory where processes run, by a policy."),
        "cpuset": Entry("numatui.cli.move.cpuset:cpuset", "List cpusets, set their mems, attach processes."),
        "bench": Entry("numatui.cli.move.bench:bench", "Measure how fast pages move, and how long that stalls."),
    },
    "Emulate and record": {
        "emulate": Entry("numatui.cli.emulate.emulate:emulate", "Run a scenario and report every step."),
        "record": Entry("numatui.cli.emulate.record:record", "Record this machine, or a demo, over time."),
        "replay": Entry("numatui.cli.emulate.record:replay", "Look at a recording in the terminal UI."),
    },
    "Many machines": {
        "fleet": Entry("numatui.cli.fleet.fleet:fleet", "Look at many machines at once, and move on them."),
    },
    "Connect": {
        "exporter": Entry("numatui.cli.shell.exporter:exporter", "Serve metrics for Prometheus."),
        "schema": Entry("numatui.cli.shell.schema:schema", "Print the JSON Schema of a command's documents."),
        "completion": Entry("numatui.cli.shell.completion:completion", "Print the completion script of a shell."),
        "agent": Entry("numatui.cli.shell.agent:agent", "Print the program that --host sends to another machine."),
        "helper": Entry("numatui.cli.shell.helper:helper", "Say what root's helper lets you do; be that helper."),
        "man": Entry("numatui.cli.shell.manual:man", "Print the manual page."),
        "keys": Entry("numatui.cli.shell.keys:keys", "List the keys of the terminal UI."),
    },
}
"""In the order of --help, which imports none of them."""
COMMANDS: dict[str, Entry] = {name: entry for group in GROUPS.values() for name, entry in group.items()}

SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "no_args_is_help": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}
"""Arguments of every typer.Typer here."""


class LazyCommands(Mapping[str, Any]):
    """Click's command objects by name, each made when it is looked up. Building all of them takes longer than most
    commands run."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, _, attribute = COMMANDS[name].where.partition(":")
            found = getattr(import_module(module), attribute)
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(**SETTINGS)
                alone.command(name)(expanded(found))
                found = alone
            made: Any = typer.main.get_command(found)
            made.short_help = COMMANDS[name].summary
            self._made[name] = made
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)
