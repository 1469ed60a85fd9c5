"""Pictures for the Prefect UI show what a run has brought, and nothing outside of a run."""

from __future__ import annotations

import pytest
from make_datasets import CHUNKS, make_session

from aggrade import append, open_windows
from aggrade.errors import BadInput
from aggrade.pictures import store_picture
from tasks.pictures import quality_picture, show_quality


def _root(folder):
    receipts = []
    for number in (1, 2, 3):
        session = make_session(f"sub-{number}", windows=number + 1, seed=number)
        covered = session.assign(eeg_coverage=session["window_start"].astype("f4") / 9)
        receipts.append(append(covered, f"{folder}/windows.zarr", grow=("window",), chunks=CHUNKS))
    return str(folder), receipts


def test_the_sessions_that_were_brought_are_drawn(tmp_path):
    """The picture is that of the named sessions, not of all that lie in the dataset."""
    root, _ = _root(tmp_path)
    png = quality_picture(root, {"sub-1", "sub-3"}, None)
    assert png == store_picture(open_windows(root).isel(session=[0, 2]))
    assert png != store_picture(open_windows(root))


def test_sessions_that_are_not_there_cannot_be_drawn(tmp_path):
    """Without any of the sessions there is no picture."""
    with pytest.raises(BadInput, match="nothing to draw"):
        quality_picture(_root(tmp_path)[0], {"sub-9"}, None)


def test_outside_of_a_run_nothing_is_opened(tmp_path, caplog):
    """Without a run to show it in, not even the store is looked at."""
    _, receipts = _root(tmp_path)
    caplog.clear()
    show_quality("/nowhere/at/all", receipts, None)
    assert not caplog.records
