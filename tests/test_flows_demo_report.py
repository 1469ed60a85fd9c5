"""What the demonstration says at its end, on small stores that plain xarray wrote."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from make_stores import light_curves, write_light_curves, write_zarr
from PIL import Image
from rich.console import Console

from flows.demo_report import draw_pictures, show_stores, states
from flows.demo_terminal import Terminal


def windows(sessions=2):
    """Return windows of some sessions, three each."""
    text = lambda values: np.array(list(values), object)  # noqa: E731
    samples = np.random.default_rng(0).normal(size=(sessions, 3, 2, 50)).astype("f4")
    return xr.Dataset(
        {
            "eeg": (("session", "window", "eeg_channel", "eeg_sample"), samples),
            "n_windows": ("session", np.full(sessions, 3, "i4")),
            "window_start": (("session", "window"), np.tile(np.arange(3.0), (sessions, 1))),
        },
        {
            "session": ("session", text(f"S{number}" for number in range(sessions))),
            "eeg_channel": ("eeg_channel", text(["C3", "C4"])),
        },
        {"window_size_s": 1.0, "eeg_window_s": 1.0},
    )


@pytest.fixture
def root(tmp_path):
    """Make a dataset with windows and light curves of three objects."""
    write_zarr(windows(), tmp_path / "windows.zarr")
    curves = light_curves(["a", "b", "c"], np.arange(3.0), np.zeros(3))
    curves["status"][:] = 1
    curves["lightcurves"][:, :, 0] = 18.0
    curves["lightcurves"][:, :, 1] = 0.01
    curves["lightcurves"][1, :, 0, 2:] = 17.0
    write_light_curves(curves, tmp_path, "lightcurves.zarr", objects=3, epochs=1)
    return tmp_path


def test_every_store_is_found_with_the_commit_that_made_it(root):
    """The state of each store is its generation and write id; a folder without stores has none."""
    found = states(str(root))
    assert {path: (state.generation, state.write_id) for path, state in found.items()} == {
        "lightcurves.zarr": (1, "write-lightcurves.zarr"),
        "windows.zarr": (1, "write-windows.zarr"),
    }
    assert states(str(root / "nowhere")) == {}


def test_each_store_is_shown_as_xarray_sees_it(root):
    """The view names every dimension and variable, and the dataset's own brackets survive."""
    text = io.StringIO()
    show_stores(Terminal(Console(file=text, width=120)), str(root))
    shown = text.getvalue()
    assert str(root / "windows.zarr") in shown
    assert "(session: 2, window: 3, eeg_channel: 2, eeg_sample: 50)" in shown.replace("\n", " ")
    for name in ("lightcurves", "status", "eeg", "window_start"):
        assert name in shown


def test_a_window_and_the_most_variable_object_are_drawn(root, tmp_path):
    """Both pictures are whole PNG files, and the light curve is that of the object that varies."""
    drawn = draw_pictures(str(root), tmp_path / "pictures")
    assert drawn == {tmp_path / "pictures/window.png": True, tmp_path / "pictures/light_curve.png": True}
    for path in drawn:
        with Image.open(path) as image:
            image.load()
            assert image.size[0] == 800
    only = tmp_path / "only"
    best = xr.open_zarr(root / "lightcurves.zarr").isel(object=[1]).load().drop_encoding()
    write_zarr(best, only / "lightcurves.zarr")
    draw_pictures(str(only), only / "pictures")
    with (
        Image.open(only / "pictures/light_curve.png") as alone,
        Image.open(tmp_path / "pictures/light_curve.png") as found,
    ):
        assert np.array_equal(np.asarray(alone), np.asarray(found))


def test_pictures_are_drawn_once_for_each_state_of_a_store(root, tmp_path):
    """A second time nothing is drawn; after a commit the picture of that store alone is drawn again."""
    folder = tmp_path / "pictures"
    draw_pictures(str(root), folder)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(draw_pictures(str(root), folder).values()) == {False}
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    write_zarr(windows(3), root / "more", write_id="w2")
    (root / "windows.zarr").rename(root / "old")
    (root / "more").rename(root / "windows.zarr")
    assert draw_pictures(str(root), folder) == {
        folder / "window.png": True,
        folder / "light_curve.png": False,
    }


def test_a_torn_picture_is_drawn_again(root, tmp_path):
    """A file that is no whole picture is replaced."""
    folder = tmp_path / "pictures"
    draw_pictures(str(root), folder)
    whole = (folder / "window.png").read_bytes()
    (folder / "window.png").write_bytes(whole[: len(whole) // 2])
    assert draw_pictures(str(root), folder)[folder / "window.png"]
    assert (folder / "window.png").read_bytes() == whole


def test_a_dataset_without_stores_has_no_pictures(tmp_path):
    """Nothing is drawn where nothing lies, and that is no error."""
    assert draw_pictures(str(tmp_path / "nowhere"), tmp_path / "pictures") == {}


def test_an_object_of_known_period_is_folded(tmp_path):
    """The same store gives another light curve where the period of the object shown is known, and the same window."""
    curves = light_curves(np.array([7, 8]), np.arange(2.0), np.zeros(2))
    write_light_curves(curves, tmp_path, "lightcurves.zarr", objects=2, epochs=1)
    drawn = []
    for number, periods in enumerate([{}, {99: 0.5}, {7: 0.5, 8: 0.5}]):
        (path,) = draw_pictures(str(tmp_path), tmp_path / str(number), periods)
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
