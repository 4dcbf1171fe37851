"""What an agent does when it is asked: one operation, one method, for the kernel and for the state directory.

A request names an operation and has a list of arguments and a payload; so has its answer. Descriptors are those that
this agent has given out, and no others. Of the state directory there is the folder of jobs and the one above it: a
name in them, not a path, is asked for."""

from __future__ import annotations

import errno
import os
import re
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.agent.batch import Batches
from backend.agent.pages import answer_move_pages
from backend.errors import NumatuiError, UsageError, os_error
from backend.state.local import LocalState

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.live.host import Host
    from backend.state_files import Held

    Answer = tuple[Any, bytes | None]

_NAME = re.compile(r"\.?[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
MOST_READ = 48 << 20
"""Bytes of one read, at most."""
_MOST_USERS = 200
_PIECE = 1 << 14
"""Bytes of pagemap that are read between two rests: 8 MiB of a process with small pages."""
_LONGEST_REST = 50_000_000
"""Nanoseconds."""


class Operations:
    """Thread-safe."""

    def __init__(self, host: Host, files: LocalState) -> None:
        self.host, self.files = host, files
        self._batches = Batches(host.read, host.listdir, time.monotonic)
        self._batching = threading.Lock()
        self._lock = threading.Lock()
        self._descriptors: set[int] = set()
        self._pidfds: set[int] = set()
        self._held: dict[int, Held] = {}
        self._next = 0

    def hello(self) -> dict[str, Any]:
        """What does not change while this agent runs."""
        uid, privileged = self.host.credentials()
        jobs, problem = "", ""
        try:
            jobs = str(self.files.jobs_dir())
        except NumatuiError as exc:
            problem = str(exc)
        # An emulated machine has none.
        asked: Any = getattr(self.host, "helped", None)
        helped: Any = asked() if asked else None
        return {
            "name": self.host.name, "page_size": self.host.page_size, "uid": uid, "privileged": privileged,
            "can": self.host.probe(), "jobs": jobs, "problem": problem, "pid": self.host.own_pid,
            "users": self._users(), "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
            "big_endian": sys.byteorder == "big", "helped": helped,
        }  # fmt: skip

    def _users(self) -> dict[str, str]:
        """The names of the users who have processes: each would be a question of its own."""
        uids: set[int] = set()
        for name in self.host.listdir("/proc"):
            if name.isdigit() and len(uids) < _MOST_USERS:
                with suppress(OSError):
                    uids.add(os.stat("/proc/" + name).st_uid)
        return {str(uid): self.host.username(uid)[:64] for uid in uids}

    def find(self, name: str) -> Callable[[list[Any], bytes], Answer] | None:
        """The method of an operation."""
        return getattr(self, "do_" + name, None) if re.match(r"[a-z_]+\Z", name) else None

    # The kernel

    def do_read(self, args: list[Any], _: bytes) -> Answer:
        path, offset, size = args
        return None, self.host.read(path, offset, min(size, MOST_READ))

    def do_read_resting(self, args: list[Any], _: bytes) -> Answer:
        path, offset, size, rest = args
        parts: list[bytes] = []
        end = offset + min(size, MOST_READ)
        while offset < end:
            wanted = min(_PIECE, end - offset)
            parts.append(self.host.read(path, offset, wanted))
            if len(parts[-1]) < wanted:
                break
            offset += wanted
            time.sleep(min(rest, _LONGEST_REST) / 1e9)
        return None, b"".join(parts)

    def do_read_entries(self, args: list[Any], payload: bytes) -> Answer:
        """Payload: the numbers of 64-bit entries. Answers these entries, 0 for what cannot be read."""
        out = bytearray()
        for (number,) in struct.iter_unpack("=Q", payload):
            try:
                entry = self.host.read(args[0], number * 8, 8)
            except (OSError, OverflowError):
                entry = b""
            out += entry if len(entry) == 8 else bytes(8)
        return None, bytes(out)

    def do_listdir(self, args: list[Any], _: bytes) -> Answer:
        return None, "\0".join(self.host.listdir(args[0])).encode("utf-8", "surrogateescape")

    def do_batch(self, args: list[Any], payload: bytes) -> Answer:
        key, anew = args
        with self._batching:
            return self._batches.answer(key, payload.decode("utf-8", "surrogateescape").split("\0"), anew)

    def do_file_id(self, args: list[Any], _: bytes) -> Answer:
        return list(self.host.file_id(args[0])), None

    def do_write(self, args: list[Any], payload: bytes) -> Answer:
        self.host.write(args[0], payload)
        return None, None

    def do_username(self, args: list[Any], _: bytes) -> Answer:
        return [self.host.username(uid) for uid in args], None

    def do_pidfd_open(self, args: list[Any], _: bytes) -> Answer:
        fd = self.host.pidfd_open(args[0])
        with self._lock:
            self._pidfds.add(fd)
        return fd, None

    def do_pidfd_alive(self, args: list[Any], _: bytes) -> Answer:
        return self.host.pidfd_alive(self._own(args[0], self._pidfds)), None

    def do_pidfd_send_signal(self, args: list[Any], _: bytes) -> Answer:
        self.host.pidfd_send_signal(self._own(args[0], self._pidfds), args[1])
        return None, None

    def do_pidfd_close(self, args: list[Any], _: bytes) -> Answer:
        fd = self._own(args[0], self._pidfds)
        with self._lock:
            self._pidfds.discard(fd)
        self.host.pidfd_close(fd)
        return None, None

    def do_setpriority(self, args: list[Any], _: bytes) -> Answer:
        self.host.setpriority(args[0], args[1])
        return None, None

    def do_migrate_pages(self, args: list[Any], payload: bytes) -> Answer:
        pid, maxnode, length = args
        return self.host.migrate_pages(pid, maxnode, payload[:length], payload[length:]), None

    def do_move_pages(self, args: list[Any], payload: bytes) -> Answer:
        return answer_move_pages(self.host.move_pages, args, payload)

    def do_pagemap_scan(self, args: list[Any], _: bytes) -> Answer:
        return self.host.pagemap_scan(*args)

    # The state directory

    def do_state_make(self, args: list[Any], _: bytes) -> Answer:
        self.files.make_private(self._folder(args[0]))
        return None, None

    def do_state_check(self, args: list[Any], _: bytes) -> Answer:
        self.files.check_private(self._folder(args[0]))
        return None, None

    def do_state_free(self, args: list[Any], _: bytes) -> Answer:
        return self.files.free_space(self._folder(args[0])), None

    def do_state_names(self, args: list[Any], _: bytes) -> Answer:
        return None, "\0".join(self.files.names(self._folder(args[0]))).encode("utf-8", "surrogateescape")

    def do_state_stat(self, args: list[Any], _: bytes) -> Answer:
        return list(self.files.stat(self._file(args[0]))), None

    def do_state_begin(self, args: list[Any], payload: bytes) -> Answer:
        if not re.match(r"\.[a-z]{1,10}\Z", args[1]):
            raise UsageError("that is no suffix")
        number, fd = self.files.begin(self._folder(args[0]), args[1], payload)
        return [number, self._given(fd)], None

    def do_state_open(self, args: list[Any], _: bytes) -> Answer:
        fd, size, own, running = self.files.open(self._file(args[0]), args[1])
        return [self._given(fd), size, own, running], None

    def do_state_open_log(self, args: list[Any], _: bytes) -> Answer:
        return self._given(self.files.open_log(self._file(args[0]))), None

    def do_state_hold(self, args: list[Any], _: bytes) -> Answer:
        self.files.hold(self._own(args[0]))
        return None, None

    def do_state_close(self, args: list[Any], _: bytes) -> Answer:
        fd = self._own(args[0])
        with self._lock:
            self._descriptors.discard(fd)
        self.files.close(fd)
        return None, None

    def do_state_size(self, args: list[Any], _: bytes) -> Answer:
        return self.files.size(self._own(args[0])), None

    def do_state_pread(self, args: list[Any], _: bytes) -> Answer:
        return None, self.files.pread(self._own(args[0]), min(args[1], MOST_READ), args[2])

    def do_state_append(self, args: list[Any], payload: bytes) -> Answer:
        self.files.append(self._own(args[0]), payload, args[1])
        return None, None

    def do_state_truncate(self, args: list[Any], _: bytes) -> Answer:
        self.files.truncate(self._own(args[0]), args[1])
        return None, None

    def do_state_unlink(self, args: list[Any], _: bytes) -> Answer:
        self.files.unlink(self._file(args[0]))
        return None, None

    def do_state_replace(self, args: list[Any], payload: bytes) -> Answer:
        self.files.replace(self._file(args[0]), payload.decode())
        return None, None

    def do_state_read(self, args: list[Any], _: bytes) -> Answer:
        return None, self.files.read(self._file(args[0]), min(args[1], MOST_READ))

    def do_state_rename(self, args: list[Any], _: bytes) -> Answer:
        self.files.rename(self._file(args[0]), self._file(args[1]))
        return None, None

    def do_state_lock(self, args: list[Any], _: bytes) -> Answer:
        """Locks of pids (a list), or of a name."""
        folder = self.files.lock_folder() or self._folder("jobs")
        what: list[int] | str = args[0]
        held: Held
        if isinstance(what, list):
            held = self.files.lock_processes(folder, what)
        elif _NAME.match(what):
            held = self.files.lock_name(folder, what)
        else:
            raise UsageError("that is no name of a lock")
        with self._lock:
            self._next += 1
            self._held[self._next] = held
            return self._next, None

    def do_state_unlock(self, args: list[Any], _: bytes) -> Answer:
        with self._lock:
            held = self._held.pop(args[0], None)
        if held is not None:
            held.close()
        return None, None

    def _folder(self, which: str) -> Path:
        jobs = self.files.jobs_dir()
        return jobs if which == "jobs" else jobs.parent

    def _file(self, name: list[str]) -> Path:
        """[folder, name]: `jobs` or `state`, and a file in it."""
        if not _NAME.match(name[1]):
            raise UsageError("that is no name in the state directory")
        return self._folder(name[0]) / name[1]

    def _given(self, fd: int) -> int:
        with self._lock:
            self._descriptors.add(fd)
        return fd

    def _own(self, fd: int, among: set[int] | None = None) -> int:
        with self._lock:
            if type(fd) is not int or fd not in (self._descriptors if among is None else among):
                raise os_error(errno.EBADF)
        return fd
