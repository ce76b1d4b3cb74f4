"""The arrows of the design: who may import whom, read from the source without running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("daemon", "handlers", "alignment", "microworld", "tests", "scripts", "benchmarks")
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "unsloth", "bitsandbytes", "vllm", "plotly",
         "scipy", "statsmodels"}  # fmt: skip


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    """Gives every module of a package with its syntax tree."""
    for path in sorted((ROOT / package).rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Gives the dotted names that a piece of code imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides where it points"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.Module) -> Iterator[str]:
    """Gives what is imported when the module is, not when one of its functions runs or for type checkers alone."""
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from imports(node)


def head(name: str) -> str:
    """Gives the package of a dotted name."""
    return name.partition(".")[0]


def breaches(package: str, allowed: tuple[str, ...]) -> list[str]:
    """Lists imports of ours outside a package that are not allowed to it."""
    return [
        f"{where} imports {name}"
        for where, tree in modules(package)
        for name in imports(tree)
        if head(name) in OURS and head(name) != package and not any(f"{name}.".startswith(f"{a}.") for a in allowed)
    ]


def test_the_daemon_crosses_to_the_work_by_the_contract_alone() -> None:
    """`daemon` imports `handlers.contract` and nothing else of ours."""
    assert breaches("daemon", ("handlers.contract",)) == []


def test_the_handlers_know_the_method_and_not_the_daemon() -> None:
    """`handlers` imports `alignment` and nothing else of ours."""
    assert breaches("handlers", ("alignment",)) == []


def test_the_method_knows_nobody() -> None:
    """`alignment` imports nothing else of ours."""
    assert breaches("alignment", ()) == []


def test_the_built_in_world_stands_apart() -> None:
    """`microworld` is imported by itself, tests and scripts; the product does not know it."""
    importers = {
        where
        for package in ("daemon", "handlers", "alignment")
        for where, tree in modules(package)
        if any(head(name) == "microworld" for name in imports(tree))
    }
    assert importers == set()


@pytest.mark.parametrize("package", ["alignment", "handlers"])
def test_heavy_libraries_are_imported_where_they_are_used(package: str) -> None:
    """A module can be imported in milliseconds: torch and its like come in inside functions."""
    early = [f"{where}: {n}" for where, tree in modules(package) for n in at_module_level(tree) if head(n) in HEAVY]
    assert early == []


def test_the_daemon_never_imports_a_heavy_library() -> None:
    """The queue runs where there is no GPU and no torch."""
    assert [f"{w}: {n}" for w, tree in modules("daemon") for n in imports(tree) if head(n) in HEAVY] == []


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("daemon/lifecycle.py", ("daemon.task", "daemon.events", "handlers")),
        ("daemon/events.py", ("daemon.task",)),
        ("daemon/task.py", ()),
        ("daemon/shim.py", ()),
        ("handlers/contract.py", ()),
    ],
)
def test_the_cores_import_the_standard_library_alone(path: str, more: tuple[str, ...]) -> None:
    """Lifecycle with its data, shim and contract depend on nothing that can be missing or change."""
    foreign = [
        name
        for name in imports(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if head(name) not in sys.stdlib_module_names and not name.startswith(more)
    ]
    assert foreign == []


def test_sql_lives_in_few_places() -> None:
    """Statements that write stand in `daemon/log.py` alone."""
    writing = ("INSERT ", "UPDATE ", "DELETE FROM", "DROP ", "CREATE ")
    found = [
        f"{where}: {node.value[:40]!r}"
        for where, tree in modules("daemon")
        for node in ast.walk(tree)
        if where != "daemon/log.py" and isinstance(node, ast.Constant) and isinstance(node.value, str)
        and node.value.lstrip().startswith(writing)
    ]  # fmt: skip
    assert found == []
