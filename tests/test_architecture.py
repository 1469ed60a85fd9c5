"""The shape of the repository: which way imports point, how long things are, what they are called."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("aggrade", "tasks", "flows", "deployments")
FORBIDDEN = {
    "aggrade": ("prefect", "distributed", "tasks", "flows", "deployments"),
    "tasks": ("flows", "deployments"),
    "flows": ("deployments",),
    "deployments": (),
}
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
each_module = pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])


def imported(tree, package):
    """Return the top-level names that a module imports, anywhere in it, inside functions and for types too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(package if node.level else (node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            constants = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            names |= {str(name).split(".")[0] for name in constants}
    return names


def against(tree, package):
    """Return what a module of a package imports although it must not."""
    wrong = FORBIDDEN[package]
    return sorted(
        name
        for name in imported(tree, package)
        if name in wrong or name.startswith(tuple(f"{w}_" for w in wrong))
    )


def package_of(path):
    """Return the package a module is in."""
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("aggrade", "import prefect.flows", ["prefect"]),
        ("aggrade", "from prefect_dask import DaskTaskRunner", ["prefect_dask"]),
        ("aggrade", "def f():\n    from distributed import Client", ["distributed"]),
        ("aggrade", "if TYPE_CHECKING:\n    from tasks.caching import ReceiptKey", ["tasks"]),
        ("aggrade", "importlib.import_module('flows.pipeline')", ["flows"]),
        ("tasks", "import flows", ["flows"]),
        ("flows", "from deployments.setup import POOL", ["deployments"]),
        ("tasks", "import prefect\nfrom aggrade import append", []),
    ],
)
def test_a_wrong_import_would_be_found(package, source, found):
    """The check sees imports wherever they hide, and lets right ones through."""
    assert against(ast.parse(source), package) == found


@each_module
def test_imports_point_one_way(path):
    """The arrows are aggrade ← tasks ← flows ← deployments: no module imports against them."""
    assert against(ast.parse(path.read_text()), package_of(path)) == []


@each_module
def test_a_module_holds_one_idea(path):
    """No module has more than 400 lines."""
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@each_module
def test_a_function_fits_on_a_screen(path):
    """No function has more than 60 lines, its docstring left out."""
    too_long = {
        node.name: length
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := lines_of(node)) > LONGEST_FUNCTION
    }
    assert too_long == {}


def lines_of(function):
    """Return the lines of a function, its docstring left out."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    own = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
    return function.end_lineno - function.lineno + 1 - own


@each_module
def test_public_names_are_documented(path):
    """A module, its public functions and classes, and their public methods have docstrings."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, "the module"
    assert list(undocumented(tree)) == []


def undocumented(tree):
    """Yield the public names of a module or class without a docstring; overloads need none."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") or any("overload" in ast.unparse(d) for d in node.decorator_list):
            continue
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in undocumented(node))


def test_no_file_bears_the_name_of_a_library():
    """Nothing in flows/ or tasks/ is called like a library that is installed: it would be imported instead of it."""
    installed = {name.split(".")[0] for name in metadata.packages_distributions()}
    names = {path.stem for package in ("flows", "tasks") for path in (ROOT / package).glob("*.py")} - {
        "__init__"
    }
    assert names & (installed - set(PACKAGES)) == set()


def test_no_folder_of_tests_bears_the_name_of_a_package():
    """No folder under tests/ is called like one of the packages: pytest would import it instead of them."""
    folders = {path.name for path in (ROOT / "tests").rglob("*") if path.is_dir()}
    assert folders & set(PACKAGES) == set()


def test_unit_tests_mirror_the_tree_by_name():
    """Every flat test file belongs to a module or folder of the packages, or to a document."""
    documents = {
        path.stem.lower().replace("-", "_") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    }
    known = (
        {"architecture", "docs", "mutants", "packaging", "prefect_yaml"}
        | documents
        | {name for path in MODULES for name in names_of(path)}
    )
    found = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert {name for name in found if not any(name == k or name.startswith(f"{k}_") for k in known)} == set()


def names_of(path):
    """Yield what the tests of a module may be called: its path with underscores, without the core's own name."""
    parts = [part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
    parts = parts[1:] if parts[0] == "aggrade" else parts
    for end in range(1, len(parts) + 1):
        yield "_".join(parts[:end])
