"""What running threads do to accessed bits between two looks at them.

A workload's thread touches a sample of its pages each period, which stands for millions of accesses. What those would
have touched is worked out when somebody looks: each page of what a thread uses is accessed with the probability that
follows from the thread's rate and the time that has passed."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT, PTE_PROTNONE, PTE_YOUNG, Mm
from backend.emulator.tasks.task import Thread

_SURE = 20.0
"""Expected accesses of a page from which it is certain."""
_generators: WeakKeyDictionary[Machine, np.random.Generator] = WeakKeyDictionary()
"""Of their own: whether somebody looks does not change what the machine does."""


def settle(m: Machine, mm: Mm) -> None:
    """Sets the accessed bits of what the threads of an address space have accessed since the last time."""
    for thread in _threads(m, mm):
        settle_thread(m, mm, thread)


def settle_thread(m: Machine, mm: Mm, thread: Thread) -> None:
    """The same for one thread: before what it uses changes."""
    seconds, thread.settled = m.now - thread.settled, m.now
    for use in thread.uses:
        each = thread.rate * use.share / use.pages * seconds
        if each <= 0:
            continue
        for vma, local in mm.spans(use.start, np.arange(use.pages, dtype=np.int64)):
            if each < _SURE:
                local = local[generator(m).random(len(local)) < -np.expm1(-each)]
            ready = (vma.pte[local] & (PTE_PRESENT | PTE_PROTNONE)) == PTE_PRESENT
            vma.pte[local[ready]] |= np.int64(PTE_YOUNG)


def expected(m: Machine, mm: Mm, addresses: NDArray[np.int64], seconds: float) -> NDArray[np.float64]:
    """Accesses of each page in so many seconds. Shape (n,) to (n,)."""
    out = np.zeros(len(addresses))
    for thread in _threads(m, mm):
        for use in thread.uses:
            inside = (addresses >= use.start) & (addresses < use.start + use.pages * mm.page_size)
            out[inside] += thread.rate * use.share / use.pages * seconds
    return out


def generator(m: Machine) -> np.random.Generator:
    if m not in _generators:
        _generators[m] = np.random.default_rng(m.seed)
    return _generators[m]


def _threads(m: Machine, mm: Mm) -> list[Thread]:
    return [thread for task in m.tasks.values() if task.mm is mm and not task.stopped for thread in task.threads]
