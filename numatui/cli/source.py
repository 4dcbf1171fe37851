"""The kernel that a command uses, chosen by an option before it: --live, --demo [SCENARIO], --replay PATH, --host
HOST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import typer

from backend.errors import NotSupported, UsageError
from backend.kernel import Kernel

if TYPE_CHECKING:
    from backend.recording.kernel import RecordedKernel


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """`which`: None without an option; commands then use the live machine, and the terminal UI the demo if this machine
    has one node. `at`: where a recording begins; how much time of a demo has passed. `sudo`: as root on a far host."""

    which: Literal["live", "demo", "replay", "remote"] | None
    argument: str = ""
    at: str = ""
    sudo: bool = False

    @classmethod
    def of(
        cls,
        live: bool,
        demo: str | None,
        replay: str | None,
        at: str = "",
        host: str | None = None,
        sudo: bool = False,
    ) -> Self:
        """Raises UsageError when more than one is given."""
        if live + sum(one is not None for one in (demo, replay, host)) > 1:
            raise UsageError("--live, --demo, --replay and --host exclude each other", "give one of them")
        if sudo and host is None:
            raise UsageError("--sudo is for another host", "give --host HOST too; here, run sudo numatui")
        if host is not None and not at:
            return cls("remote", host, sudo=sudo)
        if demo is not None:
            return cls("demo", demo, at)
        if replay is not None:
            return cls("replay", replay, at)
        if at:
            raise UsageError("--at is a place in a recording, or a time of a demo", "give --replay PATH or --demo too")
        return cls("live" if live else None)

    def open(self) -> Kernel:
        """Raises NotSupported, NotFound, ParseError."""
        if self.which == "demo":
            from backend.emulator.scenario.open import open_scenario

            demo = open_scenario(self.argument)
            if self.at:
                demo.pause(time_in(self.at))
            return demo
        if self.which == "replay":
            from backend.recording.kernel import RecordedKernel

            recording = RecordedKernel(self.argument)
            if self.at:
                recording.seek(place_in(recording, self.at))
                recording.settle()
            return recording
        if self.which == "remote":
            from backend.remote.open import open_host

            return open_host(self.argument, self.sudo)
        from backend.live.kernel import LiveKernel

        return LiveKernel()


_LONGEST = 86_400
"""Simulated seconds that a demo may be old when it is opened."""


def time_in(text: str) -> int:
    """Nanoseconds of a demo. Raises UsageError."""
    from numatui.format import parse_duration

    time = parse_duration(text, zero=True)
    if time > _LONGEST * 10**9:
        raise UsageError(f"--at {text[:40]} is too late for a demo", "at most 24h")
    return time


def place_in(recording: RecordedKernel, text: str) -> int:
    """`12` (the twelfth sample), `last`, or a time from its beginning (`90s`, `2m`): the last sample up to then. Raises
    UsageError."""
    from numatui.format import parse_duration

    count = len(recording.samples)
    if text == "last":
        return count - 1
    if text.isascii() and text.isdigit():
        if not 1 <= int(text[:12]) <= count:
            raise UsageError(f"the recording has no sample {text[:12]}", f"it has 1 to {count}")
        return int(text) - 1
    try:
        time = parse_duration(text, zero=True)
    except UsageError:
        raise UsageError(
            f"'{text[:40]}' is no place in a recording", f"a sample (1 to {count}), a time (90s), or last"
        ) from None
    last = recording.samples[-1].at
    if time > last + int(recording.manifest.interval * 1e9):
        raise UsageError(f"the recording ends before {text}", f"it is {last / 1e9:.0f} s long")
    return max(number for number, sample in enumerate(recording.samples) if sample.at <= max(time, 0))


def kernel_of(context: typer.Context) -> Kernel:
    """The kernel that the options before the command chose."""
    return open_told(context.find_object(KernelChoice) or KernelChoice(None))


def open_told(choice: KernelChoice) -> Kernel:
    """Open the kernel for a command. Prints a notice if a recording was cut off. Raises as `KernelChoice.open`."""
    kernel = choice.open()
    if getattr(kernel, "cut_off", False):
        from backend.recording.manifest import CUT_OFF
        from numatui.cli.printing.output import note

        note(CUT_OFF)
    return kernel


def live_kernel_of(context: typer.Context, command: str) -> Kernel:
    """The same, for commands that read the journals of jobs. Raises NotSupported for a demo or a recording."""
    kernel = kernel_of(context)
    if not kernel.traits.keeps_jobs:
        raise NotSupported("jobs are kept for the live machine only", f"numatui {command}, without --demo or --replay")
    return kernel
