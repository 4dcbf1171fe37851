"""Tab, and the manual page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.emulator.scenario.shipped import names as scenarios
from numatui.cli.app import COMMANDS, command_line
from numatui.cli.shell import manual
from numatui.cli.shell.completing import harmless
from tests import ROOT
from tests.cli.running import Cli

HOSTILE = r"""
machine:
  nodes: [{id: 0, memory: 64MiB, cpus: 0-1}, {id: 1, memory: 64MiB, cpus: 2-3}]
processes:
  - {name: "x\\", command: "a\\\"; touch /tmp/owned #", uid: 0, node: 0}
  - {name: "y", command: "$(touch /tmp/owned) `id` [bold]x[/bold] 'q' \x1b[31m\n\x07", uid: 7, node: 1}
"""


def complete(line: str, monkeypatch: pytest.MonkeyPatch, cli: Cli, shell: str = "zsh") -> list[str]:
    """What a shell is told for a command line with the cursor at its end."""
    monkeypatch.setenv("_NUMATUI_COMPLETE", f"complete_{shell}")
    if shell == "bash":
        words = line.split(" ")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    else:
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    code, out, err = cli()
    assert (code, err) == (0, "")
    return out.splitlines()


def values(lines: list[str]) -> list[str]:
    return [found[1] for line in lines if (found := re.search(r'(?:^|\()"([^"]*)"', line))]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_words_of_all_kinds(shell: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def words(line: str) -> list[str]:
        found = complete(line, monkeypatch, cli, shell)
        return [word for word in found if word] if shell == "bash" else values(found)

    assert set(words("numatui ")) >= set(COMMANDS)
    assert words("numatui --demo show 1") == ["1", "11", "14", "15", "19"]
    assert words("numatui --demo plan 6 --from ") == ["0", "1", "2", "3", "all", "same"]
    assert words("numatui --demo scheduler-moves plan 3 --to 1") == ["1"]
    assert words("numatui emulate s") == [name for name in scenarios() if name.startswith("s")]
    assert "scheduler-moves" in words("numatui --demo sch")
    assert words("numatui --demo migrate 6 --method mi") == ["migrate_pages"]
    assert words("numatui --demo ps --user p") == ["postgres", "prometheus"]
    assert words("numatui schema no") == ["nodes"]
    assert words("numatui completion ") == ["bash", "zsh", "fish"]
    assert words("numatui --replay /nowhere show ") == []


def test_pids_come_with_names_where_the_shell_shows_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = complete("numatui --demo show 1", monkeypatch, cli)
    assert any("mysqld" in line for line in lines)


def test_nothing_that_a_process_is_called_reaches_the_shell(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(HOSTILE)
    lines = complete(f"numatui --demo {path} show ", monkeypatch, cli)
    assert values(lines) == ["1", "3", "4"]
    for line in lines:
        assert not set(line) & set("\\$`;#[]<>|&\x1b"), line
    assert all(set(harmless(text)) <= set("?x ") for text in ("$x", "`x", "x\\", "\x1b\n", "'\""))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ('numatui show "a', []),
        ("numatui undo 'a b", []),
        ("numatui \\", list(COMMANDS)),
        ("numatui --demo", ["--demo"]),
        ("numatui nope ", list(COMMANDS)),
        ('numatui --demo show "1', ["1", "11", "14", "15", "19"]),
    ],
)
def test_half_typed_lines_get_the_offers_that_fit(
    line: str, offered: list[str], shell: str, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    lines = [one for one in complete(line, monkeypatch, cli, shell) if one]
    assert (values(lines) if shell == "zsh" else [one.partition("\t")[0] for one in lines]) == offered


@pytest.fixture
def in_shell(tmp_path: Path) -> Callable[..., str]:
    """Runs a script in a real shell, with numatui to be found in PATH: its output."""
    program = tmp_path / "bin" / "numatui"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m numatui "$@"\n')
    program.chmod(0o755)

    def run(command: list[str], script: str) -> str:
        if shutil.which(command[0]) is None:
            pytest.skip(f"needs {command[0]}")
        done = subprocess.run(
            [*command, "-c", script],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            errors="replace",
            env={
                **os.environ,
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "PYTHONPATH": os.getcwd(),
                "HOME": str(tmp_path),
                "TERM": "xterm",
            },
        )
        assert not done.stderr
        return done.stdout

    return run


def test_bash_itself(in_shell: Callable[..., str]) -> None:
    script = """
eval "$(numatui completion bash)"
COMP_WORDS=(numatui --demo show 1) COMP_CWORD=3
_numatui_completion numatui
printf '%s\\n' "${COMPREPLY[@]}"
"""
    assert in_shell(["bash", "--norc"], script).split() == ["1", "11", "14", "15", "19"]


def test_fish_itself(in_shell: Callable[..., str]) -> None:
    script = 'numatui completion fish | source; complete -C "numatui --demo show 1"'
    offers = dict(line.split("\t") for line in in_shell(["fish", "--no-config"], script).splitlines())
    assert list(offers) == ["1", "11", "14", "15", "19"]
    assert offers["11"].startswith("/usr/sbin/mysqld")


ZSH = r"""
zmodload zsh/zpty
zpty z "PS1='>' zsh -f -i"
zpty -w z 'autoload -Uz compinit && compinit -u -D; eval "$(numatui completion zsh)"; bindkey "^I" complete-word
echo REA""DY'
zpty -r z out '*READY*'
zpty -w -n z $'numatui --demo SCENARIO show LETTERS\t'
zpty -r z out '*LAST*'
print -r -- "$out"
"""
"""A real terminal in which a real zsh is asked, by one Tab."""


def test_zsh_itself(in_shell: Callable[..., str]) -> None:
    script = ZSH.replace("SCENARIO", "default").replace("LETTERS", "1").replace("LAST", "spark")
    shown = in_shell(["zsh", "-f"], script)
    assert re.findall(r"(\d+) +-- ", shown) == ["1", "11", "14", "15", "19"]
    assert "mysqld" in shown


def test_zsh_runs_nothing_that_a_process_is_called(in_shell: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "hostile.yaml").write_text(HOSTILE.replace("/tmp/owned", "owned"))
    script = ZSH.replace("SCENARIO", "hostile.yaml").replace("LETTERS", "").replace("LAST", "touch owned? ?id")
    assert re.findall(r"(\d+) +-- ", in_shell(["zsh", "-f"], script)) == ["1", "3", "4"]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(cli: Cli, shell: str) -> None:
    code, out, _ = cli("completion", shell)
    assert code == 0
    assert "_NUMATUI_COMPLETE" in out


def plain(roff: str) -> str:
    """What a reader sees."""
    roff = re.sub(r"\\\[u([0-9A-F]{4,5})\]", lambda found: chr(int(found[1], 16)), roff)
    return " ".join(roff.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\").split())


def test_the_manual_says_what_help_says(cli: Cli) -> None:
    command = command_line()
    page = plain(manual.page(command))
    found = [path for path, _ in manual.commands(command)]
    assert {path.split()[0] for path in found} == set(COMMANDS)
    for path, one in manual.commands(command):
        code, told, _ = cli(*path.split(), "--help")
        assert code == 0
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", told)) - {"--help"}:
            assert option in page, (path, option)
        for sentence in (one.help or "").split("\n\n"):
            assert " ".join(sentence.split()) in page
    assert manual.page(command) == cli("man")[1]


def test_the_manual_in_the_repository_has_all_commands_and_options() -> None:
    command = command_line()
    kept = plain((ROOT / "docs/numatui.1").read_text())
    options = re.compile(r"--[a-z][a-z-]+")
    now = plain(manual.page(command))
    assert set(options.findall(kept)) == set(options.findall(now))
    for path, one in manual.commands(command):
        assert f"numatui {path}" in kept
        for paragraph in (one.help or "").split("\n\n"):
            assert " ".join(paragraph.split()) in kept, "numatui man > docs/numatui.1"


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_is_sound_roff(cli: Cli) -> None:
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=cli("man")[1], capture_output=True, text=True)
    assert not done.stderr


def test_the_documents_and_the_manual_have_the_same_exit_codes() -> None:
    table = (ROOT / "docs/commands.md").read_text().partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == set(manual.EXIT_CODES)


def test_the_manual_is_put_where_man_looks(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    where = tmp_path / "man" / "man1" / "numatui.1"
    for _ in range(2):
        assert cli("man", "--install") == (0, f"{where}\n", "")
        assert where.read_text() == cli("man")[1]
        assert where.stat().st_mode & 0o777 == 0o644
        assert [file.name for file in where.parent.iterdir()] == ["numatui.1"]
    where.unlink()
    where.mkdir()
    code, out, err = cli("man", "--install")
    assert (code, out) == (3, "")
    assert "numatui man > FILE" in err
