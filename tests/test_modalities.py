"""A session with one modality fits into a store with both, and what fills the gap is known for what it is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from make_stores import write_zarr

from aggrade import append, open_windows, verify
from aggrade.encoding import layer_digest
from aggrade.errors import Refused
from aggrade.modalities import absent_variables, with_absent_modalities
from aggrade.opening import open_dataset
from aggrade.storage import open_storage


def _sessions(names, windows, modalities=("eeg", "fnirs")):
    rng, n = np.random.default_rng(len(names)), len(names)
    variables, coordinates = (
        {"label": (("session", "window"), np.zeros((n, windows), "i2"))},
        {"session": np.array(names, object)},
    )
    for m in modalities:
        dims = ("session", "window", f"{m}_channel", f"{m}_sample")
        variables[m] = (dims, rng.normal(size=(n, windows, 2, 10)).astype("f4"))
        variables[f"{m}_coverage"] = (("session", "window"), np.zeros((n, windows), "f4"))
        variables[f"{m}_surplus"] = (("session", "window"), np.ones((n, windows), "i2"))
        variables[f"{m}_gaps"] = ("session", np.full(n, 3, "i4"))
        coordinates[f"{m}_channel"] = np.array([f"{m} 1", f"{m} 2"], object)
        coordinates[f"{m}_channel_unit"] = (f"{m}_channel", np.array(["V", "V"], object))
    return xr.Dataset(variables, coordinates)


@pytest.fixture
def stored(tmp_path):
    """Give a store of two sessions with both modalities, opened lazily."""
    write_zarr(_sessions(["a", "b"], 4), tmp_path / "w.zarr", encoding={"fnirs_surplus": {"fill_value": -7}})
    return open_dataset(open_storage(str(tmp_path / "w.zarr")))


def test_what_the_session_lacks_is_fill(stored):
    """Samples and coverage are NaN, integers the declared fill, names and units the store's; the rest is untouched."""
    session = _sessions(["c"], 3, ["eeg"])
    whole = with_absent_modalities(session, stored)
    assert set(whole.variables) == set(stored.variables)
    assert whole["fnirs"].shape == (1, 3, 2, 10)
    assert whole["fnirs"].dtype == np.dtype("f4")
    assert np.isnan(whole["fnirs"].values).all()
    assert np.isnan(whole["fnirs_coverage"].values).all()
    assert (whole["fnirs_surplus"].values == -7).all()
    assert list(whole["fnirs_gaps"].values) == [0]
    assert list(whole["fnirs_channel"].values) == ["fnirs 1", "fnirs 2"]
    assert "fnirs_channel_unit" in whole.coords
    xr.testing.assert_identical(whole[list(session.data_vars)], session)


def test_fill_takes_no_memory(stored):
    """However many windows there are, the samples that are not there are one number."""
    values = with_absent_modalities(_sessions(["c"], 3, ["eeg"]), stored)["fnirs"].values
    assert values.strides == (0, 0, 0, 0)


def test_a_modality_that_is_there_is_left_as_it_is(stored):
    """With both modalities nothing is added; with a part of one, the part is left for the guards to refuse."""
    both, part = _sessions(["c"], 3), _sessions(["c"], 3).drop_vars("fnirs_coverage")
    assert with_absent_modalities(both, stored) is both
    assert with_absent_modalities(part, stored) is part


def test_a_store_with_one_modality_adds_nothing(stored):
    """Where the store has no fNIRS either, the session stays as it is."""
    session = _sessions(["c"], 3, ["eeg"])
    assert (
        with_absent_modalities(
            session, stored.drop_vars([n for n in stored.variables if n.startswith("fnirs")])
        )
        is session
    )


def test_absent_is_what_has_no_coverage(stored):
    """A filled modality is absent in its row; one with coverage 0 in every window was recorded."""
    whole = with_absent_modalities(_sessions(["c"], 3, ["eeg"]), stored)
    names = {name for name in whole.variables if name.startswith("fnirs")}
    assert absent_variables(whole.variables, "session", 0) == names
    assert absent_variables(_sessions(["a", "b"], 4).variables, "session", 1) == set()
    assert absent_variables(_sessions(["a"], 4, ["eeg"]).variables, "session", 0) == set()
    assert absent_variables({"x": xr.Variable("session", [1.0])}, "session", 0) == set()


def test_the_content_of_a_session_is_the_same_with_and_without_fill(stored):
    """A session has one digest, whether or not its store has a modality that it lacks; samples still count."""
    session = _sessions(["c"], 3, ["eeg"])
    whole = with_absent_modalities(session, stored)
    digest = layer_digest(session.variables, "session", 0)
    assert layer_digest(whole.variables, "session", 0) == digest
    whole["fnirs_coverage"] = xr.zeros_like(whole["fnirs_coverage"])
    assert layer_digest(whole.variables, "session", 0) != digest


def test_a_session_with_one_modality_lands_beside_those_with_both(tmp_path):
    """Appended to a store with both, an EEG-only session shows NaN; again is a no-op; the store verifies."""
    store = str(tmp_path)
    append(_sessions(["a"], 4), store, grow=("window",), chunks={"fnirs": (1, 2, 2, 10)})
    alone = _sessions(["c"], 5, ["eeg"])
    receipt = append(alone, store, grow=("window",))
    again = append(alone, store, grow=("window",))
    assert again == receipt
    windows = open_windows(store)
    assert list(windows["session"].values) == ["a", "c"]
    assert np.isnan(windows["fnirs"].values[1]).all()
    np.testing.assert_array_equal(windows["eeg"].values[1], alone["eeg"].values[0])
    assert verify(store).ok
    assert [path.name for path in (tmp_path / "windows.zarr" / "fnirs" / "c").iterdir()] == ["0"]
    staged = append(alone, str(tmp_path / "staged.zarr"), grow=("window",))
    assert staged.digests == receipt.digests


def test_a_part_of_a_modality_is_refused(tmp_path):
    """A session with fNIRS samples but without their coverage is no session without fNIRS."""
    append(_sessions(["a"], 4), str(tmp_path), grow=("window",))
    with pytest.raises(Refused, match="fnirs_coverage"):
        append(_sessions(["c"], 4).drop_vars("fnirs_coverage"), str(tmp_path), grow=("window",))


def test_a_modality_that_the_store_lacks_is_one_problem(tmp_path):
    """It says what to do, not for each variable which one of the other modality has a similar name."""
    both, one = _sessions(["b"], 3), _sessions(["a"], 3, modalities=("eeg",))
    append(one, tmp_path / "windows.zarr")
    with pytest.raises(Refused, match=r"begun by sessions without it.*partition='montage'") as caught:
        append(both, tmp_path / "windows.zarr")
    assert [problem.where for problem in caught.value.problems] == ["modality 'fnirs'"]
