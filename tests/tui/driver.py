"""Driving the app: wait for what has to happen, never for time to pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from backend.kernel import Kernel
from numatui.tui.app import NumatuiApp
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.widgets.process_table import ProcessTable
from tests.kernels.fake_kernel import FakeKernel

PATIENCE = 60.0


class Driver:
    """An app under test."""

    def __init__(self, app: NumatuiApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def table(self) -> ProcessTable:
        screen = next(one for one in self.app.screen_stack if isinstance(one, ProcessesScreen))
        return screen.query_one(ProcessTable)

    @property
    def pids(self) -> list[int]:
        """The processes that are shown, in order."""
        return [row.process.pid for row in self.table.rows]

    @property
    def current(self) -> int | None:
        return self.table.current.process.pid if self.table.current is not None else None

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object], what: str = "what was waited for") -> None:
        """Let the app run until something is so. `what`: that, for the message if it does not happen."""
        import time

        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.app._exception is None
            assert self.app.is_running, f"the app ended before {what}"
            assert time.monotonic() < end, f"{what} did not happen in {PATIENCE:g} s:\n{self.text()}"
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def press_until(self, key: str, condition: Callable[[], object], what: str, most: int = 1000) -> None:
        """Press a key again and again until something is so, or fail."""
        for _ in range(most):
            if condition():
                return
            await self.press(key)
        assert condition(), f"{what} did not happen after {most} times {key}:\n{self.text()}"

    async def read(self) -> None:
        """One more reading of the kernel, shown."""
        before = self.app.snapshot
        self.app.read_now()
        await self.until(lambda: self.app.snapshot is not before)

    async def screen(self, kind: type) -> None:
        """Wait for a screen of this kind to be on top."""
        await self.until(lambda: isinstance(self.app.screen, kind))

    def lines(self) -> list[str]:
        """What the terminal shows, as text."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    def text(self) -> str:
        return "\n".join(self.lines())

    def notifications(self) -> list[str]:
        return [one.message for one in self.app._notifications]


@asynccontextmanager
async def driving(
    kernel: Kernel | None = None,
    size: tuple[int, int] = (120, 40),
    notifications: bool = False,
    before: NumatuiApp | None = None,
    **options: object,
) -> AsyncIterator[Driver]:
    """An app that reads only when asked, after its first reading. `before`: the app that it goes on from."""
    app = NumatuiApp(kernel or FakeKernel(), interval=0, **options)  # type: ignore[arg-type]
    if before is not None:
        app.go_on_from(before)
    async with app.run_test(size=size, notifications=notifications) as pilot:
        driver = Driver(app, pilot)
        await driver.until(lambda: app.snapshot is not None)
        yield driver
