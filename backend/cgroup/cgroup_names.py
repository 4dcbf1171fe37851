"""Labels from the names of cgroups: systemd units, containers, Kubernetes pods, virtual machines, logins.

The forms are those of systemd (systemd.unit(5), escapes of systemd-escape(1)), the kubelet (pkg/kubelet/cm), Docker,
containerd, CRI-O, Podman, LXC and libvirt. Any other name is shown unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backend.files.text import decode

Kind = Literal["root", "container", "pod", "pods", "vm", "user", "session", "unit", "group"]
SHORT_ID = 12
"""Digits of a container id that are shown: `docker ps` shows the same 12."""

_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
_ID = r"(?P<id>[0-9a-f]{32,64})"
_RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "nerdctl",
    "crio": "cri-o",
    "libpod": "podman",
    "buildkit": "buildkit",
    "garden": "garden",
}
_RUNTIME = "|".join(_RUNTIMES)
_CONTAINER = re.compile(rf"(?P<runtime>{_RUNTIME})-{_ID}(?:\.scope)?\Z")
_CONMON = re.compile(rf"(?P<runtime>{_RUNTIME})-conmon-{_ID}(?:\.scope)?\Z")
_THREE_PARTS = re.compile(rf".*:(?P<runtime>{_RUNTIME}):{_ID}\Z", re.DOTALL)
_BARE_ID = re.compile(_ID + r"\Z")
_PODMAN_POD = re.compile(rf"(?:machine-)?libpod_pod_{_ID}(?:\.slice)?\Z")
_POD_UID = r"pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
_POD = re.compile(rf"(?:kubepods?-)?(?:(?:burstable|besteffort)-)?{_POD_UID}(?:\.slice)?\Z")
_PODS = re.compile(r"kubepods(?:-(?P<qos>burstable|besteffort))?(?:\.slice)?\Z")
_NSPAWN = re.compile(r"systemd-nspawn@(?P<name>.+)\.service\Z", re.DOTALL)
_QEMU = re.compile(r"machine-(?P<driver>qemu|lxc|libvirt-lxc)-\d+-(?P<name>.+)\.scope\Z", re.DOTALL)
_MACHINE = re.compile(r"machine-(?P<name>.+)\.scope\Z", re.DOTALL)
_LXC = re.compile(r"lxc\.(?P<part>payload|monitor)\.(?P<name>.+)\Z", re.DOTALL)
_LXC_OLD = re.compile(r"lxc(?:\.payload|\.monitor)?\Z")
_USER_SLICE = re.compile(r"user-(?P<uid>\d{1,10})\.slice\Z")
_USER_MANAGER = re.compile(r"user@(?P<uid>\d{1,10})\.service\Z")
_SESSION = re.compile(r"session-(?P<number>[0-9a-z]{1,20})\.scope\Z")
_UNIT = re.compile(r".+\.(?:service|slice|scope|socket|mount|swap)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Label:
    """A readable name. `text` is untrusted: pass it through `printable` to show it. `id`: the full id of a container or
    pod, else empty."""

    kind: Kind
    text: str
    id: str = ""


def unescape_unit(name: str) -> str:
    """Undo systemd's escapes: `\\x2d` is a dash. Bytes that are not UTF-8 become surrogate escapes."""
    if "\\x" not in name:
        return name
    raw = name.encode("utf-8", "surrogateescape")
    return decode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), raw))


def label(path: str, username: Callable[[int], str] = str) -> Label:
    """The label of a cgroup, from the last parts of its path from the root. `username`: user id → name. Never
    raises."""
    above, _, own = path.rstrip("/").rpartition("/")
    if not own:
        return Label("root", "/")
    return _container(own, above.rpartition("/")[2]) or _systemd(unescape_unit(own), username)


def _container(own: str, parent: str) -> Label | None:
    if match := _CONTAINER.match(own) or _THREE_PARTS.match(own):
        return Label("container", f"{_RUNTIMES[match['runtime']]} {match['id'][:SHORT_ID]}", match["id"])
    if match := _CONMON.match(own):
        return Label("unit", f"{_RUNTIMES[match['runtime']]} monitor {match['id'][:SHORT_ID]}", match["id"])
    if match := _PODMAN_POD.match(own):
        return Label("pod", f"podman pod {match['id'][:SHORT_ID]}", match["id"])
    if match := _POD.match(own):
        uid = match["uid"].replace("_", "-")
        return Label("pod", f"pod {uid}", uid)
    if match := _PODS.match(own):
        return Label("pods", "Kubernetes pods" + (f", {match['qos']}" if match["qos"] else ""))
    if match := _BARE_ID.match(own):
        runtime = _RUNTIMES.get(parent.removesuffix(".slice").removesuffix("_parent"), "container")
        return Label("container", f"{runtime} {own[:SHORT_ID]}", own)
    if match := _LXC.match(own):
        monitor = "monitor " if match["part"] == "monitor" else ""
        return Label("unit" if monitor else "container", f"lxc {monitor}{match['name']}")
    if _LXC_OLD.match(parent):
        return Label("container", f"lxc {own}")
    return None


def _systemd(own: str, username: Callable[[int], str]) -> Label:
    if match := _NSPAWN.match(own):
        return Label("container", f"nspawn {match['name']}")
    if match := _QEMU.match(own):
        return Label("vm" if match["driver"] == "qemu" else "container", f"{match['driver']} {match['name']}")
    if match := _MACHINE.match(own):
        return Label("container", f"machine {match['name']}")
    if match := _USER_SLICE.match(own):
        return Label("user", f"user {username(int(match['uid']))}")
    if match := _USER_MANAGER.match(own):
        return Label("user", f"systemd of user {username(int(match['uid']))}")
    if match := _SESSION.match(own):
        return Label("session", f"session {match['number']}")
    return Label("unit" if _UNIT.match(own) else "group", own)
