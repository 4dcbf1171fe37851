"""Shell completions. Any user can name a process, and shells evaluate what completions print: every text from outside
is reduced to harmless characters, or left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from backend.errors import NotSupported
from backend.kernel import Kernel
from numatui.cli.commands import COMMANDS
from numatui.cli.source import KernelChoice

if TYPE_CHECKING:
    from backend.process.process import Process

_HARMFUL = re.compile(r"[^A-Za-z0-9 _./@+=,-]")
_PLAIN = re.compile(r"[A-Za-z0-9_./@+=,-]{1,200}\Z")
_PATIENCE = 0.2
"""Seconds that one process may keep a user waiting who has pressed Tab."""
# Completions offered at most.
_MOST = 2000

Offer = str | tuple[str, str]
Completer = Callable[[typer.Context, str], list[Offer]]


def _completer(offers: Callable[[Kernel], Iterable[Offer]]) -> Completer:
    """Completes from the kernel that the options before the command choose. Offers nothing if it cannot be opened."""

    def complete(context: typer.Context, incomplete: str) -> list[Offer]:
        out: list[Offer] = []
        with suppress(Exception):
            for offer in offers(_kernel(context)):
                value = offer if isinstance(offer, str) else offer[0]
                if value.startswith(incomplete) and _PLAIN.match(value):
                    out.append(offer)
                if len(out) >= _MOST:
                    break
        return out

    return complete


def _kernel(context: typer.Context) -> Kernel:
    told = context.find_root().params
    if told.get("host"):
        raise NotSupported("Tab does not connect to another host")
    kernel = KernelChoice.of(bool(told.get("live")), told.get("demo"), told.get("replay"), told.get("at") or "").open()
    if patience := getattr(kernel, "patience", None):
        patience.seconds = _PATIENCE
    return kernel


def harmless(name: str) -> str:
    """A name with characters that a shell may interpret replaced, as the description of an offer."""
    return _HARMFUL.sub("?", name)[:60].strip() or "?"


def _processes(kernel: Kernel) -> Iterator[Process]:
    """Leaves out processes that end before they are read."""
    from backend.process.process import pids as all_pids
    from backend.process.process import read_process

    for pid in all_pids(kernel):
        with suppress(Exception):
            yield read_process(kernel, pid)


@_completer
def pids(kernel: Kernel) -> Iterator[Offer]:
    for process in _processes(kernel):
        if not process.is_kernel_thread:
            yield str(process.pid), harmless(process.command or process.comm)


@_completer
def nodesets(kernel: Kernel) -> Iterator[Offer]:
    from backend.machine.topology import read_topology

    topology = read_topology(kernel)
    for node in topology.nodes:
        free = "free memory unknown, " if node.free is None else f"{node.free >> 20} MiB free of "
        yield str(node.id), f"{free}{node.total >> 20}"
    yield "all", f"nodes {topology.ids}"
    yield "same", "for --to: the same as --from"


@_completer
def cgroups(kernel: Kernel) -> Iterator[Offer]:
    from backend.cgroup.cgroups import find_hierarchies, walk

    seen: set[str] = set()
    for hierarchy in find_hierarchies(kernel):
        for one in walk(kernel, hierarchy):
            if one.path not in seen:
                seen.add(one.path)
                yield one.path


@_completer
def users(kernel: Kernel) -> Iterator[Offer]:
    yield from dict.fromkeys(process.user for process in _processes(kernel))


def jobs(context: typer.Context, incomplete: str) -> list[Offer]:
    """The newest first."""
    from backend.journal.past_jobs import own_jobs

    return [
        (one.job, harmless(one.title))
        for one in own_jobs()[0]
        if one.job.startswith(incomplete) and _PLAIN.match(one.job)
    ]


def scenarios(context: typer.Context, incomplete: str) -> list[Offer]:
    from backend.emulator.scenario.shipped import names

    return [name for name in names() if name.startswith(incomplete)]


def scenarios_or_commands(context: typer.Context, incomplete: str) -> list[Offer]:
    """After --demo, whose value is optional."""
    return [*scenarios(context, incomplete), *[name for name in COMMANDS if name.startswith(incomplete)]]


def one_of(*words: str) -> Completer:
    """Completes these words."""
    return lambda ctx, incomplete: [word for word in words if word.startswith(incomplete)]


def register_shells() -> None:
    """Register typer's shells (bash, zsh, fish) with click."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()
