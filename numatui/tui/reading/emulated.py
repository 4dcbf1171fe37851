"""The emulated machine behind a kernel, for screens that show its frames and pages."""

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
    """Extra interface of `backend.emulator.abi.kernel.EmulatedKernel`."""

    machine: Machine
    reference: str

    def look(self, reading: Callable[[Machine], T]) -> T:
        """Result of `reading`, called while the machine stands still. Blocks: do not call it in the UI thread."""
        ...

    def pause(self, nanoseconds: int) -> None:
        """Lets simulated time pass."""
        ...


def emulated(kernel: Kernel) -> Emulated | None:
    """The kernel if it is emulated, else None."""
    return kernel if isinstance(kernel, Emulated) else None
