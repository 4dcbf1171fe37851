"""Write a machine's files to a folder with proc/ and sys/: what `backend.recording` and hwloc read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backend.errors import NotSupported, UsageError
from backend.kernel import Kernel

ROOTS = ("/proc", "/sys/devices/system/node", "/sys/devices/system/cpu")
_WINDOWS = ("pagemap",)
"""Files that are read by offset, with an entry for every address there could be."""
_DEEPEST = 12
_GONE = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)


def export_tree(kernel: Kernel, folder: Path, roots: tuple[str, ...] = ROOTS) -> int:
    """All files below the roots, private to their writer (files 0600, folders 0700). Returns how many.

    Files that vanish or are refused meanwhile are left out, and so are names that could lead out of the folder. Raises
    NotSupported for kernels other than emulated ones, whose trees may have no end; UsageError where the folder has
    something in it; OSError.
    """
    if kernel.source != "demo":
        raise NotSupported(
            "only an emulated machine can be written to a folder", "hwloc-gather-topology records a real one"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"the folder {folder} is not empty", "name one that is new or empty")
    return sum(_export(kernel, root, folder / root.lstrip("/"), 0) for root in roots)


def _export(kernel: Kernel, path: str, to: Path, depth: int) -> int:
    try:
        names = kernel.listdir(path)
    except OSError:
        return _export_file(kernel, path, to)
    for missing in (*reversed(to.parents), to):
        if not missing.exists():
            missing.mkdir(mode=0o700)
    if depth >= _DEEPEST:
        return 0
    return sum(
        _export(kernel, f"{path}/{name}", to / name, depth + 1)
        for name in names
        if _harmless(name) and name not in _WINDOWS
    )


def _export_file(kernel: Kernel, path: str, to: Path) -> int:
    try:
        data = kernel.read(path)
    except OSError as exc:
        if exc.errno in _GONE:
            return 0
        raise
    fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as handle:
        handle.write(data)
    return 1


def _harmless(name: str) -> bool:
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name)
