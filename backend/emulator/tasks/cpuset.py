"""Cpusets: the nodes and CPUs that tasks may use. Changes rebind policies and migrate pages (kernel/cpuset.c)."""

from __future__ import annotations

import errno

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.nodes import do_migrate_pages
from backend.emulator.mm.mempolicy import Mempolicy, rebind
from backend.emulator.mm.mm import Mm
from backend.emulator.mm.mmap import mmput
from backend.emulator.mm.mmap_lock import MmapLock
from backend.emulator.tasks import partition
from backend.emulator.tasks.cgroup import Cpuset, Partition, Version
from backend.emulator.tasks.scheduler import confine
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.nodeset import CpuSet, NodeSet


class Cpusets:
    """The cpuset hierarchy of a machine. cpuset_mutex serialises changes; a change ends when the pages have moved."""

    @staticmethod
    def of(m: Machine) -> Cpusets:
        """The machine's hierarchy with the methods that change it."""
        assert isinstance(m.cpusets, Cpusets)
        return m.cpusets

    def __init__(self, m: Machine, version: Version) -> None:
        self.m = m
        self.version: Version = version
        nodes, cpus = m.memory_nodes, CpuSet(m.node_of_cpu)
        self.root = Cpuset(0, "", None, nodes, cpus, nodes, cpus, nodes)
        self.mutex = MmapLock()
        self._at_boot = nodes
        self._generation = 0
        self._last_id = 0

    def create(
        self,
        name: str,
        parent: Cpuset | None = None,
        mems: NodeSet | None = None,
        cpus: CpuSet | None = None,
        memory_migrate: bool = False,
    ) -> Cpuset:
        """mkdir(2) and the first writes to a cpuset without tasks. In v1, mems or cpus not given are empty. Raises
        OSError EEXIST, and the errors of `set_mems` and `set_cpus`."""
        above = parent or self.root
        if name in above.children:
            raise os_error(errno.EEXIST)
        self._last_id += 1
        new = Cpuset(self._last_id, name, above, NodeSet(), CpuSet(), NodeSet(), CpuSet(), NodeSet())
        new.memory_migrate = self.version == "v2" or memory_migrate
        mems, cpus = self._there(mems or NodeSet()), cpus or CpuSet()
        self._validate(new, mems, cpus)
        new.mems, new.cpus = mems, cpus
        new.effective_mems, new.effective_cpus = self._effective(new)
        new.old_mems = self.online_mems(new)
        above.children[name] = new
        return new

    def find(self, path: str) -> Cpuset | None:
        """The cpuset at a path from the root, like /batch/night; None if there is none."""
        found = self.root
        for part in path.split("/"):
            if part and part not in found.children:
                return None
            found = found.children[part] if part else found
        return found

    def named(self, name: str) -> Cpuset | None:
        """The first cpuset of this name at any depth; None if there is none."""
        return next((one for one in self.root.family() if one.name == name), None)

    def tasks(self, cs: Cpuset) -> list[Task]:
        return [task for task in self.m.tasks.values() if task.cpuset is cs]

    def online_mems(self, cs: Cpuset) -> NodeSet:
        """guarantee_online_mems(): the cpuset's nodes that have memory now. If there are none, the nodes of the nearest
        ancestor that has some."""
        online = self.m.memory_nodes
        while not cs.effective_mems & online and cs.parent is not None:
            cs = cs.parent
        return cs.effective_mems & online or online

    def mems_allowed(self, task: Task) -> NodeSet:
        """cpuset_mems_allowed(): never empty."""
        return self.m.memory_nodes if task.cpuset is None else self.online_mems(task.cpuset)

    def nodemask(self, task: Task, policy: Mempolicy) -> frozenset[int] | None:
        """The nodes on which a new page of this task may be allocated; None for all. A policy whose nodes are all
        outside the cpuset is ignored (cpuset_nodemask_valid_mems_allowed())."""
        wanted = policy.nodemask()
        if task.cpuset is None or task.cpuset is self.root:
            return wanted
        mems = frozenset(self.online_mems(task.cpuset))
        return mems if wanted is None else wanted & mems or mems

    def set_mems(self, cs: Cpuset, mems: NodeSet) -> Events:
        """update_nodemask(). Raises OSError EACCES (root; v1: not a subset of the parent), EINVAL (absent nodes, if the
        profile checks them), EBUSY (v1: not a superset of a child), ENOSPC (tasks would be left without nodes)."""
        yield from self.mutex.down_write(self.m.env)
        try:
            if cs.parent is None:
                raise os_error(errno.EACCES)
            # top_cpuset.mems_allowed, which in v2 does not follow hotplug (cpuset_bind()).
            top = self.root.mems if self.version == "v1" else self._at_boot
            if self.m.profile.checks_cpusets and not mems.issubset(top):
                raise os_error(errno.EINVAL)
            known = self._there(mems)
            if known == cs.mems or (mems and not known):  # No change, or only nodes that are ignored.
                return
            self._validate(cs, known, cs.cpus)
            cs.mems = known
            yield from self._update_family(cs)
        finally:
            self.mutex.up_write()

    def set_cpus(self, cs: Cpuset, cpus: CpuSet) -> Events:
        """update_cpumask(): threads on other CPUs move to `cpus`. Raises OSError EINVAL (no such CPU), and the errors
        of `set_mems`."""
        yield from self.mutex.down_write(self.m.env)
        try:
            self._validate(cs, cs.mems, cpus)
            cs.cpus = cpus
            if self.version == "v2":
                partition.cpus_changed(self.m, cs)
                assert cs.parent is not None
                yield from self._update_family(cs.parent)
                return
            yield from self._update_family(cs)
        finally:
            self.mutex.up_write()

    def set_partition(self, cs: Cpuset, state: Partition) -> Events:
        """update_prstate(): the CPUs of a partition are taken from its parent and all others below that."""
        yield from self.mutex.down_write(self.m.env)
        try:
            partition.set_state(self.m, cs, state)
            yield from self._update_family(cs.parent or cs)
        finally:
            self.mutex.up_write()

    def attach(self, cs: Cpuset, task: Task) -> Events:
        """cpuset_can_attach(), cpuset_attach(). Raises OSError ESRCH (the task has exited), EINVAL (kernel thread),
        ENOSPC (v1: the cpuset has no nodes or CPUs), EBUSY (v2: the cpuset has children)."""
        yield from self.mutex.down_write(self.m.env)
        try:
            if not task.alive:
                raise os_error(errno.ESRCH)
            if task.mm is None:
                raise os_error(errno.EINVAL)
            if self.version == "v1" and not (cs.mems and cs.cpus):
                raise os_error(errno.ENOSPC)
            if self.version == "v2" and cs.children and cs.parent is not None:
                raise os_error(errno.EBUSY)
            if task.cpuset is cs:
                return
            yield from self._attach(cs, task, (task.cpuset or self.root).old_mems)
        finally:
            self.mutex.up_write()

    def _attach(self, cs: Cpuset, task: Task, old: NodeSet) -> Events:
        """cpuset_attach(). `old`: the nodes of the task's former cpuset."""
        task.cpuset = cs
        confine(self.m, task, cs.effective_cpus)
        new = self.online_mems(cs)
        task.policy = self._rebind(task.policy, old, new)
        if task.mm is not None:
            task.mm.cgroup = cs.id
            yield from self._update_mm(task.mm, old, new, cs.memory_migrate)

    def follow_nodes(self) -> Events:
        """cpuset_hotplug_workfn(): update all cpusets and policies after a node's memory went offline or online. The
        root gets all nodes with memory. In v1 an offlined node leaves `mems` for good, and tasks of a cpuset without
        nodes move to an ancestor."""
        yield from self.mutex.down_write(self.m.env)
        try:
            self.root.mems = self.m.memory_nodes
            if self.version == "v1":
                for cs in self.root.family():
                    cs.mems &= self.root.mems
                    if cs.parent is not None and not cs.mems:
                        yield from self._move_up(cs)
            yield from self._update_family(self.root)
        finally:
            self.mutex.up_write()

    def _move_up(self, cs: Cpuset) -> Events:
        """remove_tasks_in_empty_cpuset()."""
        above = cs
        while above.parent is not None and not above.mems:
            above = above.parent
        for task in self.tasks(cs):
            if task.mm is not None and task.alive:
                yield from self._attach(above, task, cs.old_mems)

    def _there(self, mems: NodeSet) -> NodeSet:
        """v1 drops nodes without memory at the time of the write; v2 keeps nodes that may get memory later."""
        return mems & (self.m.memory_nodes if self.version == "v1" else self.m.node_ids)

    def _validate(self, cs: Cpuset, mems: NodeSet, cpus: CpuSet) -> None:
        """validate_change()."""
        if cs.parent is None:
            raise os_error(errno.EACCES)
        if not cpus.issubset(CpuSet(self.m.node_of_cpu)):
            raise os_error(errno.EINVAL)
        if self.version == "v1":
            if any(not (one.mems.issubset(mems) and one.cpus.issubset(cpus)) for one in cs.children.values()):
                raise os_error(errno.EBUSY)
            if not (mems.issubset(cs.parent.mems) and cpus.issubset(cs.parent.cpus)):
                raise os_error(errno.EACCES)
        if self.m.profile.empty_mems and self.version == "v2":
            return
        if self.tasks(cs) and ((cs.mems and not mems) or (cs.cpus and not cpus)):
            raise os_error(errno.ENOSPC)

    def _effective(self, cs: Cpuset) -> tuple[NodeSet, CpuSet]:
        """Effective mems and cpus: the configured ones within the parent's. In v2 an empty result means the parent's
        (update_nodemasks_hier())."""
        if cs.parent is None:
            return cs.mems, cs.cpus - partition.given_away(cs)
        mems, cpus = cs.mems & cs.parent.effective_mems, cs.cpus & cs.parent.effective_cpus
        if partition.valid(cs):
            cpus = partition.total(cs) - partition.given_away(cs)
        if self.version == "v2":
            mems, cpus = mems or cs.parent.effective_mems, cpus or cs.parent.effective_cpus
        return mems, cpus

    def _update_family(self, cs: Cpuset) -> Events:
        """update_nodemasks_hier(), update_cpumasks_hier()."""
        for one in list(cs.family()):
            mems, cpus = self._effective(one)
            if cpus != one.effective_cpus:
                one.effective_cpus = cpus
                for task in self.tasks(one):
                    confine(self.m, task, cpus)
            if mems != one.effective_mems:
                one.effective_mems = mems
                self._generation += 1
                one.mems_generation = self._generation
                yield from self._update_tasks(one)

    def _update_tasks(self, cs: Cpuset) -> Events:
        """update_tasks_nodemask(): rebind all task policies, then per task the VMA policies and migrate its pages. A
        child forked meanwhile may have copied a VMA policy before it was rebound, so its policies are rebound too
        (current_cpuset_is_being_rebound()). Its pages are its parent's and are not migrated again."""
        old, new = cs.old_mems, self.online_mems(cs)
        done: set[int] = set()
        first = tasks = self.tasks(cs)
        for task in tasks:
            task.policy = self._rebind(task.policy, old, new)
        while tasks:
            for task in tasks:
                done.add(task.pid)
                if task.mm is not None and task.alive and task.cpuset is cs:
                    yield from self._update_mm(task.mm, old, new, cs.memory_migrate and tasks is first)
            tasks = [task for task in self.tasks(cs) if task.pid not in done]
        cs.old_mems = new

    def _update_mm(self, mm: Mm, old: NodeSet, new: NodeSet, migrate: bool) -> Events:
        """mpol_rebind_mm(), then cpuset_migrate_mm(). Policies come first so that swapped-out pages return by the new
        policy. Pages that cannot move stay on their node; this is no error."""
        m = self.m
        mm.users += 1
        try:
            yield from mm.lock.down_write(m.env)
            try:
                yield from m.step("rebind policies", m.costs.syscall)
                for vma in mm.vmas:
                    if vma.policy is not None:
                        vma.policy = self._rebind(vma.policy, old, new)
            finally:
                mm.lock.up_write()
            if migrate and old != new:
                yield from do_migrate_pages(m, mm, old, new, move_all=True, allowed=frozenset(new))
        finally:
            mmput(m, mm)

    def _rebind(self, policy: Mempolicy, old: NodeSet, new: NodeSet) -> Mempolicy:
        return rebind(policy, old, new, self.m.profile.remaps_preferred)
