"""Names that other users choose, in commands that are printed to be copied: a shell takes each for one word, itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.cgroup.cpuset_tree import read_cpusets
from backend.cpuset.change import predict_mems, write_mems
from backend.cpuset.rules import check_own
from backend.errors import NumatuiError
from backend.files.shell_word import path_word, shell_word
from backend.nodeset import NodeSet
from backend.selection.selection import Selection
from tests.backend.cpuset.test_cpusets import recorded

SHELLS = [name for name in ("bash", "zsh") if shutil.which(name)]
HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "a;touch pwned", "a'b", "a b", "a\ntouch pwned", "\x1b[2J", "a>pwned", "-x", "~",
    "=ls", "\udcff", "a\\", "*", "#a", "進程",
]  # fmt: skip
ANY_BYTES = st.binary(min_size=1).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
NAMES = st.one_of(st.sampled_from(HOSTILE), ANY_BYTES)


def words(shell: str, line: str, folder: Path) -> list[bytes]:
    """What a shell makes of a line, without running it as a command."""
    done = subprocess.run(
        [shell, "-c", f"printf '%s\\0' {line}"], cwd=folder, capture_output=True, check=True, timeout=30
    )
    assert not list(folder.iterdir())
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None)
@given(NAMES)
def test_it_is_one_word_that_is_the_name(tmp_path_factory: pytest.TempPathFactory, shell: str, text: str) -> None:
    folder = tmp_path_factory.mktemp("shell")
    assert words(shell, f"{shell_word(text)} end", folder) == [os.fsencode(text), b"end"]
    assert shell_word(text).isprintable()
    (path, _) = words(shell, f"{path_word(text)} end", folder)
    assert path in (os.fsencode(text), b"./" + os.fsencode(text))
    assert not path.startswith(b"-")


@pytest.mark.parametrize("name", HOSTILE)
def test_commands_about_cgroups_are_harmless(tmp_path: Path, name: str) -> None:
    unit = f"{name}.service"
    kernel = recorded(
        tmp_path / "tree",
        {
            "/": {"cpuset.mems.effective": "0-1\n", "cgroup.subtree_control": "memory\n"},
            f"/{unit}": {"cpuset.mems": "0\n", "cpuset.mems.effective": "0\n", "cgroup.procs": ""},
            f"/{unit}/{name}": {"cgroup.procs": ""},
        },
    )
    tree = read_cpusets(kernel)
    folder = tmp_path / "empty"
    folder.mkdir()
    path = os.fsencode(f"/{unit}")
    with pytest.raises(NumatuiError) as caught:
        check_own(tree, tree.at(f"/{unit}/{name}"))
    command, arrow, line = caught.value.fix.partition(" > ")
    assert (command, arrow) == ("echo +cpuset", " > ")
    assert words("bash", line, folder)[0].endswith(b"/cgroup.subtree_control")
    with pytest.raises(NumatuiError) as caught:
        write_mems(kernel, f"/{unit}", NodeSet([1]), known=(NodeSet([1]),))
    assert words("bash", caught.value.fix, folder) == [b"numatui", b"cpuset", b"set-mems", path, b"1"]
    (note,) = (one for one in predict_mems(kernel, f"/{unit}", NodeSet([1])).notes if "systemctl" in one)
    command = note.partition(": ")[2].removesuffix(" keeps it") if ": systemctl" in note else note
    assert words("bash", command, folder) == [
        b"systemctl", b"set-property", b"--", path[1:], b"AllowedMemoryNodes=1",
    ]  # fmt: skip


def test_a_selection_is_told_as_it_was_typed(tmp_path: Path) -> None:
    text = Selection(patterns=("a;b",), cgroup=("/x y",)).text
    assert words("bash", text, tmp_path) == [b"a;b", b"--cgroup", b"/x y"]
