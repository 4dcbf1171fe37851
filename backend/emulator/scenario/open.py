"""Opens a scenario as a kernel: its machine at time zero, with its steps scheduled."""

from __future__ import annotations

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.description import Description, parse_description
from backend.emulator.scenario.run import build
from backend.emulator.scenario.shipped import load
from backend.emulator.tasks.credentials import Caller
from backend.files.text import decode


def open_scenario(name: str = "default", caller: Caller | None = None) -> EmulatedKernel:
    """Open a shipped scenario by name, or a YAML file. Raises NotFound, ParseError, UsageError."""
    return _opened(load(name), caller, name)


def open_text(text: str, name: str, caller: Caller | None = None) -> EmulatedKernel:
    """Open a scenario given as text. `name`: file name for messages. Raises ParseError, UsageError."""
    return _opened(parse_description(text, name, name), caller, name)


def _opened(description: Description, caller: Caller | None, name: str) -> EmulatedKernel:
    kernel = EmulatedKernel(build(description, with_steps=True).machine, caller, name)
    kernel.name = decode(description.name.encode("utf-8", "surrogateescape"))
    return kernel
