"""Every command and every snippet of the README does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from make_datasets import make_session
from make_stores import light_curves
from prefect_sites import commands_of_the_readme

import aggrade
from flows.command_line import FLOWS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
END_TO_END = {
    "git clone <this repository> aggrade && cd aggrade",
    "make demo",
    "make demo DEMO_STORE=data",
}
"""What tests/e2e/test_demo.py runs: too slow for a unit test."""
DEPLOYED = {
    "export PREFECT_API_URL=http://127.0.0.1:4200/api",
    "python -m deployments.setup",
    "prefect --no-prompt deploy --all",
    "prefect worker start --pool aggrade",
}
"""What tests/e2e/test_from_nothing.py runs, by ``prefect_sites.set_up``, and with a server and a worker of its own."""


def blocks(language):
    """Return the text of each code block of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands():
    """Return each line of the README's console blocks."""
    return [line for block in blocks("console") for line in block.splitlines() if line]


def rows(heading):
    """Return the cells of each row of the table below a heading."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder in which `data` holds two sessions and three epochs, appended by aggrade."""
    where = tmp_path_factory.mktemp("readme")
    store = str(where / "data")
    for number in (1, 2):
        aggrade.append(make_session(f"S{number}", 4 + number, seed=number), store, grow=("window",))
    curves = light_curves([7, 8, 9], np.arange(3.0), np.zeros(3), epochs=3)
    for epoch in range(3):
        aggrade.append(curves.isel(epoch=[epoch]), store, dim="epoch")
    return where


def python(folder, *arguments):
    """Run Python in a folder with warnings as errors, and return what it printed."""
    command = [sys.executable, "-W", "error", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_each_snippet_runs_as_it_stands(folder, number):
    """A snippet copied from the README runs without a warning and prints what its comments promise."""
    assert len(python(folder, "-c", blocks("python")[number]).splitlines()) >= 3


def test_the_snippet_needs_ten_lines():
    """Ten lines of Python use the result, as the README claims by being short."""
    (snippet,) = blocks("python")
    assert 8 <= len([line for line in snippet.splitlines() if line.strip()]) <= 10


def test_the_snippet_prints_the_stores_own_values(folder):
    """What the snippet prints of the windows is what was appended."""
    printed = python(folder, "-c", blocks("python")[0])
    window = make_session("S1", 5, seed=1).isel(session=0, window=3)
    deviation, label = printed.splitlines()[1].split()
    assert float(deviation) == pytest.approx(float(np.std(window["eeg"].values)))
    assert int(label) == int(window["label"])


@pytest.mark.parametrize(
    "command", sorted({line for line in commands() if line.startswith(".venv/bin/aggrade ")})
)
def test_each_quick_command_runs(folder, command):
    """A command of the README that needs no server runs on a folder and counts both of its stores."""
    arguments = command.split()[1:]
    shown = python(folder, "-W", "default", "-c", f"from flows.command_line import main; main({arguments!r})")
    assert "2 stores" in shown or {"windows.zarr", "lightcurves.zarr"} <= set(re.findall(r"\w+\.zarr", shown))


def test_no_command_goes_untested():
    """Each command is run here or end to end, where it stands in the list of what is run."""
    others = {line for line in commands() if not line.startswith(".venv/bin/aggrade ")}
    assert {line.partition("#")[0].strip() for line in others} == END_TO_END | DEPLOYED
    assert {" ".join(words) for words in commands_of_the_readme()} == DEPLOYED
    tested = (ROOT / "tests/e2e/test_demo.py").read_text()
    assert "DEMO_STORE=data" in tested
    assert '"clone"' in tested


def test_the_table_of_flows_is_complete():
    """Each flow stands in the table once, with the command that runs it, and its file exists."""
    table = {command.strip("`"): flow.strip("`") for flow, command, _ in rows("The flows")}
    assert set(table) == {f"aggrade {name}" for name in FLOWS}
    assert all((ROOT / "flows" / f"{flow}.py").exists() for flow in table.values())


def test_the_images_are_small():
    """The README's pictures exist, and together are no burden for a clone."""
    images = [ROOT / path for path in re.findall(r"!\[[^]]*\]\((.*?)\)", README)]
    assert images
    assert all(image.stat().st_size < 200_000 for image in images)
