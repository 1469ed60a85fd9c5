"""Small recordings in real formats, with known content, for the tests of readers and of windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import mne
import numpy as np

from flows.recording_writers import write_edf
from flows.xdf_writer import XdfStream, write_xdf

__all__ = [
    "START",
    "EdfSignal",
    "counted",
    "eeg_stream",
    "marker_stream",
    "nirs_stream",
    "write_edf",
    "write_edf_signals",
    "write_fif",
    "write_snirf",
    "write_xdf",
]

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def counted(samples: int, channels: int, first: int = 0) -> np.ndarray:
    """Return (sample, channel) float64 numbers that float32 holds exactly and that name sample and channel."""
    return (first + np.arange(samples))[:, None] + np.arange(channels) / 8


def eeg_stream(t, x=None, *, rate=256.0, name="EEG", kind="EEG", labels=("A", "B"), **options) -> XdfStream:
    """Return an XDF stream of EEG, by default numbered by `counted`."""
    x = counted(len(t), len(labels)) if x is None else x
    channels = [{"label": label, "unit": "microvolts", "type": "EEG"} for label in labels]
    return XdfStream(name, kind, np.asarray(t, float), x.astype("f4"), rate, channels, **options)


def nirs_stream(t, x=None, *, rate=10.0, name="NIRS", labels=("o1", "o2", "o3"), **options) -> XdfStream:
    """Return an XDF stream of fNIRS, by default numbered by `counted`."""
    x = counted(len(t), len(labels)) if x is None else x
    channels = [{"label": label, "unit": "V", "type": "NIRS"} for label in labels]
    return XdfStream(name, "NIRS", np.asarray(t, float), x.astype("f4"), rate, channels, **options)


def marker_stream(t, texts, *, name="markers", **options) -> XdfStream:
    """Return an XDF stream of markers."""
    return XdfStream(name, "Markers", np.asarray(t, float), list(texts), **options)


def write_snirf(
    path: str | Path,
    time: Any,
    x: np.ndarray,
    *,
    tags: dict[str, str] | None = None,
    group: str = "nirs",
    stimuli: dict[str, Any] | None = None,
    mode: str = "w",
    lists: bool = False,
    chunks: tuple[int, int] | None = None,
    aux: dict[str, tuple[Any, Any]] | None = None,
) -> Path:
    """Write a SNIRF file by hand: ``time`` and every tag are stored as given, right or wrong.

    Channel c goes from source c + 1 to detector 1 at 760 nm.
    """
    given = {"MeasurementDate": "2026-03-01", "MeasurementTime": "10:00:00Z", "TimeUnit": "s"}
    with h5py.File(path, mode) as file:
        file.require_dataset("formatVersion", (), h5py.string_dtype())[()] = "1.1"
        nirs = file.create_group(group)
        for name, value in (given if tags is None else tags).items():
            nirs.require_group("metaDataTags")[name] = value
        data = nirs.create_group("data1")
        data["time"] = np.asarray(time, float)
        data.create_dataset("dataTimeSeries", data=x, chunks=chunks)
        _describe(data, x.shape[1], lists=lists)
        nirs.create_group("probe")["wavelengths"] = [760.0]
        for number, (name, rows) in enumerate((stimuli or {}).items(), start=1):
            stim = nirs.create_group(f"stim{number}")
            stim["name"], stim["data"] = name, np.asarray(rows, float)
        for number, (name, (when, values)) in enumerate((aux or {}).items(), start=1):
            node = nirs.create_group(f"aux{number}")
            node["name"], node["time"], node["dataTimeSeries"] = name, np.asarray(when), np.asarray(values)
    return Path(path)


def _describe(data: h5py.Group, count: int, *, lists: bool) -> None:
    fields = {"detectorIndex": 1, "wavelengthIndex": 1, "dataType": 1, "dataTypeIndex": 1}
    if lists:
        group = data.create_group("measurementLists")
        group["sourceIndex"] = np.arange(count) + 1
        for name, value in fields.items():
            group[name] = np.full(count, value)
        return
    for index in range(count):
        entry = data.create_group(f"measurementList{index + 1}")
        for name, value in {"sourceIndex": index + 1, **fields}.items():
            entry[name] = np.int32(value)


def write_fif(path: str | Path, x: np.ndarray, *, rate=256.0, start=START, types="eeg", first_samp=0) -> Path:
    """Write (sample, channel) in V as FIF through MNE, whose channels are A, B and so on."""
    info = mne.create_info([chr(65 + index) for index in range(x.shape[1])], rate, types)
    raw = mne.io.RawArray(x.T, info, first_samp=first_samp, verbose="error")
    raw.set_meas_date(start)
    raw.save(path, fmt="double", verbose="error", overwrite=True)
    return Path(path)


@dataclass(frozen=True)
class EdfSignal:
    """One signal of an EDF file: 16-bit numbers, of which 1 is worth 1 of the unit."""

    label: str
    numbers: np.ndarray
    per_record: int
    unit: str = "uV"
    annotations: list[bytes] = field(default_factory=list)

    @classmethod
    def texts(cls, records: list[bytes], per_record: int = 60) -> EdfSignal:
        """Return the annotation signal that EDF+ keeps its times in, one text per record."""
        return cls("EDF Annotations", np.zeros(0), per_record, "", records)

    def record(self, index: int) -> bytes:
        """Return what the signal puts into a record."""
        if self.annotations:
            return self.annotations[index].ljust(2 * self.per_record, b"\0")
        part = self.numbers[index * self.per_record : (index + 1) * self.per_record]
        return part.astype("<i2").tobytes()


def write_edf_signals(
    path: str | Path,
    signals: list[EdfSignal],
    records: int,
    *,
    kind: str = "",
    start: datetime = START,
    said: int | None = None,
    record_s: float = 1,
) -> Path:
    """Write an EDF or EDF+ file by hand, with rates, labels and record times as given."""
    count = len(signals)

    def column(width: int, values: list[Any]) -> bytes:
        encoded = [value if isinstance(value, bytes) else str(value).encode() for value in values]
        return b"".join(value.ljust(width)[:width] for value in encoded)

    head = column(8, ["0"]) + column(80, ["X X X X", f"Startdate {start:%d-%b-%Y} X X X".upper()])
    head = head.replace(b"STARTDATE", b"Startdate")
    head += column(8, [f"{start:%d.%m.%y}", f"{start:%H.%M.%S}", 256 * (count + 1)]) + column(44, [kind])
    head += column(8, [records if said is None else said, f"{record_s:g}"]) + column(4, [count])
    head += column(16, [signal.label for signal in signals]) + column(80, [""] * count)
    head += column(8, [signal.unit for signal in signals])
    head += column(8, [-32768] * count) + column(8, [32767] * count)
    head += column(8, [-32768] * count) + column(8, [32767] * count) + column(80, [""] * count)
    head += column(8, [signal.per_record for signal in signals]) + column(32, [""] * count)
    body = b"".join(signal.record(index) for index in range(records) for signal in signals)
    Path(path).write_bytes(head + body)
    return Path(path)
