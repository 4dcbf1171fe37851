"""Cgroups of the guest, for tests that put victims into them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.guest.inside.rig import LinuxVictim, wait_until

V2 = Path("/sys/fs/cgroup")


class Groups:
    """Makes cgroups in a hierarchy, and takes all away again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[Path] = []

    def make(self, path: str, **files: object) -> Path:
        """A cgroup with these in its files; `_` stands for a dot."""
        group = self.root / path
        group.mkdir()
        self.made.append(group)
        for name, value in files.items():
            group.joinpath(name.replace("__", ".")).write_text(f"{value}\n")
        return group

    def remove(self) -> None:
        for group in reversed(self.made):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (self.root / "cgroup.procs").write_text(pid)
            wait_until(lambda: self._removed(group), f"{group} goes")  # noqa: B023

    @staticmethod
    def _removed(group: Path) -> bool:
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()


@contextlib.contextmanager
def version2() -> Iterator[Groups]:
    """cgroup v2 with both controllers below its root."""
    control = V2 / "cgroup.subtree_control"
    control.write_text("+cpuset +memory")
    groups = Groups(V2)
    try:
        yield groups
    finally:
        groups.remove()
        control.write_text("-cpuset -memory")


def put(victim: LinuxVictim, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(victim.pid))


def charge(victim: LinuxVictim, on: dict[int, int]) -> None:
    """More memory, charged to the cgroup in which the victim is now: a region `more`."""
    victim.regions["more"] = victim.ask("allocate", {"more": {"on": on}})["more"]
