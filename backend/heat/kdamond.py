"""DAMON of one process by a kdamond of numatui's own (Documentation/admin-guide/mm/damon/usage.rst, sysfs interface).

The kernel has one list of kdamonds for all who use these files, and writing its length throws away what is in it. So
it is used only while it is empty, or has what a numatui left there that was killed: the kdamond says whose it is. That
of others is left alone, whatever state it is in."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from backend.errors import NotFound, NotPermitted, NotSupported, ParseError, describe_oserror
from backend.kernel import Kernel, read_ahead
from backend.process.process import Identity, read_stat

T = TypeVar("T")
ROOT = "/sys/kernel/mm/damon/admin/kdamonds"
_NUMBER = f"{ROOT}/nr_kdamonds"
_KDAMOND = f"{ROOT}/0"
_STATE = f"{_KDAMOND}/state"
_CONTEXT = f"{_KDAMOND}/contexts/0"
_SCHEME = f"{_CONTEXT}/schemes/0"
_TRIED = f"{_SCHEME}/tried_regions"
_LARGEST = f"{_SCHEME}/access_pattern/sz/max"

SAMPLE_US, AGGREGATION_US, UPDATE_US = 5_000, 100_000, 1_000_000
SAMPLES = AGGREGATION_US // SAMPLE_US
"""The most accesses that are seen of a region in an aggregation: one a sample."""
LEAST_REGIONS, MOST_REGIONS = 100, 1_000
"""One page of each is looked at in a sample: they bound what the kdamond costs."""
_MARK = 1 << 62
"""The largest region of the scheme, larger than any address space: with it, in its other bits, goes whose it is."""
_TICKS = 36
"""Bits of a start time in clock ticks: 21 years."""
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
    """One that runs. `pid`: of its kernel thread; 0 where it is not told."""

    def __init__(self, kernel: Kernel, pid: int) -> None:
        self._kernel, self.pid = kernel, pid

    def regions(self) -> list[Region]:
        """Of the last aggregation, in address order. Waits for its end. Raises NotFound if the process has ended,
        ParseError."""
        try:
            _write(self._kernel, _STATE, b"update_schemes_tried_regions")
            kernel = read_ahead(self._kernel, "damon", [f"{_TRIED}/*/{name}" for name in _FILES])
            numbers = [int(name) for name in kernel.listdir(_TRIED) if name.isascii() and name.isdigit()]
            if len(numbers) > _MOST_LISTED:
                raise ParseError(f"DAMON lists {len(numbers)} regions", f"at most {MOST_REGIONS} were asked for")
            out = [Region(*(_number(kernel, f"{_TRIED}/{one}/{name}") for name in _FILES)) for one in numbers]
        except OSError as exc:
            if self.running:
                raise NotSupported(f"DAMON does not tell what it saw: {describe_oserror(exc)}", _OTHER_WAY) from None
            raise NotFound("the process ended while it was looked at", "") from None
        return sorted((one for one in out if one.start < one.end), key=lambda one: one.start)

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
    if count == 0:
        return ""
    owner = _owner(kernel, count)
    if owner is None:
        return "DAMON is set up by somebody else"
    return f"numatui ({owner.pid}) has DAMON at work" if _lives(kernel, owner) else ""


def leftover(kernel: Kernel) -> Identity | None:
    """The numatui that was killed and left a kdamond behind. Changes nothing."""
    try:
        count = _number(kernel, _NUMBER)
        owner = _owner(kernel, count) if count else None
    except (OSError, ParseError):
        return None
    return owner if owner is not None and not _lives(kernel, owner) else None


@contextmanager
def monitoring(kernel: Kernel, pid: int) -> Generator[Kdamond]:
    """A kdamond that looks at a process, until the end of the block. What a killed numatui left behind goes first.
    Raises NotSupported where it cannot be had, NotFound."""
    if why := unusable(kernel):
        raise NotSupported(why, _OTHER_WAY)
    if leftover(kernel) is not None:
        _take_down(kernel)
    try:
        _set_up(kernel, pid)
        yield Kdamond(kernel, _pid(kernel))
    finally:
        _take_down(kernel)


def _set_up(kernel: Kernel, pid: int) -> None:
    me = read_stat(kernel, kernel.traits.own_pid).identity if kernel.traits.own_pid else Identity(0, 0)
    try:
        _write(kernel, _NUMBER, b"1")
        _write(kernel, f"{_KDAMOND}/contexts/nr_contexts", b"1")
        _write(kernel, f"{_CONTEXT}/schemes/nr_schemes", b"1")
        # First of all whose it is: from here on, whoever finds it can take it down.
        _write(kernel, _LARGEST, b"%d" % (_MARK | me.pid << _TICKS | me.start_time & ((1 << _TICKS) - 1)))
        _write(kernel, f"{_CONTEXT}/operations", b"vaddr")
        for path, value in _SETTINGS.items():
            _write(kernel, f"{_CONTEXT}/{path}", value)
        _write(kernel, f"{_CONTEXT}/targets/nr_targets", b"1")
        _write(kernel, f"{_CONTEXT}/targets/0/pid_target", b"%d" % pid)
        _write(kernel, _STATE, b"on")
    except OSError as exc:
        why = describe_oserror(exc)
        if exc.errno == errno.EINVAL:
            why = "this kernel's DAMON does not look at processes (CONFIG_DAMON_VADDR)"
        elif exc.errno == errno.EBUSY:
            why = "another part of the kernel has it (DAMON_RECLAIM, DAMON_LRU_SORT)"
        raise NotSupported(f"DAMON cannot be used: {why}", _OTHER_WAY) from None


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


def _take_down(kernel: Kernel) -> None:
    """Ours, and nobody else's: it looks first."""
    with suppress(OSError, ParseError):
        if (count := _number(kernel, _NUMBER)) and _owner(kernel, count) is None and not _is_bare(kernel, count):
            return
    with suppress(OSError):
        _write(kernel, _STATE, b"off")
    with suppress(OSError):
        _write(kernel, _NUMBER, b"0")


def _is_bare(kernel: Kernel, count: int) -> bool:
    """Whether nothing is set up in it and it does not run: what it is between the first write and the mark."""
    try:
        return count == 1 and not _number(kernel, f"{_CONTEXT}/schemes/nr_schemes")
    except (OSError, ParseError):
        try:
            return count == 1 and not _number(kernel, f"{_KDAMOND}/contexts/nr_contexts")
        except (OSError, ParseError):
            return False


def _owner(kernel: Kernel, count: int) -> Identity | None:
    """Which numatui made it; None: it is somebody else's."""
    try:
        largest = _number(kernel, _LARGEST)
    except (OSError, ParseError):
        return None
    if count != 1 or not _MARK <= largest < _MARK << 1:
        return None
    return Identity((largest ^ _MARK) >> _TICKS, largest & ((1 << _TICKS) - 1))


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
