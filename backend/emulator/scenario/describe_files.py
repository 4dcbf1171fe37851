"""Filesystems and their files in a machine's description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backend.emulator.storage.filesystem import MAX_PAGES, FilesystemType, MigratePage
from backend.files.yaml_reader import Value

_METHODS: tuple[MigratePage, ...] = ("buffer", "page", "none")


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file. `path`: as `filesystem/name`."""

    path: str
    pages: int


@dataclass(frozen=True, slots=True)
class FilesystemSpec:
    """A filesystem. `write`, `read`: seconds a page; None: from the machine's costs."""

    name: str
    type: FilesystemType
    write: float | None
    read: float | None
    files: tuple[FileSpec, ...]


def parse_filesystems(value: Value, types: Mapping[str, FilesystemType], page_size: int) -> tuple[FilesystemSpec, ...]:
    """Raises ParseError: unknown type, a name twice, a method that does not exist."""
    out: dict[str, FilesystemSpec] = {}
    for item in value.items():
        keys = item.mapping(
            ("name", "type", "migratepage", "buffers", "releases", "ordered", "write", "read", "files"),
            ("name", "type"),
        )
        name = keys["name"].text(60)
        if name in out:
            keys["name"].fail(f"there is a filesystem '{name}' already")
        if not name or "/" in name:
            keys["name"].fail("must be a name without '/'")
        kind = types.get(keys["type"].text())
        if kind is None:
            keys["type"].fail(f"this kernel has no filesystem '{keys['type'].text(60)}'", f"it has {', '.join(types)}")
        out[name] = FilesystemSpec(
            name=name,
            type=_operations(kind, keys),
            write=keys.read("write", Value.seconds, None),
            read=keys.read("read", Value.seconds, None),
            files=keys.read("files", lambda value, name=name: _files(value, name, page_size), ()),
        )
    return tuple(out.values())


def _operations(kind: FilesystemType, keys: Mapping[str, Value]) -> FilesystemType:
    """The operations of the type, with the methods that the description replaces."""
    changes: dict[str, object] = {key: keys[key].truth() for key in ("buffers", "releases", "ordered") if key in keys}
    if "migratepage" in keys:
        method = keys["migratepage"].text()
        if method not in _METHODS:
            keys["migratepage"].fail(f"there is no method '{method}'", f"choose one of {', '.join(_METHODS)}")
        changes["migratepage"] = method
    return replace(kind, **changes)  # pyright: ignore[reportArgumentType]


def _files(value: Value, filesystem: str, page_size: int) -> tuple[FileSpec, ...]:
    out: dict[str, FileSpec] = {}
    for item in value.items():
        keys = item.mapping(("name", "size"), ("name", "size"))
        path = f"{filesystem}/{keys['name'].text(200)}"
        if path in out:
            keys["name"].fail("there is such a file already")
        pages = -(-keys["size"].size() // page_size)
        if pages > MAX_PAGES:
            keys["size"].fail("is too large to emulate")
        out[path] = FileSpec(path, pages)
    return tuple(out.values())
