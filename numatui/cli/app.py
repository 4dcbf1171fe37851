"""The command line: options before the command; every error is one line and an exit code."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.errors import NumatuiError
from numatui import __version__
from numatui.cli.commands import COMMANDS, GROUPS, SETTINGS, LazyCommands
from numatui.cli.printing import hints
from numatui.cli.shell import completing
from numatui.cli.source import KernelChoice

COMPLETE = "_NUMATUI_COMPLETE"
"""Environment variable that a shell's completion script sets to ask for completions."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"numatui {__version__}")
        raise typer.Exit


def numatui(
    context: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="This machine, even if it has only one node.")] = False,
    demo: Annotated[
        str | None,
        typer.Option(
            "--demo",
            metavar="[SCENARIO]",
            help="An emulated machine: a shipped scenario's name, or a YAML file.",
            autocompletion=completing.scenarios_or_commands,
        ),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option("--replay", metavar="PATH", help="A recorded machine: a folder or tarball with proc/ and sys/."),
    ] = None,
    at: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Where in the recording: the number of a sample, a time (90s), or last. Default: its beginning. "
            "With --demo: how much of its time has passed.",
        ),
    ] = "",
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="[USER@]HOST",
            help="Another machine, over ssh: nothing is installed there. It needs python3 (3.6 or later).",
        ),
    ] = None,
    sudo: Annotated[
        bool, typer.Option("--sudo", help="With --host: as root there, by sudo without a password.")
    ] = False,
    ascii: Annotated[
        bool, typer.Option("--ascii", help="The terminal UI with ASCII characters only (or NUMATUI_ASCII=1).")
    ] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """See where the memory of processes lies on a NUMA machine, and move it.

    Without a command: the terminal UI, on this machine if it has two or more memory nodes, else on the demo machine.

    Example: numatui --demo ps
    """
    choice = KernelChoice.of(live, demo, replay, at, host, sudo)
    context.obj = choice
    hints.choose(choice)
    if ascii:
        os.environ["NUMATUI_ASCII"] = "1"
    if context.invoked_subcommand is None:
        from numatui.cli.open_ui import open_ui

        raise typer.Exit(open_ui(choice))


class CommandLine(TyperGroup):
    """Click's group of all commands. Accepts `--demo` without a value, and lists commands by subject."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asked_for = ctx.resilient_parsing and args[-1:] == ["--demo"]  # Tab after --demo
        return super().parse_args(ctx, args if asked_for else with_optional_values(args))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the groups of commands from their table: asking each for its help would import them all."""
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:10}", entry.summary) for name, entry in group.items()])


@cache
def command_line() -> Any:
    """Click's command object of the whole program."""
    made = typer.Typer(name="numatui", cls=CommandLine, **SETTINGS)
    made.callback(invoke_without_command=True)(numatui)
    group: Any = typer.main.get_command(made)
    group.commands = LazyCommands()
    return group


def with_optional_values(arguments: list[str]) -> list[str]:
    """Insert the default scenario after a `--demo` without a value: one before an option, a command or the end. Words
    from the command on stay as they are."""
    out: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--demo":
            alone = not rest or rest[0].startswith("-") or rest[0] in COMMANDS
            out += ["--demo", "default" if alone else rest.pop(0)]
        else:
            if not word.startswith("-") or word in ("--help", "-h"):
                return [*out, word, *rest]
            out.append(word)
            if word in ("--replay", "--at", "--host") and rest:
                out.append(rest.pop(0))
    return out


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code. An error that a user or the machine can cause is one line, never a
    traceback."""
    try:
        command = command_line()
        if COMPLETE in os.environ:
            completing.register_shells()
            return int(command.main(arguments, "numatui", complete_var=COMPLETE, standalone_mode=False) or 0)
        with command.make_context("numatui", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except NumatuiError as exc:
        fix = hints.there(exc.fix)
        return _fail(f"{exc.what}; {fix}" if fix else exc.what, exc.exit_code, "--json" in arguments, exc.what, fix)
    except typer.Exit as exc:
        return exc.exit_code
    except SystemExit as exc:  # typer ends completion with sys.exit()
        return exc.code if isinstance(exc.code, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130, "--json" in arguments)
    except typer.TyperException as exc:
        context = getattr(exc, "ctx", None)
        message = _in_words(exc)
        fix = f"see {context.command_path if context else 'numatui'} --help"
        return _fail(f"{message}; {fix}", 2, "--json" in arguments, message, fix)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return _fail(f"{exc.strerror or exc}{where}", 1)


_NOT_A_NUMBER = re.compile(r"('.*') is not a valid (int|integer|float)( range)?", re.DOTALL)
_OUTSIDE = re.compile(r"(.*) is not in the range (?:(\d+)<=)?x(?:>=(\d+)|<=(\d+))", re.DOTALL)


def _in_words(exc: typer.TyperException) -> str:
    """What typer says, with the option that is meant and an example instead of types and inequalities."""
    message = str(getattr(exc, "message", "")) or exc.format_message()
    parameter = getattr(exc, "param", None)
    name = max(getattr(parameter, "opts", ()), key=len, default="")
    before = f"{name}: " if name.startswith("-") else ""
    if number := _NOT_A_NUMBER.match(message):
        return f"{before}{number[1]} is not a number; write it like {getattr(parameter, 'default', None) or 3}"
    if outside := _OUTSIDE.match(message):
        low, high = outside[2] or outside[3], outside[4]
        limits = " and ".join(filter(None, (low and f"at least {low}", high and f"at most {high}")))
        return f"{before}{outside[1]} is not possible; give {limits}"
    return message.rstrip(".")


def _fail(message: str, code: int, json: bool = False, what: str = "", fix: str = "") -> int:
    """One line on stderr. With `json` also a document on stdout."""
    from backend.files.text import printable

    with suppress(OSError, ValueError):
        sys.stdout.flush()
    sys.stderr.write(f"numatui: {printable(message, 2000)}\n")
    if json:
        from numatui.cli.printing.output import print_error

        with suppress(OSError, ValueError):
            print_error(code, what or message, fix)
            sys.stdout.flush()
    return code
