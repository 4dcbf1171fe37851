"""The tree of cpusets: the nodes and CPUs that each allows, and its processes. cpuset(7),
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cpusets.rst."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from backend.cgroup.cgroup_names import label, unescape_unit
from backend.cgroup.cgroups import Directory, Hierarchy, check_path, hierarchy_of, members, read_file, walk
from backend.errors import NotFound, NotPermitted, NotSupported, ParseError, UsageError
from backend.files.text import printable
from backend.kernel import Kernel
from backend.nodeset import CpuSet, NodeSet

UNIT_SUFFIXES = (".service", ".slice", ".scope")
"""Suffixes of systemd units that are cgroups."""
_LEAST_ID = 6
"""Least number of digits by which a user can name a container, if they are unique."""
S = TypeVar("S", NodeSet, CpuSet)


@dataclass(frozen=True, slots=True)
class CpusetInfo:
    """One cgroup as a cpuset. `mems`, `cpus`: as configured (v2: empty inherits from the parent; the root has no such
    files). `effective_…`: the nodes and CPUs that tasks may use. `own`: the cgroup has cpuset files; else the nearest
    ancestor with them confines its tasks, and `effective_…` are the ancestor's. `memory_migrate`: v1's flag, always
    true in v2. `controllers`: v2's cgroup.subtree_control."""

    directory: Directory
    own: bool
    mems: NodeSet
    cpus: CpuSet
    effective_mems: NodeSet
    effective_cpus: CpuSet
    memory_migrate: bool = True
    controllers: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        return self.directory.path

    @property
    def parent(self) -> str:
        """The path of the parent; the root's parent is the root."""
        return parent_path(self.path)


@dataclass(slots=True)
class CpusetTree:
    """All cgroups of the hierarchy with the cpuset controller, by path, parents before children."""

    hierarchy: Hierarchy
    cpusets: dict[str, CpusetInfo] = field(default_factory=dict[str, CpusetInfo])
    children: dict[str, list[CpusetInfo]] = field(default_factory=dict[str, list[CpusetInfo]])

    def add(self, cpuset: CpusetInfo) -> None:
        """Add a cpuset. Its parent must have been added before."""
        self.cpusets[cpuset.path] = cpuset
        if cpuset.path != "/":
            self.children.setdefault(cpuset.parent, []).append(cpuset)

    def below(self, path: str) -> list[CpusetInfo]:
        """The cgroup and all its descendants, parents first."""
        return self._family(path, lambda _: True)

    def deciding(self, path: str) -> CpusetInfo:
        """The cpuset that confines the tasks of a cgroup: its own, or that of the nearest ancestor. Raises NotFound."""
        one = self.at(path)
        while not one.own and one.path != "/":
            one = self.at(one.parent)
        return one

    def at(self, path: str) -> CpusetInfo:
        """The cgroup at a path. Raises NotFound."""
        if path not in self.cpusets:
            raise NotFound(f"there is no cgroup {printable(path, 120)}", "see numatui cpuset list --all")
        return self.cpusets[path]

    def governed(self, path: str) -> list[CpusetInfo]:
        """The cgroups whose tasks a cpuset confines: it, and descendants without a cpuset of their own."""
        return self._family(path, lambda one: not one.own)

    def _family(self, path: str, wanted: Callable[[CpusetInfo], bool]) -> list[CpusetInfo]:
        """The cgroup and its descendants, parents first. An unwanted cgroup is left out with its descendants."""
        out: list[CpusetInfo] = []
        pending = [self.at(path)]
        while pending:
            one = pending.pop()
            out.append(one)
            pending += [child for child in reversed(self.children.get(one.path, [])) if wanted(child)]
        return out

    def find(self, text: str) -> CpusetInfo:
        """A cgroup by a user's text: its path, with or without the mount point; or a unique name: of a unit (also
        without .service), or the start of a container id. Raises UsageError, NotFound."""
        path = check_path(text, self.hierarchy)
        if path in self.cpusets:
            return self.cpusets[path]
        name = path[1:]
        named = [one for one in self.cpusets.values() if is_called(one.directory, name)]
        if len(named) > 1:
            there = ", ".join(printable(one.path, 80) for one in named[:3])
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            raise UsageError(
                f"{len(named)} cgroups are called {printable(name, 60)}: {there}{more}",
                "give the path of one",
            )
        return named[0] if named else self.at(path)


def read_cpusets(kernel: Kernel) -> CpusetTree:
    """Read the whole tree. Raises NotSupported (no cgroups, no cpuset controller), NotFound, NotPermitted."""
    tree = CpusetTree(hierarchy_of(kernel, "cpuset"))
    for directory in walk(kernel, tree.hierarchy):
        above = tree.cpusets.get(parent_path(directory.path))
        tree.add(read_cpuset(kernel, tree.hierarchy, directory, above))
    return tree


def read_cpuset(
    kernel: Kernel, hierarchy: Hierarchy, directory: Directory, above: CpusetInfo | None = None
) -> CpusetInfo:
    """Read one cpuset. A cgroup without cpuset files takes the effective values of `above`, its parent. Never
    raises."""

    def ids(kind: type[S], which: str) -> S | None:
        raw = read_file(kernel, hierarchy, directory, file_name(hierarchy, which))
        try:
            return None if raw is None else kind.parse_list(raw)
        except ParseError:
            return None

    mems, cpus = ids(NodeSet, "mems"), ids(CpuSet, "cpus")
    effective_mems, effective_cpus = ids(NodeSet, "effective_mems"), ids(CpuSet, "effective_cpus")
    controllers = read_file(kernel, hierarchy, directory, "cgroup.subtree_control") or b""
    migrate = read_file(kernel, hierarchy, directory, file_name(hierarchy, "memory_migrate"))
    own = mems is not None or effective_mems is not None
    if not own and above is not None:
        effective_mems, effective_cpus = above.effective_mems, above.effective_cpus
    return CpusetInfo(
        directory,
        own,
        NodeSet() if mems is None else mems,
        CpuSet() if cpus is None else cpus,
        (mems or NodeSet()) if effective_mems is None else effective_mems,
        (cpus or CpuSet()) if effective_cpus is None else effective_cpus,
        hierarchy.version == "v2" or (migrate or b"0").strip() not in (b"", b"0"),
        frozenset(controllers.decode("ascii", "replace").split()),
    )


def file_name(hierarchy: Hierarchy, which: str) -> str:
    """The name of a cpuset's file (mems, cpus, effective_mems, effective_cpus, memory_migrate) in this version."""
    if hierarchy.version == "v2" and which.startswith("effective_"):
        return f"cpuset.{which.removeprefix('effective_')}.effective"
    return f"{hierarchy.prefix}{which}"


def pids_in(kernel: Kernel, tree: CpusetTree, path: str) -> list[int] | None:
    """The pids that a cpuset confines, ascending: those in the cgroups of `CpusetTree.governed`. None without
    permission."""
    out: set[int] = set()
    for one in tree.governed(path):
        try:
            out.update(members(kernel, tree.hierarchy, one.path))
        except NotFound:
            continue
        except (NotPermitted, NotSupported):
            return None
    return sorted(out)


def parent_path(path: str) -> str:
    """`/a` for `/a/b`; `/` for `/a` and for `/`."""
    return path.rpartition("/")[0] or "/"


def above(path: str) -> str:
    """As `parent_path`, but empty for the root."""
    return "" if path == "/" else parent_path(path)


def with_ancestors(paths: Iterable[str]) -> set[str]:
    """These paths and all their ancestors."""
    out: set[str] = set()
    for path in paths:
        while path not in out:
            out.add(path)
            path = parent_path(path)
    return out


def is_called(one: Directory, name: str) -> bool:
    """Whether it is the name of a unit (also without .service), or the start of a container's id."""
    own = one.name
    plain = unescape_unit(own)
    return "/" not in name and (
        name in (own, plain, *(plain.removesuffix(suffix) for suffix in UNIT_SUFFIXES))
        or (len(name) >= _LEAST_ID and label(one.path).id.startswith(name))
    )  # fmt: skip
