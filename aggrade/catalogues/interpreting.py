"""From a table and a specification to the detections of each of its epochs, with every problem named."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aggrade.catalogues.cells import Cells, cells_of, lost_in_float32, numbers_of
from aggrade.catalogues.checking import Notes, agreed_unit, check_columns
from aggrade.catalogues.conditions import rows_where
from aggrade.catalogues.epochs import NOT_OBSERVED, EpochCatalogue
from aggrade.catalogues.ids import ids_of
from aggrade.catalogues.matching import duplicate_problems
from aggrade.catalogues.tables import Column, Table
from aggrade.catalogues.times import mjd_of, mjd_of_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from aggrade.catalogues.spec import CatalogueSpec, Measurement, Origin
    from aggrade.errors import Problem

__all__ = ["Interpreted", "interpret", "key_of_value", "name_in", "together"]


class Interpreted(NamedTuple):
    """What one file says, and what is wrong with it.

    Parameters
    ----------
    epochs
        The detections of each epoch; empty if there is any problem.
    keys
        Keys of the epochs that the file holds, as far as they can be told.
    problems
        Every problem, with file and column.
    """

    epochs: tuple[EpochCatalogue, ...]
    keys: tuple[str, ...]
    problems: tuple[Problem, ...]


def together(tables: Sequence[Interpreted]) -> Interpreted:
    """Return what the tables of one file say together.

    Parameters
    ----------
    tables
        At least one.
    """
    problems = tuple(dict.fromkeys(problem for each in tables for problem in each.problems))
    epochs = tuple(epoch for each in tables for epoch in each.epochs)
    keys = tuple(sorted({key for each in tables for key in each.keys}))
    return Interpreted(() if problems else epochs, keys, problems)


def name_in(origin: Origin, path: str, header: Any = None) -> str | None:
    """Return what a file's name or header says by `origin`; None if it says nothing."""
    if origin.filename is not None:
        found = re.search(origin.filename, path.rpartition("/")[2]) or re.search(origin.filename, path)
        return (found.group(1) or None) if found else None
    value = (header or {}).get(origin.header)
    return None if value is None else str(value).strip() or None


def key_of_value(value: Any) -> str:
    """Return an epoch's key from a column's value: whole numbers and text as they are, floats to the last digit.

    >>> key_of_value(np.float64(2458729.688148))
    '2458729.688148'
    """
    return str(value.item() if isinstance(value, np.generic) else value)


def interpret(table: Table, path: str, spec: CatalogueSpec, *, by_id: bool) -> Interpreted:
    """Make the detections of every epoch of one file, or name everything that is wrong with it.

    Parameters
    ----------
    table
        What was read.
    path
        The file's path below the folder that was searched; names are searched in it.
    spec
        What the columns mean.
    by_id
        Whether rows will be matched by id (else by sky, and they need a position).
    """
    file = _File(table, path, spec, by_id=by_id)
    check_columns(table, file.columns, spec, file.notes)
    keys, rows = file.keys()
    if file.notes.problems:
        file.look_further()
        epochs: tuple[EpochCatalogue, ...] = ()
    else:
        epochs = tuple(file.epochs(keys, rows))
    if file.notes.problems and spec.duplicates == "refuse":
        known = [epoch for epoch in epochs if (epoch.ids if by_id else epoch.ra) is not None]
        file.notes.problems += [found for epoch in known for found in duplicate_problems(epoch, path)]
    problems = tuple(dict.fromkeys(file.notes.problems))
    return Interpreted(() if problems else epochs, keys, problems)


class _Part(NamedTuple):
    """One measurement by its name, and the rows that speak of it."""

    name: str
    measurement: Measurement
    chosen: NDArray[np.bool_]


class _File:
    """One file under one specification; what is wrong with it collects in `notes`."""

    def __init__(self, table: Table, path: str, spec: CatalogueSpec, *, by_id: bool) -> None:
        self.table = table
        self.path = path
        self.spec = spec
        self.by_id = by_id
        self.notes = Notes(path)
        self.has_times = True

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The wanted columns."""
        return dict(self.table.columns)

    def named(self, origin: Origin, what: str, code: str) -> str | None:
        """Return what the file's name or header says by `origin`, or note that it says nothing."""
        name = name_in(origin, self.path, self.table.header)
        if name is None:
            found = f"no {what} by {origin.filename or origin.header!r}"
            self.notes.add(None, found, "one in every file", "correct it, or leave the file out", code)
        return name

    def keys(self) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Return the epochs' keys, sorted, and (row,) which of them each row belongs to."""
        one = np.zeros(self.table.rows, np.intp)
        name = self.spec.epoch.column
        if name is None:
            key = self.named(self.spec.epoch, "epoch", "epoch-key")
            return (() if key is None else (key,)), one
        column = self.columns.get(name)
        if column is None or column.kind not in ("integers", "numbers", "text"):
            return (), one
        if column.missing.any():
            found = f"{int(column.missing.sum())} rows without an epoch"
            self.notes.add(name, found, "one in every row", "fill it in", "epoch-key")
            return tuple(key_of_value(each) for each in np.unique(column.values[~column.missing])), one
        values, rows = np.unique(column.values, return_inverse=True)
        return tuple(key_of_value(value) for value in values), rows

    def epochs(self, keys: tuple[str, ...], rows: NDArray[np.intp]) -> Iterator[EpochCatalogue]:
        """Yield the detections of each epoch."""
        whole, filters = self.catalogue(), self.filters()
        if len(keys) == 1:
            name = self.one_filter(filters, np.arange(whole.rows), keys[0])
            yield replace(whole, key=keys[0], filter=name)
            return
        order = np.argsort(rows, kind="stable")
        edges = np.searchsorted(rows[order], np.arange(len(keys) + 1))
        for index, key in enumerate(keys):
            chosen = order[edges[index] : edges[index + 1]]
            yield replace(whole.taken(chosen), key=key, filter=self.one_filter(filters, chosen, key))

    def filters(self) -> str | NDArray[Any]:
        """Return the file's filter, or (row,) filters."""
        origin = self.spec.filter
        if origin is None:
            return ""
        if origin.column is None:
            return self.named(origin, "filter", "filter") or ""
        column = self.columns[origin.column]
        return np.where(column.missing, "", column.values.astype(np.str_))

    def one_filter(self, filters: str | NDArray[Any], rows: NDArray[np.intp], key: str) -> str:
        """Return the filter of one epoch's rows."""
        if isinstance(filters, str):
            return filters
        names = [str(name) for name in np.unique(filters[rows])]
        if len(names) > 1:
            fix = "leave 'filter' out and name the measurements by their filter"
            self.notes.add(None, f"filters {', '.join(names)} in epoch {key}", "one per epoch", fix, "filter")
        return names[0] if names else ""

    def look_further(self) -> None:
        """Note what else is wrong with columns that are there, where not all of them are."""
        numbers = {name for name, each in self.columns.items() if each.kind in ("integers", "numbers")}
        for name, most in ((self.spec.ra, (-180, 360)), (self.spec.dec, (-90, 90))):
            if name in numbers:
                self.degrees(name, *most)
        for measurement in self.spec.measurements.values():
            if measurement.value in numbers:
                agreed_unit(measurement, self.columns, self.spec, self.notes)
        if self.spec.time in self.columns:
            self.time_column(self.spec.time)

    def catalogue(self) -> EpochCatalogue:
        """Return all rows of the file as if they were one epoch."""
        parts, rows = self.parts(), self.table.rows
        cells = [self.cells(part) for part in parts]
        status = _side_by_side([each.status for each in cells], rows, np.uint8)
        ra, dec = self.positions(status)
        return EpochCatalogue(
            key="",
            measurements=tuple(part.name for part in parts),
            units=tuple(agreed_unit(part.measurement, self.columns, self.spec, self.notes) for part in parts),
            value=_side_by_side([each.value for each in cells], rows, np.float32),
            error=_side_by_side([each.error for each in cells], rows, np.float32),
            status=status,
            time=self.times(parts, status),
            epoch_time=self.header_time,
            ids=self.ids(),
            ra=ra,
            dec=dec,
        )

    def parts(self) -> list[_Part]:
        """Return the measurements that the file holds, by their names."""
        parts = [part for key, each in self.spec.measurements.items() for part in self.parts_of(key, each)]
        names = [part.name for part in parts]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            found = f"several measurements called {', '.join(doubled)}"
            self.notes.add(None, found, "each once", "name them apart", "measurement-name")
        return parts

    def parts_of(self, key: str, measurement: Measurement) -> list[_Part]:
        """Return one measurement under its name, or one for each name in a column."""
        chosen = rows_where(measurement.where, self.columns, self.table.rows)
        origin = measurement.name
        if origin is None:
            return [_Part(key, measurement, chosen)]
        if origin.column is None:
            return [_Part(self.named(origin, "measurement", "measurement-name") or key, measurement, chosen)]
        column = self.columns[origin.column]
        chosen = chosen & ~column.missing
        return [
            _Part(key_of_value(value), measurement, chosen & (column.values == value))
            for value in np.unique(column.values[chosen])
        ]

    def cells(self, part: _Part) -> Cells:
        """Return what one measurement says in each row."""
        cells = cells_of(part.measurement, self.columns, self.spec, part.chosen)
        for name, values in ((part.measurement.value, cells.value), (part.measurement.error, cells.error)):
            lost = lost_in_float32(values)
            if len(lost):
                found = f"{len(lost)} numbers such as {lost[0]:g}"
                fix = "use a unit of a fitting size, or exclude sentinels by value_range and error_range"
                self.notes.add(name, found, "what float32 can hold", fix, "float32")
        return cells

    @cached_property
    def header_time(self) -> float | None:
        """The epoch's time by the header, MJD."""
        key, spec = self.spec.epoch_time, self.spec
        if key is None:
            return None
        if key not in self.table.header:
            fix = "correct 'epoch_time', or deliver the file with it"
            self.notes.add(None, f"no {key} in the header", "the epoch's time there", fix, "epoch-time")
            self.has_times = False
            return None
        told = self.table.header[key]
        made = self.notes.trial(
            lambda: mjd_of(told, spec.time_format, spec.time_scale), None, f"correct {key}", "epoch-time"
        )
        self.has_times &= made is not None
        return made

    def times(self, parts: list[_Part], status: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return (row, measurement) MJD; every cell that says something needs a time."""
        default = np.nan if self.header_time is None else self.header_time
        rows = self.time_column(self.spec.time) if self.spec.time else np.full(self.table.rows, default)
        own = [part.measurement.time for part in parts]
        times = _side_by_side(
            [self.time_column(name) if name else rows for name in own], self.table.rows, np.float64
        )
        lacking = np.isnan(times) & (status != NOT_OBSERVED)
        if lacking.any() and self.has_times:
            found = f"{int(lacking.any(axis=1).sum())} rows without a time"
            fix = "fill it in, or name another column or a header key"
            self.notes.add(self.spec.time, found, "a time in every row", fix, "time-missing")
        return np.where(status != NOT_OBSERVED, times, np.nan)

    def time_column(self, name: str) -> NDArray[np.float64]:
        """Return a column of times as (row,) MJD."""
        column, spec = self.columns[name], self.spec
        made = self.notes.trial(
            lambda: mjd_of_column(column, spec.time_format, spec.time_scale, spec.time_ref),
            name,
            "correct the specification or the file",
            "time",
        )
        self.has_times &= made is not None
        return np.full(self.table.rows, np.nan) if made is None else made

    def ids(self) -> NDArray[Any] | None:
        """Return (row,) ids, or None where rows are matched by sky."""
        origin = self.spec.object_id
        if origin is None or not self.by_id:
            return None
        if origin.column is not None:
            column = self.table.columns[origin.column]
            fix = "deliver ids as 64-bit integers or text"
            return self.notes.trial(lambda: ids_of(column), origin.column, fix, "id")
        name = self.named(origin, "object id", "id")
        one = Column(np.array([name or ""]), np.zeros(1, bool))
        return np.repeat(ids_of(one), self.table.rows)

    def positions(
        self, status: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Return (row,) right ascension and declination in degrees, None where the file has none."""
        if self.spec.ra is None or self.spec.dec is None:
            return None, None
        ra = self.degrees(self.spec.ra, -180, 360)
        dec = self.degrees(self.spec.dec, -90, 90)
        lacking = (np.isnan(ra) | np.isnan(dec)) & (status != NOT_OBSERVED).any(axis=1)
        if lacking.any() and not self.by_id:
            found = f"{int(lacking.sum())} rows without a position"
            fix = "fill it in, or match by id"
            self.notes.add(f"{self.spec.ra}, {self.spec.dec}", found, "one in every row", fix, "position")
        return ra, dec

    def degrees(self, name: str, low: int, high: int) -> NDArray[np.float64]:
        """Return one coordinate; what is outside its range is noted."""
        values = numbers_of(self.columns[name])
        values = np.where(np.isfinite(values), values, np.nan)
        outside = values[(values < low) | (values > high)]
        if len(outside):
            found = f"{len(outside)} values such as {outside[0]:g}"
            fix = "correct the file, or name another column"
            self.notes.add(name, found, f"degrees from {low} to {high}", fix, "position")
        return values


def _side_by_side(columns: list[NDArray[Any]], rows: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Return columns as (row, column); what float32 can't hold has been noted before."""
    with np.errstate(over="ignore", under="ignore"):
        return np.stack(columns, axis=1).astype(dtype) if columns else np.zeros((rows, 0), dtype)
