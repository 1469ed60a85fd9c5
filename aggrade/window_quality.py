"""How good windows are: numbers that are stored beside the samples and never applied to them.

``docs/windows.md`` has the rule of each. Everything is worked out per window and channel from the samples in their
slots, so whoever has the store can work it out again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "COUPLING_S",
    "LINE_HZ",
    "extremes",
    "line_noise",
    "longest_gap",
    "on_rail",
    "pairs_of",
    "scalp_coupling",
]

LINE_HZ = (50.0, 60.0)
COUPLING_S = 10.0
_HEARTBEAT_HZ = (0.5, 2.5)
_LINE_WIDTH_HZ = 1.0
_FEWEST_BINS = 2
_CHROMOPHORES = ("hbo", "hbr", "hbt")
_WAVELENGTH = re.compile(r"(.*\S)[ _](\d+(?:\.\d+)?)(?: ?nm)?")
_LIGHT_NM = (500.0, 1100.0)
_MOST_WAVELENGTHS = 8


def extremes(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the largest and the smallest sample, (window, channel); NaN where there is none.

    Parameters
    ----------
    values
        (window, channel, slot).
    """
    return np.fmax.reduce(values, axis=2), np.fmin.reduce(values, axis=2)


def longest_gap(empty: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the longest run of empty slots of each window, (window,).

    Parameters
    ----------
    empty
        (window, slot).
    """
    count = np.cumsum(empty, axis=1)
    before = np.maximum.accumulate(np.where(empty, 0, count), axis=1)
    return np.asarray((count - before).max(axis=1))


def on_rail(
    values: NDArray[np.float32],
    high: NDArray[np.float32],
    low: NDArray[np.float32],
    rails: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Return the part of the real samples that is held at an end of the channel's range, (window, channel).

    Parameters
    ----------
    values
        (window, channel, slot).
    high, low
        (window, channel), as `extremes` returns them.
    rails
        (channel,) largest and smallest sample of the channel in all windows of the session.
    """
    part = np.where(np.isnan(high), np.float32(np.nan), np.float32(0))
    window, channel = np.nonzero((high == rails[0]) | (low == rails[1]))
    if len(window):
        x = values[window, channel]
        ends = (x == rails[0][channel, None]) | (x == rails[1][channel, None])
        same = np.zeros((len(x), x.shape[1] + 1), bool)
        same[:, 1:-1] = x[:, 1:] == x[:, :-1]
        held = ends & (same[:, 1:] | same[:, :-1])
        part[window, channel] = held.sum(axis=1) / np.isfinite(x).sum(axis=1)
    return part


def line_noise(
    values: NDArray[np.float32], seconds: float, frequencies: Sequence[float] = LINE_HZ
) -> NDArray[np.float32]:
    """Return the power at the mains' frequency / that beside it, (window, channel); of several, the larger.

    Parameters
    ----------
    values
        (window, channel, slot); where a sample is missing, the result is NaN.
    seconds
        Length of the span.
    frequencies
        Those of the mains that come into question, Hz; one that the rate is too low for is left out.
    """
    found = np.full(values.shape[:2], np.nan)
    half = max(_FEWEST_BINS, round(_LINE_WIDTH_HZ * seconds))
    middles = [round(frequency * seconds) for frequency in frequencies]
    known = [
        middle
        for middle in middles
        if middle - 3 * half >= _FEWEST_BINS and middle + 3 * half < values.shape[2] // 2
    ]
    if known:
        spectrum = _Spectrum(values)
        for middle in known:
            power = np.abs(spectrum.bins(middle - 3 * half, middle + 3 * half)) ** 2
            line = power[..., 2 * half : 4 * half + 1]
            beside = (power.sum(axis=2) - line.sum(axis=2)) / (4 * half)
            found = np.fmax(found, _ratio(line.mean(axis=2), beside))
    return found.astype(np.float32)


def pairs_of(names: Sequence[str], types: Sequence[str]) -> list[tuple[int, ...]]:
    """Return which channels see the same place with several wavelengths.

    Parameters
    ----------
    names, types
        Of the channels. Names that differ in the wavelength at their end alone belong together (``S1_D1 760``,
        ``S1_D1 850``): a number from 500 to 1100 behind a space or an underscore. Concentrations (``hbo``,
        ``hbr``, ``hbt``) have none.

    Returns
    -------
    list of tuple of int
        The channels of each place that has from two to eight.
    """
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, (name, kind) in enumerate(zip(names, types, strict=True)):
        match = _WAVELENGTH.fullmatch(name.strip())
        if match and _is_light(float(match[2])) and not kind.lower().startswith(_CHROMOPHORES):
            places[match[1], kind].append(index)
    return [tuple(found) for found in places.values() if 1 < len(found) <= _MOST_WAVELENGTHS]


def _is_light(nanometres: float) -> bool:
    return _LIGHT_NM[0] <= nanometres <= _LIGHT_NM[1]


def scalp_coupling(
    values: NDArray[np.float32], seconds: float, pairs: Sequence[tuple[int, ...]]
) -> NDArray[np.float32]:
    """Return the scalp-coupling index, (window, channel), from -1 to 1.

    It is the correlation of the heartbeat that the wavelengths of one place see [1]_; with more than two of them,
    the smallest of any two. Channels that belong to no pair have NaN.

    Parameters
    ----------
    values
        (window, channel, slot); where a sample of the pair is missing, the result is NaN.
    seconds
        Length of the span that was given; below 10 s the result is NaN.
    pairs
        As `pairs_of` returns them.

    References
    ----------
    .. [1] Pollonini et al., Hearing Research 309 (2014) 84-93, https://doi.org/10.1016/j.heares.2013.11.007
    """
    found = np.full(values.shape[:2], np.nan, np.float32)
    first, last = (round(edge * seconds) for edge in _HEARTBEAT_HZ)
    if not pairs or seconds < COUPLING_S or last >= values.shape[2] // 2:
        return found
    spectrum = _Spectrum(values).bins(first, last)
    power = (np.abs(spectrum) ** 2).sum(axis=2)
    for channels in pairs:
        both = [
            _ratio(
                (spectrum[:, one] * spectrum[:, other].conj()).real.sum(axis=1),
                np.sqrt(power[:, one] * power[:, other]),
            )
            for one, other in combinations(channels, 2)
        ]
        found[:, list(channels)] = np.min(both, axis=0)[:, None]
    return found


class _Spectrum:
    """Fourier coefficients of windows (window, channel, slot) less their means, under a Hann window."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        from scipy.fft import rfft

        with np.errstate(invalid="ignore", over="ignore"):
            self._plain = rfft(values - values.mean(axis=2, keepdims=True), axis=2, overwrite_x=True)

    def bins(self, first: int, last: int) -> NDArray[np.complex128]:
        """Return the coefficients from `first` to `last`, both counted, neither the first nor the last of all."""
        plain = self._plain[..., first - 1 : last + 2].astype(np.complex128)
        return np.asarray(plain[..., 1:-1] / 2 - (plain[..., :-2] + plain[..., 2:]) / 4)


def _ratio(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; by zero gives NaN."""
    return np.asarray(np.divide(one, other, out=np.full(one.shape, np.nan), where=other > 0))
