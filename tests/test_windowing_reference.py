"""Recordings made at random give the windows that a slow reading by the documented rule gives."""

from __future__ import annotations

import logging
import math

import h5py
import numpy as np
import pytest
import pyxdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_recordings import counted, eeg_stream, marker_stream, nirs_stream, write_snirf
from slow_windows import cut, starts_of, track_of

from aggrade.errors import BadInput
from aggrade.windowing import cut_windows
from flows.xdf_writer import xdf_bytes

NAMES = {"EEG": "eeg", "NIRS": "fnirs"}
LOOSE = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]

holes = st.lists(st.tuples(st.floats(0.05, 0.95), st.integers(1, 60)), max_size=3)
runs = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "holes": holes,
        "drift": st.sampled_from([0.0, 2e-5, -3e-4]),
        "jitter": st.sampled_from([0.0, 1e-7, 1e-3, 0.1]),
        "nan": st.booleans(),
    }
)
specs = st.fixed_dictionaries(
    {"window_size_s": st.sampled_from([0.5, 1.0, 1.7])},
    optional={
        "window_stride_s": st.sampled_from([0.4, 1.0, 2.3]),
        "start": st.sampled_from(["overlap", "first"]),
        "fnirs_offset_s": st.sampled_from([-0.7, 0.0, 1.5]),
        "fnirs_window_s": st.sampled_from([0.8, 2.0]),
    },
)


def _stamps(run, rate, seconds, first):
    """Return the stamps of a device that drifts, jitters and loses samples, and which samples it kept."""
    rng, count = np.random.default_rng(run["seed"]), round(rate * seconds)
    kept = np.ones(count, bool)
    for place, length in run["holes"]:
        kept[int(place * count) : int(place * count) + length] = False
    kept[:3] = kept[-3:] = True
    t = first + np.arange(count) * (1 + run["drift"]) / rate
    t += rng.uniform(-1, 1, count) * run["jitter"] / rate
    x = counted(count, 2)
    if run["nan"]:
        x[rng.random(x.shape) < 0.02] = np.nan
    return t[kept], x[kept]


def _expected(streams, spec, rates):
    """Return starts and windows by the slow reading; streams: name → (t, x) on the session's clock."""
    tracks = {name: track_of(t.tolist(), x.astype("f4").tolist()) for name, (t, x) in streams.items()}
    for name, track in tracks.items():
        believed = rates[name] if abs(rates[name] * track.period - 1) <= 0.01 else 1 / track.period
        track.span = (
            spec["window_size_s"] if name == "eeg" else spec.get("fnirs_window_s", spec["window_size_s"])
        )
        track.offset = 0.0 if name == "eeg" else spec.get("fnirs_offset_s", 0.0)
        track.slots = round(track.span * believed)
    starts = starts_of(list(tracks.values()), spec.get("window_stride_s", spec["window_size_s"]), spec)
    return starts, {name: [cut(track, start) for start in starts] for name, track in tracks.items()}


def _labels(starts, size, markers):
    """Return the label that most markers of each window have, of equals the earlier."""
    found = []
    for start in starts:
        inside = [label for t, label in sorted(markers) if start <= t + 1e-9 < start + size]
        found.append(max(inside, key=lambda label: (inside.count(label), -inside.index(label)), default=-1))
    return found


def _assert_equal(windows, starts, expected, markers, spec):
    """Compare every window with its slow reading."""
    assert windows["window_start"].values[0] == pytest.approx(starts, abs=1e-7)
    for name, each in expected.items():
        values = np.array([w["values"] for w in each], "f4")
        assert np.array_equal(windows[name].values[0], values, equal_nan=True)
        assert windows[f"{name}_coverage"].values[0] == pytest.approx([w["coverage"] for w in each], abs=1e-6)
        assert windows[f"{name}_surplus"].values[0].tolist() == [w["surplus"] for w in each]
        missing = [[sum(v is None for v in row) for row in w["values"]] for w in each]
        assert windows[f"{name}_nan_count"].values[0].tolist() == missing
        ends = [
            [
                max(real) - min(real) if (real := [v for v in row if v is not None]) else math.nan
                for row in w["values"]
            ]
            for w in each
        ]
        assert windows[f"{name}_peak_to_peak"].values[0] == pytest.approx(np.array(ends), nan_ok=True)
    gaps = [max(w["gap"] for w in both) for both in zip(*expected.values(), strict=True)]
    assert windows["max_gap"].values[0] == pytest.approx(gaps, abs=1e-5)
    assert windows["label"].values[0].tolist() == _labels(starts, spec["window_size_s"], markers)


def _as_stored(path):
    """Return the streams and markers of an XDF as pyxdf gives them, without its de-jittering."""
    logging.getLogger("pyxdf").setLevel(logging.ERROR)
    found, markers = {}, []
    for stream in pyxdf.load_xdf(path, dejitter_timestamps=False)[0]:
        kind, t = stream["info"]["type"][0], stream["time_stamps"]
        if kind in NAMES:
            found[NAMES[kind]] = (t, stream["time_series"])
        else:
            markers = list(zip(t, [row[0] for row in stream["time_series"]], strict=True))
    return found, markers


def _set(t, reset, name):
    """Return stamps of a clock that may have been set, and the offsets by which the recorder tells so."""
    after, by, whose = reset or (0.0, 0.0, "")
    after, by = 200.0 + after, by if whose == name else 0.0
    ticks = np.arange(200.0, 214.0, 0.5)
    offsets = [(tick + by, -by) if tick >= after else (tick, 0.0) for tick in ticks]
    return np.where(t >= after, t + by, t), offsets


def _check_xdf(folder, run, other, reset, spec, *, with_fnirs):
    eeg_t, eeg = _stamps(run, 40.0, 14.0, 200.0)
    shown, offsets = _set(eeg_t, reset, "EEG")
    streams = [eeg_stream(shown, eeg, rate=40.0, clock_offsets=offsets)]
    if with_fnirs:
        nirs_t, nirs = _stamps(other, 10.0, 13.0, 200.4)
        shown, offsets = _set(nirs_t, reset, "NIRS")
        streams.append(nirs_stream(shown, nirs, labels=("o1", "o2"), clock_offsets=offsets))
    streams.append(marker_stream(eeg_t[0] + np.array([1.0, 1.25, 6.0, 9.5]), ["a", "b", "a", "b"]))
    (folder / "a.xdf").write_bytes(xdf_bytes(streams))
    found, markers = _as_stored(folder / "a.xdf")
    zero = min(t[0] for t, _ in found.values())
    on_clock = {name: (t - zero, x) for name, (t, x) in found.items()}
    asked = {**spec, "mapping": {"a": 0, "b": 1}}
    is_set_back = any(np.diff(t).min() < -1 for t, _ in on_clock.values())
    starts, expected = ([], {}) if is_set_back else _expected(on_clock, spec, {"eeg": 40.0, "fnirs": 10.0})
    if not starts:
        with pytest.raises(BadInput):
            cut_windows(folder, asked)
        return
    labelled = [(t - zero, {"a": 0, "b": 1}[text]) for t, text in markers]
    _assert_equal(cut_windows(folder, asked), starts, expected, labelled, asked)


def _check_snirf(folder, run, reset, spec):
    t, x = _stamps(run, 10.0, 30.0, 7.25)
    place, by = reset or (0.0, 0.0)
    t[int(place * len(t)) :] += by
    onsets = [t[0] + 2.0, t[0] + 2.25, t[0] + 20.0]
    stimuli = {"a": [(onsets[0], 0, 1), (onsets[2], 0, 1)], "b": [(onsets[1], 0, 1)]}
    path = write_snirf(folder / "a.snirf", t, x, stimuli=stimuli)
    with h5py.File(path) as file:
        t, x = file["nirs/data1/time"][()], file["nirs/data1/dataTimeSeries"][()]
    if np.diff(t).min() < -1:
        with pytest.raises(BadInput) as caught:
            cut_windows(path, spec)
        assert [problem.code for problem in caught.value.problems] == ["clock-back"]
        return
    starts, expected = _expected({"fnirs": (t - t[0], x)}, spec, {"fnirs": 0.0})
    asked = {**spec, "mapping": {"a": 0, "b": 1}}
    markers = [(onsets[0] - t[0], 0), (onsets[1] - t[0], 1), (onsets[2] - t[0], 0)]
    _assert_equal(cut_windows(path, asked), starts, expected, markers, asked)


xdf = given(
    run=runs,
    other=runs,
    reset=st.none()
    | st.tuples(st.floats(3.0, 11.0), st.sampled_from([-150.0, 150.0]), st.sampled_from(list(NAMES))),
    spec=specs,
    with_fnirs=st.booleans(),
)
snirf = given(
    run=runs,
    reset=st.none() | st.tuples(st.floats(0.05, 0.95), st.sampled_from([-150.0, -3.0, -0.5, 0.7, 9.0])),
    spec=specs,
)


@settings(max_examples=12, deadline=None, suppress_health_check=LOOSE)
@xdf
def test_any_xdf_equals_the_slow_reading(tmp_path_factory, run, other, reset, spec, with_fnirs):
    """Whatever gaps, drifts, jitter, rejected samples and clock resets an XDF has, every window is as documented."""
    _check_xdf(tmp_path_factory.mktemp("xdf"), run, other, reset, spec, with_fnirs=with_fnirs)


@settings(max_examples=16, deadline=None, suppress_health_check=LOOSE)
@snirf
def test_any_snirf_equals_the_slow_reading(tmp_path_factory, run, reset, spec):
    """Whatever gaps, drifts, jitter, rejected samples and clocks that were set a SNIRF has, every window is as documented."""
    _check_snirf(tmp_path_factory.mktemp("snirf"), run, reset, spec)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=600, deadline=None, suppress_health_check=LOOSE)
@xdf
def test_very_many_xdf_equal_the_slow_reading(tmp_path_factory, run, other, reset, spec, with_fnirs):
    """The same as for a few."""
    _check_xdf(tmp_path_factory.mktemp("xdf"), run, other, reset, spec, with_fnirs=with_fnirs)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=600, deadline=None, suppress_health_check=LOOSE)
@snirf
def test_very_many_snirf_equal_the_slow_reading(tmp_path_factory, run, reset, spec):
    """The same as for a few."""
    _check_snirf(tmp_path_factory.mktemp("snirf"), run, reset, spec)
