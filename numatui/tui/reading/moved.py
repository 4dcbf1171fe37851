"""When numatui last moved the memory of each process, from the journals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from backend.job.past_jobs import PastJob, list_jobs
from backend.kernel import Kernel
from backend.machine.kernel_info import boot_id
from backend.process.process import Identity


def read_moved(kernel: Kernel, directory: Path) -> dict[Identity, str]:
    """Process → its last move since boot, as `14:03 0→2 1→3`. Never raises."""
    return moved(list_jobs(directory)[0], boot_id(kernel))


def moved(jobs: Iterable[PastJob], boot: str) -> dict[Identity, str]:
    """`jobs`: newest first. Jobs of another boot are ignored: their pids belong to other processes."""
    out: dict[Identity, str] = {}
    for job in jobs:
        if job.boot == boot and job.identity not in out:
            out[job.identity] = f"{time.strftime('%H:%M', time.localtime(job.at))} {_what(job)}"
    return out


def _what(job: PastJob) -> str:
    if job.undoes:
        return "taken back"
    arrows = " ".join(f"{move.source}→{move.target}" for move in job.moves[:3])
    return arrows + (" …" if len(job.moves) > 3 else "")
