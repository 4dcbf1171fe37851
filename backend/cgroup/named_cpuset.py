"""The cpuset that a user means. With cgroup v1 each controller has a tree of its own: what `numatui cgroups` lists is
the memory controller's."""

from __future__ import annotations

from contextlib import suppress

from backend.cgroup.cgroups import Directory, Hierarchy, cgroup_of, check_path, find_hierarchies, members, walk
from backend.cgroup.cpuset_tree import CpusetInfo, CpusetTree, is_called
from backend.errors import NotFound, NotPermitted
from backend.files.text import printable
from backend.kernel import Kernel


def find_cpuset(kernel: Kernel, tree: CpusetTree, text: str) -> tuple[CpusetInfo, str]:
    """As `CpusetTree.find`, and what has to be said of it. In v1 also a cgroup of another hierarchy: the cpuset with
    its path, or else the one in which all of its processes are. Raises UsageError, NotFound."""
    try:
        return tree.find(text), ""
    except NotFound:
        if tree.hierarchy.version == "v2":
            raise
        for hierarchy in find_hierarchies(kernel):
            family = [] if hierarchy == tree.hierarchy else _family(kernel, hierarchy, text)
            if family and family[0].path in tree.cpusets:
                return tree.at(family[0].path), ""
            if family:
                return _of_its_processes(kernel, tree, hierarchy, family)
        raise


def _family(kernel: Kernel, hierarchy: Hierarchy, text: str) -> list[Directory]:
    """The cgroup by its path, or by a name that only one has, and those below it; empty if there is none."""
    path = check_path(text, hierarchy)
    every = list(walk(kernel, hierarchy))
    named = [one for one in every if one.path == path] or [one for one in every if is_called(one, path[1:])]
    if len(named) != 1:
        return []
    return [*named, *[one for one in every if one.path.startswith(named[0].path.rstrip("/") + "/")]]


def _of_its_processes(
    kernel: Kernel, tree: CpusetTree, hierarchy: Hierarchy, family: list[Directory]
) -> tuple[CpusetInfo, str]:
    name = printable(family[0].path, 80)
    where: set[str] = set()
    for one in family:
        with suppress(NotFound, NotPermitted):
            for pid in members(kernel, hierarchy, one.path):
                with suppress(NotFound, NotPermitted):
                    where.add(tree.deciding(cgroup_of(kernel, tree.hierarchy, pid, "cpuset")).path)
    if len(where) == 1 and "/" not in where:
        found = tree.at(where.pop())
        return found, f"{name} is no cpuset: all of its processes are in {printable(found.path, 80)}, which changes"
    there = ", ".join(printable(path, 80) for path in sorted(where)[:3])
    raise NotFound(
        f"{name} is no cpuset (in cgroup v1 these are others); its processes are in {there or 'none'}",
        f"make one: mkdir {printable(tree.hierarchy.directory(family[0].path), 120)}, then numatui cpuset attach",
    )
