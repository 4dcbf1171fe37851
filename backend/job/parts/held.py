"""A process held for a job, so that it is never confused with another process, or with another program after exec."""

from __future__ import annotations

import errno

from backend.errors import NotFound, NotSupported, os_error
from backend.kernel import Kernel
from backend.process.process import UNTOLD, Process, Program, process_error, still_the_same


class NewProgram(NotFound):
    """The process has called exec: its memory belongs to another program."""


class HeldProcess:
    """Raises NotSupported for a kernel thread, NotFound if the process has ended, NotPermitted."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self.kernel, self.process = kernel, process
        self.pid = process.pid
        if process.is_kernel_thread:
            raise NotSupported(f"{self.pid} is a kernel thread: it has no memory of its own", "choose a process")
        self._fd = -1
        if kernel.capabilities()["pidfd"].available:
            try:
                self._fd = kernel.pidfd_open(self.pid)
            except OSError as exc:
                raise process_error(kernel, self.pid, exc) from None
        try:
            self.program = still_the_same(kernel, process.identity).program
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Called right before every system call. Raises NotFound if the process has ended. Until then no other process
        gets its pid."""
        if self._fd < 0:
            self.check_program()
        elif not self.kernel.pidfd_alive(self._fd):
            raise NotFound(f"process {self.pid} ended while its pages were moved", "what had moved went with it")

    def check_program(self) -> None:
        """Raises NotFound if it has ended, NewProgram after an exec, NotPermitted if it may no longer be traced: its
        user changed, or it is not dumpable (ptrace(2))."""
        program = still_the_same(self.kernel, self.process.identity).program
        self.check_told(program, self.program)
        if program != self.program:
            raise NewProgram(
                f"process {self.pid} has started another program while its pages were moved",
                "what had moved went with the old one: look at it with numatui show",
            )

    def check_told(self, program: Program, known: Program) -> None:
        """Raises NotPermitted if the kernel hides the program now, but did not before."""
        if program == UNTOLD != known:
            raise process_error(self.kernel, self.pid, os_error(errno.EACCES))

    def close(self) -> None:
        """Closes the pidfd."""
        if self._fd >= 0:
            self.kernel.pidfd_close(self._fd)
            self._fd = -1
