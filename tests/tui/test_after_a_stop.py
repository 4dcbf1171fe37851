"""Ctrl+Z and fg: the terminal shows an empty page, and everything is drawn again."""

from __future__ import annotations

from typing import Any

import pytest
from textual._compositor import LayoutUpdate
from textual.driver import Driver

from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import driving


async def test_all_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that had not changed stayed empty."""
    async with driving(FakeKernel()) as app:
        drawn: list[Any] = []
        display = app.app._display

        def spy(screen: Any, renderable: Any) -> None:
            drawn.append(renderable)
            display(screen, renderable)

        monkeypatch.setattr(app.app, "_display", spy)
        app.app.post_message(Driver.SignalResume())
        await app.until(lambda: any(isinstance(one, LayoutUpdate) for one in drawn), "the whole page")
