"""Who shares the pages that are about to move: named for the nodes that are chosen now."""

from __future__ import annotations

from backend.emulator.scenario.open import open_text
from numatui.tui.screens.migrate import MigrateScreen
from tests.tui.driver import driving

SHARED = """
machine: {nodes: [{id: 0, memory: 64MiB, cpus: 0}, {id: 1, memory: 64MiB, cpus: 1}, {id: 2, memory: 64MiB, cpus: 2}]}
processes:
  - {name: owner, node: 2, memory: [{name: x, kind: shared, size: 4MiB, on: {0: 100%}},
                                    {name: y, kind: shared, size: 4MiB, on: {1: 100%}}]}
  - {name: near, node: 2, memory: [{name: x, kind: shared, size: 4MiB, shared_with: owner}]}
  - {name: distant, node: 2, memory: [{name: y, kind: shared, size: 4MiB, shared_with: owner}]}
"""


async def test_the_sharers_are_those_of_the_sources_that_are_chosen_now() -> None:
    async with driving(open_text(SHARED, "shared")) as app:
        owner = next(row.process for row in app.table.rows if row.process.comm == "owner")
        app.app.push_screen(MigrateScreen([owner]))
        await app.screen(MigrateScreen)
        screen = app.app.screen
        assert isinstance(screen, MigrateScreen)
        await app.until(lambda: screen.subjects is not None)

        def named() -> list[str]:
            texts = [warning.text for warning in screen.plan.warnings] if screen.plan is not None else []
            return [name for name in ("near", "distant") if any(name in text for text in texts)]

        await app.press("A")
        for typed, names in (("0", ["near"]), ("1", ["distant"]), ("0-1", ["near", "distant"]), ("0", ["near"])):
            screen.query_one("#from").value = typed  # type: ignore[attr-defined]
            await app.until(lambda names=names: named() == names, f"the sharers on node {typed}")
