"""The command `aggrade`: what it offers, how it fails, how little it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from make_datasets import make_session

import aggrade
from aggrade import append
from flows.command_line import DIRECT, FLOWS, main, with_files
from flows.commands import PLACES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def command(capsys):
    """Run the command; return its exit code, what it printed and what it said on standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        told = capsys.readouterr()
        return caught.value.code, told.out, told.err

    return run


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of one session."""
    append(make_session("sub-01", windows=3, seed=1), f"{tmp_path}/windows.zarr", grow=("window",))
    return tmp_path


def imported_by(*arguments):
    """Return the names of the modules that a command has imported when it ends."""
    code = (
        "import sys, json\nfrom flows.command_line import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_layouts_are_compared_without_a_target(command, dataset):
    """`rechunk --suggest` prints three layouts of a store and starts nothing."""
    code, told, _ = command("rechunk", "--suggest", f"{dataset}/windows.zarr")
    assert code == 0
    assert "one random window" in told
    assert command("suggest", f"{dataset}/windows.zarr")[1] == told


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_is_quick(argument):
    """Help and version import none of the heavy libraries."""
    heavy = {"prefect", "distributed", "mne", "xarray", "zarr", "numpy", "pandas", "matplotlib"}
    assert imported_by(argument) & heavy == set()


def test_looking_starts_no_prefect(dataset):
    """A command that only looks imports no Prefect."""
    assert "prefect" not in imported_by("status", str(dataset))


def test_help_names_every_command(command):
    """All subcommands are listed with what they do."""
    code, shown, _ = command("--help")
    flat = " ".join(shown.replace("│", " ").split())
    assert code == 0
    for name, summary in FLOWS.items() | {(name, summary) for name, (_, summary) in DIRECT.items()}:
        assert f"{name} {summary}" in flat


def test_every_flow_is_a_command():
    """Flows and their places agree."""
    assert FLOWS.keys() == PLACES.keys()


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_explains_its_parameters(command, name):
    """Each flow's help describes its parameters, the dry run among them."""
    code, shown, _ = command(name, "--help")
    assert code == 0
    assert "--dry-run" in shown
    assert "Print the plan" in shown or "write nothing" in " ".join(shown.replace("│", " ").split())


def test_the_version_is_the_packages(command):
    """--version prints the package's version."""
    assert command("--version")[:2] == (0, f"{aggrade.__version__}\n")


def test_an_error_is_one_sentence(tmp_path):
    """What the core refuses ends with exit code 1 and its own words, without a traceback."""
    code = "from flows.command_line import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("BadInput: ")
    assert "expected a dataset root or a Zarr store" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path):
    """With --debug, wherever it stands, the error comes with its traceback."""
    with pytest.raises(aggrade.BadInput):
        main(["--debug", "status", str(tmp_path)])


def test_a_wrong_parameter_is_refused_before_anything_starts(command, tmp_path):
    """A missing specification is named at once, by its parameter."""
    code, _, said = command("ingest", str(tmp_path), str(tmp_path / "out"))
    assert code == 1
    assert "parameter windows" in said
    assert "window_size_s" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("prefect_backend")
def test_something_is_said_before_prefect_is_loaded(command, tmp_path):
    """A command that takes seconds to begin says so at once; one that only looks says nothing."""
    _, _, said = command("ingest", str(tmp_path / "none"), str(tmp_path), "--windows.window-size-s", "1")
    assert said.startswith("loading Prefect")
    assert "Prefect" not in command("status", str(tmp_path))[2]


def test_an_unknown_option_is_refused(command, tmp_path):
    """A misspelt option ends with an exit code other than 0."""
    code, *_ = command("status", str(tmp_path), "--stroe", "x")
    assert code != 0


def test_a_file_stands_for_its_text(tmp_path):
    """@FILE becomes the file's text; other words beginning with @ stay."""
    file = tmp_path / "spec.json"
    file.write_text('{"a": 1}')
    assert with_files(["--spec", f"@{file}", "@nobody", "plain"]) == [
        "--spec",
        '{"a": 1}',
        "@nobody",
        "plain",
    ]


def test_a_file_that_cannot_be_read_is_named(command, tmp_path):
    """A file of bytes that are no text ends the command with a sentence."""
    file = tmp_path / "spec.json"
    file.write_bytes(b"\xff\xfe")
    code, _, said = command("ingest", "a", "b", "--windows", f"@{file}")
    assert code == 1
    assert f"{file}: found a file that can't be read (it is no text in UTF-8), expected a text file" in said


def test_a_missing_specification_file_is_named(command):
    """As for a flow, so for a command that looks."""
    for command_line in (("ingest", "a", "b", "--windows"), ("matches", "a", "b", "--spec")):
        code, _, said = command(*command_line, "@nofile.json")
        assert code == 1
        assert "found no file nofile.json, expected a file with JSON; check the path" in said


def test_an_interruption_says_how_to_go_on(command, monkeypatch):
    """Ctrl-C ends with 130 and a sentence."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.inspecting.status", interrupt)
    code, _, said = command("status", "anywhere")
    assert code == 130
    assert "goes on where this one stopped" in said
