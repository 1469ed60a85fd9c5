"""What an EDF or BDF file says and MNE does not hand on (https://www.edfplus.info/specs/edfplus.html).

The rate of each signal, its unit and its label as they are, the fraction of a second at which the recording
began, the beginning of each record where they do not follow each other, and whether the file is whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING

import numpy as np

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["EdfHeader", "read_edf_header"]

_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_LABEL, _UNIT, _SAMPLES = 0, 2, 8
_ONSET = re.compile(rb"^([+-]\d+(?:\.(\d*))?)\x14")


@dataclass(frozen=True, eq=False)
class EdfHeader:
    """The header of an EDF or BDF file, its annotation signals left out of what is listed per signal.

    Parameters
    ----------
    start
        Local wall-clock time at which the first record begins, without a zone; None where none is stated.
    resolution_s
        How well that is known: 1 s, or the last digit of the fraction that EDF+ keeps in its first record.
    labels, units
        Per signal, as they are in the file.
    samples
        Samples per record of each signal.
    record_s
        Length of a record in s.
    onsets
        (record,) beginnings of the records in s since `start`.
    contiguous
        Whether the records follow each other without a hole.
    """

    start: datetime | None
    resolution_s: float
    labels: tuple[str, ...]
    units: tuple[str, ...]
    samples: tuple[int, ...]
    record_s: float
    onsets: NDArray[np.float64]
    contiguous: bool

    @property
    def rates(self) -> tuple[float, ...]:
        """Samples per second of each signal."""
        return tuple(samples / self.record_s for samples in self.samples)


@dataclass(frozen=True)
class _Layout:
    """Where the records are, and where in them their time is kept."""

    head: int
    record: int
    time_at: int | None
    time_size: int

    def time(self, file: IO[bytes], index: int) -> tuple[float, int] | None:
        """Return the onset of a record as it is kept, with its number of decimals; None if there is none."""
        if self.time_at is None:
            return None
        file.seek(self.head + index * self.record + self.time_at)
        match = _ONSET.match(file.read(self.time_size))
        return (float(match[1]), len((match[2] or b"").rstrip(b"0"))) if match else None


def _text(data: bytes) -> str:
    """Decode as UTF-8, or as Latin-1 where it is none."""
    try:
        return data.decode().strip(" \0")
    except UnicodeDecodeError:
        return data.decode("latin-1").strip(" \0")


def _start(head: bytes) -> datetime | None:
    date, time = head[168:176].decode("latin-1"), head[176:184].decode("latin-1")
    full = re.search(r"Startdate (\d\d-[A-Za-z]{3}-\d{4})", head[88:168].decode("latin-1"))
    try:
        day = datetime.strptime(full[1].title(), "%d-%b-%Y") if full else _two_digit_year(date)  # noqa: DTZ007 - EDF knows no zone
        hour, minute, second = (int(part) for part in re.split(r"[.:]", time))
        return day.replace(hour=hour, minute=minute, second=second)
    except ValueError:
        return None


def _two_digit_year(date: str) -> datetime:
    day, month, year = (int(part) for part in re.split(r"[.:/-]", date))
    return datetime(year + (2000 if year < 85 else 1900), month, day)  # noqa: DTZ001 - EDF knows no zone


def _signals(file: IO[bytes], count: int) -> list[list[str]]:
    return [[_text(file.read(width)) for _ in range(count)] for width in _FIELDS]


def _records(path: Path, name: str, said: int, layout: _Layout) -> int:
    """Return how many records there are, which the size of the file must bear out."""
    size = path.stat().st_size - layout.head
    records = size // layout.record if said < 0 else said
    if size < records * layout.record or (said < 0 and size % layout.record):
        found = f"{size} bytes of samples"
        expected = f"{records} records of {layout.record} bytes: the file was cut short"
        fix = "copy the file again from where it was made"
        raise BadInput(Problem(name, found, expected, fix, "truncated"))
    if not records:
        fix = "leave the file out, or record it again"
        raise BadInput(Problem(name, "no records", "at least one record of samples", fix, "no-data"))
    return records


def _onsets(
    file: IO[bytes], layout: _Layout, records: int, record_s: float
) -> tuple[NDArray[np.float64], int]:
    """Return the records' onsets since the start of the file, and the decimals of the first."""
    even: NDArray[np.float64] = np.arange(records, dtype=np.float64) * record_s
    first = layout.time(file, 0)
    if first is None:
        return even, 0
    known = [layout.time(file, index) for index in range(records)]
    onsets = np.array([even[i] + first[0] if item is None else item[0] for i, item in enumerate(known)])
    return onsets, first[1]


def read_edf_header(path: Path, name: str, sample_bytes: int) -> EdfHeader:
    """Read the header of an EDF (two bytes a sample) or BDF (three) file.

    Parameters
    ----------
    path, name
        The file, and what it is reported by.
    sample_bytes
        Bytes per sample.

    Raises
    ------
    BadInput
        If the file was cut short, or holds no record.
    ValueError
        If a field of the header is no number.
    """
    with path.open("rb") as file:
        head = file.read(256)
        count = int(head[252:256])
        fields = _signals(file, count)
        samples = [int(text) for text in fields[_SAMPLES]]
        times = [index for index, label in enumerate(fields[_LABEL]) if label in _ANNOTATIONS]
        at = sum(samples[: times[0]]) * sample_bytes if times else None
        size = samples[times[0]] * sample_bytes if times else 0
        layout = _Layout(int(head[184:192]), sum(samples) * sample_bytes, at, size)
        records = _records(path, name, int(head[236:244]), layout)
        record_s = float(head[244:252]) or 1.0
        onsets, decimals = _onsets(file, layout, records, record_s)
    kept = [index for index in range(count) if index not in times]
    return EdfHeader(
        start=_start(head),
        resolution_s=10.0**-decimals,
        labels=tuple(fields[_LABEL][index] for index in kept),
        units=tuple(fields[_UNIT][index] for index in kept),
        samples=tuple(samples[index] for index in kept),
        record_s=record_s,
        onsets=onsets,
        contiguous=bool(np.allclose(np.diff(onsets), record_s, rtol=0, atol=record_s / max(samples) / 2)),
    )
