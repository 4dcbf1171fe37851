"""A closed or full standard output never changes what is done, nor the exit code; and errors are documents too."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from numatui.cli.printing.output import print_error
from tests import ROOT
from tests.cli.running import Cli, one_line
from tests.schemas import check

MOVE = ("--demo", "migrate", "19", "--from", "1", "--to", "3", "--yes")


def lost(how: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run with a standard output whose reader has gone, or that is full."""
    command = [sys.executable, "-m", "numatui", *arguments]
    options: dict[str, Any] = {
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": ROOT,
        "env": {**os.environ, **environment},
    }
    if how == "full":
        with open("/dev/full", "w") as full:
            return subprocess.run(command, stdout=full, check=False, **options)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(command, stdout=writer, check=False, **options)
    finally:
        os.close(writer)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("how", ["closed", "full"])
@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_the_move_goes_on_and_one_line_says_that_output_was_lost(how: str, form: Any, unbuffered: str) -> None:
    done = lost(how, *MOVE, *form, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 0, done.stderr
    assert one_line(done.stderr), done.stderr
    assert "could not be written" in done.stderr


def test_so_does_a_change_of_a_cpuset() -> None:
    change = ("--demo", "cpuset-keeps-interleave", "cpuset", "set-mems", "left", "0-3", "--yes")
    done = lost("closed", *change, PYTHONUNBUFFERED="1")
    assert done.returncode == 0, done.stderr
    assert "could not be written (EPIPE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "99999999"), 4), (("plan", "1", "--from", "9", "--to", "0"), 4), (("ps", "--sort", "nope"), 2),
        (("--replay", "/nope", "ps"), 4), (("plan", "--frm", "0"), 2), (("apply", "/nope"), 4),
        (("--demo", "undo"), 5),
    ],
)  # fmt: skip
def test_an_error_is_a_document_with_json_and_one_line_without(cli: Cli, arguments: tuple[str, ...], code: int) -> None:
    got, out, err = cli(*arguments, "--json")
    assert got == code, err
    assert one_line(err)
    document = check(json.loads(out))
    assert (document["schema"], document["code"]) == ("numatui/error/1", code)
    assert document["what"] in re.sub(r" \(.*?\)", "", err) or document["what"] in err
    got, out, again = cli(*arguments)
    assert (got, out, again) == (code, "", err)


def test_what_why_and_fix_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(3, "x cannot be read (EACCES (Permission denied))", "be root")
    document = check(json.loads(capsys.readouterr().out))
    assert (document["what"], document["why"], document["fix"]) == (
        "x cannot be read", "EACCES (Permission denied)", "be root",
    )  # fmt: skip
    print_error(1, "\x1b[2J\udcff", "")
    document = check(json.loads(capsys.readouterr().out))
    assert document["what"].isprintable()
    assert (document["why"], document["fix"]) == (None, None)


def interrupted(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


START = (
    "import builtins, signal, os, sys; real = builtins.__import__\n"
    "def slow(name, *rest, **more):\n"
    "    if name == WHEN: builtins.__import__ = real; os.kill(os.getpid(), signal.SIGINT)\n"
    "    return real(name, *rest, **more)\n"
    "builtins.__import__ = slow\n"
    "sys.argv = ['numatui', *sys.argv[1:]]\n"
    "from numatui.__main__ import main; sys.exit(main())"
)


@pytest.mark.parametrize("when", ["numatui.cli.app", "typer", "numatui.cli.source"])
def test_ctrl_c_while_it_starts_is_one_line(when: str) -> None:
    done = interrupted(START.replace("WHEN", repr(when)), "ps")
    assert done.returncode == 130, done.stderr
    assert done.stderr == "numatui: interrupted\n"


def test_ctrl_c_in_completion_is_quiet_about_it(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    from numatui.cli import app

    class Interrupting:
        def main(self, *_: object, **__: object) -> Callable[[], None]:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError

    monkeypatch.setattr(app, "command_line", Interrupting)
    monkeypatch.setenv(app.COMPLETE, "complete_bash")
    code, out, err = cli("ps")
    assert (code, out, err) == (130, "", "numatui: interrupted\n")


@pytest.mark.parametrize("words", [("nodes",), ("plan", "11", "--from", "2", "--to", "1"), ("ps",)])
def test_a_locale_without_arrows_is_no_traceback(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "numatui", "--demo", *words],
        capture_output=True, cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
