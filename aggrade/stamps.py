"""What stored time stamps say: the real rate, the samples that were lost, and regular times.

A declared rate is not believed, and no sample is moved across a gap. A sample that comes late and is followed
by others that catch up was delayed; one after which all others stay late follows a gap. ``docs/windows.md``
has the rule with its formulae.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.packets import come_late, without_false_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Timing", "check_stamps", "timing_of"]

ROUNDS = 3
EXACT = 1e-6
SMOOTHED = 64
SMOOTHED_S = 8.0
CATCH_UP_S = 0.25
CATCH_UP_SAMPLES = 16
LARGEST_STEP_BACK_S = 1.0
LARGEST_PAUSE_S = 86400.0


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """The timing of one stream.

    Parameters
    ----------
    rate
        Samples per second while the stream ran, Hz, gaps left out.
    jitter
        Root mean square of stamp - regular time, s.
    lost
        (sample,) int64, how many samples were lost between the sample before and this one.
    number
        (sample,) int64, the sample's number when lost ones are counted too; the first is 0.
    regular
        (sample,) float64, s: the stamps with their jitter smoothed away between gaps; the stamps themselves
        where none is off by a millionth of a period.
    """

    rate: float
    jitter: float
    lost: NDArray[np.int64]
    number: NDArray[np.int64]
    regular: NDArray[np.float64]

    @property
    def period(self) -> float:
        """Seconds per sample."""
        return 1.0 / self.rate

    def on(self, shift: float, rate: float = 1.0) -> Timing:
        """Return the same timing on the clock that shows ``shift + rate * t`` when this one shows ``t``."""
        regular = self.regular * rate + shift
        return replace(self, rate=self.rate / rate, jitter=self.jitter * rate, regular=regular)

    @property
    def gaps(self) -> int:
        """How many gaps there are."""
        return int(np.count_nonzero(self.lost))


def check_stamps(t: NDArray[np.float64], where: str) -> None:
    """Refuse stamps that no rule can make sense of.

    Parameters
    ----------
    t
        (sample,) stamps, s.
    where
        The stream, as the user knows it.

    Raises
    ------
    BadInput
        If a stamp is not a number, or the clock was set back by more than a second, stood still, or jumped by
        more than a day.
    """
    if not np.isfinite(t).all():
        found = f"{np.count_nonzero(~np.isfinite(t))} stamps that are no numbers"
        raise BadInput(Problem(where, found, "finite time stamps", "export the recording anew", "stamps"))
    step = float(np.diff(t).min(initial=0.0))
    if step < -LARGEST_STEP_BACK_S:
        found = f"a clock that goes back by {-step:.3f} s"
        raise BadInput(Problem(where, found, "stamps that grow", "split the recording there", "clock-back"))
    if (pause := float(np.diff(t).max(initial=0.0))) > LARGEST_PAUSE_S:
        found, expected = f"a pause of {pause / 3600:.1f} hours", "a recording without a pause of a day"
        fix = "give the parts as sessions of their own, or export the recording anew"
        raise BadInput(Problem(where, found, expected, fix, "clock-jump"))
    if t[-1] <= t[0]:
        found = "stamps that stand still"
        raise BadInput(Problem(where, found, "stamps that grow", "export the recording anew", "stamps"))


def timing_of(t: NDArray[np.float64]) -> Timing:
    """Find out how a stream ran.

    Parameters
    ----------
    t
        (sample,) float64 stamps as stored, s; at least two, as `check_stamps` demands them.
    """
    period = _first_period(t)
    lost = _lost(t, period)
    for _ in range(ROUNDS):
        period = _mean_step(t, lost, period)
        lost = _lost(t, period)
    half = SMOOTHED
    if come_late(t, lost, period):
        lost, period = without_false_loss(t, lost, period)
        half = max(SMOOTHED, round(SMOOTHED_S / period))
    number = np.arange(len(t)) + np.cumsum(lost)
    regular = _regular(t, number, period, lost, half)
    jitter = float(np.sqrt(np.mean((t - regular) ** 2)))
    if np.abs(t - regular).max() < EXACT * period:
        jitter, regular = 0.0, np.array(t)
    return Timing(1.0 / period, jitter, lost, number, regular)


def _mean_step(t: NDArray[np.float64], lost: NDArray[np.int64], otherwise: float) -> float:
    """Return the mean time between samples, gaps left out."""
    steps = np.diff(t)[lost[1:] == 0]
    total = float(steps.sum())
    return total / len(steps) if total > 0 else otherwise


def _first_period(t: NDArray[np.float64]) -> float:
    """Return the median time between samples, over as many of them as makes bursts harmless."""
    apart = max(1, min(32, (len(t) - 1) // 8))
    period = float(np.median(t[apart:] - t[:-apart])) / apart
    return period if period > 0 else float(t[-1] - t[0]) / (len(t) - 1)


def _lost(t: NDArray[np.float64], period: float) -> NDArray[np.int64]:
    """Count what was lost before each sample: by how many periods the lag has risen for good."""
    lost = np.zeros(len(t), np.int64)
    late = np.flatnonzero(np.diff(t) >= 1.5 * period) + 1
    if len(late):
        ahead = min(max(CATCH_UP_SAMPLES, round(CATCH_UP_S / period)), len(t))
        lag = np.append(t - t[0] - np.arange(len(t)) * period, np.full(ahead + 1, np.inf))
        lasting = np.minimum.reduceat(lag, np.stack([late, late + ahead], axis=1).ravel())[::2]
        lost[late] = np.maximum(np.rint((lasting - lag[late - 1]) / period), 0)
    return lost


def _regular(
    t: NDArray[np.float64], number: NDArray[np.int64], period: float, lost: NDArray[np.int64], most: int
) -> NDArray[np.float64]:
    """Replace each sample's lag by the mean over its neighbours, none beyond a gap.

    There are as many on either side, but where more of them are asked for than of single samples that jitter: near a gap
    a few packets say little.
    """
    grid = number * period
    lag = t - grid
    index = np.arange(len(t))
    bounds = np.append(np.flatnonzero(np.append(True, lost[1:] > 0)), len(t))
    length = np.diff(bounds)
    before, after = index - np.repeat(bounds[:-1], length), np.repeat(bounds[1:], length) - 1 - index
    if most == SMOOTHED:
        before = after = np.minimum(before, after)
    low, high = index - np.minimum(before, most), index + np.minimum(after, most) + 1
    total = np.concatenate([[0.0], np.cumsum(lag - lag[0])])
    smooth = lag[0] + (total[high] - total[low]) / (high - low)
    return np.maximum.accumulate(grid + smooth)
