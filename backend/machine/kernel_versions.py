"""What depends on the version of the kernel and can be seen nowhere else. docs/kernels.md has what was measured."""

from __future__ import annotations

import re

VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


def holds_lock(osrelease: str) -> bool:
    """Whether migrate_pages(2) holds the mmap lock of its target while it moves. Since 6.7 it only holds it while it
    collects pages (do_migrate_pages() and migrate_to_node() in mm/mempolicy.c)."""
    return _before(osrelease, 6, 7)


def hides_marked_pages(osrelease: str) -> bool:
    """Whether move_pages(2) does not see pages that NUMA balancing has marked. Since 6.12 it looks at page tables by
    itself, marked or not (folio_walk_start() in mm/pagewalk.c instead of follow_page())."""
    return _before(osrelease, 6, 12)


def _before(osrelease: str, *version: int) -> bool:
    """An unknown release counts as old: then too much is announced, not too little."""
    match = VERSION.match(osrelease)
    return match is None or (int(match[1]), int(match[2])) < version
