"""EDF, BDF, BrainVision and FIF through MNE, with the file's own units, rates and stamps.

MNE hands everything on in SI units, at one rate, as if no sample were missing. Here every unit is the file's
own, signals of different rates are streams of their own (MNE would resample them), the padding that MNE marks
as BAD_ACQ_SKIP is no sample, and records of EDF+D begin where they say they begin.
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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
from aggrade.recordings.edf_header import EdfHeader, read_edf_header
from aggrade.recordings.fif_tags import follows_another, tag_problem
from aggrade.recordings.vision_header import check_vision
from aggrade.recordings.vision_segments import read_segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from aggrade.recordings.vision_segments import Segments

__all__ = ["FORMATS", "MneRecording"]

_VOLTS = {"V": 1.0, "mV": 1e-3, "µV": 1e-6, "nV": 1e-9}
_EDF_FACTORS = {"mV": 1e-3, "µV": 1e-6}
_VISION_FACTORS = {**_VOLTS, "µS": 1e-6, "uS": 1e-6}
_SI_UNITS = {"eeg": "V", "eog": "V", "ecg": "V", "emg": "V", "ref_eeg": "V", "seeg": "V", "ecog": "V"}
_SI_UNITS |= {"hbo": "M", "hbr": "M", "fnirs_cw_amplitude": "V"}
_PREFIXES = ("eeg", "eog", "ecg", "emg", "ekg", "erg", "meg", "mcg", "ep", "temp", "resp", "sao2", "light")
_OPTICAL = ("fnirs", "hbo", "hbr")
_SKIPPED = "BAD_ACQ_SKIP"


@dataclass(frozen=True, eq=False)
class _Group:
    """Signals of one rate: as MNE opened them, and what is true of each channel."""

    raw: Any
    rate: float
    names: tuple[str, ...]
    units: tuple[str, ...]
    types: tuple[str, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Samples of chosen channels, read when asked for, in the file's units: (sample, channel) float64."""

    group: _Group
    picks: Sequence[int]
    kept: NDArray[np.intp]
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples, number of channels."""
        return len(self.kept), len(self.picks)

    def __getitem__(self, rows: slice) -> NDArray[np.float64]:
        """Return consecutive samples."""
        index = self.kept[rows]
        if not len(index):
            return np.empty((0, len(self.picks)))
        with reader_errors(self.name, "recording"), warnings.catch_warnings(action="ignore"):
            data = self.group.raw.get_data(list(self.picks), int(index[0]), int(index[-1]) + 1, verbose=False)
        data /= np.array([self.group.factors[pick] for pick in self.picks])[:, None]
        consecutive = len(index) == data.shape[1]
        return np.asarray(data.T if consecutive else data.T[index - index[0]])


class MneRecording:
    """A file that MNE opened.

    Parameters
    ----------
    groups
        Its signals, by rate.
    name
        What it is reported by.
    origin
        The clock of its stamps.
    edf
        The header of an EDF or BDF file.
    notes
        What MNE warned of.
    segments
        When the segments of a BrainVision recording began.
    """

    def __init__(
        self,
        groups: Sequence[_Group],
        name: str,
        origin: Origin,
        edf: EdfHeader | None = None,
        notes: Sequence[str] = (),
        segments: Segments | None = None,
    ) -> None:
        self._groups, self._name, self._edf, self._origin = groups, name, edf, origin
        self._segments = segments
        self.warnings = tuple(f"{name}: {note}" for note in notes)
        parts = [(group, part) for group in groups for part in _modalities(group)]
        modalities = [modality for _, (modality, _) in parts]
        self.streams = tuple(
            self._header(group, modality, picks, alone=modalities.count(modality) == 1)
            for group, (modality, picks) in parts
        )

    def load(self, header: StreamHeader, picks: Sequence[int]) -> Stream:
        """Return a stream whose samples are still in the file. See `Recording.load`."""
        group, columns = header.key
        t = self._stamps(group)
        kept = np.flatnonzero(~self._skipped(group, t))
        rows = _Rows(group, [columns[pick] for pick in picks], kept, self._name)
        return Stream(header.chosen(picks), t[kept], rows, self._origin)

    def markers(self) -> tuple[Markers, ...]:
        """Return the annotations as one stream, if there are any. See `Recording.markers`."""
        annotations = self._groups[0].raw.annotations
        if not len(annotations):
            return ()
        onsets, texts = self._onsets(), tuple(str(text) for text in annotations.description)
        durations = np.asarray(annotations.duration, np.float64)
        return (Markers("annotations", onsets, texts, durations, self._origin, self._name),)

    def _header(self, group: _Group, modality: str, picks: Sequence[int], *, alone: bool) -> StreamHeader:
        return StreamHeader(
            name=modality if alone else f"{modality} {group.rate:g} Hz",
            modality=modality,
            channels=tuple(group.names[index] for index in picks),
            units=tuple(group.units[index] for index in picks),
            types=tuple(group.types[index] for index in picks),
            nominal_rate=group.rate,
            samples=len(self._stamps(group)),
            source=self._name,
            key=(group, picks),
        )

    def _stamps(self, group: _Group) -> NDArray[np.float64]:
        if self._edf is None or self._edf.contiguous:
            number = group.raw.first_samp + np.arange(group.raw.n_times)
            return np.asarray(number / group.rate + self._later(number))
        onsets = self._edf.onsets - self._edf.onsets[0]
        within = np.arange(round(group.rate * self._edf.record_s)) / group.rate
        return np.asarray((onsets[:, None] + within).ravel())

    def _onsets(self) -> NDArray[np.float64]:
        """Return the annotations' onsets on the clock of the stamps, s."""
        raw = self._groups[0].raw
        onsets = np.asarray(raw.annotations.onset, np.float64)
        onsets = onsets if raw.annotations.orig_time is not None else onsets + raw.first_time
        return onsets + self._later(np.rint(onsets * self._groups[0].rate).astype(np.int64))

    def _later(self, samples: NDArray[np.int64]) -> NDArray[np.float64] | float:
        return 0.0 if self._segments is None else self._segments.shift(samples)

    def _skipped(self, group: _Group, t: NDArray[np.float64]) -> NDArray[np.bool_]:
        skipped = np.zeros(len(t), bool)
        raw, half = self._groups[0].raw, 0.5 / group.rate
        for onset, annotation in zip(self._onsets(), raw.annotations, strict=True):
            if annotation["description"] == _SKIPPED:
                skipped |= (t >= onset - half) & (t < onset + annotation["duration"] - half)
        return skipped


def _modalities(group: _Group) -> Iterator[tuple[str, list[int]]]:
    """Yield the optical channels as one stream, and everything else as another."""
    optical = [index for index, kind in enumerate(group.types) if kind.startswith(_OPTICAL)]
    others = [index for index in range(len(group.types)) if index not in set(optical)]
    if others:
        kinds = {group.types[index] for index in others}
        yield (EEG if EEG in kinds else min(kinds)), others
    if optical:
        yield FNIRS, optical


def _quietly(read: Any, path: Path, notes: list[str], **options: Any) -> Any:
    """Open a file with MNE; what it warns of is noted, not lost."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        raw = read(path, preload=False, verbose="warning", **options)
    known = set(notes)
    notes += [text for item in caught if (text := str(item.message).splitlines()[0]) not in known]
    return raw


def _edf_type(label: str, unit: str, kind: str) -> str:
    """Tell what an EDF signal is: by the prefix that EDF+ names, else by MNE, else by its unit."""
    prefix = label.split(" ", maxsplit=1)[0].lower()
    if prefix in _PREFIXES and " " in label:
        return prefix
    return "misc" if kind == EEG and unit not in _VOLTS else kind


def _edf_group(raw: Any, header: EdfHeader, picks: Sequence[int]) -> _Group:
    labels = unique_names(header.labels)
    units = [unit_name(header.units[index].replace("\x83Ê", "µ")) for index in picks]
    kinds = raw.get_channel_types()
    types = [_edf_type(labels[i], unit, kind) for i, unit, kind in zip(picks, units, kinds, strict=True)]
    factors = [
        1.0 if kind == "stim" else _EDF_FACTORS.get(unit, 1.0)
        for unit, kind in zip(units, kinds, strict=True)
    ]
    names = tuple(labels[index] for index in picks)
    return _Group(raw, header.rates[picks[0]], names, tuple(units), tuple(types), tuple(factors))


def _edf_groups(read: Any, path: Path, header: EdfHeader, notes: list[str]) -> list[_Group]:
    """Open an EDF or BDF file once for each rate that occurs in it."""
    everything = _quietly(read, path, notes, exclude_after_unique=True)
    groups = []
    for samples in sorted(set(header.samples), reverse=True):
        picks = [index for index, count in enumerate(header.samples) if count == samples]
        others = [name for index, name in enumerate(everything.ch_names) if index not in set(picks)]
        raw = _quietly(read, path, notes, exclude=others, exclude_after_unique=True) if others else everything
        groups.append(_edf_group(raw, header, picks))
    return groups


def _clock(name: str, start: datetime | None, resolution_s: float) -> Origin:
    known = resolution_s if start is not None else float("nan")
    return Origin(f"file:{name}", 0.0, start, known)


@contextmanager
def _named(path: Path, suffix: str) -> Iterator[Path]:
    """Yield a path to the file that bears the suffix which MNE demands."""
    if path.name.lower().endswith(suffix):
        yield path
        return
    with TemporaryDirectory() as folder:
        link = Path(folder) / f"recording{suffix}"
        link.symlink_to(path.resolve())
        yield link


@contextmanager
def _open_edf(path: Path, name: str, *, reader: str, sample_bytes: int) -> Iterator[MneRecording]:
    import mne.io

    suffix = f".{reader.rsplit('_', 1)[1]}"
    what, notes = suffix[1:].upper(), list[str]()
    with _named(path, suffix) as file:
        with reader_errors(name, what):
            header = read_edf_header(file, name, sample_bytes)
            if not header.labels:
                raise ValueError("the file holds annotations only")
            groups = _edf_groups(getattr(mne.io, reader), file, header, notes)
            start = _shifted(header.start, float(header.onsets[0]))
            origin = _clock(name, start, header.resolution_s)
            recording = MneRecording(groups, name, origin, header, [*header.notes, *notes])
        yield recording


def _shifted(start: datetime | None, seconds: float) -> datetime | None:
    from datetime import timedelta

    return None if start is None else start + timedelta(seconds=seconds)


def _plain_group(raw: Any) -> _Group:
    kinds, said = raw.get_channel_types(), dict(getattr(raw, "_orig_units", {}))
    units, factors = [], []
    for name, kind in zip(raw.ch_names, kinds, strict=True):
        unit = unit_name(said.get(name, _SI_UNITS.get(kind, "")))
        units.append("" if unit == "n/a" else unit)
        factors.append(_VISION_FACTORS.get(unit, 1.0) if name in said else 1.0)
    names = unique_names(raw.ch_names)
    return _Group(raw, float(raw.info["sfreq"]), names, tuple(units), tuple(kinds), tuple(factors))


def _check_samples(raw: Any, name: str) -> None:
    """Read the last sample, which a file that was cut short does not hold."""
    if not raw.n_times:
        fix = "leave the file out, or record it again"
        raise BadInput(Problem(name, "no samples", "at least one", fix, "no-data"))
    raw.get_data([0], raw.n_times - 1, raw.n_times, verbose=False)


@contextmanager
def _open_brainvision(path: Path, name: str) -> Iterator[MneRecording]:
    import mne.io

    notes = list[str]()
    with _named(path, ".vhdr") as file:
        with reader_errors(name, "BrainVision"):
            check_vision(path, name)
            raw = _quietly(mne.io.read_raw_brainvision, file, notes)
            _check_samples(raw, name)
            date = raw.info["meas_date"]
            start = None if date is None else date.replace(tzinfo=None)
            known = 1e-6 if date is not None and date.microsecond else 1.0
            segments = _vision_segments(path, float(raw.info["sfreq"]), notes)
            group, clock = _plain_group(raw), _clock(name, start, known)
            recording = MneRecording([group], name, clock, notes=notes, segments=segments)
        yield recording


def _vision_segments(path: Path, rate: float, notes: list[str]) -> Segments | None:
    named = re.search(r"^MarkerFile=(.*?)\s*$", path.read_text("utf-8", errors="replace"), re.MULTILINE)
    if not named or not named[1]:
        return None
    segments = read_segments(path.parent / named[1].replace("$b", path.stem), rate)
    if segments.undated:
        notes.append(f"{segments.undated} segments do not say when they began; taken to follow at once")
    return segments


@contextmanager
def _open_fif(path: Path, name: str) -> Iterator[MneRecording]:
    import mne.io

    notes = list[str]()
    with reader_errors(name, "FIF"):
        raw = _quietly(mne.io.read_raw_fif, path, notes)
        _check_samples(raw, name)
        raise_all(_fif_problems(name, [Path(each) for each in raw.filenames]), BadInput)
        date = raw.info["meas_date"]
        known = 1e-6 if date is not None and date.microsecond else 1.0
        notes = [note for note in notes if "naming conventions" not in note]
        recording = MneRecording([_plain_group(raw)], name, _clock(name, date, known), notes=notes)
    yield recording


def _fif_problems(name: str, parts: Sequence[Path]) -> Iterator[Problem]:
    """Yield what is wrong with a recording of one file or several: a part that isn't whole, or lacks what was before it."""
    for part in parts:
        if torn := tag_problem(part):
            fix = "copy it again from where it was recorded"
            yield Problem(f"{name}, {part.name}", torn, "a whole FIF file", fix, "fif-torn")
    if follows_another(parts[0]):
        found, expected = "a later part of a recording in several files", "the first part beside it"
        fix = "put all parts into one folder, under the names that they were written with"
        yield Problem(f"{name}, {parts[0].name}", found, expected, fix, "fif-part")


FORMATS = (
    Format(
        "EDF",
        (".edf",),
        lambda head: head.startswith(b"0       "),
        partial(_open_edf, reader="read_raw_edf", sample_bytes=2),
    ),
    Format(
        "BDF",
        (".bdf",),
        lambda head: head.startswith(b"\xffBIOSEMI"),
        partial(_open_edf, reader="read_raw_bdf", sample_bytes=3),
    ),
    Format(
        "BrainVision",
        (".vhdr",),
        lambda head: b"data exchange header file" in head[:80].lower(),
        _open_brainvision,
        (".eeg", ".vmrk", ".dat"),
    ),
    Format(
        "FIF",
        (".fif", ".fif.gz"),
        lambda head: head.startswith(b"\x00\x00\x00\x64\x00\x00\x00\x1f\x00\x00\x00\x14"),
        _open_fif,
    ),
)
