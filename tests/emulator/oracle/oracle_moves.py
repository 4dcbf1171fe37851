"""Drivers of the measured rows of move_pages and migrate_pages, with swap and NUMA balancing."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from backend.emulator.mm.huge_pages import fill_pool
from backend.emulator.mm.ksm import merge
from backend.emulator.mm.mlock import mlock
from backend.emulator.mm.mm import VM, Vma
from backend.emulator.mm.mmap import mmap
from backend.emulator.scenario.layout import populate
from backend.emulator.storage.reclaim import Reclaimer
from backend.emulator.tasks.life import spawn
from backend.kernel import Mode
from tests.emulator.machines import write_equal
from tests.emulator.oracle.oracle_rig import Row, drives, me_with, nodes_in
from tests.emulator.rig import PAGE, Me, answer


@drives("query present on node 0")
def query(row: Row) -> Row:
    me = me_with({0: 8})
    return {"res": me.move(me.addresses(me.vma), None)}


@drives(r"move to 2 again \(already there\)")
def already_there(row: Row) -> Row:
    me = me_with({2: 8})
    return {"res": me.move(me.addresses(me.vma), 2)}


@drives(r"flags=(0|MOVE\|MOVE_ALL)")
def move_flags(row: Row, flags: str) -> Row:
    me = me_with({2: 8})
    return {"res": me.move(me.addresses(me.vma), 0, 0 if flags == "0" else 6), "where": me.where(me.vma)}


@drives("nr=0")
def nothing(row: Row) -> Row:
    return {"res": me_with({0: 8}).move([], [])}


@drives(r"target node (?:not present \((\d+)\)|(-?\d+))")
def bad_target(row: Row, absent: str | None, number: str | None) -> Row:
    me = me_with({0: 8})
    return {"res": me.move(me.addresses(me.vma), int(absent or number or 0))}


@drives(r"third target bad \((\d+)\)")
def third_target_bad(row: Row, node: str) -> Row:
    me = me_with({0: 8})
    return {"res": me.move(me.addresses(me.vma), [1, 1, int(node), 1, 1, 1, 1, 1]), "where": me.where(me.vma)}


@drives("unaligned address")
def unaligned(row: Row) -> Row:
    me = me_with({0: 8})
    return {"res": me.move([address + 123 for address in me.addresses(me.vma)], 3), "where": me.where(me.vma)}


@drives("(never touched|read-only zero page): (query|move)")
def not_there(row: Row, what: str, call: str) -> Row:
    me = me_with(size=4)
    if what != "never touched":
        me.touch(me.vma, write=False)
    return {"res": me.move(me.addresses(me.vma), None if call == "query" else 1)}


@drives("(unmapped|kernel) address: (query|move)")
def outside(row: Row, what: str, call: str) -> Row:
    address = 0x1000 if what == "unmapped" else 0xFFFF_FFFF_8100_0000
    return {"res": me_with({0: 1}).move([address], None if call == "query" else 1)}


@drives(r"mapped twice \(fork\): numa_maps")
def mapped_twice(row: Row) -> Row:
    me = me_with({1: 8, 3: 8})
    me.fork()
    return {"line": me.line(me.vma)}


@drives("mapped twice: child pid migrate 2->3 as root")
def migrate_child(row: Row) -> Row:
    me = me_with({2: 8})
    child = me.fork()
    result = me.migrate([2], [3], pid=child.task.pid)
    return {"res": result, "where": me.counted(me.vma), "child": child.counted(child.vma)}


@drives("move_pages: no such pid")
def move_nobody(row: Row) -> Row:
    me = me_with({0: 8})
    return {"res": me.move(me.addresses(me.vma), 1, pid=4711)}


@drives(r"4 pages held by a pipe \(vmsplice\): MOVE")
def held(row: Row) -> Row:
    me = me_with({0: 4})
    for pfn in me.vma.pfns(np.arange(4)).tolist():
        me.m.locks.get_page(pfn)
    return {"res": me.move(me.addresses(me.vma), 1), "where": me.where(me.vma)}


@drives("migrate_pages: (no such pid|pid -1|kernel thread 2)")
def whom(row: Row, whom: str) -> Row:
    me = me_with({0: 1})
    thread = spawn(me.m, "kthreadd", cpu=0, kernel_thread=True)
    pid = {"no such pid": 4711, "pid -1": -1, "kernel thread 2": thread.pid}[whom]
    return {"res": me.migrate([0], [1], pid=pid)}


@drives(r"migrate_pages: (empty new|empty old|new absent node 7|new \{1,7\}|old absent node 7)")
def sets(row: Row, which: str) -> Row:
    nodes = nodes_in(which)
    old, new = (nodes, [1]) if "old" in which else ([0], nodes)
    return {"res": me_with({0: 1}).migrate(old, new)}


@drives(r"migrate_pages 0->0 maxnode=(\d{1,2}|32770)")
def maxnode(row: Row, maxnode: str) -> Row:
    return {"res": me_with({0: 1}).migrate([0], [0], maxnode=int(maxnode))}


@drives("migrate_pages: NULL old")
def no_old_mask(row: Row) -> Row:
    me = me_with({0: 1})
    return {"res": answer(lambda: me.kernel.migrate_pages(me.task.pid, 65, b"", b"\1" + bytes(7)))}


@drives(r"migrate_pages: bit 1023 set, maxnode 1024\+1")
def highest_bit(row: Row) -> Row:
    return {"res": me_with({0: 1}).migrate([0, 1023], [0, 1023], maxnode=1025)}


@drives("mlocked: migrate_pages 0->1")
def locked(row: Row) -> Row:
    me = me_with({0: 8})
    me.m.run(mlock(me.m, me.task, me.vma.start, 8))
    result = me.migrate([0], [1])
    return {"res": result, "where": me.counted(me.vma), "line": me.line(me.vma)}


@drives("migrate 256 MiB 0->3 with less free there")
def no_room(row: Row) -> Row:
    """Room for as many pages as there was, above the reserve at which the kernel stops."""
    me = me_with({0: 65_536}, pages=70_000)
    zone = me.m.frames.zones[3]
    other = Me(m=me.m)
    other.region({3: zone.free - zone.wmark_min - row["where"]["3"]})
    before = dict(me.m.counters)
    result = me.migrate([0], [3])
    changes = {key: me.m.counters[key] - before.get(key, 0) for key in row["d"]}
    where = {str(node): int(count) for node, count in enumerate(me.vma.nr_node) if count}
    return {"ret": result, "where": where, "d": changes}


@drives("unprivileged uid 1000")
def unprivileged(row: Row) -> Row:
    me = Me(privileged=False)
    mine = me.region({0: 4})
    other = Me(m=me.m)
    other.task.uid = 1001
    root = Me(m=me.m)
    foreign = other.addresses(other.region({0: 4}))
    got: Row = {
        "migrate other uid 0->1": me.migrate([0], [1], pid=other.task.pid),
        "move query other uid": me.move(foreign, None, pid=other.task.pid)[0],
        "move other uid": me.move(foreign, 1, pid=other.task.pid)[0],
        "migrate root proc": me.migrate([0], [1], pid=root.task.pid),
        "migrate self 0->1": me.migrate([0], [1]),
        "self where": me.where(mine),
        "self MOVE_ALL": me.move(me.addresses(mine), 2, 4)[0],
        "self mbind MOVE_ALL": me.mbind(mine, Mode.BIND, [2], 4),
        "self MOVE": me.move(me.addresses(mine), 2),
        "read own numa_maps": bool(me.kernel.read(f"/proc/{me.task.pid}/numa_maps")),
        "read other numa_maps": answer(lambda: me.kernel.read(f"/proc/{other.task.pid}/numa_maps")).lstrip("-"),
    }
    parent = me_with({0: 8})
    child = parent.fork(privileged=False)
    got["shared with parent MOVE"] = child.move(child.addresses(child.vma), 1)
    got["migrate self 0->3, page shared with parent"] = [child.migrate([0], [3]), child.counted(child.vma)]
    return got


@drives("numa_balancing on: query of resident pages")
def balancing(row: Row) -> Row:
    me = me_with({0: 2048}, pages=4096)
    me.m.balancing.mode = 1
    for _ in range(2):
        me.m.run(me.m.balancing.tick(me.task, me.task.leader))
        me.m.advance(2.0)
    before = {"where": me.counted(me.vma), "line": me.line(me.vma)}
    result, statuses = me.move(me.addresses(me.vma), 2)
    return {
        **before, "move": [result, dict(Counter(statuses))], "after": me.counted(me.vma), "line_after": me.line(me.vma),
    }  # fmt: skip


def with_64_in_swap(layout: dict[int, int], cpu: int = 0) -> tuple[Me, list[int]]:
    """A mapping with the pages of `layout`, and behind them 64 of node 0 that went out to swap: their addresses."""
    me = Me(cpu=0, pages=4096, swap_pages=65_535)
    before = sum(layout.values())
    vma = me.region(layout, pages=before + 64)
    me.touch(vma, first=before)
    me.m.pagevecs.lru_add_drain(me.task.leader.cpu)
    me.m.run(Reclaimer.of(me.m)._page_out(vma.pfns(np.arange(before, before + 64))))
    me.task.leader.cpu = cpu
    return me, me.addresses(vma)[before:]


def swap_lines(me: Me) -> dict[str, str]:
    text = me.kernel.read("/proc/meminfo").decode()
    return dict(re.findall(r"^(Swap\w+):\s+(\d+) kB", text, re.MULTILINE))


def counted(me: Me, addresses: list[int]) -> dict[str, int]:
    return {str(word): count for word, count in Counter(me.move(addresses, None)[1]).items()}


@drives("MADV_PAGEOUT")
def page_out(row: Row) -> Row:
    me, out = with_64_in_swap({0: 2112})
    free = {**swap_lines(me), "SwapFree": swap_lines(me)["SwapTotal"]}
    return {"ret": 0, "where": counted(me, out), "line": me.line(me.vma), "swap": [free, swap_lines(me)]}


@drives("migrate_pages 0->2 with pages in swap")
def migrate_with_swap(row: Row) -> Row:
    me, out = with_64_in_swap({0: 2112})
    return {"res": me.migrate([0], [2]), "where": counted(me, out), "line": me.line(me.vma)}


@drives(r"touched again \(task on node \{0, 1, 2, 3\}, default policy\)")
def touched_again(row: Row) -> Row:
    me, out = with_64_in_swap({2: 2112}, cpu=4)
    me.touch(me.vma, write=False, first=2112)
    return {"where": counted(me, out), "line": me.line(me.vma)}


@drives("swap migration by hand: paged out from node 0, refaulted on cpu of node 3, default policy")
def swap_migration(row: Row) -> Row:
    me, out = with_64_in_swap({}, cpu=6)
    me.touch(me.vma, write=False)
    return {"where": counted(me, out), "line": me.line(me.vma)}


def _huge(me: Me, flag: VM, count: int) -> Vma:
    """So many huge pages on node 0, all of them written to."""
    vma = mmap(me.m, me.task, count * me.m.frames.huge, flags=VM.WRITE | flag)
    populate(me.m, vma, np.arange(vma.pages, dtype=np.int64), 0)
    return vma


def _with_huge_pages(flag: VM) -> tuple[Me, Vma]:
    me = Me(cpu=2, pages=8192)
    for node in me.m.nodes:
        fill_pool(me.m, node, 4)
    return me, _huge(me, flag, 2)


def _counted(me: Me, names: list[str]) -> dict[str, int]:
    return {name: me.m.counters.get(name, 0) for name in names}


@drives(r"THP: (move head only|move one tail page of 2nd|migrate_pages 1,2->3)")
def transparent(row: Row, what: str) -> Row:
    me, vma = _with_huge_pages(VM.HUGEPAGE)
    me.move([vma.start], 1)
    if what == "move head only":
        return {
            "res": [0, [1]], "where": me.counted(vma), "d": _counted(me, list(row["d"])),
            "line": [_before(me)],
        }  # fmt: skip
    before = _counted(me, list(row["d"]))
    result = me.move([vma.start + (me.m.frames.huge + 7) * PAGE], 2)
    if what == "migrate_pages 1,2->3":
        before = _counted(me, list(row["d"]))
        result = me.migrate([1, 2], [3])
    after = _counted(me, list(row["d"]))
    return {
        "res": result,
        "where": me.counted(vma),
        "d": {name: after[name] - before[name] for name in after},
    }


def _before(me: Me) -> str:
    """The line as it was before anything moved."""
    fresh, vma = _with_huge_pages(VM.HUGEPAGE)
    return fresh.line(vma)


@drives(r"hugetlb: (MOVE both to 1|migrate_pages 1->2|free per node)")
def hugetlb(row: Row, what: str) -> Row:
    me, vma = _with_huge_pages(VM.HUGETLB)
    size = me.m.frames.huge
    heads = [vma.start, vma.start + size * PAGE]
    before = me.m.counters.get("pgmigrate_success", 0)
    result = me.move(heads, 1)
    if what != "MOVE both to 1":
        before = me.m.counters["pgmigrate_success"]
        result = me.migrate([1], [2])
    if what == "free per node":
        return {"free": [str(len(zone.hugetlb_free)) for zone in me.m.frames.zones.values()]}
    probe = heads if what != "MOVE both to 1" else [*heads, heads[0] + PAGE]
    where = me.move(probe, None)
    return {
        "res": result,
        "where": where,
        "d": {"pgmigrate_success": me.m.counters["pgmigrate_success"] - before},
    }


@drives("KSM merged 64 equal pages: MOVE")
def merged_pages(row: Row) -> Row:
    me = me_with({0: 64})
    vma = me.vma
    index = np.arange(64, dtype=np.int64)
    write_equal(me.m, vma, index, 42)
    me.m.run(merge(me.m, me.task, vma.start, index))
    line = me.line(vma)
    result, statuses = me.move(me.addresses(vma), 1)
    counts = {str(word): count for word, count in Counter(statuses).items()}
    return {"line": line, "res": [result, counts], "where": me.counted(vma)}
