"""Pictures are looked at as pixels: what colour lies where."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from aggrade.errors import BadInput
from aggrade.figures.style import fonts
from aggrade.pictures import light_curve_picture, picture_mark, store_picture, window_picture

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def test_characters_without_a_glyph_are_drawn():
    """An id that the fonts of this machine can't write makes a picture, and no warning."""
    sessions = np.array(["\N{CJK UNIFIED IDEOGRAPH-88AB}1", "\N{CJK UNIFIED IDEOGRAPH-9A13}2"], object)
    dataset = xr.Dataset(
        {"eeg_coverage": (("session", "window"), np.ones((2, 3), "f4"))}, {"session": sessions}
    )
    assert picture_mark(store_picture(dataset, mark="m")) == "m"


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ((), []),
        (("Arial", "DejaVu Sans"), []),
        (("IPAexGothic", "Noto Sans CJK SC", "Noto Sans CJK JP"), ["Noto Sans CJK JP"]),
        (("WenQuanYi Zen Hei", "Arial"), ["WenQuanYi Zen Hei"]),
    ],
)
def test_fonts_of_this_machine(installed, found):
    """Matplotlib's own font comes first, so that pictures look alike; one with more characters follows, if there is any."""
    assert fonts(installed) == ["DejaVu Sans", *found]


def curve(values, status, *, value="mag", offsets=None):
    """Make the light curve of one object in the layout of the store, one row per measurement."""
    values, status = (
        np.atleast_2d(np.asarray(values, np.float32)),
        np.atleast_2d(np.asarray(status, np.uint8)),
    )
    errors = np.where(status == 1, np.float32(0.01), np.float32(np.nan))
    names = ["g", "r"][: len(values)]
    cells = np.stack([values, errors], axis=1)
    data = {
        "lightcurves": (("measurement", "value", "epoch"), cells, {"value": value}),
        "status": (("measurement", "epoch"), status),
    }
    if offsets is not None:
        data["time_offset"] = (("measurement", "epoch"), np.atleast_2d(offsets))
    coordinates = {
        "object": 4711,
        "measurement": names,
        "measurement_unit": ("measurement", [value] * len(names)),
        "value": [value, f"{value}_err"],
        "epoch": [str(number) for number in range(values.shape[1])],
        "epoch_time": ("epoch", 60000.0 + np.arange(values.shape[1]), {"time_scale": "tdb"}),
    }
    return xr.Dataset(data, coordinates)


def pixels(png, colour):
    """Return (row, column) of each pixel of a picture that has about that colour."""
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)
    return np.argwhere(np.abs(image - colour).max(axis=2) < 40)


def test_magnitudes_have_the_brightest_on_top():
    """The smaller magnitude, observed first, lies higher: rows grow downwards from left to right."""
    found = pixels(light_curve_picture(curve([15.0, 19.0], [1, 1])), BLUE)
    middle = found[:, 1].mean()
    left, right = (
        found[found[:, 1] < 300],
        found[(found[:, 1] > 300) & (found[:, 0] > found[:, 0].min() + 150)],
    )
    assert middle > 0
    assert left[:, 0].mean() < right[:, 0].mean()


def test_fluxes_have_the_brightest_on_top():
    """The larger flux, observed last, lies higher."""
    found = pixels(light_curve_picture(curve([15.0, 19.0], [1, 1], value="flux")), BLUE)
    left = found[found[:, 1] < 300]
    assert left[:, 0].mean() > found[:, 0].mean()


def test_each_measurement_has_its_colour():
    """Two bands are drawn in two colours, and a band that was never observed in none."""
    both = light_curve_picture(curve([[15, 16], [17, 18]], [[1, 1], [1, 1]]))
    one = light_curve_picture(curve([[15, 16], [17, 18]], [[1, 1], [0, 0]]))
    assert len(pixels(both, BLUE))
    assert len(pixels(both, ORANGE))
    assert len(pixels(one, BLUE))
    assert not len(pixels(one, ORANGE))


@pytest.mark.parametrize("status", [2, 3])
def test_limits_and_flagged_values_look_different_from_detections(status):
    """The same number as an upper limit or flagged gives another picture than as a detection."""
    assert light_curve_picture(curve([15.0, 16.0], [1, status])) != light_curve_picture(
        curve([15.0, 16.0], [1, 1])
    )


def test_the_time_of_each_cell_counts():
    """An offset of half a day moves a point that has it."""
    still = light_curve_picture(curve([15.0, 16.0, 15.0], [1, 1, 1], offsets=[0.0, 0.0, 0.0]))
    moved = light_curve_picture(curve([15.0, 16.0, 15.0], [1, 1, 1], offsets=[0.0, 43200.0, 0.0]))
    unknown = light_curve_picture(curve([15.0, 16.0, 15.0], [1, 1, 1], offsets=[0.0, np.nan, 0.0]))
    assert moved != still
    assert unknown == still


def test_an_object_never_observed_is_a_picture_too():
    """Without one observed cell the axes are drawn, and nothing else."""
    png = light_curve_picture(curve([np.nan, np.nan], [0, 0]))
    assert Image.open(io.BytesIO(png)).size == (800, 400)
    assert not len(pixels(png, BLUE))


def test_several_objects_are_refused():
    """A dataset of two objects is no light curve."""
    two = xr.concat([curve([15.0], [1])] * 2, dim="object")
    with pytest.raises(BadInput, match="2 of them") as told:
        light_curve_picture(two)
    assert told.value.code == "one-object"
    one = two.isel(object=[0])
    assert picture_mark(light_curve_picture(one, mark="x")) == "x"


def test_a_picture_says_what_it_was_drawn_from():
    """The mark comes back from the file as it was given, and the same data give the same bytes."""
    drawn = [light_curve_picture(curve([15.0], [1]), mark="s3://b/μ.zarr@w1") for _ in range(2)]
    assert picture_mark(drawn[0]) == "s3://b/μ.zarr@w1"
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("broken", [b"", b"no picture", "truncated"])
def test_what_is_no_whole_picture_bears_no_mark(broken):
    """An empty, a foreign and a truncated file are all told from a picture."""
    data = light_curve_picture(curve([15.0], [1]), mark="m")[:-200] if broken == "truncated" else broken
    assert picture_mark(data) is None


def window(eeg=None, fnirs=None, **variables):
    """Make one window in the layout of the store."""
    data = {"label": 1, "window_start": 4.0} | variables
    coordinates = {"session": "S [1]"}
    for name, given in (("eeg", eeg), ("fnirs", fnirs)):
        if given is not None:
            values = np.atleast_2d(np.asarray(given, np.float32))
            data[name] = ((f"{name}_channel", f"{name}_sample"), values)
            coordinates[f"{name}_channel"] = [f"C{number}" for number in range(len(values))]
    return xr.Dataset(data, coordinates, {"eeg_window_s": 2.0, "mapping": {"tap": 1}})


def test_a_window_shows_each_modality_it_has():
    """EEG alone, fNIRS alone and both give one, one and two panels, each in its colour."""
    wave = np.sin(np.arange(500) / 20)
    both = window_picture(window(eeg=[wave, wave], fnirs=[wave[:20]]))
    eeg, fnirs = window_picture(window(eeg=[wave])), window_picture(window(fnirs=[wave[:20]]))
    assert len(pixels(both, BLUE))
    assert len(pixels(both, ORANGE))
    assert not len(pixels(eeg, ORANGE))
    assert Image.open(io.BytesIO(both)).height > Image.open(io.BytesIO(fnirs)).height


def test_missing_samples_are_gaps():
    """Where samples are NaN nothing is drawn: a fifth of the columns in one piece holds no pixel of the trace."""
    wave = np.sin(np.arange(500) / 20)
    whole = np.unique(pixels(window_picture(window(eeg=[wave])), BLUE)[:, 1])
    wave[200:300] = np.nan
    gapped = np.unique(pixels(window_picture(window(eeg=[wave])), BLUE)[:, 1])
    width = whole[-1] - whole[0]
    assert np.diff(whole).max() < 0.05 * width
    assert np.diff(gapped).max() == pytest.approx(0.2 * width, rel=0.1)


@pytest.mark.parametrize("values", [np.full((2, 10), np.nan), np.zeros((2, 10))])
def test_a_window_without_a_signal_is_a_picture_too(values):
    """All missing, or flat: the picture is drawn without a warning."""
    assert picture_mark(window_picture(window(eeg=values), mark="flat")) == "flat"


def test_the_first_channel_lies_on_top():
    """Traces are stacked in the order of the channels."""
    steps = np.where(np.arange(100) < 50, 1.0, -1.0)
    found = pixels(window_picture(window(eeg=[np.zeros(100), steps])), BLUE)
    rows, counts = np.unique(found[:, 0], return_counts=True)
    flat = rows[counts == counts.max()]
    assert flat.mean() == pytest.approx(rows.min(), abs=3)


def test_several_windows_are_refused():
    """Two windows are no picture; one that keeps its dimension of length 1 is."""
    two = xr.concat([window(eeg=[[0, 1]])] * 2, dim="window")
    with pytest.raises(BadInput, match=r"choose one with \.isel\(window=…\)") as told:
        window_picture(two)
    assert told.value.code == "one-window"
    assert window_picture(two.isel(window=[0])).startswith(b"\x89PNG")


def test_a_window_without_samples_is_refused():
    """A dataset with neither EEG nor fNIRS gives a clear error."""
    with pytest.raises(BadInput, match="no samples"):
        window_picture(window())


def test_what_the_attributes_say_is_shown():
    """The name of the label and the offset of a modality change the picture; so does a label without a name."""
    plain = window(eeg=[[0.0, 1.0, 0.0]])
    others = [
        plain.assign_attrs(mapping={}),
        plain.assign_attrs(eeg_offset_s=3.0),
        plain.drop_attrs(),
        plain.assign(label=-1),
        plain.assign(eeg_channel_unit=("eeg_channel", ["V"])),
    ]
    assert len({window_picture(each) for each in [plain, *others]}) == 1 + len(others)
