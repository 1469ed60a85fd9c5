"""Put the samples of one modality into its windows, and look at their quality on the way, piece by piece.

Samples are read in the order of the file, each about once, and never more than a few tens of megabytes at a time,
however far windows lie apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput
from aggrade.recordings import EEG, too_large
from aggrade.window_labels import NOT_COUNTED
from aggrade.window_quality import (
    COUPLING_S,
    LINE_HZ,
    extremes,
    line_noise,
    longest_gap,
    on_rail,
    pairs_of,
    scalp_coupling,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aggrade.recordings import Stream
    from aggrade.window_grid import Placed, Track

    Variable = tuple[tuple[str, ...], NDArray[Any], dict[str, Any], dict[str, Any]]

__all__ = ["Filled", "fill_windows"]

PIECE_BYTES = 4 << 20
"""Bytes of samples, in double precision, that are in hand at once: what the caches of a processor hold is faster."""
_WINDOW = ("session", "window")


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """What one modality gives.

    Parameters
    ----------
    variables
        Name → dimensions, values and attributes.
    gaps
        (window,) longest time without a sample, s.
    """

    variables: dict[str, Variable]
    gaps: NDArray[np.float32]


def fill_windows(
    stream: Stream, track: Track, starts: NDArray[np.float64], line_hz: float | None = None
) -> Filled:
    """Return the windows of one modality with their quality.

    Parameters
    ----------
    stream
        Its samples.
    track
        Its timing and its span in a window.
    starts
        (window,) s, ascending.
    line_hz
        The mains' frequency, Hz; None: 50 or 60, whichever shows more.
    """
    filling = _Filling(stream, track, starts, line_hz)
    for part in _pieces(stream, track, starts):
        filling.fill(part)
    return Filled(filling.variables(), filling.gaps)


def _pieces(stream: Stream, track: Track, starts: NDArray[np.float64]) -> Iterator[slice]:
    """Cut the windows into runs of which neither the slots nor the samples of the file between them are many."""
    channels = len(stream.header.channels)
    most = max(1, PIECE_BYTES // (channels * 8))
    begin, stop = track.members(starts)
    windows, low = max(1, most // track.samples), 0
    for high in range(1, len(starts) + 1):
        if high == len(starts) or high - low >= windows or stop[high] - begin[low] > most:
            yield slice(low, high)
            low = high


class _Filling:
    """The arrays of one modality while they are filled."""

    def __init__(
        self, stream: Stream, track: Track, starts: NDArray[np.float64], line_hz: float | None
    ) -> None:
        self._stream, self._track, self._starts = stream, track, starts
        self._line = LINE_HZ if line_hz is None else (line_hz,)
        count, channels = len(starts), len(stream.header.channels)
        self.values = np.empty((count, channels, track.samples), np.float32)
        self.coverage, self.gaps = (np.empty(count, np.float32) for _ in range(2))
        self.high, self.low = (np.empty((count, channels), np.float32) for _ in range(2))
        self.nan_count = np.empty((count, channels), np.int32)
        self.special = np.full((count, channels), np.nan, np.float32)
        self._pairs = pairs_of(stream.header.channels, stream.header.types) if not self._is_eeg else []
        self._wide = _widened(track, starts) if self._pairs else None

    @property
    def _is_eeg(self) -> bool:
        return self._track.modality == EEG

    def fill(self, part: slice) -> None:
        """Fill some windows and look at them."""
        placed = self._track.place(self._starts[part])
        wide = self._wide[0].place(self._wide[1][part]) if self._wide else placed
        rows, first = _read(self._stream, placed, wide)
        values = self.values[part]
        self._put(values, placed, self._single(rows), first)
        missing = np.isnan(values)
        empty = missing.all(axis=1)
        self.coverage[part] = 1 - empty.mean(axis=1)
        self.gaps[part] = longest_gap(empty) * (self._track.length / self._track.samples)
        self.nan_count[part] = np.count_nonzero(missing, axis=2)
        self.high[part], self.low[part] = extremes(values)
        if self._is_eeg:
            found = line_noise(values, self._track.length, self._line)
            self.special[part] = np.where(self.high[part] == self.low[part], np.float32(np.nan), found)
        elif self._wide:
            self.special[part] = self._coupling(part, rows, wide, first)

    @staticmethod
    def _put(values: NDArray[np.float32], placed: Placed, rows: NDArray[np.float32], first: int) -> None:
        """Put samples where they belong, NaN elsewhere; where each slot of each window has the next one, all at once."""
        count, samples = len(values), values.shape[2]
        natural = np.arange(count * samples)
        if (
            len(placed.row) == len(natural)
            and np.array_equal(placed.row - placed.row[0], natural)
            and np.array_equal(placed.window * samples + placed.slot, natural)
        ):
            begin = int(placed.row[0]) - first
            whole = rows[begin : begin + len(natural)].reshape(count, samples, -1)
            values[...] = whole.transpose(0, 2, 1)
            return
        values[...] = np.nan
        values[placed.window, :, placed.slot] = rows[placed.row - first]

    def _single(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return samples in single precision.

        Raises
        ------
        BadInput
            If one of them is too large for it, as damaged ones are.
        """
        try:
            with np.errstate(over="raise"):
                return rows.astype(np.float32, copy=False)
        except FloatingPointError as error:
            header = self._stream.header
            raise BadInput(too_large(f"{header.source}, stream {header.name!r}")) from error

    def _coupling(self, part: slice, rows: NDArray[Any], wide: Placed, first: int) -> NDArray[np.float32]:
        """Look at the heartbeat around each window that has samples."""
        assert self._wide is not None
        track, channels = self._wide[0], rows.shape[1]
        found = np.full((part.stop - part.start, channels), np.nan, np.float32)
        each = max(1, PIECE_BYTES // (channels * track.samples * 4))
        for low in range(0, len(found), each):
            high = min(low + each, len(found))
            own = slice(*np.searchsorted(wide.window, [low, high]))
            around = np.full((high - low, channels, track.samples), np.nan, np.float32)
            around[wide.window[own] - low, :, wide.slot[own]] = rows[wide.row[own] - first]
            found[low:high] = scalp_coupling(around, track.length, self._pairs)
        found[self.coverage[part] == 0] = np.nan
        return found

    def variables(self) -> dict[str, Variable]:
        """Return what was found, with a dimension for the session."""
        name = self._track.modality
        channel = (*_WINDOW, f"{name}_channel")
        begin, stop = self._track.members(self._starts)
        surplus = np.maximum(stop - begin - self._track.samples, 0).astype(np.int16)
        with np.errstate(invalid="ignore"):
            peaks = self.high - self.low
        found: dict[str, tuple[tuple[str, ...], NDArray[Any], str]] = {
            name: ((*channel, f"{name}_sample"), self.values, f"{name} samples"),
            f"{name}_coverage": (_WINDOW, self.coverage, "real samples / expected samples"),
            f"{name}_surplus": (_WINDOW, surplus, "samples in the span beyond its slots"),
            f"{name}_peak_to_peak": (channel, peaks, "largest - smallest sample"),
            f"{name}_flat": (channel, np.asarray(self.high == self.low), "all real samples are equal"),
            f"{name}_nan_count": (channel, self.nan_count, "slots without a number"),
            f"{name}_rail": (channel, self._rail(), "part of the samples held at an end of the range"),
        }
        if self._is_eeg:
            text = "power at the mains' frequency / power beside it"
            found[f"{name}_line_noise"] = (channel, self.special, text)
        else:
            found[f"{name}_scalp_coupling"] = (channel, self.special, "scalp-coupling index")
        counts = {f"{name}_nan_count", f"{name}_surplus"}
        return {
            key: (
                dims,
                values[None],
                {"long_name": text},
                {"fill_value": NOT_COUNTED} if key in counts else {},
            )
            for key, (dims, values, text) in found.items()
        }

    def _rail(self) -> NDArray[np.float32]:
        rails = np.fmax.reduce(self.high, axis=0), np.fmin.reduce(self.low, axis=0)
        parts = (
            on_rail(self.values[part], self.high[part], self.low[part], rails)
            for part in _pieces(self._stream, self._track, self._starts)
        )
        return np.concatenate(list(parts))


def _widened(track: Track, starts: NDArray[np.float64]) -> tuple[Track, NDArray[np.float64]] | None:
    """Return the spans of at least 10 s about those of the windows, inside the stream; None if it is too short."""
    if track.length >= COUPLING_S:
        return track, starts
    if track.end - track.first < COUPLING_S:
        return None
    middle = starts + track.offset + track.length / 2
    around = np.clip(middle - COUPLING_S / 2, track.first, track.end - COUPLING_S)
    samples = round(COUPLING_S * track.timing.rate)
    return replace(track, length=COUPLING_S, offset=0.0, samples=samples), around


def _read(stream: Stream, *all_placed: Placed) -> tuple[NDArray[Any], int]:
    """Read the samples that have a slot and those between them; return also the number of the first."""
    used = [placed for placed in all_placed if len(placed.row)]
    if not used:
        return np.empty((0, len(stream.header.channels))), 0
    first = min(int(placed.row.min()) for placed in used)
    last = max(int(placed.row.max()) for placed in used)
    return stream.x[first : last + 1], first
