"""/proc/numatui: what no kernel can tell and an emulated machine can. A recording of one has it too.

`throughput`: pid and accesses a second of each task, a line each. `zones`: node, first frame and number of frames.
`frames/N`: one byte for each frame of node N, its `Kind`."""

from __future__ import annotations

from backend.emulator.inspect.frame_map import Frames
from backend.emulator.machine import Machine

ROOT = "/proc/numatui"
ZONES = f"{ROOT}/zones"
FRAMES = f"{ROOT}/frames"


def read(m: Machine, path: str) -> bytes | None:
    """A file's bytes; None where it is not one of these."""
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
    """The names in a directory; None where it is not one of these."""
    if path == ROOT:
        return ["throughput", "zones", "frames"]
    return [str(node) for node in m.frames.zones] if path == FRAMES else None


def parse_zones(raw: bytes) -> dict[int, tuple[int, int]]:
    """`zones`: first frame and number of frames by node. Lines that are none are left out; never raises."""
    out: dict[int, tuple[int, int]] = {}
    for line in raw.split(b"\n"):
        words = line.split()
        if len(words) == 3 and all(word.isdigit() and len(word) < 16 for word in words):
            node, start, pages = map(int, words)
            out[node] = (start, pages)
    return out
