"""Figures of windows hold the samples, units, names and marks that the dataset has."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from aggrade.errors import BadInput
from aggrade.figures import draw_window

RNG = np.random.default_rng(23)
BLUE, ORANGE = "#0072b2", "#d55e00"


def _session(names=("s1", "s2"), windows=5, *, fnirs=True, channels=3, **attributes):
    n = len(names)
    eeg = (40e-6 * RNG.normal(size=(n, windows, channels, 500))).astype("f4")
    start = np.tile(0.5 + 2.0 * np.arange(windows), (n, 1))
    variables = {
        "eeg": (("session", "window", "eeg_channel", "eeg_sample"), eeg),
        "window_start": (("session", "window"), start),
        "eeg_coverage": (("session", "window"), np.full((n, windows), 1.0, "f4")),
        "label": (
            ("session", "window"),
            np.tile(np.arange(windows) - 1, (n, 1)).astype("i2"),
            {"mapping": {"rest": 0}},
        ),
    }
    coordinates = {
        "session": np.array(names, object),
        "eeg_channel": [f"E{index}" for index in range(channels)],
        "eeg_channel_unit": ("eeg_channel", ["V"] * channels),
    }
    if fnirs:
        values = (0.6 + 0.004 * RNG.normal(size=(n, windows, 2, 40))).astype("f4")
        variables["fnirs"] = (("session", "window", "fnirs_channel", "fnirs_sample"), values)
        variables["fnirs_coverage"] = (("session", "window"), np.full((n, windows), 0.5, "f4"))
        coordinates["fnirs_channel"] = ["S1_D1 760", "S1_D1 850"]
        coordinates["fnirs_channel_unit"] = ("fnirs_channel", ["V", "V"])
    attributes = {
        "window_size_s": 2.0,
        "eeg_window_s": 2.0,
        "fnirs_window_s": 4.0,
        "fnirs_offset_s": 3.0,
        **attributes,
    }
    return xr.Dataset(variables, coordinates, attributes)


def _lines(ax, colour, count):
    return [
        line for line in ax.lines if to_hex(line.get_color()) == colour and len(line.get_xdata()) == count
    ]


def _names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_traces_are_the_samples_about_their_median():
    """Each channel's line is its samples in µV, moved by a constant, at the times of the shared clock."""
    dataset = _session()
    eeg, fnirs, _ = draw_window(dataset, "s2", 3).axes
    lines = _lines(eeg, BLUE, 500)
    assert _names(eeg) == ["E0", "E1", "E2"]
    for channel, line in enumerate(lines):
        truth = dataset["eeg"].values[1, 3, channel].astype("f8") * 1e6
        np.testing.assert_allclose(
            line.get_ydata() - np.median(line.get_ydata()), truth - np.median(truth), atol=1e-6
        )
        np.testing.assert_allclose(line.get_xdata(), 6.5 + np.arange(500) / 250)
    assert [line.get_ydata().mean() for line in lines] == sorted(
        (line.get_ydata().mean() for line in lines), reverse=True
    )
    np.testing.assert_allclose(_lines(fnirs, ORANGE, 40)[0].get_xdata(), 6.5 + 3.0 + np.arange(40) / 10)
    assert _names(fnirs) == ["S1_D1 760", "S1_D1 850"]


def test_titles_labels_and_scale_bars_say_what_is_shown():
    """Session, start, label with its name, modality and units are written on the figure."""
    figure = draw_window(_session(), "s1", 1)
    eeg, fnirs, coverage = figure.axes
    assert eeg.get_title(loc="left") == "Session s1, window from 2.5 s"
    assert eeg.get_title(loc="right") == "label 0 (rest)"
    assert (eeg.get_ylabel(), fnirs.get_ylabel(), coverage.get_ylabel()) == ("EEG", "fNIRS", "coverage")
    assert [text.get_text().split()[-1] for ax in (eeg, fnirs) for text in ax.texts] == ["µV", "mV"]
    assert fnirs.get_xlabel() == "s since the session's start"


@pytest.mark.parametrize(("window", "note"), [(0, ""), (1, "label 0 (rest)"), (3, "label 2")])
def test_labels_without_a_name_show_their_number(window, note):
    """No label shows nothing, a label of the mapping its name, another one its number."""
    assert draw_window(_session(), "s1", window).axes[0].get_title(loc="right") == note


def test_a_scale_bar_is_as_long_as_it_says():
    """The bar beside the traces spans as many data units as its text names."""
    ax = draw_window(_session(), 0, 0).axes[0]
    (bar,) = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] > 1]
    number, unit = ax.texts[0].get_text().split()
    assert np.ptp(bar.get_ydata()) == pytest.approx(float(number))
    assert unit == "µV"


def test_slots_without_a_sample_are_shaded():
    """Two gaps common to all channels are two shaded spans at their times; one channel's loss alone is none."""
    dataset = _session(fnirs=False)
    dataset["eeg"][0, 0, :, 100:150] = np.nan
    dataset["eeg"][0, 0, :, 490:] = np.nan
    dataset["eeg"][0, 0, 1, 200:220] = np.nan
    ax = draw_window(dataset, 0, 0).axes[0]
    spans = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches)
    np.testing.assert_allclose(spans, [(0.9, 1.1), (2.46, 2.5)])


def test_coverage_is_drawn_for_the_whole_session():
    """Both modalities have a row with the height of their coverage, and the window shown is framed."""
    ax = draw_window(_session(), "s1", 2).axes[-1]
    heights = sorted(collection.get_paths()[0].vertices[:, 1].max() for collection in ax.collections)
    np.testing.assert_allclose(heights, [0.8 * 0.5, 1 + 0.8])
    (frame,) = ax.patches
    assert (frame.get_x(), frame.get_width()) == (4.5, 2.0)
    assert ax.get_xlim() == (0.5, 10.5)


def test_windows_beyond_a_shorter_session_are_no_coverage():
    """Fill behind the last window of a session is not drawn."""
    dataset = _session()
    dataset["window_start"][0, 3:] = np.nan
    dataset["eeg_coverage"][0, 3:] = np.nan
    assert draw_window(dataset, "s1", 0).axes[-1].get_xlim() == (0.5, 6.5)


def test_one_modality_or_one_window_alone_are_drawn():
    """Without fNIRS there is no panel for it; without the other windows there is no coverage."""
    assert len(draw_window(_session(fnirs=False), "s1", 0).axes) == 2
    assert len(draw_window(_session().isel(session=0, window=2)).axes) == 2
    assert len(draw_window(_session(names=["s1"], windows=1)).axes) == 2


def test_the_first_of_many_channels_are_drawn_and_it_says_so():
    """Of forty channels sixteen are drawn, and the axis says how many there are."""
    ax = draw_window(_session(channels=40), 0, 0).axes[0]
    assert len(_lines(ax, BLUE, 500)) == 16
    assert ax.get_ylabel() == "EEG (first 16 of 40 channels)"


def test_units_that_differ_are_not_named():
    """Channels in different units get a scale bar without a unit, never a wrong one."""
    dataset = _session().assign_coords(eeg_channel_unit=("eeg_channel", ["V", "V", "degC"]))
    assert len(draw_window(dataset, 0, 0).axes[0].texts[0].get_text().split()) == 1


@pytest.mark.parametrize(
    ("session", "window", "code"),
    [
        (None, 0, "one-session"),
        ("s1", None, "one-window"),
        ("s9", 0, "unknown-session"),
        (7, 0, "unknown-session"),
        ("s1", 5, "unknown-window"),
        ("s1", 1.5, "unknown-window"),
    ],
)
def test_what_is_not_there_is_refused(session, window, code):
    """A session or window that is not said or does not exist gives an error of its own code."""
    with pytest.raises(BadInput) as caught:
        draw_window(_session(), session, window)
    assert caught.value.code == code


def test_a_dataset_without_samples_is_refused():
    """Without EEG and fNIRS there is nothing to draw."""
    with pytest.raises(BadInput, match="eeg or fnirs"):
        draw_window(_session(fnirs=False).drop_vars("eeg"), 0, 0)
