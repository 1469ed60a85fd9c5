"""Small datasets for tests, in the shape that a session has."""

from __future__ import annotations

import numpy as np
import xarray as xr


def make_session(label: str, windows: int, seed: int, *, channels: int = 2, samples: int = 5) -> xr.Dataset:
    """Return one session: a large variable of one row per object, ragged windows, small shared rows."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "eeg": (
                ("session", "window", "eeg_channel", "eeg_sample"),
                rng.standard_normal((1, windows, channels, samples)).astype("f4"),
                {"units": "V"},
            ),
            "window_start": (("session", "window"), np.arange(windows)[None] * 2.0, {"units": "s"}),
            "n_windows": ("session", np.array([windows], "i4")),
            "label": (
                ("session", "window"),
                rng.integers(0, 3, (1, windows)).astype("i2"),
                {},
                {"fill_value": -1},
            ),
            "content_digest": ("session", np.array([""], dtype=object)),
            "receipt": ("session", np.array([""], dtype=object)),
        },
        coords={
            "session": ("session", np.array([label], dtype=object)),
            "eeg_channel": ("eeg_channel", np.array([f"E{i}" for i in range(channels)], dtype=object)),
        },
        attrs={"eeg_rate": 250.0},
    )


CHUNKS = {"eeg": (1, 2, 2, 5), "session": 4, "window": 3}
"""Chunks small enough that a session has several of its own and shares some with others."""


def assert_holds(found: xr.Dataset, sessions: list[xr.Dataset]) -> None:
    """Assert that a store holds exactly these sessions, in this order, value by value, fill elsewhere."""
    assert list(map(str, found["session"].values)) == [str(s["session"].values[0]) for s in sessions]
    for row, session in enumerate(sessions):
        windows = session.sizes["window"]
        for name in {"eeg", "window_start", "label", "n_windows"} & set(session.variables):
            there = found[name].isel(session=row)
            if "window" in there.dims:
                beyond = there.isel(window=slice(windows, None)).values
                assert (beyond == -1).all() if name == "label" else np.isnan(beyond).all(), (name, row)
                there = there.isel(window=slice(0, windows))
            np.testing.assert_array_equal(there.values, session[name].isel(session=0).values)
