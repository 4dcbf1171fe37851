"""Checks before a change of a cpuset, for values that the kernel would refuse or would accept and ignore; and the
meaning of its refusals. kernel/cgroup/cpuset.c: validate_change(), cpuset_can_attach(); cgroup.c:
cgroup_migrate_vet_dst()."""

from __future__ import annotations

import errno

from backend.cgroup.cgroups import cgroup_error
from backend.cgroup.cpuset_tree import CpusetInfo, CpusetTree, file_name
from backend.errors import NotFound, NotSupported, NumatuiError, UsageError, describe_oserror
from backend.files.shell_word import shell_word
from backend.files.text import printable
from backend.kernel import Kernel
from backend.machine.topology import Topology
from backend.nodeset import NodeSet

_THREADED = frozenset({"cpu", "cpuset", "perf_event", "pids"})
"""Threaded controllers (cgroup-v2.rst, Threads): a v2 cgroup may enable them for its children and still have processes.
All others are domain controllers."""


def check_own(tree: CpusetTree, cpuset: CpusetInfo) -> None:
    """Raises NotSupported if the cgroup is not a cpuset. The fix names the topmost ancestor whose
    cgroup.subtree_control lacks the controller."""
    if cpuset.own:
        return
    chain = [cpuset.parent]
    while chain[-1] != "/":
        chain.append(tree.at(chain[-1]).parent)
    missing = next((one for one in reversed(chain) if "cpuset" not in tree.at(one).controllers), cpuset.parent)
    raise NotSupported(
        f"the cgroup {printable(cpuset.path, 80)} is not a cpuset: the cgroup above does not enable it",
        f"echo +cpuset > {shell_word(f'{tree.hierarchy.directory(missing)}/cgroup.subtree_control')}",
    )


def check_mems(tree: CpusetTree, cpuset: CpusetInfo, mems: NodeSet, topology: Topology) -> None:
    """Raises UsageError or NotFound for mems that the kernel would refuse, or accept and ignore."""
    if cpuset.path == "/":
        raise UsageError("the root's mems are all nodes with memory", "choose a cgroup below it")
    there = f"the nodes with memory are {topology.memory_ids}"
    if not mems.issubset(topology.ids):
        raise NotFound(f"there is no node {mems - topology.ids}", f"the nodes here are {topology.ids}")
    if mems and not mems & topology.memory_ids:
        raise UsageError(f"node {mems} has no memory", there)
    if not mems and tree.hierarchy.version == "v1":
        raise UsageError("in cgroup v1 a cpuset without mems can have no process", there)
    above = tree.at(cpuset.parent) if tree.hierarchy.version == "v1" else tree.deciding(cpuset.parent)
    if not mems.issubset(above.effective_mems):
        raise UsageError(
            f"node {mems - above.effective_mems} is not in the mems of the cgroup above, "
            f"{printable(above.path, 80)} ({above.effective_mems or 'none'})",
            "set those first" if above.path != "/" else there,
        )
    if tree.hierarchy.version == "v2":
        return
    # validate_change_legacy(): the mems of a child must be a subset of the parent's.
    for one in tree.below(cpuset.path)[1:]:
        if not one.mems.issubset(mems):
            raise UsageError(
                f"the cpuset {printable(one.path, 80)} below has mems {one.mems}, more than {mems}",
                "cgroup v1 refuses that (EBUSY): set those first",
            )


def check_room_for_tasks(tree: CpusetTree, cpuset: CpusetInfo) -> None:
    """Raises UsageError if no process can be in this cgroup."""
    name = printable(cpuset.path, 80)
    if tree.hierarchy.version == "v1":
        for which, have in (("mems", cpuset.mems), ("cpus", cpuset.cpus)):
            if not have:
                raise UsageError(
                    f"the cpuset {name} has no {which}: no process can be in it (ENOSPC)",
                    f"numatui cpuset set-mems {shell_word(cpuset.path)} SET"
                    if which == "mems"
                    else "echo 0-3 > "
                    + shell_word(f"{tree.hierarchy.directory(cpuset.path)}/{file_name(tree.hierarchy, which)}"),
                )
        return
    # The no internal process constraint of cgroup-v2.rst; the root is exempt.
    domain = cpuset.controllers - _THREADED
    if domain and cpuset.path != "/":
        raise _internal(cpuset)


def _internal(cpuset: CpusetInfo) -> UsageError:
    handed = f" ({', '.join(sorted(cpuset.controllers))})" if cpuset.controllers else ""
    return UsageError(
        f"{printable(cpuset.path, 80)} enables controllers for cgroups below it{handed}: cgroup v2 then allows "
        "no process in it (EBUSY)",
        "choose a cgroup below it",
    )


def write_file(kernel: Kernel, tree: CpusetTree, cpuset: CpusetInfo, name: str, data: str, pid: int = 0) -> None:
    """Write a file of a cpuset. `pid`: the process that `data` attaches, if any. Raises NumatuiError, which explains
    the errno for this file."""
    try:
        kernel.write(f"{tree.hierarchy.directory(cpuset.path)}/{name}", data.encode("ascii"))
    except OSError as exc:
        number = exc.errno
        path = printable(cpuset.path, 80)
        if number == errno.ESRCH and pid:
            raise NotFound(f"there is no process {pid}", "it may have ended meanwhile") from None
        if number == errno.EBUSY and pid:
            raise _internal(cpuset) from None
        if number == errno.ENOSPC:
            raise UsageError(
                f"the cpuset {path} would have processes and no mems or cpus (ENOSPC)",
                "give it both first" if pid else "move its processes elsewhere first",
            ) from None
        if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENODEV):
            raise cgroup_error(kernel, cpuset.path, exc) from None
        raise NumatuiError(
            f"the kernel refused '{data.strip()}' for {name} of {path}: {describe_oserror(exc)}"
        ) from None
