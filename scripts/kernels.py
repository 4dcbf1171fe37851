"""The table of docs/kernels.md, from what was measured: .venv/bin/python scripts/kernels.py

tests/data/kernels.json has what each kernel answered (tests/guest/inside/kernel_facts.py, run in a guest); the tests in
guests ask again. With a kernel and its answers, `kernels.py 7.2 FILE` takes them over first."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.guest.inside.kernel_facts import FACTS  # noqa: E402

DATA, PAGE = ROOT / "tests/data/kernels.json", ROOT / "docs/kernels.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"


def table() -> str:
    """In Markdown. Of the keys of meminfo it has those that the kernel before it lacks."""
    known: dict[str, dict[str, str]] = json.loads(DATA.read_text())
    kernels = list(known["hole"])
    lines = ["| | " + " | ".join(kernels) + " |", "|" + "---|" * (len(kernels) + 1)]
    for name, (text, _) in FACTS.items():
        answers = known[name]
        if name == "meminfo":
            text, answers = f"new {text}", _new_keys(answers)
        lines.append(f"| {text} | " + " | ".join(answers[kernel] for kernel in kernels) + " |")
    return "\n".join(lines) + "\n"


def _new_keys(answers: dict[str, str]) -> dict[str, str]:
    out: dict[str, str] = {}
    before: set[str] = set()
    for kernel, keys in answers.items():
        new = [key for key in keys.split() if key not in before]
        out[kernel] = ", ".join(new) if before else ""
        before |= set(keys.split())
    return out


def page() -> str:
    """docs/kernels.md with the table of now."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


def main(kernel: str = "", answers: str = "") -> None:
    if kernel:
        known = json.loads(DATA.read_text())
        for name, answer in json.loads(Path(answers).read_text()).items():
            known.setdefault(name, {})[kernel] = answer
        DATA.write_text(json.dumps(known, indent=2) + "\n")
    PAGE.write_text(page())


if __name__ == "__main__":
    main(*sys.argv[1:])
