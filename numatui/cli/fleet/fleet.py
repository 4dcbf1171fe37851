"""`numatui fleet`: the options that say which hosts, and the commands for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.errors import UsageError
from backend.fleet.reach import FANOUT, TIMEOUT
from numatui.cli.commands import SETTINGS
from numatui.cli.fleet import look, move
from numatui.cli.fleet.chosen import Wanted, chosen
from numatui.cli.option_groups import expanded
from numatui.cli.source import KernelChoice

fleet = typer.Typer(help="Look at many machines at once, and move on them.", **SETTINGS)


@fleet.callback(invoke_without_command=True)
def choose(
    context: typer.Context,
    hosts: Annotated[
        str | None, typer.Option("--hosts", metavar="SET", help="Hosts as ClusterShell writes them: 'db[1-3],@web'.")
    ] = None,
    hosts_file: Annotated[
        Path | None, typer.Option("--hosts-file", metavar="FILE", help="A file with a set of hosts on each line.")
    ] = None,
    fanout: Annotated[int, typer.Option(min=1, max=1024, help="Hosts that are asked at a time.")] = FANOUT,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="What each host has.")] = TIMEOUT,
    sudo: Annotated[bool, typer.Option("--sudo", help="As root there, by sudo without a password.")] = False,
) -> None:
    """Look at many machines at once, over ssh, and move memory on them. Nothing is installed there.

    Without a command: the terminal UI, a line a host; Enter opens one.

    Example: numatui fleet --hosts 'db[1-40]' doctor
    """
    source = context.find_object(KernelChoice)
    if source is not None and source.which is not None:
        option = "host" if source.which == "remote" else source.which
        raise UsageError(f"a fleet is of other hosts, but --{option} names a machine", "leave it out")
    context.obj = Wanted(hosts, hosts_file, sudo, fanout, timeout)
    if context.invoked_subcommand is None:
        from numatui.cli.open_ui import open_fleet_ui
        from numatui.tui.fleet.reader import Fleet

        found = chosen(context)
        name = hosts or str(hosts_file)
        raise typer.Exit(open_fleet_ui(Fleet(name, found.hosts, sudo, fanout, timeout)))


for one in (look.nodes, look.ps, look.doctor, look.jobs, look.advise, look.watch_status, move.migrate, move.undo):
    fleet.command(one.__name__.replace("_", "-"))(expanded(one))
