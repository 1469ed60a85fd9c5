"""Write recordings as EDF and SNIRF files, one plain function per format.

EDF is specified at https://www.edfplus.info/specs/edf.html and SNIRF 1.1 at https://github.com/fNIRS/snirf.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

__all__ = ["write_edf", "write_snirf"]

_DIGITAL = 32767


def _fields(width: int, values: Sequence[Any]) -> bytes:
    return b"".join(str(value).encode("ascii").ljust(width)[:width] for value in values)


def _edf_header(
    start: datetime, records: int, rate: int, labels: Sequence[str], unit: str, largest: float
) -> bytes:
    count = len(labels)
    identity = _fields(80, ["X X X X", "Startdate X X X X"])
    clock = _fields(8, [f"{start:%d.%m.%y}", f"{start:%H.%M.%S}"])
    head = _fields(8, ["0"]) + identity + clock + _fields(8, [256 * (1 + count)]) + _fields(44, [""])
    head += _fields(8, [records, 1]) + _fields(4, [count])
    columns: list[tuple[int, Sequence[Any]]] = [(16, labels)]
    columns += [(80, ["AgAgCl electrode"] * count), (8, [unit] * count)]
    columns += [(8, [f"{-largest:g}"] * count), (8, [f"{largest:g}"] * count)]
    columns += [(8, [-_DIGITAL] * count), (8, [_DIGITAL] * count), (80, [""] * count)]
    columns += [(8, [rate] * count), (32, [""] * count)]
    return head + b"".join(_fields(width, values) for width, values in columns)


def write_edf(
    path: str | Path,
    start: datetime,
    samples: NDArray[Any],
    *,
    rate: int,
    labels: Sequence[str],
    unit: str = "uV",
    largest: float = 500.0,
) -> None:
    """Write signals of one rate as EDF with records of 1 s.

    Parameters
    ----------
    path
        Where to; a file that lies there is replaced.
    start
        Start of the recording; EDF keeps it to 1 s and without a zone.
    samples
        (sample, channel) in `unit`. Whole seconds are written; what is beyond the last is left out.
    rate
        Samples per second.
    labels, unit
        Names of the channels in ASCII, and the unit of all of them.
    largest
        What the 16-bit number 32767 stands for, in `unit`; what is beyond is clipped.
    """
    records = len(samples) // rate
    digital = np.rint(np.clip(samples[: records * rate] / largest, -1, 1) * _DIGITAL).astype("<i2")
    blocks = digital.reshape(records, rate, len(labels)).transpose(0, 2, 1)
    Path(path).write_bytes(_edf_header(start, records, rate, labels, unit, largest) + blocks.tobytes())


def _write_channels(data: h5py.Group, channels: Sequence[tuple[int, int, int]], unit: str) -> None:
    for number, (source, detector, wavelength) in enumerate(channels, start=1):
        entry = data.create_group(f"measurementList{number}")
        indices = {"sourceIndex": source, "detectorIndex": detector, "wavelengthIndex": wavelength}
        for name, value in {**indices, "dataType": 1, "dataTypeIndex": 1}.items():
            entry[name] = np.int32(value)
        entry["dataUnit"] = unit


def _write_probe(
    nirs: h5py.Group, channels: Sequence[tuple[int, int, int]], wavelengths: Sequence[float]
) -> None:
    probe = nirs.create_group("probe")
    probe["wavelengths"] = np.asarray(wavelengths, "f8")
    for name, column, depth in (("source", 0, 0.0), ("detector", 1, 30.0)):
        count = max(channel[column] for channel in channels)
        probe[f"{name}Pos3D"] = np.array([[25.0 * index, depth, 90.0] for index in range(count)])
        probe[f"{name}Labels"] = [f"{name[0].upper()}{index + 1}" for index in range(count)]


def write_snirf(
    path: str | Path,
    start: datetime,
    time: NDArray[np.float64],
    samples: NDArray[Any],
    *,
    channels: Sequence[tuple[int, int, int]],
    wavelengths: Sequence[float],
    stimuli: Mapping[str, NDArray[np.float64]],
    unit: str = "V",
) -> None:
    """Write light intensities of a continuous-wave instrument as SNIRF 1.1.

    Parameters
    ----------
    path
        Where to; a file that lies there is replaced.
    start
        Start of the measurement with its zone.
    time
        (sample,) float64, s since `start`.
    samples
        (sample, channel) intensities in `unit`.
    channels
        (source, detector, wavelength) of each channel, counted from 1.
    wavelengths
        nm.
    stimuli
        Name of a condition → (trial, 3) onset in s since `start`, duration in s, amplitude.
    """
    tags = {"SubjectID": "demo", "MeasurementDate": f"{start:%Y-%m-%d}"}
    tags["MeasurementTime"] = start.isoformat(timespec="seconds").split("T")[1]
    tags |= {"LengthUnit": "mm", "TimeUnit": "s", "FrequencyUnit": "Hz"}
    with h5py.File(path, "w") as file:
        file["formatVersion"] = "1.1"
        nirs = file.create_group("nirs")
        described = nirs.create_group("metaDataTags")
        for name, value in tags.items():
            described[name] = value
        data = nirs.create_group("data1")
        data["time"], data["dataTimeSeries"] = np.asarray(time, "f8"), np.asarray(samples, "f8")
        _write_channels(data, channels, unit)
        _write_probe(nirs, channels, wavelengths)
        for number, (name, trials) in enumerate(stimuli.items(), start=1):
            group = nirs.create_group(f"stim{number}")
            group["name"], group["data"] = name, np.asarray(trials, "f8")
