"""One clock for streams of several files.

Streams whose stamps are of one device clock are compared by them. Otherwise the wall-clock starts that the
files state place the streams against each other, as well as these are known, which is reported. Nothing else
is assumed: where neither is there, the session is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aggrade.recordings import Origin

__all__ = ["Alignment", "align", "seconds_between"]

LARGEST_DISAGREEMENT_S = 5.0
STAMPS, START_TIMES = "stamps", "start times"


@dataclass(frozen=True, slots=True)
class Alignment:
    """How stamps become comparable.

    Parameters
    ----------
    shifts
        Name of a clock → what is added to its stamps, s, to bring them to the reference clock.
    method
        ``"stamps"`` or ``"start times"``.
    resolution_s
        How well the streams are placed against each other, s.
    notes
        What was assumed, one sentence each.
    """

    shifts: dict[str, float]
    method: str
    resolution_s: float
    notes: tuple[str, ...]


def seconds_between(one: datetime, other: datetime) -> float:
    """Return `other` - `one` in s; if only one states a zone, the other is read in that zone."""
    if (one.tzinfo is None) != (other.tzinfo is None):
        zone = one.tzinfo or other.tzinfo
        one, other = one.replace(tzinfo=one.tzinfo or zone), other.replace(tzinfo=other.tzinfo or zone)
    return (other - one).total_seconds()


def align(origins: Sequence[Origin], where: str) -> Alignment:
    """Bring every clock to that of the first origin.

    Parameters
    ----------
    origins
        One per stream; of a clock that occurs twice, the earliest counts.
    where
        The session, as the user knows it.

    Raises
    ------
    BadInput
        If clocks differ and a file does not state when it began.
    """
    clocks: dict[str, Origin] = {}
    for origin in origins:
        known = clocks.get(origin.clock)
        clocks[origin.clock] = origin if known is None or origin.zero < known.zero else known
    first, *others = clocks.values()
    shifts, notes, method, resolution = {first.clock: 0.0}, list[str](), STAMPS, 0.0
    for other in others:
        if _one_device(first, other):
            shifts[other.clock] = 0.0
            continue
        shifts[other.clock] = _by_starts(first, other, where)
        method, resolution = START_TIMES, max(resolution, first.resolution_s + other.resolution_s)
        notes += _zone_note(first, other)
    return Alignment(shifts, method, resolution, tuple(notes))


def _one_device(one: Origin, other: Origin) -> bool:
    """Tell whether two files bear stamps of one device clock: their starts must bear it out."""
    if not one.device or one.device != other.device or one.start is None or other.start is None:
        return False
    by_starts = seconds_between(one.start, other.start)
    return abs(by_starts - (other.zero - one.zero)) <= LARGEST_DISAGREEMENT_S


def _by_starts(one: Origin, other: Origin, where: str) -> float:
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
