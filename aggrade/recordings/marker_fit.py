"""Two clocks that saw the same events: which markers are the same, and the line that brings one to the other.

Markers may be missing on either side, come late, or be of other events; what they say may be coded in another
way. A line (offset and drift) is believed if enough markers lie on it, and if no other line is as good.
``docs/windows.md`` has the rule with its numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Marked", "MarkerFit", "NoFit", "fit_markers"]

LARGEST_DRIFT = 0.01
LIKELY_DRIFT = 1e-4
FEWEST = 3
SLACK_S = 0.05
RIVAL, MOST = 0.7, 2 / 3
DECISIVE = 7.0
_BLOCK, _BLOCKS, _KEPT = 40, 5, 60
_ROUNDS = 30
_FLOOR_S = 5e-4
_TECHNICAL = ("bad", "boundary", "edge boundary", "new segment")


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """The markers of one clock.

    Parameters
    ----------
    t
        (marker,) float64 onsets on that clock, s, growing.
    text
        What each says.
    period
        Seconds per sample of the stream on that clock: markers may have been rounded to it.
    span
        First and last stamp of that stream, s.
    named
        Whether the user said that these are the markers to go by.
    """

    t: NDArray[np.float64]
    text: tuple[str, ...]
    period: float
    span: tuple[float, float]
    named: bool = False

    @classmethod
    def of(
        cls,
        markers: Sequence[tuple[float, str]],
        period: float,
        span: tuple[float, float],
        *,
        named: bool = False,
    ) -> Marked:
        """Sort markers, and leave out what software marks by itself.

        Parameters
        ----------
        markers
            Onset in s and text of each.
        period, span, named
            As above.
        """
        kept = sorted(item for item in markers if not item[1].lower().startswith(_TECHNICAL))
        return cls(np.array([t for t, _ in kept]), tuple(text for _, text in kept), period, span, named)

    def listed(self, most: int = 8) -> str:
        """Return the markers as a text for people."""
        shown = [f"{text!r} at {t:.3f} s" for t, text in zip(self.t[:most], self.text, strict=False)]
        more = [f"… {len(self.t)} in all"] if len(self.t) > most else []
        return ", ".join([*shown, *more]) or "none"


@dataclass(frozen=True, slots=True)
class MarkerFit:
    """The line ``offset + rate * t`` from the other clock to the first one.

    Parameters
    ----------
    offset, rate
        s, and seconds of the first clock per second of the other.
    matched
        How many markers lie on it.
    rms_s, largest_s
        Residual of those, s.
    resolution_s
        How well stamps are placed by it, s: the largest residual, or what the line is uncertain by at the end of
        the stream, if that is more.
    by
        What the markers were told by.
    ways
        How many lines were as good; above 1 something else told which.
    """

    offset: float
    rate: float
    matched: int
    rms_s: float
    largest_s: float
    resolution_s: float
    by: str
    ways: int


@dataclass(frozen=True, slots=True)
class NoFit:
    """Why there is no line: the reason as a text, and how many texts both sides have."""

    reason: str
    common: int


class _Sides(NamedTuple):
    """Markers of both clocks; keys are equal where markers may be the same. The other's times begin near 0."""

    t: NDArray[np.float64]
    key: NDArray[np.int64]
    other: NDArray[np.float64]
    other_key: NDArray[np.int64]
    limit: float

    @property
    def wide(self) -> float:
        """More seconds than any two markers are apart, so that keys can be added to times."""
        return 4.0 * (float(np.ptp(self.t)) + float(np.ptp(self.other)) + 1.0)


class _Line(NamedTuple):
    """A line, the pairs on it, and their residuals in s."""

    offset: float
    drift: float
    one: NDArray[np.intp]
    two: NDArray[np.intp]
    residual: NDArray[np.float64]

    @property
    def rms(self) -> float:
        return float(np.sqrt(np.mean(self.residual**2))) if len(self.residual) else float("inf")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _code(text: str) -> str:
    """Return the last number in a text: ``Stimulus/S  1``, ``S1``, ``1.0`` and ``1`` are all 1."""
    numbers = re.findall(r"\d+(?:\.\d+)?", text)
    return f"{float(numbers[-1]):g}" if numbers else ""


_READINGS: tuple[tuple[str, Callable[[str], str]], ...] = (("text", _plain), ("number in the text", _code))


def fit_markers(
    one: Marked, other: Marked, near: Callable[[float], float] | None = None, within: float = 0.0
) -> MarkerFit | NoFit:
    """Bring the clock of one set of markers to that of another.

    Markers are told by what they say, then by the numbers in it, then, where the user named the markers on
    both sides, by their intervals alone.

    Parameters
    ----------
    one, other
        The clock that stays, and the one that is brought to it.
    near
        Where lines are as good as each other: the stamp on the first clock that a stamp on the other is known
        to belong to otherwise.
    within
        To how many seconds.
    """
    if not len(one.t) or not len(other.t):
        return NoFit("no markers on one side", 0)
    failures: list[NoFit] = []
    readings = [*_READINGS, *([("interval", lambda _: "*")] if one.named and other.named else [])]
    for by, reading in readings:
        sides = _sides(one, other, reading)
        if sides is None:
            continue
        found = _fit(sides, other, by, near, within)
        if isinstance(found, MarkerFit):
            return found
        failures.append(found)
    return max(failures, key=lambda item: item.common, default=NoFit("no text in common", 0))


def _sides(one: Marked, other: Marked, reading: Callable[[str], str]) -> _Sides | None:
    """Keep the markers whose texts, as read, both sides have."""
    keys, other_keys = [reading(text) for text in one.text], [reading(text) for text in other.text]
    common = {key: index for index, key in enumerate(sorted(set(keys) & set(other_keys) - {""}))}
    if not common:
        return None
    kept = [index for index, key in enumerate(keys) if key in common]
    other_kept = [index for index, key in enumerate(other_keys) if key in common]
    limit = SLACK_S + max(one.period, other.period)
    return _Sides(
        one.t[kept],
        np.array([common[keys[index]] for index in kept]),
        other.t[other_kept],
        np.array([common[other_keys[index]] for index in other_kept]),
        limit,
    )


def _fit(
    given: _Sides, other: Marked, by: str, near: Callable[[float], float] | None, within: float
) -> MarkerFit | NoFit:
    middle = float(np.mean(given.other))
    sides = given._replace(other=given.other - middle)
    common = min(len(sides.t), len(sides.other))
    if common < FEWEST:
        return NoFit(f"{common} of the same {by}, at least {FEWEST} are needed", common)
    lines = _distinct(_lines(sides), sides)
    rivals = _rivals(lines)
    ways = len(rivals)
    if len(rivals) > 1 and near is not None:
        expected = near(middle)
        rivals = [line for line in rivals if abs(line.offset - expected) <= within]
    if len(rivals) > 1:
        return NoFit(f"{len(rivals)} ways to lay them over each other by their {by}", common)
    if not rivals or len(rivals[0].one) < max(FEWEST, MOST * _shared(rivals[0], sides)):
        matched = len(rivals[0].one) if rivals else 0
        return NoFit(f"{matched} of the same {by} at the same intervals, too few", common)
    found = _accepted(_trimmed(rivals[0], sides), sides, other, middle)
    if isinstance(found, str):
        return NoFit(f"{found} of the same {by}", common)
    return replace(found, by=by, ways=ways)


def _lines(sides: _Sides) -> Iterator[_Line]:
    """Yield lines that markers lie on: blocks of the side with fewer markers are laid over all of the other's."""
    same = sides.key[:, None] == sides.other_key[None, :]
    fewer = min(same.shape)
    tried: set[tuple[int, int]] = set()
    guesses: list[tuple[int, float, float]] = []
    for start in np.unique(np.linspace(0, max(fewer - _BLOCK, 0), _BLOCKS).astype(int)):
        block = np.zeros(fewer, bool)
        block[start : start + _BLOCK] = True
        which, where = np.nonzero(same & (block[:, None] if fewer == len(same) else block[None, :]))
        guesses += _guesses(sides.t[which], sides.other[where], sides.limit)
    for _, offset, drift in sorted(guesses, reverse=True):
        place = (round(offset / sides.limit), round(drift * float(np.ptp(sides.other)) / sides.limit))
        if len(tried) < _KEPT and place not in tried:
            tried.add(place)
            yield _grown(offset, drift, sides)


def _guesses(
    t: NDArray[np.float64], other: NDArray[np.float64], limit: float
) -> list[tuple[int, float, float]]:
    """Return (markers, offset, drift) of the offsets that most pairs share, for each drift of a fine grid.

    The pairs (pair,) are of markers that may be the same; offsets up to `limit` apart are called one, s.
    """
    about, span = float(np.mean(other)), min(float(np.ptp(t)), float(np.ptp(other)))
    steps = int(np.ceil(LARGEST_DRIFT * span / limit)) + 1
    best: list[tuple[int, float, float]] = []
    for drift in np.linspace(-LARGEST_DRIFT, LARGEST_DRIFT, 2 * steps + 1):
        offsets = np.sort(t - other - drift * (other - about))
        count = np.searchsorted(offsets, offsets + limit, "right") - np.arange(len(offsets))
        for first in np.argsort(-count, kind="stable")[:_KEPT]:
            offset = float(np.mean(offsets[first : first + count[first]]))
            best.append((int(count[first]), offset - float(drift) * about, float(drift)))
    return sorted(best, reverse=True)[: 4 * _KEPT]


def _grown(offset: float, drift: float, sides: _Sides) -> _Line:
    """Match markers by a line and fit the line to them, until neither changes."""
    line = _matched(offset, drift, sides)
    for _ in range(_ROUNDS):
        if len(line.one) < 2:
            break
        fresh = _matched(*_least_squares(sides.t[line.one], sides.other[line.two]), sides)
        done = np.array_equal(fresh.one, line.one) and np.array_equal(fresh.two, line.two)
        line = fresh
        if done:
            break
    return line


def _matched(offset: float, drift: float, sides: _Sides) -> _Line:
    """Pair each marker with the nearest of its key on the other side, if that is mutual and within the limit."""
    drift = float(np.clip(drift, -LARGEST_DRIFT, LARGEST_DRIFT))
    here = sides.t - offset + sides.key * sides.wide
    there = sides.other * (1 + drift) + sides.other_key * sides.wide
    order = np.argsort(here, kind="stable")
    nearest = order[_nearest(here[order], there)]
    apart = np.abs(here[nearest] - there)
    by_distance = np.lexsort((apart, nearest))
    first = np.append(True, np.diff(nearest[by_distance]) > 0)
    chosen = np.sort(by_distance[first])
    two = chosen[apart[chosen] <= sides.limit]
    one = nearest[two]
    return _Line(offset, drift, one, two, here[one] - there[two])


def _nearest(grown: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the index of the nearest element of a growing array for each value."""
    right = np.clip(np.searchsorted(grown, values), 1, max(len(grown) - 1, 1))
    right = np.minimum(right, len(grown) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(values - grown[left] <= grown[right] - values, left, right)


def _least_squares(t: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """Return offset and drift of ``t = offset + (1 + drift) other``; two pairs say nothing of a drift."""
    about, apart = float(np.mean(other)), t - other
    spread = float(np.sum((other - about) ** 2))
    drift = float(np.sum((other - about) * apart)) / spread if len(t) > 2 and spread > 0 else 0.0
    return float(np.mean(apart)) - drift * about, drift


def _distinct(lines: Iterator[_Line], sides: _Sides) -> list[_Line]:
    """Return lines that lie apart, those with most markers first and then with the smallest residual."""
    kept: list[_Line] = []
    for line in sorted(lines, key=lambda item: (-len(item.one), item.rms)):
        pairs = set(zip(line.one.tolist(), line.two.tolist(), strict=True))
        taken = (set(zip(item.one.tolist(), item.two.tolist(), strict=True)) for item in kept)
        close = (abs(line.offset - item.offset) <= 2 * sides.limit for item in kept)
        if not any(
            near or len(pairs & other) > len(pairs) / 2 for near, other in zip(close, taken, strict=True)
        ):
            kept.append(line)
    return kept


def _rivals(lines: list[_Line]) -> list[_Line]:
    """Return the best line and those that are nearly as good: as many markers, and a residual like its own."""
    if not lines:
        return []
    best = min((line for line in lines if len(line.one) >= RIVAL * len(lines[0].one)), key=_badness)
    enough = max(FEWEST, RIVAL * len(best.one))

    def rivals(line: _Line) -> bool:
        return len(line.one) * float(np.log(max(line.rms, _FLOOR_S) / max(best.rms, _FLOOR_S))) < DECISIVE

    others = (line for line in lines if line is not best and len(line.one) >= enough)
    return [best, *(line for line in others if rivals(line))]


def _badness(line: _Line) -> float:
    return float(len(line.one) * (np.log(max(line.rms, _FLOOR_S)) - 10))


def _shared(line: _Line, sides: _Sides) -> int:
    """Return how many markers either side has in the time that both span, whichever has fewer."""
    other = line.offset + (1 + line.drift) * sides.other
    low, high = max(sides.t.min(), other.min()), min(sides.t.max(), other.max())
    counts = [
        np.count_nonzero((t >= low - sides.limit) & (t <= high + sides.limit)) for t in (sides.t, other)
    ]
    return int(min(counts))


def _trimmed(line: _Line, sides: _Sides) -> _Line:
    """Leave out markers that are far off for their kind, and fit the others."""
    off = np.abs(line.residual - np.median(line.residual))
    kept = off <= max(4.5 * float(np.median(off)), 2 * _FLOOR_S)
    if np.count_nonzero(kept) < FEWEST:
        return line
    one, two = line.one[kept], line.two[kept]
    offset, drift = _least_squares(sides.t[one], sides.other[two])
    return _Line(offset, drift, one, two, sides.t[one] - offset - (1 + drift) * sides.other[two])


def _accepted(line: _Line, sides: _Sides, other: Marked, middle: float) -> MarkerFit | str:
    """Refuse a line that markers scatter about; drop a drift that they don't show; say how well it is known."""
    if line.rms > sides.limit / 2:
        return f"a residual of {line.rms:.3f} s, above {sides.limit / 2:.3f} s (root mean square), of {len(line.one)}"
    x, apart = sides.other[line.two], sides.t[line.one] - sides.other[line.two]
    spread, free = float(np.sum((x - x.mean()) ** 2)), len(x) - 2
    scatter = float(np.sqrt(np.sum(line.residual**2) / free))
    unsure = scatter / float(np.sqrt(spread)) if spread > 0 else np.inf
    offset, drift, residual = line.offset, line.drift, line.residual
    if abs(drift) <= (4 + 60 / free**3) * unsure:
        offset, drift = float(np.mean(apart)), 0.0
        residual, unsure = apart - offset, min(unsure, LIKELY_DRIFT)
    reach = max(abs(end - middle - float(x.mean())) for end in other.span)
    at_the_end = 2 * float(np.hypot(scatter / np.sqrt(len(x)), unsure * reach))
    largest, rms = float(np.abs(residual).max()), float(np.sqrt(np.mean(residual**2)))
    rate = 1.0 + drift
    return MarkerFit(offset - rate * middle, rate, len(x), rms, largest, max(largest, at_the_end), "", 1)
