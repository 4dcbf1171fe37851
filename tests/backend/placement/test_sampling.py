"""Estimates from some pages: within what they say they are within, exact where all were asked, honest where pages
hide."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.placement.frame_nodes import FrameNodes
from backend.placement.placement_walk import TooLarge
from backend.placement.sampling import Estimate, estimate, sample, wilson
from backend.placement.window_sampling import sample_windows
from tests.kernels.laid_out import HIDDEN, HOLE, ZERO, LaidOut, mixed

NODES = [0, 1, 2, 3]


def sampled(kernel: LaidOut, seed: int, samples: int = 300, **how: Any) -> Estimate:
    parts = sample(kernel, 7, NODES, np.random.default_rng(seed), kernel.resident, samples=samples, **how)  # type: ignore[arg-type]
    return estimate([one.stratum for one in parts], NODES)


def misses(found: Estimate, truth: dict[int, int], tighter: float = 1.0) -> int:
    assert found.pages is not None
    return sum(
        abs(found.pages.get(node, 0) - truth.get(node, 0)) > max(0.5, found.error.get(node, 0) / tighter)
        for node in NODES
    )


def test_the_truth_is_within_the_error_as_often_as_is_said() -> None:
    """800 numbers: 40 may be off by more than is said; twice as many would be too many. With errors half as wide a
    third of the uncertain ones would be off, so the errors are not just wide."""
    off = far_off = uncertain = 0
    widths: list[float] = []
    for seed in range(200):
        kernel = mixed(np.random.default_rng(seed))
        found = sampled(kernel, seed)
        off += misses(found, kernel.truth)
        far_off += misses(found, kernel.truth, tighter=4)
        uncertain += len(found.error)
        widths += [one / kernel.resident for one in found.error.values()]
        assert found.pages is not None
        assert abs(sum(found.pages.values()) - kernel.resident) <= len(NODES)
    assert uncertain > 400
    assert off <= 80
    assert far_off > 40
    assert np.mean(widths) < 0.06


def test_windows_are_within_what_they_say_too() -> None:
    """Pages lie together in runs that are longer than a window: the worst case for windows."""
    off = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        runs = np.repeat(rng.choice(4, 200, p=rng.dirichlet(np.ones(4))), 1000)
        runs[rng.random(len(runs)) < 0.2] = HOLE
        kernel = LaidOut([runs])
        found = sample_windows(kernel, 7, NODES, rng, kernel.resident, None, windows=100)  # type: ignore[arg-type]
        off += misses(found, kernel.truth)
        assert max(found.error.values()) < kernel.resident * 0.2
    assert off <= 24


def test_windows_know_nodes_by_frames_where_these_are_shown() -> None:
    kernel = LaidOut([np.repeat([0, 3, 2], 40960)])
    read = kernel.read

    def with_frames(path: str, offset: int = 0, size: int = -1) -> bytes:
        entries = np.frombuffer(read(path, offset, size), np.uint64) if path.endswith("pagemap") else None
        if entries is None:
            return read(path, offset, size)
        place = np.arange(offset // 8, offset // 8 + len(entries)) - kernel.starts[0] // 4096
        frames = np.clip(kernel.regions[0][np.clip(place, 0, 122879)] * 1000 + 1, 1, None).astype(np.uint64)
        return (entries | frames | np.uint64(1 << 56)).tobytes()

    kernel.read = with_frames  # type: ignore[method-assign]
    blocks = FrameNodes(1000, np.array(NODES, np.int32))
    found = sample_windows(kernel, 7, NODES, np.random.default_rng(1), kernel.resident, blocks)  # type: ignore[arg-type]
    assert kernel.asked == 0
    assert misses(found, kernel.truth) == 0
    assert set(found.pages or {}) == {0, 2, 3}


@given(seed=st.integers(0, 1 << 30))
def test_when_all_pages_are_asked_it_is_exact(seed: int) -> None:
    kernel = mixed(np.random.default_rng(seed % 50))
    found = sampled(kernel, seed, samples=1 << 20)
    assert found.pages == kernel.truth
    assert found.error == {}
    assert found.hidden == 0


def test_holes_cost_no_question_and_the_zero_page_is_nobodys() -> None:
    nodes = np.full(5000, 1)
    nodes[1000:4000] = HOLE
    nodes[4000:4500] = ZERO
    kernel = LaidOut([nodes])
    found = sampled(kernel, 1, samples=200)
    assert 190 <= kernel.asked <= 210
    assert found.pages is not None
    assert set(found.pages) == {1}
    assert abs(found.pages[1] - 1500) <= found.error[1] < 400


def test_hidden_pages_widen_the_error_and_are_never_taken_as_truth() -> None:
    """All hidden pages are on node 2, of which nothing is seen: what is said of nodes 0 and 2 must allow for it."""
    shown = np.repeat([0, HIDDEN], [4000, 2000])
    found = sampled(LaidOut([shown]), 3)
    assert found.hidden == pytest.approx(2000, abs=400)
    assert misses(found, {0: 4000, 2: 2000}) == 0
    assert found.error[2] >= 2000 * 0.8
    assert misses(found, {0: 6000}) == 0
    seen = sampled(LaidOut([np.repeat([0], 6000)]), 3)
    assert seen.error[0] < 200


def test_nothing_is_said_where_all_pages_hide() -> None:
    found = sampled(LaidOut([np.full(3000, HIDDEN)]), 1)
    assert found.pages is None
    assert found.hidden == 3000


def test_no_time_is_said_at_once_and_a_refused_call_too() -> None:
    with pytest.raises(TooLarge):
        sampled(LaidOut([np.zeros(3000, int)]), 1, go_on=lambda: False)
    with pytest.raises(OSError):
        sampled(LaidOut([np.zeros(3000, int)], refuse=errno.EPERM), 1)


def test_a_process_without_pages_has_none() -> None:
    assert sampled(LaidOut([np.full(10, HOLE)]), 1) == Estimate({}, {}, 0)


def test_wilson_against_the_textbook() -> None:
    """10 of 100: 5.52 % to 17.44 %; 0 of 20: up to 16.11 %."""
    assert wilson(np.array([0.1]), 100)[0] == pytest.approx(0.1744 - 0.1, abs=1e-4)
    assert wilson(np.array([0.0]), 20)[0] == pytest.approx(0.1611, abs=1e-4)
