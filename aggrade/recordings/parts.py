"""A recording that was cut into several files, joined: one after another on one clock, with the gaps between them.

Nothing is moved together: a part begins when its file says that it began. Parts that overlap, or that do not say
when they began, are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.recordings import Markers, Stream
from aggrade.recordings.clocks import align
from aggrade.recordings.marker_fit import LIKELY_DRIFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from aggrade.recordings import Origin, Samples

__all__ = ["Placed", "join", "join_markers", "place_parts"]

ONE_RATE_WITHIN = 0.01
_NUMBER_OF_GROUP = re.compile(r"(?<=^nirs)\d+(?=/)")


@dataclass(frozen=True)
class Placed:
    """Where the parts of recordings lie.

    Parameters
    ----------
    clocks
        Name of a part's clock → the clock of the first part, and what is added to a stamp to be on it, s.
    notes
        What was joined, one sentence each.
    resolution_s
        How well the parts are placed against each other, s.
    """

    clocks: dict[str, tuple[Origin, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    resolution_s: float = 0.0


@dataclass(frozen=True, eq=False)
class _Part:
    """What one file holds: its clock, the first and the last stamp of its streams, s, and what these are."""

    origin: Origin
    source: str
    first: float
    last: float
    period: float
    modalities: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Samples of several parts, one after another."""

    parts: tuple[Samples, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples, number of channels."""
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Return consecutive samples, (sample, channel)."""
        start, stop, _ = rows.indices(self.shape[0])
        pieces, first = [], 0
        for part in self.parts:
            low, high = max(start - first, 0), min(stop - first, part.shape[0])
            if high > low:
                pieces.append(part[low:high])
            first += part.shape[0]
        return np.concatenate(pieces) if pieces else self.parts[0][0:0]


def place_parts(recordings: Sequence[Sequence[Stream]], where: str) -> Placed:
    """Find out when each part began on the clock of the first one.

    Parameters
    ----------
    recordings
        The parts of each modality, in any order; those of one part belong to no other.
    where
        The session, as the user knows it.

    Raises
    ------
    BadInput
        If parts do not say when they began, overlap by more than their starts are uncertain, or run at rates of
        their own.
    """
    placed = Placed()
    for streams in _sets([list(parts) for parts in recordings if len(parts) > 1]):
        one = _place(streams, where)
        resolution = max(placed.resolution_s, one.resolution_s)
        placed = Placed(placed.clocks | one.clocks, (*placed.notes, *one.notes), resolution)
    return placed


def join(parts: Sequence[Stream], placed: Placed) -> Stream:
    """Return the parts of one modality as one stream on the clock of the first.

    Parameters
    ----------
    parts
        In any order, with the same channels.
    placed
        What `place_parts` found.
    """
    moved = sorted((_moved(part, placed) for part in parts), key=lambda part: float(part.t[0]))
    if len(moved) == 1:
        return moved[0]
    header = replace(moved[0].header, samples=sum(len(part.t) for part in moved))
    t = np.concatenate([part.t for part in moved])
    return Stream(header, t, _Rows(tuple(part.x for part in moved)), moved[0].origin)


def join_markers(markers: Iterable[Markers], placed: Placed) -> list[Markers]:
    """Return the markers of parts as one stream for each name, and those of other files as they are.

    Parameters
    ----------
    markers
        All streams of markers.
    placed
        What `place_parts` found.
    """
    own = [item for item in markers if item.origin.clock not in placed.clocks]
    parts = [_moved_markers(item, placed) for item in markers if item.origin.clock in placed.clocks]
    key = _clock_and_name
    return own + [_merged(list(items)) for _, items in groupby(sorted(parts, key=key), key)]


def _clock_and_name(item: Markers) -> tuple[str, str]:
    """Tell what is one stream: of SNIRF the number of a group is not part of the name."""
    return item.origin.clock, _NUMBER_OF_GROUP.sub("", item.name)


def _merged(items: list[Markers]) -> Markers:
    t = np.concatenate([item.t for item in items])
    order = np.argsort(t, kind="stable")
    texts = [text for item in items for text in item.text]
    durations = np.concatenate([item.duration for item in items])
    first = min(items, key=lambda item: float(item.t[0]))
    return replace(first, t=t[order], text=tuple(texts[index] for index in order), duration=durations[order])


def _moved(stream: Stream, placed: Placed) -> Stream:
    if stream.origin.clock not in placed.clocks:
        return stream
    origin, shift = placed.clocks[stream.origin.clock]
    return replace(stream, t=stream.t + shift, origin=origin)


def _moved_markers(item: Markers, placed: Placed) -> Markers:
    origin, shift = placed.clocks[item.origin.clock]
    return replace(item, t=item.t + shift, origin=origin)


def _sets(recordings: list[list[Stream]]) -> list[list[Stream]]:
    """Put together what is in the same files, such as the EEG and the fNIRS of one recorder."""
    sets: list[list[Stream]] = []
    for streams in recordings:
        clocks = {stream.origin.clock for stream in streams}
        same = [other for other in sets if clocks & {stream.origin.clock for stream in other}]
        sets = [other for other in sets if other not in same]
        sets.append([*streams, *(stream for other in same for stream in other)])
    return sets


def _place(streams: list[Stream], where: str) -> Placed:
    raise_all(_rate_problems(streams, where), BadInput)
    parts = list(_parts(streams))
    silent = sorted(part.source for part in parts if part.origin.start is None)
    if silent:
        fix = "write date and time of the measurement into the files, join them into one, or choose one by streams"
        found = f"{len(parts)} parts of one recording, and no start time in {', '.join(silent)}"
        raise BadInput(Problem(where, found, "a start time in each part", fix, "parts-without-start"))
    shifts = align(
        [part.origin for part in parts], where, "starts" if not _one_clock(parts) else "auto"
    ).shifts
    parts.sort(key=lambda part: part.first + shifts[part.origin.clock])
    first = shifts[parts[0].origin.clock]
    shifts = {clock: shift - first for clock, shift in shifts.items()}
    return _followed(parts, shifts, where)


def _one_clock(parts: list[_Part]) -> bool:
    return bool(parts[0].origin.device) and len({part.origin.device for part in parts}) == 1


def _parts(streams: list[Stream]) -> Iterator[_Part]:
    for clock in dict.fromkeys(stream.origin.clock for stream in streams):
        own = [stream for stream in streams if stream.origin.clock == clock]
        origin = min((stream.origin for stream in own), key=lambda item: item.zero)
        first = min(float(stream.t[0]) for stream in own)
        latest = max(own, key=lambda stream: float(stream.t[-1]))
        modalities = tuple(dict.fromkeys(stream.header.modality for stream in own))
        yield _Part(origin, _said(own[0]), first, float(latest.t[-1]), _period(latest), modalities)


def _said(stream: Stream) -> str:
    """Name a part: its file, and within a file of several its clock."""
    clock = stream.header.clock.partition(":")[2]
    return clock or stream.header.source


def _period(stream: Stream) -> float:
    return float(np.median(np.diff(stream.t)))


def _rate_problems(streams: list[Stream], where: str) -> Iterator[Problem]:
    by_channels = {stream.header.channels for stream in streams}
    for channels in by_channels:
        same = [stream for stream in streams if stream.header.channels == channels]
        rates = {_said(stream): 1 / _period(stream) for stream in same if _period(stream) > 0}
        if rates and max(rates.values()) > (1 + ONE_RATE_WITHIN) * min(rates.values()):
            found = ", ".join(f"{rate:.4g} Hz in {name}" for name, rate in rates.items())
            fix = "give the files as sessions of their own, or choose one by streams"
            yield Problem(where, found, "parts that run at one rate", fix, "parts-rate")


def _followed(parts: list[_Part], shifts: dict[str, float], where: str) -> Placed:
    """Check that each part begins where the one before has ended; say how long the gap is."""
    clocks = {parts[0].origin.clock: (parts[0].origin, 0.0)}
    notes, problems, unsure = [], [], 0.0
    end = 0.0
    for before, part in pairwise(parts):
        shift = shifts[part.origin.clock]
        end = max(end, before.last + before.period + clocks[before.origin.clock][1])
        gap, known = part.first + shift - end, _known(before, part)
        if gap < -known - LIKELY_DRIFT * (before.last - before.first) - before.period:
            problems.append(_overlap(before, part, gap, where))
        if gap < 0:
            shift -= gap
        notes.append(_joint(before, part, gap, known))
        clocks[part.origin.clock] = (parts[0].origin, shift)
        unsure = max(unsure, known)
    raise_all(problems, BadInput)
    return Placed(clocks, tuple(notes), unsure)


def _known(before: _Part, part: _Part) -> float:
    """Return how well two parts are placed against each other, s."""
    if before.origin.device and before.origin.device == part.origin.device:
        return 0.0
    return before.origin.resolution_s + part.origin.resolution_s


def _joint(before: _Part, part: _Part, gap: float, known: float) -> str:
    text = f"{part.source} joined to {before.source}"
    if gap < 0:
        return f"{text}: said to begin {-gap:.3f} s before its end, which is known to {known:g} s; taken to follow at once"
    return f"{text} with a gap of {gap:.3f} s between them, known to {known:g} s"


def _overlap(before: _Part, part: _Part, gap: float, where: str) -> Problem:
    found = f"{part.source} beginning {-gap:.3f} s before the end of {before.source}, with the same channels"
    chosen = dict.fromkeys(part.modalities, "file:stream")
    fix = f"give them as sessions of their own, or choose one: streams = {chosen}"
    return Problem(where, found, "parts of one recording that follow one another", fix, "parts-overlap")
