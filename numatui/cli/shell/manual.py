"""`numatui man`: the manual page, made from what --help prints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from platformdirs import user_data_path

from backend.errors import NotPermitted
from backend.state.private_file import replace_private
from numatui import __version__
from numatui.cli.app import command_line

EXIT_CODES = {
    0: "Done, or nothing to do; pages that the plan had announced as staying are no failure.",
    1: "Another error.",
    2: "Usage: a malformed set, an unknown option, nobody there to confirm.",
    3: "No permission.",
    4: "No such process, node, scenario, schema or recording, or the process ended while it was moved.",
    5: "Not supported by this kernel, machine or recording.",
    6: "Moved in part: something stayed that the plan had not announced, or something failed on the way.",
    7: "Refused, nothing moved.",
    8: "Busy: another job is at work on the process, or another watch runs.",
    130: "Interrupted; what had moved stays moved.",
}
_FILES = {
    "$XDG_STATE_HOME/numatui/jobs/": "The journals of migrations, which numatui jobs and numatui undo read.",
    "$XDG_STATE_HOME/numatui/watch.jsonl": "The audit log of numatui watch.",
    "/etc/numatui/helper.yaml": "What the helper lets whom do.",
    "$XDG_STATE_HOME/numatui/fleet/": "Which host has which job of numatui fleet migrate.",
    "$XDG_STATE_HOME/numatui/rates.json": "What numatui bench has measured.",
    "$XDG_STATE_HOME/numatui/tui.json": "State of the terminal UI, restored at its next start.",
    "$XDG_CONFIG_HOME/numatui/config.yaml": "Theme, interval and keys of the terminal UI.",
    "$XDG_CONFIG_HOME/numatui/themes/": "Your own themes.",
}
_ENVIRONMENT = {
    "NO_COLOR": "Without colours.",
    "NUMATUI_ASCII": "The same as --ascii.",
    "XDG_STATE_HOME, XDG_CONFIG_HOME": "Base folders of these files. Default: ~/.local/state and ~/.config.",
}


def man(
    install: Annotated[
        bool,
        typer.Option("--install", help="Put it where man(1) finds it: your own share/man, or for root the machine's."),
    ] = False,
) -> None:
    """Print the manual page.

    Example: numatui man | man -l -
    """
    text = page(command_line())
    if not install:
        print(text, end="")
        return
    path = _folder() / "numatui.1"
    _write(path, text)
    print(path)


def _folder() -> Path:
    """man(1) looks in the share/man beside each bin of PATH: ~/.local/bin has that of a user's programs."""
    share = Path("/usr/local/share") if os.geteuid() == 0 else user_data_path().absolute()
    return share / "man" / "man1"


def _write(path: Path, text: str) -> None:
    """Raises NotPermitted."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_private(path, text)
        path.chmod(0o644)
    except OSError as exc:
        raise NotPermitted(f"{path} cannot be written ({exc.strerror})", "numatui man > FILE prints it") from None


def page(command: Any) -> str:
    """The whole page as roff (man(7)). `command`: click's."""
    return "\n".join(_lines(command)) + "\n"


def _lines(command: Any) -> Iterator[str]:
    yield f'.TH NUMATUI 1 "" "numatui {__version__}" "User Commands"'
    yield ".SH NAME"
    yield _text("numatui - see where the memory of processes lies on a NUMA machine, and move it")
    yield ".SH SYNOPSIS"
    yield ".B numatui"
    yield _text("[--live | --demo [SCENARIO] | --replay PATH [--at PLACE]] [COMMAND] [ARGUMENT]...")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help)
    yield ".SH OPTIONS"
    yield from _parameters(command)
    yield ".SH COMMANDS"
    for path, one in commands(command):
        yield f".SS {_text('numatui ' + path)}"
        yield f".B {_text(' '.join(['numatui', path, *_usage(one)]))}"
        yield ".PP"
        yield from _paragraphs(one.help)
        yield from _parameters(one)
    yield ".SH NODE SETS"
    yield _text(
        "libnuma's grammar: 0, 0,2, 0-3, 0-1,3, all, !1-2 (all others), +0-1 (relative: counted through the nodes that "
        "exist). As a target also same: the same set as the sources."
    )
    for heading, entries in (
        ("EXIT STATUS", {str(code): text for code, text in EXIT_CODES.items()}),
        ("FILES", _FILES),
        ("ENVIRONMENT", _ENVIRONMENT),
    ):
        yield f".SH {heading}"
        for name, text in entries.items():
            yield from (".TP", f".B {_text(name)}", _text(text))
    yield ".SH SEE ALSO"
    yield _text(
        "numactl(8), numastat(8), migratepages(8), move_pages(2), migrate_pages(2), cpuset(7), numa(7), lstopo(1)"
    )


def commands(command: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """(path, command) of all commands, in the order of --help."""
    for name, one in command.commands.items():
        path = f"{before}{name}"
        if getattr(one, "commands", None):
            yield from commands(one, path + " ")
        else:
            yield path, one


def _usage(command: Any) -> list[str]:
    context = type(command).context_class(command, info_name="")
    return list(command.collect_usage_pieces(context))


def _paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in (text or "").strip().split("\n\n"):
        words = " ".join(paragraph.split())
        yield from (".PP", _text(words))


def _parameters(command: Any) -> Iterator[str]:
    context = type(command).context_class(command, info_name="")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        names, text = record
        yield from (".TP", f".B {_text(names)}", _text(" ".join(text.split()) or "."))


def _text(text: str) -> str:
    """Escaped for roff: backslashes, dashes, characters that are not ASCII, and a leading `.` or `'` (a request)."""
    escaped = re.sub(r"-(?=\S)", r"\\-", text.replace("\\", "\\e"))
    escaped = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped
