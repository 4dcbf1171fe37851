"""The map of the machine: all nodes and links are on it, whatever the size, and flows go the right way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.machine.topology import Topology, read_topology
from numatui.tui.paint import bars, machine_map
from numatui.tui.paint.glyphs import ASCII, UNICODE, Glyphs
from numatui.tui.paint.machine_map import BOX, LEAST, NODES, Grid, MapState, grid_for
from numatui.tui.paint.node_table import node_rows
from tests.kernels.fake_kernel import FakeKernel

SQUARE = grid_for(4, 100, 13)


@pytest.fixture(scope="module")
def topology() -> Topology:
    return read_topology(FakeKernel())


def picture(
    topology: Topology, grid: Grid | None, flows: Mapping[tuple[int, int], float] = {}, phase: int = 0,
    glyphs: Glyphs = UNICODE,
) -> list[str]:  # fmt: skip
    assert grid is not None
    rows = node_rows(topology, {}, {}, {}, 4096)
    lines = machine_map.draw(MapState(topology, rows, {0: (0.5, 1.0)}, flows, phase), grid, glyphs)
    assert all(bars.length(line) == grid.width for line in lines)
    return ["".join(text for text, _ in line) for line in lines]


@given(st.integers(0, 40), st.integers(1, 400), st.integers(1, 60))
def test_a_grid_has_room_for_all_boxes_and_fits(nodes: int, width: int, height: int) -> None:
    grid = grid_for(nodes, width, height)
    if grid is None:
        return
    assert nodes in NODES
    assert grid.columns * grid.rows >= nodes
    assert grid.width <= width
    assert grid.height <= height
    assert grid.box >= LEAST
    corners = {grid.at(index) for index in range(nodes)}
    assert len(corners) == nodes
    assert all(x + grid.box <= grid.width and y + BOX <= grid.height for x, y in corners)


@given(st.sampled_from(list(NODES)))
def test_a_large_screen_has_a_map(nodes: int) -> None:
    assert grid_for(nodes, 250, 20) is not None


def test_four_nodes_have_all_six_links_with_their_distances(topology: Topology) -> None:
    text = "\n".join(picture(topology, SQUARE))
    assert all(f" node {node} " in text for node in range(4))
    wanted = sorted(str(topology.distance(a, b)) for a in range(4) for b in range(a))
    told = [word for word in text.replace("═", " ").replace("─", " ").replace("┄", " ").split() if word.isdigit()]
    # One number stands for two links that cross and are as long.
    assert set(wanted) <= set(told)
    assert text.count("╳") == 1


def test_a_near_link_is_heavier_than_a_far_one(topology: Topology) -> None:
    lines = picture(topology, SQUARE)
    near, far = topology.distance(0, 1), topology.distance(0, 2)
    assert near < far
    assert "═" in lines[2]
    assert "║" not in "".join(lines)


@pytest.mark.parametrize(("pair", "head"), [((0, 1), "▶"), ((1, 0), "◀"), ((0, 2), "▼"), ((3, 1), "▲"), ((0, 3), "●")])
def test_pages_flow_from_the_source_to_the_target(topology: Topology, pair: tuple[int, int], head: str) -> None:
    still = "\n".join(picture(topology, SQUARE))
    assert head not in still
    first, second = ("\n".join(picture(topology, SQUARE, {pair: 3 << 20}, phase)) for phase in (0, 1))
    assert head in first
    assert head in second
    assert "3.0M/s" in first
    assert first != second


def test_ascii_has_no_other_characters(topology: Topology) -> None:
    text = "".join(picture(topology, SQUARE, {(0, 3): 1 << 20, (0, 1): 1 << 20}, glyphs=ASCII))
    assert text.isascii()


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ({"workingset_refault_anon": 200.0, "workingset_refault_file": 300.0, "numa_miss": 40.0}, "refault 500/s"),
        ({"numa_miss": 40.0}, "miss 40/s"),
        ({"numa_foreign": 40.0, "numa_miss": 3.0}, "out 40/s"),
    ],
)
def test_a_box_tells_what_shows_that_memory_is_short(topology: Topology, rates: dict[str, float], told: str) -> None:
    rows = node_rows(topology, {}, {0: rates}, {}, 4096)
    assert SQUARE is not None
    lines = machine_map.draw(MapState(topology, rows, {}, {}), SQUARE, UNICODE)
    assert told in "\n".join("".join(text for text, _ in line) for line in lines)
