"""What the doctor says on a real kernel with four nodes: to root, to a user, with what is switched on."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

from backend.machine import kernel_versions
from tests.guest.inside import kernel_facts, rig
from tests.guest.inside.rig import numatui


def said(uid: int = 0, before: Callable[[], None] = lambda: None) -> dict[str, list[str]]:
    """Check → its states and texts."""
    done = numatui("doctor", "--json", uid=uid, before=before)
    assert done.code == 0, done
    out: dict[str, list[str]] = {}
    for check in done.json["checks"]:
        out.setdefault(check["name"], []).append(f"{check['state']}: {check['text']}")
    return out


def test_root_lacks_nothing() -> None:
    found = said()
    assert found["nodes"] == ["ok: 4 nodes with memory: 0-3"]
    for name in (
        "permission",
        "move_pages",
        "migrate_pages",
        "move_all",
        "pidfd",
        "capabilities",
        "frames",
        "kpageflags",
        "seccomp",
        "processes",
        "journal",
        "balancing",
    ):
        assert [text.split(":")[0] for text in found[name]] == ["ok"], found[name]
    assert ("Linux 6.7" in found["pagemap_scan"][0]) == (kernel_facts.pagemap_scan() == "no")
    assert ("before 6.7" in found["stall"][0]) == kernel_versions.holds_lock(platform.release())
    for name in ("weights", "reclaim", "damon", "idle"):
        assert len(found[name]) == 1
    assert "run numatui bench" not in found["bench"][0]
    assert "namespace" not in found
    assert found["swap"] == ["ok: none: all pages are in memory, where they can be moved"]


def test_a_user_learns_what_is_lacking() -> None:
    found = said(uid=rig.USER)
    assert found["permission"][0].startswith("note: uid")
    assert len(found["capabilities"]) == 3
    assert found["frames"][0].startswith("note")
    assert found["kpageflags"][0].startswith("note")
    assert found["move_all"][0].startswith("note")
    assert found["journal"][0].startswith("ok")


def test_balancing_and_hidden_processes_are_told() -> None:
    with rig.setting("/proc/sys/kernel/numa_balancing", 1):
        assert found_state(said(), "balancing") == "note"
    subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    try:
        assert "those of other users (hidepid=" in said(uid=rig.USER)["processes"][0]
        assert found_state(root := said(), "processes") == "ok"
        assert "hidepid=" in root["processes"][0]
        subprocess.run(["mount", "-o", "remount,hidepid=1", "/proc"], check=True)
        assert "what those of other users do" in said(uid=rig.USER)["processes"][0]
    finally:
        subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)


def test_root_without_the_capability_learns_that_frames_are_hidden_though_their_flags_are_not() -> None:
    found = said(before=drop_sys_admin)
    assert found["capabilities"][0].startswith("note: no CAP_SYS_ADMIN")
    assert found["frames"][0].startswith("note: pagemap hides frame numbers")
    assert found["kpageflags"][0].startswith("ok")


def test_root_of_a_user_namespace_is_told_that_it_is_none() -> None:
    found = said(uid=rig.USER, before=enter_user_namespace)
    assert found["namespace"][0].startswith("note: this is a user namespace")
    assert "within a user namespace" in found["capabilities"][0]
    assert found["frames"][0].startswith("note")
    assert found["permission"][0].startswith("note")


def test_pools_and_huge_pages_are_told() -> None:
    assert "hugetlb" not in said()
    pool = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
    with rig.setting(pool, 2), rig.setting("/proc/sys/vm/zone_reclaim_mode", 1):
        found = said()
    (text,) = found["hugetlb"]
    assert "of 2 MiB, free: node 1: 2 of 2; on node 0,2-3 none is free" in text
    assert found_state(found, "zone_reclaim") == "note"


def drop_sys_admin() -> None:
    """Root, but without CAP_SYS_ADMIN (capset(2), version 3)."""
    data = (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0, os.strerror(ctypes.get_errno())
    data[0] &= ~(1 << 21)
    assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())


def enter_user_namespace() -> None:
    """Root of a new one, into which only this user is mapped (user_namespaces(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {rig.USER} 1")
    Path("/proc/self/gid_map").write_text(f"0 {rig.USER} 1")


def found_state(found: dict[str, list[str]], name: str) -> str:
    (text,) = found[name]
    return text.split(":")[0]
