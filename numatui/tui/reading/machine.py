"""Which machine the screen shows, and its time where that is simulated."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from backend.errors import NumatuiError
from backend.kernel import Kernel
from backend.live.kernel import LiveKernel, memory_nodes
from backend.recording.manifest import CUT_OFF

if TYPE_CHECKING:
    from backend.recording.manifest import Sample
    from backend.recording.timeline import Events

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class MachineChoice(Protocol):
    """What the command line chose: `numatui.cli.source.KernelChoice`."""

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


@runtime_checkable
class Playback(SimulatedTime, Protocol):
    """What a recording has besides: `backend.recording.kernel.RecordedKernel`."""

    @property
    def samples(self) -> Sequence[Sample]:
        """In the order of their times."""
        ...

    @property
    def events(self) -> Sequence[Events]:
        """What had happened since the sample before, for each."""
        ...

    @property
    def at(self) -> int:
        """Which one is read."""
        ...

    def seek(self, number: int) -> None:
        """Have `settle` go to one."""
        ...

    def settle(self) -> None:
        """Go to the one whose time has come; called before all of a reading is read."""
        ...


@dataclass(frozen=True, slots=True)
class ShownMachine:
    """An open kernel, and what to tell about why it was this one."""

    kernel: Kernel
    notice: str = ""


def simulated_time(kernel: Kernel) -> SimulatedTime | None:
    """The kernel's own time, where it has one."""
    return kernel if isinstance(kernel, SimulatedTime) and kernel.capabilities()["time"].available else None


def playback(kernel: Kernel) -> Playback | None:
    """The recording, where the kernel is one with several samples."""
    return kernel if isinstance(kernel, Playback) and len(kernel.samples) > 1 else None


def open_machine(choice: MachineChoice) -> ShownMachine:
    """The machine that was chosen; without a choice this one if pages can move on it, else the demo.

    Raises NotSupported, NotFound, ParseError.
    """
    if choice.which is not None:
        kernel = choice.open()
        return ShownMachine(kernel, CUT_OFF if getattr(kernel, "cut_off", False) else "")
    why = _why_not_here()
    if not why:
        return ShownMachine(choice.open())
    from backend.emulator.scenario.open import open_scenario

    return ShownMachine(
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
