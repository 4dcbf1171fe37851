"""The rooms hold: no module imports itself in a circle. (Who may import whom: `lint-imports`, in pyproject.toml.)"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def graph() -> grimp.ImportGraph:
    return grimp.build_graph("backend", "numatui", exclude_type_checking_imports=True, cache_dir=None)


def sorted_modules(of: grimp.ImportGraph) -> list[str]:
    """Each after all that it imports. Raises CycleError."""
    return [
        *TopologicalSorter({name: of.find_modules_directly_imported_by(name) for name in of.modules}).static_order()
    ]


def test_no_import_leads_back_to_where_it_began() -> None:
    imports = graph()
    order = sorted_modules(imports)
    assert order.index("backend.errors") < order.index("backend.job.job")
    imports.add_import(importer="backend.errors", imported="backend.job.job")
    with pytest.raises(CycleError):
        sorted_modules(imports)
