"""Command lines that repeat a migration or follow advice from a shell."""

from __future__ import annotations

from collections.abc import Iterable

from backend.advice.advice import Advice
from backend.files.program import program
from backend.kernel import Kernel
from backend.nodeset import NodeSet


def migrate_command(kernel: Kernel, pids: Iterable[int], sources: NodeSet, targets: NodeSet, flags: str = "") -> str:
    """`numatui migrate …` on the same machine. `flags`: further options, as typed."""
    named = " ".join(map(str, pids))
    return f"{program(kernel)} migrate {named} --from {sources} --to {targets} {flags}".rstrip()


def advised_command(kernel: Kernel, advice: Advice) -> str:
    """The command that follows advice; empty if there is no proposal."""
    one = advice.proposal
    if one is None:
        return ""
    command = migrate_command(kernel, [advice.process.pid], one.sources, one.targets)
    return f"{command} --hot" if one.heat is not None else command
