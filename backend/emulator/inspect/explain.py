"""What a step did to the page that is followed, in a sentence, and to which patch of Direct Migration V8 it belongs."""

from __future__ import annotations

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
    """`patch`: 0 where a step belongs to none of the five."""

    text: str
    patch: int = 0


def explain(before: TraceRow | None, now: TraceRow) -> Explained:
    """`before`: the row ahead of this one, None for the first."""
    told = _explain(before, now)
    if now.waiting and (before is None or now.waiting != before.waiting):
        who = ", ".join(one.partition(":")[0] for one in now.waiting)
        return Explained(
            f"{told.text} Meanwhile {who} waits for the page's lock: when it gets it, it has to look again whether "
            "this still "
            "is the page it wanted (patch 1).",
            told.patch or 1,
        )
    return told


def _explain(before: TraceRow | None, now: TraceRow) -> Explained:
    if before is None:
        return _first(now)
    if now.frame is None:
        if before.frame is not None:
            return Explained(_gone(now))
        return Explained("The page is not in memory.")
    if before.frame is None:
        return Explained(
            f"Read back at a touch into a new frame on node {now.frame.node}: where the policy in force now says, "
            "not where the "
            "mover wanted it. That was a read from the device."
            if now.slot
            else f"A touch gives the page a new frame, on node {now.frame.node}."
        )
    if now.frame.pfn != before.frame.pfn:
        if now.step == "switch":
            return Explained(
                "The new frame takes the old one's place in the mapping: from now on whoever looks the page up "
                "finds the new "
                "frame, locked and still empty, and waits.",
                2,
            )
        return Explained(f"The address has another frame now, on node {now.frame.node}.")
    return _same_frame(before, now, before.frame, now.frame)


def _same_frame(before: TraceRow, now: TraceRow, was: FrameState, is_now: FrameState) -> Explained:
    gained, lost = set(is_now.flags) - set(was.flags), set(was.flags) - set(is_now.flags)
    kinds = before.pte.partition(" ")[0], now.pte.partition(" ")[0]
    if "writeback" in gained:
        return Explained(
            "Dirty, so it is written to its device first: nothing moves until that is done. A method of the "
            "mapping's own "
            "(patch 5) would make this needless."
        )
    if kinds[1] == "present" and kinds[0] in ("swap", "migration"):
        return _remapped(now, kinds[0])
    if kinds[0] == "present" and kinds[1] != "present":
        return _unmapped(now, kinds[1])
    if "buffer_lock" in gained:
        return Explained(
            "buffer_migrate_page(): the page's buffers are handed over to the new frame, locked, without being "
            "written.",
            5,
        )
    if now.step == "copy":
        return Explained(
            "Contents and flags are copied, dirty stays dirty. The old frame is in no cache any more: that is what "
            "somebody "
            "who waited for its lock sees.",
            2,
        )
    if "swapcache" in gained and kinds[1] == "present":
        return Explained(
            f"add_to_swap(): the page gets swap slot {now.slot[0] if now.slot else '?'}, as a name by which it can "
            "be found while "
            "it moves. Nothing is written.",
            2,
        )
    if now.step.endswith("reference taken"):
        return Explained("A fault has found the page in a cache and taken a reference; now it has to lock it.", 1)
    if "writeback" in lost:
        return Explained("The write is done: the page is clean now.")
    if "locked" in gained:
        return Explained("Locked: nobody else changes the page now, and faults on it wait.", 2)
    if "lru" in lost:
        return Explained("Isolated: taken off the LRU list, with a reference, so that reclaim leaves it alone.")
    if "lru" in gained:
        return Explained(
            "Back on the LRU list: the move is done."
            + (" The old frame is free again." if before.old and not now.old else "")
        )
    if "buffer_lock" in lost:
        return Explained("The buffers are unlocked, at the new frame.", 5)
    if "private" in lost:
        return Explained("Clean, so its buffers are let go: only the cache still refers to the page.", 2)
    if kinds == ("present", "none"):
        return Explained("The process gives the page up.")
    if kinds[1] == "present" and before.pte != now.pte:
        return Explained("The process uses the page, at the same virtual address as ever.")
    if before.old and not now.old:
        return Explained("The old frame is free again.")
    if was.refcount != is_now.refcount:
        verb = "takes" if is_now.refcount > was.refcount else "gives back"
        return Explained(f"Somebody {verb} a reference.")
    return Explained("Something about the page has changed.")


def _first(now: TraceRow) -> Explained:
    if now.frame is None:
        return Explained("At first the page is not in memory.")
    return Explained(
        f"At first: in a frame on node {now.frame.node}, with one reference for each PTE that maps it, and one for "
        "the cache and "
        "one for the buffers where it has them."
    )


def _gone(now: TraceRow) -> str:
    if now.slot is not None:
        return (
            "swap_page(): the frame is freed, and the page is on the swap device alone. It has not moved: it comes "
            "back when it "
            "is touched."
        )
    return "The page has left memory."


def _unmapped(now: TraceRow, kind: str) -> Explained:
    if kind == "swap":
        return Explained(
            "Unmapped: each PTE becomes a swap PTE that names the slot, which keeps what the page table knew. A "
            "fault now finds "
            "the page in the swap cache.",
            2,
        )
    if kind == "migration":
        return Explained(
            "Unmapped: each PTE becomes a migration entry that names the old frame. Linux 6 needs no swap slot."
        )
    if now.step in ("dontneed", "exit"):
        return Explained("The process gives the page up.")
    return Explained("Unmapped: PTEs of a file's page are emptied. The next touch finds it in the page cache again.", 2)


def _remapped(now: TraceRow, kind: str) -> Explained:
    if now.step == "remap" and kind == "swap":
        return Explained(
            "remove_from_swap(): the swap PTEs become present PTEs that name the new frame, and the slot is free "
            "again.",
            3,
        )
    if now.step == "remap":
        return Explained("The migration entries become present PTEs again, which name the new frame.")
    return Explained(
        "The fault makes the PTE present. The page is where it came back to: on node "
        f"{now.frame.node if now.frame else '?'}."
    )
