"""The commands that do from a shell what was done, or is advised, here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from backend.advice.advice import Advice
from backend.kernel import Kernel
from backend.nodeset import NodeSet


def program(kernel: Kernel) -> str:
    """`numatui`, with what chooses the same machine."""
    return f"numatui --{kernel.source} {shlex.quote(kernel.reference)}" if kernel.source != "live" else "numatui"


def migrate_command(kernel: Kernel, pids: Iterable[int], sources: NodeSet, targets: NodeSet, flags: str = "") -> str:
    """`numatui migrate …` on the same machine. `flags`: further options, as they are written."""
    named = " ".join(map(str, pids))
    return f"{program(kernel)} migrate {named} --from {sources} --to {targets} {flags}".rstrip()


def advised_command(kernel: Kernel, advice: Advice) -> str:
    """The command that follows advice; empty where there is nothing to follow."""
    one = advice.proposal
    return migrate_command(kernel, [advice.process.pid], one.sources, one.targets) if one else ""
