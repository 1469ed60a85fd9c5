"""Windows around markers hold the samples that lie around them, whatever else the recording does."""

from __future__ import annotations

import numpy as np
import pytest
from make_recordings import counted, eeg_stream, marker_stream, nirs_stream, write_snirf, write_xdf

from aggrade.errors import BadInput
from aggrade.windowing import cut_windows

MAPPING = {"left": 0, "right": 1}
ONSETS = [0.6, 4.0, 9.125, 15.5, 19.3]
TEXTS = ["left", "right", "rest", "left", "right"]


@pytest.fixture
def both(tmp_path):
    """Return a session of 20 s of EEG at 256 Hz and fNIRS at 10 Hz from 0.3 s on, with five markers."""
    markers = marker_stream(np.array(ONSETS) + 100, TEXTS)
    eeg, nirs = 100 + np.arange(5120) / 256, 100.3 + np.arange(197) / 10
    write_xdf(tmp_path / "a.xdf", [eeg_stream(eeg), nirs_stream(nirs), markers])
    return tmp_path


def _first(windows, name):
    """Return the number of the first sample of each window, -1 where it is missing."""
    return np.nan_to_num(windows[name].values[0, :, 0, 0], nan=-1).tolist()


def _eeg_at(start):
    return float(np.ceil(round(start * 256, 6)))


def test_each_marker_has_its_window(both):
    """A window lies around each marker of the mapping, with its label, and its samples are those of that time."""
    spec = {"window_size_s": 1.0, "trial_start_offset_s": -0.25, "mapping": MAPPING}
    windows = cut_windows(both, spec)
    starts = [onset - 0.25 for onset, text in zip(ONSETS, TEXTS, strict=True) if text in MAPPING][:3]
    assert windows["window_start"].values[0] == pytest.approx(starts)
    assert windows["label"].values[0].tolist() == [0, 1, 0]
    assert windows["i_trial"].values[0].tolist() == [0, 1, 2]
    assert windows["i_window_in_trial"].values[0].tolist() == [0, 0, 0]
    assert _first(windows, "eeg") == [_eeg_at(start) for start in starts]
    nirs = [float(np.ceil(round((start - 0.3) * 10, 6))) for start in starts]
    assert _first(windows, "fnirs") == nirs
    assert (windows["eeg_coverage"] == 1).all()
    assert (windows.sizes["eeg_sample"], windows.sizes["fnirs_sample"]) == (256, 10)


def test_windows_that_leave_the_recording_are_left_out_and_counted(both, caplog):
    """The last marker is 0.7 s before the end: it is left out, said and counted; the others are not renumbered."""
    spec = {"window_size_s": 1.0, "trial_start_offset_s": 0.0, "mapping": MAPPING}
    windows = cut_windows(both, spec)
    assert windows["n_windows_left_out"].item() == 1
    assert "1 windows around markers have no room" in caplog.text
    early = cut_windows(both, {**spec, "trial_start_offset_s": -0.5})
    assert early["i_trial"].values[0].tolist() == [1, 2, 3]
    assert early["n_windows_left_out"].item() == 1


def test_with_the_first_stream_one_of_both_is_enough(both):
    """By start = first the window before the fNIRS began stays, with NaN for what was not recorded."""
    spec = {"window_size_s": 1.0, "trial_start_offset_s": -0.5, "mapping": MAPPING, "start": "first"}
    windows = cut_windows(both, spec)
    assert windows["i_trial"].values[0].tolist() == [0, 1, 2, 3]
    assert windows["fnirs_coverage"].values[0].tolist() == pytest.approx([0.8, 1, 1, 1])
    assert _first(windows, "fnirs")[0] == -1
    assert windows["eeg_coverage"].values[0].tolist() == [1, 1, 1, 1]


def test_long_trials_are_cut_into_several_windows(both):
    """A trial of 3 s gives windows of 1 s each 0.75 s, and a last one that ends with it if asked for."""
    spec = {"window_size_s": 1.0, "window_stride_s": 0.75, "mapping": MAPPING}
    spec |= {"trial_start_offset_s": 0.5, "trial_stop_offset_s": 3.5}
    windows = cut_windows(both, spec)
    assert windows["window_start"].values[0] == pytest.approx(
        [onset + 0.5 + step for onset in (0.6, 4.0, 15.5) for step in (0, 0.75, 1.5)]
    )
    assert windows["i_window_in_trial"].values[0].tolist() == [0, 1, 2] * 3
    assert windows["label"].values[0].tolist() == [0] * 3 + [1] * 3 + [0] * 3
    assert windows["n_windows_left_out"].item() == 3
    kept = cut_windows(both, {**spec, "drop_last_window": False})
    assert kept["window_start"].values[0, :4] == pytest.approx([1.1, 1.85, 2.6, 3.1])


def test_a_whole_trial_is_a_window(both):
    """Without a size the window is the trial, in samples or seconds alike."""
    spec = {"mapping": MAPPING, "trial_start_offset_s": -0.5, "trial_stop_offset_s": 2.0, "start": "first"}
    windows = cut_windows(both, spec)
    assert windows.sizes["eeg_sample"] == 640
    assert windows.attrs["window_size_s"] == windows.attrs["window_stride_s"] == 2.5
    samples = {"mapping": MAPPING, "trial_start_offset_samples": -128, "trial_stop_offset_samples": 512}
    again = cut_windows(both, {**samples, "start": "first"})
    assert again.drop_attrs(deep=False).identical(windows.drop_attrs(deep=False))


def test_the_fnirs_span_is_delayed_and_longer(both):
    """Around a marker, too, the fNIRS span has its own offset and length, and must lie in its stream."""
    spec = {"window_size_s": 1.0, "trial_start_offset_s": 0.0, "mapping": MAPPING}
    windows = cut_windows(both, {**spec, "fnirs_offset_s": 2.0, "fnirs_window_s": 4.0})
    assert windows["window_start"].values[0] == pytest.approx([0.6, 4.0])
    assert windows.sizes["fnirs_sample"] == 40
    assert _first(windows, "fnirs") == [23, 57]
    assert windows["n_windows_left_out"].item() == 2


def _blocks(folder, rows):
    path = folder / "a.snirf"
    return write_snirf(path, np.arange(300) / 10, counted(300, 1), stimuli={"left": rows})


def test_trials_last_as_long_as_their_markers(tmp_path):
    """A marker's duration is its trial; one that is shorter than a window is left out and counted."""
    path = _blocks(tmp_path, [(2, 4, 1), (10, 2, 1), (20, 1, 1)])
    spec = {"window_size_s": 2.0, "mapping": MAPPING, "trial_stop_offset_s": 0.0, "on_missing": "ignore"}
    windows = cut_windows(path, spec)
    assert windows["window_start"].values[0] == pytest.approx([2, 4, 10])
    assert windows["i_trial"].values[0].tolist() == [0, 0, 1]
    assert windows["n_windows_left_out"].item() == 1


def test_held_markers_make_trials_up_to_the_next(tmp_path):
    """Held, a marker without a duration is a trial that ends with the next one, the last with the recording."""
    path = _blocks(tmp_path, [(2, 0, 1), (9, 0, 1), (21, 0, 1)])
    spec = {"window_size_s": 4.0, "mapping": {"left": 5}, "trial_start_offset_s": 0.0, "hold_markers": True}
    windows = cut_windows(path, spec)
    assert windows["window_start"].values[0] == pytest.approx([2, 9, 13, 17, 21, 25])
    assert (windows["label"] == 5).all()
    assert windows["n_windows_left_out"].item() == 0


def test_overlapping_trials_stand_in_the_order_of_time(tmp_path):
    """Windows of trials that overlap are sorted by their starts, and each knows its trial."""
    path = _blocks(tmp_path, [(2, 5, 1), (4, 5, 1)])
    windows = cut_windows(path, {"window_size_s": 2.5, "mapping": {"left": 0}, "trial_start_offset_s": 0.0})
    assert windows["window_start"].values[0] == pytest.approx([2, 4, 4.5, 6.5])
    assert windows["i_trial"].values[0].tolist() == [0, 1, 0, 1]
    assert windows["fnirs"].values[0, :, 0, 0].tolist() == [20, 40, 45, 65]


@pytest.mark.parametrize(
    ("rows", "spec", "code", "told"),
    [
        ([(2, 5, 1), (9, 3, 1)], {"trial_start_offset_s": 0.0}, "trial-lengths", "from 3 to 5 s"),
        ([(2, 0, 1)], {"trial_start_offset_s": 0.0}, "trial-lengths", "trial_stop_offset_s"),
        ([(2, 1, 1)], {"trial_stop_offset_s": 0.0, "window_size_s": 2.0}, "no-trial", "none with room"),
        ([(2, 1, 1)], {"trial_start_offset_s": 40.0, "window_size_s": 2.0}, "no-trial", "none with room"),
        ([], {"trial_start_offset_s": 0.0, "window_size_s": 2.0}, "no-trial", "no marker of the mapping"),
        ([], {"trial_start_offset_s": 0.0}, "no-trial", "no trial with an end"),
        ([(2, 1, 1)], {"trial_start_offset_s": 0.0, "window_size_s": 60.0}, "window-too-long", "60 s"),
    ],
)
def test_what_leaves_no_window_is_refused(tmp_path, rows, spec, code, told):
    """Trials that differ in length, have none, or have no room for a window get one clear reason."""
    with pytest.raises(BadInput, match=told) as caught:
        cut_windows(_blocks(tmp_path, rows), {"mapping": {"left": 0}, **spec})
    assert caught.value.code == code
