"""When the segments of a BrainVision recording began: a recorder that was paused goes on in the same file.

Samples lie in the file as if there had been no pause; only the markers ``New Segment`` say when each began.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Segments", "read_segments"]

_NEW_SEGMENT = re.compile(r"^Mk\d+=New Segment,[^,]*,(\d+),[^,]*,[^,]*(?:,(\d{14,20}))?", re.MULTILINE)


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of a recording.

    Parameters
    ----------
    first
        (segment,) index of the first sample of each, growing; the first is 0.
    later
        (segment,) s by which samples of it are later than their number says.
    undated
        How many segments but the first do not say when they began: they are taken to follow at once.
    """

    first: NDArray[np.int64]
    later: NDArray[np.float64]
    undated: int

    def shift(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return by how much samples are later than their number says, s; `samples` are their indices."""
        return np.asarray(self.later[np.searchsorted(self.first, samples, "right") - 1])


def read_segments(path: Path, rate: float) -> Segments:
    """Read where segments begin, and when.

    Parameters
    ----------
    path
        The file of markers, ``.vmrk``.
    rate
        Samples per second.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = {int(match[1]) - 1: _moment(match[2]) for match in _NEW_SEGMENT.finditer(text)}
    begins = {0: rows.get(0), **{place: moment for place, moment in sorted(rows.items()) if place > 0}}
    origin, later = begins[0], [0.0]
    for place, moment in list(begins.items())[1:]:
        gap = 0.0
        if origin is not None and moment is not None:
            gap = (moment - origin).total_seconds() - place / rate
        later.append(max(gap, later[-1]))
    undated = sum(moment is None for moment in list(begins.values())[1:]) if origin else len(begins) - 1
    return Segments(np.array(list(begins), np.int64), np.array(later), undated)


def _moment(text: str | None) -> datetime | None:
    """Read year, month, day, hour, minute, second and up to six digits of its fraction."""
    try:
        return datetime.strptime(f"{text:0<20}"[:20], "%Y%m%d%H%M%S%f") if text else None  # noqa: DTZ007 - no zone is stated
    except ValueError:
        return None
