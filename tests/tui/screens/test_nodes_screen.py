"""The nodes: what is shown of them, and their processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.scenario.open import open_scenario
from backend.machine.topology import HugePool, Node, Watermarks
from backend.nodeset import CpuSet
from numatui.tui.paint.bars import length
from numatui.tui.paint.glyphs import UNICODE
from numatui.tui.paint.node_detail import node_detail
from numatui.tui.paint.node_table import NodeRow, kinds_bar, kinds_of
from numatui.tui.screens.advice import AdviceScreen
from numatui.tui.screens.nodes import NodesScreen
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.widgets.matrix import Matrix, heat_of
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import driving

amounts = st.integers(0, 1 << 40)
nodes = st.builds(
    lambda free, anon, file, shmem, slab, rest, pool: Node(
        0,
        CpuSet([0]),
        {
            "MemFree": free, "AnonPages": anon, "FilePages": file + shmem, "Shmem": shmem, "Slab": slab,
            "MemTotal": free + anon + file + shmem + slab + rest + 2 * pool,
        },
        huge_pools=(HugePool(1, 2 * pool, pool, 0),),
    ),
    *[amounts] * 6, st.integers(0, 1 << 30),
)  # fmt: skip


@given(nodes, st.integers(1, 90))
def test_the_kinds_of_memory_are_all_of_it_and_the_bar_is_as_wide_as_asked(node: Node, width: int) -> None:
    parts = kinds_of(node)
    assert sum(parts.values()) == node.total
    assert all(amount >= 0 for amount in parts.values())
    assert length(kinds_bar(node, width, UNICODE)) == width
    del node.memory["MemFree"]
    assert "free" not in kinds_of(node)
    assert length(kinds_bar(node, width, UNICODE)) == width


@pytest.mark.parametrize(("free", "words"), [(5, "below min"), (15, "below low"), (25, "near low"), (90, "above")])
def test_free_memory_is_held_against_the_watermarks(free: int, words: str) -> None:
    node = Node(0, CpuSet([0]), {"MemTotal": 100, "MemFree": free})
    row = NodeRow(node, 0.5, {}, Watermarks(10, 20, 30))
    assert words in "".join(text for text, _ in node_detail(row, {}, 80, UNICODE, {}, 30))
    assert row.short == (words != "above")


def test_heat_goes_from_near_to_far() -> None:
    assert [heat_of(value, 10, 28) for value in (10, 28)] == [0, 9]
    assert heat_of(10, 10, 10) == 0


async def test_shows_load_allocations_and_distances() -> None:
    kernel = open_scenario()
    async with driving(kernel, size=(130, 40)) as app:
        for _ in range(3):
            kernel.machine.advance(1.0)
            await app.read()
        await app.press("n")
        await app.screen(NodesScreen)
        await app.until(lambda: "anonymous memory" in app.text())
        shown = app.text()
        assert "above the watermarks" in shown
        assert "16" in shown
        assert "28" in shown
        busy = app.app.snapshot.activity.busy
        assert f"{busy[0] * 100:.0f}%" in shown
        await app.press("j")
        await app.until(lambda: "Node 1" in app.text())
        await app.press("escape")
        await app.screen(ProcessesScreen)


async def test_a_node_leads_to_the_processes_on_it() -> None:
    async with driving() as app:
        await app.press("n")
        await app.screen(NodesScreen)
        await app.until(lambda: "Node 0" in app.text())
        await app.press("j", "j", "enter")
        await app.screen(ProcessesScreen)
        wanted = {row.process.pid for row in app.app.snapshot.rows if (row.by_node or {}).get(2)}
        assert set(app.pids) == wanted < {row.process.pid for row in app.app.snapshot.rows}
        assert "node:2" in app.text()
        await app.press("escape")
        await app.screen(NodesScreen)
        assert not app.table.listing.filter.text
        await app.until(lambda: "Node 0" in app.text())
        await app.press("j", "x")
        await app.screen(ProcessesScreen)
        assert set(app.pids) == {row.process.pid for row in app.app.snapshot.rows if 1 in row.places}


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (200, 60)])
@pytest.mark.parametrize("count", [1, 4, 64])
async def test_any_number_of_nodes_on_any_screen(size: tuple[int, int], count: int) -> None:
    async with driving(FakeKernel(nodes=count), size=size) as app:
        await app.press("n")
        await app.screen(NodesScreen)
        await app.until(lambda: "FREE" in app.text())
        await app.press("G")
        await app.until(lambda: f"Node {count - 1}" in app.text())
        await app.press("d")
        matrix = app.app.screen.query_one(Matrix)
        assert matrix.display
        matrix.scroll_end(animate=False)
        await app.pilot.pause()
        assert len(app.lines()) == size[1]
        await app.press("d", "b")
        assert any("numatui bench" in one for one in app.notifications())


async def test_nodes_without_cpus_and_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = open_scenario("tiers")
    monkeypatch.setattr("numatui.tui.screens.nodes.read_tiers", lambda _: {0: 4, 1: 4, 2: 22})
    async with driving(kernel, size=(130, 40)) as app:
        await app.press("n")
        await app.screen(NodesScreen)
        await app.until(lambda: "TIER" in app.text())
        assert "no CPU" in app.text()


async def test_the_processes_of_a_node_are_shown_wherever_the_nodes_were_opened_from() -> None:
    async with driving() as app:
        await app.press("a")
        await app.screen(AdviceScreen)
        await app.press("n")
        await app.screen(NodesScreen)
        await app.press("enter")
        await app.screen(ProcessesScreen)
        assert "node:0" in app.text()
        assert len(app.app.screen_stack) == 2
