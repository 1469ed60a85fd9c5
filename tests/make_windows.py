"""Stores of windows whose every sample says where it belongs, written by plain xarray."""

from __future__ import annotations

import numpy as np
import xarray as xr
from make_stores import write_zarr

EEG, FNIRS = ("Fp1", "Fp2", "O1"), ("S1_D1 760", "S1_D1 850")


def numbered(sessions, counts, *, first=0, fnirs=True, eeg=EEG, longest=None):
    """Return windows of sessions; a sample is 10,000 · session + 10 · window + channel, counted from `first`.

    Windows beyond a session's count are NaN, their label is -1; else the label is the window modulo 3, and the
    coverage 1 - window / 100.
    """
    longest = longest or max(counts)
    there = np.arange(longest) < np.asarray(counts)[:, None]
    number = 10_000 * (first + np.arange(len(sessions)))[:, None] + 10 * np.arange(longest)
    number = np.where(there, number, np.nan)

    def samples(channels, length):
        values = number[:, :, None, None] + np.arange(len(channels))[:, None]
        return np.broadcast_to(values, (*values.shape[:3], length)).astype("f4")

    window = ("session", "window")
    coverage = np.where(there, 1 - np.arange(longest) / 100, np.nan).astype("f4")
    label = np.where(there, np.arange(longest) % 3, -1).astype("i2")
    variables = {
        "eeg": ((*window, "eeg_channel", "eeg_sample"), samples(eeg, 8)),
        "eeg_coverage": (window, coverage),
        "label": (window, label, {"mapping": {"rest": 0, "left": 1, "right": 2}}),
        "n_windows": ("session", np.asarray(counts, "i4")),
    }
    coordinates = {"session": np.array(sessions, object), "eeg_channel": np.array(eeg, object)}
    if fnirs:
        variables["fnirs"] = ((*window, "fnirs_channel", "fnirs_sample"), samples(FNIRS, 4))
        variables["fnirs_coverage"] = (window, coverage)
        coordinates["fnirs_channel"] = np.array(FNIRS, object)
    return xr.Dataset(variables, coordinates)


def write_windows(dataset, path, *, shard=4, rows=1, **bookkeeping):
    """Write a store in shards of so many windows, each window a chunk of its own."""
    encoding = {"label": {"fill_value": -1}}
    for name in {"eeg", "fnirs"} & set(dataset.variables):
        inner = dataset[name].shape[2:]
        encoding[name] = {"chunks": (1, 1, *inner), "shards": (rows, shard, *inner)}
    return write_zarr(dataset, path, encoding=encoding, **bookkeeping)
