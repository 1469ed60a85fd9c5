"""The page on reading does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import xarray as xr
from make_stores import light_curves, write_light_curves, write_zarr

PAGE = Path(__file__).parents[1] / "docs" / "reading.md"


def test_every_snippet_runs_on_a_dataset(tmp_path, monkeypatch, capsys):
    """The snippets run one after the other on a root with windows and light curves, and print and save what they say."""
    rng = np.random.default_rng(2)
    windows = xr.Dataset(
        {
            "eeg": (
                ("session", "window", "eeg_channel", "eeg_sample"),
                rng.normal(size=(2, 4, 3, 50)).astype("f4"),
            ),
            "window_start": (("session", "window"), np.tile(2.0 * np.arange(4), (2, 1))),
        },
        {"session": np.array(["s1", "s2"], object), "eeg_channel": np.array(["a", "b", "c"], object)},
    )
    write_zarr(windows, tmp_path / "data" / "windows.zarr")
    ra = np.array([359.0, 0.5, 120.0, 2.0, 1.0])
    cube = light_curves([10, 11, 12, 13, 14], ra, np.array([0.1, 0.2, 60.0, 0.4, 0.3]))
    write_light_curves(cube, tmp_path / "data", "lightcurves.zarr", objects=5, epochs=1)
    monkeypatch.chdir(tmp_path)
    names = {"store": "data"}
    for snippet in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(snippet, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    rows = int((cube["status"].values[0] > 0).sum())
    assert printed[-1] == f"{rows} 3 3 4 5"
    assert "(3, 50)" in printed
    assert {path.name for path in tmp_path.glob("*.png")} == {"window.png", "light_curve.png"}
