"""A job that is killed at any moment can be taken back: what had moved, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import NumatuiError
from backend.job.parts import page_mover
from backend.journal.past_jobs import find_job
from backend.kernel import Numbers
from backend.state import private_file
from tests.backend.job.moving import PAGE, Mover

MOVES = [([0], [1]), ([0, 1], [2, 3]), ([0, 1], [1, 2]), ([1, 2], [0, 1]), ([0, 1, 2], [3])]


class Killed(BaseException):
    """What kill -9 is to a process: nothing that it would still have done happens."""


class Death:
    """Kills a job at its `fatal`-th step. A step is a line of its journal, of which only `part` is then written, or a
    call, of whose pages only `part` have then moved."""

    def __init__(self, fatal: int, part: float) -> None:
        self.fatal, self.part = fatal, part
        self.steps = 0
        self.dead = False

    def step(self) -> bool:
        """Whether this one is the last."""
        if self.dead:
            raise Killed
        self.dead = self.steps == self.fatal
        self.steps += 1
        return self.dead

    def append(self, fd: int, data: bytes, sync: bool = True) -> None:
        if self.step():
            os.write(fd, data[: int(len(data) * self.part)])
            raise Killed
        os.write(fd, data)

    def calls(self, kernel: Any) -> Any:
        original = kernel.move_pages

        def move_pages(pid: int, pages: Numbers, nodes: Any, status: Numbers, flags: int) -> int:
            if nodes is not None and self.step():
                some = int(len(pages) * self.part)
                original(pid, pages[:some], nodes[:some], status[:some], flags)
                raise Killed
            return original(pid, pages, nodes, status, flags)

        return move_pages


@contextmanager
def small_batches() -> Iterator[None]:
    """Chunks of 8 pages in batches of 4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_mover, "huge_page_size", lambda kernel: PAGE)
        patch.setattr(page_mover, "_WINDOW", 4 * PAGE)
        patch.setattr(page_mover, "_PER_CHUNK", 2)
        for name in ("_SMALLEST", "_FIRST", "_LARGEST"):
            patch.setattr(page_mover, name, 4 * PAGE)
        yield


def killed(one: Mover, death: Death, sources: list[int], targets: list[int], **options: Any) -> bool:
    """Move until death. Whether it came; it does not, when the job has fewer steps."""
    with pytest.MonkeyPatch.context() as patch, small_batches():
        patch.setattr(private_file, "append", death.append)
        patch.setattr(one.kernel, "move_pages", death.calls(one.kernel), raising=False)
        try:
            one.move(sources, targets, **options)
        except Killed:
            return True
    return False


layouts = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=24), min_size=1, max_size=3)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layouts,
    st.sampled_from(MOVES),
    st.integers(0, 40),
    st.floats(0, 1),
    st.sampled_from(["auto", "migrate_pages"]),
)
def test_killed_at_any_moment(
    tmp_path_factory: pytest.TempPathFactory, layout: Any, moves: Any, fatal: int, part: float, method: Any
) -> None:
    one = Mover(tmp_path_factory.mktemp("killed"), *layout)
    before = one.nodes
    died = killed(one, Death(fatal, part), *moves, method=method)
    now = one.nodes
    moved = sum(a != b for a, b in zip(before, now, strict=True))
    jobs = [*one.folder.glob("*.job")]
    if not jobs:
        assert died
        assert now == before, "nothing moves before its journal is there"
        return
    if died and fatal == 0:
        with pytest.raises(NumatuiError):
            one.job()
        assert now == before
        return
    past = find_job(one.folder, jobs[0].stem)
    ended = not died or past.state != "interrupted"
    assert ended == (past.state in ("done", "partly")), past.state
    back = one.undo(past.job)
    assert one.nodes == before
    assert back.complete
    assert back.moved == moved * PAGE
    assert one.job(past.job).undone_by == back.job


@pytest.mark.parametrize("workers", [1, 3])
def test_each_step_of_one_job(tmp_path: Path, workers: int) -> None:
    """Every line and every call of a job, cut at its beginning, in the middle and at its end."""
    layout = [[0] * 20 + [1] * 9, [1, 0] * 7]
    fatal = 0
    while True:
        for part in (0.0, 0.5, 1.0):
            one = Mover(tmp_path / f"{fatal}-{part}", *layout)
            before = one.nodes
            died = killed(one, Death(fatal, part), [0, 1], [1, 2], workers=workers)
            moved = sum(a != b for a, b in zip(before, one.nodes, strict=True))
            if fatal == 0:
                assert moved == 0
                continue
            assert one.undo().moved == moved * PAGE
            assert one.nodes == before
        if not died:
            assert fatal > 12
            return
        fatal += 1


def test_an_undo_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    for fatal in range(1, 14):
        one = Mover(tmp_path / str(fatal), [0] * 20 + [1] * 20)
        before = one.nodes
        moved = one.move([0, 1], [1, 2])
        death = Death(fatal, 0.5)
        with pytest.MonkeyPatch.context() as patch, small_batches():
            patch.setattr(private_file, "append", death.append)
            patch.setattr(one.kernel, "move_pages", death.calls(one.kernel), raising=False)
            with pytest.raises(Killed):
                one.undo(moved.job)
        assert one.job(moved.job).undone_by == ""
        assert one.undo(moved.job).complete
        assert one.nodes == before


def test_what_moved_between_death_and_undo_is_left_alone(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 40)
    assert killed(one, Death(9, 0.5), [0], [2])
    moved = [number for number, node in enumerate(one.nodes) if node == 2]
    assert 4 < len(moved) < 40
    one.meddle(3, moved[:4])
    back = one.undo()
    assert one.nodes == [3 if number in moved[:4] else 0 for number in range(40)]
    assert back.moved == (len(moved) - 4) * PAGE
