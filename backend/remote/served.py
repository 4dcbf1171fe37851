"""Any kernel as an agent's host: emulated and recorded machines answer as far ones do."""

from __future__ import annotations

from typing import Any

from backend.kernel import Kernel


class ServedKernel:
    """See `backend.live.host.Host`, of which an agent asks the same."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.own_pid = kernel.traits.own_pid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def probe(self) -> dict[str, tuple[bool, str]]:
        return {call: (one.available, one.why) for call, one in self._kernel.capabilities().items()}
