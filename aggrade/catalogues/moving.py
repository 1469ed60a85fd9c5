"""The proper motion that an object table states: its columns, their units, and when the positions hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy import units

from aggrade.catalogues.cells import numbers_of
from aggrade.catalogues.motion import Motion
from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aggrade.catalogues.spec import MatchSpec
    from aggrade.catalogues.tables import Table

__all__ = ["motion_names", "motion_of"]

_YEARS = (1800.0, 2200.0)


def motion_names(match: MatchSpec) -> tuple[str, ...]:
    """Return the columns that would hold `pmra`, `pmdec` and, unless it is a number, the reference epoch."""
    epoch = match.reference_epoch
    last = () if isinstance(epoch, float) else (epoch or "ref_epoch",)
    return (match.pmra or "pmra", match.pmdec or "pmdec", *last)


def motion_of(table: Table, match: MatchSpec, where: str) -> Motion | None:
    """Return the proper motion that a table states, None if it states none.

    Parameters
    ----------
    table
        The object table.
    match
        Names of the columns, and the reference epoch.
    where
        Which table, for errors.

    Raises
    ------
    BadInput
        If only a part of it is there, its unit is another than mas/yr, or a number is none; every reason at once.
    """
    names = motion_names(match)
    asked = match.pmra or match.pmdec or match.reference_epoch is not None
    if not asked and not {*names[:2]} & {*table.columns}:
        return None
    raise_all(_problems_of_columns(table, names, where), BadInput)
    columns = [numbers_of(table.columns[name]) for name in names]
    if isinstance(match.reference_epoch, float):
        columns.append(np.full(table.rows, match.reference_epoch))
    motion = Motion(*columns)
    raise_all(_problems_of_numbers(motion, where), BadInput)
    return motion


def _problems_of_columns(table: Table, names: tuple[str, ...], where: str) -> Iterator[Problem]:
    for name, unit in zip(names, ("mas/yr", "mas/yr", "yr"), strict=False):
        column = table.columns.get(name)
        if column is None:
            found, fix = (
                f"columns {', '.join(table.names[:20])}",
                "name it in the match, or rename the others",
            )
            if unit == "yr":
                fix = "say when the positions hold: reference_epoch, a Julian year or a column"
            yield Problem(where, found, f"a column {name} beside the proper motion", fix, "motion")
        elif column.kind not in ("integers", "numbers"):
            yield Problem(f"{where}, column {name}", column.kind, unit, "name a column of numbers", "motion")
        elif column.unit and not _same(column.unit, unit):
            fix = "give the table in that unit: nothing is converted"
            yield Problem(f"{where}, column {name}", column.unit, unit, fix, "motion")


def _same(stated: str, unit: str) -> bool:
    return bool(units.Unit(stated, parse_strict="silent") == units.Unit(unit))


def _problems_of_numbers(motion: Motion, where: str) -> Iterator[Problem]:
    pmra, pmdec, epoch = motion
    moving = np.isfinite(pmra) & np.isfinite(pmdec)
    half = np.isnan(pmra) != np.isnan(pmdec)
    wrong = _count(half | np.isinf(pmra) | np.isinf(pmdec))
    if wrong:
        fix = "correct the table"
        yield Problem(where, f"{wrong} rows with half a proper motion", "both parts or none", fix, "motion")
    outside = moving & ~((epoch >= _YEARS[0]) & (epoch <= _YEARS[1]))
    if outside.any():
        found = f"{_count(outside)} reference epochs such as {epoch[outside][0]:g}"
        expected, fix = "Julian years from 1800 to 2200", "give years such as 2016.0"
        yield Problem(where, found, expected, fix, "motion")


def _count(rows: NDArray[np.bool_]) -> int:
    return int(rows.sum())
