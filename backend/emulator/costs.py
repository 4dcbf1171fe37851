"""Costs of kernel operations in simulated seconds. A machine description can override each of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds. Page costs are for one base page. `copy` and `access` are for distance 10 and grow with it."""

    syscall: float = 2e-6
    drain: float = 50e-6  # lru_add_drain_all() with 4 CPUs: 46-52 µs measured in a 6.1 guest.
    isolate: float = 0.05e-6
    lock: float = 0.02e-6
    add_to_swap: float = 0.1e-6
    unmap: float = 0.15e-6
    tlb_flush: float = 2e-6
    switch: float = 0.05e-6
    copy: float = 0.4e-6
    remap: float = 0.15e-6
    fault: float = 0.7e-6
    query: float = 0.08e-6
    wake: float = 4e-6
    access: float = 0.1e-6
    swap_write: float = 40e-6
    swap_read: float = 60e-6
    file_write: float = 40e-6
    file_read: float = 60e-6

    def copy_between(self, distance: int) -> float:
        """Cost of copying one page between nodes at this distance."""
        return self.copy * distance / 10

    def access_at(self, distance: int) -> float:
        """Cost of one memory access by a thread at this distance."""
        return self.access * distance / 10
