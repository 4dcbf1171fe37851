"""Replaces names and paths of a recording, the same name always by the same one, so that it can be sent to somebody.

Numbers, pids, memory, policies, the depth of paths and the equality of names are kept. A file without a rule here is
left out, so nothing is passed on unseen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from backend.cgroup.cgroups import Hierarchy, parse_mounts
from backend.recording.contents import ALWAYS, ONCE

_PROCESS = re.compile(r"/proc/\d+/(?:task/\d+/)?(\w+)\Z")
_BRACKETED = re.compile(rb"\[[a-z_]+\]\Z")
# d_path() appends this to unlinked files; numa_maps escapes the blank (seq_file_path()).
_DELETED = (b" (deleted)", b"\\040(deleted)")
_NUMBERS = re.compile(rb"\d+")
_PLAIN = frozenset(
    path for path in (*ONCE, *ALWAYS)
    if path not in ("/proc/version", "/proc/sys/kernel/hostname", "/proc/swaps", "/proc/self/mounts")
)  # fmt: skip
# The first uid of ordinary users (UID_MIN in login.defs(5)).
FIRST_USER = 1000


class Anonymiser:
    """One instance per recording. `hierarchies`: where cgroups are mounted."""

    def __init__(self, hierarchies: Sequence[Hierarchy] = ()) -> None:
        self._mounts = sorted((one.mount for one in hierarchies), key=len, reverse=True)
        self._names: dict[bytes, bytes] = {}
        self._users: dict[bytes, bytes] = {b"0": b"0"}
        self._rules: dict[str, Callable[[bytes], bytes]] = {
            "stat": self._stat,
            "status": self._status,
            "cmdline": self._command,
            "comm": lambda raw: self.name(raw.rstrip(b"\n")) + b"\n",
            "cgroup": self._cgroup,
            "cpuset": lambda raw: self.path(raw.rstrip(b"\n")) + b"\n",
            "maps": self._maps,
            "numa_maps": self._numa_maps,
        }

    def file(self, path: str, raw: bytes) -> tuple[str, bytes] | None:
        """The path and the contents to record for a file; None to leave it out."""
        if found := _PROCESS.match(path):
            rule = self._rules.get(found[1])
            return (path, rule(raw)) if rule is not None else None
        for mount in self._mounts:
            if path.startswith(mount + "/"):
                folder, _, name = path[len(mount) :].rpartition("/")
                return f"{mount}{self._text(folder)}/{name}", raw
        if path == "/proc/version":
            return path, b" ".join(raw.split()[:3]) + b"\n"
        if path == "/proc/sys/kernel/hostname":
            return path, self.name(raw.strip()) + b"\n"
        if path == "/proc/swaps":
            head, *lines = raw.split(b"\n")
            return path, b"\n".join([head, *[self._first_word(line) for line in lines]])
        if path == "/proc/self/mounts":
            return path, b"".join(
                b"none %s cgroup%s rw,%s 0 0\n"
                % (
                    mount.encode("utf-8", "surrogateescape"),
                    b"2" if kind == "cgroup2" else b"",
                    _options(options),
                )
                for kind, mount, options in parse_mounts(raw)
                if mount in self._mounts
            )
        return (path, raw) if any(fnmatchcase(path, pattern) for pattern in _PLAIN) else None

    def gone(self, path: str) -> str:
        """The path that `file` gives for a vanished file, or for a vanished folder."""
        for mount in self._mounts:
            if path.startswith(mount + "/"):
                folder, _, name = path[len(mount) :].rpartition("/")
                known = name.startswith(("cgroup.", "cpuset.", "memory.", "pids.", "cpu.")) or not folder
                return f"{mount}{self._text(folder)}/{name}" if known else mount + self._text(f"{folder}/{name}")
        return path

    def name(self, raw: bytes) -> bytes:
        """The same replacement for the same name. An empty name stays empty."""
        if not raw:
            return b""
        return self._names.setdefault(raw, b"name%d" % (len(self._names) + 1))

    def path(self, raw: bytes) -> bytes:
        """Replaces a path part by part. The suffix `(deleted)` and the kernel's names in brackets stay."""
        if _BRACKETED.match(raw):
            return raw
        for ending in _DELETED:
            if raw.endswith(ending):
                return self.path(raw[: -len(ending)]) + ending
        return b"/".join(self.name(part) for part in raw.split(b"/"))

    def _text(self, path: str) -> str:
        return self.path(path.encode("utf-8", "surrogateescape")).decode("ascii")

    def _first_word(self, line: bytes) -> bytes:
        word, blank, rest = line.partition(b" ") if b" " in line else line.partition(b"\t")
        return self.path(word) + blank + rest

    def _stat(self, raw: bytes) -> bytes:
        start, end = raw.find(b"("), raw.rfind(b")")
        return raw[: start + 1] + self.name(raw[start + 1 : end]) + raw[end:] if 0 <= start < end else b""

    def _status(self, raw: bytes) -> bytes:
        out: list[bytes] = []
        for line in raw.split(b"\n"):
            key, colon, rest = line.partition(b":")
            if key == b"Name":
                line = b"Name:\t" + self.name(rest.strip())
            elif key in (b"Uid", b"Gid"):
                line = key + colon + _NUMBERS.sub(lambda found: self._user(found[0]), rest)
            elif key == b"Groups":
                line = b"Groups:\t"
            out.append(line)
        return b"\n".join(out)

    def _user(self, uid: bytes) -> bytes:
        return self._users.setdefault(uid, b"%d" % (FIRST_USER + len(self._users) - 1))

    def _command(self, raw: bytes) -> bytes:
        """The path of the program, without arguments."""
        program = raw.partition(b"\0")[0]
        return self.path(program) + b"\0" if program else b""

    def _cgroup(self, raw: bytes) -> bytes:
        out: list[bytes] = []
        for line in raw.split(b"\n"):
            parts = line.split(b":", 2)
            if len(parts) == 3:
                out.append(b":".join([parts[0], parts[1], self.path(parts[2])]) + b"\n")
        return b"".join(out)

    def _maps(self, raw: bytes) -> bytes:
        out: list[bytes] = []
        for line in raw.split(b"\n"):
            fields = line.split(None, 5)
            if len(fields) == 6:
                line = b" ".join(fields[:5]) + b" " + self.path(fields[5])
            out.append(line if len(fields) in (0, 5, 6) else b"")
        return b"\n".join(out)

    def _numa_maps(self, raw: bytes) -> bytes:
        return b"\n".join(
            b" ".join(
                b"file=" + self.path(word[5:]) if word.startswith(b"file=") else word for word in line.split(b" ")
            )
            for line in raw.split(b"\n")
        )


def _options(options: frozenset[str]) -> bytes:
    return ",".join(sorted(one for one in options if re.fullmatch(r"[a-z_]+(?:=systemd)?", one))).encode()
