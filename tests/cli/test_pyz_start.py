"""The start of the archive: nobody else's code is run, and what cannot be unpacked is one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests import ROOT

NOBODY = 64321
"""A uid without an entry in passwd."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """As shiv makes one, but it only says where it would unpack."""
    path = tmp_path / "numatui.pyz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("__main__.py", "raise SystemExit('this is the start that is replaced')")
        file.writestr("_bootstrap.py", "import os\ndef bootstrap(): print(os.environ['SHIV_ROOT'])\n")
    raw = path.read_bytes()
    path.write_bytes(b"#!/usr/bin/env python3\n" + raw)
    subprocess.run([sys.executable, ROOT / "scripts/pyz_start.py", path], check=True)
    tmp_path.chmod(0o755)
    return path


SYSTEMS = Path("/usr/bin/python3")
"""That of the tests may lie in a home, where others cannot run it."""


def start(archive: Path, uid: int | None = None, **environment: str) -> tuple[int, str, str]:
    python = sys.executable if uid is None else SYSTEMS
    done = subprocess.run(
        ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environment.items()), python, archive],
        capture_output=True, text=True, user=uid, cwd="/",
    )  # fmt: skip
    return done.returncode, done.stdout.strip(), done.stderr


def test_it_unpacks_into_a_folder_of_the_users_own(archive: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert start(archive, HOME=str(home)) == (0, str(home / ".shiv"), "")
    assert (home / ".shiv").stat().st_mode & 0o777 == 0o700
    assert start(archive, HOME=str(home), SHIV_ROOT=str(tmp_path / "x"))[1] == str(tmp_path / "x")


@pytest.mark.parametrize("other", ["'cpython', '2.99'", "'pypy', '{}.{}'"])
def test_another_python_says_so_in_one_line(archive: Path, tmp_path: Path, other: str) -> None:
    version = "{}.{}".format(*sys.version_info)
    here = f"'cpython', '{version}'"
    changed = tmp_path / "other.pyz"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(changed, "w") as new:
        text = old.read("__main__.py").decode()
        assert here in text
        new.writestr("__main__.py", text.replace(here, other.format(*sys.version_info)))
        new.writestr("_bootstrap.py", "raise SystemExit('it was started')")
    code, out, err = start(changed, HOME=str(tmp_path))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("numatui: this file is for ")
    assert f"{sys.executable} is cpython {version} on" in err
    assert not (tmp_path / ".shiv").exists()


@as_root
def test_a_folder_of_another_user_is_refused(archive: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 1000, 1000)
    code, out, err = start(archive, SHIV_ROOT=str(theirs))
    assert (code, out) == (1, "")
    assert err == (
        f"numatui: it cannot be unpacked: {theirs} is not a folder of yours alone; set SHIV_ROOT to a folder of yours\n"
    )


def test_a_folder_that_others_may_change_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert start(archive, SHIV_ROOT=str(tmp_path / "open"))[0] == 1


@as_root
def test_a_link_of_another_user_is_not_followed_twice(archive: Path, tmp_path: Path) -> None:
    """They would let it lead to a folder of ours while it is checked, and elsewhere afterwards."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    (theirs / "link").symlink_to(ours)
    os.lchown(theirs / "link", 1000, 1000)
    os.chown(theirs, 1000, 1000)
    assert start(archive, HOME=str(theirs / "link"))[1] == str(ours / ".shiv")
    assert start(archive, SHIV_ROOT=str(theirs / "new"))[0] == 1
    assert not (theirs / "new").exists()


@as_root
@pytest.mark.skipif(not SYSTEMS.exists(), reason="needs the system's Python")
def test_the_home_of_another_user_is_not_used(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # pytest's own folders are closed to others
        moved, home = Path(folder, "numatui.pyz"), Path(folder, "home")
        shutil.copy(archive, moved)
        home.mkdir()
        os.chown(home, 1000, 1000)
        code, out, err = start(moved, uid=NOBODY, HOME=str(home))
        assert (code, out) == (1, ""), err
        assert err.count("\n") == 1
        assert "cannot be unpacked" in err
        assert not list(home.iterdir())
