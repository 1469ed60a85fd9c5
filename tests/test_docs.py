"""The documents say what is: settings, tests, files and commands they name exist."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from aggrade.catalogues.spec import CatalogueSpec, specification
from aggrade.settings import Settings, settings
from aggrade.window_spec import WindowSpec
from flows.command_line import DIRECT, FLOWS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def rows(name, heading):
    """Return the cells of each row of the first table below a heading of a document."""
    text = (ROOT / "docs" / name).read_text().partition(f"\n{heading}\n")[2]
    lines = [line for line in text.splitlines() if line.startswith(("|", "#"))]
    table = []
    for line in lines:
        if line.startswith("#"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table[2:]


def named_in(path):
    """Return the names of the test functions and classes of a file, methods as Class::method."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)
            }
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
    return names


def test_the_settings_table_names_every_setting_and_its_default():
    """The operations card lists each setting once, by its variable, with the default that holds."""
    table = {
        variable.strip("`"): float(default) for variable, default, *_ in rows("operations.md", "## Settings")
    }
    assert table == {f"AGGRADE_{field.name.upper()}": float(field.default) for field in fields(Settings)}


def test_each_setting_is_read_from_the_variable_in_the_table(monkeypatch):
    """What the table calls a variable changes the setting of that name."""
    for number, (variable, *_) in enumerate(rows("operations.md", "## Settings"), start=2):
        monkeypatch.setenv(variable.strip("`"), str(number))
    assert [getattr(settings(), field.name) for field in fields(Settings)] == list(
        range(2, 2 + len(fields(Settings)))
    )


def test_each_failure_is_pinned_by_a_test_that_exists():
    """Every row of the failure table names at least one test, and each of them can be found."""
    table = rows("failures.md", "## Ways to die")
    assert table
    for failure, _, pinned in table:
        named = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", pinned)
        assert named, failure
        for file, test in named:
            assert test in named_in(ROOT / file), f"{failure}: {file}::{test}"


def test_the_specifications_in_the_documents_are_valid():
    """Each JSON example of the operations card is a specification that aggrade accepts."""
    examples = re.findall(
        r"^```json\n(.*?)^```$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL
    )
    windows, catalogues = (one for one in map(json.loads, examples) if "Statement" not in one)
    assert WindowSpec.of(windows).window_size_s == 2.0
    assert set(specification(CatalogueSpec, catalogues).measurements) == {"g", "r"}


def test_every_command_in_the_documents_exists():
    """Whatever subcommand of aggrade a document names is one."""
    pattern = re.compile(r"(?:`|^\.venv/bin/|`\.venv/bin/)aggrade ([a-z]+)", re.MULTILINE)
    named = {word for document in DOCUMENTS for word in pattern.findall(document.read_text())}
    assert named
    assert named <= FLOWS.keys() | DIRECT.keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_link_leads_somewhere(document):
    """Every relative link of a document leads to a file of the repository."""
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []
