"""When numatui last moved the memory of each process, from the journals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from backend.journal.past_job import PastJob
from backend.journal.past_jobs import list_jobs
from backend.kernel import Kernel
from backend.machine.kernel_info import boot_id
from backend.plan.remap import Move
from backend.process.process import Identity


def read_moved(kernel: Kernel, directory: Path) -> dict[Identity, str]:
    """Process → its last move since boot, as `14:03 0→2 1→3`. Never raises."""
    return moved(list_jobs(directory, kernel.files)[0], boot_id(kernel))


def moved(jobs: Iterable[PastJob], boot: str) -> dict[Identity, str]:
    """`jobs`: newest first. Jobs of another boot are ignored: their pids belong to other processes."""
    out: dict[Identity, str] = {}
    for job in jobs:
        for part in job.parts if job.boot == boot else ():
            out.setdefault(part.identity, f"{time.strftime('%H:%M', time.localtime(job.at))} {_what(job, part.moves)}")
    return out


def _what(job: PastJob, moves: tuple[Move, ...]) -> str:
    if job.undoes:
        return "taken back"
    arrows = " ".join(f"{move.source}→{move.target}" for move in moves[:3])
    return arrows + (" …" if len(moves) > 3 else "")
