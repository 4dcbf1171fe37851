"""What the names of cgroups say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cgroup.cgroup_names import label, unescape_unit

ID = "0123456789abcdef" * 4
UID = "1234abcd-12ab-34cd-56ef-1234567890ab"
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("/", "root", "/"),
        ("/system.slice/postgresql@15-main.service", "unit", "postgresql@15-main.service"),
        (r"/system.slice/my\x2dapp.service", "unit", "my-app.service"),
        (r"/system.slice/caf\xc3\xa9.service", "unit", "café.service"),
        (r"/a\xZZ.service", "unit", r"a\xZZ.service"),
        ("/init.scope", "unit", "init.scope"),
        ("/batch", "group", "batch"),
        (f"/system.slice/docker-{ID}.scope", "container", "docker 0123456789ab"),
        (f"/docker/{ID}", "container", "docker 0123456789ab"),
        (f"/machine.slice/libpod-{ID}.scope", "container", "podman 0123456789ab"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", "unit", "podman monitor 0123456789ab"),
        (f"/libpod_parent/{ID}", "container", "podman 0123456789ab"),
        (f"/machine.slice/machine-libpod_pod_{ID}.slice", "pod", "podman pod 0123456789ab"),
        ("/kubepods.slice", "pods", "Kubernetes pods"),
        ("/kubepods.slice/kubepods-besteffort.slice", "pods", "Kubernetes pods, besteffort"),
        (SLICE, "pod", f"pod {UID}"),
        (f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice", "pod", f"pod {UID}"),
        (f"/kubepods/burstable/pod{UID}", "pod", f"pod {UID}"),
        (f"{SLICE}/cri-containerd-{ID}.scope", "container", "containerd 0123456789ab"),
        (f"{SLICE}/crio-{ID}.scope", "container", "cri-o 0123456789ab"),
        (f"/kubepods/burstable/pod{UID}/{ID}", "container", "container 0123456789ab"),
        (f"/system.slice/kubepods-pod{UID}.slice:cri-containerd:{ID}", "container", "containerd 0123456789ab"),
        ("/docker-not-an-id.scope", "unit", "docker-not-an-id.scope"),
        ("/machine.slice/systemd-nspawn@web.service", "container", "nspawn web"),
        (r"/machine.slice/machine-qemu\x2d1\x2ddebian\x2d12.scope", "vm", "qemu debian-12"),
        ("/machine.slice/machine-web.scope", "container", "machine web"),
        ("/lxc.payload.web", "container", "lxc web"),
        ("/lxc.monitor.web", "unit", "lxc monitor web"),
        ("/lxc/web", "container", "lxc web"),
        ("/user.slice/user-1000.slice", "user", "user u1000"),
        ("/user.slice/user-1000.slice/user@1000.service", "user", "systemd of user u1000"),
        ("/user.slice/user-1000.slice/session-c2.scope", "session", "session c2"),
    ],
)  # fmt: skip
def test_names(path: str, kind: str, text: str) -> None:
    found = label(path, lambda uid: f"u{uid}")
    assert (found.kind, found.text) == (kind, text)


@pytest.mark.parametrize("path", [f"/docker/{ID}", f"/a/crio-{ID}.scope", f"/machine.slice/libpod-{ID}.scope"])
def test_containers_keep_their_whole_id(path: str) -> None:
    assert label(path).id == ID


def test_pods_have_the_id_that_kubernetes_prints() -> None:
    assert label(SLICE).id == UID


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)))
def test_any_name_has_a_label(name: str) -> None:
    """Also with bytes that are no UTF-8, newlines, escapes."""
    assert isinstance(label("/a/" + name).text, str)
    assert "\\x2d" not in unescape_unit("a\\x2db" + name.replace("\\", ""))
