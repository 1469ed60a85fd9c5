"""The demonstration's inputs, read back by the libraries of their formats and compared with what was drawn."""

from __future__ import annotations

import hashlib
import re

import h5py
import mne
import numpy as np
import pyarrow.parquet as pq
import pytest
import pyxdf
from astropy.io import fits
from astropy.timeseries import LombScargle

from aggrade import LightCurves, append, cut_windows, open_windows, populate
from aggrade.catalogues.spec import CatalogueSpec, specification
from aggrade.window_spec import WindowSpec
from flows import demo_catalogues, demo_recordings
from flows.demo_inputs import CATALOGUE_SPEC, WINDOW_SPEC, make_inputs

SESSIONS = {session.name: session for session in demo_recordings.SESSIONS}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Make the inputs once."""
    return make_inputs(tmp_path_factory.mktemp("demo"))


def _digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _xdf(inputs, name):
    path = inputs.recordings / name / "recording.xdf"
    streams, header = pyxdf.load_xdf(path, synchronize_clocks=True, dejitter_timestamps=False)
    return {stream["info"]["type"][0]: stream for stream in streams}, header


def _table(path):
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return {
            name: table[name].to_numpy(zero_copy_only=False).astype("f8")
            if table[name].null_count
            else table[name].to_numpy()
            for name in table.column_names
        }
    with fits.open(path) as hdus:
        return {name: np.array(hdus[1].data[name]) for name in hdus[1].columns.names}


def test_the_same_call_makes_the_same_bytes(inputs, tmp_path):
    """Made elsewhere, every file has the same name and the same bytes, and nothing else lies there."""
    again = make_inputs(tmp_path)
    made = _digests(tmp_path)
    assert made == _digests(inputs.recordings.parent)
    assert len(again.made) == len(made) == 5 + demo_catalogues.NIGHTS
    assert sum(path.stat().st_size for path in again.made) < 40e6


def test_an_interrupted_call_is_continued(tmp_path):
    """What is missing is made, what is there stays untouched, and what a killed run left unfinished is removed."""
    first = make_inputs(tmp_path)
    whole = _digests(tmp_path)
    gone = [
        first.recordings / "P02 first visit" / "fnirs.snirf",
        first.catalogues / demo_catalogues.file_names()[3],
    ]
    for path in gone:
        path.unlink()
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "1-fnirs.snirf").write_bytes(b"half")
    before = {path: path.stat() for path in first.made if path not in gone}
    again = make_inputs(tmp_path)
    assert sorted(again.made) == sorted(gone)
    assert _digests(tmp_path) == whole
    assert all(path.stat().st_mtime_ns == stat.st_mtime_ns for path, stat in before.items())
    assert make_inputs(tmp_path).made == ()


@pytest.mark.parametrize(
    "name", [name for name, session in SESSIONS.items() if "recording.xdf" in session.files]
)
def test_xdf_sessions_hold_what_was_drawn(inputs, name):
    """On the common clock, stamps and samples of every stream are those drawn, to the microsecond."""
    session = SESSIONS[name]
    streams, header = _xdf(inputs, name)
    base = streams["EEG"]["time_stamps"][0]
    assert header["info"]["datetime"][0].startswith(f"{session.start:%Y-%m-%dT%H:%M}")
    np.testing.assert_array_equal(streams["EEG"]["time_series"], demo_recordings.eeg(session))
    assert ("NIRS" in streams) == (session.fnirs_delay is not None)
    for kind, modality in (("EEG", "eeg"), ("NIRS", "fnirs")):
        if kind in streams:
            truth = demo_recordings.stamps(session, modality)
            np.testing.assert_allclose(streams[kind]["time_stamps"] - base, truth, atol=1e-6)
    found = [
        (round(float(stamp - base), 6), row[0])
        for stamp, row in zip(
            streams["Markers"]["time_stamps"], streams["Markers"]["time_series"], strict=True
        )
    ]
    assert found == demo_recordings.markers(session)


@pytest.mark.parametrize(
    ("name", "kind", "rate", "gap"),
    [("P01 first visit", "EEG", 250, (64.4, 66.1)), ("P01 second visit", "NIRS", 10, (83.0, 91.5))],
)
def test_gaps_are_in_the_stamps(inputs, name, kind, rate, gap):
    """One session lacks EEG and one fNIRS for some seconds; elsewhere the stamps are evenly spaced."""
    streams, _ = _xdf(inputs, name)
    time = streams[kind]["time_stamps"] - streams["EEG"]["time_stamps"][0]
    steps = np.diff(time)
    (jump,) = np.flatnonzero(steps > 1.5 / rate)
    assert abs(time[jump] - gap[0]) <= 1 / rate + 1e-6
    assert abs(time[jump + 1] - gap[1]) <= 1 / rate + 1e-6
    np.testing.assert_allclose(np.delete(steps, jump), 1 / rate, atol=1e-6)


def test_the_pair_holds_what_was_drawn(inputs):
    """EDF and SNIRF of one session hold its EEG to half a digit, its intensities exactly, and its trials."""
    session, folder = SESSIONS["P02 first visit"], inputs.recordings / "P02 first visit"
    raw = mne.io.read_raw_edf(folder / "eeg.edf", verbose="error")
    assert tuple(raw.ch_names) == demo_recordings.EEG_LABELS
    np.testing.assert_allclose(raw.get_data().T * 1e6, demo_recordings.eeg(session), atol=500 / 32767 * 0.501)
    with h5py.File(folder / "fnirs.snirf") as file:
        np.testing.assert_array_equal(file["nirs/data1/dataTimeSeries"], demo_recordings.fnirs(session))
        np.testing.assert_array_equal(file["nirs/data1/time"], demo_recordings.stamps(session, "fnirs"))
    optics = mne.io.read_raw_snirf(folder / "fnirs.snirf", verbose="error")
    assert set(optics.ch_names) == set(demo_recordings.FNIRS_LABELS)
    assert set(optics.annotations.description) == set(WINDOW_SPEC["mapping"])


def test_all_sessions_agree_on_their_channels(inputs):
    """XDF streams bear the names that MNE gives the EDF and SNIRF channels, so one store takes them all."""
    streams, _ = _xdf(inputs, "P01 first visit")
    labels = {
        kind: [channel["label"][0] for channel in streams[kind]["info"]["desc"][0]["channels"][0]["channel"]]
        for kind in ("EEG", "NIRS")
    }
    assert labels == {"EEG": list(demo_recordings.EEG_LABELS), "NIRS": list(demo_recordings.FNIRS_LABELS)}


def test_alpha_is_stronger_at_rest():
    """Occipital power at 10 Hz is larger at rest than while tapping, by a periodogram of each block."""
    session = SESSIONS["P03 EEG only"]
    occipital, power = demo_recordings.eeg(session)[:, 6], {"rest": [], "tap": []}
    for onset, condition in demo_recordings.markers(session)[:-1]:
        block = occipital[round(onset * 250) : round((onset + 14) * 250)]
        spectrum = np.abs(np.fft.rfft(block * np.hanning(len(block)))) ** 2
        band = slice(133, 154)
        power[condition.split()[0]].append(spectrum[band].sum())
    assert np.mean(power["rest"]) > 4 * np.mean(power["tap"])


@pytest.mark.parametrize("index", [0, 1, 30, 31])
def test_catalogues_hold_what_was_drawn(inputs, index):
    """Every column of a FITS and a Parquet catalogue comes back, 64-bit ids and missing values included."""
    path = inputs.catalogues / demo_catalogues.file_names()[index]
    truth, found = demo_catalogues.night(index), _table(path)
    assert list(found) == list(truth)
    assert found["objid"].dtype.kind == "i"
    for name, values in truth.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_the_survey_has_what_the_demonstration_shows(inputs):
    """The field lies across RA 0, and there are limits, flags and stars that were not looked at."""
    tables = [_table(path) for path in sorted(inputs.catalogues.iterdir())]
    ra = np.concatenate([table["ra"] for table in tables])
    assert (ra < 1.01).sum() + (ra > 358.99).sum() == len(ra)
    assert 0.3 < (ra < 180).mean() < 0.7
    limits = np.concatenate([~np.isnan(table["r_limit"]) for table in tables])
    values = np.concatenate([~np.isnan(table["r_mag"]) for table in tables])
    assert (limits ^ values).all()
    assert 0.02 < limits.mean() < 0.5
    assert 0.005 < np.concatenate([table["g_flags"] > 0 for table in tables]).mean() < 0.05
    assert 0.5 < len(ra) / (demo_catalogues.STARS * demo_catalogues.NIGHTS) < 0.95
    assert len({path.suffix for path in inputs.catalogues.iterdir()}) == 2


def test_variable_stars_have_the_periods_that_are_told(inputs):
    """Of the periods within one in a hundred of the told one, the told one fits nearly every variable best."""
    tables = [_table(path) for path in sorted(inputs.catalogues.iterdir())]
    columns = {
        name: np.concatenate([table[name] for table in tables]) for name in ("objid", "mjd", "r_mag", "r_err")
    }
    good = np.isfinite(columns["r_mag"])
    found = []
    for star, period in list(inputs.periods.items()):
        rows = good & (columns["objid"] == star)
        search = LombScargle(columns["mjd"][rows], columns["r_mag"][rows], columns["r_err"][rows], nterms=3)
        frequency = np.linspace(0.97, 1.03, 601) / period
        best = frequency[np.argmax(search.power(frequency))]
        found.append(abs(best * period - 1) < 0.002)
    assert np.mean(found) > 0.8


def test_the_specifications_fit_the_files(inputs):
    """Every column and every marker that the specifications name is in the files, and every name has its epoch."""
    columns = set(_table(next(inputs.catalogues.glob("*.fits"))))
    named = {CATALOGUE_SPEC[key] for key in ("object_id", "ra", "dec", "time")}
    for measurement in CATALOGUE_SPEC["measurements"].values():
        named |= {measurement[key] for key in ("value", "error", "limit", "flags")}
    assert named == columns
    pattern = re.compile(CATALOGUE_SPEC["epoch"]["filename"])
    epochs = {pattern.search(name)[1] for name in demo_catalogues.file_names()}
    assert len(epochs) == demo_catalogues.NIGHTS
    conditions = {name for session in SESSIONS.values() for _, name in demo_recordings.markers(session)}
    assert set(WINDOW_SPEC["mapping"]) == conditions


def test_the_specifications_are_valid():
    """The core takes both specifications as they stand."""
    assert WindowSpec.of(WINDOW_SPEC).window_size_s == 2.0
    assert set(specification(CatalogueSpec, CATALOGUE_SPEC).measurements) == set(demo_catalogues.BANDS)


def test_the_recordings_become_one_store_of_what_was_drawn(inputs, tmp_path):
    """All sessions land in one store; each EEG sample drawn inside a window lies in its slot, gaps are NaN."""
    for name in inputs.sessions:
        append(cut_windows(inputs.recordings / name, WINDOW_SPEC), str(tmp_path), grow=("window",))
    windows = open_windows(str(tmp_path))
    assert list(windows["session"].values) == list(SESSIONS)
    for name, session in SESSIONS.items():
        row = windows.sel(session=name)
        starts = row["window_start"].values[: int(row["n_windows"])]
        time, drawn = demo_recordings.stamps(session, "eeg"), demo_recordings.eeg(session)
        grid = np.full((round(session.seconds * 250), drawn.shape[1]), np.nan)
        grid[np.rint(time * 250).astype(int)] = drawn
        first = np.ceil(starts * 250 - 1e-6).astype(int)
        truth = np.stack([grid[start : start + 500].T for start in first])
        np.testing.assert_allclose(
            row["eeg"].values[: len(starts)], truth, atol=500 / 32767 * 0.51, rtol=1e-6
        )
        assert set(row["label"].values[: len(starts)]) == {0, 1, 2}


def test_the_catalogues_become_light_curves_of_what_was_drawn(inputs, tmp_path):
    """Every cell of every night equals the table, and its time is the row's to 100 microseconds."""
    populate(str(inputs.catalogues), str(tmp_path), CATALOGUE_SPEC)
    curves = LightCurves(str(tmp_path))
    assert set(inputs.periods) <= set(curves.dataset["object"].values.tolist())
    for index, name in enumerate(demo_catalogues.file_names()):
        night, found = demo_catalogues.night(index), curves.epoch(name[7:17]).load()
        at = found.indexes["object"].get_indexer(night["objid"])
        assert int((found["status"] > 0).any("measurement").sum()) == len(at)
        for column, band in enumerate(demo_catalogues.BANDS):
            lost = np.isnan(night[f"{band}_mag"])
            value = np.where(lost, night[f"{band}_limit"], night[f"{band}_mag"])
            status = np.where(lost, 2, np.where(night[f"{band}_flags"] > 0, 3, 1))
            np.testing.assert_array_equal(found["lightcurves"].values[at, column, 0], value)
            np.testing.assert_array_equal(found["lightcurves"].values[at, column, 1], night[f"{band}_err"])
            np.testing.assert_array_equal(found["status"].values[at, column], status)
        time = float(found["epoch_time"]) + found["time_offset"].values[at, 0] / 86400
        np.testing.assert_allclose(time, night["mjd"], rtol=0, atol=1e-9)
