"""What a job tells adds up, whatever the calls answered and whatever happened meanwhile: the function alone, and jobs
on an emulated machine against what is true there. Mutants show that these checks can fail."""

from __future__ import annotations

import inspect
import random
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.emulator.migration import hotplug
from backend.emulator.mm.fault import touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.zap import zap
from backend.emulator.tasks.life import do_exit
from backend.errors import NumatuiError
from backend.job.outcome import Progress
from backend.job.parts import reconcile as module
from backend.job.parts.reconcile import Answers, Reconciled, reconcile
from backend.plan.reasons import REASONS, THERE
from tests.backend.job.moving import PAGE, Mover, everything_is_large
from tests.backend.job.test_undo_interrupted import small_batches

AMOUNTS = st.integers(0, 50)


@st.composite
def answered(draw: st.DrawFn) -> tuple[Answers, int, int]:
    """Any answers, any rest, any growth: also those that no kernel gives."""
    left: Any = draw(st.dictionaries(st.sampled_from([*REASONS]), AMOUNTS, max_size=4))
    stopped: Any = draw(st.sampled_from(["", "cancelled", "stopped", "no-room", "refused"]))
    away: Any = draw(st.sampled_from(["gone", "elsewhere"]))
    return Answers(draw(AMOUNTS), draw(AMOUNTS), left, stopped, away), draw(AMOUNTS), draw(AMOUNTS)


def adds_up(case: tuple[Answers, int, int], function: Callable[..., Reconciled] = reconcile) -> None:
    answers, rest, grown = case
    made = function(answers, rest, grown)
    assert made.moved + sum(made.left.values()) == made.there
    assert made.there >= answers.there
    assert min([made.moved, made.appeared, *made.left.values()]) >= 0
    assert all(made.left.values()), "no reason without a page"
    assert made.moved <= answers.moved
    assert made.appeared <= grown
    staying = sum(amount for reason, amount in made.left.items() if reason in THERE)
    assert staying + made.appeared <= rest, "no page is said to stay that has gone"
    if rest <= made.there + grown:
        assert staying + made.appeared == rest, "each that is there has a reason, or is new"
    believable = answers.moved + sum(answers.left.values()) <= answers.there + grown
    if believable and made.there == answers.there and rest == sum(a for r, a in answers.left.items() if r in THERE):
        assert made.moved == answers.moved, "what is as the calls answered stays as it was told"


@given(answered())
@settings(max_examples=2000)
def test_moved_and_left_are_what_was_there(case: tuple[Answers, int, int]) -> None:
    answers, rest, grown = case
    made = reconcile(answers, rest, grown)
    assert made.moved + sum(made.left.values()) == made.there
    adds_up(case)


MUTANTS = {
    "what came back still counts as moved": ("    moved -= returned\n", ""),
    "what is new is taken for what came back": ("appeared = min(more, grown)", "appeared = 0"),
    "pages that were not reached have no reason": ("        unreached -= waiting\n", ""),
    "what has gone is said to stay": ("    if staying > rest:", "    if False:"),
    "what has gone is told twice": ("                left[reason] -= gone\n", ""),
    "pages that nobody spoke of are forgotten": ("overlooked = min(more, unreached)", "overlooked = 0"),
    "more than there was is not noticed": (
        "there = max(answers.there, moved + sum(left.values()))", "there = answers.there",
    ),
    "reasons without a page": ("in left.items() if amount}, appeared", "in left.items()}, appeared"),
    "what had gone stays gone": ("        returned += again\n", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str) -> None:
    old, new = MUTANTS[name]
    source = inspect.getsource(module)
    assert source.count(old) == 1, name
    mutant = ModuleType("mutant")
    # dataclasses look for their module by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "mutant", mutant)
        exec(compile(source.replace(old, new), "mutant.py", "exec"), mutant.__dict__)

        @settings(max_examples=3000, database=None, derandomize=True)
        @given(answered())
        def attempt(case: tuple[Answers, int, int]) -> None:
            adds_up(case, mutant.reconcile)

        with pytest.raises(AssertionError):
            attempt()


class Meanwhile:
    """Things that happen to one process while it is moved, in the middle of calls."""

    KINDS = ("moved by another", "unmapped", "touched", "forked", "node offline", "exit", "cancel", "pinned")

    def __init__(self, one: Mover, seed: int, kinds: list[str]) -> None:
        self.one, self.chance, self.kinds = one, random.Random(seed), list(kinds)
        self.cancel = threading.Event()
        self.unmapped: set[tuple[int, int]] = set()
        self.exited = False

    def __call__(self, _: Progress) -> None:
        if self.kinds and self.chance.random() < 0.5:
            self.happen(self.kinds.pop())

    def happen(self, kind: str) -> None:
        one, chance = self.one, self.chance
        which = chance.randrange(len(one.vmas))
        pages = chance.sample(range(one.vmas[which].pages), min(4, one.vmas[which].pages))
        there = [page for page in pages if (which, page) not in self.unmapped]
        if self.exited:
            return
        if kind == "moved by another" and there:
            one.meddle(chance.randrange(3), there, which)
        elif kind == "unmapped":
            zap(one.machine, one.vmas[which], np.array(sorted(pages)))
            self.unmapped |= {(which, page) for page in pages}
        elif kind == "touched" and self.unmapped:
            index, page = self.unmapped.pop()
            vma = one.vmas[index]
            one.machine.run(touch(one.machine, one.task, one.task.leader, vma.start, np.array([page]), write=True))
        elif kind == "forked":
            one.machine.run(fork(one.machine, one.task))
        elif kind == "node offline":
            try:
                one.machine.run(hotplug.offline(one.machine, 3))
            except OSError:
                return
        elif kind == "exit":
            do_exit(one.machine, one.task)
            self.exited = True
        elif kind == "cancel":
            self.cancel.set()
        elif kind == "pinned" and there:
            one.pin(there, which)


@settings(
    max_examples=120, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    layout=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=24), min_size=1, max_size=3),
    sets=st.sampled_from([([0], [1]), ([0, 1], [1, 2]), ([0, 1], [2, 3]), ([0], [3]), ([0, 1, 2], [3])]),
    kinds=st.lists(st.sampled_from(Meanwhile.KINDS), max_size=5),
    how=st.sampled_from(["move_pages", "auto", "migrate_pages"]),
    move_all=st.booleans(),
    balancing=st.booleans(),
    gentle=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
@example(
    layout=[[0]], sets=([0, 1, 2], [3]), kinds=["node offline"], how="migrate_pages", move_all=False, balancing=False,
    gentle=False, seed=1,
)  # fmt: skip
def test_jobs_tell_what_is_true_of_the_machine(
    tmp_path_factory: pytest.TempPathFactory, layout: Any, sets: Any, kinds: Any, how: Any, move_all: bool,
    balancing: bool, gentle: bool, seed: int,
) -> None:  # fmt: skip
    one = Mover(tmp_path_factory.mktemp("told"), *layout)
    if balancing:
        one.kernel.answers["numa_balancing"] = lambda _: b"1\n"
    if gentle:
        one.read_gently()
    sources, targets = sets
    before = one.nodes
    meanwhile = Meanwhile(one, seed, kinds)
    plan = one.plan(sources, targets, method=how, move_all=move_all)
    with small_batches(), everything_is_large():
        try:
            ended = one.carry_out(plan, on_progress=meanwhile, cancel=meanwhile.cancel, workers=1)
        except NumatuiError:
            assert one.nodes == before or meanwhile.exited, "it was refused before anything"
            return
    (part,) = ended.whole.parts
    leaving = {move.source for move in plan.moves}
    there = sum(node in leaving for node in before) * PAGE
    assert part.moved + sum(part.left.values()) >= there, "each page that was there is told"
    assert all(part.left.values())
    if meanwhile.exited:
        return
    touched = any(kind == "touched" for kind in kinds)
    if not touched and not any(kind == "moved by another" for kind in kinds):
        assert part.moved + sum(part.left.values()) == there, "and none is told twice"
    assert part.after == {node: one.nodes.count(node) * PAGE for node in sorted({*one.nodes}) if node >= 0}
    staying = sum(amount for reason, amount in part.left.items() if reason in THERE)
    if part.cancelled or part.error:
        if not {"moved by another", "touched", "node offline"} & set(kinds):
            still = sum(old == new and old in leaving for old, new in zip(before, one.nodes, strict=True))
            assert staying == still * PAGE, "what was not reached is still where it was"
        return
    expected = plan.processes[0].after
    excess = sum(max(0, part.after.get(node, 0) - expected.get(node, 0)) for node in leaving)
    # Another mover may bring pages to a source that were on none: they are not the job's.
    told = part.moved + sum(part.left.values()) + part.appeared
    assert staying + part.appeared == min(excess, told), "what is said to stay is what is there"
