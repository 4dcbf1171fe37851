"""The emulated machine behind a kernel, for the screens that look into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from backend.kernel import Kernel
from numatui.tui.reading.machine import SimulatedTime

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

T = TypeVar("T")


@runtime_checkable
class Emulated(SimulatedTime, Protocol):
    """What an emulated kernel has besides: `backend.emulator.abi.kernel.EmulatedKernel`."""

    machine: Machine
    reference: str

    def look(self, reading: Callable[[Machine], T]) -> T:
        """What `reading` finds out about the machine while nothing else happens to it. Not for the screen's thread."""
        ...

    def pause(self, nanoseconds: int) -> None:
        """Let simulated time pass."""
        ...


def emulated(kernel: Kernel) -> Emulated | None:
    """The kernel, where there is an emulated machine behind it."""
    return kernel if kernel.source == "demo" and isinstance(kernel, Emulated) else None
