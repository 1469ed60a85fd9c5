"""Tables of exposures: which regions were looked at in each epoch, with everything that is wrong named at once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aggrade.catalogues.cells import lost_in_float32, numbers_of
from aggrade.catalogues.checking import Notes, check_degrees, check_kinds
from aggrade.catalogues.finding import find_catalogues, read_source
from aggrade.catalogues.footprint import Exposure
from aggrade.catalogues.interpreting import key_of_value
from aggrade.catalogues.reading import read_table
from aggrade.catalogues.tables import Wanted
from aggrade.catalogues.times import mjd_of_column
from aggrade.errors import BadInput, raise_all
from aggrade.sky import in_polygon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from aggrade.catalogues.finding import Source
    from aggrade.catalogues.footprint import Footprint
    from aggrade.catalogues.spec import CatalogueSpec
    from aggrade.catalogues.tables import Table
    from aggrade.errors import Problem

__all__ = ["Exposures", "read_exposures"]


class Exposures(NamedTuple):
    """What tables of exposures say.

    Parameters
    ----------
    of_epochs
        Key of each epoch → its exposures.
    urls
        The files that they were read from.
    """

    of_epochs: dict[str, tuple[Exposure, ...]]
    urls: frozenset[str]


def read_exposures(spec: CatalogueSpec, storage_options: Mapping[str, Any] | None) -> Exposures | None:
    """Read the tables of exposures that a specification names; None if it names none.

    Parameters
    ----------
    spec
        The specification.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    BadInput
        If a column is missing or in another unit than degrees, if an exposure names no epoch or no measurement, or if
        a number is none that it could be; every reason at once.
    """
    looked = spec.footprint
    if looked is None or looked.exposures is None:
        return None
    sources = find_catalogues(looked.exposures, storage_options)
    found: dict[str, list[Exposure]] = defaultdict(list)
    problems: list[Problem] = []
    for source in sources:
        file = _File(source, looked, spec, storage_options)
        for key, exposure in file.exposures():
            found[key].append(exposure)
        problems += file.notes.problems
    raise_all(problems, BadInput)
    return Exposures(
        {key: tuple(each) for key, each in found.items()}, frozenset(source.url for source in sources)
    )


class _File:
    """One table of exposures; what is wrong with it collects in `notes`."""

    def __init__(
        self,
        source: Source,
        looked: Footprint,
        spec: CatalogueSpec,
        storage_options: Mapping[str, Any] | None,
    ) -> None:
        self.looked = looked
        self.spec = spec
        self.notes = Notes(source.key)
        is_text = spec.time_format == "isot"
        numbers = {*looked.degrees, looked.limit, None if is_text else looked.time}
        labels = {*looked.labels, looked.time if is_text else None}
        self.wanted = Wanted(frozenset(filter(None, numbers)), frozenset(filter(None, labels)))
        self.table: Table = read_table(read_source(source, storage_options), source.key, self.wanted)

    def exposures(self) -> Iterator[tuple[str, Exposure]]:
        """Yield the epoch's key and each exposure, none if there is any problem."""
        columns = dict(self.table.columns)
        check_kinds(self.table, columns, self.wanted.numbers, self.wanted.labels, self.notes)
        check_degrees(columns, self.looked.degrees, self.notes)
        if self.notes.problems:
            return
        epochs = self.names(self.looked.epoch, "epoch")
        regions = self.polygons() if self.looked.corners else self.circles()
        measured, limits, times = self.measurements(), self.limits(), self.times()
        if self.notes.problems:
            return
        for key, region, measurement, limit, time in zip(
            epochs, regions, measured, limits, times, strict=True
        ):
            if measurement is not None:
                yield key, Exposure(**region, **measurement, **limit, time=time)

    def names(self, name: str | None, what: str) -> list[str]:
        """Return what a column of names says in each row, and note the rows in which it says nothing."""
        assert name is not None, "a specification of exposures names it"
        column = self.table.columns[name]
        if column.missing.any():
            found = f"{int(column.missing.sum())} exposures that name no {what}"
            self.notes.add(name, found, "one in every row", "fill it in", f"exposure-{what}")
        return [key_of_value(value) for value in column.values]

    def degrees(self, name: str, low: float, high: float) -> NDArray[np.float64]:
        """Return a column of degrees, and note what is missing or outside its range."""
        values = numbers_of(self.table.columns[name])
        wrong = values[~((values >= low) & (values <= high))]
        if len(wrong):
            found = f"{len(wrong)} values such as {wrong[0]:g}"
            fix = "correct the table, or name another column"
            self.notes.add(name, found, f"degrees from {low:g} to {high:g}", fix, "exposure-position")
        return values

    def circles(self) -> list[dict[str, Any]]:
        """Return each row's circle."""
        looked, rows = self.looked, self.table.rows
        ra, dec = self.degrees(str(looked.ra), -180, 360), self.degrees(str(looked.dec), -90, 90)
        given = looked.radius
        radius = self.degrees(given, 0, 180) if isinstance(given, str) else np.full(rows, given, np.float64)
        return [
            {"ra": lon, "dec": lat, "radius": size}
            for lon, lat, size in zip(ra.tolist(), dec.tolist(), radius.tolist(), strict=True)
        ]

    def polygons(self) -> list[dict[str, Any]]:
        """Return each row's polygon, and note those that are wider than a hemisphere."""
        pairs = self.looked.corners or ()
        sides = [(self.degrees(ra, -180, 360), self.degrees(dec, -90, 90)) for ra, dec in pairs]
        polygons = [tuple(map(tuple, corners)) for corners in np.array(sides).transpose(2, 0, 1).tolist()]
        if self.notes.problems:
            return []
        wide = [corners for corners in polygons if not _is_in_hemisphere(corners)]
        if wide:
            found, expected = f"{len(wide)} polygons such as {wide[0]}", "each within a hemisphere"
            self.notes.add(None, found, expected, "correct the corners", "exposure-position")
        return [{"corners": corners} for corners in polygons]

    def measurements(self) -> list[dict[str, Any] | None]:
        """Return what each row is an exposure of, None where it is left out."""
        if self.looked.measurement is None:
            return [{}] * self.table.rows
        called = self.names(self.looked.measurement, "measurement")
        meant = [self.looked.names.get(name, name) for name in called]
        return [None if name is None else {"measurement": name} for name in meant]

    def limits(self) -> list[dict[str, Any]]:
        """Return each row's limit; what is missing or outside `value_range` isn't known."""
        if self.looked.limit is None:
            return [{}] * self.table.rows
        column = self.table.columns[self.looked.limit]
        values = numbers_of(column)
        low, high = self.spec.value_range or (-np.inf, np.inf)
        known = np.isfinite(values) & (values >= low) & (values <= high)
        lost = lost_in_float32(values[known])
        if len(lost):
            found, fix = f"{len(lost)} numbers such as {lost[0]:g}", "use a unit of a fitting size"
            self.notes.add(self.looked.limit, found, "what float32 can hold", fix, "float32")
        return [
            {"limit": value, "unit": column.unit} if told else {}
            for value, told in zip(values.tolist(), known.tolist(), strict=True)
        ]

    def times(self) -> list[float | None]:
        """Return each row's time, None where it is the epoch's."""
        name, spec = self.looked.time, self.spec
        if name is None:
            return [None] * self.table.rows
        column = self.table.columns[name]
        made = self.notes.trial(
            lambda: mjd_of_column(column, spec.time_format, spec.time_scale, spec.time_ref),
            name,
            "correct the specification or the table",
            "time",
        )
        return [] if made is None else [None if np.isnan(time) else time for time in made.tolist()]


def _is_in_hemisphere(corners: tuple[tuple[float, ...], ...]) -> bool:
    try:
        in_polygon(np.zeros(0), np.zeros(0), corners)  # type: ignore[arg-type]
    except BadInput:
        return False
    return True
