"""An object table that the user gives: a file, a DataFrame, an astropy or a pyarrow table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from aggrade.catalogues.arrow_tables import from_arrow
from aggrade.catalogues.cells import numbers_of
from aggrade.catalogues.finding import find_catalogues, read_source
from aggrade.catalogues.ids import ids_of
from aggrade.catalogues.moving import motion_names, motion_of
from aggrade.catalogues.objects import ObjectTable, object_table
from aggrade.catalogues.positions import healpix, within_turn
from aggrade.catalogues.reading import read_table
from aggrade.catalogues.tables import Table, Wanted, with_masks, without_masked
from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aggrade.catalogues.loading import How

__all__ = ["given_objects"]

_IDS = ("object", "object_id", "id", "objid", "source_id")


def given_objects(objects: Any, how: How, storage_options: Mapping[str, Any] | None) -> ObjectTable:
    """Return the object table that a user gives.

    The columns are those that the match names, else those of the catalogues, else ``object`` (or ``object_id``,
    ``id``, ``objid``, ``source_id``), ``ra`` and ``dec``. Without ids, an object's id is its HEALPix index.

    Parameters
    ----------
    objects
        A path or URL of a catalogue of a known format, a pandas DataFrame, an astropy or a pyarrow table.
    how
        The names of the columns.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    BadInput
        If a column is missing, an id occurs twice or is no id, or a position is none; every reason at once.
    """
    names = _Names(how)
    table, where = _table(objects, names.wanted, storage_options)
    names.check(table, where, by_id=how.by_id)
    ra, dec = (_numbers(table, names.first(each, table), where) for each in (names.ra, names.dec))
    ids = _ids(table, names.first(names.ids, table), where)
    if ids is None:
        if np.isnan(ra).any() or np.isnan(dec).any():
            raise BadInput(
                Problem(where, "objects without id and position", "one of them", "fill them in", "objects")
            )
        ids = healpix(within_turn(ra), dec)
    motion = motion_of(table, how.match, where) if _needs_motion(table, how) else None
    return object_table(ids, ra, dec, where, motion)


def _needs_motion(table: Table, how: How) -> bool:
    """Tell whether proper motion counts: by id, where there is a footprint, or where it is known when positions hold."""
    has_epoch = isinstance(how.match.reference_epoch, float) or motion_names(how.match)[-1] in table.columns
    return not how.by_id or how.spec.footprint is not None or has_epoch


class _Names:
    """Which columns of the table to look for, the first that is there."""

    def __init__(self, how: How) -> None:
        spec, match = how.spec, how.match
        origin = spec.object_id.column if spec.object_id else None
        self.ids = _candidates(match.object_id, origin, *_IDS)
        self.ra = _candidates(match.ra, spec.ra, "ra")
        self.dec = _candidates(match.dec, spec.dec, "dec")
        self.motion = motion_names(match)

    @property
    def wanted(self) -> Wanted:
        """All of them."""
        return Wanted(frozenset({*self.ra, *self.dec, *self.motion}), frozenset(self.ids))

    def first(self, names: tuple[str, ...], table: Table) -> str | None:
        """Return the first that the table has."""
        return next((name for name in names if name in table.columns), None)

    def check(self, table: Table, where: str, *, by_id: bool) -> None:
        """Raise `BadInput` if a column that is needed is missing."""
        needed = [self.ids] if by_id else [self.ra, self.dec]
        missing = [names for names in needed if self.first(names, table) is None]
        if missing:
            fix = "rename it, or name it in the match"
            found = f"columns {', '.join(table.names[:20])}"
            raise BadInput(
                *(
                    Problem(where, found, f"a column {' or '.join(names)}", fix, "objects")
                    for names in missing
                )
            )


def _candidates(named: str | None, *others: str | None) -> tuple[str, ...]:
    """Return the one that is named, else those to look for."""
    names = (named,) if named else others
    return tuple(dict.fromkeys(name for name in names if name))


def _table(objects: Any, wanted: Wanted, storage_options: Mapping[str, Any] | None) -> tuple[Table, str]:
    if isinstance(objects, (str, os.PathLike)):
        sources = find_catalogues(objects, storage_options)
        if len(sources) > 1:
            found = f"{len(sources)} files"
            raise BadInput(
                Problem(os.fspath(objects), found, "one object table", "name one of them", "objects")
            )
        return read_table(read_source(sources[0], storage_options), sources[0].key, wanted), sources[0].url
    if isinstance(objects, pd.DataFrame):
        objects = pa.Table.from_pandas(objects)
    if isinstance(objects, pa.Table):
        more = with_masks(wanted).names
        chosen = objects.select([name for name in objects.column_names if name in more])
        read = from_arrow(chosen, tuple(objects.column_names), objects.num_rows)
        return without_masked(read, wanted), "objects"
    if hasattr(objects, "colnames"):
        from aggrade.catalogues.astropy_tables import from_astropy

        return from_astropy(objects, wanted.names), "objects"
    found = type(objects).__name__
    raise BadInput(
        Problem("objects", found, "a path, a DataFrame or an astropy table", "give one of these", "objects")
    )


def _numbers(table: Table, name: str | None, where: str) -> NDArray[np.float64]:
    if name is None:
        return np.full(table.rows, np.nan)
    column = table.columns[name]
    if column.kind not in ("integers", "numbers"):
        problem = Problem(
            f"{where}, column {name}", column.kind, "degrees", "name a column of numbers", "objects"
        )
        raise BadInput(problem)
    return numbers_of(column)


def _ids(table: Table, name: str | None, where: str) -> NDArray[Any] | None:
    if name is None:
        return None
    try:
        return ids_of(table.columns[name])
    except ValueError as error:
        fix = "give ids as 64-bit integers or text"
        raise BadInput(
            Problem(f"{where}, column {name}", str(error), "an id in every row", fix, "id")
        ) from error
