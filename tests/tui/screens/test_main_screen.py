"""The main screen: what is shown, sorting, filtering, tagging, the cursor, narrow terminals."""

from __future__ import annotations

import errno

import pytest

from backend.machine.load import Load
from numatui.tui.screens.help import HelpScreen
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.widgets.node_panel import NodePanel
from tests.kernels.fake_kernel import MIB, FakeKernel, many, process
from tests.tui.driver import driving


async def test_shows_every_process_with_where_its_memory_lies() -> None:
    async with driving() as app:
        assert len(app.pids) == 21
        line = next(line for line in app.lines() if "train.py" in line)
        assert "30@3" in line
        assert "4%!" in line
        assert "1.5G" in line


async def test_estimates_are_marked_and_policies_that_are_not_read_are_not_made_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backend.placement.readers.PATIENCE", 3600.0)
    async with driving(FakeKernel(source="live", privileged=False)) as app:
        line = next(line for line in app.lines() if "train.py" in line)
        assert "~4%!" in line
        assert "~1.5G" in line
        assert " ? " in line
        small = next(line for line in app.lines() if "sshd" in line)
        assert "~" not in small
        assert "default" in small
        await app.press("slash", *"train", "enter", "enter")
        await app.screen(ProcessScreen)
        await app.until(lambda: "sampled, a node within" in app.text())
        assert "~1.5G" in app.text()


async def test_the_header_says_how_busy_this_host_is_and_drops_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numatui.tui.reading.reader.read_load", lambda _: Load(12.3, 0.41, 3 * 86400.0 + 5000))
    async with driving(FakeKernel(source="live"), size=(160, 40)) as app:
        await app.until(lambda: "load 12.30  cpu 41%  up 3 d" in app.lines()[0])
        assert "local" in app.lines()[0]
        await app.pilot.resize_terminal(66, 24)
        await app.until(lambda: "load" not in app.lines()[0])
        assert "local" in app.lines()[0]


async def test_begins_with_the_most_memory_first() -> None:
    async with driving() as app:
        sizes = [row.resident for row in app.table.rows]
        assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("keys", "order"),
    [
        (["N"], lambda row: row.process.pid),
        (["less_than_sign"] * 2, lambda row: (row.node, row.process.cpu)),
        (["L"], lambda row: row.local),
    ],
)
async def test_sorts_by_keys_like_htop_and_inverts(keys: list[str], order) -> None:
    async with driving() as app:
        await app.press(*keys)
        values = [order(row) for row in app.table.rows]
        assert values == sorted(values)
        await app.press("I")
        values = [order(row) for row in app.table.rows]
        assert values == sorted(values, reverse=True)


async def test_steps_through_the_columns_that_are_shown() -> None:
    async with driving() as app:
        seen = []
        for _ in range(13):
            seen.append(app.table.listing.sort)
            await app.press("greater_than_sign")
        assert {"pid", "user", "command", "cpu", "rss", "local", "n0", "n3", "placement", "policy"} <= set(seen)
        here = app.table.listing.sort
        await app.press("less_than_sign", "greater_than_sign")
        assert app.table.listing.sort == here


async def test_a_click_on_a_heading_sorts_by_it_and_again_inverts() -> None:
    async with driving() as app:
        slot = next(slot for slot in app.table.slots if slot.column.id == "user")
        await app.pilot.click(app.table, offset=(slot.x + 1, 0))
        await app.pilot.pause()
        users = [row.process.user for row in app.table.rows]
        assert users == sorted(users)
        await app.pilot.click(app.table, offset=(slot.x + 1, 0))
        await app.pilot.pause()
        assert [row.process.user for row in app.table.rows] == sorted(users, reverse=True)


async def test_filters_while_typing_and_escape_takes_it_back() -> None:
    async with driving() as app:
        await app.press("slash", *"REDIS")
        assert app.pids == [1300, 1301]
        await app.press("enter")
        assert app.table.has_focus
        assert "2 of 21" in app.text()
        await app.press("escape")
        assert len(app.pids) == 21


@pytest.mark.parametrize(
    ("text", "expected"), [("2101", {2101}), ("feed", {2101}), ("collect", {2101}), ("nothing", set())]
)
async def test_filters_by_pid_user_and_command(text: str, expected: set[int]) -> None:
    async with driving() as app:
        await app.press("slash", *text)
        assert set(app.pids) == expected


async def test_letters_in_the_filter_are_not_commands() -> None:
    async with driving() as app:
        await app.press("slash", *"qmx")
        assert app.table.listing.filter.text == "qmx"
        assert app.app.is_running


async def test_moves_the_cursor_by_keys() -> None:
    async with driving(FakeKernel(many(300)), size=(100, 30)) as app:
        await app.press("N")
        await app.press("home", "j", "down", "k")
        assert app.table.cursor == 1
        await app.press("G")
        assert app.table.cursor == 299
        assert str(app.pids[-1]) in app.text()
        await app.press("pageup")
        assert 260 < app.table.cursor < 299
        await app.press("g", "up")
        assert app.table.cursor == 0


async def test_a_filter_that_leaves_few_rows_shows_them_after_scrolling_down() -> None:
    async with driving(FakeKernel(many(300)), size=(100, 30)) as app:
        await app.press("G", "slash", *'"shard 123"')
        assert len(app.pids) == 1
        assert "--shard 123" in app.text()


async def test_the_cursor_stays_on_its_process_when_rows_change_places() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        await app.press("j", "j", "j")
        chosen = app.current
        assert chosen is not None
        kernel.processes[9999] = process(9999, "newcomer", "ada", 0, {0: 4000})
        await app.read()
        assert app.pids[0] == 9999
        assert app.current == chosen
        del kernel.processes[chosen]
        await app.read()
        assert app.current not in (None, chosen)


async def test_another_process_with_the_same_pid_is_another_process() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        await app.press("space")
        assert len(app.table.listing.tagged) == 1
        (tagged,) = app.table.listing.tagged
        kernel.processes[tagged.pid].start_time += 1
        await app.read()
        assert not app.table.listing.tagged


async def test_tags_with_space_and_goes_on() -> None:
    async with driving() as app:
        first, second = app.pids[:2]
        await app.press("space", "space")
        assert {one.pid for one in app.table.listing.tagged} == {first, second}
        assert app.table.cursor == 2
        assert "2 tagged" in app.text()
        assert sum(line.startswith("●") for line in app.lines()) == 2
        await app.press("escape")
        assert not app.table.listing.tagged
        assert "●" not in app.text()


async def test_mouse_click_moves_the_cursor_and_a_double_click_opens() -> None:
    async with driving() as app:
        await app.pilot.click(app.table, offset=(20, 4))
        await app.pilot.pause()
        assert app.table.cursor == 3
        await app.pilot.double_click(app.table, offset=(20, 4))
        await app.screen(ProcessScreen)


async def test_the_scroll_bar_covers_no_column() -> None:
    async with driving(FakeKernel(many(60)), size=(80, 24)) as app:
        last = app.table.slots[-1]
        assert app.table.show_vertical_scrollbar
        assert last.x + last.width <= app.table.scrollable_content_region.width < 80


async def test_only_visible_rows_are_made() -> None:
    async with driving(FakeKernel(many(3000)), size=(120, 40)) as app:
        made = []
        columns = list(app.table.columns)
        command = next(index for index, column in enumerate(columns) if column.id == "command")
        cell = columns[command].cell

        def counting(row, width):
            made.append(row.process.pid)
            return cell(row, width)

        object.__setattr__(columns[command], "cell", counting)
        await app.press("end")
        assert len(set(made)) < 100


async def test_only_changed_lines_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        drawn = []
        refresh = app.table.refresh
        monkeypatch.setattr(
            app.table,
            "refresh",
            lambda *regions, **rest: (drawn.extend(regions), refresh(*regions, **rest))[1],
        )
        await app.read()
        assert drawn == []
        kernel.processes[3000].cpu = 1
        await app.read()
        assert len(drawn) == 1


async def test_processes_that_may_not_be_looked_at_say_so() -> None:
    kernel = FakeKernel(privileged=False)
    kernel.denied = {1001, 1201}
    async with driving(kernel) as app:
        assert len(app.pids) == 21
        assert app.text().count("not allowed") == 2
        assert "own processes only" in app.text()


async def test_a_kernel_that_stops_answering_is_one_line_not_an_end() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        kernel.failure = OSError(errno.EIO, "broken [red]pipe[/red]")
        app.app.read_now()
        await app.until(lambda: app.app.error)
        assert len(app.notifications()) == 1
        app.app.read_now()
        await app.until(lambda: app.app._asked_at is None)
        assert len(app.notifications()) == 1
        assert len(app.pids) == 21
        kernel.failure = None
        await app.read()
        assert not app.app.error


async def test_a_stuck_reading_is_told_and_does_not_pile_up() -> None:
    import threading

    kernel, go = FakeKernel(), threading.Event()
    async with driving(kernel) as app:
        read = kernel.read
        calls = []

        def stuck(path: str, offset: int = 0, size: int = -1) -> bytes:
            calls.append(path)
            assert go.wait(60)
            return read(path, offset, size)

        kernel.read = stuck  # type: ignore[method-assign]
        threads = threading.active_count()
        for _ in range(5):
            app.app.read_now()
            await app.pilot.pause()
        await app.until(lambda: calls)
        assert len(calls) == 1
        assert threading.active_count() == threads
        await app.press("j")
        assert app.table.cursor == 1
        app.app._asked_at = 0.0
        await app.until(lambda: app.app.stalled)
        assert "reading for" in app.text()
        go.set()
        await app.until(lambda: not app.app.stalled)


async def test_throughput_is_shown_where_the_kernel_tells_it() -> None:
    kernel = FakeKernel()
    kernel.throughput = {1200: 1_500_000.0, 2100: 500_000.0}
    async with driving(kernel) as app:
        assert "2.0M ops/s" in app.text()
        kernel.throughput = {1200: 1_000_000.0}
        await app.read()
        assert "50% of the best" in app.text()
        assert list(app.app.trends.work) == [2_000_000.0, 1_000_000.0]


async def test_the_nodes_are_a_map_or_lines_or_hidden() -> None:
    async with driving(size=(160, 50)) as app:
        heights = [app.table.size.height]
        for _ in range(3):
            await app.press("number_sign")
            heights.append(app.table.size.height)
        assert heights[0] < heights[1] < heights[2]
        assert heights[3] == heights[0]


async def test_without_room_for_the_map_the_nodes_are_lines_and_the_key_hides_them() -> None:
    async with driving(size=(80, 24)) as app:
        assert "node 0 " in app.text()
        assert "╭" not in app.text()
        await app.press("number_sign")
        assert "node 0 " not in app.text()


async def test_bars_tell_sizes_and_another_key_makes_them_alike() -> None:
    async with driving(size=(160, 50)) as app:
        slot = next(slot for slot in app.table.slots if slot.column.id == "placement")

        def cells() -> list[int]:
            shown = [slot.column.cell(row, slot.width) for row in app.table.rows if row.by_node]
            return [sum(len(text) for text, role in pieces if role) for pieces in shown if isinstance(pieces, list)]

        by_size = cells()
        assert by_size == sorted(by_size, reverse=True)
        assert by_size[0] == slot.width > by_size[-1]
        await app.press("B")
        assert all(longer >= size for longer, size in zip(cells(), by_size, strict=True))
        await app.press("B")
        assert set(cells()) == {slot.width}


async def test_pause_and_speed_of_refreshing() -> None:
    async with driving() as app:
        app.app.interval = 1.0
        await app.press("right_parenthesis")
        assert app.app.interval == 0.5
        await app.press("left_parenthesis", "left_parenthesis")
        assert app.app.interval == 2.0
        await app.press("p")
        assert "refresh paused" in app.text()


async def test_help_tells_the_keys_of_the_screen() -> None:
    async with driving(size=(120, 90)) as app:
        await app.press("question_mark")
        await app.screen(HelpScreen)
        shown = app.text()
        assert "Tag" in shown
        assert "F6" in shown
        await app.press("escape")
        assert not isinstance(app.app.screen, HelpScreen)


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (60, 15), (80, 24), (300, 100)])
async def test_any_size_of_terminal_works(size: tuple[int, int]) -> None:
    async with driving(size=size) as app:
        await app.press("j", "m")
        await app.pilot.pause()
        await app.press("escape")
        lines = app.lines()
        assert len(lines) == size[1]
        await app.pilot.resize_terminal(80, 24)
        await app.pilot.pause()
        assert "COMMAND" in app.text()


async def test_narrow_screens_keep_what_matters() -> None:
    async with driving(size=(60, 15)) as app:
        head = next(line for line in app.lines() if "COMMAND" in line)
        assert "LOCAL" in head
        assert "DEMO" in app.lines()[0]
        assert "root" in app.lines()[0]
        assert "POLICY" not in head
    async with driving(size=(80, 24)) as app:
        head = next(line for line in app.lines() if "COMMAND" in line)
        assert "PLACEMENT" in head


async def test_wide_screens_show_all_columns() -> None:
    async with driving(size=(220, 60)) as app:
        head = next(line for line in app.lines() if "COMMAND" in line)
        for title in ("PID", "USER", "CPU@N", "RSS", "LOCAL", "N0", "N3", "PLACEMENT", "POLICY", "CPUSET"):
            assert title in head


async def test_a_machine_with_many_nodes_fits() -> None:
    kernel = FakeKernel([process(1, "init", "root", 0, {0: 1, 31: 3})], nodes=32)
    async with driving(kernel, size=(80, 24)) as app:
        assert app.app.screen.query_one(NodePanel).size.height <= 8
        assert app.table.rows[0].resident >= 4 * MIB
        await app.press("m")
        await app.until(lambda: getattr(app.app.screen, "plan", None))
        assert "32 nodes" in app.text()


async def test_ascii_instead_of_special_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMATUI_ASCII", "1")
    async with driving() as app:
        await app.press("m")
        await app.until(lambda: getattr(app.app.screen, "plan", None))
        await app.press("escape", "B", "B")
        assert "node 0" in app.text()
        assert all(ord(char) < 128 or char == "…" for char in app.text())


async def test_bars_can_be_read_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with driving() as app:
        assert any("1╌╌╌╌" in line and "3" in line for line in app.lines() if "train.py" in line)


async def test_while_a_filter_is_typed_the_footer_has_the_keys_that_end_it() -> None:
    async with driving(size=(80, 24)) as app:
        assert "? Help" in app.lines()[-1]
        assert "Migrate" in app.lines()[-1]
        await app.press("slash", *"jav")
        await app.until(lambda: "Enter Done" in app.lines()[-1])
        assert "Migrate" not in app.lines()[-1]
        await app.press("enter")
        await app.until(lambda: "Migrate" in app.lines()[-1])
        assert len(app.pids) == 2


async def test_a_search_that_finds_nothing_says_so_while_it_is_typed() -> None:
    async with driving(size=(120, 40)) as app:
        await app.press("f3", *"zzz")
        await app.until(lambda: "nothing fits" in app.text())
        await app.press("backspace", "backspace", "backspace", *"java")
        await app.until(lambda: "nothing fits" not in app.text())


async def test_columns_that_were_chosen_come_before_memory_by_node() -> None:
    async with driving(size=(120, 40)) as app:
        app.table.chosen_columns = (*app.table.chosen_columns, "nice", "cost")
        app.table.arrange()
        await app.until(lambda: " NI " in app.text() and "COST" in app.text())


@pytest.mark.parametrize("width", [60, 70, 80, 100, 120])
async def test_no_key_of_the_footer_is_cut(width: int) -> None:
    texts = "Open Tag Sort Migrate Filter Quit Advice Nodes Cgroups Help Jobs"
    whole = {"Enter", "Space", *texts.split()}
    async with driving(size=(width, 24)) as app:
        await app.until(lambda: "Help" in app.lines()[-1])
        await app.until(lambda: {word for word in app.lines()[-1].split() if len(word) > 2} <= whole)


async def test_what_tasks_wait_for_is_told_when_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"memory": 0.004, "cpu": 0.0}
    monkeypatch.setattr("numatui.tui.reading.reader.pressures", lambda _: dict(found))
    async with driving() as app:
        assert "waiting for" not in app.text()
        found |= {"memory": 0.125, "io": 0.02}
        await app.read()
        await app.until(lambda: "waiting for memory 12%, io 2%" in app.text())


async def test_it_reads_every_interval_and_not_while_paused() -> None:
    async with driving() as app:
        seen: list[object] = []
        app.app.watch(app.app, "snapshot", lambda one: seen.append(one), init=False)
        await app.pilot.pause(0.2)
        assert seen == []
        app.app.interval = 0.05
        await app.until(lambda: len(seen) >= 3, "three readings")
        await app.press("p")
        await app.until(lambda: app.app._asked_at is None)
        count = len(seen)
        assert app.app._next is None
        await app.press("p")
        await app.until(lambda: len(seen) > count, "it goes on")
