"""Emulated machines of which is known what their threads access."""

from __future__ import annotations

from typing import Any

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.open import open_text
from backend.heat.heat import Heat, HeatRange
from backend.process.process import Process, read_process

MACHINE = """
machine:
  profile: {profile}
  nodes:
    - {{id: 0, memory: 128MiB, cpus: 0-1}}
    - {{id: 1, memory: 128MiB, cpus: 2-3}}
processes:
  - name: worker
    node: 0
    memory:
      - {{name: data, size: {size}, on: {{0: 50%, 1: 50%}}, access: {{{access}}}}}
      - {{name: cold, size: 8MiB, on: {{1: 100%}}}}
{more}run: 1s
"""
WARM = """      - {name: warm, size: 16MiB, on: {0: 100%}, access: {sample: 64}}
"""
"""Used by a 65th of the accesses of a region with 4096 samples: some 40 times a second a page."""


def worker(
    access: str, size: str = "64MiB", profile: str = "linux-6", more: str = ""
) -> tuple[EmulatedKernel, Process]:
    kernel = open_text(MACHINE.format(access=access, size=size, profile=profile, more=more), "test")
    return kernel, process_of(kernel, "worker")


def process_of(kernel: Any, name: str) -> Process:
    found = (read_process(kernel, int(one)) for one in kernel.listdir("/proc") if one.isdigit())
    return next(one for one in found if one.comm == name)


def judged(found: Heat, truly: list[tuple[int, int]]) -> tuple[float, float]:
    """(precision, recall) of what is said to be hot, in bytes, beside the addresses that are accessed."""
    said = sum(one.hot for one in found.ranges)
    right = sum(_inside(one, start, end) for one in found.ranges for start, end in truly)
    return right / said if said else 0.0, right / sum(end - start for start, end in truly)


def _inside(one: HeatRange, start: int, end: int) -> float:
    both = max(0, min(one.end, end) - max(one.start, start))
    return one.hot * both / (one.end - one.start)
