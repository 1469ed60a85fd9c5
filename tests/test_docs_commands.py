"""Each command of the on-call card runs as it stands, on a dataset like those it is for."""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from make_recordings import eeg_stream, write_xdf

import aggrade
from aggrade.backups import list_backups
from flows.command_line import DIRECT, main

CARD = (Path(__file__).parents[1] / "docs/operations.md").read_text()
COMMANDS = sorted(set(re.findall(r"`aggrade ([a-z]+ [^`…]+)`", CARD)))
ELSEWHERE = {"maintain", "resume", "pipeline", "drill"}
"""Those that need a Prefect server or a bucket, which tests/e2e runs."""
HERE = [command for command in COMMANDS if command.split()[0] not in ELSEWHERE]
SPEC = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_scale": "utc",
    "epoch": {"filename": "(.*)"},
    "measurements": {"g": {"value": "g", "error": "g_err", "unit": "mag"}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a dataset of two sessions and two epochs, with the catalogues beside it."""
    folder = tmp_path_factory.mktemp("card")
    for number in (1, 2):
        t = 100 + np.arange(1250) / 250
        write_xdf(
            folder / f"S{number}.xdf", [eeg_stream(t, np.random.default_rng(number).normal(0, 30, (1250, 2)))]
        )
        cut = aggrade.cut_windows(folder / f"S{number}.xdf", {"window_size_s": 1.0})
        aggrade.append(cut, folder / "data", grow=("window",))
    rng = np.random.default_rng(0)
    (folder / "catalogues").mkdir()
    for night in (1, 2):
        table = {"id": np.arange(20), "ra": rng.uniform(0, 1, 20), "dec": rng.uniform(0, 1, 20)}
        table |= {"mjd": 60000.0 + night, "g": rng.normal(18, 1, 20), "g_err": 0.1}
        pd.DataFrame(table).to_csv(folder / f"catalogues/night-{night}.csv", index=False)
    aggrade.populate(folder / "catalogues", folder / "data", SPEC)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """Work in a copy of the dataset's folder."""
    where = tmp_path / uuid.uuid4().hex
    shutil.copytree(made, where)
    monkeypatch.chdir(where)
    return where


def _meant(command):
    """Return the words of a command with what stands for something replaced by it."""
    words = {
        "SESSION": "S1",
        "WINDOW": "3",
        "ID": "7",
        "EPOCH": "night-1.csv",
        "FILE": "catalogues/night-1.csv",
        "FOLDER": "exported",
        "STORE": "data",
    }
    if "BACKUP" in command.split():
        words |= {"STORE": "data/windows.zarr", "BACKUP": list_backups("data/windows.zarr")[-1].id}
    return [words.get(word, word) for word in command.split()]


def test_the_card_names_every_command_that_needs_no_prefect():
    """Whatever can be typed without a server is on it, but for what makes something to look at or try."""
    named = {command.split()[0] for command in COMMANDS}
    assert DIRECT.keys() - named <= {"demo", "matches", "suggest"}
    assert ELSEWHERE - {"pipeline"} <= named


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", HERE)
def test_it_runs_as_it_stands(command, capsys):
    """It ends well, says something or makes the file that it names."""
    words = _meant(command)
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    made = [Path(word) for word in words if word.endswith((".png", "exported"))]
    assert all(path.exists() for path in made)
    assert made or said.out or said.err


def test_what_is_taken_out_comes_back(folder):  # noqa: ARG001 - the commands work in it
    """The card's three commands in a row: remove, list, restore with what was listed."""
    before = aggrade.open_windows("data")["session"].values.tolist()
    for command in ("remove STORE SESSION", "restore STORE BACKUP"):
        with pytest.raises(SystemExit):
            main(_meant(command))
    assert aggrade.open_windows("data")["session"].values.tolist() == before
