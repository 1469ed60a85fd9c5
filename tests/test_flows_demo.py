"""What the demonstration refuses before it starts anything, and what it loads when. The rest is in tests/e2e."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aggrade.errors import AggradeError, BadInput
from flows.command_line import main, make_app
from flows.demo import demo

ROOT = Path(__file__).parents[1]


def test_prefect_is_not_imported_before_the_environment_is_set():
    """The command line and the demonstration load without Prefect, which reads its settings when it is imported."""
    code = "import sys, flows.command_line, flows.demo; print('prefect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "False"


def test_catalogues_without_a_specification_are_refused(tmp_path):
    """Columns are not guessed: the error names the variable to set, and nothing is made."""
    with pytest.raises(BadInput, match="DEMO_CATALOGUE_SPEC") as told:
        demo(folder=tmp_path / "demo", catalogues=str(tmp_path))
    assert told.value.code == "demo-spec"
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_specification_that_cannot_be_read_is_refused(tmp_path, text):
    """A missing file and one that is no JSON give one clear error with the file's name."""
    spec = tmp_path / "spec.json"
    if text is not None:
        spec.write_text(text)
    with pytest.raises(BadInput, match=r"spec\.json"):
        demo(folder=tmp_path / "demo", catalogues=str(tmp_path), catalogue_spec=spec)
    with pytest.raises(BadInput, match=r"spec\.json"):
        demo(folder=tmp_path / "demo", recordings=str(tmp_path), window_spec=spec)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ("recordings", {"window_size": 2.0}),
        ("recordings", {"window_size_s": -1}),
        ("catalogues", {"ra": "ra"}),
    ],
)
def test_a_wrong_specification_is_refused_before_a_server_starts(tmp_path, given, spec):
    """An unknown field, an impossible value and a missing field are told at once."""
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec))
    option = {"recordings": "window_spec", "catalogues": "catalogue_spec"}[given]
    with pytest.raises(AggradeError):
        demo(folder=tmp_path / "demo", **{given: str(tmp_path), option: file})
    assert not (tmp_path / "demo").exists()


def test_what_is_asked_for_comes_from_the_command_line_or_the_environment(monkeypatch, tmp_path):
    """Options have the last word; without them the variables that `make demo` hands on count."""
    monkeypatch.setenv("DEMO_STORE", "from-environment")
    monkeypatch.setenv("DEMO_CATALOGUES", str(tmp_path))
    app = make_app()
    _, bound, _ = app.parse_args(["demo", "--store", "from-command-line"])
    assert bound.arguments["store"] == "from-command-line"
    assert bound.arguments["catalogues"] == str(tmp_path)
    monkeypatch.delenv("DEMO_STORE")
    _, bound, _ = app.parse_args(["demo"])
    assert "store" not in bound.arguments


def test_the_command_ends_with_one_sentence_and_status_1(monkeypatch, tmp_path, capsys):
    """`aggrade demo` with input that can't work prints the error without a traceback."""
    monkeypatch.setenv("DEMO_CATALOGUES", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--folder", str(tmp_path / "demo")])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("BadInput: DEMO_CATALOGUES=")
    assert "Traceback" not in said
