"""The five benefits of Direct Migration V8 over swap migration (its overview, "Benefits over swap migration"), each
with a scenario that measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from backend.emulator.machine import Patches
from backend.emulator.scenario.description import Description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.scenario.shipped import load
from backend.emulator.study.compare import benefits

DIRECT, SWAP = "direct-v8", "swap-2.6.15"


@dataclass(frozen=True, slots=True)
class Benefit:
    """One benefit. `title`: the sentence of the overview, shortened. `scenario`: a shipped scenario; `task`: run only
    the steps of this task. `figures`: keys of `compare.benefits` that show the benefit. `without`: number of the patch
    to leave out for contrast. `page`: a page to follow, as for `trace.find_page`."""

    title: str
    text: str
    scenario: str
    figures: tuple[str, ...]
    without: int
    page: str
    task: str = ""

    def describe(self, profile: str) -> Description:
        """The scenario under a profile. Raises NotFound, ParseError."""
        description = load(self.scenario, profile)
        if not self.task:
            return description
        return replace(description, steps=tuple(step for step in description.steps if step.task == self.task))


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. `numbers`: from `compare.benefits`. `layout`: `task: region` → node → pages at the end."""

    name: str
    numbers: dict[str, Any]
    layout: dict[str, dict[int, int]]


FIGURES: dict[str, tuple[str, str]] = {
    "pages_asked": ("pages asked to move", "pages"),
    "pages_arrived": ("arrived where asked", "pages"),
    "seconds_moving": ("time moving", "seconds"),
    "seconds_touching": ("time touching them again", "seconds"),
    "seconds": ("time in all", "seconds"),
    "slots_used_after": ("swap slots in use after", "pages"),
    "pages_not_moved": ("pages that could not move", "pages"),
    "pages_written": ("pages written to a device", "pages"),
    "groups": ("groups of pages, by node", "groups"),
    "groups_kept": ("groups still apart after", "groups"),
}
"""Key of `compare.benefits` → (label, unit)."""

_WITHOUT = {
    1: "swapcache_recheck", 2: "direct_migrate", 3: "remove_from_swap", 4: "node_sets", 5: "buffer_migrate",
}  # fmt: skip

BENEFITS: tuple[Benefit, ...] = (
    Benefit(
        "migrate_pages() actually migrates pages",
        "Swap migration evicts pages and leaves it to the next touch where they come back: near the thread that "
        "happens to "
        "touch them. Direct migration gives each page a frame on the node that the caller asked for (patch 2), and "
        "patch 4 lets "
        "sys_migrate_pages() and MPOL_MF_MOVE say which node that is.",
        "direct-vs-swap",
        ("pages_asked", "pages_arrived"),
        4,
        "solver:vectors:0",
    ),
    Benefit(
        "It is faster: nothing is written to swap",
        "Moving directly is a copy from memory to memory. Swapping is a write to the device for each page and, when "
        "the process "
        "goes on, a fault and a read. Patch 5 gives the swap cache a method too; without it even direct migration "
        "would write "
        "anonymous pages first.",
        "direct-vs-swap",
        ("seconds_moving", "seconds_touching", "seconds", "pages_written"),
        5,
        "solver:matrix:0",
    ),
    Benefit(
        "It uses no swap space, which so cannot run out",
        "A slot is only the name of a page on its way, and remove_from_swap() (patch 3) gives it back when the page "
        "has arrived: "
        "a few slots are enough for any number of pages. Swap migration needs a slot for each page, until it is "
        "touched again.",
        "swap-full",
        ("slots_used_after", "pages_not_moved", "pages_arrived"),
        3,
        "cache:objects:0",
    ),
    Benefit(
        "A dirty page need not be written back first",
        "The filesystem's own method, buffer_migrate_page() for ext2, ext3 and xfs (patch 5), hands the buffers "
        "over to the new "
        "frame: the page stays dirty and is written when its time comes. Without a method, as with nfs, it is "
        "written before it moves.",
        "dirty-files",
        ("pages_written", "seconds_moving", "pages_arrived"),
        5,
        "writer:local:0",
        "writer",
    ),
    Benefit(
        "The relative location within a set of nodes is kept",
        "The n-th node of the old set goes to the n-th node of the new one (patch 4), so that what was near stays "
        "near and what was "
        "spread stays spread: the process is as fast as before. With swap migration everything ends where it is "
        "first touched.",
        "direct-vs-swap",
        ("groups", "groups_kept"),
        4,
        "solver:vectors:0",
    ),
)


def measure(benefit: Benefit) -> list[Measured]:
    """Run the benefit's scenario with Direct Migration V8, with V8 less one patch, and with swap migration. Raises
    NotFound, ParseError, UsageError."""
    direct = benefit.describe(DIRECT)
    without = Patches(**{_WITHOUT[benefit.without]: False})
    less = replace(direct, machine=replace(direct.machine, patches=without))
    runs = ((DIRECT, direct), (f"without patch {benefit.without}", less), (SWAP, benefit.describe(SWAP)))
    return [measured(name, description) for name, description in runs]


def measure_scenario(name: str, profiles: tuple[str, ...] = (DIRECT, SWAP)) -> list[Measured]:
    """Run a scenario under each profile. Raises NotFound, ParseError, UsageError."""
    return [measured(profile, load(name, profile)) for profile in profiles]


def measured(name: str, description: Description) -> Measured:
    """Run a scenario twice: for its final layout, and for the numbers, whose extra touching changes the layout."""
    report = run_scenario(description)
    layout = {
        f"{task}: {vma['name']}": {int(node): pages for node, pages in vma["nodes"].items()}
        for task, told in report["tasks"].items()
        for vma in told["vmas"]
    }
    return Measured(name, benefits(description), layout)


Measure = Callable[[], list[Measured]]
