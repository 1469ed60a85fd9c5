"""Where windows lie in time, and where each sample lies in its window. ``docs/windows.md`` has the rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aggrade.stamps import Timing
    from aggrade.window_spec import WindowSpec

__all__ = ["Placed", "Track", "believed_rate", "bounds", "window_starts"]

BELIEVED_WITHIN = 0.01
SNAP = 1e-6
JITTERS = 4.0
_COUNT_TOLERANCE = 1e-6


def believed_rate(nominal: float, measured: float) -> float:
    """Return the rate that samples per window follow from, Hz.

    The declared rate, where the stamps bear it out to 1 %: it is the same from day to day. Else the measured.

    Parameters
    ----------
    nominal, measured
        Declared rate (0: none) and real rate, Hz.
    """
    return nominal if nominal > 0 and abs(nominal / measured - 1) <= BELIEVED_WITHIN else measured


class Placed(NamedTuple):
    """Samples of some windows, one entry per sample that has a slot.

    Parameters
    ----------
    window
        Index of the window, from 0 for the first of those asked for.
    slot
        Index of the slot in the window.
    row
        Index of the sample in its stream.
    """

    window: NDArray[np.int64]
    slot: NDArray[np.int64]
    row: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Track:
    """One modality, seen by the windows.

    Parameters
    ----------
    modality
        ``"eeg"`` or ``"fnirs"``.
    timing
        Its stamps, on the session's clock.
    length
        Length of its span in a window, s.
    offset
        From the start of a window to the start of this span, s.
    samples
        Slots per window.
    """

    modality: str
    timing: Timing
    length: float
    offset: float
    samples: int

    @property
    def first(self) -> float:
        """When the first sample was taken, s."""
        return float(self.timing.regular[0])

    @property
    def end(self) -> float:
        """One period after the last sample, s."""
        return float(self.timing.regular[-1]) + self.timing.period

    @property
    def earliest(self) -> float:
        """The earliest start of a window whose span lies in the stream, s."""
        return self.first - self.offset

    @property
    def latest(self) -> float:
        """The latest such start, s; half a period over the end is granted."""
        return self.end + self.timing.period / 2 - self.length - self.offset

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """What is compared with edges: regular times, later by four times the jitter, (sample,) s."""
        period = self.timing.period
        return self.timing.regular + min(JITTERS * self.timing.jitter + SNAP * period, period / 4)

    def members(self, starts: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first sample of each window's span, and the first one behind it.

        Parameters
        ----------
        starts
            (window,) s.
        """
        low = starts + self.offset
        return np.searchsorted(self.times, low), np.searchsorted(self.times, low + self.length)

    def place(self, starts: NDArray[np.float64]) -> Placed:
        """Return the slot of each sample: how many, received or lost, are before it in its window.

        Parameters
        ----------
        starts
            (window,) s.
        """
        begin, stop = self.members(starts)
        count = stop - begin
        window = np.repeat(np.arange(len(starts)), count)
        rank = np.arange(len(window)) - np.repeat(np.cumsum(count) - count, count)
        row = begin[window] + rank
        number = self.timing.number
        slot = self._missing(starts, begin, stop)[window] + number[row] - number[begin[window]]
        room = self.samples - count[window] + rank
        least = np.maximum(np.minimum(slot, self._periods(row, starts[window])), rank)
        slot = np.maximum(np.minimum(slot, room), least)
        kept = slot < self.samples
        return Placed(window[kept], slot[kept], row[kept])

    def _missing(
        self, starts: NDArray[np.float64], begin: NDArray[np.int64], stop: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Count the samples lost between the start of each span and its first sample."""
        first = np.minimum(begin, len(self.times) - 1)
        lost = np.where(first > 0, self.timing.lost[first], np.iinfo(np.int64).max)
        since = np.maximum(self._periods(first, starts), 0)
        return np.where(stop > begin, np.minimum(since, lost), 0)

    def _periods(self, rows: NDArray[np.int64], starts: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return how many whole periods after the start of a span each sample was taken."""
        since = (self.times[rows] - starts - self.offset) / self.timing.period
        return np.asarray(np.floor(since).astype(np.int64))


def bounds(tracks: Sequence[Track], spec: WindowSpec, where: str) -> tuple[float, float]:
    """Return the first and the last moment at which a window of a session may begin, s.

    Parameters
    ----------
    tracks
        One per modality.
    spec
        What to cut.
    where
        The session, as the user knows it.

    Raises
    ------
    BadInput
        If the streams do not overlap, or no window fits.
    """
    shared = min(track.end for track in tracks) - max(track.first for track in tracks)
    if shared <= 0:
        found = " and ".join(_span(track) for track in tracks)
        fix = "check the start times of the files, or give the streams as sessions of their own"
        raise BadInput(Problem(where, found, "streams that overlap in time", fix, "no-overlap"))
    pick = (max, min) if spec.start == "overlap" else (min, max)
    low = pick[0](track.earliest for track in tracks)
    high = pick[1](track.latest for track in tracks)
    if high < low:
        found = f"{' and '.join(_span(track) for track in tracks)}"
        longest = max(track.length for track in tracks)
        expected, fix = f"at least one window of {longest:g} s", "make the window shorter"
        raise BadInput(Problem(where, found, expected, fix, "window-too-long"))
    return low, high


def window_starts(
    tracks: Sequence[Track], spec: WindowSpec, stride: float, where: str
) -> NDArray[np.float64]:
    """Return the starts of all windows of a session, (window,) float64 s on the session's clock.

    Parameters
    ----------
    tracks, spec, where
        As for `bounds`.
    stride
        From one start to the next, s.

    Raises
    ------
    BadInput
        As `bounds`.
    """
    low, high = bounds(tracks, spec, where)
    count = int((high - low) / stride + _COUNT_TOLERANCE) + 1
    starts: NDArray[np.float64] = low + np.arange(count, dtype=np.float64) * stride
    return starts if spec.drop_last_window else _with_last(starts, tracks, spec)


def _with_last(starts: NDArray[np.float64], tracks: Sequence[Track], spec: WindowSpec) -> NDArray[np.float64]:
    """Add a window that ends with the recording, if anything is left behind the last."""
    pick = min if spec.start == "overlap" else max
    last = pick(track.latest - track.timing.period / 2 for track in tracks)
    finest = min(track.timing.period for track in tracks)
    return np.append(starts, last) if last - starts[-1] > finest / 2 else starts


def _span(track: Track) -> str:
    return f"{track.modality} from {track.first:.3f} to {track.end:.3f} s"
