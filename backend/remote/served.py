"""Any kernel as an agent's host: emulated and recorded machines answer as far ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.kernel import Kernel
from backend.state.local import LocalState


class ServedKernel:
    """See `backend.live.host.Host`, of which an agent asks the same."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.own_pid = kernel.traits.own_pid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def probe(self) -> dict[str, tuple[bool, str]]:
        return {call: (one.available, one.why) for call, one in self._kernel.capabilities().items()}


class ServedState(LocalState):
    """The state directory of such a machine. It locks there: this machine's process of that number is another."""

    def __init__(self, folder: Path) -> None:
        """Makes it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._folder = folder

    def jobs_dir(self) -> Path:
        return self._folder / "jobs"

    def lock_folder(self) -> Path | None:
        return None
