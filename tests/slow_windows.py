"""Windows as docs/windows.md defines them, in plain loops over Python numbers: slow, and nothing of aggrade's.

Samples are lists; None is a missing one. Times are s. A `Track` is what one modality is to the windows.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

__all__ = ["Track", "cut", "starts_of", "track_of"]


@dataclass
class Track:
    """One modality: regular times, numbers with the lost ones counted, and what follows from them."""

    r: list[float]
    k: list[int]
    lost: list[int]
    period: float
    jitter: float
    x: list[list[float]]
    span: float = 0.0
    offset: float = 0.0
    slots: int = 0

    @property
    def low(self) -> float:
        """Earliest start of a window."""
        return self.r[0] - self.offset

    @property
    def high(self) -> float:
        """Latest start of a window."""
        return self.r[-1] + 1.5 * self.period - self.span - self.offset


def _lost(t: list[float], period: float) -> list[int]:
    ahead = max(16, round(0.25 / period))
    lag = [t[i] - t[0] - i * period for i in range(len(t))]
    lost = [0] * len(t)
    for i in range(1, len(t)):
        if t[i] - t[i - 1] >= 1.5 * period:
            lost[i] = max(0, round((min(lag[i : i + ahead]) - lag[i - 1]) / period))
    return lost


def track_of(t: list[float], x: list[list[float]]) -> Track:
    """Return what the stamps of a stream say."""
    n = len(t)
    m = max(1, min(32, (n - 1) // 8))
    period = statistics.median([t[i + m] - t[i] for i in range(n - m)]) / m
    lost = _lost(t, period)
    for _ in range(3):
        steps = [t[i] - t[i - 1] for i in range(1, n) if lost[i] == 0]
        period = math.fsum(steps) / len(steps)
        lost = _lost(t, period)
    k = [i + sum(lost[: i + 1]) for i in range(n)]
    r: list[float] = []
    for i in range(n):
        half = 0
        while (
            half < 64 and i - half > 0 and i + half < n - 1 and not lost[i - half] and not lost[i + half + 1]
        ):
            half += 1
        around = range(i - half, i + half + 1)
        smooth = k[i] * period + math.fsum(t[j] - k[j] * period for j in around) / len(around)
        r.append(max([smooth, *r[-1:]]))
    jitter = math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(t, r, strict=True)) / n)
    if max(abs(a - b) for a, b in zip(t, r, strict=True)) < period / 1e6:
        r, jitter = list(t), 0.0
    return Track(r, k, lost, period, jitter, x)


def starts_of(tracks: list[Track], stride: float, spec: dict[str, Any]) -> list[float]:
    """Return the starts of windows side by side; none where there are none."""
    both = spec.get("start", "overlap") == "overlap"
    low = (max if both else min)(track.low for track in tracks)
    high = (min if both else max)(track.high for track in tracks)
    shared = min(track.r[-1] + track.period for track in tracks) - max(track.r[0] for track in tracks)
    if high < low or shared <= 0:
        return []
    return [low + i * stride for i in range(math.floor((high - low) / stride + 1e-6) + 1)]


def cut(track: Track, start: float) -> dict[str, Any]:
    """Return one window of one modality: values by channel, coverage, surplus, longest gap."""
    tau = min(4 * track.jitter + track.period / 1e6, track.period / 4)
    begin = start + track.offset
    inside = [i for i, r in enumerate(track.r) if begin <= r + tau < begin + track.span]
    values: list[list[float | None]] = [[None] * track.slots for _ in track.x[0]]
    for rank, i in enumerate(inside):
        a = inside[0]
        before = max(0, math.floor((track.r[a] + tau - begin) / track.period))
        slot = (before if a == 0 else min(track.lost[a], before)) + track.k[i] - track.k[a]
        in_time = math.floor((track.r[i] + tau - begin) / track.period)
        while slot > max(rank, in_time) and slot + len(inside) - rank > track.slots:
            slot -= 1
        if slot < track.slots:
            for channel, number in enumerate(track.x[i]):
                values[channel][slot] = None if math.isnan(number) else number
    real = [any(row[slot] is not None for row in values) for slot in range(track.slots)]
    runs = "".join("1" if one else "0" for one in real).split("1")
    return {
        "values": values,
        "coverage": sum(real) / track.slots,
        "surplus": max(0, len(inside) - track.slots),
        "gap": max(map(len, runs)) * track.span / track.slots,
    }
