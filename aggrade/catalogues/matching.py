"""Which object each row belongs to, and which row each cell takes.

By id, a row belongs to the object that bears its id. By sky, it belongs to the object nearest to it at the epoch's time, if
that is within the radius. Each cell of an object then takes one row: the nearest; among rows of the same place or id,
the one that `duplicates` says. The others are counted, never lost without a trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from aggrade.catalogues.epochs import DETECTED, FLAGGED, NOT_OBSERVED, EpochCatalogue
from aggrade.catalogues.positions import chord, separation, unit_vectors
from aggrade.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aggrade.catalogues.objects import ObjectTable
    from aggrade.catalogues.spec import CatalogueSpec, MatchSpec

__all__ = [
    "FATES",
    "Claims",
    "Matched",
    "claims_of",
    "duplicate_problems",
    "match_epoch",
    "nearest_objects",
]

FATES = ("matched", "unmatched", "duplicates", "losers", "blank")
"""What becomes of a row; each row has one of them."""

_PRIORITY = np.array([3, 0, 2, 1], np.int8)
"""Of a status, when duplicates compete: a detection before a flagged one before a limit."""


class Claims(NamedTuple):
    """What each row claims.

    Parameters
    ----------
    objects
        (row,) int64: index of its object, -1 if it has none.
    distance
        (row,) float64: arcseconds from its object; 0 by id.
    """

    objects: NDArray[np.int64]
    distance: NDArray[np.float64]


class Matched(NamedTuple):
    """Which row each cell takes, and what became of all rows.

    Parameters
    ----------
    cells
        For each measurement: (taken,) int64 rows and (taken,) int64 objects.
    counts
        ``rows`` and what became of them: ``matched`` gave a cell, ``unmatched`` has no object, ``duplicates``
        repeats a row that was taken, ``losers`` was farther from its object than another, ``blank`` says
        nothing of any measurement. ``cells``, ``detections``, ``limits`` and ``flagged`` count cells.
    fates
        (row,) uint8: which of `FATES` each row has.
    claims
        The object that each row belongs to, and how far it is.
    sole
        Where no object has two rows: (row,) int64 rows and (row,) int64 objects, whatever cells they give.
    """

    cells: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    counts: dict[str, int]
    fates: NDArray[np.uint8]
    claims: Claims
    sole: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None


def claims_of(catalogue: EpochCatalogue, objects: ObjectTable, match: MatchSpec, *, by_id: bool) -> Claims:
    """Return the object that each row belongs to.

    Parameters
    ----------
    catalogue
        The epoch's rows.
    objects
        The object table.
    match
        The radius.
    by_id
        Whether ids tell, else positions.
    """
    if by_id:
        assert catalogue.ids is not None, "rows that are matched by id have one"
        found = objects.indices(catalogue.ids)
        return Claims(found, np.zeros(len(found)))
    assert catalogue.ra is not None, "rows that are matched by sky have a position"
    assert catalogue.dec is not None, "rows that are matched by sky have a position"
    return nearest_objects(catalogue.ra, catalogue.dec, objects.at(catalogue.mean_time), match)


def nearest_objects(
    ra: NDArray[np.float64], dec: NDArray[np.float64], objects: ObjectTable, match: MatchSpec
) -> Claims:
    """Return the object nearest to each position, if it is within the radius.

    Parameters
    ----------
    ra, dec
        (row,) degrees.
    objects
        The object table.
    match
        The radius.
    """
    radius = match.radius_arcsec
    claims = Claims(np.full(len(ra), -1, np.int64), np.full(len(ra), np.inf))
    placed = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(placed) or not len(objects.placed):
        return claims
    vectors = unit_vectors(ra[placed], dec[placed])
    _, nearest = objects.tree.query(vectors, distance_upper_bound=chord(radius) * (1 + 1e-9))
    near = nearest < len(objects.placed)
    rows, found = placed[near], objects.placed[nearest[near]]
    distance = separation(vectors[near], unit_vectors(objects.ra[found], objects.dec[found]))
    within = distance <= radius
    claims.objects[rows[within]] = found[within]
    claims.distance[rows[within]] = distance[within]
    return claims


def match_epoch(
    catalogue: EpochCatalogue, objects: ObjectTable, spec: CatalogueSpec, match: MatchSpec, *, by_id: bool
) -> Matched:
    """Return which row each cell takes, one row per cell, and what became of every row.

    Parameters
    ----------
    catalogue
        The epoch's rows, of all its files.
    objects
        The object table.
    spec
        How duplicates are settled.
    match
        How rows find their objects.
    by_id
        Whether ids tell, else positions.
    """
    claims = claims_of(catalogue, objects, match, by_id=by_id)
    taken, repeated = [], np.zeros(catalogue.rows, bool)
    order = np.flatnonzero(claims.objects >= 0)
    is_sole = _are_distinct(claims.objects[order])
    if not is_sole:
        order = order[np.lexsort([claims.distance[order], claims.objects[order]])]
    for column in range(len(catalogue.measurements)):
        rows = order[catalogue.status[order, column] != NOT_OBSERVED]
        rows, doubles = _winners(catalogue, claims, column, rows, best=spec.duplicates == "best")
        taken.append((rows, claims.objects[rows]))
        repeated[doubles] = True
    winners = [rows for rows, _ in taken]
    fates = _fates(catalogue, claims, winners, repeated)
    sole = (order, claims.objects[order]) if is_sole else None
    return Matched(tuple(taken), _counts(catalogue, fates, winners), fates, claims, sole)


def _are_distinct(objects: NDArray[np.int64]) -> bool:
    return not len(objects) or int(np.bincount(objects).max()) == 1


def _winners(
    catalogue: EpochCatalogue, claims: Claims, column: int, rows: NDArray[np.int64], *, best: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row that each object's cell takes, and the rows that repeat one of them.

    `rows` are those that speak of the measurement: by object, the nearest of each first, where an object has several.
    """
    owner = claims.objects[rows]
    first = np.concatenate([[True], owner[1:] != owner[:-1]]) if len(rows) else np.zeros(0, bool)
    if first.all():
        return rows, rows[:0]
    if best:
        error = np.nan_to_num(catalogue.error[rows, column], nan=np.inf)
        priority = _PRIORITY[catalogue.status[rows, column]]
        rows = rows[np.lexsort([rows, error, priority, claims.distance[rows], owner])]
    winner = rows[first]
    beaten_by = winner[np.cumsum(first) - 1]
    same = (
        ~first
        & (claims.distance[rows] == claims.distance[beaten_by])
        & _same_place(catalogue, rows, beaten_by)
    )
    return winner, rows[same]


def _same_place(
    catalogue: EpochCatalogue, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.bool_]:
    if catalogue.ids is not None or catalogue.ra is None or catalogue.dec is None:
        return np.ones(len(one), bool)
    ra, dec = catalogue.ra, catalogue.dec
    return np.asarray((ra[one] == ra[other]) & (dec[one] == dec[other]))


def _fates(
    catalogue: EpochCatalogue, claims: Claims, taken: list[NDArray[np.int64]], repeated: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return which of `FATES` each row has."""
    says = (catalogue.status != NOT_OBSERVED).any(axis=1)
    matched = np.zeros(catalogue.rows, bool)
    for rows in taken:
        matched[rows] = True
    claimed = claims.objects >= 0
    cases = [~says, ~claimed, matched, repeated]
    return np.select(cases, [4, 1, 0, 2], 3).astype(np.uint8)


def _counts(
    catalogue: EpochCatalogue, fates: NDArray[np.uint8], taken: list[NDArray[np.int64]]
) -> dict[str, int]:
    states = [catalogue.status[rows, column] for column, rows in enumerate(taken)]
    cells = np.concatenate(states) if states else np.zeros(0, np.uint8)
    numbers = np.bincount(fates, minlength=len(FATES))
    counts = {"rows": catalogue.rows, **{name: int(n) for name, n in zip(FATES, numbers, strict=True)}}
    kinds = {"detections": int((cells == DETECTED).sum()), "flagged": int((cells == FLAGGED).sum())}
    return {**counts, "cells": len(cells), **kinds, "limits": len(cells) - sum(kinds.values())}


def duplicate_problems(catalogue: EpochCatalogue, where: str) -> Iterator[Problem]:
    """Yield a problem for each measurement that several rows of one id, or of one place, speak of."""
    if _is_each_once(catalogue):
        return
    for column, name in enumerate(catalogue.measurements):
        rows = np.flatnonzero(catalogue.status[:, column] != NOT_OBSERVED)
        repeated, example = _repeated(catalogue, rows)
        if repeated:
            yield Problem(
                where,
                f"{repeated} rows that repeat another in epoch {catalogue.key}, measurement {name}, such as {example}",
                "one row per object",
                "deliver the file again, or set 'duplicates' to 'best' or 'first'",
                "duplicates",
            )


def _is_each_once(catalogue: EpochCatalogue) -> bool:
    """Tell whether no id is there twice, or no place; if one is, the rows may still speak of different measurements."""
    if catalogue.ids is not None:
        return bool(pd.Index(catalogue.ids).is_unique)
    assert catalogue.ra is not None, "rows without ids have positions"
    assert catalogue.dec is not None, "rows without ids have positions"
    return bool(pd.Index(catalogue.ra).is_unique) or len(np.unique(catalogue.ra + 1j * catalogue.dec)) == len(
        catalogue.ra
    )


def _repeated(catalogue: EpochCatalogue, rows: NDArray[np.int64]) -> tuple[int, str]:
    if catalogue.ids is not None:
        ids = catalogue.ids[rows]
        known, counts = np.unique(ids, return_counts=True)
        return len(ids) - len(known), str(known[counts > 1][0]) if len(known) < len(ids) else ""
    assert catalogue.ra is not None, "rows without ids have positions"
    assert catalogue.dec is not None, "rows without ids have positions"
    places = np.stack([catalogue.ra[rows], catalogue.dec[rows]], axis=1)
    known, counts = np.unique(places, axis=0, return_counts=True)
    return len(places) - len(known), f"{known[counts > 1][0].tolist()}" if len(known) < len(places) else ""
