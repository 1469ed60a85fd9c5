"""Windows are opened from every form of dataset, lazily, and equal what was written with plain xarray."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
import xarray as xr
from make_stores import write_zarr

import aggrade.storage as storages
from aggrade.errors import BadInput, Damaged
from aggrade.opening import (
    live_rows,
    open_dataset,
    open_session,
    open_stores,
    open_windows,
    without_superseded,
)
from aggrade.storage import open_storage

RNG = np.random.default_rng(11)
CHANNELS = ("Fp1", "Fp2")


def _windows(sessions, windows, *, fnirs=True):
    n = len(sessions)
    variables = {
        "eeg": (
            ("session", "window", "eeg_channel", "eeg_sample"),
            RNG.normal(size=(n, windows, 2, 50)).astype("f4"),
        ),
        "label": (
            ("session", "window"),
            RNG.integers(-1, 3, (n, windows)).astype("i2"),
            {"mapping": {"rest": 0}},
        ),
        "n_windows": ("session", np.full(n, windows, "i4")),
        "source": ("session", np.array([f"{session}.xdf" for session in sessions], object)),
    }
    if fnirs:
        values = RNG.normal(size=(n, windows, 1, 20)).astype("f4")
        variables["fnirs"] = (("session", "window", "fnirs_channel", "fnirs_sample"), values)
    coordinates = {"session": np.array(sessions, object), "eeg_channel": np.array(CHANNELS, object)}
    if fnirs:
        coordinates["fnirs_channel"] = np.array(["S1_D1 760"], object)
    return xr.Dataset(variables, coordinates, {"title": "windows"})


def _write(dataset, path, **bookkeeping):
    encoding = {"eeg": {"chunks": (1, 1, 2, 50)}, "label": {"fill_value": -1}}
    return write_zarr(dataset, path, encoding=encoding, **bookkeeping)


def _equal(found, truth):
    for name, variable in truth.variables.items():
        np.testing.assert_array_equal(found[name].values, variable.values, err_msg=name)
        assert found[name].dims == variable.dims


@pytest.mark.parametrize("inside", [True, False])
def test_one_store_is_opened_by_its_root_or_its_own_url(tmp_path, inside):
    """A dataset root with windows.zarr and that store itself give the same dataset."""
    truth = _write(_windows(["a b", "ü/1"], 4), tmp_path / "windows.zarr")
    found = open_windows(str(tmp_path / "windows.zarr") if inside else str(tmp_path))
    _equal(found, truth)
    assert found.attrs["title"] == "windows"


def test_partitions_are_united_in_the_order_of_their_names(tmp_path):
    """Sessions of two months come one behind the other; shorter ones are filled up, integers stay integers."""
    october, november = _windows(["s1", "s2"], 3), _windows(["s0"], 5)
    _write(november, tmp_path / "windows" / "2026-11.zarr")
    _write(october, tmp_path / "windows" / "2026-10.zarr")
    found = open_windows(str(tmp_path))
    assert list(found["session"].values) == ["s1", "s2", "s0"]
    assert found["label"].dtype == np.dtype("i2")
    np.testing.assert_array_equal(found["label"].values[:2, 3:], np.full((2, 2), -1))
    np.testing.assert_array_equal(found["label"].values[:2, :3], october["label"].values)
    np.testing.assert_array_equal(found["eeg"].values[2], november["eeg"].values[0])
    assert np.isnan(found["eeg"].values[:2, 3:]).all()
    assert list(found["n_windows"].values) == [3, 3, 5]
    assert found["label"].attrs == {"mapping": {"rest": 0}}


def test_stores_per_session_are_united_with_one_modality_missing(tmp_path):
    """A session without fNIRS stands beside one with it; its fNIRS is NaN."""
    both, alone = _windows(["s1"], 2), _windows(["s2"], 3, fnirs=False)
    _write(both, tmp_path / "sessions" / "s1_windowed.zarr")
    _write(alone, tmp_path / "sessions" / "s2_windowed.zarr")
    found = open_windows(str(tmp_path))
    np.testing.assert_array_equal(found["fnirs"].values[0, :2], both["fnirs"].values[0])
    assert np.isnan(found["fnirs"].values[1]).all()
    np.testing.assert_array_equal(found["eeg"].values[1], alone["eeg"].values[0])
    assert found.attrs == {"title": "windows"}


def test_copies_and_backups_are_left_out(tmp_path):
    """What is rechunked or backed up beside the windows does not show its sessions again."""
    truth = _windows(["s1"], 2)
    for place in ("windows.zarr", "windows_for_training.zarr", "windows.zarr.backups/x.zarr"):
        _write(truth, tmp_path / place)
    assert open_windows(str(tmp_path)).sizes["session"] == 1


def test_superseded_sessions_are_left_out(tmp_path):
    """A row that a replacement marked as superseded does not show, in one store or in several."""
    truth = _windows(["s1", "s2", "s1"], 2)
    _write(truth, tmp_path / "windows" / "a.zarr", superseded=[0])
    alone = open_windows(str(tmp_path))
    assert list(alone["session"].values) == ["s2", "s1"]
    np.testing.assert_array_equal(alone["eeg"].values, truth["eeg"].values[1:])
    _write(_windows(["s3", "s4"], 2), tmp_path / "windows" / "b.zarr", superseded=[1])
    assert list(open_windows(str(tmp_path))["session"].values) == ["s2", "s1", "s3"]


def test_live_rows_say_what_is_left():
    """Without a mark nothing is left out; along another dimension the mark does not count."""
    dataset = xr.Dataset({"x": ("session", [1, 2, 3])})
    assert live_rows(dataset, "session") is None
    marked = dataset.assign_attrs(aggrade={"superseded": [1]})
    assert list(live_rows(marked, "session")) == [0, 2]
    assert live_rows(marked, "epoch") is None
    assert list(without_superseded(marked, "session")["x"].values) == [1, 3]


def test_opening_reads_no_sample(tmp_path):
    """With every sample's chunk removed, the dataset opens, and only reading a sample would miss it."""
    _write(_windows(["s1"], 2), tmp_path / "windows" / "a.zarr")
    _write(_windows(["s2"], 2), tmp_path / "windows" / "b.zarr")
    for chunk in (tmp_path / "windows").glob("*/eeg/c/**/*"):
        if chunk.is_file():
            chunk.write_bytes(b"not a chunk")
    found = open_windows(str(tmp_path))
    assert found.sizes == {
        "session": 2,
        "window": 2,
        "eeg_channel": 2,
        "eeg_sample": 50,
        "fnirs_channel": 1,
        "fnirs_sample": 20,
    }
    with pytest.raises(Exception, match=r"(?i)zstd|decompress|checksum|buffer|input"):
        found["eeg"].isel(session=1, window=0).load()


def test_the_dataset_can_be_pickled(tmp_path):
    """A data loader's worker gets a copy that reads the same windows."""
    _write(_windows(["s1"], 2), tmp_path / "windows" / "a.zarr")
    _write(_windows(["s2"], 3), tmp_path / "windows" / "b.zarr")
    found = open_windows(str(tmp_path))
    copy = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copy["eeg"].isel(session=1).values, found["eeg"].isel(session=1).values)


def test_nothing_warns(tmp_path):
    """Opening and reading give no warning."""
    _write(_windows(["s1"], 2), tmp_path / "windows" / "a.zarr")
    _write(_windows(["s2"], 3), tmp_path / "windows" / "b.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_windows(str(tmp_path)).load()


def test_a_root_without_windows_says_what_lies_there(tmp_path):
    """Where only light curves lie, the error names them; where nothing lies, it says so."""
    with pytest.raises(BadInput, match=r"found no store, expected windows.zarr") as caught:
        open_windows(str(tmp_path / "absent"))
    assert caught.value.code == "no-windows"
    write_zarr(xr.Dataset({"x": ("object", [1.0])}), tmp_path / "lightcurves.zarr")
    with pytest.raises(BadInput, match=r"found lightcurves.zarr"):
        open_windows(str(tmp_path))
    with pytest.raises(BadInput, match="a Zarr store without sessions"):
        open_windows(str(tmp_path / "lightcurves.zarr"))


def test_a_store_that_is_just_being_created_is_left_out(tmp_path):
    """A partition that has an intent but no root yet does not hide the others."""
    _write(_windows(["s1"], 2), tmp_path / "windows" / "a.zarr")
    (tmp_path / "windows" / "b.zarr" / ".aggrade").mkdir(parents=True)
    (tmp_path / "windows" / "b.zarr" / ".aggrade" / "intent.json").write_text("{}")
    assert list(open_windows(str(tmp_path))["session"].values) == ["s1"]


def test_stores_that_do_not_fit_together_are_refused(tmp_path):
    """The same session in two stores is refused by its name and theirs."""
    _write(_windows(["s1"], 2), tmp_path / "windows.zarr")
    _write(_windows(["s1"], 2), tmp_path / "sessions" / "s1_windowed.zarr")
    with pytest.raises(
        BadInput, match=r"session 's1': found it in sessions/s1_windowed.zarr and in windows.zarr"
    ):
        open_windows(str(tmp_path))


def _two_montages(root):
    """Write two partitions whose sessions have other channels, and windows of another number of samples."""
    many = _windows(["s1", "s3"], 3).isel(eeg_sample=slice(0, 20)).assign_coords(eeg_channel=["C3", "C4"])
    few = _windows(["s2"], 2)
    many["n_windows"].values[1] = 2
    write_zarr(many, root / "windows" / "a.zarr", superseded=[0])
    write_zarr(few, root / "windows" / "b.zarr")
    return many, few


def test_stores_of_other_montages_are_named(tmp_path):
    """The refusal names a store that opens by itself, and so does what opens each of them."""
    many, few = _two_montages(tmp_path)
    with pytest.raises(BadInput, match="open the stores one by one, such as") as caught:
        open_windows(str(tmp_path))
    assert f"{tmp_path}/windows/b.zarr" in str(caught.value)
    _equal(open_windows(f"{tmp_path}/windows/b.zarr"), few)
    stores = open_stores(str(tmp_path))
    assert list(stores) == ["windows/a.zarr", "windows/b.zarr"]
    _equal(stores["windows/a.zarr"], many.isel(session=[1]))
    _equal(stores["windows/b.zarr"], few)


def test_one_session_of_any_store(tmp_path):
    """A session is opened with its own windows alone, whatever else lies below the root."""
    many, few = _two_montages(tmp_path)
    _equal(open_session(str(tmp_path), "s3"), many.isel(session=[1], window=slice(0, 2)))
    _equal(open_session(f"{tmp_path}/windows/b.zarr", "s2"), few)


@pytest.mark.parametrize(("session", "told"), [("s1", "expected one of s3, s2"), ("", "expected one of")])
def test_a_session_that_does_not_show(tmp_path, session, told):
    """One that was replaced, and one that never was, are not there; those that are there are named."""
    _two_montages(tmp_path)
    with pytest.raises(BadInput, match=told) as caught:
        open_session(str(tmp_path), session)
    assert caught.value.code == "no-session"


def test_a_session_in_two_stores_is_not_chosen(tmp_path):
    """Which one is meant is not guessed."""
    _two_montages(tmp_path)
    _write(_windows(["s2"], 2), tmp_path / "windows.zarr")
    with pytest.raises(BadInput, match="aggrade remove") as caught:
        open_session(str(tmp_path), "s2")
    assert caught.value.code == "duplicate-label"
    assert open_session(str(tmp_path), "s3").sizes["session"] == 1


@pytest.mark.parametrize(
    "root", ["{}", "no JSON", json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}})]
)
def test_a_root_that_is_not_consolidated_is_damaged(tmp_path, root):
    """A root that readers cannot trust is an error that says what to do, not an empty dataset."""
    (tmp_path / "zarr.json").write_text(root)
    with pytest.raises(Damaged, match="consolidate") as caught:
        open_dataset(open_storage(str(tmp_path)))
    assert caught.value.code == "not-a-store"


def test_no_store_opens_as_none(tmp_path):
    """Where there is no root there is no store, which is not an error of this function."""
    assert open_dataset(open_storage(str(tmp_path))) is None


def test_storage_options_reach_the_storage(tmp_path, monkeypatch):
    """Credentials and endpoint given to the call are those the store is opened with."""
    seen = []
    opener = storages.open_storage

    def recording(url, options=None):
        seen.append((url, options))
        return opener(str(tmp_path))

    monkeypatch.setattr("aggrade.opening.open_storage", recording)
    _write(_windows(["s1"], 2), tmp_path / "windows.zarr")
    open_windows("s3://bucket/x", storage_options={"key": "k"})
    assert seen == [("s3://bucket/x", {"key": "k"})]


def test_windows_are_selected_by_what_the_store_says(tmp_path):
    """Of two stores, the windows of one label stay, lazily and in order; what can't be asked is refused."""
    for number, sessions in enumerate((["a", "b"], ["c"])):
        _write(_windows(sessions, 4 + number), tmp_path / "windows" / f"2026-0{number + 1}.zarr")
    whole = open_windows(str(tmp_path))
    found = open_windows(str(tmp_path), where={"label": ["rest", 2]})
    kept = np.isin(whole["label"].values, [0, 2])
    assert found["n_windows"].values.tolist() == [count for count in kept.sum(axis=1) if count]
    rows = [row for row in range(3) if kept[row].any()]
    for at, row in enumerate(rows):
        count = int(found["n_windows"][at])
        np.testing.assert_array_equal(found["eeg"][at, :count].values, whole["eeg"].values[row][kept[row]])
    with pytest.raises(BadInput, match="no such variable"):
        open_windows(str(tmp_path), where={"eeg": 1})
    assert open_windows(str(tmp_path), where={"label": 7}).sizes["session"] == 0
