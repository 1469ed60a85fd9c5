"""What lies in a dataset."""

from __future__ import annotations

from pathlib import Path

from make_datasets import make_session

from aggrade import append
from aggrade.surveying import survey


def test_a_survey_writes_nothing_and_names_every_store(tmp_path):
    """Every store of a dataset is named, with the receipt of its last commit, and no file changes."""
    receipts = [
        append(make_session("s", windows=2, seed=1), f"{tmp_path}/windows/{month}.zarr", grow=("window",))
        for month in ("2026-09", "2026-10")
    ]
    before = {path: path.stat().st_mtime_ns for path in Path(tmp_path).rglob("*")}
    states = survey(str(tmp_path))
    assert [state.last for state in states] == receipts
    assert [state.sizes["window"] for state in states] == [2, 2]
    assert {path: path.stat().st_mtime_ns for path in Path(tmp_path).rglob("*")} == before


def test_replaced_rows_are_counted(tmp_path):
    """A row that a later commit has replaced is counted and said."""
    store = f"{tmp_path}/windows.zarr"
    append(make_session("s", windows=2, seed=1), store, grow=("window",))
    append(make_session("s", windows=2, seed=2), store, grow=("window",), on_conflict="replace")
    (state,) = survey(store)
    assert state.superseded == 1
    assert "1 rows along session have been replaced" in str(state)


def test_an_empty_folder_has_no_stores(tmp_path):
    """Where nothing lies there is nothing to say."""
    assert survey(str(tmp_path)) == []
