"""Explains in a sentence what a step did to the followed page, and which patch of Direct Migration V8 did it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backend.emulator.inspect.trace import FrameState, TraceRow

PATCHES = {
    1: "SwapCache check after lock_page()",
    2: "migrate_pages()",
    3: "remove_from_swap()",
    4: "MPOL_MF_MOVE and sys_migrate_pages()",
    5: "buffer_migrate_page()",
}
"""The five patches by number."""


@dataclass(frozen=True, slots=True)
class Explained:
    """`patch`: 0 if the step belongs to none of the five."""

    text: str
    patch: int = 0


def explain(before: TraceRow | None, now: TraceRow) -> Explained:
    """`before`: the previous row; None for the first."""
    told = _explain(before, now)
    if now.waiting and (before is None or now.waiting != before.waiting):
        who = ", ".join(one.partition(":")[0] for one in now.waiting)
        return Explained(
            f"{told.text} Meanwhile {who} waits for the page's lock: when it gets it, it has to look again whether "
            "this still is the page it wanted (patch 1).",
            told.patch or 1,
        )
    return told


def _explain(before: TraceRow | None, now: TraceRow) -> Explained:
    if before is None:
        return _first(now)
    if now.frame is None:
        return Explained(_gone(now) if before.frame is not None else "The page is not in memory.")
    if before.frame is None:
        return _new_frame(now, now.frame)
    change = _Change(before, now, before.frame, now.frame)
    return next(rule.said(change) for rule in _RULES if rule.holds(change))


def _first(now: TraceRow) -> Explained:
    if now.frame is None:
        return Explained("At first the page is not in memory.")
    return Explained(
        f"At first: in a frame on node {now.frame.node}, with one reference for each PTE that maps it, and one for "
        "the cache and one for the buffers where it has them."
    )


def _gone(now: TraceRow) -> str:
    if now.slot is not None:
        return (
            "swap_page(): the frame is freed, and the page is on the swap device alone. It has not moved: it comes "
            "back when it is touched."
        )
    return "The page has left memory."


def _new_frame(now: TraceRow, frame: FrameState) -> Explained:
    if now.slot:
        return Explained(
            f"Read back at a touch into a new frame on node {frame.node}: where the policy in force now says, "
            "not where the mover wanted it. That was a read from the device."
        )
    return Explained(f"A touch gives the page a new frame, on node {frame.node}.")


class _Change:
    """Two successive rows in which the page has a frame. `gained`, `lost`: flags of the frame. `kinds`: the kind of PTE
    before and now."""

    def __init__(self, before: TraceRow, now: TraceRow, was: FrameState, frame: FrameState) -> None:
        self.before, self.now, self.was, self.frame = before, now, was, frame
        self.gained, self.lost = set(frame.flags) - set(was.flags), set(was.flags) - set(frame.flags)
        self.kinds = before.pte.partition(" ")[0], now.pte.partition(" ")[0]
        self.moved = frame.pfn != was.pfn

    def becomes(self, kind: str, *, of: tuple[str, ...] = ("present",)) -> bool:
        return self.kinds[0] in of and self.kinds[1] == kind


@dataclass(frozen=True, slots=True)
class _Rule:
    """A sentence and its condition. `text` may contain {node}, {slot}, {reference} and {freed}."""

    holds: Callable[[_Change], bool]
    text: str
    patch: int = 0

    def said(self, change: _Change) -> Explained:
        more_references = change.frame.refcount > change.was.refcount
        return Explained(
            self.text.format(
                node=change.frame.node,
                slot=change.now.slot[0] if change.now.slot else "?",
                reference="takes" if more_references else "gives back",
                freed=" The old frame is free again." if change.before.old and not change.now.old else "",
            ),
            self.patch,
        )


_RULES: tuple[_Rule, ...] = (
    _Rule(
        lambda c: c.moved and c.now.step == "switch",
        "The new frame takes the old one's place in the mapping: from now on whoever looks the page up finds the new "
        "frame, locked and still empty, and waits.",
        2,
    ),
    _Rule(lambda c: c.moved, "The address has another frame now, on node {node}."),
    _Rule(
        lambda c: "writeback" in c.gained,
        "Dirty, so it is written to its device first: nothing moves until that is done. A method of the mapping's own "
        "(patch 5) would make this needless.",
    ),
    _Rule(
        lambda c: c.becomes("present", of=("swap",)) and c.now.step == "remap",
        "remove_from_swap(): the swap PTEs become present PTEs that name the new frame, and the slot is free again.",
        3,
    ),
    _Rule(
        lambda c: c.becomes("present", of=("migration",)) and c.now.step == "remap",
        "The migration entries become present PTEs again, which name the new frame.",
    ),
    _Rule(
        lambda c: c.becomes("present", of=("swap", "migration")),
        "The fault makes the PTE present. The page is where it came back to: on node {node}.",
    ),
    _Rule(
        lambda c: c.becomes("swap"),
        "Unmapped: each PTE becomes a swap PTE that names the slot, which keeps what the page table knew. A fault now "
        "finds the page in the swap cache.",
        2,
    ),
    _Rule(
        lambda c: c.becomes("migration"),
        "Unmapped: each PTE becomes a migration entry that names the old frame. Linux 6 needs no swap slot.",
    ),
    _Rule(
        lambda c: c.kinds[0] == "present" != c.kinds[1] and c.now.step in ("dontneed", "exit"),
        "The process gives the page up.",
    ),
    _Rule(
        lambda c: c.kinds[0] == "present" != c.kinds[1],
        "Unmapped: PTEs of a file's page are emptied. The next touch finds it in the page cache again.",
        2,
    ),
    _Rule(
        lambda c: "buffer_lock" in c.gained,
        "buffer_migrate_page(): the page's buffers are handed over to the new frame, locked, without being written.",
        5,
    ),
    _Rule(
        lambda c: c.now.step == "copy",
        "Contents and flags are copied, dirty stays dirty. The old frame is in no cache any more: that is what "
        "somebody who waited for its lock sees.",
        2,
    ),
    _Rule(
        lambda c: "swapcache" in c.gained and c.kinds[1] == "present",
        "add_to_swap(): the page gets swap slot {slot}, as a name by which it can be found while it moves. Nothing is "
        "written.",
        2,
    ),
    _Rule(
        lambda c: c.now.step.endswith("reference taken"),
        "A fault has found the page in a cache and taken a reference; now it has to lock it.",
        1,
    ),
    _Rule(lambda c: "writeback" in c.lost, "The write is done: the page is clean now."),
    _Rule(lambda c: "locked" in c.gained, "Locked: nobody else changes the page now, and faults on it wait.", 2),
    _Rule(
        lambda c: "lru" in c.lost,
        "Isolated: taken off the LRU list, with a reference, so that reclaim leaves it alone.",
    ),
    _Rule(lambda c: "lru" in c.gained, "Back on the LRU list: the move is done.{freed}"),
    _Rule(lambda c: "buffer_lock" in c.lost, "The buffers are unlocked, at the new frame.", 5),
    _Rule(
        lambda c: "private" in c.lost,
        "Clean, so its buffers are let go: only the cache still refers to the page.",
        2,
    ),
    _Rule(
        lambda c: c.kinds[1] == "present" and c.before.pte != c.now.pte,
        "The process uses the page, at the same virtual address as ever.",
    ),
    _Rule(lambda c: bool(c.before.old) and not c.now.old, "The old frame is free again."),
    _Rule(lambda c: c.was.refcount != c.frame.refcount, "Somebody {reference} a reference."),
    _Rule(lambda c: True, "Something about the page has changed."),
)
"""The first rule that holds counts; the most specific ones come first."""
