"""The commands by name. The module of a command is imported when it is looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer

COMMANDS: dict[str, str] = {
    "ps": "numatui.cli.look.ps:ps",
    "nodes": "numatui.cli.look.nodes:nodes",
    "show": "numatui.cli.look.show:show",
    "plan": "numatui.cli.move.plan:plan",
    "migrate": "numatui.cli.move.migrate:migrate",
    "jobs": "numatui.cli.look.jobs:jobs",
    "undo": "numatui.cli.move.undo:undo",
    "advise": "numatui.cli.move.advise:advise",
    "watch": "numatui.cli.move.watch:watch",
    "cgroups": "numatui.cli.look.cgroups:cgroups",
    "cpuset": "numatui.cli.move.cpuset:cpuset",
    "emulate": "numatui.cli.emulate.emulate:emulate",
    "record": "numatui.cli.emulate.record:record",
    "replay": "numatui.cli.emulate.record:replay",
    "bench": "numatui.cli.move.bench:bench",
    "exporter": "numatui.cli.shell.exporter:exporter",
    "keys": "numatui.cli.shell.keys:keys",
    "doctor": "numatui.cli.look.doctor:doctor",
    "schema": "numatui.cli.shell.schema:schema",
    "completion": "numatui.cli.shell.completion:completion",
    "man": "numatui.cli.shell.manual:man",
}
"""In the order of --help: module:function, or a typer.Typer that has commands of its own."""

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
            module, _, attribute = COMMANDS[name].partition(":")
            found = getattr(import_module(module), attribute)
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(**SETTINGS)
                alone.command(name)(found)
                found = alone
            self._made[name] = typer.main.get_command(found)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)
