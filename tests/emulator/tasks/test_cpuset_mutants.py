"""The tests of cpusets can fail: a rule is taken out, and the measured life of a task is no longer reproduced."""

from __future__ import annotations

from typing import Any

import pytest

from backend.emulator.abi import syscalls
from backend.emulator.frames.page_lock import Events
from backend.emulator.mm import mempolicy
from backend.emulator.tasks import cpuset
from backend.emulator.tasks.cpuset import Cpusets
from tests.emulator.tasks import test_cpusets, test_permissions


def moves_nothing(*args: Any, **options: Any) -> Events:
    return 0
    yield


def in_v2() -> None:
    test_cpusets.test_the_measured_life_of_a_task_in_cgroup_v2()
    test_cpusets.test_the_measured_refusals_of_a_confined_task()
    test_cpusets.test_new_pages_and_fallback_stay_within_mems("linux-6")
    test_permissions.test_the_measured_row_of_an_unprivileged_user()


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "pages are not moved": (cpuset, "do_migrate_pages", moves_nothing),
    "policies are not rebound": (Cpusets, "_rebind", lambda self, policy, old, new: policy),
    "policies are counted in the old mems for ever": (
        cpuset, "rebind", lambda policy, old, new, too: mempolicy.rebind(policy, old, old, too),
    ),
    "mems do not confine": (Cpusets, "nodemask", lambda self, task, policy: policy.nodemask()),
    "everybody is in the root": (Cpusets, "online_mems", lambda self, cs: self.m.memory_nodes),
    "a child is no subset": (Cpusets, "_effective", lambda self, cs: (self.root.mems, self.root.cpus)),
    "everybody may access everything": (syscalls, "may_access", lambda m, task, caller: True),
    "every node may be named": (syscalls, "mems_of_caller", lambda m, caller: m.memory_nodes),
}  # fmt: skip


def test_the_sound_machine_passes() -> None:
    in_v2()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_machine_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, replacement = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, replacement)
    with pytest.raises(AssertionError):
        in_v2()
