"""The running Linux as a `Kernel`."""

from __future__ import annotations

import time
from typing import get_args

from backend.kernel import Call, Capabilities, Capability, Source, Traits
from backend.live.helped import HelpedHost, HelpedState
from backend.nodeset import NodeSet


class LiveKernel(HelpedHost):
    """The running Linux. Thread-safe."""

    source: Source = "live"
    reference = ""

    def __init__(self) -> None:
        """Raises NotSupported on a system other than Linux."""
        super().__init__()
        self.files = HelpedState(self.helper)
        self.traits = Traits(
            parallel_calls=True, reading_stalls=True, writable=True, keeps_jobs=True, is_host=True,
            own_pid=self.own_pid,
        )  # fmt: skip
        self._capabilities: Capabilities | None = None

    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            self._capabilities = capabilities_of(self.probe())
        return self._capabilities

    def clock(self) -> int:
        return time.monotonic_ns()

    def pause(self, nanoseconds: int) -> None:
        time.sleep(nanoseconds / 1e9)


def capabilities_of(probed: dict[str, tuple[bool, str]]) -> Capabilities:
    """What a probe found, by call."""
    calls: tuple[Call, ...] = get_args(Call)
    return {call: Capability(*probed[call]) for call in calls if call in probed}


def memory_nodes(kernel: LiveKernel) -> NodeSet:
    """The nodes with memory, from one file: cheap enough to choose between this machine and the demo at start."""
    for name in ("has_memory", "online"):
        try:
            return NodeSet.parse_list(kernel.read(f"/sys/devices/system/node/{name}"))
        except OSError:
            continue
    return NodeSet()
