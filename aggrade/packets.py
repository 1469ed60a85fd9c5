"""Samples that arrive in packets, each somewhat late: telling their jitter from loss.

The lag of a sample is its stamp less its regular time. What is delayed lags for a while; what follows a loss lags for ever.
Where packets are late by more than a period, a short look ahead can't tell: the next few may all be later than a lucky one.
Over enough packets the smallest lag is that of one that was hardly late, so that the floor of the lags is level where
nothing was lost, and rises where something was.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["come_late", "without_false_loss"]

LENGTHS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
FEWEST_STRETCHES = 4
MOST_STRETCHES = 64
LEVEL = 0.5
SHORT = 0.5
SHORT_SHARE = 0.1
FEWEST = 4
FEWEST_BESIDE = 128
MOST_LOOKED_AT = 200
MOST_OF_THEM = 0.5
LATE = 0.95
MOST_CHECKS = 4096
BESIDE_S = 8.0


def without_false_loss(
    t: NDArray[np.float64], lost: NDArray[np.int64], period: float
) -> tuple[NDArray[np.int64], float]:
    """Return what was lost before each sample, less what only came late, and the seconds per sample.

    A part of which the floor is level has lost nothing; any other is divided where most was lost, and looked at again.
    What is less than packets of level parts are late can't be told from that, and counts as nothing.

    Parameters
    ----------
    t
        (sample,) stamps, s.
    lost
        (sample,) what a short look ahead takes for lost.
    period
        Seconds per sample, if that was lost.

    Returns
    -------
    lost : (sample,) int64
        What was lost.
    period : float
        s.
    """
    kept, parts, checks = np.zeros_like(lost), [(0, len(t))], 0
    level: list[tuple[int, float, float]] = []
    while parts:
        low, high = parts.pop()
        inside = lost[low + 1 : high]
        checks += bool(inside.any())
        found = _level(t[low:high], inside) if checks <= MOST_CHECKS else None
        if found is not None:
            kept[low + 1 : high] = np.where(found[0], inside, 0)
            level.append((high - low, *found[1:]))
        elif checks > MOST_CHECKS:
            kept[low + 1 : high] = inside
        elif inside.any():
            largest = low + 1 + int(inside.argmax())
            kept[largest] = lost[largest]
            parts += [(low, largest), (largest, high)]
    if level:
        counts, periods, late = zip(*level, strict=True)
        period = float(np.average(periods, weights=counts))
        kept[kept < np.average(late, weights=counts) - LEVEL] = 0
    return _counted(t, kept, period), period


def come_late(t: NDArray[np.float64], lost: NDArray[np.int64], period: float) -> bool:
    """Tell whether loss may be jitter: samples come early after late ones, and lag no less before most gaps than after.

    So it is, too, where more would have been lost than came. Parameters as for `without_false_loss`.
    """
    gaps = np.flatnonzero(lost)
    if len(gaps) >= FEWEST and lost.sum() > len(t):
        return True
    short = np.count_nonzero(np.diff(t) < SHORT * period)
    return bool(len(gaps) and short >= max(FEWEST, SHORT_SHARE * len(gaps)) and _overlap(t, gaps, period))


def _overlap(t: NDArray[np.float64], gaps: NDArray[np.int64], period: float) -> bool:
    """Tell whether at most gaps the lags of the two seconds before and of those behind have values in common."""
    beside = min(max(FEWEST_BESIDE, round(BESIDE_S / 4 / period)), len(t) // 2)
    typical = float(np.median(t[beside:] - t[:-beside])) / beside
    lag = t - np.arange(len(t)) * typical
    chosen = gaps[:: max(1, len(gaps) // MOST_LOOKED_AT)]
    both = [
        np.quantile(lag[max(0, gap - beside) : gap], 0.9) > np.quantile(lag[gap : gap + beside], 0.1)
        for gap in chosen
    ]
    return float(np.mean(both)) >= MOST_OF_THEM


def _level(
    t: NDArray[np.float64], inside: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], float, float] | None:
    """Return which gaps behind the first sample are true, the period, and how late samples are, in periods.

    None where the floor is not level.
    """
    span = float(t[-1] - t[0])
    if len(t) < 2 * FEWEST_STRETCHES or span <= 0:
        return None
    counts = {min(int(span / length), MOST_STRETCHES, len(t) // 2) for length in LENGTHS_S}
    for count in sorted(counts, reverse=True):
        if count < FEWEST_STRETCHES:
            continue
        edges = np.linspace(0, len(t), count + 1).astype(int)
        lag, period = _lag(t, edges)
        floor = np.minimum.reduceat(lag, edges[:-1])
        if floor.max() - floor.min() < LEVEL * period:
            late = float(np.quantile(lag, LATE)) / period
            return _at_the_end(lag / period, inside, int(edges[-2])), period, late
    return None


def _lag(t: NDArray[np.float64], edges: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Return the lags behind the line through the earliest sample of each stretch, s, and its seconds per sample."""
    index = np.arange(len(t))
    mean = (t[-1] - t[0]) / (len(t) - 1)
    rough = t - t[0] - index * mean
    stretches = itertools.pairwise(edges.tolist())
    earliest = np.array([low + int(rough[low:high].argmin()) for low, high in stretches])
    slope, start = np.polyfit(earliest, rough[earliest], 1)
    return rough - start - slope * index, float(mean + slope)


def _at_the_end(lag: NDArray[np.float64], inside: NDArray[np.int64], last: int) -> NDArray[np.bool_]:
    """Return which gaps are true: such in the last stretch behind which all is later than anything before it."""
    true = np.zeros(len(inside), bool)
    latest = lag[:last].max()
    for gap in last + np.flatnonzero(inside[last - 1 :]):
        true[gap - 1] = lag[gap:].min() > latest + LEVEL
    return true


def _counted(t: NDArray[np.float64], lost: NDArray[np.int64], period: float) -> NDArray[np.int64]:
    """Count anew what was lost at known gaps: by the earliest samples of some seconds on either side."""
    counted, lag = np.zeros_like(lost), t - t[0] - np.arange(len(t)) * period
    beside = max(1, round(BESIDE_S / period))
    gaps = np.flatnonzero(lost)
    bounds = [0, *gaps.tolist(), len(t)]
    for low, gap, high in zip(bounds, bounds[1:], bounds[2:], strict=False):
        before = lag[max(low, gap - beside) : gap].min()
        after = lag[gap : min(high, gap + beside)].min()
        counted[gap] = max(round(float(after - before) / period), 0)
    return counted
