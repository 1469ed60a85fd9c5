"""A store of the first version takes sessions of later ones, without what it has no place for."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from make_recordings import eeg_stream, write_xdf

from aggrade import append, cut_windows, open_windows, verify
from aggrade.errors import Refused
from aggrade.later_variables import LATER, without_later_variables


def _session(folder, name, samples):
    (folder / name).mkdir(parents=True)
    write_xdf(folder / name / "a.xdf", [eeg_stream(np.arange(samples) / 256)])
    return cut_windows(folder / name, {"window_size_s": 1.0})


@pytest.fixture
def old(tmp_path):
    """Give a root with a session as aggrade 0.1 cut it, and that session as it is cut now."""
    first = _session(tmp_path / "source", "P1", 1024)
    append(first.drop_vars(LATER, errors="ignore"), str(tmp_path / "root"), grow=("window",))
    return str(tmp_path / "root"), first


def test_an_older_store_keeps_growing(old, tmp_path, caplog):
    """A later session lands without the later variables, which is said, and everything else is its own."""
    root, _ = old
    caplog.set_level("INFO", "aggrade")
    second = _session(tmp_path / "source", "P2", 2048)
    append(second, root, grow=("window",))
    opened = open_windows(root)
    assert not LATER & set(opened.variables)
    kept = second.drop_vars([*LATER & set(second.variables), "content_digest", "receipt"])
    found = opened.sel(session=["P2"]).drop_vars(["content_digest", "receipt"]).load()
    xr.testing.assert_equal(found, kept)
    assert "eeg_line_noise, eeg_nan_count, eeg_rail" in caplog.text
    assert verify(root).ok


def test_the_same_session_again_is_no_news(old):
    """A session of an older store, cut anew, is the one that lies there already."""
    root, first = old
    before = append(first.drop_vars(LATER, errors="ignore"), root, grow=("window",))
    again = append(first, root, grow=("window",))
    assert again == before
    assert open_windows(root).sizes["session"] == 1


def test_other_variables_are_still_refused(old, tmp_path):
    """A variable of the user's own that the store lacks is refused by name."""
    root, _ = old
    session = _session(tmp_path / "source", "P3", 1024)
    with pytest.raises(Refused, match="eeg_mood"):
        append(session.assign(eeg_mood=session["label"]), root, grow=("window",))


def test_a_store_that_has_them_gets_them(tmp_path):
    """A store made now has every variable of every session."""
    root = str(tmp_path / "root")
    for name in ("P1", "P2"):
        append(_session(tmp_path / "source", name, 1024), root, grow=("window",))
    opened = open_windows(root)
    assert {"eeg_rail", "eeg_nan_count", "eeg_line_noise"} <= set(opened.variables)
    assert np.isfinite(opened["eeg_rail"].values).all()


def test_a_modality_that_the_store_lacks_is_left_to_the_guards(old):
    """Of fNIRS in a store without any, nothing is dropped: it is refused as a whole."""
    _, first = old
    fnirs = first.rename(
        {str(n): str(n).replace("eeg", "fnirs") for n in (*first.variables, *first.dims) if "eeg" in str(n)}
    )
    assert without_later_variables(fnirs, first).identical(fnirs)
