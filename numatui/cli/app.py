"""Puts the commands together; turns every error into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Annotated, Any

import typer

from backend.errors import NumatuiError
from numatui import __version__
from numatui.cli.emulate import emulate, record
from numatui.cli.look import cgroups, doctor, jobs, nodes, ps, show
from numatui.cli.move import advise, bench, cpuset, migrate, plan, undo, watch
from numatui.cli.shell import completing, completion, exporter, keys, manual, schema
from numatui.cli.source import Choice

COMMANDS: dict[str, Callable[..., None] | typer.Typer] = {
    "ps": ps.ps,
    "nodes": nodes.nodes,
    "show": show.show,
    "plan": plan.plan,
    "migrate": migrate.migrate,
    "jobs": jobs.jobs,
    "undo": undo.undo,
    "advise": advise.advise,
    "watch": watch.watch,
    "cgroups": cgroups.cgroups,
    "cpuset": cpuset.cpuset,
    "emulate": emulate.emulate,
    "record": record.record,
    "replay": record.replay,
    "bench": bench.bench,
    "exporter": exporter.exporter,
    "keys": keys.keys,
    "doctor": doctor.doctor,
    "schema": schema.schema,
    "completion": completion.completion,
    "man": manual.man,
}

ClickException: Any = typer.BadParameter.__mro__[2]
"""Click's base of all usage errors: some releases of typer bring their own click, so it is taken from typer."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"numatui {__version__}")
        raise typer.Exit


def numatui(
    context: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="This machine, also when it has one node only.")] = False,
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
            help="Where in the recording: the number of a sample, a time (90s), or last. Default: its beginning.",
        ),
    ] = "",
    ascii: Annotated[
        bool, typer.Option("--ascii", help="The terminal UI with ASCII characters only (or NUMATUI_ASCII=1).")
    ] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """See where the memory of processes lies on a NUMA machine, and move it.

    Without a command: the terminal UI, on this machine if it has two or more memory nodes, else on the demo machine.

    Example: numatui --demo ps
    """
    choice = Choice.of(live, demo, replay, at)
    context.obj = choice
    if ascii:
        os.environ["NUMATUI_ASCII"] = "1"
    if context.invoked_subcommand is None:
        from numatui.tui.start import start

        raise typer.Exit(start(choice))


def _app(names: Iterable[str]) -> typer.Typer:
    made = typer.Typer(
        name="numatui",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    made.callback(invoke_without_command=True)(numatui)
    for name in names:
        command = COMMANDS[name]
        if isinstance(command, typer.Typer):
            made.add_typer(command, name=name)
        else:
            made.command(name)(command)
    return made


app = _app(COMMANDS)


@cache
def _with(word: str) -> Any:
    """Click's commands: the one that is asked for alone, since typer takes longer to build them all than most of them
    take to run; all of them where it is none of them, for help and for the error."""
    return typer.main.get_command(_app([word]) if word in COMMANDS else app)


def with_optional_values(arguments: list[str]) -> list[str]:
    """`--demo` may stand alone: then the default scenario is meant, and the next word is the command."""
    before, rest = _split(arguments)
    return before + rest


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The options before the command, with a value for each that takes one; the command and what follows it."""
    out: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--demo":
            following = rest[0] if rest else None
            scenario = (
                "default" if following is None or following.startswith("-") or following in COMMANDS else rest.pop(0)
            )
            out += ["--demo", scenario]
        else:
            if not word.startswith("-") or word in ("--help", "-h"):
                return out, [word, *rest]
            out.append(word)
            if word in ("--replay", "--at") and rest:
                out.append(rest.pop(0))
    return out, []


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code. Never a traceback for what a user or the machine can cause."""
    try:
        if "_NUMATUI_COMPLETE" in os.environ:
            completing.prepare_environment(with_optional_values)
            from typer._completion_classes import completion_init

            completion_init()
            return int(app(args=arguments, prog_name="numatui", standalone_mode=False) or 0)
        before, rest = _split(arguments)
        command = _with(rest[0] if rest else "")
        with command.make_context("numatui", before + rest) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except NumatuiError as exc:
        return _fail(str(exc), exc.exit_code)
    except typer.Exit as exc:
        return exc.exit_code
    except SystemExit as exc:  # completion ends so
        return exc.code if isinstance(exc.code, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted: nothing more is done", 130)
    except ClickException as exc:
        context = getattr(exc, "ctx", None)
        message = str(getattr(exc, "message", "")) or exc.format_message()
        return _fail(f"{message.rstrip('.')}; see {context.command_path if context else 'numatui'} --help", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return _fail(f"{exc.strerror or exc}{where}", 1)


def _fail(message: str, code: int) -> int:
    from backend.files.text import printable

    sys.stderr.write(f"numatui: {printable(message, 2000)}\n")
    return code
