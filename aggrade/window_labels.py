"""What markers say of windows: their label, and how much of them is marked as bad."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrade.recordings import Markers

__all__ = ["NOT_COUNTED", "NO_LABEL", "Events", "bad_fractions", "events_of", "labels_of"]

NO_LABEL = -1
NOT_COUNTED = -1
"""What counts are where nothing was recorded: 0 would say that nothing was amiss."""
_TOUCH_S = 1e-9
_BAD = "bad"


class Events(NamedTuple):
    """The markers that mean a label, in the order of their onsets.

    Parameters
    ----------
    onset, span
        (event,) s; a span of 0 is an instant, an infinite one lasts until the end.
    label
        Of each event.
    """

    onset: NDArray[np.float64]
    span: NDArray[np.float64]
    label: list[int]


def events_of(markers: Iterable[Markers], mapping: Mapping[str, int], *, hold: bool = False) -> Events:
    """Return the markers that mean a label.

    Parameters
    ----------
    markers
        The streams that labels come from.
    mapping
        Text → label; other texts are left out.
    hold
        Whether a marker without a duration holds until the next one of the mapping.
    """
    events = sorted(_events(markers, mapping), key=lambda event: event[0])
    onsets = np.array([event[0] for event in events], np.float64)
    spans = np.array([event[1] for event in events], np.float64)
    if hold and events:
        spans = np.where(spans > 0, spans, np.append(np.diff(onsets), np.inf))
    return Events(onsets, spans, [event[2] for event in events])


def labels_of(
    starts: NDArray[np.float64], length: float, events: Events, *, rule: str = "majority"
) -> NDArray[np.int16]:
    """Return the label of each window, (window,) int16; -1 where there is none.

    An event with a span touches the windows that it overlaps; an instant, the window that it falls in.

    Parameters
    ----------
    starts, length
        Windows ``[start, start + length)``, s.
    events
        What labels come from.
    rule
        ``"majority"``: the label that covers most of the window, then the one with most markers, then the
        earliest. ``"first"``, ``"last"``: that of the marker that begins first or last.
    """
    return _chosen(starts, length, events.onset, events.span, events.label, rule)


def _events(markers: Iterable[Markers], mapping: Mapping[str, int]) -> Iterable[tuple[float, float, int]]:
    for item in markers:
        for onset, text, duration in zip(item.t, item.text, item.duration, strict=True):
            if text in mapping:
                yield float(onset), max(float(duration), 0.0), mapping[text]


def _chosen(
    starts: NDArray[np.float64],
    length: float,
    onsets: NDArray[np.float64],
    spans: NDArray[np.float64],
    labels: Sequence[int],
    rule: str,
) -> NDArray[np.int16]:
    """Go through the markers in the order of their onsets and keep the best label of each window."""
    known = sorted(set(labels))
    covered = np.zeros((len(known), len(starts)))
    counted = np.zeros((len(known), len(starts)), np.int64)
    chosen = np.full(len(starts), NO_LABEL, np.int16)
    seen = np.full((len(known), len(starts)), np.inf)
    for index, (onset, span, label) in enumerate(zip(onsets, spans, labels, strict=True)):
        low, high, overlap = _touched(starts, length, onset, span)
        row, windows = known.index(label), slice(low, high)
        covered[row, windows] += overlap
        counted[row, windows] += 1
        seen[row, windows] = np.minimum(seen[row, windows], index)
        fresh = chosen[windows] == NO_LABEL
        chosen[windows] = np.where(fresh | (rule == "last"), label, chosen[windows])
    if rule != "majority" or not known:
        return chosen
    order = np.lexsort((seen, -counted, -np.round(covered, 9)), axis=0)[0]
    best = np.array(known, np.int16)[order]
    return np.where(counted.sum(axis=0) > 0, best, NO_LABEL).astype(np.int16)


def _touched(
    starts: NDArray[np.float64], length: float, onset: float, span: float
) -> tuple[int, int, NDArray[np.float64]]:
    """Return the windows that a marker touches, as a range, and for how long it covers each, s."""
    if span <= 0:
        low = int(np.searchsorted(starts + length, onset + _TOUCH_S, side="right"))
        high = int(np.searchsorted(starts, onset + _TOUCH_S, side="right"))
        return low, max(high, low), np.zeros(max(high - low, 0))
    low = int(np.searchsorted(starts + length, onset + _TOUCH_S, side="right"))
    high = max(int(np.searchsorted(starts, onset + span - _TOUCH_S)), low)
    part = starts[low:high]
    return low, high, np.minimum(part + length, onset + span) - np.maximum(part, onset)


def bad_fractions(
    starts: NDArray[np.float64], length: float, markers: Iterable[Markers]
) -> NDArray[np.float32]:
    """Return how much of each window is marked as bad, (window,) float32 from 0 to 1.

    Annotations whose text begins with ``BAD``, in any case, are bad, as in MNE; what several of them cover
    counts once.

    Parameters
    ----------
    starts, length
        Windows ``[start, start + length)``, s.
    markers
        All streams of markers.
    """
    spans = sorted(
        (float(onset), float(onset + duration))
        for item in markers
        for onset, text, duration in zip(item.t, item.text, item.duration, strict=True)
        if text.lower().startswith(_BAD) and duration > 0
    )
    total = np.zeros(len(starts))
    for onset, stop in _merged(spans):
        low, high, overlap = _touched(starts, length, onset, stop - onset)
        total[low:high] += overlap
    return np.clip(total / length, 0, 1).astype(np.float32)


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for onset, stop in spans:
        if merged and onset <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((onset, stop))
    return merged
