"""What the tables beside a recording of a BIDS dataset add to it: events, channels, and when it began."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.recordings import EEG, Markers, modality_name, stated_resolution_s, unit_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from aggrade.recordings import Origin, Recording, Stream, StreamHeader

__all__ = ["Sidecars", "Table", "acquired", "with_sidecars"]

_MISSING = ("", "n/a")
_UNSAID_TYPES = ("", EEG, "misc")
_TYPES = {"heog": "eog", "veog": "eog", "trig": "stim", "ref": "ref_eeg"}
_BAD = "bad"

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of values that tabs part, with a line of names.

    Parameters
    ----------
    path
        Where it lies.
    name
        What it is reported by.
    """

    path: Path
    name: str

    def rows(self, *needed: str) -> list[Row]:
        """Return the lines: column → text, without what is not there (``n/a``).

        Parameters
        ----------
        needed
            Columns that there must be.

        Raises
        ------
        BadInput
            If it is no such table, or lacks a column.
        """
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                lines = [
                    line for line in csv.reader(file, delimiter="\t") if any(cell.strip() for cell in line)
                ]
        except (UnicodeDecodeError, csv.Error) as error:
            found, fix = f"{type(error).__name__}: {error}", "export the table anew"
            raise BadInput(Problem(self.name, found, "a table in UTF-8", fix, "table")) from error
        head = [cell.strip() for cell in lines[0]] if lines else []
        problems = [self._problem(f"no column {name!r}", "one") for name in needed if name not in head]
        short = [str(number) for number, line in enumerate(lines, 1) if len(line) != len(head)]
        if short:
            problems.append(
                self._problem(f"lines {', '.join(short[:5])} of another length", f"{len(head)} cells")
            )
        raise_all(problems, BadInput)
        pairs = (zip(head, (cell.strip() for cell in line), strict=True) for line in lines[1:])
        return [{key: cell for key, cell in row if cell.lower() not in _MISSING} for row in pairs]

    def _problem(self, found: str, expected: str) -> Problem:
        return Problem(self.name, found, expected, "correct the table, or leave it out", "table")


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The tables that hold for a recording.

    Parameters
    ----------
    kind
        ``"eeg"`` or ``"nirs"``.
    events, channels
        Tables; None where there is none.
    start
        When its first sample was taken, as the table of scans says it; empty where it does not.
    scans
        Name of that table.
    """

    kind: str
    events: Table | None = None
    channels: Table | None = None
    start: str = ""
    scans: str = ""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those that there are."""
        return tuple(table for table in (self.events, self.channels) if table is not None)


def acquired(scans: Table, name: str) -> str:
    """Return when a file was recorded, as the table of scans says it; an empty text if it does not.

    Parameters
    ----------
    scans
        The table.
    name
        The file, as the table calls it.

    Raises
    ------
    BadInput
        If it is no such table.
    """
    found = [row for row in scans.rows("filename") if row.get("filename") == name]
    return found[0].get("acq_time", "") if found else ""


class _Described:
    """A recording with what its tables say: see `Recording`."""

    def __init__(self, recording: Recording, sidecars: Sidecars) -> None:
        self._recording, self._sidecars = recording, sidecars
        rows = sidecars.channels.rows("name") if sidecars.channels else []
        described = _Channels(rows)
        self._inner = {header.name: header for header in recording.streams}
        self.streams = tuple(described.of(header) for header in recording.streams)
        names = sidecars.channels.name if sidecars.channels else ""
        self._warnings = [f"{names}: {text}" for text in described.warnings(recording.streams)]
        self._start, self._resolution = _moment(sidecars)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is said of the file and of its tables."""
        return (*self._recording.warnings, *self._warnings)

    def load(self, header: StreamHeader, picks: Sequence[int]) -> Stream:
        """Return a stream; its start is that of the table of scans where the file states none."""
        stream = self._recording.load(self._inner[header.name], picks)
        return replace(stream, header=header.chosen(picks), origin=self._known(stream.origin))

    def markers(self) -> tuple[Markers, ...]:
        """Return the events of the table and what the file marks as bad; without a table, the file's own."""
        own = tuple(replace(item, origin=self._known(item.origin)) for item in self._recording.markers())
        if self._sidecars.events is None:
            return own
        events = self._events(self._sidecars.events)
        return (*events, *(kept for item in own if (kept := _only_bad(item)) is not None))

    def _known(self, origin: Origin) -> Origin:
        if origin.start is not None or self._start is None:
            return origin
        return replace(
            origin, zero=float(self._first().t[0]), start=self._start, resolution_s=self._resolution
        )

    def _first(self) -> Stream:
        """Return the stream whose first sample is what events and scans count from."""
        streams = [header for header in self._inner.values() if header.samples]
        wanted = modality_name(self._sidecars.kind)
        header = next((item for item in streams if item.modality == wanted), streams[0])
        return self._recording.load(header, (0,))

    def _events(self, table: Table) -> list[Markers]:
        rows = sorted(_event_rows(table), key=lambda row: row[0])
        if not rows:
            return []
        stream = self._first()
        onset, duration, text = zip(*rows, strict=True)
        times = float(stream.t[0]) + np.array(onset, np.float64)
        name, origin = f"{self._sidecars.kind}/events", self._known(stream.origin)
        return [Markers(name, times, text, np.array(duration, np.float64), origin, table.name)]


def with_sidecars(recording: Recording, sidecars: Sidecars | None) -> Recording:
    """Return a recording with what its tables say.

    Parameters
    ----------
    recording
        The recording.
    sidecars
        Its tables; None where there is none.

    Raises
    ------
    BadInput
        If a table is not what it should be.
    """
    return recording if sidecars is None else _Described(recording, sidecars)


def _moment(sidecars: Sidecars) -> tuple[datetime | None, float]:
    if not sidecars.start:
        return None, float("nan")
    try:
        start = datetime.fromisoformat(sidecars.start)
    except ValueError as error:
        fix = "correct acq_time, or write n/a"
        problem = Problem(
            sidecars.scans, f"acq_time {sidecars.start!r}", "date and time, ISO 8601", fix, "table"
        )
        raise BadInput(problem) from error
    return start, stated_resolution_s(sidecars.start)


def _event_rows(table: Table) -> Iterator[tuple[float, float, str]]:
    """Yield onset, duration and text of each event that has an onset."""
    for number, row in enumerate(table.rows("onset"), 2):
        if "onset" in row:
            text = row.get("trial_type") or row.get("value") or row.get("event_type") or "n/a"
            duration = _seconds(row.get("duration", "0"), table, number)
            yield _seconds(row["onset"], table, number), max(duration, 0.0), text


def _seconds(text: str, table: Table, line: int) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not np.isfinite(seconds):
        fix = "correct the table, or write n/a"
        raise BadInput(Problem(f"{table.name}, line {line}", repr(text), "seconds, or n/a", fix, "table"))
    return seconds


def _only_bad(item: Markers) -> Markers | None:
    """Leave of the file's own markers those that mark bad samples: the table says the events."""
    kept = [index for index, text in enumerate(item.text) if text.lower().startswith(_BAD)]
    if not kept:
        return None
    texts = tuple(item.text[index] for index in kept)
    return replace(item, t=item.t[kept], text=texts, duration=item.duration[kept])


class _Channels:
    """What the table of channels says of the channels of a file."""

    def __init__(self, rows: list[Row]) -> None:
        names = [row.get("name", "") for row in rows]
        self._rows: dict[str, Row] = {
            name: row for name, row in zip(names, rows, strict=True) if names.count(name) == 1
        }
        self._rows |= {name: row for row in rows if (name := _optical_name(row))}
        self._count = len(rows)

    def of(self, header: StreamHeader) -> StreamHeader:
        """Return a stream's header with units and types where the file says none, and what is marked as bad."""
        rows = [self._rows.get(name, {}) for name in header.channels]
        return replace(
            header,
            units=tuple(
                unit or unit_name(row.get("units", "")) for unit, row in zip(header.units, rows, strict=True)
            ),
            types=tuple(_type(kind, row) for kind, row in zip(header.types, rows, strict=True)),
            bad=header.bad
            | {
                name
                for name, row in zip(header.channels, rows, strict=True)
                if row.get("status", "").lower() == _BAD
            },
        )

    def warnings(self, headers: Sequence[StreamHeader]) -> Iterator[str]:
        """Yield where table and file do not agree."""
        channels = [
            (name, unit)
            for header in headers
            for name, unit in zip(header.channels, header.units, strict=True)
        ]
        unknown = self._count - sum(name in self._rows for name, _ in channels)
        if self._count and unknown > 0:
            yield f"{unknown} of {self._count} channels are not in the file under that name"
        said = {
            (unit, unit_name(self._rows[name].get("units", "")))
            for name, unit in channels
            if name in self._rows
        }
        for unit, other in sorted(said):
            if unit and other and unit != other:
                yield f"says {other} where the file says {unit}; the file's unit is kept"


def _type(kind: str, row: Mapping[str, str]) -> str:
    said = row.get("type", "").lower()
    return _TYPES.get(said, said) if said and kind in _UNSAID_TYPES else kind


def _optical_name(row: Mapping[str, str]) -> str:
    """Return what the channel of a source, a detector and a wavelength is called here; empty for others."""
    if not {"source", "detector", "wavelength_nominal"} <= set(row):
        return ""
    try:
        return f"{row['source']}_{row['detector']} {float(row['wavelength_nominal']):g}"
    except ValueError:
        return ""
