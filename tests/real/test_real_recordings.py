"""Windows of real recordings equal independent readings: pyxdf without dejitter, h5py, MNE, and NumPy alone.

Nothing of the readers under test is used to work out what is expected; the rule is that of docs/windows.md.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import warnings
from contextlib import suppress

import h5py
import mne
import numpy as np
import pytest
import pyxdf

from aggrade.errors import BadInput
from aggrade.recordings.discover import sessions_in
from aggrade.recordings.vision_header import check_vision
from aggrade.windowing import cut_windows

pytestmark = pytest.mark.real

XDF = {"optics16_xdf": "test_optics16.xdf", "p1041_xdf": "data_p1041.xdf"}
RATES = {"eeg": 256, "fnirs": 64}
MODALITIES = {"EEG": "eeg", "NIRS": "fnirs"}


@pytest.fixture
def recordings(real_data):
    """Return the folder of real recordings."""
    return real_data / "recordings"


def _raw(path):
    """Return modality → (stamps, samples) of an XDF, as stored."""
    streams, _ = pyxdf.load_xdf(path, dejitter_timestamps=False)
    kinds = {MODALITIES.get(stream["info"]["type"][0]): stream for stream in streams}
    return {kind: (item["time_stamps"], item["time_series"]) for kind, item in kinds.items() if kind}


def _expected_starts(raw, size, stride, start="overlap"):
    """Work out the edges from first and last stamps: a stream ends a period and a half behind its last stamp."""
    zero = min(t[0] for t, _ in raw.values())
    firsts = [t[0] - zero for t, _ in raw.values()]
    ends = [t[-1] - zero + 1.5 / RATES[kind] for kind, (t, _) in raw.items()]
    first, end = (max(firsts), min(ends)) if start == "overlap" else (min(firsts), max(ends))
    return first + np.arange(int(np.floor((end - size - first) / stride)) + 1) * stride


@pytest.mark.parametrize("session", XDF)
@pytest.mark.parametrize(
    ("size", "stride", "start"), [(2.0, 2.0, "overlap"), (1.0, 0.25, "overlap"), (2.0, 2.0, "first")]
)
def test_windows_equal_the_raw_stamps(recordings, session, size, stride, start):
    """Number of windows, edges, coverage and every sample of every full window are those of the raw stamps."""
    raw = _raw(recordings / session / XDF[session])
    spec = {"window_size_s": size, "window_stride_s": stride, "start": start}
    windows = cut_windows(recordings / session, spec)
    starts = _expected_starts(raw, size, stride, start)
    assert windows["n_windows"].item() == len(starts)
    assert np.allclose(windows["window_start"].values[0], starts, rtol=0, atol=1e-9)
    zero = min(t[0] for t, _ in raw.values())
    for kind, (t, x) in raw.items():
        slots, full = round(size * RATES[kind]), 0
        assert windows.sizes[f"{kind}_sample"] == slots
        for window, edge in enumerate(starts):
            inside = (t - zero >= edge) & (t - zero < edge + size)
            coverage = windows[f"{kind}_coverage"].values[0, window]
            assert coverage == pytest.approx(min(inside.sum() / slots, 1.0))
            if inside.sum() >= slots:
                full += 1
                assert np.array_equal(windows[kind].values[0, window], x[inside][:slots].T)
        assert full > 0.9 * (len(starts) - 2)


@pytest.mark.parametrize("session", XDF)
def test_samples_beside_a_gap_keep_their_place(recordings, session):
    """In windows with gaps every sample lies in the slot of its own stamp, and the rest is NaN."""
    raw = _raw(recordings / session / XDF[session])
    windows = cut_windows(recordings / session, {"window_size_s": 2.0})
    zero, holed = min(t[0] for t, _ in raw.values()), 0
    for kind, (t, x) in raw.items():
        for window in np.flatnonzero(windows[f"{kind}_coverage"].values[0] < 1):
            edge = windows["window_start"].values[0, window]
            rows = np.flatnonzero((t - zero >= edge) & (t - zero < edge + 2))
            expected = np.full((x.shape[1], 2 * RATES[kind]), np.nan, "f4")
            expected[:, np.floor((t[rows] - zero - edge) * RATES[kind]).astype(int)] = x[rows].T
            assert np.array_equal(windows[kind].values[0, window], expected, equal_nan=True)
            holed += 1
    assert holed >= 1


def test_the_optics_of_p1041_begin_later(recordings):
    """The optics begin 0.28 s after the EEG: the dataset says so, and a window from the first sample on shows it."""
    windows = cut_windows(recordings / "p1041_xdf", {"window_size_s": 2.0, "start": "first"})
    assert windows["eeg_start"].item() == 0
    assert windows["fnirs_start"].item() == pytest.approx(0.28, abs=1e-9)
    first = windows["fnirs"].values[0, 0]
    assert np.isnan(first[:, :17]).all()
    assert np.isfinite(first[:, 17:]).all()
    assert windows["fnirs_coverage"].values[0, 0] == pytest.approx(111 / 128)
    overlap = cut_windows(recordings / "p1041_xdf", {"window_size_s": 2.0})
    assert overlap["window_start"].values[0, 0] == pytest.approx(0.28, abs=1e-9)
    assert overlap["session_start"].item().startswith("2025-09-25T08:24:09.879794")


def _line(windows, kind):
    """Return (channel, time) of windows that lie side by side."""
    values = windows[kind].values[0].transpose(1, 0, 2)
    return values.reshape(values.shape[0], -1)


PAIRS = {"optics16": ("test_optics16_nirs.snirf", 0.0), "p1041": ("data_p1041_nirs.snirf", 0.28)}


@pytest.mark.parametrize("session", PAIRS)
def test_pairs_hold_the_same_optics(recordings, session):
    """The optics of both forms are equal, sample by sample and slot by slot: SNIRF kept the stamps."""
    snirf, offset = PAIRS[session]
    pair = cut_windows(recordings / f"{session}_pair", {"window_size_s": 2.0})
    alone = cut_windows(recordings / f"{session}_xdf", {"window_size_s": 2.0})
    with h5py.File(recordings / f"{session}_pair" / snirf) as file:
        stored = file["nirs/data1/dataTimeSeries"][()]
    _, x = _raw(recordings / f"{session}_xdf" / XDF[f"{session}_xdf"])["fnirs"]
    same = [int(np.argmin(np.abs(x.astype("f8") - column[:, None]).max(axis=0))) for column in stored.T]
    assert len(set(same)) == 8
    assert np.abs(x[:, same] - stored).max() < 1e-5
    assert pair["fnirs_start"].item() == pytest.approx(offset, abs=1e-6)
    assert np.allclose(pair["window_start"], alone["window_start"], rtol=0, atol=1e-6)
    assert np.allclose(
        pair["fnirs"].values[0], alone["fnirs"].values[0][:, same], rtol=0, atol=1e-5, equal_nan=True
    )
    assert np.array_equal(pair["fnirs_coverage"], alone["fnirs_coverage"])


@pytest.mark.parametrize(
    ("session", "microvolts", "tolerance"), [("optics16", 1.0, 0.03), ("p1041", 1e6, 1e-3)]
)
def test_pairs_hold_the_same_eeg(recordings, session, microvolts, tolerance):
    """Behind its gaps, which EDF and FIF have lost, the EEG is equal after the shift that was lost."""
    pair = cut_windows(recordings / f"{session}_pair", {"window_size_s": 2.0, "start": "first"})
    alone = cut_windows(recordings / f"{session}_xdf", {"window_size_s": 2.0, "start": "first"})
    t, _ = _raw(recordings / f"{session}_xdf" / XDF[f"{session}_xdf"])["eeg"]
    steps = np.diff(t) * 256
    lost = round((steps - 1).sum())
    assert lost > 0
    behind = round((t[np.flatnonzero(steps > 1.5)[-1] + 1] - t[0]) * 256)
    unit = {"µV": 1.0, "V": 1e6}[str(pair["eeg_channel_unit"].values[0])]
    assert unit == microvolts
    assert list(pair["eeg_channel"].values) == list(alone["eeg_channel"].values)
    with_gaps, without = _line(alone, "eeg"), _line(pair, "eeg") * unit
    length = min(with_gaps.shape[1], without.shape[1] + lost) - behind - lost
    assert length > 256 * 50
    shifted = without[:, behind - lost : behind - lost + length]
    compared = np.isfinite(shifted) & np.isfinite(with_gaps[:, behind : behind + length])
    assert compared.mean() > 0.98
    assert np.abs(shifted - with_gaps[:, behind : behind + length])[compared].max() < tolerance


def test_how_well_the_starts_of_pairs_are_known(recordings, caplog):
    """What each file knows of its start is stored and said: EDF+ to its fraction, SNIRF and FIF to the microsecond."""
    caplog.set_level(logging.INFO, "aggrade")
    edf = cut_windows(recordings / "optics16_pair", {"window_size_s": 2.0})
    header = (recordings / "optics16_pair" / "test_optics16_eeg.edf").read_bytes()
    fraction = re.search(rb"\+0\.(\d+)\x14\x14", header)[1].rstrip(b"0")
    assert header[176:184] == b"16.51.09"
    assert edf["eeg_start_resolution_s"].item() == pytest.approx(10.0 ** -len(fraction))
    fif = cut_windows(recordings / "p1041_pair", {"window_size_s": 2.0})
    raw = mne.io.read_raw_fif(recordings / "p1041_pair" / "data_p1041_eeg_raw.fif", verbose="error")
    assert raw.info["meas_date"].isoformat() == fif["session_start"].item()
    assert fif["eeg_start_resolution_s"].item() == pytest.approx(1e-6)
    for windows in (edf, fif):
        assert windows["clock"].item() == "start times"
        assert 0 < windows["offset_resolution_s"].item() < 1e-4
        assert len(json.loads(windows["source"].item())) == 2
    assert caplog.text.count("placed against each other by start times") == 2
    assert "states no time zone" in caplog.text


def test_fingertapping_has_its_markers_in_the_right_windows(recordings):
    """With streams chosen, 36 markers lie where their stamps say, although the declared rate is wrong."""
    folder = recordings / "fingertapping_xdf"
    with pytest.raises(BadInput, match="2 fnirs streams") as caught:
        cut_windows(folder, {"window_size_s": 2.0})
    assert [problem.code for problem in caught.value.problems] == ["ambiguous-streams"]
    mapping = {"LEFT": 0, "RIGHT": 1, "NOTHING": 2}
    spec = {"window_size_s": 2.0, "mapping": mapping, "streams": {"fnirs": "Photon_Cap_C2022044_RAW"}}
    with pytest.raises(BadInput, match="2 streams with markers") as caught:
        cut_windows(folder, spec)
    assert caught.value.code == "ambiguous-markers"
    windows = cut_windows(folder, {**spec, "markers": "eeg_markers"})
    streams, _ = pyxdf.load_xdf(next(folder.iterdir()), dejitter_timestamps=False)
    named = {stream["info"]["name"][0]: stream for stream in streams}
    t, task = named["Photon_Cap_C2022044_RAW"]["time_stamps"], named["eeg_markers"]
    assert windows.attrs["fnirs_nominal_rate"] == pytest.approx(7.8837, abs=1e-4)
    assert windows["fnirs_rate_measured"].item() == pytest.approx((len(t) - 1) / (t[-1] - t[0]), rel=1e-3)
    assert windows["n_windows"].item() == int((t[-1] - t[0]) / 2)
    labels, expected = windows["label"].values[0], {}
    for stamp, [text] in zip(task["time_stamps"], task["time_series"], strict=True):
        expected[int((stamp - t[0]) // 2)] = mapping[text]
    assert len(expected) == 36
    assert {int(window): int(labels[window]) for window in np.flatnonzero(labels >= 0)} == expected


@pytest.mark.parametrize(
    ("file", "size"),
    [("neuro_snirf/neuro_run01.snirf", 2.0), ("agepie_snirf/AgePie_A16.snirf", 5.0)],
)
def test_snirf_windows_equal_its_time_vector(recordings, file, size):
    """FNIRS alone: windows begin at the first time and hold the columns of the file, in the order of time."""
    windows = cut_windows(recordings / file.split("/")[0], {"window_size_s": size})
    with h5py.File(recordings / file) as stored:
        t = stored["nirs/data1/time"][()]
        x = stored["nirs/data1/dataTimeSeries"][()].astype("f4")
    period = np.median(np.diff(t))
    slots = windows.sizes["fnirs_sample"]
    assert slots == round(size / period)
    assert windows["n_windows"].item() == int((t[-1] - t[0] + 1.5 * period) / size)
    for window, start in enumerate(windows["window_start"].values[0]):
        assert start == pytest.approx(window * size)
        inside = (t - t[0] >= start - 1e-6) & (t - t[0] < start + size - 1e-6)
        assert np.array_equal(windows["fnirs"].values[0, window], x[inside][:slots].T)
    assert (windows["fnirs_coverage"] == 1).all()
    assert "eeg" not in windows


@pytest.mark.parametrize("name", ["test.edf", "duplicate_channel_labels.edf"])
def test_edf_windows_equal_mne(recordings, name):
    """EEG alone: values are MNE's in the file's unit, and status signals are left out."""
    windows = cut_windows(recordings / "edf" / name, {"window_size_s": 2.0})
    with warnings.catch_warnings(action="ignore"):
        raw = mne.io.read_raw_edf(recordings / "edf" / name, verbose="error", preload=True)
    data = raw.get_data("eeg") * 1e6
    per = round(2 * raw.info["sfreq"])
    assert windows["n_windows"].item() == data.shape[1] // per
    assert set(windows["eeg_channel_unit"].values) == {"µV"}
    for window in range(data.shape[1] // per):
        expected = data[:, window * per : (window + 1) * per]
        assert np.allclose(windows["eeg"].values[0, window], expected, rtol=1e-6, atol=1e-4)


def test_mixed_rates_are_asked_for_and_not_resampled(recordings):
    """The signals of 100 and 12.8 Hz are two streams; each can be chosen and is as it lies in the file."""
    path = recordings / "edf" / "test_uneven_samp.edf"
    with pytest.raises(BadInput, match=r"12\.8 Hz") as caught:
        cut_windows(path, {"window_size_s": 5.0})
    assert [problem.code for problem in caught.value.problems] == ["ambiguous-streams"]
    windows = cut_windows(path, {"window_size_s": 5.0, "streams": {"eeg": "eeg 12.8 Hz"}})
    records = np.frombuffer(path.read_bytes()[768:], "<i2").reshape(11, 1128)[:, 1000:].ravel()
    assert windows.sizes["eeg_sample"] == 64
    values = _line(windows, "eeg")[0]
    assert len(values) == len(records)
    assert np.corrcoef(values, records)[0, 1] == pytest.approx(1.0)


def test_brainvision_windows_equal_the_numbers_in_the_file(recordings):
    """EEG channels are the file's 16-bit numbers times their resolution, in its unit."""
    windows = cut_windows(recordings / "brainvision", {"window_size_s": 2.0})
    numbers = np.fromfile(recordings / "brainvision" / "test.eeg", "<i2").reshape(-1, 32)
    header = (recordings / "brainvision" / "test.vhdr").read_text(encoding="utf-8", errors="replace")
    lines = re.findall(r"^Ch\d+=([^,\n]*),[^,\n]*,([^,\s]*)", header, re.MULTILINE)
    scale = {name: float(value or 1) for name, value in lines}
    names = list(scale)
    assert windows.sizes["eeg_channel"] == 26
    assert windows["n_windows"].item() == 3
    for index, name in enumerate(windows["eeg_channel"].values):
        expected = numbers[:, names.index(name)] * scale[name]
        assert np.allclose(_line(windows, "eeg")[index], expected[:6000], rtol=1e-6)


def test_brainvision_markers_are_refused_wherever_they_were_cut(recordings, tmp_path):
    """But behind a whole entry, where a list of fewer markers is left."""
    for path in (recordings / "brainvision").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    whole = (tmp_path / "test.vmrk").read_bytes()
    accepted = []
    for stop in range(len(whole) + 1):
        (tmp_path / "test.vmrk").write_bytes(whole[:stop])
        with suppress(BadInput):
            check_vision(tmp_path / "test.vhdr", "test.vhdr")
            accepted.append(whole[:stop])
    assert len(accepted) == 14
    assert all(re.search(rb"\nMk\d+=[^\n]+\n$", kept) for kept in accepted)


def test_brainvision_samples_that_end_before_a_marker_are_refused(recordings, tmp_path):
    """Half of the samples, cut on the border of one, don't reach the last marker."""
    for path in (recordings / "brainvision").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    content = (tmp_path / "test.eeg").read_bytes()
    (tmp_path / "test.eeg").write_bytes(content[: len(content) // 128 * 64])
    with pytest.raises(BadInput, match=r"test\.vmrk: found Mk\d+ at sample \d+") as caught:
        cut_windows(tmp_path, {"window_size_s": 2.0})
    assert caught.value.code == "truncated"


def test_clock_resets_keep_both_segments(recordings):
    """Two segments with a pause of minutes between them are one session, with empty windows in the pause."""
    windows = cut_windows(recordings / "clock_resets_xdf", {"window_size_s": 2.0})
    t, x = _raw(recordings / "clock_resets_xdf" / "clock_resets.xdf")["eeg"]
    pause = int(np.argmax(np.diff(t)))
    starts, coverage = windows["window_start"].values[0], windows["eeg_coverage"].values[0]
    inside = (starts > t[pause] - t[0]) & (starts + 2 < t[pause + 1] - t[0])
    assert inside.sum() > 130
    assert (coverage[inside] == 0).all()
    assert starts[-1] + 2 <= t[-1] - t[0] + 0.1
    assert windows["eeg_rate_measured"].item() == pytest.approx(1 / np.median(np.diff(t)), rel=0.03)
    kept = np.isfinite(_line(windows, "eeg")).all(axis=0)
    stored = {tuple(row) for row in x.astype("f4")}
    assert all(tuple(row) in stored for row in _line(windows, "eeg").T[kept])
    assert kept.sum() > 0.98 * len(t)


@pytest.mark.parametrize(
    ("folder", "code"),
    [("minimum_snirf", "no-data"), ("empty_streams_xdf", "no-stream"), ("edf", "ambiguous-streams")],
)
def test_what_cannot_be_cut_has_one_right_reason(recordings, folder, code):
    """A file without data, streams without samples and a folder of three recordings each get their one reason."""
    with pytest.raises(BadInput) as caught:
        cut_windows(recordings / folder, {"window_size_s": 2.0})
    assert [problem.code for problem in caught.value.problems] == [code]


def test_every_folder_is_a_session(recordings):
    """The folder of recordings lists as many sessions as it has folders."""
    found = sessions_in(str(recordings))
    assert [item.id for item in found] == sorted(path.name for path in recordings.iterdir())
