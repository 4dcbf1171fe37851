"""Pages flow on the map while some move; not where motion is off, and over ssh no longer when frames come late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from numatui.tui.reading.reader import SnapshotRead
from numatui.tui.widgets import node_panel
from numatui.tui.widgets.node_panel import NodePanel
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver, driving

WIDE = (160, 50)


async def flowing(app: Driver) -> NodePanel:
    """The panel, after a reading in which pages move."""
    snapshot = app.app.snapshot
    assert snapshot is not None
    app.app.post_message(SnapshotRead(replace(snapshot, flows={(0, 1): 5.0 * (1 << 20)})))
    await app.until(lambda: app.app.snapshot.flows)
    return app.app.screen.query_one(NodePanel)


async def test_pages_flow_and_stop_when_none_moves_any_more() -> None:
    async with driving(FakeKernel(), size=WIDE) as app:
        panel = await flowing(app)
        assert "5.0M/s" in app.text()
        before = panel._phase
        await app.until(lambda: panel._phase > before + 2, "they flow")
        app.app.post_message(SnapshotRead(replace(app.app.snapshot, flows={})))
        await app.until(lambda: not app.app.snapshot.flows)
        assert panel._motion is not None
        assert not panel._motion._active.is_set()


async def test_with_motion_off_the_flow_is_told_and_stands() -> None:
    async with driving(FakeKernel(), size=WIDE) as app:
        app.app.animation_level = "none"
        panel = await flowing(app)
        assert "5.0M/s" in app.text()
        assert panel._motion is not None
        assert not panel._motion._active.is_set()


@pytest.mark.parametrize("over_ssh", [True, False])
async def test_frames_that_come_late_end_it_over_ssh(monkeypatch: pytest.MonkeyPatch, over_ssh: bool) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    if over_ssh:
        monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22")
    monkeypatch.setattr(node_panel, "_LATE", -1.0)  # every frame is late
    async with driving(FakeKernel(), size=WIDE) as app:
        panel = await flowing(app)
        if over_ssh:
            await app.until(lambda: app.app.animation_level == "none", "it ends")
        else:
            await app.until(lambda: panel._phase > node_panel._PATIENCE + 2, "it goes on")
            assert app.app.animation_level != "none"
