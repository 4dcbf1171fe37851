"""Paths opened folder by folder, through descriptors: nobody can put a link or another folder in their place
meanwhile.

A link is followed only if root or the user made it. A path is trusted if nobody but root and the user can change what
it leads to, as sshd checks that of authorized_keys (safe_path() in misc.c of OpenSSH).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from backend.errors import NotPermitted, os_error

_MOST_LINKS = 40
"""As the kernel (MAXSYMLINKS)."""
_ALL_IDS = 1 << 32


class Untrusted(NotPermitted):
    """Another user could put something else in the place of what is meant."""


@contextmanager
def opened_parent(
    path: Path, trusted: bool = False, make: bool = False, follow: bool = False
) -> Generator[tuple[int, str]]:
    """A descriptor of the folder in which a file or folder lies, and its name there; "." for the root folder.

    `trusted`: every folder must be. `make`: folders that are missing are made, mode 0700. `follow`: the last name may
    be a link as well. Raises Untrusted, OSError."""
    walk = _Walk(trusted, make, follow)
    try:
        yield walk.to(path)
    finally:
        walk.close()


def open_folder(name: str, parent: int, make: bool = False) -> int:
    """A descriptor of a folder, no link; `make`: made if it is not there, mode 0700. Raises OSError."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def trusted_users() -> set[int]:
    """Root, the user, and, in a user namespace, whoever has no number there: root of the machine is among them."""
    users = {0, os.geteuid()}
    with suppress(OSError, ValueError, IndexError), open("/proc/self/uid_map", "rb") as file:
        if sum(int(line.split()[2]) for line in file) < _ALL_IDS - 1:
            with open("/proc/sys/kernel/overflowuid", "rb") as known:
                users.add(int(known.read()))
    return users


def check_trusted(facts: os.stat_result, name: str, users: Collection[int]) -> None:
    """Raises Untrusted if somebody else than these users owns it, or if others may change it."""
    if facts.st_uid not in users:
        raise Untrusted(f"{name} belongs to another user (uid {facts.st_uid})", "use a folder of yours")
    # In a sticky folder nobody can replace what belongs to somebody else.
    if not (stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX):
        check_closed(facts, name, "chmod go-w it, or use another folder")


def check_closed(facts: os.stat_result, name: str, fix: str) -> None:
    """Raises Untrusted if others may change it; of a folder, if they may put something in it."""
    others = stat.S_IWOTH
    if os.geteuid() == 0 and facts.st_gid != 0:
        others |= stat.S_IWGRP  # of a user's own group is the user alone
    if facts.st_mode & others:
        raise Untrusted(f"{name} can be changed by other users", fix)


class _Walk:
    def __init__(self, trusted: bool, make: bool, follow: bool) -> None:
        self._trusted, self._make, self._follow = trusted, make, follow
        self._users = trusted_users()
        self._at, self._shown = self._root(), "/"
        self._links = 0

    def _root(self) -> int:
        return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._at)

    def to(self, path: Path) -> tuple[int, str]:
        rest = _parts(os.path.abspath(path))
        while rest:
            name = rest.pop()
            target = self._link(name) if rest or self._follow else None
            if target is not None:
                if target.startswith("/"):
                    self._go(self._root(), "/")
                rest += _parts(target)
            elif rest or name == "..":
                self._enter(name)
            else:
                if self._trusted:
                    self._check()
                return self._at, name
        return self._at, "."

    def _link(self, name: str) -> str | None:
        """Where a link leads; None for anything else."""
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._at)
        except FileNotFoundError:
            return None
        try:
            facts = os.fstat(fd)
            if not stat.S_ISLNK(facts.st_mode):
                return None
            self._links += 1
            if self._links > _MOST_LINKS:
                raise os_error(errno.ELOOP, self._shown + name)
            if facts.st_uid not in self._users:
                raise Untrusted(
                    f"{self._shown}{name} is a link of another user (uid {facts.st_uid})", "name the place it leads to"
                )
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def _enter(self, name: str) -> None:
        if self._trusted:
            self._check()
        if self._make and name != "..":
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._at)
        # O_PATH: a folder on the way may be one that can be passed through, but not listed.
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._at)
        self._go(fd, f"{self._shown}{name}/")

    def _go(self, fd: int, shown: str) -> None:
        os.close(self._at)
        self._at, self._shown = fd, shown

    def _check(self) -> None:
        check_trusted(os.fstat(self._at), self._shown.rstrip("/") or "/", self._users)


def _parts(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
