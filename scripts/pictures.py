"""Make the README's pictures from the real app on the demo machine: .venv/bin/python scripts/pictures.py

With rsvg-convert and DejaVu fonts there, PNGs to look at are made beside them (not kept in the repository).
"""

from __future__ import annotations

import asyncio
import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

from textual.pilot import Pilot

from backend.emulator.scenario.open import open_scenario
from numatui.tui.app import NumatuiApp
from numatui.tui.screens.processes import ProcessesScreen

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, HEIGHT = 120, 34
DATABASE = "oracle"


_TEXT = re.compile(r'<text class="([^"]*)" x="([^"]*)" y="([^"]*)" textLength="([^"]*)"([^>]*)>([^<]*)</text>')
_WORD = re.compile(r"[\u2801-\u28ff]|[^\xa0 \u2800-\u28ff]+")


def cell_by_cell(svg: str) -> str:
    """The picture with each word and each cell of a graph at its own place: renderers drop spaces before a text, and
    take other fonts' widths for characters that theirs lacks, so that columns would not be below each other."""

    def words(found: re.Match[str]) -> str:
        role, x, y, length, more, text = found.groups()
        text = html.unescape(text)
        cell = float(length) / max(1, len(text))
        return "".join(
            f'<text class="{role}" x="{float(x) + cell * one.start():.1f}" y="{y}" '
            f'textLength="{cell * len(one[0]):.1f}"{more}>{html.escape(one[0])}</text>'
            for one in _WORD.finditer(text)
        )

    return _TEXT.sub(words, svg)


async def settled(app: NumatuiApp, pilot: Pilot[int]) -> None:
    """One more reading of the machine, shown."""
    before = app.snapshot
    app.read_now()
    while app.snapshot is before:
        await pilot.pause(0.02)
    await pilot.pause()


async def make() -> list[Path]:
    kernel = open_scenario()
    app = NumatuiApp(kernel, interval=0)
    made: list[Path] = []
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:

        def picture(name: str) -> None:
            path = DOCS / f"{name}.svg"
            path.write_text(cell_by_cell(app.export_screenshot(title="numatui")), encoding="utf-8")
            made.append(path)

        for second in range(10):
            kernel.machine.advance(1.0)
            await settled(app, pilot)
            if second == 1:
                picture("before")
        picture("main")
        for key, name in (("n", "nodes"), ("a", "advice")):
            await pilot.press(key)
            await settled(app, pilot)
            await app.workers.wait_for_complete()
            await pilot.pause()
            picture(name)
            await pilot.press("escape")
        await pilot.press(*"6", "enter")
        await settled(app, pilot)
        await app.workers.wait_for_complete()
        picture("process")
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, ProcessesScreen)
        await pilot.press("m")
        await pilot.pause()
        picture("migrate")
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("y")
        while not app.jobs or not all(job.state != "running" for job in app.jobs):
            await pilot.pause(0.05)
        await pilot.pause()
        picture("job")
        await pilot.press("escape")
        for _ in range(4):
            kernel.machine.advance(1.0)
            await settled(app, pilot)
        picture("after")
    return made


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    folder.mkdir(parents=True, exist_ok=True)
    for path in asyncio.run(make()):
        print(path)
        if shutil.which("rsvg-convert") and len(sys.argv) > 1:
            svg = path.read_text().replace("Fira Code", "DejaVu Sans Mono")
            png = folder / f"{path.stem}.png"
            subprocess.run(["rsvg-convert", "-o", str(png)], input=svg.encode(), check=True)


if __name__ == "__main__":
    main()
