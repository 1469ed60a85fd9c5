"""What an EDF or BDF file says and MNE does not hand on (https://www.edfplus.info/specs/edfplus.html).

The rate of each signal, its unit and its label as they are, the fraction of a second at which the recording
began, the beginning of each record where they do not follow each other, and whether the file is whole. A header
that contradicts itself or the file's length is refused; two dates that contradict each other are no date.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import IO, TYPE_CHECKING

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["EdfHeader", "read_edf_header"]

_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_LABEL, _UNIT, _SAMPLES = 0, 2, 8
_UNKNOWN = -1
_ONSET = re.compile(rb"^([+-]\d+(?:\.(\d*))?)\x14")


@dataclass(frozen=True, eq=False)
class EdfHeader:
    """The header of an EDF or BDF file, its annotation signals left out of what is listed per signal.

    Parameters
    ----------
    start
        Local wall-clock time at which the first record begins, without a zone; None where none is stated, or two
        that contradict each other.
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
    notes
        What was made of a header that leaves something open, one sentence each.
    """

    start: datetime | None
    resolution_s: float
    labels: tuple[str, ...]
    units: tuple[str, ...]
    samples: tuple[int, ...]
    record_s: float
    onsets: NDArray[np.float64]
    contiguous: bool
    notes: tuple[str, ...] = ()

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


def _start(head: bytes) -> tuple[datetime | None, str]:
    """Return when the first record begins, None if that is not known, and why it isn't where dates contradict."""
    date, time = head[168:176].decode("latin-1"), head[176:184].decode("latin-1")
    full = re.search(r"Startdate (\d\d-[A-Za-z]{3}-\d{4})", head[88:168].decode("latin-1"))
    try:
        day = datetime.strptime(full[1].title(), "%d-%b-%Y") if full else _two_digit_year(date)  # noqa: DTZ007 - EDF knows no zone
        hour, minute, second = (int(part) for part in re.split(r"[.:]", time))
        start = day.replace(hour=hour, minute=minute, second=second)
    except ValueError:
        return None, ""
    if full and not _same_day(day, date):
        said = f"the date is {date} in the header and {full[1]} in its recording field"
        return None, f"{said}; when the recording began is taken as not known"
    return start, ""


def _same_day(day: datetime, date: str) -> bool:
    """Tell whether a day is the one of two digits for its year; also if that is none, as from 2085 on."""
    try:
        short = _two_digit_year(date)
    except ValueError:
        return True
    return (short.day, short.month, short.year % 100) == (day.day, day.month, day.year % 100)


def _two_digit_year(date: str) -> datetime:
    day, month, year = (int(part) for part in re.split(r"[.:/-]", date))
    return datetime(year + (2000 if year < 85 else 1900), month, day)  # noqa: DTZ001 - EDF knows no zone


def _signals(file: IO[bytes], count: int) -> list[list[str]]:
    return [[_text(file.read(width)) for _ in range(count)] for width in _FIELDS]


def _contradictions(name: str, head: bytes, fields: list[list[str]], record_s: float) -> Iterator[Problem]:
    """Yield what the header says that can't be."""
    count, size = len(fields[_LABEL]), int(head[184:192])
    if size != 256 * (count + 1):
        expected = f"{256 * (count + 1)} bytes, as {count} signals take"
        fix = "export the recording anew, or correct the header"
        yield Problem(name, f"a header of {size} bytes", expected, fix, "edf-header")
    signals = [label for label in fields[_LABEL] if label not in _ANNOTATIONS]
    if signals and not (isfinite(record_s) and record_s > 0):
        found, expected = f"records of {record_s:g} s", "more than 0 s, which the rates follow from"
        fix = "write the length of a record into the header (bytes 244 to 251), or export the recording anew"
        yield Problem(name, found, expected, fix, "edf-header")
    empty = [
        label for label, samples in zip(fields[_LABEL], fields[_SAMPLES], strict=True) if int(samples) < 1
    ]
    if empty:
        found = f"signals without samples in a record: {', '.join(map(repr, empty))}"
        fix = "export the recording anew without them"
        yield Problem(name, found, "at least one sample of each signal", fix, "edf-header")


def _records(path: Path, name: str, said: int, layout: _Layout) -> int:
    """Return how many records there are, which the size of the file must bear out."""
    size = path.stat().st_size - layout.head
    records = size // layout.record if said == _UNKNOWN else said
    if size < records * layout.record or (said == _UNKNOWN and size % layout.record):
        found = f"{size} bytes of samples"
        expected = f"{records} records of {layout.record} bytes: the file was cut short"
        fix = "copy the file again from where it was made"
        raise BadInput(Problem(name, found, expected, fix, "truncated"))
    if size > records * layout.record:
        found = f"{size} bytes of samples, {size / layout.record:.12g} records"
        expected = f"{records} records of {layout.record} bytes, as the header says"
        fix = "correct their number in the header (bytes 236 to 243; -1: not known), or cut off what is too much"
        raise BadInput(Problem(name, found, expected, fix, "edf-records"))
    if not records:
        fix = "leave the file out, or record it again"
        raise BadInput(Problem(name, "no records", "at least one record of samples", fix, "no-data"))
    return records


def _onsets(
    file: IO[bytes], layout: _Layout, records: int, record_s: float, *, discontinuous: bool
) -> tuple[NDArray[np.float64], int]:
    """Return the records' onsets since the start of the file, and the decimals of the first."""
    even: NDArray[np.float64] = np.arange(records, dtype=np.float64) * record_s
    known = [layout.time(file, index) for index in range(records)]
    if discontinuous and None in known:
        raise ValueError(f"record {known.index(None)} of EDF+D does not say when it began")
    first = known[0]
    if first is None:
        return even, 0
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
        If the file was cut short, is longer than its header says, or holds no record; if its header contradicts
        itself.
    ValueError
        If a field of the header is no number.
    """
    with path.open("rb") as file:
        head = file.read(256)
        fields = _signals(file, int(head[252:256]))
        said, record_s = int(head[236:244]), float(head[244:252])
        raise_all(_contradictions(name, head, fields, record_s), BadInput)
        layout = _layout(len(head) + sum(_FIELDS) * len(fields[_LABEL]), fields, sample_bytes)
        records = _records(path, name, said, layout)
        gaps = b"+D" in head[192:236]
        onsets, decimals = _onsets(file, layout, records, record_s, discontinuous=gaps)
    kept = [index for index, label in enumerate(fields[_LABEL]) if label not in _ANNOTATIONS]
    samples = tuple(int(fields[_SAMPLES][index]) for index in kept)
    most = max(samples, default=1)
    start, note = _start(head)
    counted = f"the number of records was never written (-1): {records} follow from the file's size"
    return EdfHeader(
        start=start,
        resolution_s=10.0**-decimals,
        labels=tuple(fields[_LABEL][index] for index in kept),
        units=tuple(fields[_UNIT][index] for index in kept),
        samples=samples,
        record_s=record_s,
        onsets=onsets,
        contiguous=bool(np.allclose(np.diff(onsets), record_s, rtol=0, atol=record_s / most / 2)),
        notes=tuple(filter(None, (note, counted if said == _UNKNOWN else ""))),
    )


def _layout(head: int, fields: list[list[str]], sample_bytes: int) -> _Layout:
    samples = [int(text) for text in fields[_SAMPLES]]
    times = next((index for index, label in enumerate(fields[_LABEL]) if label in _ANNOTATIONS), None)
    record = sum(samples) * sample_bytes
    if times is None:
        return _Layout(head, record, None, 0)
    return _Layout(head, record, sum(samples[:times]) * sample_bytes, samples[times] * sample_bytes)
