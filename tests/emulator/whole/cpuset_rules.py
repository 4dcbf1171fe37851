"""Rules about cpusets for the state machine of everything that can happen."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT, VM
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet

_sets = st.sets(st.integers(0, 3), min_size=1).map(NodeSet)
_names = st.sampled_from(["a", "b", ""])
reached: set[str] = set()
"""What the rules came to check, by profile."""


class CpusetRules:
    """A mixin: cpusets `a` and `b` whose mems change, tasks that are attached to them and to the root. Needs of the
    state machine: `m`, `tasks`, `_start(path)`, `_task(pick)`."""

    m: Machine
    tasks: list[Task]
    _start: Callable[[Events], None]
    _task: Callable[[int], Task]

    @initialize()
    def cpusets(self) -> None:
        for name in ("a", "b"):
            cpusets = Cpusets.of(self.m)
            cpusets.create(name, None, cpusets.root.mems, cpusets.root.cpus, memory_migrate=name == "a")

    @rule(name=st.sampled_from(["a", "b"]), mems=_sets)
    def cpuset_mems(self, name: str, mems: NodeSet) -> None:
        cpusets = Cpusets.of(self.m)
        self._start(cpusets.set_mems(cpusets.root.children[name], mems))

    @precondition(lambda self: self.tasks)
    @rule(pick=st.integers(0, 1 << 16), name=_names)
    def attach(self, pick: int, name: str) -> None:
        cs = Cpusets.of(self.m).find(name)
        assert cs is not None
        self._start(Cpusets.of(self.m).attach(cs, self._task(pick)))

    @precondition(lambda self: self.tasks)
    @rule(pick=st.integers(0, 1 << 16), name=st.sampled_from(["a", "b"]), mems=_sets)
    def mems_of_a_task_that_does_nothing(self, pick: int, name: str, mems: NodeSet) -> None:
        """Afterwards its pages are inside, if they were before and each of them could be moved."""
        m, task = self.m, self._task(pick)
        self.attach(pick, name)
        m.env.run()
        cs = task.cpuset
        if not task.alive or cs is None or not cs.memory_migrate or not mems & m.memory_nodes:
            return
        movable = not any(vma.flags & VM.LOCKED for vma in task.mm.vmas) or m.profile.migration_entries
        inside = _nodes(m, task) <= set(cs.old_mems)
        failed = m.counters.get("pgmigrate_fail", 0)
        try:
            m.run(Cpusets.of(m).set_mems(cs, mems))
        except OSError:
            return
        if inside and movable and m.counters.get("pgmigrate_fail", 0) == failed and not m.profile.swaps_out:
            if _nodes(m, task):
                reached.add(m.profile.name)
            assert _nodes(m, task) <= set(m.cpusets.mems_allowed(task)), "pages follow the mems"

    @rule()
    def nobody_is_confined_to_nothing(self) -> None:
        for task in self.m.tasks.values():
            mems = self.m.cpusets.mems_allowed(task)
            assert mems or not self.m.memory_nodes
            assert mems.issubset(self.m.memory_nodes)


def _nodes(m: Machine, task: Task) -> set[int]:
    return {
        node
        for vma in (task.mm.vmas if task.mm else [])
        for node in m.frames.nid[vma.pte[(vma.pte & PTE_PRESENT) != 0] >> 8].tolist()
    }
