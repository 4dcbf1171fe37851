"""Which memory of a process is used, on the screen: watched while it is open, and not after."""

from __future__ import annotations

import asyncio

import pytest

from backend.heat.heat import Heat, HeatRange
from backend.heat.kdamond import ROOT
from numatui.tui.paint.glyphs import ASCII, UNICODE
from numatui.tui.paint.heat_map import heat_map, summary
from numatui.tui.screens.heat import HeatScreen
from tests.backend.heat.machines import process_of, worker
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver, driving

MIB = 1 << 20


async def watching(drive: Driver) -> HeatScreen:
    """The screen of the worker, when something has been seen."""
    await drive.press("slash", *"worker", "enter", "E")
    screen = drive.app.screen
    assert isinstance(screen, HeatScreen)
    await drive.until(lambda: screen.past)
    return screen


async def test_it_is_watched_while_the_screen_is_open() -> None:
    kernel, _ = worker("hot: 25%")
    process = process_of(kernel, "worker")
    async with driving(kernel) as drive:
        screen = await watching(drive)
        assert screen.process.identity == process.identity
        await drive.until(lambda: len(screen.past) >= 2)
        assert kernel.read(f"{ROOT}/nr_kdamonds") == b"1\n"
        text = drive.text()
        assert "by DAMON" in text
        assert "of it" in text
        await drive.press("escape")
        await drive.until(lambda: kernel.read(f"{ROOT}/nr_kdamonds") == b"0\n")


async def test_leaving_the_program_takes_it_down() -> None:
    kernel, _ = worker("hot: 25%")
    async with driving(kernel) as drive:
        await watching(drive)
    for _ in range(1000):  # asyncio waits for the thread before it ends
        if kernel.read(f"{ROOT}/nr_kdamonds") == b"0\n":
            return
        await asyncio.sleep(0.01)
    pytest.fail("it is still there")


async def test_another_ones_damon_is_left_and_it_says_so() -> None:
    kernel, _ = worker("hot: 25%")
    kernel.write(f"{ROOT}/nr_kdamonds", b"1")
    async with driving(kernel) as drive:
        await watching(drive)
        assert "accessed bits" in drive.text()
        await drive.press("y")
        assert drive.app.clipboard.endswith("--from 1 --to 0 --hot")
    assert kernel.read(f"{ROOT}/nr_kdamonds") == b"1\n"


async def test_a_process_that_ends_is_told() -> None:
    kernel, process = worker("hot: 25%")
    async with driving(kernel) as drive:
        screen = await watching(drive)
        fd = kernel.pidfd_open(process.pid)
        kernel.pidfd_send_signal(fd, 9)
        kernel.pidfd_close(fd)
        await drive.until(lambda: screen.problem)
        await drive.until(lambda: "!" in drive.text())
    assert kernel.read(f"{ROOT}/nr_kdamonds") == b"0\n"


async def test_where_it_cannot_be_had_it_says_why() -> None:
    async with driving(FakeKernel()) as drive:
        await drive.press("E")
        screen = drive.app.screen
        assert isinstance(screen, HeatScreen)
        await drive.until(lambda: screen.problem)
        assert "cannot be learnt here" in drive.text().replace("\n", " ")


def one(start: int, end: int, rate: float, node: int) -> HeatRange:
    size = end - start
    hot = size if rate else 0
    return HeatRange(start, end, "a", size, hot, hot, hot, {node: size}, rate, 1.0, start // 100 * 100)


HEAT = Heat(1, "damon", 1.0, 1, 0.05, (one(0, 100, 200.0, 0), one(100, 150, 3.0, 1), one(900, 950, 0.0, 2)))


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_the_map(glyphs: object) -> None:
    lines = heat_map([(0, HEAT), (2_000_000_000, HEAT)], {0: 1.0}, 27, 10, glyphs, True)  # type: ignore[arg-type]
    text = ["".join(piece[0] for piece in line) for line in lines]
    assert text[0] == "  node " + "0" * 10 + "1" * 5 + "2" * 5
    assert [one[:6].strip() for one in text[1:]] == ["now", "-2 s"]
    assert len({one[7:] for one in text[1:]}) == 1
    assert len(set(text[1][7:])) == 3
    roles = {piece[1] for piece in lines[0]}
    assert "far" in roles  # what is used on node 1


def test_the_map_of_nothing_and_of_no_room() -> None:
    nothing = Heat(1, "damon", 1.0, 1, 0.0, ())
    assert heat_map([], {}, 80, 10, UNICODE) == []
    assert heat_map([(0, HEAT)], {}, 10, 10, UNICODE) == []
    assert len(heat_map([(0, nothing)], {}, 80, 10, UNICODE)) == 2
    assert summary(nothing, {}, 80, UNICODE, False)
