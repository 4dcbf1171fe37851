"""Which kernel a command talks to, chosen before it: --live, --demo [SCENARIO], --replay PATH."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import typer

from backend.errors import NotSupported, UsageError
from backend.kernel import Kernel


@dataclass(frozen=True, slots=True)
class Choice:
    """`which` is None when the user did not say: commands take live, the TUI falls back to the demo by itself."""

    which: Literal["live", "demo", "replay"] | None
    argument: str = ""

    @classmethod
    def of(cls, live: bool, demo: str | None, replay: str | None) -> Self:
        """Raises UsageError when more than one is given."""
        if live + (demo is not None) + (replay is not None) > 1:
            raise UsageError("--live, --demo and --replay exclude each other", "give one of them")
        if demo is not None:
            return cls("demo", demo)
        if replay is not None:
            return cls("replay", replay)
        return cls("live" if live else None)

    def open(self) -> Kernel:
        """Raises NotSupported, NotFound, ParseError."""
        if self.which == "demo":
            from backend.emulator.kernel import open_scenario

            return open_scenario(self.argument)
        if self.which == "replay":
            from backend.recording.kernel import RecordedKernel

            return RecordedKernel(self.argument)
        from backend.live.kernel import LiveKernel

        return LiveKernel()


def kernel_of(context: typer.Context) -> Kernel:
    """The kernel that the options before the command chose."""
    choice = context.find_object(Choice) or Choice(None)
    return choice.open()


def live_kernel_of(context: typer.Context, command: str) -> Kernel:
    """The same, for commands that work with the jobs that are kept. Raises NotSupported for a demo or a recording."""
    kernel = kernel_of(context)
    if kernel.source != "live":
        raise NotSupported(
            "jobs are kept for the live machine only", f"numatui {command}, without --demo or --replay"
        )
    return kernel
