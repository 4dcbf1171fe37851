"""Which files a pattern stands for. Runs on Python 3.6 too, in the agent."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def harmless(name: str) -> bool:
    """Whether a file of this name would stay in its folder."""
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def expand(pattern: str, listdir: Callable[[str], list[str]], lists: dict[str, list[str]]) -> list[str]:
    """The paths that a pattern stands for now: `*`, `?` and `[…]` stand for characters of one part of a path; one that
    ends in a slash stands for folders. `lists`: folders that were listed for other patterns already."""
    paths = [""]
    for part in pattern.strip("/").split("/"):
        if not set(part) & set("*?["):
            paths = [path + "/" + part for path in paths]
            continue
        out: list[str] = []
        for path in paths:
            if path not in lists:
                try:
                    lists[path] = sorted(listdir(path or "/"))
                except OSError:
                    lists[path] = []
            out += [path + "/" + name for name in lists[path] if fnmatchcase(name, part) and harmless(name)]
        paths = out
    return [path + "/" for path in paths] if pattern.endswith("/") else paths
