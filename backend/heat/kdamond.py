"""DAMON of one process by a kdamond of numatui's own (Documentation/admin-guide/mm/damon/usage.rst, sysfs interface).

The kernel has one list of kdamonds for all who use these files, and writing its length throws away what is in it. So
it is used only while it is empty, or has what a numatui left there that was killed: the kdamond says whose it is. That
of others is left alone, whatever state it is in."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from backend.errors import NotFound, NotPermitted, NotSupported, ParseError, describe_oserror
from backend.heat.heat import HIGHEST
from backend.kernel import Kernel, read_ahead
from backend.process.process import Identity, read_stat, still_the_same

T = TypeVar("T")
ROOT = "/sys/kernel/mm/damon/admin/kdamonds"
_NUMBER = f"{ROOT}/nr_kdamonds"
_KDAMOND = f"{ROOT}/0"
_STATE = f"{_KDAMOND}/state"
_CONTEXT = f"{_KDAMOND}/contexts/0"
_SCHEME = f"{_CONTEXT}/schemes/0"
_TRIED = f"{_SCHEME}/tried_regions"
_LARGEST = f"{_SCHEME}/access_pattern/sz/max"

SAMPLE_US, AGGREGATION_US, UPDATE_US = 1_000_000 // HIGHEST, 100_000, 1_000_000
SAMPLES = AGGREGATION_US // SAMPLE_US
"""The most accesses that are seen of a region in an aggregation: one a sample."""
LEAST_REGIONS, MOST_REGIONS = 100, 1_000
"""One page of each is looked at in a sample: they bound what the kdamond costs."""
_MARK = 1 << 62
"""The largest region of the scheme, larger than any address space: with it, in its other bits, goes whose it is."""
_PID, _TICKS = 22, 32
"""Bits of it: of a pid, and of a start time in clock ticks; above them is a byte of its own."""
_MOST_LISTED = 100_000
_PATIENCE = 500_000_000
"""Nanoseconds: an aggregation, for which somebody may hold the lock, and some more."""
_DECIMAL = re.compile(rb"(\d{1,20})\s*\Z")


@dataclass(frozen=True, slots=True)
class Region:
    """[start, end) of a process. `accesses`: of the samples of an aggregation, how many saw one to its page. `age`: for
    how many aggregations that has been about so."""

    start: int
    end: int
    accesses: int
    age: int


class Kdamond:
    """One that runs, of ours: `mark` is in its settings. `pid`: of its kernel thread; 0 where it is not told."""

    def __init__(self, kernel: Kernel, target: Identity, mark: int) -> None:
        self._kernel, self._target, self._mark = kernel, target, mark
        self.pid = _pid(kernel)

    def regions(self) -> list[Region]:
        """Of the last aggregation, in address order. Waits for its end. Raises NotFound if the process has ended,
        NotSupported if somebody has taken it down or put another in its place; ParseError."""
        self._check()
        try:
            _write(self._kernel, _STATE, b"update_schemes_tried_regions")
            kernel = read_ahead(self._kernel, "damon", [f"{_TRIED}/*/{name}" for name in _FILES])
            numbers = [int(name) for name in kernel.listdir(_TRIED) if name.isascii() and name.isdigit()]
            if len(numbers) > _MOST_LISTED:
                raise ParseError(f"DAMON lists {len(numbers)} regions", f"at most {MOST_REGIONS} were asked for")
            out = [Region(*(_number(kernel, f"{_TRIED}/{one}/{name}") for name in _FILES)) for one in numbers]
        except OSError as exc:
            still_the_same(self._kernel, self._target)
            self._check()
            raise NotSupported(f"DAMON does not tell what it saw: {describe_oserror(exc)}", _OTHER_WAY) from None
        return sorted((one for one in out if one.start < one.end), key=lambda one: one.start)

    def _check(self) -> None:
        if _mark(self._kernel) != self._mark:
            raise NotSupported("somebody else has taken DAMON over meanwhile", _OTHER_WAY)

    @property
    def running(self) -> bool:
        """Not any more when the process has ended, or somebody has switched it off."""
        try:
            return _patiently(self._kernel, lambda: self._kernel.read(_STATE)).strip() == b"on"
        except OSError:
            return False

    def cpu(self) -> float:
        """Seconds of CPU that it has taken; 0 where it is not told."""
        try:
            stat = read_stat(self._kernel, self.pid) if self.pid else None
        except (NotFound, NotPermitted, ParseError):
            stat = None
        return stat.ticks / 100 if stat is not None else 0.0


_FILES = ("start", "end", "nr_accesses", "age")
_OTHER_WAY = "leave out --way, or say --way referenced"


def unusable(kernel: Kernel) -> str:
    """Why it cannot be used now; empty if it can. Changes nothing."""
    try:
        count = _number(kernel, _NUMBER)
    except OSError as exc:
        if exc.errno in (errno.EACCES, errno.EPERM):
            return "DAMON is for root"
        return "this kernel has no DAMON in sysfs"
    except ParseError as exc:
        return exc.what
    if not kernel.credentials()[1] or not kernel.capabilities()["write"].available:
        return "DAMON is for root"
    mark = _mark(kernel) if count == 1 else None
    if count and mark is None:
        return "DAMON is set up by somebody else"
    owner = None if mark is None else _owner(mark)
    return f"numatui ({owner.pid}) has DAMON at work" if owner is not None and _lives(kernel, owner) else ""


def leftover(kernel: Kernel) -> Identity | None:
    """The numatui that was killed and left a kdamond behind. Changes nothing."""
    mark = _mark(kernel)
    owner = None if mark is None else _owner(mark)
    return owner if owner is not None and not _lives(kernel, owner) else None


@contextmanager
def monitoring(kernel: Kernel, target: Identity) -> Generator[Kdamond]:
    """A kdamond that looks at a process, until the end of the block. What a killed numatui left behind goes first.
    Raises NotSupported where it cannot be had."""
    if why := unusable(kernel):
        raise NotSupported(why, _OTHER_WAY)
    if (left := _mark(kernel)) is not None:
        _take_down(kernel, left)
    me = read_stat(kernel, kernel.traits.own_pid).identity if kernel.traits.own_pid else Identity(0, 0)
    mark = _MARK | os.urandom(1)[0] << (_PID + _TICKS) | me.pid << _TICKS | me.start_time & ((1 << _TICKS) - 1)
    made = False
    try:
        try:
            _write(kernel, _NUMBER, b"1")
            made = True
            _set_up(kernel, target.pid, mark)
        except OSError as exc:
            raise NotSupported(f"DAMON cannot be used: {_why(kernel, exc, mark)}", _OTHER_WAY) from None
        yield Kdamond(kernel, target, mark)
    finally:
        if made:
            _take_down(kernel, mark)


def _why(kernel: Kernel, exc: OSError, mark: int) -> str:
    if exc.errno == errno.EBUSY:
        another = unusable(kernel) if _mark(kernel) != mark else ""
        return another or "another part of the kernel has it (DAMON_STAT, DAMON_RECLAIM, DAMON_LRU_SORT)"
    if exc.errno == errno.EINVAL:
        return "this kernel's DAMON does not look at processes (CONFIG_DAMON_VADDR), or the process has ended"
    return describe_oserror(exc)


def _set_up(kernel: Kernel, pid: int, mark: int) -> None:
    """Raises OSError."""
    _write(kernel, f"{_KDAMOND}/contexts/nr_contexts", b"1")
    _write(kernel, f"{_CONTEXT}/schemes/nr_schemes", b"1")
    # First of all whose it is: from here on, whoever finds it can take it down.
    _write(kernel, _LARGEST, b"%d" % mark)
    _write(kernel, f"{_CONTEXT}/operations", b"vaddr")
    for path, value in _SETTINGS.items():
        _write(kernel, f"{_CONTEXT}/{path}", value)
    _write(kernel, f"{_CONTEXT}/targets/nr_targets", b"1")
    _write(kernel, f"{_CONTEXT}/targets/0/pid_target", b"%d" % pid)
    _write(kernel, _STATE, b"on")


_SETTINGS = {
    "monitoring_attrs/intervals/sample_us": b"%d" % SAMPLE_US,
    "monitoring_attrs/intervals/aggr_us": b"%d" % AGGREGATION_US,
    "monitoring_attrs/intervals/update_us": b"%d" % UPDATE_US,
    "monitoring_attrs/nr_regions/max": b"%d" % MOST_REGIONS,
    "monitoring_attrs/nr_regions/min": b"%d" % LEAST_REGIONS,
    "schemes/0/action": b"stat",
    "schemes/0/access_pattern/nr_accesses/max": b"%d" % SAMPLES,
    "schemes/0/access_pattern/age/max": b"%d" % ((1 << 32) - 1),
}
"""Below a context. `stat`: the scheme does nothing to any page."""


def _take_down(kernel: Kernel, mark: int) -> None:
    """The one with this mark, or one that has no settings at all: what it is between the first write and the mark.
    If it cannot be told whose it is, it is left for the next start."""
    try:
        count = _number(kernel, _NUMBER)
        ours = count == 1 and (_mark(kernel) == mark or _is_bare(kernel))
    except (OSError, ParseError):
        return
    if not ours:
        return
    with suppress(OSError):
        _write(kernel, _STATE, b"off")
    with suppress(OSError):
        _write(kernel, _NUMBER, b"0")


def _is_bare(kernel: Kernel) -> bool:
    """Raises OSError, ParseError."""
    if _patiently(kernel, lambda: kernel.read(_STATE)).strip() != b"off":
        return False
    contexts = _number(kernel, f"{_KDAMOND}/contexts/nr_contexts")
    return not contexts or not _number(kernel, f"{_CONTEXT}/schemes/nr_schemes")


def _mark(kernel: Kernel) -> int | None:
    """What the first kdamond has in the place of a mark, if that is one of numatui's."""
    try:
        found = _number(kernel, _LARGEST)
    except (OSError, ParseError):
        return None
    return found if _MARK <= found < _MARK << 1 else None


def _owner(mark: int) -> Identity:
    return Identity(mark >> _TICKS & ((1 << _PID) - 1), mark & ((1 << _TICKS) - 1))


def _lives(kernel: Kernel, owner: Identity) -> bool:
    """A machine that does not outlive this program has none that a program left behind."""
    if not kernel.traits.keeps_jobs:
        return True
    try:
        return read_stat(kernel, owner.pid).identity.start_time & ((1 << _TICKS) - 1) == owner.start_time
    except (NotFound, NotPermitted, ParseError):
        return False


def _pid(kernel: Kernel) -> int:
    try:
        return _number(kernel, f"{_KDAMOND}/pid")
    except (OSError, ParseError):
        return 0


def _write(kernel: Kernel, path: str, data: bytes) -> None:
    _patiently(kernel, lambda: kernel.write(path, data))


def _patiently(kernel: Kernel, call: Callable[[], T]) -> T:
    """These files answer EBUSY instead of waiting for whoever is at one of them (damon_sysfs_lock). Raises OSError."""
    end = kernel.clock() + _PATIENCE
    while True:
        try:
            return call()
        except OSError as exc:
            if exc.errno != errno.EBUSY or kernel.clock() > end:
                raise
        kernel.pause(_PATIENCE // 50)


def _number(kernel: Kernel, path: str) -> int:
    """Raises OSError, ParseError."""
    raw = _patiently(kernel, lambda: kernel.read(path, 0, 64))
    found = _DECIMAL.match(raw)
    if found is None:
        raise ParseError("DAMON's files do not have the documented form", "")
    return int(found[1])
