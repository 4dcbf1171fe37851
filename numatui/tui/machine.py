"""Which machine the screen shows, and its time where that is simulated."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from backend.errors import NumatuiError
from backend.kernel import Kernel
from backend.live.kernel import LiveKernel, memory_nodes

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class Choice(Protocol):
    """What the command line chose: `numatui.cli.source.Choice`."""

    @property
    def which(self) -> Literal["live", "demo", "replay"] | None: ...

    def open(self) -> Kernel: ...


@runtime_checkable
class SimulatedTime(Protocol):
    """What a kernel with a time of its own has besides. `speed`: simulated seconds a second, 0 stands still."""

    speed: float

    def start(self, speed: float = 1.0) -> None:
        """Let time run, in a thread of its own."""
        ...

    def stop(self) -> None:
        """End that thread."""
        ...


@dataclass(frozen=True, slots=True)
class Machine:
    """An open kernel, and what to tell about why it was this one."""

    kernel: Kernel
    notice: str = ""


def simulated_time(kernel: Kernel) -> SimulatedTime | None:
    """The kernel's own time, where it has one."""
    return kernel if isinstance(kernel, SimulatedTime) else None


def open_machine(choice: Choice) -> Machine:
    """The machine that was chosen; without a choice this one if pages can move on it, else the demo.

    Raises NotSupported, NotFound, ParseError.
    """
    if choice.which is not None:
        return Machine(choice.open())
    why = _why_not_here()
    if not why:
        return Machine(choice.open())
    from backend.emulator.kernel import open_scenario

    return Machine(
        open_scenario("default"),
        f"{why}, so this one is emulated. --live shows yours, --demo this one.",
    )


def _why_not_here() -> str:
    if sys.platform != "linux":
        return f"Your system ({sys.platform}) has no page migration"
    try:
        nodes = memory_nodes(LiveKernel())
    except NumatuiError as exc:
        return exc.what
    if len(nodes) > 1:
        return ""
    return "Your machine has one memory node" if nodes else "Your kernel tells of no memory nodes"


def other_speed(speed: float, step: int) -> float:
    """The next of `SPEEDS` up or down."""
    if step > 0:
        return next((one for one in SPEEDS if one > speed), SPEEDS[-1])
    return next((one for one in reversed(SPEEDS) if one < speed), SPEEDS[0])
