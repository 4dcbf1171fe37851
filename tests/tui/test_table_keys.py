"""The process table's keys: tree, groups, following, searching, digits, columns, scrolling sideways."""

from __future__ import annotations

import pytest

from numatui.tui.model.groups import GroupRow
from numatui.tui.screens.dialogs.chooser import Chooser, SeveralChooser
from numatui.tui.screens.migrate import MigrateScreen
from tests.kernels.fake_kernel import FakeKernel, many, process
from tests.tui.driver import driving


async def test_digits_go_to_a_pid_as_they_are_typed() -> None:
    async with driving() as app:
        await app.press(*"1300")
        assert app.current == 1300
        await app.press("down", *"412")
        assert app.current == 412


async def test_searching_moves_the_cursor_and_hides_nothing() -> None:
    async with driving() as app:
        await app.press("N", "home", "f3", *"nginx")
        assert app.current == 1500
        await app.press("f3")
        assert app.current == 1501
        await app.press("f3", "f3", "f3")
        assert app.current == 1500
        await app.press("shift+f3")
        assert app.current == 1503
        assert len(app.pids) == 21
        await app.press("enter")
        assert app.table.has_focus


async def test_a_search_takes_filters() -> None:
    async with driving() as app:
        await app.press("N", "home", "f3", *"local<10", "enter")
        assert app.table.current is not None
        assert (app.table.current.local or 0) < 0.1


async def test_a_user_is_chosen_from_those_there_are_and_all_again() -> None:
    async with driving() as app:
        await app.press("u")
        await app.screen(Chooser)
        await app.press("down", "enter")
        await app.until(lambda: len(app.pids) < 21)
        users = {row.process.user for row in app.table.rows}
        assert users == {"ada"}
        assert "user:ada" in app.text()
        await app.press("u", "enter")
        await app.until(lambda: len(app.pids) == 21)


async def test_a_click_on_its_sign_opens_a_group_and_closes_it() -> None:
    async with driving() as app:
        await app.press("v")
        groups = len(app.table.rows)
        group = app.table.rows[0]
        assert isinstance(group, GroupRow)
        sign = next(slot.x for slot in app.table.slots if slot.column.id == "command")
        await app.pilot.click(app.table, offset=(sign, 1))
        await app.pilot.pause()
        assert len(app.table.rows) == groups + len(group.members)
        await app.pilot.click(app.table, offset=(sign + 10, 1))
        await app.pilot.pause()
        assert len(app.table.rows) == groups + len(group.members)
        await app.pilot.click(app.table, offset=(sign, 1))
        await app.pilot.pause()
        assert len(app.table.rows) == groups


async def test_a_group_is_migrated_as_its_members() -> None:
    async with driving() as app:
        await app.press("v")
        assert all(isinstance(row, GroupRow) for row in app.table.rows)
        assert "by user" in app.text()
        group = app.table.current
        assert isinstance(group, GroupRow)
        await app.press("enter")
        assert len(app.pids) > len({row.process.user for row in app.table.listing.rows})
        await app.press("minus")
        assert all(isinstance(row, GroupRow) for row in app.table.rows)
        await app.press("m")
        await app.screen(MigrateScreen)
        assert isinstance(app.app.screen, MigrateScreen)
        wanted = {row.process.identity for row in group.members}
        assert {one.identity for one in app.app.screen.processes} == wanted


async def test_who_is_followed_keeps_the_cursor_until_it_is_moved() -> None:
    kernel = FakeKernel(many(200))
    async with driving(kernel, size=(100, 30)) as app:
        await app.press("N", *"180", "F")
        assert "following 180" in app.text()
        await app.press("M")
        assert app.current == 180
        height = app.table.size.height - 1
        where = app.table.cursor - app.table.scroll_offset.y
        assert app.table.cursor < height // 2 or 0 < where < height
        kernel.processes[999999] = process(999999, "new", "web", 0, {0: 1})
        await app.read()
        assert app.current == 180
        await app.press("down")
        assert "following" not in app.text()


async def test_the_end_of_the_followed_process_is_told() -> None:
    kernel = FakeKernel()
    async with driving(kernel, notifications=True) as app:
        await app.press(*"1300", "F")
        del kernel.processes[1300]
        await app.read()
        assert any("1300" in one for one in app.notifications())


async def test_small_processes_are_hidden_and_that_is_told() -> None:
    async with driving() as app:
        await app.press("H")
        assert all(row.resident >= 16 << 20 for row in app.table.rows)
        assert f"{21 - len(app.pids)} below 16M hidden" in app.text()
        await app.press("H")
        assert len(app.pids) == 21


async def test_columns_are_chosen() -> None:
    async with driving(size=(159, 40)) as app:
        assert "THR" not in app.text()
        await app.press("f2")
        await app.screen(SeveralChooser)
        await app.press("down", "down", "down", "space", "enter")
        await app.until(lambda: "THR" in app.text())
        await app.press("C", "r", "enter")
        await app.until(lambda: "THR" not in app.text())
        await app.press("C", "space", "escape")
        assert "USER" in app.text()


async def test_a_column_by_which_is_sorted_is_shown() -> None:
    async with driving() as app:
        await app.press("T")
        assert "TIME" in app.text()
        await app.press("M")
        assert "TIME" not in app.text()


async def test_sorting_is_chosen_from_a_list() -> None:
    async with driving() as app:
        await app.press("f6")
        await app.screen(Chooser)
        await app.press("home", "enter")
        await app.until(lambda: app.table.listing.sort == "pid")
        assert app.pids == sorted(app.pids)


@pytest.mark.parametrize("width", [60, 120])
async def test_every_node_of_a_machine_with_64_can_be_seen_by_scrolling(width: int) -> None:
    async with driving(FakeKernel(nodes=64), size=(width, 30)) as app:
        seen: set[str] = set()
        for _ in range(80):
            shown = [slot.column.id for slot in app.table.slots]
            assert shown[:2] == ["mark", "pid"]
            assert "command" in shown
            assert app.table.slots[-1].x + app.table.slots[-1].width <= width
            seen |= set(shown)
            await app.press("right")
        assert {f"n{node}" for node in range(64)} <= seen
        assert "cpuset" in [slot.column.id for slot in app.table.slots]
        assert "◂" in app.lines()[app.table.region.y] or width - app.table.slots[-1].x - app.table.slots[-1].width < 2
        await app.press(*["left"] * 80)
        assert app.table.skip == 0


async def test_a_screen_that_shows_all_does_not_scroll_sideways() -> None:
    async with driving(size=(200, 30)) as app:
        await app.press("right")
        assert app.table.skip == 0


async def test_escape_goes_back_one_thing_at_a_time() -> None:
    async with driving() as app:
        await app.press("space", "slash", *"redis", "enter", "F")
        assert "following" in app.text()
        await app.press("escape")
        assert len(app.pids) == 21
        assert "following" in app.text()
        await app.press("escape")
        assert "following" not in app.text()
        assert app.table.listing.tagged
        await app.press("escape")
        assert not app.table.listing.tagged
