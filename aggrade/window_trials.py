"""Windows around markers: where trials lie, and the windows in them. ``docs/windows.md`` has the rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.window_grid import bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aggrade.window_grid import Track
    from aggrade.window_labels import Events
    from aggrade.window_spec import WindowSpec

__all__ = ["Cuts", "trial_length", "trial_windows"]

_COUNT_TOLERANCE = 1e-6
_LENGTHS = "give window_size_s, or trial_stop_offset_s"


class Cuts(NamedTuple):
    """Windows around markers, in the order of their starts.

    Parameters
    ----------
    starts
        (window,) float64, s.
    labels
        (window,) int16, that of the marker.
    trial
        (window,) int32, which marker of the mapping, counted from 0 in time, those left out included.
    place
        (window,) int32, which window of its trial.
    left_out
        How many windows would leave the recording, or their trial.
    """

    starts: NDArray[np.float64]
    labels: NDArray[np.int16]
    trial: NDArray[np.int32]
    place: NDArray[np.int32]
    left_out: int


def trial_length(events: Events, spec: WindowSpec, rate: float, where: str) -> float:
    """Return the length that all trials have, s; it is a whole number of samples.

    Parameters
    ----------
    events
        The markers.
    spec
        What to cut; it names no size of a window.
    rate
        Samples per second, Hz.
    where
        The session, as the user knows it.

    Raises
    ------
    BadInput
        If there is no trial, or they differ in length.
    """
    begin, stop = spec.trial_offsets_s(rate)
    lengths = events.span[np.isfinite(events.span)] + (stop or 0.0) - begin
    samples = np.round(lengths * rate)
    if not len(samples):
        raise BadInput(Problem(where, "no trial with an end", "trials of one length", _LENGTHS, "no-trial"))
    if samples.min() != samples.max() or samples.min() < 1:
        found = f"trials from {lengths.min():g} to {lengths.max():g} s"
        raise BadInput(Problem(where, found, "trials of one length", _LENGTHS, "trial-lengths"))
    return float(samples[0]) / rate


def trial_windows(
    tracks: Sequence[Track],
    spec: WindowSpec,
    extent: tuple[float, float],
    events: Events,
    rate: float,
    where: str,
) -> Cuts:
    """Return the windows around the markers of a session.

    Parameters
    ----------
    tracks
        One per modality.
    spec
        What to cut.
    extent
        Size and stride of the windows, s.
    events
        The markers of the mapping.
    rate
        That of the samples that sizes are counted in, Hz.
    where
        The session, as the user knows it.

    Raises
    ------
    BadInput
        If no window is left.
    """
    low, high = bounds(tracks, spec, where)
    half = min(track.timing.period for track in tracks) / 2
    found = [
        _in_trial(onset, span, spec, extent, rate, high - half)
        for onset, span in zip(events.onset, events.span, strict=True)
    ]
    starts = np.concatenate([np.empty(0), *found])
    trial = np.repeat(np.arange(len(found), dtype=np.int32), [len(each) for each in found])
    place = np.concatenate([np.empty(0, np.int32), *(np.arange(len(each), dtype=np.int32) for each in found)])
    kept = np.flatnonzero((starts >= low - half) & (starts <= high))
    if not len(kept):
        raise BadInput(_none_left(events, extent[0], (low, high), where))
    order = kept[np.argsort(starts[kept], kind="stable")]
    labels = np.array(events.label, np.int16)[trial[order]]
    left_out = len(starts) - len(kept) + sum(not len(each) for each in found)
    return Cuts(starts[order], labels, trial[order], place[order], left_out)


def _in_trial(
    onset: float, span: float, spec: WindowSpec, extent: tuple[float, float], rate: float, latest: float
) -> NDArray[np.float64]:
    """Return the starts of the windows of one trial, none if it is shorter than a window; (window,) s."""
    size, stride = extent
    first, after = spec.trial_offsets_s(rate)
    begin, last = onset + first, onset + span - size + (after or 0.0)
    if after is None:
        last = max(last, begin)
    last = min(last, latest) if np.isinf(span) else last
    room = last - begin
    if room < -0.5 / rate:
        return np.empty(0)
    count = int(max(room + 0.5 / rate, 0.0) / stride + _COUNT_TOLERANCE) + 1
    starts: NDArray[np.float64] = begin + np.arange(count, dtype=np.float64) * stride
    if not spec.drop_last_window and last - starts[-1] > 0.5 / rate:
        starts = np.append(starts, last)
    return starts


def _none_left(events: Events, size: float, edges: tuple[float, float], where: str) -> Problem:
    if not len(events.onset):
        fix = "correct the mapping, or leave the recording out"
        return Problem(where, "no marker of the mapping", "at least one", fix, "no-trial")
    found = f"markers from {events.onset[0]:.3f} to {events.onset[-1]:.3f} s, none with room for a window"
    expected = f"windows of {size:g} s in their trials that begin from {edges[0]:.3f} to {edges[1]:.3f} s"
    return Problem(where, found, expected, "make the window shorter, or change the offsets", "no-trial")
