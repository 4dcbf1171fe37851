"""Make docs/story.svg, the demo's story as a picture that moves: .venv/bin/python scripts/story.py

The real app on the demo machine, a picture after each step, one after the other for some seconds by CSS."""

from __future__ import annotations

import asyncio
import html
import re

from pictures import DOCS, cell_by_cell, settled
from textual.pilot import Pilot

from backend.emulator.scenario.open import open_scenario
from numatui.tui.app import NumatuiApp

WIDTH, HEIGHT = 120, 34
SECONDS = 3.5
"""How long a picture is shown."""
_VIEW = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


async def steps() -> list[tuple[str, str]]:
    """(what is told below, picture)"""
    kernel = open_scenario()
    app = NumatuiApp(kernel, interval=0)
    told: list[tuple[str, str]] = []
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:

        def picture(text: str) -> None:
            told.append((text, cell_by_cell(app.export_screenshot(title="numatui --demo"))))

        async def pass_time(seconds: int) -> None:
            for _ in range(seconds):
                kernel.machine.advance(1.0)
                await settled(app, pilot)

        async def press(*keys: str) -> None:
            await pilot.press(*keys)
            await waited(app, pilot)

        await pass_time(2)
        picture("A machine with four nodes. The bars tell where the memory of each process lies; bright is near.")
        await pass_time(10)
        picture("The scheduler has moved the database to node 3. Its memory stays behind, and work slows down.")
        await press("a")
        await pass_time(2)
        await waited(app, pilot)
        picture("a: what is worth moving, what that gains, how sure it is.")
        await press("D")
        picture("D: all of it at once. What will come of it is told before.")
        await press("y")
        while not app.jobs or not app.jobs[0].ended:
            await pilot.pause(0.05)
        await waited(app, pilot)
        picture("Pages move while the processes run; the job says how long each had to wait. u takes it back.")
        await pilot.press("escape", "escape")
        await pass_time(6)
        picture("Read again from the kernel: the memory is where the processes run.")
    return told


async def waited(app: NumatuiApp, pilot: Pilot[int]) -> None:
    await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause(0.2)


def moving(told: list[tuple[str, str]]) -> str:
    """One picture out of all, each shown in its turn."""
    found = _VIEW.search(told[0][1])
    assert found is not None
    width, height = float(found[1]), float(found[2])
    size = f'width="{width}" height="{height}"'
    whole, share = SECONDS * len(told), 100 / len(told)
    style = (
        f".frame {{ opacity: 0; animation: turn {whole}s step-end infinite }}\n"
        f"@keyframes turn {{ 0% {{ opacity: 1 }} {share:.3f}% {{ opacity: 0 }} }}\n"
        ".first { opacity: 1 }\n"  # for those who show no motion
        ".told { font: 22px sans-serif; fill: #888 }\n"
    )
    frames = [
        f'<g class="frame{"" if number else " first"}" style="animation-delay: {number * SECONDS - whole:.1f}s">'
        f'<text class="told" x="{width / 2}" y="{height + 34}" text-anchor="middle">{html.escape(text)}</text>'
        f"{picture.replace('<svg ', f'<svg {size} ', 1)}</g>"
        for number, (text, picture) in enumerate(told)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 56}"><style>\n{style}</style>\n'
        + "\n".join(frames)
        + "</svg>\n"
    )


def main() -> None:
    path = DOCS / "story.svg"
    path.write_text(moving(asyncio.run(steps())), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
