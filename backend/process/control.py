"""Signals and nice values of processes, never of another that got the pid meanwhile."""

from __future__ import annotations

import errno
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from backend.errors import NotFound, NotPermitted, NotSupported, NumatuiError, UsageError, describe_oserror
from backend.kernel import Kernel
from backend.process.process import Identity, process_error, read_stat, read_threads, still_the_same

SIGNALS: tuple[signal.Signals, ...] = tuple(sorted(signal.Signals))
"""All that this system has names for, but for those of real time, ascending."""
LEAST, MOST = -20, 19
"""Nice values: the first for the most processor time."""


@dataclass(frozen=True, slots=True)
class Reniced:
    """Nice values of a process's first thread before and after, as the kernel tells them. `threads`: how many have the
    new value; `refused`: how many could not get it."""

    before: int
    after: int
    threads: int
    refused: int


def send_signal(kernel: Kernel, identity: Identity, number: int) -> None:
    """Sends a signal to a process. Raises NotFound, NotPermitted, NotSupported."""
    with _held(kernel, identity) as fd:
        try:
            kernel.pidfd_send_signal(fd, number)
        except OSError as exc:
            raise _refused(kernel, identity.pid, exc, "send it a signal") from None


def renice(kernel: Kernel, identity: Identity, change: int) -> Reniced:
    """Adds `change` to the nice value of each of its threads: setpriority(2) takes one thread, unlike POSIX. Raises
    NotFound, NotPermitted, NotSupported."""
    with _held(kernel, identity) as fd:
        threads = read_threads(kernel, identity.pid)
        before = read_stat(kernel, identity.pid).nice
        first: OSError | None = None
        refused = 0
        for thread in threads:
            if not kernel.pidfd_alive(fd):
                raise NotFound(f"process {identity.pid} has ended", "nothing more was done to it")
            try:
                kernel.setpriority(thread.identity.pid, max(LEAST, min(MOST, thread.nice + change)))
            except OSError as exc:
                if exc.errno != errno.ESRCH:  # a thread that has ended
                    first, refused = first or exc, refused + 1
        if first is not None and refused == len(threads):
            raise _refused(kernel, identity.pid, first, "give it more processor time" if change < 0 else "renice it")
        after = read_stat(kernel, identity.pid).nice
        return Reniced(before, after, len(threads) - refused, refused)


@contextmanager
def _held(kernel: Kernel, identity: Identity) -> Generator[int]:
    """A pidfd of the process, after it was compared with what was seen of it."""
    if not kernel.traits.writable:
        raise NotSupported("a recording can be looked at but not changed", "numatui --live shows this machine")
    try:
        fd = kernel.pidfd_open(identity.pid)
    except OSError as exc:
        if exc.errno == errno.ENOSYS:
            raise NotSupported(
                "this kernel has no pidfd_open (Linux 5.3 has it)", "without it another process could be hit"
            ) from None
        raise process_error(kernel, identity.pid, exc) from None
    try:
        still_the_same(kernel, identity)
        yield fd
    finally:
        kernel.pidfd_close(fd)


def _refused(kernel: Kernel, pid: int, exc: OSError, what: str) -> NumatuiError:
    if exc.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(
            f"the kernel does not let you {what} (process {pid})",
            "a container or security module forbids it even to you"
            if kernel.credentials()[1]
            else "run numatui as root" + ("" if exc.errno == errno.EACCES else " or as the process's owner"),
        )
    if exc.errno == errno.EINVAL:
        return UsageError(f"this kernel has no such signal (process {pid})", "choose another")
    if exc.errno == errno.ESRCH:
        return NotFound(f"process {pid} has ended", "nothing was done to it")
    return NotSupported(f"process {pid}: {describe_oserror(exc)}", "look at numatui doctor")
