"""Building an object table from catalogues: the union of ids, or clusters of positions.

Positions are gathered as whole numbers (unit vectors in steps of 2⁻⁴², 5·10⁻⁸ arcsec), whose sums are exact, so
that the table is the same whatever the order of the files and however the work was divided. Without ids,
positions are first gathered in HEALPix pixels much smaller than the radius; pixels whose mean positions are
linked by steps of at most the radius are one object (friends of friends), at the mean of all its positions. What lies
farther from that mean than the radius, as it may in a long chain, is clustered by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from aggrade.catalogues.epochs import as_text
from aggrade.catalogues.ids import alike
from aggrade.catalogues.matching import nearest_objects
from aggrade.catalogues.objects import ObjectTable, object_table
from aggrade.catalogues.positions import HEALPIX_ORDER, chord, degrees_of, healpix, unit_vectors
from aggrade.errors import Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from aggrade.catalogues.epochs import EpochCatalogue
    from aggrade.catalogues.spec import MatchSpec

__all__ = ["Gathered", "clustered", "gather", "grown", "union", "united"]

_STEP = float(1 << 42)
_PIXELS_PER_RADIUS = 8
_PIXEL_ARCSEC = 58.6 * 3600


@dataclass(frozen=True, eq=False)
class Gathered:
    """Where rows of one id, or of one small pixel, lie.

    Parameters
    ----------
    keys
        (key,) ids, or int64 pixels; sorted, each once.
    sums
        (key, 3) int64: sum of the unit vectors of its rows that have a position, in steps of 2⁻⁴².
    counts
        (key,) int64: how many rows that were.
    """

    keys: NDArray[Any]
    sums: NDArray[np.int64]
    counts: NDArray[np.int64]


def _pixel_order(radius_arcsec: float) -> int:
    wanted = np.log2(_PIXEL_ARCSEC * _PIXELS_PER_RADIUS / radius_arcsec)
    return int(np.clip(np.ceil(wanted), 0, HEALPIX_ORDER))


def gather(catalogue: EpochCatalogue, match: MatchSpec, *, by_id: bool) -> Gathered:
    """Gather the rows of one epoch, whatever they measured; without ids, those that have a position."""
    ra, dec = np.full(catalogue.rows, np.nan), np.full(catalogue.rows, np.nan)
    if catalogue.ra is not None and catalogue.dec is not None:
        ra, dec = catalogue.ra, catalogue.dec
    placed = np.isfinite(ra) & np.isfinite(dec)
    vectors = np.zeros((catalogue.rows, 3), np.int64)
    vectors[placed] = np.rint(unit_vectors(ra[placed], dec[placed]) * _STEP)
    if by_id:
        assert catalogue.ids is not None, "rows that are matched by id have one"
        return _summed(catalogue.ids, vectors, placed.astype(np.int64))
    keys = healpix(ra[placed], dec[placed], _pixel_order(match.radius_arcsec))
    return _summed(keys, vectors[placed], np.ones(len(keys), np.int64))


def _summed(keys: NDArray[Any], sums: NDArray[np.int64], counts: NDArray[np.int64]) -> Gathered:
    order = np.argsort(keys, kind="stable")
    known, first = np.unique(keys[order], return_index=True)
    if not len(known):
        return Gathered(known, sums[:0], counts[:0])
    return Gathered(known, np.add.reduceat(sums[order], first, axis=0), np.add.reduceat(counts[order], first))


def united(several: Iterable[Gathered]) -> Gathered:
    """Put what was gathered in several places together; the order does not matter."""
    parts = list(several)
    keys = np.concatenate(alike([part.keys for part in parts if len(part.keys)]) or [np.zeros(0, np.int64)])
    return _summed(
        keys, np.concatenate([part.sums for part in parts]), np.concatenate([part.counts for part in parts])
    )


def union(gathered: Gathered, where: str) -> ObjectTable:
    """Return the table of every id that occurs, each at the mean of its positions."""
    ra, dec = degrees_of(gathered.sums.astype(np.float64))
    lost = gathered.counts == 0
    ra[lost] = dec[lost] = np.nan
    return object_table(gathered.keys, ra, dec, where)


def clustered(gathered: Gathered, match: MatchSpec, where: str) -> ObjectTable:
    """Return the table of the clusters of positions; an object's id is its HEALPix index of order 29.

    A cluster wider than the radius leaves positions farther from its mean than that. These are clustered again, until
    every position has an object within the radius.
    """
    vectors = gathered.sums / np.linalg.norm(gathered.sums.astype(np.float64), axis=1, keepdims=True)
    limit, left = chord(match.radius_arcsec), np.arange(len(vectors))
    found: list[NDArray[np.float64]] = []
    while len(left):
        found.append(_centres(vectors[left], gathered.sums[left], gathered.counts[left], limit))
        apart, _ = cKDTree(found[-1]).query(vectors[left])
        left = left[apart > limit]
    ra, dec = degrees_of(np.concatenate(found) if found else np.zeros((0, 3)))
    return object_table(healpix(ra, dec), ra, dec, where)


def grown(own: ObjectTable, gathered: Gathered, match: MatchSpec, *, by_id: bool, where: str) -> ObjectTable:
    """Return a table with new objects behind those that are there, which keep their places.

    Parameters
    ----------
    own
        The table that grows.
    gathered
        Ids or positions, of which those that `own` has are passed over.
    match
        The radius.
    by_id
        Whether ids tell, else positions.
    where
        What the table is of, for errors.

    Raises
    ------
    Refused
        If new ids are text and those of the table are integers, or if a new object would bear an id that is there.
    """
    if not len(gathered.keys):
        return own
    found = union(gathered, where) if by_id else clustered(gathered, match, where)
    known = own.indices(found.ids) if by_id else nearest_objects(found.ra, found.dec, own, match).objects
    new = np.flatnonzero(known < 0)
    ids = found.ids[new] if own.ids.dtype.kind == found.ids.dtype.kind else as_text(found.ids[new])
    if own.ids.dtype.kind == "i" and ids.dtype.kind == "U" and len(ids):
        fix = "correct 'object_id', or set new_objects to 'ignore'"
        raise Refused(Problem(where, f"the new id {ids[0].item()!r}", "64-bit integers", fix, "id-type"))
    if (own.indices(ids) >= 0).any():
        fix = "give an object table that holds these objects"
        taken = ids[own.indices(ids) >= 0][0].item()
        raise Refused(Problem(where, f"a new object {taken} elsewhere", "new ids", fix, "id-taken"))
    ra, dec, index = (
        np.concatenate([before, after[new]])
        for before, after in ((own.ra, found.ra), (own.dec, found.dec), (own.healpix, found.healpix))
    )
    motion = own.motion and own.motion.followed_by(len(new))
    return ObjectTable(np.concatenate([own.ids, ids]), ra, dec, index, motion)


def _centres(
    vectors: NDArray[np.float64], sums: NDArray[np.int64], counts: NDArray[np.int64], limit: float
) -> NDArray[np.float64]:
    """Return the mean of each cluster; of one that lies all around its mean, the place where most of it is."""
    pairs = cKDTree(vectors).query_pairs(limit, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(vectors),) * 2)
    _, cluster = connected_components(links, directed=False)
    total = _summed(cluster, sums, counts).sums.astype(np.float64)
    means = total / np.linalg.norm(total, axis=1, keepdims=True)
    near = np.linalg.norm(vectors - means[cluster], axis=1) <= limit
    hollow = ~np.isin(np.arange(len(means)), cluster[near])
    order = np.lexsort([-counts, cluster])
    densest = order[np.searchsorted(cluster[order], np.flatnonzero(hollow))]
    means[hollow] = vectors[densest]
    return np.asarray(means)
