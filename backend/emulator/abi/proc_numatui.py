"""/proc/numatui: data that only an emulated machine has. A recording of an emulated machine has it too.

`throughput`: a line `pid accesses-per-second` for each task. `zones`: a line `node first-frame frames` for each node.
`frames/N`: one byte for each frame of node N, its `Kind`."""

from __future__ import annotations

from backend.emulator.inspect.frame_map import Frames
from backend.emulator.machine import Machine

ROOT = "/proc/numatui"
ZONES = f"{ROOT}/zones"
FRAMES = f"{ROOT}/frames"


def read(m: Machine, path: str) -> bytes | None:
    """Contents of a file; None for other paths."""
    if path == f"{ROOT}/throughput":
        return "".join(
            f"{task.pid} {sum(thread.rate for thread in task.threads):.0f}\n"
            for task in m.tasks.values()
            if task.mm is not None
        ).encode()
    zones = m.frames.zones
    if path == ZONES:
        return "".join(f"{node} {zone.start} {zone.pages}\n" for node, zone in zones.items()).encode()
    node = path.removeprefix(f"{FRAMES}/")
    if node != path and node.isascii() and node.isdigit() and int(node) in zones:
        zone = zones[int(node)]
        return Frames.of(m, zone.start, zone.pages).kinds().tobytes()
    return None


def listdir(m: Machine, path: str) -> list[str] | None:
    """Names in a directory; None for other paths."""
    if path == ROOT:
        return ["throughput", "zones", "frames"]
    return [str(node) for node in m.frames.zones] if path == FRAMES else None


def parse_zones(raw: bytes) -> dict[int, tuple[int, int]]:
    """Parse `zones`: node → (first frame, number of frames). Skips malformed lines; never raises."""
    out: dict[int, tuple[int, int]] = {}
    for line in raw.split(b"\n"):
        words = line.split()
        if len(words) == 3 and all(word.isdigit() and len(word) < 16 for word in words):
            node, start, pages = map(int, words)
            out[node] = (start, pages)
    return out
