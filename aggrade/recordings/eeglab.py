"""EEGLAB datasets (https://eeglab.org): ``.set`` alone, or with its samples in ``.fdt``.

The dataset is interpreted here and not by MNE, which takes samples on either side of a boundary for neighbours,
cuts the boundary's length off where the file ends, calls channels of unknown type EEG in volts, takes any
``.fdt`` that has the name said, whole or not, and names one and the same numeric event ``1`` or ``1.0`` by the
kind of file. A boundary tells how many samples were taken out there; everything behind it is later by as many, as
EEGLAB's own ``eeg_urlatency`` has it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.recordings import (
    EEG,
    FNIRS,
    Format,
    Markers,
    Origin,
    Stream,
    StreamHeader,
    reader_errors,
    unique_names,
    unit_name,
)
from aggrade.recordings.mat_files import MatSamples, holds_eeglab, opened_mat
from aggrade.recordings.mat_tags import starts_eeglab

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aggrade.recordings import Samples
    from aggrade.recordings.mat_files import MatFile

__all__ = ["FORMAT", "EeglabRecording"]

_VOLTAGES = ("", "eeg", "eog", "heog", "veog", "ecg", "ekg", "emg", "exg", "ref", "seeg", "ecog")
_OPTICAL = ("nirs", "fnirs", "hbo", "hbr", "hbt")
_BOUNDARY, _NUMERIC_BOUNDARY = "boundary", -99
_FLOAT_BYTES = 4
_PIECE_BYTES = 16 << 20
Side = Literal["left", "right"]
_SIDES: tuple[Side, Side] = ("left", "right")
_LOST_FIX = "write the number of samples that are missing into its duration, or save each part as a file"


@dataclass(frozen=True, eq=False)
class _Rows:
    """Samples of chosen channels in an ``.fdt`` file, which holds float32 (sample, channel)."""

    path: Path
    count: int
    width: int
    picks: Sequence[int]
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples, number of chosen channels."""
        return self.count, len(self.picks)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return consecutive samples."""
        start, stop, _ = rows.indices(self.count)
        values = np.empty((max(stop - start, 0), len(self.picks)), np.float32)
        whole = max(1, _PIECE_BYTES // (self.width * _FLOAT_BYTES))
        with reader_errors(self.name, "EEGLAB"):
            for low in range(start, stop, whole):
                high = min(low + whole, stop)
                offset, numbers = low * self.width * _FLOAT_BYTES, (high - low) * self.width
                block = np.fromfile(self.path, "<f4", numbers, offset=offset).reshape(-1, self.width)
                values[low - start : high - start] = block[:, list(self.picks)]
        return values


@dataclass(frozen=True, eq=False)
class _Events:
    """The events of a dataset.

    Parameters
    ----------
    latency, duration
        (event,) samples; the first sample is 1. What is not stated is NaN.
    text
        The type of each.
    boundary
        (event,) which of them say that samples are missing.
    """

    latency: NDArray[np.float64]
    duration: NDArray[np.float64]
    text: tuple[str, ...]
    boundary: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> _Events:
        """Take events as the file has them."""
        kinds = [row.get("type") for row in rows]
        return cls(
            np.array([_number(row.get("latency")) for row in rows], np.float64),
            np.array([_number(row.get("duration")) for row in rows], np.float64),
            tuple(_BOUNDARY if _is_boundary(kind) else _text(kind) for kind in kinds),
            np.array([_is_boundary(kind) for kind in kinds], bool),
        )

    def inside(self, count: int) -> NDArray[np.bool_]:
        """Tell which boundaries lie between samples: nothing is missing from what begins or ends there."""
        return np.asarray(self.boundary & (self.latency > 1) & (self.latency <= count))

    def lost_before(self, latency: NDArray[np.float64], count: int, side: Side) -> NDArray[np.float64]:
        """Return how many samples are missing before each latency; with side ``"right"`` up to it."""
        chosen = np.flatnonzero(self.inside(count))
        order = chosen[np.argsort(self.latency[chosen], kind="stable")]
        places = np.searchsorted(self.latency[order], latency, side)
        return np.concatenate([[0.0], np.cumsum(self.duration[order])])[places]


def _rows(value: Any) -> list[Mapping[str, Any]]:
    """Return the elements of a MATLAB struct array, of which pymatreader makes a table, or a row if it is one."""
    if isinstance(value, dict):
        column = next((value[key] for key in ("latency", "labels", "type") if key in value), None)
        if not isinstance(column, list):
            return [value] if value else []
        columns = {key: items for key, items in value.items() if isinstance(items, list)}
        return [{key: items[index] for key, items in columns.items()} for index in range(len(column))]
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    """Return a number; NaN where there is none, or where something else stands."""
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return float("nan")
    return float(values.ravel()[0]) if values.size == 1 else float("nan")


def _text(value: Any) -> str:
    """Return what a field says, the same whatever kind of number holds it: 7 and 7.0 are ``7``."""
    if isinstance(value, str):
        return value.strip()
    number = _number(value)
    if np.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() else str(number)


def _is_boundary(kind: Any) -> bool:
    if isinstance(kind, str):
        return kind.strip().lower().startswith(_BOUNDARY)
    return _number(kind) == _NUMERIC_BOUNDARY


@dataclass(frozen=True)
class _Size:
    """How many channels and samples there are, and how many samples per second, Hz."""

    channels: int
    samples: int
    rate: float


def _size(fields: Mapping[str, Any], data: MatSamples | str | None, name: str) -> _Size:
    problems: list[Problem] = []
    numbers = {field: _number(fields.get(field)) for field in ("nbchan", "pnts", "srate")}
    for field, number in numbers.items():
        if not (np.isfinite(number) and number > 0):
            found = "nothing" if np.isnan(number) else f"{number:g}"
            fix = "export the recording anew with EEGLAB"
            problems.append(Problem(f"{name}, EEG.{field}", found, "a number above 0", fix, "field"))
    trials = _number(fields.get("trials", 1))
    if trials > 1 or (isinstance(data, MatSamples) and len(data.shape) > 2 and data.shape[2] > 1):
        found, expected = f"{max(trials, 2):g} epochs or more", "one continuous recording"
        fix = "give the dataset as it was before epochs were cut from it"
        problems.append(Problem(f"{name}, EEG.trials", found, expected, fix, "epoched"))
    for field in ("chanlocs", "event"):
        if field not in fields:
            expected = "the field, empty where there is nothing to say: the file may have been cut short"
            fix = "copy the file again, or export it anew with EEGLAB"
            problems.append(Problem(f"{name}, EEG.{field}", "nothing", expected, fix, "field"))
    if data is None:
        fix = "copy the file again, or export it anew with EEGLAB"
        problems.append(
            Problem(f"{name}, EEG.data", "nothing", "samples, or the file with them", fix, "field")
        )
    raise_all(problems, BadInput)
    return _Size(int(numbers["nbchan"]), int(numbers["pnts"]), numbers["srate"])


def _contradictions(
    fields: Mapping[str, Any], data: MatSamples | str, size: _Size, name: str
) -> Iterator[Problem]:
    fix = "export the recording anew with EEGLAB"
    if isinstance(data, MatSamples) and data.shape[:2] != (size.channels, size.samples):
        found = f"{' x '.join(map(str, data.shape))} numbers"
        expected = f"{size.channels} channels x {size.samples} samples, as nbchan and pnts say"
        yield Problem(f"{name}, EEG.data", found, expected, fix, "shape")
    places = _rows(fields["chanlocs"])
    if places and len(places) != size.channels:
        found, expected = f"{len(places)} channels", f"{size.channels}, as nbchan says"
        yield Problem(f"{name}, EEG.chanlocs", found, expected, fix, "shape")
    events = _Events.of(_rows(fields["event"]))
    if endless := np.count_nonzero(np.isinf(events.latency) | np.isinf(events.duration)):
        found, expected = f"{endless} events of infinite latency or duration", "numbers of samples"
        yield Problem(f"{name}, EEG.event", found, expected, fix, "value")
    unknown = events.inside(size.samples) & ~(events.duration > 0)
    if unknown.any():
        first = (events.latency[unknown].min() - 1) / size.rate
        found = f"{np.count_nonzero(unknown)} boundaries that don't say how long (the first at {first:g} s)"
        yield Problem(
            f"{name}, EEG.event", found, "how many samples are missing at each", _LOST_FIX, "unknown-loss"
        )


class EeglabRecording:
    """An opened EEGLAB dataset.

    Parameters
    ----------
    mat
        The dataset's fields and samples.
    path
        The ``.set`` file.
    name
        What it is reported by.

    Raises
    ------
    BadInput
        If the dataset is epoched, lacks a field, contradicts itself, or does not say how much is missing at a
        boundary; or if its ``.fdt`` file is missing or of another size.
    """

    def __init__(self, mat: MatFile, path: Path, name: str) -> None:
        self._name, self._data = name, mat.data
        self._size = _size(mat.fields, mat.data, name)
        assert mat.data is not None
        raise_all(_contradictions(mat.fields, mat.data, self._size, name), BadInput)
        notes = list(mat.notes)
        self._file = _fdt(path, mat.data, self._size, name, notes) if isinstance(mat.data, str) else path
        self._events = _Events.of(_rows(mat.fields["event"]))
        if silent := np.count_nonzero(np.isnan(self._events.latency)):
            notes.append(f"{silent} events have no latency and are left out, as EEGLAB does")
        self._origin = Origin(f"file:{name}")
        self.streams = tuple(self._headers(_rows(mat.fields["chanlocs"])))
        self.warnings = tuple(f"{name}: {note}" for note in notes)

    def load(self, header: StreamHeader, picks: Sequence[int]) -> Stream:
        """Return a stream whose samples are still in the file, where the file allows it. See `Recording.load`."""
        columns = [header.key[pick] for pick in picks]
        number = np.arange(self._size.samples, dtype=np.float64)
        lost = self._events.lost_before(number + 1, self._size.samples, "right")
        return Stream(
            header.chosen(picks), (number + lost) / self._size.rate, self._samples(columns), self._origin
        )

    def markers(self) -> tuple[Markers, ...]:
        """Return the events, boundaries included, as one stream if there are any. See `Recording.markers`."""
        events, rate = self._events, self._size.rate
        known = np.flatnonzero(~np.isnan(events.latency))
        if not len(known):
            return ()
        latency, boundary = events.latency[known], events.boundary[known]
        before, upto = (events.lost_before(latency, self._size.samples, side) for side in _SIDES)
        onset = (latency - 1 + np.where(boundary, before, upto)) / rate
        duration = np.nan_to_num(np.maximum(events.duration[known], 0)) / rate
        order = np.argsort(onset, kind="stable")
        texts = tuple(events.text[known[index]] for index in order)
        return (Markers("events", onset[order], texts, duration[order], self._origin, self._name),)

    def _headers(self, places: Sequence[Mapping[str, Any]]) -> Iterator[StreamHeader]:
        count = self._size.channels
        places = places or [{}] * count
        labels = [_text(place.get("labels")) or f"ch{index}" for index, place in enumerate(places, start=1)]
        kinds = [_text(place.get("type")).lower() for place in places]
        said = [unit_name(_text(place.get("unit"))) for place in places]
        units = [unit or ("µV" if kind in _VOLTAGES else "") for unit, kind in zip(said, kinds, strict=True)]
        names, types = unique_names(labels), [kind or EEG for kind in kinds]
        for modality, picks in _modalities(types):
            yield StreamHeader(
                name=modality,
                modality=modality,
                channels=tuple(names[index] for index in picks),
                units=tuple(units[index] for index in picks),
                types=tuple(types[index] for index in picks),
                nominal_rate=self._size.rate,
                samples=self._size.samples,
                source=self._name,
                key=picks,
            )

    def _samples(self, columns: list[int]) -> Samples:
        if isinstance(self._data, MatSamples):
            return self._data.columns(columns)
        return _Rows(self._file, self._size.samples, self._size.channels, columns, self._name)


def _modalities(types: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield everything but the optical channels as one stream, and those as another."""
    optical = [index for index, kind in enumerate(types) if kind.startswith(_OPTICAL)]
    others = sorted(set(range(len(types))) - set(optical))
    if others:
        kinds = {types[index] for index in others}
        yield (EEG if EEG in kinds else min(kinds)), others
    if optical:
        yield FNIRS, optical


def _fdt(path: Path, said: str, size: _Size, name: str, notes: list[str]) -> Path:
    """Find the file of samples: the one that bears the dataset's name, whatever the dataset says it is called."""
    said = said.replace("\\", "/").rpartition("/")[2]
    if said.lower().endswith(".dat"):
        fix = "load it with EEGLAB and save it again"
        raise BadInput(Problem(name, f"samples in {said!r}", "an .fdt file", fix, "companion"))
    wanted = f"{path.stem}.fdt"
    beside = {file.name.lower(): file for file in path.parent.iterdir()}
    file = beside.get(wanted.lower())
    if file is None:
        fix = "put it beside the .set file; if that was renamed, rename both"
        raise BadInput(Problem(name, f"no file {wanted!r}", f"the samples ({said!r})", fix, "companion"))
    if said.lower() != wanted.lower():
        notes.append(
            f"says that its samples are in {said!r}; those of {file.name!r} are read, as EEGLAB does"
        )
    expected = size.channels * size.samples * _FLOAT_BYTES
    if (found := file.stat().st_size) != expected:
        text = f"{expected}: {size.channels} channels x {size.samples} samples of {_FLOAT_BYTES} bytes"
        fix = "copy both files again from where they were made"
        raise BadInput(Problem(f"{name}, {file.name}", f"{found} bytes", text, fix, "truncated"))
    return file


@contextmanager
def _open(path: Path, name: str) -> Iterator[EeglabRecording]:
    with opened_mat(path, name) as mat:
        with reader_errors(name, "EEGLAB"):
            recording = EeglabRecording(mat, path, name)
        yield recording


FORMAT = Format(
    name="EEGLAB",
    suffixes=(".set",),
    recognises=starts_eeglab,
    open=_open,
    companions=(".fdt",),
    holds=holds_eeglab,
)
