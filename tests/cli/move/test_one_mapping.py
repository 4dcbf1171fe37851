"""`--vma`: one mapping of a process is planned and moved, the others stay."""

from __future__ import annotations

import pytest

from tests.cli.running import Cli, one_line

DEMO = ["--demo", "default"]


def oracle(cli: Cli) -> tuple[str, dict[str, dict[str, int]]]:
    """The pid of a process with several mappings, and their pages by node."""
    found = cli.json(*DEMO, "ps", "oracle")["processes"][0]
    shown = cli.json(*DEMO, "show", str(found["pid"]))
    return str(found["pid"]), {vma["start"]: vma["nodes"] for vma in shown["vmas"]}


def test_a_plan_for_one_mapping_has_its_pages_only(cli: Cli) -> None:
    pid, vmas = oracle(cli)
    assert len(vmas) > 1
    for start, pages in vmas.items():
        plan = cli.json(*DEMO, "plan", pid, "--from", "0", "--to", "3", "--vma", start)
        assert plan["pages"] == pages.get("0", 0)


def test_any_address_in_a_mapping_names_it_and_so_does_heap(cli: Cli) -> None:
    pid, _ = oracle(cli)
    by_name = cli.json(*DEMO, "plan", pid, "--from", "0", "--to", "3", "--vma", "heap")
    by_address = cli.json(*DEMO, "plan", pid, "--from", "0", "--to", "3", "--vma", "0x560000001abc")
    assert by_name["pages"] == by_address["pages"] > 0


def test_only_that_mapping_moves(cli: Cli) -> None:
    pid, vmas = oracle(cli)
    first = next(iter(vmas))
    done = cli.json(*DEMO, "migrate", pid, "--from", "0", "--to", "3", "--vma", first, "-y")
    (outcome,) = done["outcomes"]
    assert outcome["moved"] == vmas[first]["0"] * 4096
    assert not outcome["left"]
    assert outcome["before"] == {node: pages * 4096 for node, pages in vmas[first].items()}
    assert outcome["after"] == {"3": sum(vmas[first].values()) * 4096}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["6", "--vma", "nothing"], 2),
        (["6", "--vma", "1000"], 4),
        (["6", "--vma", "stack"], 4),
        (["6", "9", "--vma", "heap"], 2),
        (["6", "--tree", "--vma", "heap"], 2),
        (["6", "--vma", "heap", "--method", "migrate_pages", "-y"], 5),
        (["999999", "--vma", "heap"], 4),
    ],
)
def test_what_cannot_be_is_one_line(cli: Cli, arguments: list[str], code: int) -> None:
    got, _, err = cli(*DEMO, "migrate", *arguments, "--from", "0", "--to", "3")
    assert got == code
    assert one_line(err.splitlines()[-1] + "\n")
