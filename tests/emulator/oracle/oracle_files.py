"""Drivers of the measured rows of pages that belong to files and shared memory."""

from __future__ import annotations

from collections import Counter

import numpy as np

from backend.emulator.mm.fault import touch
from tests.emulator import files
from tests.emulator.oracle.oracle_rig import Row, drives
from tests.emulator.rig import Me


@drives("ext4 dirty mapped file pages: MOVE")
def dirty_file(row: Row) -> Row:
    me = Me()
    space = files.file(me.m, "ext4", pages=32, on={3: 32}, dirty=True, path="/tmp/e4/f")
    vma = files.mapped(me.m, me.task, space)
    me.touch(vma, write=True)
    got: Row = {"before": me.counted(vma), "line0": me.line(vma)}
    before, written = row["dirtied_written"][0], me.m.counters.get("nr_written", 0)
    result, statuses = me.move(me.addresses(vma), 0)
    unchanged = me.m.counters.get("nr_written", 0) == written
    return {
        **got, "res": [result, {str(word): count for word, count in Counter(statuses).items()}],
        "where": me.counted(vma), "line": me.line(vma), "dirtied_written": [before, before if unchanged else None],
    }  # fmt: skip


@drives("shmem mapped by 2: (MOVE|MOVE_ALL)")
def shared_memory(row: Row, flag: str) -> Row:
    me = Me()
    vma = files.mapped(me.m, me.task, files.shared_memory(me.m, 8))
    me.touch(vma)
    child = me.fork()
    index = np.arange(8, dtype=np.int64)
    me.m.run(touch(me.m, child.task, child.task.leader, child.vma.start, index, write=True))
    result = me.move(me.addresses(vma), 1, 2 if flag == "MOVE" else 4)
    got: Row = {"res": result, "where": me.where(vma)}
    return {**got, "line": me.line(vma)} if "line" in row else got
