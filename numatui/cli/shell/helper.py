"""`numatui helper`: what root's helper lets this user do; and the helper itself, which systemd or sudo starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.errors import NotPermitted, NotSupported, UsageError
from backend.files.text import printable
from numatui.cli.printing import output
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.kernel import Kernel


def helper(
    context: typer.Context,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Say what a configuration allows, and to whom.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Be the helper, of one caller: systemd and sudo start it so.")
    ] = False,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="With --serve: the configuration.")] = Path(
        "/etc/numatui/helper.yaml"
    ),
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Say what the helper lets you do: it looks at and moves processes of others, as root has configured it.

    numatui uses it by itself where the kernel refuses.

    Example: numatui helper
    """
    if serve and check is not None:
        raise UsageError("--check and --serve exclude each other", "give one of them")
    if serve:
        from backend.helper.serve import serve as run

        run(config)
        return
    problem = ""
    if check is not None:
        from backend.helper.rules import load_rules

        rules = [(one.users, one.groups, one.text) for one in load_rules(check).rules]
    else:
        kernel = kernel_of(context)
        rights, problem = _rights(kernel)
        rules = [({kernel.credentials()[0]}, set[int](), line) for line in rights]
    documents = [
        {"users": sorted(users), "groups": sorted(groups), "allows": output.exact(text)}
        for users, groups, text in rules
    ]
    if json:
        output.print_json("helper", {"rules": documents, "problem": output.exact(problem) if problem else None})
    elif csv:
        output.print_csv(
            ["users", "groups", "allows"],
            [[*(",".join(map(str, one[name])) for name in ("users", "groups")), one["allows"]] for one in documents],
        )
    elif problem:
        raise NotPermitted(f"the helper does nothing for you: {problem}", "")
    elif check is None and not rules:
        print(_none(kernel_of(context)))
    elif not rules:
        print("nobody may do anything: it has no rules")
    else:
        for users, groups, text in rules:
            who = ", ".join([f"uid {one}" for one in sorted(users)] + [f"gid {one}" for one in sorted(groups)])
            print(f"{'you' if check is None else who} may {printable(text, 300)}")


def _rights(kernel: Kernel) -> tuple[list[str], str]:
    from backend.kernel import helped

    if not kernel.traits.has_self:
        raise NotSupported(
            "an emulated or recorded machine has no helper", "numatui helper, without --demo or --replay"
        )
    return helped(kernel)


def _none(kernel: Kernel) -> str:
    uid, privileged = kernel.credentials()
    if privileged:
        return "you need none: you may look at and move every process"
    return f"there is no helper here: uid {uid} may look at and move its own processes (docs/helper.md)"
