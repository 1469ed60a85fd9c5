"""One clock for streams of several files.

Streams whose stamps are of one device clock are compared by them. Otherwise markers that both files have place
them, with offset and drift; where there are none, the wall-clock starts that the files state, as well as these
are known. What was done is reported, and nothing else is assumed: where none of it is there, the session is
refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from aggrade.errors import BadInput, Problem
from aggrade.recordings.marker_fit import MarkerFit, NoFit, fit_markers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from aggrade.recordings import Origin
    from aggrade.recordings.marker_fit import Marked

__all__ = ["Alignment", "How", "align", "seconds_between"]

How = Literal["auto", "stamps", "markers", "starts"]
Stamps = TypeVar("Stamps", float, NDArray[np.float64])

LARGEST_DISAGREEMENT_S = 5.0
STAMPS, MARKERS, START_TIMES = METHODS = ("stamps", "markers", "start times")


@dataclass(frozen=True, slots=True)
class Alignment:
    """How stamps become comparable: a stamp ``t`` of a clock is ``shift + rate * t`` on the reference clock.

    Parameters
    ----------
    shifts
        Name of a clock → what is added, s.
    method
        ``"stamps"``, ``"markers"`` or ``"start times"``; of several, the weakest.
    resolution_s
        How well the streams are placed against each other, s.
    notes
        What was assumed, one sentence each.
    rates
        Name of a clock → seconds of the reference clock per second of its own; 1 where none is given.
    """

    shifts: dict[str, float]
    method: str
    resolution_s: float
    notes: tuple[str, ...]
    rates: dict[str, float] = field(default_factory=dict)

    def rate(self, clock: str) -> float:
        """Return seconds of the reference clock per second of a clock."""
        return self.rates.get(clock, 1.0)

    def of(self, clock: str, t: Stamps) -> Stamps:
        """Return stamps of a clock, s, on the reference clock."""
        return t * self.rate(clock) + self.shifts[clock]

    def since(self, zero: float) -> Alignment:
        """Return the same alignment on a reference clock that shows 0 when this one shows `zero`, s."""
        return replace(self, shifts={clock: -(zero - shift) for clock, shift in self.shifts.items()})


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one clock lies against the reference clock."""

    shift: float
    method: str = STAMPS
    resolution_s: float = 0.0
    rate: float = 1.0
    notes: tuple[str, ...] = ()


def seconds_between(one: datetime, other: datetime) -> float:
    """Return `other` - `one` in s; if only one states a zone, the other is read in that zone."""
    if (one.tzinfo is None) != (other.tzinfo is None):
        zone = one.tzinfo or other.tzinfo
        one, other = one.replace(tzinfo=one.tzinfo or zone), other.replace(tzinfo=other.tzinfo or zone)
    return (other - one).total_seconds()


def align(
    origins: Sequence[Origin], where: str, how: How = "auto", marked: Mapping[str, Marked] | None = None
) -> Alignment:
    """Bring every clock to that of the first origin.

    Parameters
    ----------
    origins
        One per stream; of a clock that occurs twice, the earliest counts.
    where
        The session, as the user knows it.
    how
        ``"auto"``: by stamps of one device, else by markers, else by start times. The others demand one of these.
    marked
        Name of a clock → its markers.

    Raises
    ------
    BadInput
        If clocks differ, and the files do not have what it takes to compare them.
    """
    clocks: dict[str, Origin] = {}
    for origin in origins:
        known = clocks.get(origin.clock)
        clocks[origin.clock] = origin if known is None or origin.zero < known.zero else known
    first, *others = clocks.values()
    places = {other.clock: _Pair(first, other, where, dict(marked or {})).place(how) for other in others}
    return Alignment(
        {first.clock: 0.0} | {clock: place.shift for clock, place in places.items()},
        max((place.method for place in places.values()), key=METHODS.index, default=STAMPS),
        max((place.resolution_s for place in places.values()), default=0.0),
        tuple(note for place in places.values() for note in place.notes),
        {clock: place.rate for clock, place in places.items()},
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two clocks: the reference, and one that is brought to it."""

    one: Origin
    other: Origin
    where: str
    marked: dict[str, Marked]

    def place(self, how: How) -> _Place:
        """Place the other clock in the way that is asked for. Raises as `align`."""
        if how == "stamps":
            return self._by_stamps()
        if how == "starts":
            return self._by_starts()
        if how == "auto" and _one_device(self.one, self.other):
            return _Place(0.0)
        fit = self._fit()
        if isinstance(fit, MarkerFit):
            return self._by_markers(fit)
        if how == "markers" or self.one.start is None or self.other.start is None:
            raise BadInput(self._unplaced(fit, how))
        place = self._by_starts()
        note = f"the markers of {self._names} did not place them: {fit.reason}"
        return (
            place
            if not fit.common
            else _Place(place.shift, place.method, place.resolution_s, 1.0, (*place.notes, note))
        )

    @property
    def _names(self) -> str:
        return f"{_file(self.one)} and {_file(self.other)}"

    def _by_stamps(self) -> _Place:
        if self.one.device and self.one.device == self.other.device:
            return _Place(0.0)
        fix = "leave the setting clock out, or record both into one file with one clock"
        expected = "stamps of one device clock, as clock = 'stamps' demands"
        raise BadInput(
            Problem(self.where, f"a clock of its own in each of {self._names}", expected, fix, "clock-stamps")
        )

    def _by_starts(self) -> _Place:
        resolution = self.one.resolution_s + self.other.resolution_s
        shift = _shift_by_starts(self.one, self.other, self.where)
        return _Place(shift, START_TIMES, resolution, 1.0, tuple(_zone_note(self.one, self.other)))

    def _fit(self) -> MarkerFit | NoFit:
        one, other = self.marked.get(self.one.clock), self.marked.get(self.other.clock)
        if one is None or other is None:
            return NoFit("no markers on one side", 0)
        if self.one.start is None or self.other.start is None:
            return fit_markers(one, other)
        shift = _shift_by_starts(self.one, self.other, self.where)
        within = LARGEST_DISAGREEMENT_S + self.one.resolution_s + self.other.resolution_s
        return fit_markers(one, other, lambda stamp: stamp + shift, within)

    def _by_markers(self, fit: MarkerFit) -> _Place:
        """Say by what the clocks were placed, and how that agrees with the starts that the files state."""
        counts = [len(self.marked[origin.clock].t) for origin in (self.one, self.other)]
        begin = self.marked[self.other.clock].span[0]
        apart = fit.offset + fit.rate * begin - begin
        found = f"{fit.matched} markers of {counts[0]} and {counts[1]} that have the same {fit.by}"
        numbers = f"offset {apart:.4f} s, drift {(fit.rate - 1) * 1e6:.1f} ppm"
        numbers += f", residual {fit.rms_s:.4f} s (root mean square) and {fit.largest_s:.4f} s at most"
        notes = [f"{_file(self.other)} placed against {_file(self.one)} by {found}: {numbers}"]
        if fit.ways > 1:
            notes.append(f"the markers of {self._names} fit in {fit.ways} ways; start times told which")
        if self.one.start is not None and self.other.start is not None:
            late = apart - _shift_by_starts(self.one, self.other, self.where)
            notes.append(f"start times of {self._names} differ from the markers by {late:.3f} s")
        return _Place(fit.offset, MARKERS, fit.resolution_s, fit.rate, tuple(notes))

    def _unplaced(self, fit: NoFit, how: How) -> Problem:
        """Name what is not there: starts where they would have done, and the markers of both sides."""
        silent = " and ".join(_file(origin) for origin in (self.one, self.other) if origin.start is None)
        found = (
            f"no start time in {silent}"
            if silent and how == "auto"
            else "markers that do not place the files"
        )
        lists = [f"{_file(origin)}: {self._listed(origin)}" for origin in (self.one, self.other)]
        found += f"; markers: {fit.reason} ({'; '.join(lists)})"
        expected = "three markers or more that both files have" + ", or a start time in each" * (
            how == "auto"
        )
        fix = (
            "name the streams of the same markers, clock_markers = {'eeg': '…', 'fnirs': '…'}, write date and time "
            "of the measurement into the files, or record both into one XDF"
        )
        code = "no-common-clock" if how == "auto" else "clock-markers"
        return Problem(self.where, found, expected, fix, code)

    def _listed(self, origin: Origin) -> str:
        marked = self.marked.get(origin.clock)
        return "none" if marked is None else marked.listed()


def _one_device(one: Origin, other: Origin) -> bool:
    """Tell whether two files bear stamps of one device clock: their starts must bear it out."""
    if not one.device or one.device != other.device or one.start is None or other.start is None:
        return False
    by_starts = seconds_between(one.start, other.start)
    return abs(by_starts - (other.zero - one.zero)) <= LARGEST_DISAGREEMENT_S


def _shift_by_starts(one: Origin, other: Origin, where: str) -> float:
    if one.start is None or other.start is None:
        silent = " and ".join(_file(origin) for origin in (one, other) if origin.start is None)
        found, expected = f"no start time in {silent}", "one clock for all files, or a start time in each"
        fix = "write date and time of the measurement into the file, or record both into one XDF"
        raise BadInput(Problem(where, found, expected, fix, "no-common-clock"))
    return one.zero - other.zero + seconds_between(one.start, other.start)


def _zone_note(one: Origin, other: Origin) -> list[str]:
    silent = [origin for origin in (one, other) if origin.start is not None and origin.start.tzinfo is None]
    if len(silent) != 1:
        return []
    zoned = other if silent[0] is one else one
    assert zoned.start is not None
    zone = f"{zoned.start:%z}"
    return [f"{_file(silent[0])} states no time zone; read in that of {_file(zoned)} ({zone})"]


def _file(origin: Origin) -> str:
    return origin.clock.partition(":")[2]
