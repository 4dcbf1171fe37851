"""What the guest's kernel has to be given first: swap, a filesystem on a device, cpusets."""

from __future__ import annotations

import ctypes
import errno
import lzma
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.guest.inside.rig import MiB

SYS_INIT_MODULE = 175
CGROUPS = Path("/sys/fs/cgroup")


def load(name: str) -> None:
    """A module of the guest's kernel, after those that it needs. What is built in has no file."""
    names = {name, name.replace("_", "-")}
    file = next((one for one in _module_files() if one.name.partition(".")[0] in names), None)
    if file is None:
        return
    code = file.read_bytes()
    if file.suffix == ".xz":
        code = lzma.decompress(code)
    needed = re.search(rb"\0depends=([^\0]*)\0", code)
    for one in needed[1].decode().split(",") if needed and needed[1] else ():
        load(one)
    failed = ctypes.CDLL(None, use_errno=True).syscall(SYS_INIT_MODULE, code, ctypes.c_ulong(len(code)), b"")
    if failed and ctypes.get_errno() != errno.EEXIST:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


@cache
def _module_files() -> tuple[Path, ...]:
    return tuple(Path(os.environ["NUMATUI_GUEST_MODULES"]).rglob("*.ko*"))


@contextmanager
def swap_on(size: int) -> Iterator[None]:
    """Swap space for a while: compressed memory."""
    load("zram")
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
    for module in ("crc32c_generic", "ext4", "loop"):  # ext4 asks for crc32c by its name only
        load(module)
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
