"""A recording in a tarball, read whole into memory: nothing is unpacked to disk, so nothing in it can escape."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from backend.errors import ParseError, os_error
from backend.files.given_file import open_given
from backend.recording import limits
from backend.recording.limits import too_large
from backend.recording.tar_reader import CutOff, Member, members


class Tarball:
    """A `Tree`. It is read twice, so that one that is refused is never in memory. Raises ParseError, OSError."""

    def __init__(self, path: Path) -> None:
        self._files: dict[str, bytes] = {}
        self._dirs: dict[str, dict[str, None]] = {"/": {}}
        self._links: dict[str, str] = {}
        self._names = 0
        self.cut_off = False
        what = str(path)
        with os.fdopen(open_given(path), "rb") as file:
            damage = _survey(file, what)
            file.seek(0)
            try:
                for member in members(file, what, keep=True):
                    self._enter_member(member, what)
            except CutOff as exc:
                damage = damage or str(exc)
        # A recorder that was killed leaves a truncated file. Its complete samples can be used.
        self.cut_off = bool(damage) and any(name.endswith("/sample.json") for name in self._files)
        if damage and not self.cut_off:
            raise ParseError(f"{path} is not a tarball ({damage})", "a recording is a .tar.gz, a .tar or a folder")
        for link, target in self._links.items():
            if target in self._files:
                self._files[link] = self._files[target]
        self._root = next(
            (
                root
                for root in ("", *("/" + name for name in self._dirs["/"]))
                if f"{root}/sys" in self._dirs or f"{root}/proc" in self._dirs
            ),
            None,
        )
        if self._root is None:
            raise ParseError(f"{path} is not a recording", "it has neither proc/ nor sys/")
        self.name = self._root.strip("/") or path.name

    def _enter_member(self, member: Member, what: str) -> None:
        name = os.path.normpath("/" + member.name.lstrip("/"))
        if member.kind == "file":
            self._files[name] = member.data
        elif member.kind == "hard link":
            self._links[name] = os.path.normpath("/" + member.link.lstrip("/"))
        elif member.kind == "link":
            self._links[name] = os.path.normpath(os.path.join(os.path.dirname(name), member.link))
        if member.kind != "folder":
            self._enter(name, what)

    def _enter(self, name: str, what: str) -> None:
        while name != "/":
            parent, _, leaf = name.rpartition("/")
            entries = self._dirs.get(parent or "/")
            if entries is None:
                self._names += len(parent)
                if self._names > limits.MAX_NAMES:
                    raise too_large(what, f"{limits.MAX_NAMES >> 20} MiB of names")
                entries = self._dirs[parent or "/"] = {}
            if leaf in entries:
                return
            entries[leaf] = None
            name = parent or "/"

    def read(self, path: str) -> bytes:
        try:
            return self._files[f"{self._root}{os.path.normpath(path)}"]
        except KeyError:
            raise os_error(errno.ENOENT, path) from None

    def listdir(self, path: str) -> list[str]:
        full = f"{self._root}{os.path.normpath(path)}".rstrip("/") or "/"
        try:
            return list(self._dirs[full])
        except KeyError:
            raise os_error(errno.ENOENT, path) from None

    def below(self, path: str) -> Iterator[str]:
        top = f"{self._root}{os.path.normpath(path)}"
        rest = [top]
        while rest:
            folder = rest.pop()
            for name in self._dirs.get(folder, ()):
                full = f"{folder}/{name}"
                if full in self._files:
                    yield full[len(top) :]
                rest.append(full)


def _survey(file: IO[bytes], what: str) -> str:
    """Goes over the whole tarball without keeping anything. Returns what is damaged. Raises ParseError."""
    try:
        for _ in members(file, what, keep=False):
            pass
    except CutOff as exc:
        return str(exc)
    return ""
