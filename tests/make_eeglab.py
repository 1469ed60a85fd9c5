"""EEGLAB datasets with known content, written with SciPy and h5py alone, as MATLAB would write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from make_recordings import counted
from scipy.io import savemat

__all__ = ["EMPTY", "events_of", "places_of", "write_set", "write_set73"]

EMPTY = np.zeros((0, 0))


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """Return a MATLAB struct array of one row."""
    if not rows:
        return EMPTY
    array = np.zeros((1, len(rows)), [(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        for name, value in row.items():
            array[0, index][name] = value
    return array


def places_of(*labels: str, types: tuple[Any, ...] = (), **more: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return ``chanlocs``: one struct per label."""
    kinds = types or ("EEG",) * len(labels)
    rows = [{"labels": label, "type": kind} for label, kind in zip(labels, kinds, strict=True)]
    for name, values in more.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def events_of(*rows: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return ``event``: structs of type, latency and duration."""
    return [dict(zip(("type", "latency", "duration"), row, strict=True)) for row in rows]


def fields_of(x: np.ndarray, rate: float, places: Any, events: Any, more: dict[str, Any]) -> dict[str, Any]:
    """Return what EEGLAB keeps of (sample, channel) numbers, in its order."""
    channels = [chr(65 + index) for index in range(x.shape[1])]
    return {
        "setname": "made",
        "nbchan": float(x.shape[1]),
        "trials": 1.0,
        "pnts": float(len(x)),
        "srate": float(rate),
        "xmin": 0.0,
        "xmax": (len(x) - 1) / rate,
        "data": x.T.astype("f4"),
        "chanlocs": places_of(*channels) if places is None else places,
        "event": [] if events is None else events,
        "etc": [{"eeglabvers": "2026.0"}],
    } | more


def write_set(
    path: str | Path,
    x: np.ndarray | None = None,
    *,
    rate: float = 100.0,
    places: Any = None,
    events: Any = None,
    fdt: str | None = None,
    inside: bool = False,
    compressed: bool = False,
    without: tuple[str, ...] = (),
    **more: Any,
) -> Path:
    """Write (sample, channel) microvolts as a MATLAB file of version 5.

    ``fdt`` is the name by which the dataset calls its file of samples, which is written beside it under its own
    stem; ``inside`` puts all fields into one variable EEG, as EEGLAB did for long.
    """
    path, x = Path(path), counted(1000, 2) if x is None else x
    fields = fields_of(x, rate, places, events, more)
    if fdt is not None:
        x.astype("<f4").tofile(path.with_suffix(".fdt"))
        fields["data"] = fdt
    values = {name: structs(value) if isinstance(value, list) else value for name, value in fields.items()}
    kept = {name: value for name, value in values.items() if name not in without}
    savemat(path, {"EEG": kept} if inside else kept, appendmat=False, do_compression=compressed)
    return path


def write_set73(
    path: str | Path,
    x: np.ndarray | None = None,
    *,
    rate: float = 100.0,
    places: Any = None,
    events: Any = None,
    fdt: str | None = None,
    inside: bool = False,
    block: bool = True,
    without: tuple[str, ...] = (),
    chunks: tuple[int, int] | None = None,
    **more: Any,
) -> Path:
    """Write what `write_set` writes as a MATLAB file of version 7.3: HDF5 behind a block of 512 bytes."""
    path, x = Path(path), counted(1000, 2) if x is None else x
    fields = fields_of(x, rate, places, events, more)
    if fdt is not None:
        x.astype("<f4").tofile(path.with_suffix(".fdt"))
        fields["data"] = fdt
    with h5py.File(path, "w", userblock_size=512 if block else 0) as file:
        root = file.create_group("EEG") if inside else file
        if inside:
            root.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, value in fields.items():
            if name not in without:
                _put(file, root, name, value, chunks if name == "data" else None)
    if block:
        with path.open("r+b") as opened:
            opened.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\0\2IM")
    return path


def _put(file: h5py.File, node: h5py.Group, name: str, value: Any, chunks: Any = None) -> None:
    if isinstance(value, list) and len(value) != 1:
        _put_rows(file, node, name, value)
    elif isinstance(value, list):
        group = node.create_group(name)
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for key, item in value[0].items():
            _put(file, group, key, item)
    else:
        _put_value(node, name, value, chunks)


def _put_rows(file: h5py.File, node: h5py.Group, name: str, rows: list[dict[str, Any]]) -> None:
    """Write a struct array: for every field as many references as there are rows, or nothing at all."""
    if not rows:
        empty = node.create_dataset(name, data=np.zeros(2, np.uint64))
        empty.attrs["MATLAB_class"], empty.attrs["MATLAB_empty"] = np.bytes_("struct"), np.uint8(1)
        return
    group, store = node.create_group(name), file.require_group("#refs#")
    group.attrs["MATLAB_class"] = np.bytes_("struct")
    for key in rows[0]:
        references = group.create_dataset(key, (len(rows), 1), h5py.ref_dtype)
        for index, row in enumerate(rows):
            label = f"{name}{key}{index}"
            _put_value(store, label, row[key])
            references[index, 0] = store[label].ref


def _put_value(node: h5py.Group, name: str, value: Any, chunks: Any = None) -> None:
    if isinstance(value, str):
        codes = np.frombuffer(value.encode("utf-16-le", "surrogatepass"), "<u2")
        kind, stored = "char", codes[:, None]
    else:
        stored = np.atleast_2d(np.asarray(value)).T
        kind = {"f4": "single", "f8": "double"}[stored.dtype.str[1:]]
    if stored.size:
        item = node.create_dataset(name, data=stored, chunks=chunks)
    else:
        item = node.create_dataset(name, data=np.zeros(2, np.uint64))
        item.attrs["MATLAB_empty"] = np.uint8(1)
    item.attrs["MATLAB_class"] = np.bytes_(kind)
