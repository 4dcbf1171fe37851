"""Makes benchmarks/latency.svg of what latency.py printed: `latency_picture.py FILE…`, one file of output a kernel."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

WIDTH, LEFT, ROW, GAP = 860, 250, 22, 34
LEAST, MOST = 0.1, 1000.0
"""Milliseconds at the ends of the scale, which is logarithmic."""
MARKS = {"p50": "#2a9d8f", "p99": "#e9a23b", "max": "#d1495b"}


def x(milliseconds: float) -> float:
    share = math.log(min(MOST, max(LEAST, milliseconds)) / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - 20)


def read(path: str) -> list[tuple[str, dict[str, dict[str, float]]]]:
    """(heading, way → numbers) of each service in an output."""
    lines = Path(path).read_text().splitlines()
    release = next(line for line in lines if line.startswith("Linux"))
    kernel = ".".join(release.split()[1].split(".")[:2])
    out: list[tuple[str, dict[str, dict[str, float]]]] = []
    for line in lines:
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            out += [(f"{name}, Linux {kernel}", ways) for name, ways in found.items()]
    return out


def picture(services: list[tuple[str, dict[str, dict[str, float]]]]) -> str:
    """A line from p50 to max for each way, with a mark for p99."""
    parts: list[str] = []
    y = 40
    for mark, colour in MARKS.items():
        at = LEFT + 70 * list(MARKS).index(mark)
        parts.append(f'<circle cx="{at}" cy="16" r="5" fill="{colour}"/><text x="{at + 9}" y="20">{mark}</text>')
    for heading, ways in services:
        parts.append(f'<text x="8" y="{y}" font-weight="bold">{heading}</text>')
        bottom = y + ROW * len(ways) + 6
        for power in range(-1, 3):
            value = 10.0**power
            parts.append(f'<line x1="{x(value)}" x2="{x(value)}" y1="{y + 4}" y2="{bottom}" stroke="#8886"/>')
            parts.append(f'<text x="{x(value) + 3}" y="{y}" font-size="10">{value:g} ms</text>')
        for number, (way, one) in enumerate(ways.items(), 1):
            at = y + ROW * number - 4
            parts.append(f'<text x="20" y="{at + 4}">{way}</text>')
            parts.append(f'<line x1="{x(one["p50"])}" x2="{x(one["max"])}" y1="{at}" y2="{at}" stroke="#888"/>')
            parts += [
                f'<circle cx="{x(one[mark]):.1f}" cy="{at}" r="5" fill="{colour}"/>' for mark, colour in MARKS.items()
            ]
        y = bottom + GAP
    style = "<style>text{font:13px sans-serif;fill:#555} @media(prefers-color-scheme:dark){text{fill:#bbb}}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - 10}">{style}{"".join(parts)}</svg>\n'


def main(files: list[str]) -> None:
    services = [service for file in files for service in read(file)]
    Path(__file__).with_name("latency.svg").write_text(picture(services))


if __name__ == "__main__":
    main(sys.argv[1:])
