"""A first draft of a specification, guessed from the names, units and values of one file's columns.

Nothing in aggrade uses a guess by itself: it is printed for a person to check, complete and keep. What the file does
not tell is left as ``?``, which every reader of a specification refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aggrade.catalogues import usual_names
from aggrade.catalogues.cells import numbers_of
from aggrade.catalogues.interpreting import key_of_value
from aggrade.catalogues.pairing import Pair, band_of, pairs_among
from aggrade.catalogues.reading import read_tables
from aggrade.catalogues.spec import TIME_SCALES
from aggrade.catalogues.tables import Column, Wanted
from aggrade.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggrade.catalogues.tables import Table

__all__ = ["UNKNOWN", "Guess", "guess_spec"]

UNKNOWN = "?"
"""What stands where the file does not tell."""
_MOST_BANDS = 20
_SENTINEL = 90.0


@dataclass(frozen=True)
class Guess:
    """A draft of a specification, and why it is as it is.

    Parameters
    ----------
    spec
        The draft; `UNKNOWN` where the file does not tell.
    remarks
        Sentences: what was taken for what, what is unknown, what was left out.
    """

    spec: dict[str, Any]
    remarks: tuple[str, ...]


def guess_spec(data: bytes, name: str) -> Guess:
    """Guess a specification from one file.

    Parameters
    ----------
    data
        The whole file.
    name
        Its name.

    Raises
    ------
    BadInput
        If it can't be read.
    """
    draft = _Draft(_all_columns(data, name), name)
    return Guess(draft.spec(), tuple(draft.remarks))


def _all_columns(data: bytes, name: str) -> Table:
    """Read every column; nested ones by their fields' names alone, those of the structures that give most rows."""
    names = read_tables(data, name, Wanted())[0].names
    plain = [each for each in names if "." not in each]
    groups = dict.fromkeys(each.partition(".")[0] for each in names if "." in each)
    nested = [
        _nested(data, name, plain, {each for each in names if each.startswith(f"{group}.")})
        for group in groups
    ]
    found = [table for table in nested if table is not None]
    if found:
        return max(found, key=lambda table: (table.rows, len(table.columns)))
    return read_tables(data, name, Wanted(labels=frozenset(names)))[0]


def _nested(data: bytes, name: str, plain: list[str], paths: set[str]) -> Table | None:
    """Return plain columns beside the fields of one structure, None if these can't be read without their paths."""
    fields = {path.partition(".")[2] for path in paths}
    try:
        tables = read_tables(data, name, Wanted(labels=frozenset([*plain, *fields])))
    except BadInput:
        return None
    longest = max(tables, key=lambda table: table.rows)
    return longest if fields <= set(longest.columns) else None


class _Time(NamedTuple):
    column: str | None
    header: str | None
    written: str
    scale: str
    place: str | None


def _simple(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


class _Draft:
    """The draft of a specification as it is made; what is to be said of it collects in `remarks`."""

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        order = {each.rpartition(".")[2]: place for place, each in reversed(list(enumerate(table.names)))}
        order |= {each: place for place, each in enumerate(table.names)}
        self.columns = dict(sorted(table.columns.items(), key=lambda item: order.get(item[0], 0)))
        self.name = name.rpartition("/")[2]
        self.remarks: list[str] = []

    def spec(self) -> dict[str, Any]:
        """Return the whole draft."""
        return {
            **self.objects(),
            **self.times(),
            **self.measurements(),
        }

    def first(self, names: Iterable[str], kinds: tuple[str, ...]) -> str | None:
        """Return the column that bears the first of some simple names and holds what it should."""
        known = {_simple(name): name for name, each in reversed(self.columns.items()) if each.kind in kinds}
        return next((known[each] for each in names if each in known), None)

    def objects(self) -> dict[str, Any]:
        """Return the columns of id and position."""
        found: dict[str, Any] = {}
        ids = self.first(usual_names.IDS, ("integers", "text"))
        if ids and self.is_running(self.columns[ids]):
            self.remarks.append(f"{ids} counts the rows of this file, and is taken for no object's id")
            ids = None
        if ids:
            found["object_id"] = ids
        ra, dec = (self.first(names, ("numbers", "integers")) for names in (usual_names.RA, usual_names.DEC))
        if ra and dec:
            found |= {"ra": ra, "dec": dec}
            self.check_degrees(ra)
        if not found:
            found["object_id"] = UNKNOWN
            self.remarks.append(
                "no column of ids or positions was found; name one, or a part of the file's name"
            )
        return found

    def is_running(self, column: Column) -> bool:
        """Tell whether integers count the rows."""
        return column.kind == "integers" and np.array_equal(
            column.values - column.values[:1], np.arange(len(column.values))
        )

    def check_degrees(self, ra: str) -> None:
        """Remark on right ascensions that are no degrees."""
        unit = self.columns[ra].unit
        if unit and not unit.casefold().startswith("deg"):
            self.remarks.append(f"{ra} is in {unit!r}; degrees are needed")

    def times(self) -> dict[str, Any]:
        """Return what tells the times and the epochs."""
        time = self.time()
        if time.scale == UNKNOWN:
            self.remarks.append(f"time_scale is unknown: write one of {', '.join(TIME_SCALES)}")
        said: dict[str, Any] = (
            {"time": time.column} if time.column else {"epoch_time": time.header or UNKNOWN}
        )
        if time.written != "mjd":
            said["time_format"] = time.written
        said["time_scale"] = time.scale
        if time.place:
            said["time_ref"] = time.place
        return {**said, "epoch": self.epoch(time.column)}

    def time(self) -> _Time:
        """Return the column of times, else the header's key."""
        known = [
            name
            for name, each in self.columns.items()
            if each.time is not None or (usual_names.TIME.fullmatch(_simple(name)) and each.kind != "text")
        ]
        if known:
            name = min(known, key=lambda each: ("mean" not in each.lower(), list(self.columns).index(each)))
            return self.time_of_column(name)
        key = next((each for each in usual_names.HEADER_TIMES if each in self.table.header), None)
        if key is None:
            self.remarks.append("no time was found: name a column by 'time', or a header key by 'epoch_time'")
        written = {"D": "isot", "J": "jd"}.get((key or "M")[0], "mjd")
        told = str(self.table.header.get("TIMESYS", "")).strip().lower()
        return _Time(None, key, written, told if told in TIME_SCALES else UNKNOWN, None)

    def time_of_column(self, name: str) -> _Time:
        """Return what a column of times says of itself."""
        column, simple = self.columns[name], _simple(name)
        told = column.time.scale if column.time else None
        scale = told or next(
            (each for each in ("tai", "utc", "tdb", "tcb") if simple.endswith(each)), UNKNOWN
        )
        places = {"hjd": "heliocentric", "hmjd": "heliocentric", "bjd": "barycentric", "bmjd": "barycentric"}
        place = next((places[each] for each in places if simple.startswith(each)), None)
        if column.time and (column.time.place or "").startswith("barycent"):
            place = "barycentric"
        values = numbers_of(column)
        is_jd = (
            column.time is None and bool(np.nanmedian(values) > 1e6)
            if column.missing.sum() < len(values)
            else False
        )
        return _Time(name, None, "jd" if is_jd else "mjd", scale if scale in TIME_SCALES else UNKNOWN, place)

    def epoch(self, time: str | None) -> dict[str, str]:
        """Return what tells the epochs apart: a column, the time, or digits in the file's name."""
        column = self.first(usual_names.EPOCHS, ("integers", "text"))
        if column:
            return {"column": column}
        if time and len(np.unique(self.columns[time].values)) > 1:
            self.remarks.append(f"each {time} is taken for an epoch of its own")
            return {"column": time}
        digits = max(re.finditer(r"\d+", self.name), key=lambda each: len(each[0]), default=None)
        if digits is None:
            self.remarks.append(
                "nothing tells the epochs apart: name a column, a header key, or a part of the file's name"
            )
            return {
                "filename": f"(.+){re.escape(self.name[self.name.rfind('.') :])}"
                if "." in self.name
                else "(.+)"
            }
        before, after = (
            re.sub(r"\d+", r"\\d+", re.escape(part))
            for part in (self.name[: digits.start()], self.name[digits.end() :])
        )
        return {"filename": f"{before}(\\d+){after}"}

    def measurements(self) -> dict[str, Any]:
        """Return values, errors and units, one measurement per band."""
        numbers = {name: each for name, each in self.columns.items() if each.kind in ("numbers", "integers")}
        kind, pairs = pairs_among(numbers)
        if not pairs:
            self.remarks.append("no magnitude or flux was found: name columns by 'measurements'")
            return {"measurements": {UNKNOWN: {"value": UNKNOWN}}, "value": "mag"}
        self.tell_others(numbers, kind, pairs)
        band = self.first(usual_names.BANDS, ("integers", "text"))
        parts = dict(self.rows_of_bands(pairs, band) if band else self.columns_of_bands(pairs))
        units = {self.columns[each["value"]].unit for each in parts.values()} - {None}
        found: dict[str, Any] = {"measurements": parts, "value": kind}
        if len(units) == 1 or (kind == "mag" and not units):
            found["unit"] = units.pop() if units else "mag"
        elif not units:
            self.remarks.append("no unit of flux was found: name it by 'unit'")
        return {**found, **self.filter(band), **self.ranges(pairs, kind)}

    def tell_others(self, numbers: Mapping[str, Column], kind: str, pairs: list[Pair]) -> None:
        """Remark on fluxes beside magnitudes, or the other way round."""
        taken = {pair.value for pair in pairs}
        other, rest = pairs_among({name: each for name, each in numbers.items() if name not in taken})
        if other != kind and any(pair.error for pair in rest):
            names = ", ".join(pair.value for pair in rest)
            self.remarks.append(f"{kind} is taken, though {names} could be read as {other}")

    def rows_of_bands(self, pairs: list[Pair], band: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield one measurement per band, of a table with a row per band."""
        column = self.columns[band]
        names = np.unique(column.values[~column.missing])
        if len(pairs) > 1:
            others = ", ".join(pair.value for pair in pairs[1:])
            self.remarks.append(f"{pairs[0].value} is taken for the value; {others} could be, too")
        if len(names) > _MOST_BANDS:
            yield pairs[0].value, self.measurement(pairs[0])
            return
        for name in names.tolist():
            yield key_of_value(name), {**self.measurement(pairs[0]), "where": {band: name}}

    def columns_of_bands(self, pairs: list[Pair]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield one measurement per pair of columns, by the band in its name where that tells them apart."""
        bands = [band_of(pair.value) for pair in pairs]
        apart = len(set(bands)) == len(bands) and "" not in bands
        for pair, name in zip(pairs, bands, strict=True):
            yield (name if apart else pair.value), self.measurement(pair)

    def measurement(self, pair: Pair) -> dict[str, Any]:
        """Return one measurement."""
        limit = self.first(usual_names.LIMITS, ("numbers",))
        flags = self.first(usual_names.FLAGS, ("integers",))
        named = {"value": pair.value, "error": pair.error, "limit": limit, "flags": flags}
        return {key: value for key, value in named.items() if value}

    def filter(self, band: str | None) -> dict[str, Any]:
        """Return the header key of the filter, if no column tells it."""
        key = next((each for each in usual_names.HEADER_FILTERS if each in self.table.header), None)
        return {"filter": {"header": key}} if key and not band else {}

    def ranges(self, pairs: list[Pair], kind: str) -> dict[str, Any]:
        """Return a range of values if there are sentinels such as 99 among magnitudes."""
        values = np.concatenate([numbers_of(self.columns[pair.value]) for pair in pairs])
        if kind != "mag" or not (np.abs(values) >= _SENTINEL).any():
            return {}
        self.remarks.append(
            "magnitudes of 90 and more, or -90 and less, are taken for sentinels (value_range)"
        )
        return {"value_range": [-50.0, 50.0]}
