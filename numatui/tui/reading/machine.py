"""The machine that the screen shows, and its simulated time."""

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
    from backend.recording.kernel import RecordedKernel
    from backend.recording.manifest import Sample
    from backend.recording.timeline import Events

# Simulated seconds a second.
SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class MachineChoice(Protocol):
    """The choice on the command line: `numatui.cli.source.KernelChoice`."""

    @property
    def which(self) -> Literal["live", "demo", "replay", "remote"] | None: ...

    def open(self) -> Kernel: ...


@runtime_checkable
class SimulatedTime(Protocol):
    """Extra interface of a kernel with its own time. `speed`: simulated seconds a second; at 0 time stands still."""

    speed: float

    def start(self, speed: float = 1.0) -> None:
        """Starts a thread in which time runs."""
        ...

    def stop(self) -> None:
        """Ends that thread."""
        ...


@runtime_checkable
class Playback(SimulatedTime, Protocol):
    """Extra interface of `backend.recording.kernel.RecordedKernel`."""

    @property
    def samples(self) -> Sequence[Sample]:
        """All samples, ordered by time."""
        ...

    @property
    def events(self) -> Sequence[Events]:
        """For each sample, the events since the previous sample."""
        ...

    @property
    def at(self) -> int:
        """Index of the current sample."""
        ...

    def beside(self, number: int) -> RecordedKernel:
        """The same recording at another sample, where it stays."""
        ...

    def seek(self, number: int) -> None:
        """Requests a sample; the next `settle` goes to it."""
        ...

    def settle(self) -> None:
        """Goes to the sample that is due. Call it once before each reading, so that a reading has one sample."""
        ...


@dataclass(frozen=True, slots=True)
class ShownMachine:
    """An open kernel. `notice`: says why it was opened. `copy`: it is an emulated copy of the machine before it.
    `back`: it was opened from a fleet, to which Esc goes back."""

    kernel: Kernel
    notice: str = ""
    copy: bool = False
    back: bool = False


def simulated_time(kernel: Kernel) -> SimulatedTime | None:
    """The kernel if it has simulated time, else None."""
    return kernel if isinstance(kernel, SimulatedTime) and kernel.capabilities()["time"].available else None


def playback(kernel: Kernel) -> Playback | None:
    """The kernel if it is a recording with several samples, else None."""
    return kernel if isinstance(kernel, Playback) and len(kernel.samples) > 1 else None


def open_machine(choice: MachineChoice) -> ShownMachine:
    """Opens the chosen machine. Without a choice: this machine if pages can move on it, else the demo.

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
    """The next higher or lower speed of `SPEEDS`."""
    if step > 0:
        return next((one for one in SPEEDS if one > speed), SPEEDS[-1])
    return next((one for one in reversed(SPEEDS) if one < speed), SPEEDS[0])
