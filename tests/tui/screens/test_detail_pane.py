"""The pane beside the table: it follows the cursor, reads only where the cursor rests, and only where there is room."""

from __future__ import annotations

from typing import Any

from numatui.tui.widgets.detail_pane import DetailPane
from tests.kernels.around import Around
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import driving

WIDE = (160, 50)


async def test_it_follows_the_cursor() -> None:
    async with driving(FakeKernel(), size=WIDE) as app:
        pane = app.app.screen.query_one(DetailPane)
        for _ in range(2):
            current = app.table.current
            assert current is not None
            await app.until(lambda: pane.look is not None, "mappings and threads")
            assert pane.row is current
            text = app.text()
            assert "Threads × memory" in text
            assert "Memory over time" in text
            assert f"{current.process.pid} {current.process.user}" in text
            await app.press("down")
            assert pane.row is app.table.current
            assert pane.look is None, "what is shown is never of another process"


async def test_below_160_columns_there_is_none_and_its_key_says_so() -> None:
    async with driving(FakeKernel(), size=(159, 50), notifications=True) as app:
        assert not app.app.screen.query_one(DetailPane).display
        await app.press("d")
        assert any("from 160 columns on" in one for one in app.notifications())


async def test_it_can_be_hidden_and_that_is_kept() -> None:
    async with driving(FakeKernel(), size=WIDE) as app:
        await app.press("d")
        assert not app.app.screen.query_one(DetailPane).display
        kept = app.app.left()
    async with driving(FakeKernel(), size=WIDE, kept=kept) as app:
        assert not app.app.screen.query_one(DetailPane).display
        await app.press("d")
        assert app.app.screen.query_one(DetailPane).display


async def test_a_group_is_summed_up_and_its_mappings_are_not_read() -> None:
    kernel: Any = Around(FakeKernel())
    async with driving(kernel, size=WIDE) as app:
        await app.until(lambda: app.app.screen.query_one(DetailPane).look is not None)
        await app.press("v")
        before = len(kernel.seen)
        await app.until(lambda: "(4)" in app.text())
        assert "Threads × memory" in app.text()
        assert "Mappings" not in app.text()
        assert not any("maps" in name for name in kernel.seen[before:])


async def test_passing_over_many_rows_reads_none_of_them() -> None:
    kernel: Any = Around(FakeKernel())
    async with driving(kernel, size=WIDE) as app:
        await app.until(lambda: app.app.screen.query_one(DetailPane).look is not None)
        kernel.seen.clear()
        await app.press(*["down"] * 10)
        passed = {f"/proc/{row.process.pid}/numa_maps" for row in app.table.rows[1 : app.table.cursor]}
        await app.until(lambda: app.app.screen.query_one(DetailPane).look is not None)
        assert len(passed & set(kernel.seen)) <= 1
