"""What the guest's kernel has to be given first: swap, a filesystem on a device, cpusets."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.guest.inside.rig import MiB

SYS_FINIT_MODULE = 313
CGROUPS = Path("/sys/fs/cgroup")


def load(*modules: str) -> None:
    """Modules of the guest's kernel, by their files, in the order in which they need one another."""
    libc = ctypes.CDLL(None, use_errno=True)
    for module in modules:
        with open(f"{os.environ['NUMATUI_GUEST_MODULES']}/kernel/{module}.ko", "rb") as file:
            if libc.syscall(SYS_FINIT_MODULE, file.fileno(), b"", 0) and ctypes.get_errno() != errno.EEXIST:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), module)


@contextmanager
def swap_on(size: int) -> Iterator[None]:
    """Swap space for a while: compressed memory."""
    load("mm/zsmalloc", "drivers/block/zram/zram")
    Path("/sys/block/zram0/disksize").write_text(str(size))
    subprocess.run(["mkswap", "/dev/zram0"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["swapon", "/dev/zram0"], check=True)
    try:
        yield
    finally:
        subprocess.run(["swapoff", "/dev/zram0"], check=True)
        Path("/sys/block/zram0/reset").write_text("1")


@cache
def ext4() -> Path:
    """The folder of an ext4 filesystem, made when it is asked for first."""
    load(
        "lib/crc16",
        "crypto/crc32c_generic",
        "fs/mbcache",
        "fs/jbd2/jbd2",
        "fs/ext4/ext4",
        "drivers/block/loop",
    )
    image, folder = Path("/run/ext4.img"), Path("/run/ext4")
    image.write_bytes(b"")
    os.truncate(image, 32 * MiB)
    folder.mkdir()
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", lazy, image], check=True)
    subprocess.run(["mount", "-t", "ext4", "-o", "loop,noatime", image, folder], check=True)
    return folder


def make_cpuset(name: str, mems: str) -> Path:
    """A cgroup with these nodes; `rmdir` when nobody is in it any more."""
    (CGROUPS / "cgroup.subtree_control").write_text("+cpuset")
    folder = CGROUPS / name
    folder.mkdir()
    (folder / "cpuset.mems").write_text(mems)
    return folder


def kernel_log() -> str:
    """What the guest's kernel has said."""
    return subprocess.run(["dmesg"], check=True, capture_output=True, text=True).stdout
