"""What lies in a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
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
    assert "1 rows along session have been replaced or removed" in str(state)


@pytest.mark.e2e
def test_the_server_is_named_with_what_it_keeps(s3_prefix):
    """What the probe saw when the store was made is shown, with endpoint and bucket; a disk has no server."""
    append(make_session("s", windows=2, seed=1), s3_prefix.url, storage_options=s3_prefix.storage_options)
    (state,) = survey(s3_prefix.url, storage_options=s3_prefix.storage_options)
    endpoint = s3_prefix.storage_options["endpoint_url"]
    assert f"server: {endpoint}, bucket s3://shared: create-only kept, compare-and-swap kept" in str(state)
    assert "NOT" not in state.server


def test_an_empty_folder_has_no_stores(tmp_path):
    """Where nothing lies there is nothing to say."""
    assert survey(str(tmp_path)) == []
