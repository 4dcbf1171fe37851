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
from packaging.requirements import Requirement

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


def headings(page: Path) -> set[str]:
    """Of a Markdown page, as GitHub makes anchors of them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.strip().lower()).replace(" ", "-") for one in found}


def test_links_of_the_documentation_lead_to_a_file_and_a_heading_and_the_readme_leads_to_every_page() -> None:
    pages = {ROOT / "README.md", *(ROOT / "docs").glob("*.md")}
    linked: dict[Path, set[Path]] = {}
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in headings(target), f"{page.name}: {link}"
            linked.setdefault(page, set()).add(target)
    assert pages - linked[ROOT / "README.md"] == {ROOT / "README.md"}


def test_the_readme_names_every_command() -> None:
    from numatui.cli.app import COMMANDS

    text = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert re.search(rf"`{name}\b", text), name


def test_the_lock_has_every_dependency_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(one) for one in (*project["dependencies"], *project["optional-dependencies"]["exporter"])]
    entries = re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text())[1:]
    locked: dict[str, str] = {}
    for entry in entries:
        name, version = entry.split()[0].split("==")
        locked[name] = version
        assert "--hash=sha256:" in entry, name
    for one in wanted:
        assert one.specifier.contains(locked[one.name]), f"{one}: run scripts/lock"
