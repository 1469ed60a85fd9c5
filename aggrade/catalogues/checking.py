"""What can be wrong with a table as such: columns that are missing, of another kind, or in another unit."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from astropy import units

from aggrade.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import TypeVar

    from aggrade.catalogues.spec import CatalogueSpec, Measurement
    from aggrade.catalogues.tables import Column, Table

    Result = TypeVar("Result")

__all__ = ["Notes", "agreed_unit", "check_columns", "check_degrees", "check_kinds", "same_unit"]

_NUMBERS = ("integers", "numbers", "truth values")


class Notes:
    """The problems of one file, as they are found.

    Parameters
    ----------
    path
        The file, as people know it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []

    def add(self, column: str | None, found: str, expected: str, fix: str, code: str) -> None:
        """Keep one problem of the file, or of one of its columns."""
        where = self.path if column is None else f"{self.path}, column {column}"
        self.problems.append(Problem(where, found, expected, fix, code))

    def trial(self, make: Callable[[], Result], column: str | None, fix: str, code: str) -> Result | None:
        """Return what `make` makes, or None and keep its `ValueError` as a problem."""
        try:
            return make()
        except ValueError as error:
            self.add(column, str(error), "what the specification says", fix, code)
            return None


def check_columns(table: Table, columns: Mapping[str, Column], spec: CatalogueSpec, notes: Notes) -> None:
    """Note the columns that are missing or hold something else than they should.

    Parameters
    ----------
    table
        The table, for the names of all its columns.
    columns
        The wanted columns that are there.
    spec
        What they should be.
    notes
        Where problems go.
    """
    check_kinds(table, columns, spec.numbers, spec.labels, notes)
    check_degrees(columns, filter(None, (spec.ra, spec.dec)), notes)


def check_kinds(
    table: Table,
    columns: Mapping[str, Column],
    numbers: Collection[str],
    labels: Collection[str],
    notes: Notes,
) -> None:
    """Note the columns that are missing, and those that hold no numbers, or no names.

    Parameters
    ----------
    table
        The table, for the names of all its columns.
    columns
        The wanted columns that are there.
    numbers, labels
        Those that are to hold numbers, and names.
    notes
        Where problems go.
    """
    for name in sorted({*numbers, *labels} - set(columns)):
        near = difflib.get_close_matches(name, table.names, 3, 0.5)
        there = [*near, *sorted(set(table.names) - set(near))][:12]
        fix = "correct the specification, or deliver the file with this column"
        notes.add(name, "no such column", f"it among {', '.join(there)}", fix, "column-missing")
    for names, kinds, expected in (
        (numbers, _NUMBERS, "numbers"),
        (labels, (*_NUMBERS, "text"), "whole numbers or text"),
    ):
        for name in sorted(set(names) & set(columns)):
            if columns[name].kind not in kinds:
                notes.add(name, columns[name].kind, expected, "name another column", "column-type")


def check_degrees(columns: Mapping[str, Column], names: Iterable[str], notes: Notes) -> None:
    """Note the columns that are in another unit than degrees.

    Parameters
    ----------
    columns
        The columns that are there.
    names
        Those that are to hold degrees.
    notes
        Where problems go.
    """
    for place in names:
        unit = columns[place].unit if place in columns else None
        if unit and not unit.casefold().startswith("deg"):
            notes.add(place, f"unit {unit!r}", "degrees", "convert it to degrees", "position-unit")


def agreed_unit(
    measurement: Measurement, columns: Mapping[str, Column], spec: CatalogueSpec, notes: Notes
) -> str | None:
    """Return the unit of a measurement, by the specification and by the file, if they agree.

    Parameters
    ----------
    measurement
        Its columns.
    columns
        The columns of the file, with their units.
    spec
        The specification, with its units.
    notes
        Where problems go.
    """
    column = columns[measurement.value]
    told = column.unit and _written_alike(column.unit)
    unit = spec.unit_of(measurement) or told or ("mag" if spec.value == "mag" else None)
    if unit is None:
        fix = "name 'unit' in the specification"
        notes.add(measurement.value, "no unit", "a unit for every flux", fix, "unit-missing")
    for name in filter(None, (measurement.value, measurement.error)):
        given = columns[name].unit if name in columns else None
        if unit and given and not same_unit(given, unit):
            fix = "correct the specification; values are stored as given, never converted"
            notes.add(name, f"unit {given!r}", f"unit {unit!r}", fix, "unit")
    return unit


def _written_alike(text: str) -> str:
    """Return a unit as astropy writes it, since each format has a way of its own: ``ct/s``, ``ct s-1``."""
    unit = _parsed(text)
    return text if isinstance(unit, units.UnrecognizedUnit) else str(unit)


def same_unit(one: str, other: str) -> bool:
    """Tell whether two units are the same: as units, or as words where one is no unit that astropy knows."""
    parsed = _parsed(one), _parsed(other)
    if any(isinstance(unit, units.UnrecognizedUnit) for unit in parsed):
        return one.casefold() == other.casefold()
    return bool(parsed[0] == parsed[1])


def _parsed(text: str) -> units.UnitBase:
    """Parse a unit; several slashes, which FITS discourages, mean that all that follows the first divides."""
    first, *others = text.split("/")
    plain = f"{first}/({'.'.join(others)})" if len(others) > 1 and "(" not in text else text
    return units.Unit(plain, parse_strict="silent")
