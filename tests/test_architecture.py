"""What keeps the house in order: sizes, names, and what may stand in a file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(p for folder in ("gitops_serving", "tests") for p in (ROOT / folder).rglob("*.py"))
FORBIDDEN = re.compile(r"(Manager|Handler|Helper|Utils?|Base|Impl|Service|Context)$")
HANDLERS_OF_LIBRARIES = {"tests/contract/git_servers.py", "tests/contract/stub.py"}  # http.server calls them handlers
WALL = 400


def names(path: Path) -> list[str]:
    """List the classes of a module."""
    return [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_stays_below_the_wall_and_says_why_it_exists(path: Path) -> None:
    source = path.read_text()

    assert len(source.splitlines()) <= WALL
    if "gitops_serving" in path.parts:
        assert ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_class_has_a_name_that_says_nothing(path: Path) -> None:
    if str(path.relative_to(ROOT)) in HANDLERS_OF_LIBRARIES:
        return

    assert [name for name in names(path) if FORBIDDEN.search(name)] == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 60
    ]

    assert long == []


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()

    assert [p.name for p in sorted(folder.glob("0*.md")) if f"({p.name})" not in listed] == []


def test_no_file_names_a_package_registry() -> None:
    hosts = [
        ".".join(parts)
        for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("deb", "debian", "org"))
    ]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    files = [ROOT / name for name in tracked.decode().split("\0") if name]

    assert [str(p) for p in files if p.is_file() and any(host.encode() in p.read_bytes() for host in hosts)] == []


def test_the_core_can_be_imported_without_anything_heavy() -> None:
    program = (
        "import sys; import gitops_serving.core.propose, gitops_serving.core.judge\n"
        "heavy = ('pygit2', 'kubernetes', 'requests', 'apscheduler', 'prometheus_api_client', 'typer', 'rich')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert loaded.stdout.strip() == "[]"
