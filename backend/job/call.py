"""Whether a plan can be carried out here by the call that it names."""

from __future__ import annotations

from backend.errors import NotPermitted, NotSupported, Refused
from backend.kernel import Kernel
from backend.plan.plan import Plan


def check_call(kernel: Kernel, plan: Plan) -> None:
    """Raises NotSupported, NotPermitted if what the plan calls is not available; Refused if it would move more than
    was asked for."""
    can = kernel.capabilities()
    if not kernel.traits.writable:
        raise NotSupported("a recording cannot be changed", "numatui plan says what would move")
    if not can[plan.calls].available:
        raise NotSupported(f"{plan.calls} is not available here: {can[plan.calls].why}", "numatui doctor lists what is")
    _, privileged = kernel.credentials()
    if plan.move_all and plan.calls == "move_pages" and not can["move_all"].available:
        raise NotPermitted(f"--all is not available here: {can['move_all'].why}", "leave it out")
    if plan.move_all and plan.calls == "migrate_pages" and not privileged:
        raise NotPermitted("--all is not available here: it needs CAP_SYS_NICE", "leave it out")
    shared = sum(one.shared for one in plan.asked)
    if plan.calls == "migrate_pages" and privileged and shared and not plan.move_all:
        raise Refused(
            f"migrate_pages would also move up to {max(1, shared >> 20)} MiB that other processes map, for everybody",
            "add --all, or use the method move_pages" if can["move_pages"].available else "add --all",
        )
