"""A rule of a policy: which processes it means, in terms that the processes themselves cannot choose, if wanted.

Names and command lines are what a process calls itself. Its user, its executable and the unit of the system's manager
are what the kernel and root say of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from backend.errors import UsageError
from backend.files.shell_word import shell_word
from backend.files.text import printable
from backend.files.yaml_reader import Value
from backend.kernel import Kernel
from backend.process.process import Process
from backend.selection.selection import Selection, term_of
from backend.selection.terms import SELECTORS, Term, any_of, system_unit


@dataclass(frozen=True, slots=True)
class Rule:
    """A selection, as the options of commands make it, but `unit` means those of the system's manager only. `exe`: the
    path of the file that a process must run; empty for any. Raises UsageError."""

    selection: Selection
    exe: str = ""
    _fits: Term = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.exe and not self.exe.startswith("/"):
            raise UsageError("exe needs a path from the root", "/usr/lib/postgresql/16/bin/postgres")
        terms = [term_of(replace(self.selection, unit=()))]
        if self.selection.unit:
            terms.append(any_of(tuple(map(system_unit, self.selection.unit))))

        def fits(process: Process) -> bool:
            return all(one(process) for one in terms)

        object.__setattr__(self, "_fits", fits)

    @property
    def text(self) -> str:
        """As options of a command, harmless for a terminal."""
        exe = printable(f"--exe {shell_word(self.exe)}", 200) if self.exe else ""
        return " ".join(one for one in (self.selection.text, exe) if one)

    def fits(self, kernel: Kernel, process: Process, unknown: bool = False) -> bool:
        """`unknown`: the answer if the kernel does not tell which file the process runs."""
        return self._fits(process) and (not self.exe or _runs(kernel, process.pid, self.exe, unknown))


def _runs(kernel: Kernel, pid: int, path: str, unknown: bool) -> bool:
    """Whether a process runs this file: the file itself, not its name, which in a mount namespace of a user's own may
    be any (namespaces(7))."""
    wanted = _asked(kernel, path)
    running = _asked(kernel, f"/proc/{pid}/exe")
    return unknown if wanted is None or running is None else wanted == running


def _asked(kernel: Kernel, path: str) -> tuple[int, int] | None:
    try:
        return kernel.file_id(path)
    except OSError:
        return None


def read_rule(value: Value) -> Rule:
    """A mapping of selectors, one value each. Raises ParseError."""
    found = value.mapping((*SELECTORS, "command", "min", "exe"))
    if not found:
        value.fail("is empty", 'give a user, match or cgroup; `match: "*"` stands for all')

    def values(*keys: str) -> tuple[str, ...]:
        return tuple(found[key].text(1024) for key in keys if key in found)

    try:
        return Rule(
            Selection(
                # `command`: how `match` was called at first.
                match=values("match", "command"),
                regex=values("regex"),
                user=values("user"),
                cgroup=values("cgroup"),
                unit=values("unit"),
                pod=values("pod"),
                vm=values("vm"),
                minimum=found.read("min", Value.size, 0),
            ),
            found.read("exe", Value.text, ""),
        )
    except UsageError as exc:
        value.fail(exc.what, exc.fix)
