"""The agent as one text for Python 3.6 and later: the modules that it needs, without annotations and docstrings.

What runs there is what runs here: `backend.live` reads this machine with the same modules."""

from __future__ import annotations

import ast
import base64
import threading
import zlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MODULES = (
    "backend.errors",
    "backend.patience",
    "backend.files.text",
    "backend.files.walk",
    "backend.files.free_space",
    "backend.files.patterns",
    "backend.state.jobs_dir",
    "backend.state.private_file",
    "backend.state.numbering",
    "backend.state.machine_lock",
    "backend.state.local",
    "backend.live.file_id",
    "backend.live.pid_namespace",
    "backend.live.syscalls",
    "backend.live.pagemap_scan",
    "backend.live.host",
    "backend.agent.frames",
    "backend.agent.told",
    "backend.agent.pages",
    "backend.agent.connection",
    "backend.agent.helped_files",
    "backend.agent.helper",
    "backend.live.helped",
    "backend.agent.batch",
    "backend.agent.operations",
    "backend.agent.serve",
)
"""In the order in which they import each other."""

_LOADER = """\
import sys, types
def load(name, source):
    parent = None
    parts = name.split(".")
    for number in range(1, len(parts) + 1):
        full = ".".join(parts[:number])
        module = sys.modules.get(full)
        if module is None:
            module = types.ModuleType(full)
            if number < len(parts):
                module.__path__ = []
            sys.modules[full] = module
            if parent is not None:
                setattr(parent, parts[number - 1], module)
        parent = module
    exec(compile(source, name, "exec"), module.__dict__)
"""


@cache
def agent() -> str:
    """The whole text: reviewable Python, without comments."""
    parts = [f"load({name!r}, '''\n{_source(name)}\n''')" for name in MODULES]
    return "\n".join([_LOADER, *parts, "import backend.agent.serve", "backend.agent.serve.main()", ""])


_one_at_a_time = threading.Lock()
"""A fleet's threads all want it at the same moment, and `ast` in two threads at a time fails now and then with "AST
constructor recursion depth mismatch" (Python 3.11: github.com/python/cpython/issues/106905)."""


def stream() -> bytes:
    """What is written to `python3 -c BOOTSTRAP`: a line with a length, then a text that unpacks the agent."""
    with _one_at_a_time:
        return _stream()


@cache
def _stream() -> bytes:
    packed = base64.b85encode(zlib.compress(agent().encode(), 9)).decode()
    text = f"import base64,zlib\nexec(zlib.decompress(base64.b85decode({packed!r})))\n".encode()
    return b"%d\n%s" % (len(text), text)


BOOTSTRAP = "import sys;b=sys.stdin.buffer;exec(b.read(int(b.readline())))"


def _source(name: str) -> str:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    tree = _Plain().visit(ast.parse(Path(spec.origin).read_text()))
    text = ast.unparse(ast.fix_missing_locations(tree))
    return text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")


class _Plain(ast.NodeTransformer):
    """Takes away what only people and type checkers read."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for one in every:
            if one is not None:
                one.annotation = None
        node.body = _without_docstring(node.body)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        if node.value is None:
            return None
        return ast.Assign(targets=[node.target], value=node.value)

    def visit_If(self, node: ast.If) -> ast.stmt | None:
        self.generic_visit(node)
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | None:
        if node.module == "__future__":
            return None
        if node.module in ("typing", "collections.abc"):
            node.names = [one for one in node.names if one.name == "TypeVar"]
        return node if node.names else None


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    kept = [
        one
        for one in body
        if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str))
    ]
    return kept or [ast.Pass()]
