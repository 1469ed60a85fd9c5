"""SNIRF 1.x, the shared near-infrared format (https://github.com/fNIRS/snirf), read with h5py.

The file's own ``time`` vector is used, with its holes and its beginning; MNE lays a uniform axis over it.
Samples stay in the file until they are asked for, channel by channel.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.recordings import (
    FNIRS,
    Format,
    Markers,
    Origin,
    Stream,
    StreamHeader,
    reader_errors,
    stated_resolution_s,
    unique_names,
    unit_name,
)
from aggrade.recordings.columns import Columns, made_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMAT", "SnirfRecording"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), 1e-6),
}
_UNSTATED = ("", "unknown")
_INTENSITY, _PROCESSED = 1, 99999
_TIME_RESOLVED = range(200, 500)


@dataclass(frozen=True)
class _Block:
    """A ``data`` or ``aux`` group: where it lies, and its stamps."""

    path: str
    values: str
    t: NDArray[np.float64]
    origin: Origin


@dataclass(frozen=True)
class _Group:
    """A ``nirs`` group and what its tags say of time."""

    path: str
    node: Any
    scale: float
    origin: Origin


def _scalar(node: Any, name: str, default: Any = None) -> Any:
    """Return a value that writers store as a scalar, or as an array of one."""
    item = node.get(name)
    return default if item is None else _first(item, default)


def _first(item: Any, default: Any) -> Any:
    value = np.asarray(item[()])
    if not value.size:
        return default
    value = value.ravel()[0]
    return value.decode("utf-8", "replace").rstrip("\0") if isinstance(value, bytes) else value


def _numbered(node: Any, name: str) -> list[str]:
    """Return the children ``name``, ``name1``, ``name2`` … in the order of their numbers."""
    found = (re.fullmatch(rf"{name}(\d*)", child) for child in node)
    return [match.string for match in sorted(filter(None, found), key=lambda match: int(match[1] or 0))]


def _wall_clock(tags: Any) -> tuple[datetime | None, float]:
    """Return when the measurement began, with the zone that the file states, and how well that is known."""
    date, time = (str(_scalar(tags, f"Measurement{name}", "")).strip() for name in ("Date", "Time"))
    try:
        start = datetime.fromisoformat(f"{date}T{time}")
    except ValueError:
        return None, float("nan")
    return start, stated_resolution_s(time)


def _stamps(node: Any, count: int, scale: float, where: str) -> NDArray[np.float64]:
    """Return one stamp per sample in s; a vector of two is onset and period."""
    time = _numbers(node["time"], f"{where}/time").ravel() * scale
    if len(time) == count:
        return time
    if len(time) == 2:
        return np.asarray(time[0] + np.arange(count) * time[1])
    found, fix = f"{len(time)} times for {count} samples", "export the recording anew"
    raise BadInput(Problem(where, found, "one time per sample, or onset and period", fix, "stamps"))


def _numbers(item: Any, where: str) -> NDArray[np.float64]:
    _check_real(item, where)
    return np.asarray(item[()], np.float64)


def _check_real(item: Any, where: str) -> None:
    """Refuse texts, which NumPy would read as numbers, and complex numbers, of which it would drop a part."""
    if item.dtype.kind not in "iuf":
        found = {"c": "complex numbers", "O": "texts", "S": "texts"}.get(item.dtype.kind, f"{item.dtype}")
        fix = "export the recording anew, as real numbers"
        raise BadInput(Problem(where, found, "floats or integers", fix, "kind"))


def _labels(probe: Any, name: str) -> list[str]:
    if name not in probe:
        return []
    values = np.asarray(probe[name][()]).ravel()
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in values]


@dataclass(frozen=True)
class _Probe:
    """The names of sources and detectors, and the wavelengths in nm."""

    sources: list[str]
    detectors: list[str]
    wavelengths: list[float]

    @classmethod
    def of(cls, node: Any) -> _Probe:
        """Read a ``probe`` group; it may be missing."""
        waves = np.asarray(node["wavelengths"][()]).ravel().tolist() if "wavelengths" in node else []
        return cls(_labels(node, "sourceLabels"), _labels(node, "detectorLabels"), waves)

    def channel(self, entry: dict[str, Any]) -> tuple[str, str, str]:
        """Return name, unit and type of a channel."""
        source, detector = int(entry["sourceIndex"]), int(entry["detectorIndex"])
        first = self.sources[source - 1] if 0 < source <= len(self.sources) else f"S{source}"
        second = self.detectors[detector - 1] if 0 < detector <= len(self.detectors) else f"D{detector}"
        kind, label = int(entry["dataType"]), str(entry.get("dataTypeLabel", "")).strip()
        what = label.lower() or (self._wavelength(entry) if kind != _PROCESSED else "processed")
        place = f" #{int(entry.get('dataTypeIndex', 0))}" if kind in _TIME_RESOLVED else ""
        name = f"{first}_{second} {what}{place}"
        return name, unit_name(str(entry.get("dataUnit", ""))), label.lower() or _kind(kind)

    def _wavelength(self, entry: dict[str, Any]) -> str:
        index = int(entry.get("wavelengthIndex", 0))
        known = 0 < index <= len(self.wavelengths)
        return f"{self.wavelengths[index - 1]:g}" if known else f"w{index}"


def _kind(data_type: int) -> str:
    return "nirs" if data_type == _INTENSITY else f"data type {data_type}"


def _entries(node: Any, count: int) -> list[dict[str, Any]]:
    """Return what describes each channel, from one group per channel or from one group of vectors."""
    if "measurementLists" in node:
        lists = {name: _labels(node["measurementLists"], name) for name in node["measurementLists"]}
        whole = {name: values for name, values in lists.items() if len(values) == count}
        return [{name: values[index] for name, values in whole.items()} for index in range(count)]
    groups = [node[name] for name in _numbered(node, "measurementList")]
    return [{name: _first(item, 0) for name, item in group.items()} for group in groups]


class SnirfRecording:
    """An opened SNIRF file.

    Parameters
    ----------
    file
        The HDF5 file, open for reading.
    name
        What it is reported by.

    Raises
    ------
    BadInput
        If the file has no ``/nirs`` group, or holds no samples.
    """

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name
        self._warnings: list[str] = []
        self._blocks: dict[str, _Block] = {}
        self._groups = [self._group(path) for path in _numbered(file, "nirs")]
        if not self._groups:
            fix = "give a SNIRF file, or convert this one to SNIRF"
            raise BadInput(Problem(name, "HDF5 without a group /nirs", "a SNIRF file", fix, "no-nirs"))
        self.streams = tuple(header for group in self._groups for header in self._streams(group))
        if not self.streams:
            fix = "leave the file out, or record it again"
            raise BadInput(Problem(name, "no samples", "a data block with samples", fix, "no-data"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was assumed. See `Recording.warnings`."""
        return tuple(self._warnings)

    def load(self, header: StreamHeader, picks: Sequence[int]) -> Stream:
        """Return a stream whose samples are still in the file. See `Recording.load`."""
        block = self._blocks[header.key]
        x = Columns(self._file[block.values], list(picks), f"{self._name}, {header.name}", what="SNIRF")
        return Stream(header.chosen(picks), block.t, x, block.origin)

    def markers(self) -> tuple[Markers, ...]:
        """Return the stimuli of each ``nirs`` group as one stream. See `Recording.markers`."""
        with reader_errors(self._name, "SNIRF"):
            found = [self._stimuli(group) for group in self._groups]
        return tuple(markers for markers in found if len(markers.t))

    def _group(self, path: str) -> _Group:
        node = self._file[path]
        tags = node.get("metaDataTags", {})
        unit = str(_scalar(tags, "TimeUnit", "")).strip().lower()
        if unit in _UNSTATED:
            self._warnings.append(f"{self._name}: /{path} states no unit of time; taken as seconds")
        elif unit not in _SECONDS:
            found, fix = f"TimeUnit {unit!r}", "correct the tag TimeUnit"
            raise BadInput(Problem(f"{self._name}, /{path}", found, "s, ms or us", fix, "time-unit"))
        start, resolution = _wall_clock(tags)
        if start is None:
            self._warnings.append(f"{self._name}: /{path} states no date and time of the measurement")
        origin = Origin(f"file:{self._name}/{path}", 0.0, start, resolution)
        return _Group(path, node, _SECONDS.get(unit, 1.0), origin)

    def _streams(self, group: _Group) -> Iterator[StreamHeader]:
        probe = _Probe.of(group.node.get("probe", {}))
        for name in _numbered(group.node, "data"):
            if (shape := self._keep(group, name)) is None:
                continue
            entries = _entries(group.node[name], shape[1])
            if len(entries) != shape[1]:
                where, found = f"{self._name}, /{group.path}/{name}", f"{len(entries)} descriptions"
                expected, fix = f"{shape[1]}, one per column", "export the recording anew"
                raise BadInput(Problem(where, found, expected, fix, "measurement-list"))
            yield self._header(group, name, shape[0], FNIRS, [probe.channel(entry) for entry in entries])
        for name in _numbered(group.node, "aux"):
            if (shape := self._keep(group, name)) is not None:
                node = group.node[name]
                label = str(_scalar(node, "name", "")).strip() or name
                columns = [label] if shape[1] == 1 else [f"{label} {i + 1}" for i in range(shape[1])]
                unit = unit_name(str(_scalar(node, "dataUnit", "")))
                yield self._header(group, name, shape[0], "aux", [(item, unit, "aux") for item in columns])

    def _keep(self, group: _Group, name: str) -> tuple[int, int] | None:
        """Note where a block's samples and stamps are; return its shape, or None if it has no samples."""
        node, path = group.node[name], f"{group.path}/{name}"
        values = node.get("dataTimeSeries")
        if values is None or "time" not in node or not values.size:
            return None
        if flaw := made_up(values):
            where, fix = f"{self._name}, /{path}", "copy the file again, or export the recording anew"
            raise BadInput(Problem(where, flaw, "samples that were written", fix, "unwritten"))
        _check_real(values, f"{self._name}, /{path}/dataTimeSeries")
        shape = (values.shape[0], 1 if values.ndim == 1 else values.shape[1])
        scale = group.scale
        t = _stamps(node, shape[0], scale, f"{self._name}, /{path}")
        t = t + float(_scalar(node, "timeOffset", 0.0)) * scale
        self._blocks[path] = _Block(path, f"{path}/dataTimeSeries", t, group.origin)
        return shape

    def _header(
        self, group: _Group, name: str, samples: int, modality: str, channels: list[tuple[str, str, str]]
    ) -> StreamHeader:
        path = f"{group.path}/{name}"
        names, units, types = zip(*channels, strict=True)
        return StreamHeader(
            path,
            modality,
            unique_names(names),
            tuple(units),
            tuple(types),
            0.0,
            samples,
            self._name,
            path,
            group.origin.clock,
        )

    def _stimuli(self, group: _Group) -> Markers:
        rows: list[tuple[float, float, str]] = []
        for name in _numbered(group.node, "stim"):
            node = group.node[name]
            text = str(_scalar(node, "name", name))
            if "data" in node and node["data"].size:
                onsets, lengths = _occurrences(node["data"], f"{self._name}, /{group.path}/{name}")
                scaled = zip(onsets * group.scale, lengths * group.scale, strict=True)
                rows += [(float(onset), float(length), text) for onset, length in scaled]
        rows.sort(key=lambda row: row[0])
        t, duration = (np.array([row[index] for row in rows], np.float64) for index in (0, 1))
        texts = tuple(row[2] for row in rows)
        return Markers(f"{group.path}/stim", t, texts, duration, group.origin, self._name)


def _occurrences(item: Any, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return onsets and durations of a stimulus; a duration that is not known, or below 0, is an instant."""
    rows = np.atleast_2d(_numbers(item, f"{where}/data"))
    if rows.ndim != 2 or rows.shape[1] < 2:
        found = f"a shape of {rows.shape}" if rows.ndim != 2 else "1 column"
        expected, fix = "a column each for onset, duration and amplitude", "export the recording anew"
        raise BadInput(Problem(f"{where}/data", found, expected, fix, "shape"))
    onsets, lengths = rows[:, 0], np.maximum(np.where(np.isnan(rows[:, 1]), 0.0, rows[:, 1]), 0.0)
    problems = [*_not_finite("onset", onsets, where), *_not_finite("duration", lengths, where)]
    raise_all(problems, BadInput)
    return onsets, lengths


def _not_finite(what: str, values: NDArray[np.float64], where: str) -> Iterator[Problem]:
    if odd := np.count_nonzero(~np.isfinite(values)):
        found, fix = f"{odd} of {len(values)} that are no numbers", "correct it, or export the recording anew"
        yield Problem(f"{where}/data, {what}", found, "seconds", fix, "value")


@contextmanager
def _open(path: Path, name: str) -> Iterator[SnirfRecording]:
    import h5py

    with reader_errors(name, "SNIRF"):
        file = h5py.File(path, "r")
    with file:
        with reader_errors(name, "SNIRF"):
            recording = SnirfRecording(file, name)
        yield recording


def _holds(file: Any) -> bool:
    """Tell SNIRF by its groups: one named ``nirs`` or ``nirsN`` with what only SNIRF puts there."""
    groups = [file.get(name) for name in _numbered(file, "nirs")]
    kept = [set(group) for group in groups if hasattr(group, "keys")]
    return any({"metaDataTags", "probe"} & names or _numbered(names, "data") for names in kept)


FORMAT = Format(
    name="SNIRF",
    suffixes=(".snirf",),
    recognises=lambda head: head.startswith(_HDF5),
    open=_open,
    holds=_holds,
)
