"""The mutants of ``make mutants`` fit the project as it is, and the document tells of each."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS, ROOT, Edit, Mutant, Unfit, first_failure, main, mutate
from test_docs import rows


@pytest.fixture
def project(tmp_path):
    """Copy what mutants change."""
    shutil.copytree(ROOT / "aggrade", tmp_path / "aggrade", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_the_project_with_something_else(project, mutant):
    """Each text stands where the mutant looks for it, and what comes out is Python that differs."""
    mutate(mutant, project)
    for edit in mutant.edits:
        changed = (project / edit.path).read_text()
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse((ROOT / edit.path).read_text()))


def test_the_document_tells_of_each():
    """The table has each mutant with what it does and the tests that have to notice it."""
    table = [(name.strip("`"), says, tests) for name, says, tests in rows("failures.md", "## Mutants")]
    assert table == [
        (mutant.name, mutant.says, ", ".join(f"`{test}`" for test in mutant.tests)) for mutant in MUTANTS
    ]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_are_there(mutant):
    """The tests that have to notice a mutant exist."""
    for test in mutant.tests:
        path, *names = test.split("::")
        defined = {
            node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if hasattr(node, "name")
        }
        assert set(names) <= defined


@pytest.mark.parametrize("text", ["nowhere", "import"])
def test_an_edit_that_fits_nowhere_or_twice_is_refused(project, text):
    """A mutant that would change nothing, or not what was meant, is an error."""
    mutant = Mutant("odd", "", (Edit("aggrade/price.py", text, ""),), ())
    with pytest.raises(Unfit, match="odd: "):
        mutate(mutant, project)


def test_names_that_are_none_are_refused(capsys):
    """A mutant that isn't there is named."""
    with pytest.raises(SystemExit):
        main(["no-such"])
    assert "no such mutant: no-such" in capsys.readouterr().err


def test_what_failed_is_told_by_its_name():
    """The name is that of the first test that failed."""
    assert first_failure("..F\nFAILED tests/a.py::b - assert 1\nFAILED tests/a.py::c\n") == "tests/a.py::b"


def test_the_script_explains_itself():
    """`--help` says what it does."""
    script = Path(ROOT, "tests", "mutants.py")
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "on purpose" in done.stdout
