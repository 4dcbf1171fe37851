"""Recordings of the demo, made for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.open import open_scenario
from backend.recording.record import Recorder
from backend.recording.sinks import open_sink


def record_demo(path: Path, samples: int, before: Callable[[EmulatedKernel, int], None] = lambda *_: None) -> Path:
    """A sample a second. `before`: what is done to the machine before a sample is taken, by its number."""
    kernel = open_scenario()
    sink = open_sink(path, "demo")
    recorder = Recorder(kernel, sink, 1.0)
    for number in range(samples):
        before(kernel, number)
        recorder.take()
        kernel.pause(1_000_000_000)
    sink.close()
    return path
