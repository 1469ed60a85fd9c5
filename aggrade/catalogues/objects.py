"""The object table: who the cube's first dimension is, sorted so that neighbours on the sky are neighbours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from aggrade.catalogues.epochs import as_text, ids_digested
from aggrade.catalogues.motion import Motion, moved
from aggrade.catalogues.positions import healpix, unit_vectors, within_turn
from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ObjectTable", "object_table"]


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """Objects, sorted by HEALPix index, then by id; those that were added later follow, sorted likewise each time.

    Parameters
    ----------
    ids
        (object,) int64 or text, each once.
    ra, dec
        (object,) float64 degrees, 0 ≤ ra < 360; NaN where no position is known.
    healpix
        (object,) int64, NESTED of order 29; -1 where no position is known.
    motion
        How they move, if that is known of any.
    """

    ids: NDArray[Any]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    healpix: NDArray[np.int64]
    motion: Motion | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, count: int) -> ObjectTable:
        """Return the table of the first objects."""
        motion = self.motion and self.motion.taken(slice(count))
        return ObjectTable(self.ids[:count], self.ra[:count], self.dec[:count], self.healpix[:count], motion)

    def at(self, mjd: float) -> ObjectTable:
        """Return the table with positions as they are at a time; itself if no motion is known."""
        if self.motion is None:
            return self
        ra, dec = moved(self.ra, self.dec, self.motion, mjd)
        return replace(self, ra=ra, dec=dec)

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self.ids, kind="stable")

    def indices(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Return (row,) int64: where each id is in the table, -1 if it isn't."""
        known = self.ids[self._order]
        wanted = ids if ids.dtype.kind == known.dtype.kind else _as(ids, known.dtype.kind)
        place = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
        if not len(known):
            return np.full(len(ids), -1, np.int64)
        return np.where(known[place] == wanted, self._order[place], -1).astype(np.int64)

    @cached_property
    def placed(self) -> NDArray[np.intp]:
        """(placed,) indices of the objects that have a position."""
        return np.flatnonzero(self.healpix >= 0)

    @cached_property
    def tree(self) -> cKDTree:
        """A k-d tree of the unit vectors of the placed objects."""
        return cKDTree(unit_vectors(self.ra[self.placed], self.dec[self.placed]))

    @cached_property
    def digest(self) -> str:
        """Digest of the whole table."""
        total = hashlib.sha256(self.ids.dtype.kind.encode())
        total.update(b"\0" * bool(len(self.ids)) + ids_digested(self.ids))
        for values in (self.ra, self.dec, *(self.motion or ())):
            total.update(values.tobytes())
        return total.hexdigest()


def _as(ids: NDArray[Any], kind: str) -> NDArray[Any]:
    """Return ids in the other type; text that is no whole number becomes an id that no table has."""
    if kind == "U":
        return as_text(ids)
    whole = np.full(len(ids), np.iinfo(np.int64).min, np.int64)
    for row, text in enumerate(ids.tolist()):
        digits = text.removeprefix("-")
        if digits.isdecimal() and digits.isascii() and str(int(text)) == text and abs(int(text)) < 1 << 63:
            whole[row] = int(text)
    return whole


def object_table(
    ids: NDArray[Any],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    where: str,
    motion: Motion | None = None,
) -> ObjectTable:
    """Sort objects into a table.

    Parameters
    ----------
    ids
        (object,) int64 or text.
    ra, dec
        (object,) degrees; right ascension from -180 to 360, both NaN where no position is known.
    where
        Where they come from, for errors.
    motion
        How they move, if that is known of any.

    Raises
    ------
    BadInput
        If an id occurs twice or a position is none.
    """
    raise_all(_problems(ids, ra, dec, where), BadInput)
    ra = within_turn(np.asarray(ra, np.float64))
    index = healpix(ra, dec)
    order = np.lexsort([ids, index])
    going = motion and motion.taken(order)
    return ObjectTable(ids[order], ra[order], np.asarray(dec, np.float64)[order], index[order], going)


def _problems(ids: NDArray[Any], ra: NDArray[Any], dec: NDArray[Any], where: str) -> Iterator[Problem]:
    known, counts = np.unique(ids, return_counts=True)
    if not len(ids):
        yield Problem(
            where, "no objects", "at least one", "give a table with objects, or none at all", "objects"
        )
    if len(known) < len(ids):
        found = f"{int((counts > 1).sum())} ids several times, such as {known[counts > 1][0]}"
        yield Problem(where, found, "each id once", "remove the repeated rows", "objects")
    for name, values, low, high in (("ra", ra, -180, 360), ("dec", dec, -90, 90)):
        outside = values[(values < low) | (values > high) | np.isinf(values)]
        if len(outside):
            found = f"{len(outside)} values of {name} such as {outside[0]:g}"
            yield Problem(where, found, f"degrees from {low} to {high}", "correct the table", "objects")
    if (np.isnan(ra) != np.isnan(dec)).any():
        yield Problem(
            where, "rows with half a position", "both ra and dec, or neither", "correct the table", "objects"
        )
