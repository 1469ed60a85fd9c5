"""Figures of quality show the numbers of every window where they belong, and the worst where there is no room."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from aggrade.errors import BadInput
from aggrade.figures import draw_session, draw_store

RNG = np.random.default_rng(31)
WINDOW = ("session", "window")


def _store(counts=(4, 6), channels=3, **more):
    n, windows = len(counts), max(counts)
    coverage = RNG.random((n, windows)).astype("f4")
    variables = {
        "eeg_coverage": (WINDOW, coverage),
        "fnirs_coverage": (WINDOW, 1 - coverage),
        "bad_fraction": (WINDOW, coverage / 2),
        "eeg_line_noise": (
            (*WINDOW, "eeg_channel"),
            (1 + 9 * RNG.random((n, windows, channels))).astype("f4"),
        ),
        "label": (
            WINDOW,
            RNG.integers(-1, 3, (n, windows)).astype("i2"),
            {"mapping": {"rest": 0, "task": 2}},
        ),
        "window_start": (WINDOW, np.tile(2.0 * np.arange(windows), (n, 1))),
        "n_windows": ("session", np.array(counts, "i4")),
    }
    coordinates = {
        "session": np.array([f"s{index}" for index in range(n)], object),
        "eeg_channel": np.array([f"E{index}" for index in range(channels)], object),
    }
    return xr.Dataset(variables | more, coordinates)


def _maps(figure):
    """Return title → image of each panel that has one."""
    return {ax.get_title(loc="left").rpartition(": ")[2]: ax.images[0] for ax in figure.axes if ax.images}


def _shown(image):
    return np.ma.filled(np.ma.masked_invalid(image.get_array().astype(float)), np.nan)


def test_a_store_shows_every_window_of_every_session():
    """Each panel holds the numbers of one variable, sessions down, windows across, nothing beyond a session's end."""
    dataset = _store()
    figure = draw_store(dataset)
    maps = _maps(figure)
    assert list(maps) == ["EEG coverage", "fNIRS coverage", "annotated as bad", "EEG line noise"]
    own = np.arange(6) < np.array([[4], [6]])
    expected = np.where(own, dataset["eeg_coverage"].values, np.nan)
    np.testing.assert_allclose(_shown(maps["EEG coverage"]), expected)
    mean = np.where(own, dataset["eeg_line_noise"].values.astype("f8").mean(axis=2), np.nan)
    np.testing.assert_allclose(_shown(maps["EEG line noise"]), mean, rtol=1e-6)
    first = figure.axes[0]
    assert first.get_title(loc="left") == "2 sessions, 10 windows: EEG coverage"
    assert [label.get_text() for label in first.get_yticklabels()] == ["s0", "s1"]
    assert maps["EEG coverage"].get_extent() == [-0.5, 5.5, 1.5, -0.5]


def test_stores_that_do_not_fit_together_are_one_below_the_other():
    """Sessions of both lie on one map, each with its own channels' mean; what a store has no number of is white."""
    one = _store((4, 6), channels=3)
    two = _store((7,), channels=2).drop_vars("fnirs_coverage").assign_coords(session=["t0"])
    figure = draw_store({"one": one, "two": two})
    maps = _maps(figure)
    assert figure.axes[0].get_title(loc="left") == "3 sessions, 17 windows: EEG coverage"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["s0", "s1", "t0"]
    shown = _shown(maps["EEG line noise"])
    assert shown.shape == (3, 7)
    np.testing.assert_allclose(shown[2], two["eeg_line_noise"].values[0].astype("f8").mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        shown[1, :6], one["eeg_line_noise"].values[1].astype("f8").mean(axis=1), rtol=1e-6
    )
    fnirs = _shown(maps["fNIRS coverage"])
    assert np.isnan(fnirs[2]).all()
    assert np.isnan(fnirs[1, 6])
    np.testing.assert_allclose(fnirs[1, :6], one["fnirs_coverage"].values[1])


def test_dark_is_worse():
    """Little coverage and much line noise are drawn dark."""
    maps = _maps(draw_store(_store()))
    for title, worse, better in (("EEG coverage", 0.0, 1.0), ("annotated as bad", 1.0, 0.0)):
        brightness = [sum(maps[title].to_rgba(np.array([value]))[0, :3]) for value in (worse, better)]
        assert brightness[0] < brightness[1]


def test_one_bad_window_among_very_many_is_seen():
    """Of 3,000 sessions and windows the figure has fewer cells, and the one window without samples is among them."""
    dataset = _store((3000,) * 3000, channels=1)[["eeg_coverage", "n_windows"]]
    dataset["eeg_coverage"][:] = 1
    dataset["eeg_coverage"][1234, 2345] = 0
    shown = _shown(_maps(draw_store(dataset))["EEG coverage"])
    assert shown.size < 400_000
    assert (shown == 0).sum() == 1
    row, column = np.argwhere(shown == 0)[0]
    assert (row * 3000 // shown.shape[0], column * 3000 // shown.shape[1]) == pytest.approx(
        (1234, 2345), abs=10
    )


def test_what_is_too_large_is_left_out_and_said():
    """Numbers of many channels that would take hundreds of megabytes are not read, and the figure says so."""
    shape = (2, 6, 2_000_000)
    large = xr.Variable((*WINDOW, "other"), np.broadcast_to(np.float32(0), shape))
    figure = draw_store(_store().assign(eeg_rail=large))
    assert "EEG on the rail" not in _maps(figure)
    assert figure.axes[0].get_title(loc="right") == "too large to draw: EEG on the rail"


def test_a_session_shows_every_channel():
    """Coverage has one row, line noise one per channel with its name; windows beyond the session are not drawn."""
    dataset = _store()
    figure = draw_session(dataset, "s0")
    maps = _maps(figure)
    np.testing.assert_allclose(_shown(maps["EEG coverage"]), dataset["eeg_coverage"].values[[0], :4])
    expected = dataset["eeg_line_noise"].values[0, :4].T
    np.testing.assert_allclose(_shown(maps["EEG line noise"]), expected)
    panel = maps["EEG line noise"].axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["E0", "E1", "E2"]
    assert figure.axes[0].get_title(loc="left") == "Session s0, 4 windows from 0 to 6 s: labels"


def test_labels_of_a_session_are_named():
    """Each label has a row with a mark at each of its windows, under its name, or its number where it has none."""
    dataset = _store()
    dataset["label"][1] = [0, 2, 2, -1, 1, 0]
    ax = draw_session(dataset, "s1").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["rest", "1", "task"]
    marks = [sorted(path.vertices[0, 0] for path in lines.get_paths()) for lines in ax.collections]
    assert marks == [[0, 5], [4], [1, 2]]


def test_a_modality_that_was_not_recorded_is_not_drawn():
    """Numbers that are NaN throughout a session have no panel there."""
    dataset = _store()
    dataset["fnirs_coverage"][0] = np.nan
    assert "fNIRS coverage" not in _maps(draw_session(dataset, 0))
    assert "fNIRS coverage" in _maps(draw_session(dataset, 1))


def test_numbers_that_are_all_equal_or_zero_are_drawn():
    """A panel whose numbers have no range, or none above 0 on its logarithmic scale, is drawn all the same."""
    flat = ((*WINDOW, "eeg_channel"), np.zeros((2, 6, 3), "f4"))
    for dataset in (_store(eeg_peak_to_peak=flat), _store(eeg_line_noise=flat)):
        draw_store(dataset).canvas.draw()
        draw_session(dataset, 0).canvas.draw()


@pytest.mark.parametrize("draw", [draw_store, lambda dataset: draw_session(dataset, 0)])
def test_without_quality_there_is_nothing_to_draw(draw):
    """A dataset without any of these numbers is refused."""
    with pytest.raises(BadInput, match="nothing to draw"):
        draw(_store()[["label", "n_windows"]])


@pytest.mark.parametrize(("session", "code"), [(None, "one-session"), ("s9", "unknown-session")])
def test_a_session_that_is_not_there_is_refused(session, code):
    """A session that is not said or does not exist gives an error of its own code."""
    with pytest.raises(BadInput) as caught:
        draw_session(_store(), session)
    assert caught.value.code == code
