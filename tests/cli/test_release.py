"""What is released has everything in it, and works away from the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from numatui import __version__
from tests import ROOT
from tests.conftest import without


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        without(f"no wheel can be built here: {done.stderr[-300:]}")
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package in ("numatui", "backend"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(ROOT)) in inside
    for theme in (ROOT / "themes").glob("*.yaml"):
        assert f"numatui/themes/{theme.name}" in inside
    assert any(name.endswith("share/man/man1/numatui.1") for name in inside)
    assert {"numatui/py.typed", "backend/py.typed"} <= inside
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in inside)


def test_it_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)],
        check=True,
    )
    environment = {**os.environ, "PYTHONPATH": str(target), "HOME": str(tmp_path)}

    def numatui(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "numatui", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert numatui("--version") == f"numatui {__version__}\n"
    assert "mysqld" in numatui("--demo", "ps")
    assert "numatui/ps/1" in numatui("schema", "ps")
    themes = "import numatui.theming as t; print(t.__file__, *sorted(p.stem for p in t.shipped().glob('*.yaml')))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", themes],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    file, *names = done.stdout.split()
    assert file.startswith(str(target))
    assert {"dark", "light"} <= set(names)


def test_one_place_has_the_version_and_the_changelog_has_it_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "numatui/__init__.py"
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_links_of_the_documentation_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_names_every_command() -> None:
    from numatui.cli.app import COMMANDS

    text = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert re.search(rf"`{name}\b", text), name
