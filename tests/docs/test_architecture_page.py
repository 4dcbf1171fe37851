"""The pages for developers name files, functions, classes and methods that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

PAGES = ("architecture.md", "contributing.md")
NAMED = re.compile(r"`([\w./-]+\.py)(?::([\w.]+))?`")
"""`path.py`, `path.py:name`, `path.py:Class.method`."""
LEAST = 20
FOLDERS = ("backend", "numatui", "tests", "docs", "scripts", "benchmarks")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`")


def text_of(page: Path) -> str:
    """Without its examples."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def references(page: str) -> list[tuple[str, str]]:
    """(path, name) of all that a page names, the name empty where it is a file."""
    return NAMED.findall(text_of(ROOT / "docs" / page))


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a module defines: functions, classes, constants, and `Class.member`."""
    return frozenset(_defined(ast.parse(path.read_text()).body))


def _defined(body: list[ast.stmt], prefix: str = "") -> set[str]:
    out: set[str] = set()
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                out.add(prefix + name)
            case ast.ClassDef(name=name):
                out |= {prefix + name, *_defined(statement.body, f"{prefix}{name}.")}
            case ast.Assign(targets=targets):
                out |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                out.add(prefix + name)
            case _:
                pass
    return out


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_name_in_it_exists(page: str) -> None:
    found = references(page)
    missing = [
        f"{path}:{name}" if name else path
        for path, name in found
        if not (ROOT / path).is_file() or (name and name not in names_in(ROOT / path))
    ]
    assert missing == []
    assert len({reference for reference in found if reference[1]}) >= LEAST


def test_a_name_that_is_not_there_would_be_noticed() -> None:
    names = names_in(ROOT / "backend/kernel.py")
    assert {"Kernel", "Kernel.move_pages", "Call"} <= names
    assert "Kernel.nothing_like_it" not in names


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_every_path_in_a_page_exists(page: Path) -> None:
    """Of this repository: in backticks, outside of examples."""
    assert [path for path in PATH.findall(text_of(page)) if not (ROOT / path).exists()] == []
