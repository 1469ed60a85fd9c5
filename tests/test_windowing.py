"""Sessions in real formats become windows whose every number can be told beforehand."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_recordings import (
    START,
    EdfSignal,
    counted,
    eeg_stream,
    marker_stream,
    nirs_stream,
    write_edf_signals,
    write_fif,
    write_snirf,
    write_xdf,
)

from aggrade.errors import BadInput
from aggrade.windowing import cut_windows
from flows.recording_writers import write_snirf as write_optodes
from flows.xdf_writer import XdfStream, xdf_bytes

TWO = {"window_size_s": 2.0}


@pytest.fixture
def both(tmp_path):
    """Return a session of 20 s of EEG with a gap and fNIRS that begins 0.28 s later, and its stamps."""
    eeg = 100 + np.delete(np.arange(5120), range(1200, 1235)) / 256
    nirs = 100.28 + np.arange(190) / 10
    markers = marker_stream([103.0, 109.5], ["go", "stop"])
    header = {"datetime": "2026-03-01T10:00:00Z"}
    write_xdf(tmp_path / "rec.xdf", [eeg_stream(eeg), nirs_stream(nirs), markers], header=header)
    return tmp_path, eeg - 100, nirs - 100


def test_every_sample_lies_where_its_stamp_says(both):
    """Windows equal a plain reading of the stamps: edges, counts, coverage, and every sample of every slot."""
    folder, eeg, nirs = both
    windows = cut_windows(folder, TWO)
    starts = nirs[0] + np.arange(9) * 2.0
    assert windows["n_windows"].item() == 9
    assert windows["window_start"].values[0] == pytest.approx(starts, abs=1e-12)
    for name, t, rate, channels in (("eeg", eeg, 256, 2), ("fnirs", nirs, 10, 3)):
        x = counted(len(t), channels)
        for window, start in enumerate(windows["window_start"].values[0]):
            expected = np.full((channels, 2 * rate), np.nan)
            first = np.ceil(round((start - t[0]) * rate, 6)) / rate + t[0]
            for row in np.flatnonzero((t >= start - 1e-9) & (t < start + 2 - 1e-9)):
                expected[:, round((t[row] - first) * rate)] = x[row]
            assert np.array_equal(windows[name].values[0, window], expected, equal_nan=True)
            covered = np.isfinite(expected[0]).mean()
            assert windows[f"{name}_coverage"].values[0, window] == pytest.approx(covered)


def test_the_layout_is_the_documented_one(both):
    """Names, dimensions and types are those of docs/windows.md."""
    windows = cut_windows(both[0], {**TWO, "mapping": {"go": 3}})
    window, channels = ("session", "window"), ("session", "window", "eeg_channel")
    expected = {
        "eeg": ((*channels, "eeg_sample"), "float32"),
        "fnirs": (("session", "window", "fnirs_channel", "fnirs_sample"), "float32"),
        "eeg_line_noise": (channels, "float32"),
        "fnirs_scalp_coupling": ((*window, "fnirs_channel"), "float32"),
        "window_start": (window, "float64"),
        "label": (window, "int16"),
        "bad_fraction": (window, "float32"),
        "max_gap": (window, "float32"),
        "n_windows": (("session",), "int32"),
    }
    for name in ("eeg", "fnirs"):
        expected |= {f"{name}_coverage": (window, "float32"), f"{name}_surplus": (window, "int16")}
        kinds = {"peak_to_peak": "float32", "flat": "bool", "nan_count": "int32", "rail": "float32"}
        expected |= {f"{name}_{text}": ((*window, f"{name}_channel"), kind) for text, kind in kinds.items()}
        expected |= {f"{name}_gaps": (("session",), "int32"), f"{name}_lost": (("session",), "int64")}
        expected[f"{name}_channel_bad"] = (("session", f"{name}_channel"), "bool")
        for text in ("start", "start_resolution_s", "rate_measured", "jitter_s"):
            expected[f"{name}_{text}"] = (("session",), "float64")
    for name in ("session_start_resolution_s", "offset_resolution_s"):
        expected[name] = (("session",), "float64")
    for name in ("session_start", "clock", "source", "source_digest", "content_digest", "receipt"):
        expected[name] = (("session",), "object")
    found = {str(name): (item.dims, str(item.dtype)) for name, item in windows.data_vars.items()}
    assert found == expected
    assert set(windows.coords) == {"session"} | {
        f"{name}_channel{part}" for name in ("eeg", "fnirs") for part in ("", "_unit", "_type")
    }
    assert windows.sizes == {
        "session": 1, "window": 9, "eeg_channel": 2, "eeg_sample": 512, "fnirs_channel": 3, "fnirs_sample": 20
    }  # fmt: skip


def test_what_is_known_of_a_session_is_stored(both):
    """Provenance, measured rates, gaps and how well starts are known stand beside the windows."""
    folder, _, _ = both
    windows = cut_windows(folder, {**TWO, "mapping": {"go": 3}})
    values = {
        str(name): item.values[0] for name, item in windows.data_vars.items() if item.dims == ("session",)
    }
    assert values["session_start"] == "2026-03-01T10:00:00+00:00"
    assert json.loads(values["source"]) == ["rec.xdf"]
    assert (values["content_digest"], values["receipt"]) == ("", "")
    assert len(values["source_digest"]) == 64
    assert (values["eeg_start"], values["fnirs_start"]) == (0.0, pytest.approx(0.28))
    assert (values["eeg_gaps"], values["eeg_lost"], values["fnirs_gaps"]) == (1, 35, 0)
    assert (values["eeg_rate_measured"], values["fnirs_rate_measured"]) == (256.0, pytest.approx(10.0))
    assert (values["clock"], values["offset_resolution_s"], values["eeg_start_resolution_s"]) == (
        "stamps",
        0,
        1,
    )
    assert windows.attrs["mapping"] == windows["label"].attrs["mapping"] == {"go": 3}
    assert windows.attrs["eeg_nominal_rate"] == 256.0
    assert windows.attrs["window_size_s"] == windows.attrs["fnirs_window_s"] == 2.0
    assert json.loads(windows.attrs["spec"])["window_size_s"] == 2.0
    assert str(folder) not in json.dumps({**windows.attrs, **{k: str(v) for k, v in values.items()}})
    assert list(windows["session"].values) == [folder.name]
    assert list(windows["eeg_channel_unit"].values) == ["µV", "µV"]


def test_the_same_input_gives_an_identical_dataset(both, tmp_path_factory):
    """Cut again, and from a copy elsewhere, the dataset is the same, attribute by attribute."""
    folder, _, _ = both
    again = tmp_path_factory.mktemp("copy") / folder.name
    again.mkdir()
    (again / "rec.xdf").write_bytes((folder / "rec.xdf").read_bytes())
    first = cut_windows(folder, TWO)
    assert first.identical(cut_windows(folder, dict(TWO)))
    assert first.identical(cut_windows(str(again) + "/", TWO))


def test_quality_is_stored_and_not_applied(tmp_path):
    """Peak to peak, flat channels and the longest gap are what a count by hand says."""
    t = np.delete(np.arange(1024), range(300, 320)) / 256
    x = np.stack([np.sin(t), np.full(len(t), 5.0)], axis=1)
    write_xdf(tmp_path / "a.xdf", [eeg_stream(t, x)])
    windows = cut_windows(tmp_path, TWO)
    inside = [x[t < 2].astype("f4"), x[t >= 2].astype("f4")]
    assert windows["eeg_peak_to_peak"].values[0] == pytest.approx(
        np.array([np.ptp(part, axis=0) for part in inside])
    )
    assert windows["eeg_flat"].values[0].tolist() == [[False, True], [False, True]]
    assert windows["max_gap"].values[0] == pytest.approx([20 / 256, 0.0])
    assert windows["eeg_coverage"].values[0] == pytest.approx([1 - 20 / 512, 1.0])


def test_samples_without_a_number_are_counted_by_channel(tmp_path):
    """The count per window and channel is that of the NaN in it, lost samples included."""
    x = counted(200, 3)
    x[25:28, 1] = np.nan
    kept = np.r_[0:100, 105:200]
    windows = cut_windows(write_snirf(tmp_path / "a.snirf", kept / 10, x[kept]), TWO)
    expected = np.zeros((10, 3), int)
    expected[1, 1], expected[5] = 3, 5
    assert np.array_equal(windows["fnirs_nan_count"].values[0], expected)
    assert np.array_equal(windows["fnirs_nan_count"], np.isnan(windows["fnirs"]).sum("fnirs_sample"))


def _large_snirf(folder, x):
    write_snirf(folder / "a.snirf", np.arange(200) / 10, x)


def _large_xdf(folder, x):
    stream = nirs_stream(np.arange(200) / 10, np.zeros((200, 2)), labels=("o1", "o2"))
    write_xdf(folder / "a.xdf", [replace(stream, samples=x)])


@pytest.mark.parametrize("write", [_large_snirf, _large_xdf])
def test_samples_too_large_to_be_stored_are_refused(tmp_path, write):
    """What 32-bit floats can't hold, as damage leaves it, is told and never stored as infinite."""
    x = counted(200, 2).astype("f8")
    x[150, 1] = -1e300
    write(tmp_path, x)
    with pytest.raises(BadInput, match=r"32-bit floats.*3\.4e38") as caught:
        cut_windows(tmp_path, TWO)
    assert caught.value.code == "too-large"


def test_a_clipped_channel_is_seen_across_windows(tmp_path):
    """What clips in one window is on the rail there; a window that stays below is not."""
    t = np.arange(2048) / 256
    x = np.stack([np.sin(t), np.clip(3 * np.sin(t), -2, 2)], axis=1)
    write_xdf(tmp_path / "a.xdf", [eeg_stream(t, x)])
    windows = cut_windows(tmp_path, TWO)
    expected = [[0, np.mean(np.abs(part) >= 2)] for part in np.split(x[:, 1], 4)]
    assert windows["eeg_rail"].values[0] == pytest.approx(np.array(expected))
    assert sum(part == 0 for _, part in expected) < 4


def _pulse(seconds, rate=10.0):
    """Return two wavelengths that see one heartbeat in the first half and each its own noise in the second."""
    rng, t = np.random.default_rng(3), np.arange(round(seconds * rate)) / rate
    noise = rng.normal(size=(len(t), 2))
    return t, np.where(t[:, None] < seconds / 2, np.sin(7 * t)[:, None] + 0.05 * noise, noise)


def _write_pairs(path, t, x):
    """Write a SNIRF of one place with two wavelengths."""
    channels, start = [(1, 1, 1), (1, 1, 2)], START
    write_optodes(path, start, t, x, channels=channels, wavelengths=[760, 850], stimuli={})
    return path


def test_short_windows_have_the_coupling_of_ten_seconds_around(tmp_path):
    """Windows of 2 s have the index of the 10 s about their middle, as windows of 10 s there have it."""
    t, x = _pulse(80.0)
    path = _write_pairs(tmp_path / "a.snirf", t, x)
    short = cut_windows(path, TWO)["fnirs_scalp_coupling"].values[0]
    long = cut_windows(path, {"window_size_s": 10.0, "window_stride_s": 2.0})["fnirs_scalp_coupling"].values[
        0
    ]
    assert short.shape == (40, 2)
    assert np.array_equal(short[2:38], long)
    assert np.array_equal(short[:2], long[[0, 0]])
    assert np.array_equal(short[38:], long[[-1, -1]])
    assert short[:15].min() > 0.9
    assert short[25:].max() < 0.7


def test_a_hole_takes_the_coupling_away(tmp_path):
    """Windows whose 10 s miss a sample have no index, and the others keep theirs."""
    t, x = _pulse(80.0)
    kept = np.r_[0:300, 340:800]
    whole = cut_windows(_write_pairs(tmp_path / "a.snirf", t, x), TWO)["fnirs_scalp_coupling"].values[0]
    path = _write_pairs(tmp_path / "b.snirf", t[kept], x[kept])
    holed = cut_windows(path, TWO)["fnirs_scalp_coupling"].values[0]
    middles = 1 + 2 * np.arange(40)
    near = (middles + 5 > 30) & (middles - 5 < 34)
    assert np.isnan(holed[near]).all()
    assert holed[~near] == pytest.approx(whole[~near], abs=1e-6)


def test_windows_far_apart_are_cut_without_what_lies_between(tmp_path, monkeypatch):
    """However small the pieces that are read, and whatever the stride, the dataset is the same."""
    t, x = _pulse(80.0)
    path = _write_pairs(tmp_path / "a.snirf", t, x)
    for spec in (TWO, {**TWO, "window_stride_s": 0.7}, {**TWO, "window_stride_s": 9.0}):
        whole = cut_windows(path, spec)
        with monkeypatch.context() as patch:
            patch.setattr("aggrade.window_filling.PIECE_BYTES", 700)
            assert cut_windows(path, spec).identical(whole)


def test_windows_in_a_hole_are_empty_and_none_moves(tmp_path):
    """A hole of 30 s in a SNIRF leaves windows of NaN with coverage 0, and the end where it was."""
    time = np.arange(3000) / 10
    whole = cut_windows(write_snirf(tmp_path / "a.snirf", time, counted(3000, 2)), TWO)
    kept = (time < 100) | (time >= 130)
    holed = cut_windows(write_snirf(tmp_path / "b.snirf", time[kept], counted(3000, 2)[kept]), TWO)
    assert np.array_equal(holed["window_start"], whole["window_start"])
    assert (holed["fnirs_coverage"].values[0, 50:65] == 0).all()
    assert np.isnan(holed["fnirs"].values[0, 50:65]).all()
    others = np.r_[0:50, 65:150]
    assert np.array_equal(holed["fnirs"].values[0, others], whole["fnirs"].values[0, others])
    assert holed["max_gap"].values[0].max() == pytest.approx(2.0)


def test_a_rejected_channel_does_not_lower_the_coverage(tmp_path):
    """A channel of NaN is a channel without numbers; a sample of NaN in all channels is no sample."""
    x = counted(200, 3)
    x[:, 1] = np.nan
    x[45:50] = np.nan
    windows = cut_windows(write_snirf(tmp_path / "a.snirf", np.arange(200) / 10, x), TWO)
    coverage = windows["fnirs_coverage"].values[0]
    assert coverage[2] == pytest.approx(0.75)
    assert (np.delete(coverage, 2) == 1).all()
    assert np.isnan(windows["fnirs"].values[0, :, 1]).all()


def test_a_false_declared_rate_is_not_believed(tmp_path, caplog):
    """A stream that declares 7.88 Hz and runs at 9.13 is cut at 9.13, which is said and stored."""
    t = np.arange(2000) / 9.13
    write_xdf(tmp_path / "a.xdf", [nirs_stream(t, rate=7.88)])
    windows = cut_windows(tmp_path, TWO)
    assert windows["n_windows"].item() == int((2000 / 9.13) / 2)
    assert windows.sizes["fnirs_sample"] == 18
    assert windows["fnirs_rate_measured"].item() == pytest.approx(9.13)
    assert windows.attrs["fnirs_nominal_rate"] == 7.88
    assert windows["fnirs_surplus"].values[0].max() == 1
    assert "declares 7.88 Hz and runs at 9.13 Hz" in caplog.text


def test_an_undeclared_rate_is_measured(tmp_path):
    """SNIRF declares no rate: three digits of the measured one stand for it."""
    windows = cut_windows(write_snirf(tmp_path / "a.snirf", np.arange(900) / 20.0331, counted(900, 1)), TWO)
    assert windows.attrs["fnirs_nominal_rate"] == 20.0
    assert windows["fnirs_rate_measured"].item() == pytest.approx(20.0331)


def test_the_number_of_samples_is_fixed_once(tmp_path):
    """210 ms at 250 Hz are 52 samples in every window, whose starts step by 210 ms, not by 52 samples."""
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(5000) / 250, rate=250)])
    windows = cut_windows(tmp_path, {"window_size_s": 0.21})
    assert windows.sizes["eeg_sample"] == 52
    assert windows["window_start"].values[0] == pytest.approx(np.arange(95) * 0.21)
    assert (windows["eeg_coverage"] == 1).all()
    first = np.ceil(np.arange(95) * 52.5)
    assert np.array_equal(windows["eeg"].values[0, :, 0, 0], first)


def test_sizes_and_strides_in_samples(both):
    """512 samples with a stride of 128 at 256 Hz are 2 s and 0.5 s."""
    windows = cut_windows(both[0], {"window_size_samples": 512, "window_stride_samples": 128})
    assert windows.sizes["eeg_sample"] == 512
    assert np.diff(windows["window_start"].values[0]) == pytest.approx(0.5)
    assert windows.attrs["window_stride_s"] == 0.5


def test_a_delayed_longer_fnirs_span(both):
    """The fNIRS of a window begins offset seconds later and lasts its own length."""
    folder, _, nirs = both
    windows = cut_windows(folder, {**TWO, "fnirs_offset_s": 3.0, "fnirs_window_s": 5.0, "start": "overlap"})
    starts = windows["window_start"].values[0]
    assert starts[0] == 0
    assert windows.sizes["fnirs_sample"] == 50
    for window, start in enumerate(starts):
        rows = np.flatnonzero((nirs >= start + 3 - 1e-9) & (nirs < start + 8 - 1e-9))
        assert np.array_equal(windows["fnirs"].values[0, window], counted(190, 3)[rows].T)


def test_starting_with_the_first_stream(both):
    """Windows from the first sample on show what the other modality lacks as NaN and coverage."""
    windows = cut_windows(both[0], {**TWO, "start": "first"})
    assert windows["window_start"].values[0, 0] == 0
    assert windows["fnirs_coverage"].values[0, 0] == pytest.approx(0.9)
    assert np.isnan(windows["fnirs"].values[0, 0, :, :2]).all()
    assert windows["fnirs"].values[0, 0, 0, 2] == 0


def test_markers_label_windows(both):
    """A marker at 3.0 s labels the window that holds it; held, it labels all up to the next one."""
    spec = {**TWO, "mapping": {"go": 3, "stop": 4}}
    assert cut_windows(both[0], spec)["label"].values[0].tolist() == [-1, 3, -1, -1, 4, -1, -1, -1, -1]
    held = cut_windows(both[0], {**spec, "hold_markers": True})["label"].values[0]
    assert held.tolist() == [-1, 3, 3, 3, 3, 4, 4, 4, 4]


def test_a_mapping_that_fits_nothing_is_said(both, caplog):
    """Labels that never occur leave -1 and a warning."""
    assert (cut_windows(both[0], {**TWO, "mapping": {"GO": 1}})["label"] == -1).all()
    assert "no marker of the mapping says 'GO'; the markers say 'go', 'stop'" in caplog.text


def test_a_text_that_is_on_no_marker_can_be_refused_or_passed_over(both, caplog):
    """What is missing is named and refused, or not even said."""
    spec = {**TWO, "mapping": {"go": 0, "GO": 1, "halt": 2}}
    with pytest.raises(BadInput, match=r"says 'GO', 'halt'.*the markers say 'go', 'stop'") as caught:
        cut_windows(both[0], {**spec, "on_missing": "error"})
    assert caught.value.code == "missing-marker"
    windows = cut_windows(both[0], {**spec, "on_missing": "ignore"})
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert windows["label"].values[0].tolist().count(0) == 1
    cut_windows(both[0], {**TWO, "mapping": {"go": 0}, "on_missing": "error"})


def test_channels_are_chosen_and_ordered(both):
    """Channels come in the order asked for, with their samples."""
    windows = cut_windows(both[0], {**TWO, "eeg_channels": ["B"], "fnirs_channels": ["o3", "o1"]})
    assert list(windows["eeg_channel"].values) == ["B"]
    assert list(windows["fnirs_channel"].values) == ["o3", "o1"]
    assert windows["fnirs"].values[0, 0, :, 0].tolist() == [0.25, 0.0]


@pytest.mark.parametrize(("left_out", "kept"), [("eeg", "fnirs"), ("fnirs", "eeg")])
def test_one_modality_alone(both, left_out, kept):
    """A session of one modality has the variables of that one and no trace of the other."""
    windows = cut_windows(both[0], {**TWO, f"{left_out}_channels": []})
    assert kept in windows
    assert not [name for name in (*windows.variables, *windows.attrs) if str(name).startswith(left_out)]
    assert windows["clock"].item() == "stamps"


def test_a_pair_of_files_is_one_session(tmp_path, caplog):
    """FIF and SNIRF of one session, begun 0.28 s apart, give the windows of their starts, and say how well."""
    caplog.set_level(logging.INFO, "aggrade")
    write_fif(tmp_path / "a_raw.fif", counted(2560, 1), start=START)
    tags = {"MeasurementDate": "2026-03-01", "MeasurementTime": "10:00:00.280", "TimeUnit": "s"}
    write_snirf(tmp_path / "b.snirf", np.arange(90) / 10, counted(90, 1), tags=tags)
    windows = cut_windows(tmp_path, TWO)
    assert windows["window_start"].values[0] == pytest.approx(0.28 + np.arange(4) * 2)
    assert windows["fnirs"].values[0, :, 0, 0].tolist() == [0, 20, 40, 60]
    assert windows["eeg"].values[0, :, 0, 0].tolist() == [72, 584, 1096, 1608]
    assert windows["clock"].item() == "start times"
    assert windows["eeg_start_resolution_s"].item() == 1.0
    assert windows["fnirs_start_resolution_s"].item() == pytest.approx(0.01)
    assert windows["offset_resolution_s"].item() == pytest.approx(1.01)
    assert json.loads(windows["source"].item()) == ["a_raw.fif", "b.snirf"]
    assert "start times, to 1.01 s" in caplog.text


def test_annotations_mark_windows_as_bad(tmp_path):
    """A BAD annotation of an EDF+ counts by the part of the window that it covers."""
    texts = [
        b"+0\x14\x14\0+0.5\x151.0\x14BAD_blink\x14\0",
        *(f"+{n}\x14\x14\0".encode() for n in range(1, 6)),
    ]
    signals = [EdfSignal("Fz", np.arange(600), 100), EdfSignal.texts(texts)]
    windows = cut_windows(write_edf_signals(tmp_path / "a.edf", signals, 6, kind="EDF+C"), TWO)
    assert windows["bad_fraction"].values[0] == pytest.approx([0.5, 0, 0])
    assert windows["eeg"].values[0, 1, 0] == pytest.approx(np.arange(200, 400), abs=1e-3)


def test_xarray_writes_and_reads_it_without_a_warning(both, tmp_path):
    """The dataset goes through a Zarr store unchanged."""
    windows = cut_windows(both[0], {**TWO, "mapping": {"go": 3}})
    windows.to_zarr(tmp_path / "w.zarr", zarr_format=3, consolidated=False)
    with warnings.catch_warnings(action="error"):
        back = xr.open_zarr(tmp_path / "w.zarr", consolidated=False).load()
    assert back.identical(windows)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    gaps=st.lists(st.tuples(st.integers(10, 1100), st.integers(1, 120)), max_size=3),
    jitter=st.sampled_from([0.0, 1e-3, 0.05]),
    drift=st.sampled_from([0.0, 2e-5]),
    stamp_each=st.booleans(),
)
def test_any_xdf_equals_a_slow_reading(tmp_path_factory, seed, gaps, jitter, drift, stamp_each):
    """For any gaps, jitter and drift each window holds the samples of its span, each in its true slot."""
    rng, rate = np.random.default_rng(seed), 100.0
    number = np.array([k for k in range(1200) if k < 5 or not any(a <= k < a + n for a, n in gaps)])
    true = 50 + number * (1 + drift) / rate
    t = true + (rng.uniform(-jitter, jitter, len(number)) / rate if stamp_each else 0)
    folder = tmp_path_factory.mktemp("xdf")
    (folder / "a.xdf").write_bytes(
        xdf_bytes([eeg_stream(t, counted(1200, 1)[number], rate=rate, labels=("A",))])
    )
    windows = cut_windows(folder, {"window_size_s": 1.0})
    for window, start in enumerate(windows["window_start"].values[0]):
        expected = {}
        for k, time in zip(number, true, strict=True):
            slot = int(np.floor((time - t[0] - start) * rate / (1 + drift) + 0.4))
            if 0 <= slot < 100 and time - t[0] - start < 1.0 - 0.4 / rate:
                expected[slot] = float(k)
        values = windows["eeg"].values[0, window, 0]
        assert {slot: values[slot] for slot in np.flatnonzero(np.isfinite(values))} == expected


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"window_size_s": 60.0}, "window-too-long"),
        ({"window_size_s": 1e-4}, "window-too-short"),
        ({**TWO, "eeg_channels": ["a"]}, "unknown-channel"),
        ({**TWO, "streams": {"fnirs": "NIR"}}, "unknown-stream"),
        ({**TWO, "markers": "task", "mapping": {"go": 1}}, "unknown-markers"),
        ({**TWO, "windows": 3}, "spec"),
    ],
)
def test_wrong_specifications_are_refused(both, spec, code):
    """What does not fit the recording is refused with one clear reason."""
    with pytest.raises(BadInput) as caught:
        cut_windows(both[0], spec)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_ambiguous_streams_are_asked_for(tmp_path):
    """Two NIRS streams and two marker streams: each choice is asked for, and made by the specification."""
    t = np.arange(400) / 10
    twins = [nirs_stream(t, name="RAW"), nirs_stream(t, name="STATS")]
    tasks = [marker_stream([1.0, 11.0], ["LEFT", "RIGHT"], name=name) for name in ("task", "mirror")]
    write_xdf(tmp_path / "a.xdf", [*twins, *tasks])
    spec = {**TWO, "mapping": {"LEFT": 0, "RIGHT": 1}}
    with pytest.raises(BadInput, match=r"'RAW'.*'STATS'"):
        cut_windows(tmp_path, spec)
    spec |= {"streams": {"fnirs": "RAW"}}
    with pytest.raises(BadInput, match=r"'task'.*'mirror'"):
        cut_windows(tmp_path, spec)
    labels = cut_windows(tmp_path, {**spec, "markers": "mirror"})["label"].values[0]
    assert (labels[0], labels[5], (labels >= 0).sum()) == (0, 1, 2)


def test_streams_that_never_meet_are_refused(tmp_path):
    """EEG and fNIRS a minute apart are refused with both spans."""
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(999) / 256), nirs_stream(64 + np.arange(90) / 10)])
    with pytest.raises(BadInput, match=r"eeg from 0.000 to 3.902 s and fnirs from 64") as caught:
        cut_windows(tmp_path, TWO)
    assert caught.value.code == "no-overlap"


@pytest.mark.parametrize("streams", [[], ["EEG"], ["EEG", "NIRS"]])
def test_empty_streams_are_refused(tmp_path, streams):
    """A file whose streams hold no samples is refused with what it holds."""
    empty = {
        "EEG": eeg_stream(np.empty(0), np.empty((0, 2))),
        "NIRS": nirs_stream(np.empty(0), np.empty((0, 3))),
    }
    other = XdfStream("acc", "Accelerometer", np.arange(9) / 10, counted(9, 3).astype("f4"), 10)
    write_xdf(tmp_path / "a.xdf", [*(empty[name] for name in streams), other])
    with pytest.raises(BadInput, match="'acc'") as caught:
        cut_windows(tmp_path, TWO)
    assert caught.value.code == "no-stream"


def test_a_wide_recording_is_read_by_its_chosen_columns(tmp_path):
    """Of 3,000 columns in HDF5 chunks, two are cut, in the order asked for."""
    x = counted(600, 3000)
    path = write_snirf(tmp_path / "a.snirf", np.arange(600) / 10, x, lists=True, chunks=(64, 100))
    windows = cut_windows(path, {**TWO, "fnirs_channels": ["S2999_D1 760", "S7_D1 760"]})
    assert np.array_equal(windows["fnirs"].values[0, 4], x[80:100][:, [2998, 6]].T.astype("f4"))
