"""Carrying out pieces in strips, whose pieces share what they read, under any ``map``.

A strip is what a worker gets: it does its pieces one behind the other and keeps in memory what the next one needs. Each
piece is recorded as it ends, so that a strip that died is gone on with at the piece where it was.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggrade.rechunking.rolling import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aggrade.rechunking.plan import Piece
    from aggrade.rechunking.pricing import ArrayPlan

__all__ = ["InStrip", "Strip", "in_strips", "strips_of"]


@dataclass(frozen=True)
class InStrip:
    """A piece with what its strip has in memory.

    Parameters
    ----------
    piece, window
        Both.
    """

    piece: Piece
    window: Window

    @property
    def digest(self) -> str:
        """The piece's."""
        return self.piece.digest


@dataclass(frozen=True)
class Strip:
    """Pieces that one worker does one behind the other.

    Parameters
    ----------
    pieces
        In that order.
    """

    pieces: tuple[Piece, ...]

    @property
    def digest(self) -> str:
        """Names what it writes; that of a piece that is alone."""
        digests = [piece.digest for piece in self.pieces]
        return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return sum(piece.size for piece in self.pieces)


def strips_of(pieces: Iterable[Piece], arrays: Mapping[str, ArrayPlan]) -> list[Strip]:
    """Return pieces in strips, in the same order.

    Parameters
    ----------
    pieces
        Those of a strip next to each other, as a plan has them; some may be missing.
    arrays
        The plan of each array.
    """

    def strip(piece: Piece) -> tuple[Any, ...]:
        rolling = arrays[piece.variable].rolling
        if rolling is None:
            return (piece.variable, piece.bounds)
        corner = [start // length for (start, _), length in zip(piece.bounds, rolling.strip, strict=True)]
        return (piece.variable, corner)

    return [Strip(tuple(found)) for _, found in itertools.groupby(pieces, strip)]


def in_strips(
    map: Callable[..., Iterable[Any]],  # noqa: A002 - it is a map, handed in
    arrays: Mapping[str, ArrayPlan],
) -> Callable[..., Iterator[Any]]:
    """Return a ``map`` over pieces that sends them out by whole strips.

    Parameters
    ----------
    map
        Runs the strips.
    arrays
        The plan of each array.
    """

    def run(work: Callable[[Any], Any], pieces: Sequence[Piece]) -> Iterator[Any]:
        strips = strips_of(pieces, arrays)
        if len(strips) == len(pieces):
            yield from map(work, pieces)
            return
        for results in map(functools.partial(_carried_out, work), strips):
            yield from results

    return run


def _carried_out(work: Callable[[Any], Any], strip: Strip) -> list[Any]:
    window = Window()
    return [work(InStrip(piece, window)) for piece in strip.pieces]
