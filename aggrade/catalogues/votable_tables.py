"""VOTable (IVOA VOTable 1.4) by astropy: every table of the document, each with the parameters above it.

What astropy would cut or clip with no more than a warning is an error here: two ids that are cut to the same
text, or clipped to the same integer, would be one object.
"""

from __future__ import annotations

import io
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io.votable import parse
from astropy.io.votable.exceptions import W46, W49, W51, VOWarning

from aggrade.catalogues.astropy_tables import from_astropy
from aggrade.catalogues.tables import Column, Table, TimeSystem, Wanted, element_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from astropy.io.votable.tree import Resource, TableElement, VOTableFile

__all__ = ["read_votable"]

_LOSSES = (W46, W49, W51)
_ORIGINS = {"JD-origin": 0.0, "MJD-origin": 2400000.5}
_WARNINGS = threading.Lock()


def read_votable(data: bytes, wanted: Wanted) -> tuple[Table, ...]:
    """Read the wanted columns of every table of a VOTable.

    Raises
    ------
    ValueError
        If the service that made it reports an error or cut the result off, if it holds no table, or if a value
        of a wanted column does not fit the type that the file declares.
    """
    document = _parsed(data, wanted)
    systems = {each.ID: each for each in _time_systems(document)}
    found = [
        _table(table, keys, systems, wanted)
        for resource in document.resources
        for table, keys in _tables(resource, _params(document))
    ]
    if not found:
        raise ValueError("no table")
    return tuple(found)


def _parsed(data: bytes, wanted: Wanted) -> VOTableFile:
    """Parse a document; where anything is lost, only the wanted columns, and nothing of these may be."""
    document, losses = _heard(data, None)
    if not losses:
        return document
    names = {(element_of(name) or (name,))[0] for name in wanted.names} | wanted.names
    tables = [[field.ID for field in table.fields if field.name in names] for table in document.iter_tables()]
    if all(each == tables[0] for each in tables):
        document, losses = _heard(data, tables[0])
    if losses:
        raise ValueError(losses[0])
    return document


def _heard(data: bytes, columns: Sequence[str] | None) -> tuple[VOTableFile, list[str]]:
    """Parse a document and return it with the warnings that tell of lost digits or letters."""
    with _WARNINGS, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", VOWarning)
        document = parse(io.BytesIO(data), columns=columns, verify="warn")
    return document, [str(each.message) for each in heard if issubclass(each.category, _LOSSES)]


def _tables(resource: Resource, above: Mapping[str, Any]) -> Iterator[tuple[TableElement, dict[str, Any]]]:
    """Yield every table of a resource with the parameters above it."""
    for info in resource.infos:
        if info.name == "QUERY_STATUS" and str(info.value).upper() in ("ERROR", "OVERFLOW"):
            cut = "the server cut it off" if str(info.value).upper() == "OVERFLOW" else info.content
            raise ValueError(f"the status of the query is {info.value}: {cut}")
    keys = {**above, **_params(resource)}
    for table in resource.tables:
        yield table, {**keys, **_params(table)}
    for each in resource.resources:
        yield from _tables(each, keys)


def _params(element: Any) -> dict[str, Any]:
    infos = {info.name: info.value for info in getattr(element, "infos", ())}
    return infos | {param.name: _plain(param.value) for param in element.params}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _table(table: TableElement, keys: Mapping[str, Any], systems: Mapping[str, Any], wanted: Wanted) -> Table:
    names = [field.name for field in table.all_fields]
    if doubled := sorted(name for name in wanted.names if names.count(name) > 1):
        raise ValueError(f"several columns called {', '.join(doubled)}")
    read = from_astropy(table.to_table(use_names_over_ids=True), wanted.names, keys)
    timed = {field.name: systems[field.ref] for field in table.fields if field.ref in systems}
    columns = {
        name: Column(each.values, each.missing, each.unit, _system(timed[name])) if name in timed else each
        for name, each in read.columns.items()
    }
    return Table(columns, tuple(names), read.header, read.rows)


def _time_systems(element: Any) -> Iterator[Any]:
    yield from element.time_systems
    for each in element.resources:
        yield from _time_systems(each)


def _system(told: Any) -> TimeSystem:
    origin = told.timeorigin
    if origin is not None:
        origin = _ORIGINS[origin] if origin in _ORIGINS else float(origin)
    scale, place = (
        None if each is None else str(each).lower() for each in (told.timescale, told.refposition)
    )
    return TimeSystem(scale, origin, place)
