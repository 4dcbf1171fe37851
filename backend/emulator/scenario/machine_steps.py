"""Machine steps: memory offline and online, a bad frame, swapoff."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar

from backend.emulator.frames.memory_block import blocks_of
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration import hotplug
from backend.emulator.mm.mm import PTE_PRESENT
from backend.emulator.scenario.step import Action, Pages, StepContext
from backend.emulator.storage.swapoff import swapoff
from backend.errors import os_error


@dataclass(frozen=True, slots=True)
class Offline(Action):
    """Set a node's memory offline. `block`: only this memory block, by its position in the node."""

    of_task: ClassVar[bool] = False
    node: int
    block: int | None = None

    def run(self, at: StepContext) -> Events:
        if self.block is None:
            return (yield from hotplug.offline(at.machine, self.node))
        return (yield from hotplug.offline_block(at.machine, _block(at.machine, self.node, self.block)))


@dataclass(frozen=True, slots=True)
class Online(Action):
    """Set a node's memory online. `block`: only this memory block, by its position in the node."""

    of_task: ClassVar[bool] = False
    node: int
    block: int | None = None

    def run(self, at: StepContext) -> Events:
        if self.block is None:
            return (yield from hotplug.online(at.machine, self.node))
        return (yield from hotplug.online_block(at.machine, _block(at.machine, self.node, self.block)))


def _block(m: Machine, node: int, position: int) -> int:
    """The number of a memory block by its position in the node. Raises OSError ENOENT."""
    blocks = blocks_of(m.frames, node)
    if position >= len(blocks):
        raise os_error(errno.ENOENT)
    return blocks[position]


@dataclass(frozen=True, slots=True)
class BadPage(Action):
    """Take the frame of the first resident page out of use (soft_offline_page())."""

    region: str
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        for vma, index in at.spans(self.pages):
            present = index[(vma.pte[index] & PTE_PRESENT) != 0]
            if len(present):
                return (yield from hotplug.bad_page(at.machine, int(vma.pfns(present)[0])))
        raise os_error(errno.EFAULT)


@dataclass(frozen=True, slots=True)
class Swapoff(Action):
    """swapoff(2)."""

    of_task: ClassVar[bool] = False

    def run(self, at: StepContext) -> Events:
        return (yield from swapoff(at.machine))
