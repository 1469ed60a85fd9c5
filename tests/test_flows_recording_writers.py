"""EDF and SNIRF files are read back by MNE and h5py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import h5py
import mne
import numpy as np
import pytest

from flows.recording_writers import write_edf, write_snirf

START = datetime(2026, 10, 5, 9, 0, 7, tzinfo=timezone(timedelta(hours=2)))


def test_edf_comes_back_within_half_a_digit(tmp_path):
    """Names, rate, start and every sample are read back by MNE, the samples to half a step of 16 bits."""
    samples = np.random.default_rng(1).normal(scale=80, size=(5 * 200 + 37, 3))
    write_edf(tmp_path / "a.edf", START, samples, rate=200, labels=["Fp1", "Cz", "O2"], largest=400.0)
    raw = mne.io.read_raw_edf(tmp_path / "a.edf", verbose="error")
    assert raw.ch_names == ["Fp1", "Cz", "O2"]
    assert raw.info["sfreq"] == 200.0
    assert raw.info["meas_date"] == datetime(2026, 10, 5, 9, 0, 7, tzinfo=UTC)
    assert raw.n_times == 1000
    np.testing.assert_allclose(raw.get_data().T * 1e6, samples[:1000], atol=400 / 32767 * 0.501)


def test_edf_clips_what_is_too_large(tmp_path):
    """A sample beyond the largest value is stored as the largest, never wrapped around."""
    write_edf(tmp_path / "a.edf", START, np.array([[900.0], [-900.0]]), rate=2, labels=["Cz"], largest=500.0)
    raw = mne.io.read_raw_edf(tmp_path / "a.edf", verbose="error")
    np.testing.assert_allclose(raw.get_data()[0] * 1e6, [500.0, -500.0], rtol=1e-6)


@pytest.fixture
def snirf(tmp_path):
    """Write two pairs at two wavelengths; return the file, its time and its samples."""
    time = 0.15 + np.arange(300) / 10
    samples = np.random.default_rng(2).uniform(0.5, 1.5, size=(300, 4))
    trials = {"left": np.array([[1.0, 5.0, 1.0], [11.0, 5.0, 1.0]]), "right": np.array([[21.0, 5.0, 2.0]])}
    channels = [(1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 1, 2)]
    write_snirf(
        tmp_path / "a.snirf", START, time, samples, channels=channels, wavelengths=(760, 850), stimuli=trials
    )
    return tmp_path / "a.snirf", time, samples


def test_snirf_holds_what_the_specification_asks_for(snirf):
    """Times, samples, channels, start with its zone and trials lie where SNIRF 1.1 puts them."""
    path, time, samples = snirf
    with h5py.File(path) as file:
        assert file["formatVersion"][()] == b"1.1"
        nirs = file["nirs"]
        np.testing.assert_array_equal(nirs["data1/time"], time)
        np.testing.assert_array_equal(nirs["data1/dataTimeSeries"], samples)
        assert nirs["metaDataTags/MeasurementDate"][()] == b"2026-10-05"
        assert nirs["metaDataTags/MeasurementTime"][()] == b"09:00:07+02:00"
        third = nirs["data1/measurementList3"]
        assert [int(third[f"{name}Index"][()]) for name in ("source", "detector", "wavelength")] == [1, 1, 2]
        assert third["dataUnit"][()] == b"V"
        assert nirs["stim2/name"][()] == b"right"
        np.testing.assert_array_equal(nirs["stim2/data"], [[21.0, 5.0, 2.0]])


def test_snirf_is_read_by_mne(snirf):
    """MNE reads the file: names, wavelengths, samples and trials."""
    path, _, samples = snirf
    raw = mne.io.read_raw_snirf(path, verbose="error")
    names = ["S1_D1 760", "S2_D1 760", "S1_D1 850", "S2_D1 850"]
    assert sorted(raw.ch_names) == sorted(names)
    np.testing.assert_array_equal(raw.get_data(names).T, samples)
    assert sorted(raw.annotations.description) == ["left", "left", "right"]
