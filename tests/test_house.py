"""The shape that must hold: imports run down the floors alone, and rooms stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "simdml"
FLOORS = {
    "units": 0,
    "errors": 0,
    "registry": 0,
    "resources": 0,
    "cycles": 0,
    "documents": 0,
    "cluster": 1,
    "workload": 1,
    "calibration": 1,
    "program": 2,
    "costs": 2,
    "strategies": 3,
    "engine": 4,
    "results": 4,
    "scenario": 5,
    "reporting": 6,
    "studies": 7,
    "validation": 7,
    "cli": 8,
}
FILES = sorted(PACKAGE.rglob("*.py"))
# A Result shows itself in notebooks; what it needs for that is loaded when it is asked.
UPWARD = {("results/result.py", "reporting")}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down(path):
    relative = path.relative_to(PACKAGE)
    here = relative.parts[0].removesuffix(".py")
    if here.startswith("__"):
        return
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if parts[0] == "simdml" and len(parts) > 1 and not parts[1].startswith("__"):
            assert FLOORS[parts[1]] <= FLOORS[here] or (str(relative), parts[1]) in UPWARD, f"{relative} imports {name}"


def test_the_engine_knows_no_strategy_and_no_file_format():
    for path in (PACKAGE / "engine").glob("*.py"):
        names = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
        assert not [
            name for name in names if name.startswith(("simdml.strategies", "pydantic", "pandas", "matplotlib"))
        ]


def test_files_stay_small():
    assert {str(path): count for path in FILES if (count := path.read_text().count("\n")) > 500} == {}
