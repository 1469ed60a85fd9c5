"""A small recording in every format that there is a reader for, for the tests that break it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import h5py
import numpy as np
from make_eeglab import write_set, write_set73
from make_recordings import (
    EdfSignal,
    counted,
    eeg_stream,
    marker_stream,
    nirs_stream,
    write_edf_signals,
    write_fif,
    write_snirf,
    write_xdf,
)

from aggrade.recordings.arrays import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FILES", "MAKERS", "RATE"]

RATE = 100
_SAMPLES = 6 * RATE
_VHDR = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile=a.eeg
MarkerFile=a.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=2
SamplingInterval=10000

[Binary Infos]
BinaryFormat=IEEE_FLOAT_32

[Channel Infos]
Ch1=Fz,,1.0,µV
Ch2=Cz,,1.0,µV
"""
_VMRK = """Brain Vision Data Exchange Marker File, Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile=a.eeg

[Marker Infos]
Mk1=New Segment,,1,1,0,20260301100000000000
Mk2=Stimulus,S  1,151,1,0
"""


def _xdf(folder: Path) -> None:
    t = np.arange(_SAMPLES) / RATE
    streams = [eeg_stream(t, rate=RATE), nirs_stream(t[::10]), marker_stream([1.5], ["go"])]
    write_xdf(folder / "a.xdf", streams)


def _packed_xdf(folder: Path) -> None:
    _xdf(folder)
    packed = gzip.compress((folder / "a.xdf").read_bytes(), mtime=0)
    (folder / "a.xdf").rename(folder / "a.xdfz").write_bytes(packed)


def _snirf(folder: Path, *, packed: bool) -> None:
    x = counted(_SAMPLES, 2)
    stimuli = {"go": [(1.5, 0, 1)]}
    write_snirf(
        folder / "a.snirf", np.arange(_SAMPLES) / RATE, x, stimuli=stimuli, chunks=(64, 2) if packed else None
    )


def _signals(count: int = 2) -> list[EdfSignal]:
    return [EdfSignal(name, np.arange(_SAMPLES) + 7 * i, RATE) for i, name in enumerate(("Fz", "Cz")[:count])]


def _edf(folder: Path) -> None:
    texts = [f"+{second}\x14\x14\0".encode() for second in range(6)]
    texts[1] += b"+1.5\x14go\x14\0"
    write_edf_signals(folder / "a.edf", [*_signals(), EdfSignal.texts(texts)], 6, kind="EDF+C")


def _plain_edf(folder: Path) -> None:
    write_edf_signals(folder / "a.edf", _signals(), 6)


def _bdf(folder: Path) -> None:
    write_edf_signals(folder / "a.bdf", _signals(), 6)
    whole = (folder / "a.bdf").read_bytes()
    numbers = np.frombuffer(whole[768:], "<i2").astype("<i4")
    wide = numbers.view("u1").reshape(-1, 4)[:, :3].tobytes()
    (folder / "a.bdf").write_bytes(b"\xffBIOSEMI" + whole[8:768] + wide)


def _brainvision(folder: Path) -> None:
    (folder / "a.vhdr").write_text(_VHDR, encoding="utf-8")
    (folder / "a.vmrk").write_text(_VMRK, encoding="utf-8")
    counted(_SAMPLES, 2).astype("<f4").tofile(folder / "a.eeg")


def _arrays() -> dict[str, object]:
    names = np.array(["Fz", "Cz"])
    return {
        "format": LAYOUT,
        "eeg/samples": counted(_SAMPLES, 2),
        "eeg/rate": float(RATE),
        "eeg/channels": names,
        "eeg/units": "µV",
    }


def _hdf5(folder: Path, *, packed: bool) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, value in _arrays().items():
            texts = isinstance(value, np.ndarray) and value.dtype.kind == "U"
            stored = value.astype(h5py.string_dtype()) if texts else value
            options = {"chunks": (64, 2), "compression": "gzip"} if packed and name == "eeg/samples" else {}
            file.create_dataset(name, data=stored, **options)


def _npz(folder: Path, *, packed: bool) -> None:
    (np.savez_compressed if packed else np.savez)(folder / "a.npz", **_arrays())


MAKERS: dict[str, Callable[[Path], object]] = {
    "XDF": _xdf,
    "XDF packed": _packed_xdf,
    "SNIRF": lambda folder: _snirf(folder, packed=False),
    "SNIRF in chunks": lambda folder: _snirf(folder, packed=True),
    "EDF": _plain_edf,
    "EDF+": _edf,
    "BDF": _bdf,
    "BrainVision": _brainvision,
    "FIF": lambda folder: write_fif(folder / "a_raw.fif", counted(_SAMPLES, 2), rate=float(RATE)),
    "FIF packed": lambda folder: write_fif(folder / "a_raw.fif.gz", counted(_SAMPLES, 2), rate=float(RATE)),
    "EEGLAB": lambda folder: write_set(folder / "a.set", counted(_SAMPLES, 2)),
    "EEGLAB in two files": lambda folder: write_set(folder / "a.set", counted(_SAMPLES, 2), fdt="a.fdt"),
    "EEGLAB packed": lambda folder: write_set(folder / "a.set", counted(_SAMPLES, 2), compressed=True),
    "EEGLAB 7.3": lambda folder: write_set73(folder / "a.set", counted(_SAMPLES, 2)),
    "HDF5": lambda folder: _hdf5(folder, packed=False),
    "HDF5 packed": lambda folder: _hdf5(folder, packed=True),
    "NPZ": lambda folder: _npz(folder, packed=False),
    "NPZ packed": lambda folder: _npz(folder, packed=True),
}
"""Format → what writes a recording of 6 s into a folder."""

FILES = [
    *(
        (kind, name)
        for kind, name in (("XDF", "a.xdf"), ("SNIRF", "a.snirf"), ("SNIRF in chunks", "a.snirf"))
    ),
    *((kind, name) for kind, name in (("XDF packed", "a.xdfz"), ("EDF", "a.edf"), ("EDF+", "a.edf"))),
    *(
        (kind, name)
        for kind, name in (("BDF", "a.bdf"), ("FIF", "a_raw.fif"), ("FIF packed", "a_raw.fif.gz"))
    ),
    *(("BrainVision", f"a.{ending}") for ending in ("vhdr", "vmrk", "eeg")),
    *((kind, "a.set") for kind in ("EEGLAB", "EEGLAB in two files", "EEGLAB packed", "EEGLAB 7.3")),
    ("EEGLAB in two files", "a.fdt"),
    *((kind, "a.h5") for kind in ("HDF5", "HDF5 packed")),
    *((kind, "a.npz") for kind in ("NPZ", "NPZ packed")),
]
"""Format and the file of it that is to be broken."""
