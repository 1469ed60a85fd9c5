"""Windows are selected by labels, quality and sessions; what can't be asked is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from make_windows import numbered

import aggrade
from aggrade.errors import BadInput
from aggrade.window_selection import check_conditions, selected


@pytest.fixture
def windows():
    """Return two sessions of four and two windows, with a peak per channel."""
    dataset = numbered(["a", "b"], [4, 2], fnirs=False)
    peaks = np.array([[[1, 2, 3], [1, 9, 1], [0, 0, 0], [np.nan, 1, 1]], np.full((4, 3), 2.0)])
    return dataset.assign(eeg_peak_to_peak=(("session", "window", "eeg_channel"), peaks))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, [[1, 1, 1, 1], [1, 1, 1, 1]]),
        ({"label": 0}, [[1, 0, 0, 1], [1, 0, 0, 0]]),
        ({"label": "left"}, [[0, 1, 0, 0], [0, 1, 0, 0]]),
        ({"label": ["rest", 2]}, [[1, 0, 1, 1], [1, 0, 0, 0]]),
        ({"label": {"left"}, "session": "b"}, [[0, 0, 0, 0], [0, 1, 0, 0]]),
        ({"session": ["a"]}, [[1, 1, 1, 1], [0, 0, 0, 0]]),
        ({"eeg_coverage": (0.99, 1)}, [[1, 1, 0, 0], [1, 1, 0, 0]]),
        ({"eeg_coverage": (None, 0.99)}, [[0, 1, 1, 1], [0, 1, 0, 0]]),
        ({"eeg_coverage": (None, None)}, [[1, 1, 1, 1], [1, 1, 0, 0]]),
        ({"eeg_peak_to_peak": (1, 3)}, [[1, 0, 0, 1], [1, 1, 1, 1]]),
        ({"eeg_peak_to_peak": (2, 3)}, [[0, 0, 0, 0], [1, 1, 1, 1]]),
        ({"n_windows": (3, None)}, [[1, 1, 1, 1], [0, 0, 0, 0]]),
    ],
)
def test_each_condition_has_to_be_fulfilled(windows, where, expected):
    """Values, lists, ranges with both ends, names of labels; by every channel that has a number."""
    check_conditions(windows, where)
    np.testing.assert_array_equal(selected(windows, where), np.array(expected, bool))


def test_a_window_without_any_number_fulfils_nothing(windows):
    """Where no channel has a number, there is nothing that could fulfil a condition."""
    windows["eeg_peak_to_peak"][0, 0] = np.nan
    assert selected(windows, {"eeg_peak_to_peak": (None, None)})[0].tolist() == [False, True, True, True]


def test_a_store_without_the_variable_has_no_such_window(windows):
    """Of a store that lacks what is asked for, nothing is taken."""
    assert not selected(windows, {"fnirs_coverage": (0, None)}).any()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"eeg": 1}, r"where\['eeg'\]: found no such variable, expected one of .*eeg_coverage"),
        ({"eeg_channel": "Fp1"}, "no such variable"),
        ({"eeg_coverage": (0.9,)}, r"found \(0.9,\), expected \(low, high\)"),
        ({"eeg_coverage": (1, 0)}, "low at most high"),
        ({"label": ("left", "right")}, "a list for several values"),
        ({"label": ["left", "up"]}, r"found 'up', expected numbers, or rest, left, right"),
        ({"n_windows": "many"}, "no names: it has no mapping"),
    ],
)
def test_what_cannot_be_asked_is_refused(windows, where, said):
    """The condition is named, with what would do."""
    with pytest.raises(BadInput, match=said):
        check_conditions(windows, where)


def test_every_reason_is_told_at_once():
    """Two wrong conditions are two problems."""
    dataset = xr.Dataset({"label": (("session", "window"), [[1]])})
    with pytest.raises(BadInput) as caught:
        check_conditions(dataset, {"x": 1, "label": (2, 1)})
    assert [problem.code for problem in caught.value.problems] == ["where-variable", "where-range"]


def test_what_was_not_recorded_has_no_counts(tmp_path):
    """A channel, or a modality, that a session lacks is chosen by no count of its samples."""
    for number, (channels, has_fnirs) in enumerate([(["Fz"], True), (["Oz", "Fz"], True), (["Fz"], False)]):
        rng, path = np.random.default_rng(number), tmp_path / f"s{number}"
        told = {"format": "aggrade-recording-1", "eeg/rate": 100, "eeg/channels": channels, "eeg/units": "uV"}
        told["eeg/samples"] = rng.normal(size=(800, len(channels))).astype("f4")
        if has_fnirs:
            told |= {"fnirs/rate": 10, "fnirs/channels": ["a"], "fnirs/units": "V"}
            told["fnirs/samples"] = rng.normal(size=(80, 1))
        path.mkdir()
        np.savez(path / "r.npz", **told)
        aggrade.append(aggrade.cut_windows(path, {"window_size_s": 2.0}), tmp_path / "data", channels="union")
    opened = aggrade.open_windows(tmp_path / "data").load()
    is_missing = np.isnan(opened["eeg"]).all("eeg_sample")
    np.testing.assert_array_equal(opened["eeg_nan_count"], np.where(is_missing, -1, 0))
    np.testing.assert_array_equal(opened["fnirs_nan_count"][:, 0, 0], [0, 0, -1])
    assert opened["fnirs_lost"].values.tolist() == [0, 0, -1]
    for name, sessions in (("eeg_nan_count", [1]), ("fnirs_nan_count", [0, 1])):
        chosen = aggrade.open_windows(tmp_path / "data", where={name: 0})
        assert sorted({str(each) for each in chosen["session"].values}) == [f"s{i}" for i in sessions]
        reader = aggrade.WindowReader(tmp_path / "data", 4, where={name: 0})
        assert reader.windows == 4 * len(sessions)
