"""Recordings as named arrays, the layout that ``docs/recordings.md`` describes for HDF5 and NPZ files alike.

A file is a list of names (``eeg/samples``, ``eeg/rate``, ``cues/onset`` …) and an array for each. What the layout
asks for and is not there, what it does not know, and what contradicts something else is refused, all at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.recordings import (
    Markers,
    Origin,
    Stream,
    StreamHeader,
    modality_name,
    stated_resolution_s,
    unit_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrade.recordings import Samples

__all__ = ["LAYOUT", "MARKERS", "ROOT", "STREAM", "ArraysRecording", "NamedArray", "named_array", "unusable"]

LAYOUT = "aggrade-recording-1"
ROOT = ("format", "start", "start_resolution_s", "clock")
STREAM = ("samples", "channels", "units", "time", "rate", "first", "types", "modality")
MARKERS = ("onset", "text", "duration")
_ONE: tuple[tuple[int, ...], ...] = ((), (1,))
_REQUIRED = {"samples": ("channels", "units"), "onset": ("text",)}
_KINDS = {"f": "float", "i": "integer", "u": "integer", "U": "text", "b": "true or false", "O": "objects"}
_SECONDS = "one float64 per {}, s"
_DESCRIBED = "see docs/recordings.md for the layout"


@dataclass(frozen=True, eq=False)
class NamedArray:
    """An array of a file, not read yet.

    Parameters
    ----------
    shape
        Its lengths; ``()`` for a single value.
    kind
        ``"text"``, ``"float"``, ``"integer"``, or what else it holds, in words.
    bits
        Size of one number.
    read
        Returns all of it; texts as `str`.
    columns
        Returns chosen columns of a table: (sample, channel).
    flaw
        Why its content can't be trusted, if so.
    """

    shape: tuple[int, ...]
    kind: str
    bits: int
    read: Callable[[], NDArray[Any]]
    columns: Callable[[Sequence[int]], Samples]
    flaw: str = ""

    def __str__(self) -> str:
        """Say what it holds."""
        what = f"{self.kind}{self.bits}" if self.kind in ("float", "integer") else self.kind
        return f"{what} {self.shape}" if self.shape else f"one {what}"


def named_array(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: Callable[[], NDArray[Any]],
    columns: Callable[[Sequence[int]], Samples],
    flaw: str = "",
) -> NamedArray:
    """Return an array of a file by its type as NumPy has it. Parameters as `NamedArray`; bytes are UTF-8.

    Parameters
    ----------
    dtype
        What it holds; `object` where it holds what no layout knows.
    """
    if dtype.kind == "S":
        return NamedArray(shape, "text", 0, lambda: np.char.decode(read(), "utf-8"), columns, flaw)
    kind = _KINDS.get(dtype.kind, f"numbers of type {dtype}")
    return NamedArray(shape, kind, dtype.itemsize * 8, read, columns, flaw)


def unusable(flaw: str) -> NamedArray:
    """Return what stands for a name that has no content to be trusted, and why."""
    return NamedArray((), "nothing", 0, lambda: np.empty(0), lambda picks: np.empty((0, len(picks))), flaw)


@dataclass(frozen=True)
class _Group:
    """The arrays below one name, and how to read and to complain."""

    name: str
    file: str
    arrays: Mapping[str, NamedArray]
    problems: list[Problem] = field(compare=False)

    def wrong(self, name: str, found: str, expected: str, code: str, fix: str = _DESCRIBED) -> None:
        """Note a problem of one name."""
        place = "/".join(filter(None, (self.name, name)))
        self.problems.append(Problem(f"{self.file}, {place}", found, expected, fix, code))

    def take(self, name: str, kinds: Sequence[str], shapes: Sequence[tuple[int, ...]], expected: str) -> Any:
        """Return an array's content if it is of one of the kinds and shapes, else None; what is wrong is noted."""
        array = self.arrays.get(name)
        if array is None:
            return None
        if array.flaw:
            self.wrong(name, array.flaw, expected, "flaw", "write the file anew")
        elif array.kind not in kinds:
            self.wrong(name, str(array), expected, "kind")
        elif array.shape not in shapes:
            self.wrong(name, str(array), expected, "shape")
        else:
            return array.read()
        return None

    def text(self, name: str) -> str | None:
        """Return a single text, if there is a right one."""
        value = self.take(name, ("text",), _ONE, "one text")
        return None if value is None else str(value.reshape(()))

    def number(self, name: str, *, above_zero: bool = False) -> float | None:
        """Return a single number, if there is a right one."""
        expected = "one number above 0" if above_zero else "one number"
        value = self.take(name, ("float", "integer"), _ONE, expected)
        if value is None:
            return None
        number = float(value.reshape(()))
        if np.isfinite(number) and (number > 0 or not above_zero):
            return number
        self.wrong(name, f"{number:g}", expected, "value")
        return None

    def texts(self, name: str, count: int, default: str) -> tuple[str, ...]:
        """Return one text per channel; a single one holds for all of them."""
        value = self.take(
            name, ("text",), [*_ONE, (count,)], f"one text, or one for each of {count} channels"
        )
        if value is None:
            return (default,) * count
        return tuple(str(item) for item in np.broadcast_to(value, (count,)))

    def seconds(self, name: str, count: int, of: str) -> NDArray[np.float64] | None:
        """Return (count,) seconds; float32 and whole numbers are refused: what they mean isn't sure."""
        expected = _SECONDS.format(of)
        array = self.arrays.get(name)
        if array is not None and not array.flaw and array.kind == "float" and array.bits < 64:
            self.wrong(name, str(array), f"{expected}: float32 tells hours to a millisecond at best", "kind")
            return None
        value = self.take(name, ("float",), [(count,)], expected)
        if value is not None and not np.isfinite(value).all():
            self.wrong(
                name, f"{np.count_nonzero(~np.isfinite(value))} that are no numbers", expected, "value"
            )
            return None
        return None if value is None else np.asarray(value, np.float64)


def _groups(names: Mapping[str, NamedArray], file: str, problems: list[Problem]) -> Iterator[_Group]:
    """Yield the root and every group; what begins with an underscore is nobody's."""
    kept = {name: array for name, array in names.items() if not re.search(r"(^|/)_", name)}
    tops = dict.fromkeys(name.partition("/")[0] for name in kept if "/" in name)
    yield _Group("", file, {name: array for name, array in kept.items() if "/" not in name}, problems)
    for top in tops:
        inside = {name.partition("/")[2]: array for name, array in kept.items() if name.startswith(f"{top}/")}
        yield _Group(top, file, inside, problems)


def _check_names(group: _Group, known: Sequence[str]) -> None:
    for name in group.arrays:
        if name not in known:
            near = get_close_matches(name, known, 1)
            fix = f"did you mean {near[0]!r}" if near else "remove it, or begin its name with an underscore"
            group.wrong(name, "a name that the layout does not know", ", ".join(known), "unknown-name", fix)


def _check_required(group: _Group, names: Sequence[str]) -> None:
    for name in names:
        if name not in group.arrays:
            group.wrong(name, "nothing", "it: there is no default", "missing")


@dataclass(frozen=True, eq=False)
class _Stamped:
    """A stream and its stamps, as the layout gives them."""

    header: StreamHeader
    t: NDArray[np.float64]
    samples: NamedArray


def _stream(group: _Group) -> _Stamped | None:
    """Interpret a group of samples; None where something is wrong with it."""
    noted = len(group.problems)
    _check_names(group, STREAM)
    _check_required(group, _REQUIRED["samples"])
    samples = group.arrays["samples"]
    if samples.flaw:
        group.wrong("samples", samples.flaw, "numbers (sample, channel)", "flaw", "write the file anew")
    elif (
        samples.kind not in ("float", "integer") or len(samples.shape) not in (1, 2) or 0 in samples.shape[1:]
    ):
        group.wrong("samples", str(samples), "numbers (sample, channel)", "shape")
    if len(samples.shape) not in (1, 2) or 0 in samples.shape[1:]:
        return None
    count, width = (*samples.shape, 1)[:2]
    modality = modality_name(group.text("modality") or group.name)
    channels = _channels(group, width)
    units = tuple(unit_name(unit) for unit in group.texts("units", width, ""))
    types = tuple(kind.lower() for kind in group.texts("types", width, modality))
    t, rate = _stamps(group, count)
    if len(group.problems) > noted or t is None:
        return None
    header = StreamHeader(
        group.name, modality, channels, units, types, rate, count, group.file, key=group.name
    )
    return _Stamped(header, t, samples)


def _channels(group: _Group, width: int) -> tuple[str, ...]:
    expected, array = f"a name for each of {width} channels", group.arrays.get("channels")
    lengths = (width,), group.arrays["samples"].shape[:1]
    if array is not None and not array.flaw and array.shape == lengths[1] != lengths[0]:
        fix = "store samples as (sample, channel), one row per sample"
        group.wrong("samples", "one row per channel, it seems", expected, "shape", fix)
        return ()
    value = group.take("channels", ("text",), [(width,)], expected)
    names = () if value is None else tuple(str(name) for name in value)
    twice = sorted({name for name in names if names.count(name) > 1 or not name})
    if twice:
        shown = ", ".join(map(repr, twice[:6]))
        group.wrong(
            "channels", f"{shown} more than once, or empty", f"{expected}, each another", "contradiction"
        )
    return names


def _stamps(group: _Group, count: int) -> tuple[NDArray[np.float64] | None, float]:
    """Return the stamps, s, and the declared rate, Hz (0: none)."""
    rate, first = group.number("rate", above_zero=True), group.number("first")
    if "time" in group.arrays:
        if "first" in group.arrays:
            group.wrong("first", "it beside time", "one of them: time says it already", "contradiction")
        return group.seconds("time", count, "sample"), rate or 0.0
    if "rate" not in group.arrays:
        group.wrong("time", "neither time nor rate", "time, or rate (with first)", "missing")
    if rate is None:
        return None, 0.0
    return (first or 0.0) + np.arange(count) / rate, rate


def _markers(group: _Group, origin: Origin) -> Markers | None:
    noted = len(group.problems)
    _check_names(group, MARKERS)
    _check_required(group, _REQUIRED["onset"])
    shape = group.arrays["onset"].shape
    count = shape[0] if len(shape) == 1 else 0
    t = group.seconds("onset", count, "marker")
    kinds = ("text", "integer") if count else ("text", "integer", "float")
    text = group.take("text", kinds, [(count,)], f"a text or a whole number for each of {count} markers")
    expected = f"one number, or one for each of {count} markers, s"
    duration = group.take("duration", ("float", "integer"), [*_ONE, (count,)], expected)
    if duration is not None and not (np.isfinite(duration) & (np.asarray(duration) >= 0)).all():
        group.wrong("duration", "durations below 0 or no numbers", expected, "value")
    if len(group.problems) > noted or t is None or text is None:
        return None
    order = np.argsort(t, kind="stable")
    lengths = np.broadcast_to(np.asarray(0.0 if duration is None else duration, np.float64), (count,))
    texts = tuple(str(text[index]) for index in order)
    return Markers(group.name, t[order], texts, np.array(lengths[order]), origin, group.file)


def _origin(root: _Group) -> Origin:
    """Return the clock that all stamps of the file are on: its second 0 is at `start`."""
    text, resolution = root.text("start"), root.number("start_resolution_s", above_zero=True)
    device = root.text("clock") or ""
    for name in ("clock", "start_resolution_s"):
        if name in root.arrays and "start" not in root.arrays:
            root.wrong("start", f"nothing, beside {name}", "the wall-clock time of second 0", "missing")
    if text is None:
        return Origin(f"file:{root.file}")
    start = _wall_clock(text)
    if start is None:
        expected = "date and time as ISO 8601, such as 2026-03-01T10:00:00.250+01:00"
        root.wrong("start", repr(text), expected, "value")
    known = stated_resolution_s(text) if resolution is None else resolution
    return Origin(f"file:{root.file}", 0.0, start, known, device)


def _wall_clock(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if re.search(r"\d[T ]\d\d", text) else None
    except ValueError:
        return None


def _check_format(root: _Group, *, alike: bool) -> bool:
    """Check the declaration; return whether the rest is worth looking at."""
    said, expected = root.text("format"), repr(LAYOUT)
    if said == LAYOUT or (said is None and "format" in root.arrays):
        return True
    fix = (
        f"write it, if this is a recording ({_DESCRIBED}); if not, move the file out of the session's folder"
    )
    root.wrong("format", "nothing" if said is None else repr(said), expected, "format", fix)
    return alike and said is None


class ArraysRecording:
    """A recording that is described by named arrays.

    Parameters
    ----------
    names
        Name → array.
    file
        What the file is reported by.

    Raises
    ------
    BadInput
        If anything of the layout is missing, unknown or contradictory; every reason is named.
    """

    def __init__(self, names: Mapping[str, NamedArray], file: str) -> None:
        problems: list[Problem] = []
        root, *groups = _groups(names, file, problems)
        streams = [group for group in groups if "samples" in group.arrays]
        if _check_format(root, alike=bool(streams)):
            _check_names(root, ROOT)
            self._origin = _origin(root)
            self._stamped = {group.name: _stream(group) for group in streams}
            events = [group for group in groups if "onset" in group.arrays and "samples" not in group.arrays]
            self._markers = [_markers(group, self._origin) for group in events]
            for group in groups:
                if group not in streams and group not in events:
                    group.wrong(
                        "",
                        ", ".join(filter(None, group.arrays)) or "nothing",
                        "samples, or onset of markers",
                        "missing",
                    )
        raise_all(problems, BadInput)
        self.streams = tuple(item.header for item in self._stamped.values() if item is not None)
        self.warnings: tuple[str, ...] = ()

    def load(self, header: StreamHeader, picks: Sequence[int]) -> Stream:
        """Return a stream with chosen channels. See `Recording.load`."""
        stamped = self._stamped[header.key]
        assert stamped is not None
        return Stream(header.chosen(picks), stamped.t, stamped.samples.columns(list(picks)), self._origin)

    def markers(self) -> tuple[Markers, ...]:
        """Return every group of markers that holds any. See `Recording.markers`."""
        return tuple(item for item in self._markers if item is not None and len(item.t))
