"""The report of a match lists every row that gave no cell, once, with its reason."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from make_catalogues import ARCSEC, write_table

from aggrade import populate
from aggrade.errors import BadInput
from aggrade.match_report import match_report

SPEC = {
    "ra": "ra",
    "dec": "dec",
    "epoch_time": "MJD",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "mag", "error": "err"}},
    "duplicates": "first",
}
OBJECTS = pd.DataFrame({"object": [11, 12], "ra": [10.0, 359.9999], "dec": [0.0, 0.0]})


@pytest.fixture
def survey(tmp_path):
    """Populate two nights whose rows' fates are known by how they were made; return the folder of catalogues."""
    rows = {
        "ra": [10.0, 10 + 0.5 * ARCSEC, 10.0, 0.0001 - 0.2 * ARCSEC, 200.0, 10.0],
        "dec": [0.0, 0.0, 0.0, 0.0, -89.0, 0.1 * ARCSEC],
        "mag": [18.0, 18.1, 18.0, 19.0, 20.0, np.nan],
        "err": [0.1] * 6,
    }
    for index in (1, 2):
        write_table(tmp_path / "cats" / f"night_{index}.fits", rows, meta={"MJD": 60000.0 + index})
    populate(tmp_path / "cats", str(tmp_path), SPEC, objects=OBJECTS, match={"radius_arcsec": 1})
    return tmp_path / "cats"


def test_every_row_without_a_cell_is_listed(survey, tmp_path):
    """Each is told with its epoch, place and reason, and with the object that another row stands for."""
    report = match_report(survey, str(tmp_path), SPEC)
    first = report[report["epoch"] == "1"]
    assert first["row"].tolist() == [1, 2, 4]
    assert first["fate"].tolist() == ["losers", "duplicates", "unmatched"]
    assert first["object"].tolist() == [11, 11, None]
    assert first["distance_arcsec"].round(6).tolist()[:2] == [0.5, 0]
    assert first["distance_arcsec"].isna().tolist() == [False, False, True]
    assert set(report["files"]) == {"night_1.fits", "night_2.fits"}


def test_it_agrees_with_the_ledger(survey, tmp_path):
    """Every row has one fate, and there are as many of each as the receipt counts."""
    receipt = populate(survey, str(tmp_path), SPEC, objects=OBJECTS)
    every = ("matched", "unmatched", "duplicates", "losers", "blank")
    report = match_report(survey, str(tmp_path), SPEC, fates=every)
    assert len(report) == receipt.details["rows"] == 12
    assert Counter(report["fate"]) == {fate: receipt.details[fate] for fate in every}
    assert not report.duplicated(["epoch", "row"]).any()


def test_what_it_can_not_report_on(survey, tmp_path):
    """A place without light curves and an unknown fate are refused."""
    with pytest.raises(BadInput, match="no light curves"):
        match_report(survey, str(tmp_path / "elsewhere"), SPEC)
    with pytest.raises(BadInput, match="'lost'"):
        match_report(survey, str(tmp_path), SPEC, fates=["lost"])


def test_it_is_written_as_csv(survey, tmp_path):
    """The command writes the same table, and says how many rows of each kind it holds."""
    from flows.inspecting import matches

    told = matches(str(survey), str(tmp_path), spec=json.dumps(SPEC), to=tmp_path / "report.csv")
    assert all(f"2 {fate}" in told for fate in ("unmatched", "duplicates", "losers"))
    written = pd.read_csv(tmp_path / "report.csv")
    assert written["fate"].tolist() == match_report(survey, str(tmp_path), SPEC)["fate"].tolist()
    with pytest.raises(BadInput, match="JSON"):
        matches(str(survey), str(tmp_path), spec="no json")
