"""Free memory of a node is drawn beside the watermarks, on a scale where they are apart if little is free."""

from __future__ import annotations

from dataclasses import replace

from backend.machine.topology import Watermarks, read_topology
from numatui.tui.paint.glyphs import UNICODE
from numatui.tui.paint.graphs.node_graphs import node_graphs
from numatui.tui.paint.node_table import NodeRow, node_rows
from tests.kernels.fake_kernel import FakeKernel

MiB = 1 << 20


def drawn(free: int) -> str:
    (first, *_) = node_rows(read_topology(FakeKernel()), {}, {}, {}, 4096)
    row: NodeRow = replace(first, marks=Watermarks(4 * MiB, 14 * MiB, 24 * MiB))
    lines = node_graphs(row, {"free": [float(free)] * 200}, {}, 60, 12, UNICODE)
    return "\n".join("".join(text for text, _ in line) for line in lines)


def test_with_much_free_the_scale_is_all_of_the_memory() -> None:
    text = drawn(1 << 30)
    assert "scale" not in text
    assert "high low min" in text


def test_with_little_free_the_watermarks_are_apart() -> None:
    text = drawn(20 * MiB)
    assert "scale to 96M" in text
    assert "high low" not in text
    assert [line for line in text.splitlines() if line.rstrip().endswith("high")]
