"""DAMON's files, /sys/kernel/mm/damon/admin (mm/damon/sysfs.c, sysfs-schemes.c): monitors of virtual addresses, with
the scheme `stat` and the regions that it was tried on."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.damon import Attributes, Monitor, Region
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.permissions import may_write
from backend.emulator.tasks.task import Task
from backend.errors import os_error

_ADMIN = "/sys/kernel/mm/damon/admin"
_ROOT = f"{_ADMIN}/kdamonds"
_CONTEXT = "contexts/0"
_SCHEME = f"{_CONTEXT}/schemes/0"
_TRIED = f"{_SCHEME}/tried_regions"
_ACTIONS = ("willneed", "cold", "pageout", "hugepage", "nohugepage", "lru_prio", "lru_deprio", "stat")
_LARGEST = (1 << 64) - 1
_DIRECTORIES = {
    "nr_contexts": {
        "avail_operations": "vaddr", "operations": "vaddr",
        "monitoring_attrs/intervals/sample_us": "5000", "monitoring_attrs/intervals/aggr_us": "100000",
        "monitoring_attrs/intervals/update_us": "60000000",
        "monitoring_attrs/nr_regions/min": "10", "monitoring_attrs/nr_regions/max": "1000",
        "targets/nr_targets": "0", "schemes/nr_schemes": "0",
    },
    "nr_targets": {"pid_target": "0", "regions/nr_regions": "0"},
    "nr_schemes": {
        "action": "stat",
        **{f"access_pattern/{what}/{edge}": "0" for what in ("sz", "nr_accesses", "age") for edge in ("min", "max")},
        "tried_regions/total_bytes": "0",
    },
    "nr_regions": {"start": "0", "end": "0"},
}  # fmt: skip
"""What a new entry of such a number has, and the values."""
_MOST = {"nr_contexts": 1, "nr_targets": 64, "nr_schemes": 64, "nr_regions": 1000}
_READ_ONLY = re.compile(r".*(avail_operations|total_bytes|pid|tried_regions/\d+/.*)\Z")


@dataclass(eq=False, slots=True)
class _Kdamond:
    """`files`: path below it → contents, without state and pid."""

    files: dict[str, str] = field(default_factory=lambda: {"contexts/nr_contexts": "0"})
    monitor: Monitor | None = None
    task: Task | None = None

    @property
    def running(self) -> bool:
        return self.monitor is not None and self.monitor.running


_kdamonds: WeakKeyDictionary[Machine, list[_Kdamond]] = WeakKeyDictionary()


def owns(path: str) -> bool:
    return path.startswith(_ROOT + "/")


def read(m: Machine, caller: Caller, path: str) -> bytes | None:
    """A file; None for other paths. Raises OSError ENOENT, EACCES (they are root's), EISDIR."""
    if not owns(path) or not m.profile.damon:
        return None
    if not may_write(caller):
        raise os_error(errno.EACCES, path)
    if path == f"{_ROOT}/nr_kdamonds":
        return b"%d\n" % len(_all(m))
    kdamond, name = _locate(m, path)
    if name == "state":
        return b"on\n" if kdamond.running else b"off\n"
    if name == "pid":
        return b"%d\n" % (kdamond.task.pid if kdamond.running and kdamond.task is not None else -1)
    if name in kdamond.files:
        return kdamond.files[name].encode() + b"\n"
    raise os_error(errno.EISDIR if any(one.startswith(name + "/") for one in kdamond.files) else errno.ENOENT, path)


def listdir(m: Machine, path: str) -> list[str] | None:
    """The names in a directory; None for others."""
    if not m.profile.damon:
        return None
    if path == _ADMIN:
        return ["kdamonds"]
    if path == _ROOT:
        return ["nr_kdamonds", *map(str, range(len(_all(m))))]
    if not owns(path):
        return None
    kdamond, name = _locate(m, path)
    prefix = name + "/" if name else ""
    names = {one[len(prefix) :].partition("/")[0] for one in kdamond.files if one.startswith(prefix)}
    return [*names, *([] if name else ("state", "pid"))] or None


def write(m: Machine, caller: Caller, path: str, data: bytes) -> Events:
    """One write(2). Raises OSError EACCES, ENOENT, EINVAL, EBUSY (one of them runs), EPERM (it does not run)."""
    if not m.profile.damon:
        raise os_error(errno.ENOENT, path)
    if not may_write(caller):
        raise os_error(errno.EACCES, path)
    yield from m.step("write", m.costs.syscall)
    text = data.decode("ascii", "replace").strip()
    if path == f"{_ROOT}/nr_kdamonds":
        if any(one.running for one in _all(m)):
            raise os_error(errno.EBUSY, path)
        _kdamonds[m] = [_Kdamond() for _ in range(_integer(text, 1 << 10))]
        return
    kdamond, name = _locate(m, path)
    if name == "state":
        yield from _set_state(m, kdamond, text)
        return
    if name not in kdamond.files:
        raise os_error(errno.ENOENT, path)
    if _READ_ONLY.match(name):
        raise os_error(errno.EACCES, path)
    _set(kdamond, name, text)


def _all(m: Machine) -> list[_Kdamond]:
    return _kdamonds.setdefault(m, [])


def _locate(m: Machine, path: str) -> tuple[_Kdamond, str]:
    number, _, name = path[len(_ROOT) + 1 :].partition("/")
    if not re.fullmatch(r"\d{1,4}", number) or int(number) >= len(_all(m)):
        raise os_error(errno.ENOENT, path)
    return _all(m)[int(number)], name


def _set(kdamond: _Kdamond, name: str, text: str) -> None:
    folder, _, last = name.rpartition("/")
    if last in _DIRECTORIES:
        if kdamond.running:
            raise os_error(errno.EBUSY, name)
        count = _integer(text, _MOST[last])
        kdamond.files = {
            one: value
            for one, value in kdamond.files.items()
            if one == name or not re.match(rf"{re.escape(folder)}/\d+/", one)
        }
        for number in range(count):
            kdamond.files |= {f"{folder}/{number}/{one}": value for one, value in _DIRECTORIES[last].items()}
        kdamond.files[name] = str(count)
    elif last == "operations":
        if text != "vaddr":
            raise os_error(errno.EINVAL, name)
    elif last == "action":
        if text not in _ACTIONS:
            raise os_error(errno.EINVAL, name)
        kdamond.files[name] = text
    else:
        kdamond.files[name] = str(_integer(text, _LARGEST))


def _set_state(m: Machine, kdamond: _Kdamond, text: str) -> Events:
    """damon_sysfs_handle_cmd()."""
    if text == "on":
        _start(m, kdamond)
    elif text == "off":
        if not kdamond.running:
            raise os_error(errno.EPERM)
        _stop(m, kdamond)
    elif text in ("update_schemes_tried_regions", "clear_schemes_tried_regions"):
        monitor = kdamond.monitor
        if monitor is None or not monitor.running:
            raise os_error(errno.EINVAL)
        regions: tuple[Region, ...] = ()
        if text.startswith("update"):
            yield monitor.aggregated
            if not monitor.running:
                raise os_error(errno.EINVAL)
            regions = monitor.seen
        _show(kdamond, regions)
    else:
        raise os_error(errno.EINVAL)


def _start(m: Machine, kdamond: _Kdamond) -> None:
    """damon_sysfs_turn_damon_on()."""
    if kdamond.running:
        raise os_error(errno.EBUSY)
    files = kdamond.files
    if files["contexts/nr_contexts"] != "1" or files[f"{_CONTEXT}/targets/nr_targets"] == "0":
        raise os_error(errno.EINVAL)
    task = m.tasks.get(int(files[f"{_CONTEXT}/targets/0/pid_target"]))
    attributes = _attributes(files)
    if task is None or task.mm is None or not 3 <= attributes.least <= attributes.most or attributes.sample <= 0:
        raise os_error(errno.EINVAL)
    kdamond.task = spawn(m, "kdamond.0", cpu=min(m.node_of_cpu), ppid=2, kernel_thread=True)
    kdamond.monitor = Monitor(m, task, attributes, kdamond.task.leader)
    m.start(_run(m, kdamond, kdamond.monitor), "kdamond")


def _run(m: Machine, kdamond: _Kdamond, monitor: Monitor) -> Events:
    yield from monitor.run()
    if kdamond.monitor is monitor:
        _stop(m, kdamond)


def _stop(m: Machine, kdamond: _Kdamond) -> None:
    if kdamond.monitor is not None:
        kdamond.monitor.running = False
    if kdamond.task is not None:
        do_exit(m, kdamond.task)
    kdamond.monitor = kdamond.task = None


def _attributes(files: dict[str, str]) -> Attributes:
    attributes = f"{_CONTEXT}/monitoring_attrs"
    sample, aggregation, update = (
        int(files[f"{attributes}/intervals/{one}_us"]) / 1e6 for one in ("sample", "aggr", "update")
    )
    least, most = (int(files[f"{attributes}/nr_regions/{one}"]) for one in ("min", "max"))
    return Attributes(sample, max(sample, aggregation), update, least, most)


def _show(kdamond: _Kdamond, regions: tuple[Region, ...]) -> None:
    """The regions that fit the scheme's pattern."""
    files = kdamond.files
    if files[f"{_CONTEXT}/schemes/nr_schemes"] == "0":
        return
    for name in [one for one in files if one.startswith(_TRIED + "/") and not one.endswith("total_bytes")]:
        del files[name]
    bounds = [
        tuple(int(files[f"{_SCHEME}/access_pattern/{what}/{edge}"]) for edge in ("min", "max"))
        for what in ("sz", "nr_accesses", "age")
    ]
    fitting = [
        one
        for one in regions
        if all(
            least <= value <= most
            for (least, most), value in zip(bounds, (one.end - one.start, one.accesses, one.age), strict=True)
        )
    ]
    for number, one in enumerate(fitting):
        values = {"start": one.start, "end": one.end, "nr_accesses": one.accesses, "age": one.age}
        files |= {f"{_TRIED}/{number}/{name}": str(value) for name, value in values.items()}
    files[f"{_TRIED}/total_bytes"] = str(sum(one.end - one.start for one in fitting))


def _integer(text: str, most: int) -> int:
    """kstrtoul(). Raises OSError EINVAL."""
    if not re.fullmatch(r"\d{1,20}", text) or int(text) > most:
        raise os_error(errno.EINVAL)
    return int(text)
