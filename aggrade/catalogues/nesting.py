"""Nested columns as rows: lists of numbers, lists of structures, structures of lists.

A list gives a row for each of its elements, beside which the columns that are no lists are repeated; a list of fixed
length is a vector, of which ``name[2]`` is an element. A field of a
structure goes by its path, ``lightcurve.mag``, whichever of the three ways it is nested. Where a name alone is asked for
that is no column, the structures that have a field of that name are meant, and each of them that has all such
fields gives rows of its own: an alert's candidate and its previous candidates are one table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from aggrade.catalogues.tables import element_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["flat_table", "leaves_of", "names_of", "parts_of"]

Path = tuple[str, ...]


def names_of(schema: pa.Schema) -> tuple[str, ...]:
    """Return the names of all columns, and the paths of the fields of structures."""
    return tuple(name for field in schema for name in _names(field))


def _names(field: pa.Field) -> Iterator[str]:
    fields = _fields(field.type)
    yield from [f"{field.name}.{name}" for name in fields] if fields else [field.name]


def _fields(kind: pa.DataType) -> tuple[str, ...]:
    """Return the names of a structure's fields, or of those of a list of structures."""
    inner = kind.value_type if _is_list(kind) else kind
    return (
        tuple(inner.field(index).name for index in range(inner.num_fields))
        if pa.types.is_struct(inner)
        else ()
    )


def _is_list(kind: pa.DataType) -> bool:
    """Tell whether it holds a number of elements that differs from row to row."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _has_elements(kind: pa.DataType) -> bool:
    return _is_list(kind) or bool(pa.types.is_fixed_size_list(kind))


def parts_of(schema: pa.Schema, wanted: Collection[str]) -> list[dict[str, Path]]:
    """Return, for each table that a file holds, the wanted names → column, or column and field.

    Parameters
    ----------
    schema
        The file's.
    wanted
        Names; those that the file lacks are not in the result.

    Raises
    ------
    ValueError
        If structures have some of the fields each, but none has all, so that nobody can say what is meant.
    """
    said = {name: path for name in wanted if (path := _path(schema, name)) is not None}
    groups = {field.name: set(_fields(field.type)) for field in schema}
    bare = {name for name in set(wanted) - set(said) if any(name in fields for fields in groups.values())}
    if not bare:
        return [said]
    having = [group for group, fields in groups.items() if bare <= fields]
    if not having:
        partly = sorted(group for group, fields in groups.items() if bare & fields)
        raise ValueError(
            f"{', '.join(sorted(bare))} are spread over {', '.join(partly)}; name them by their paths"
        )
    return [{**said, **{name: (group, name) for name in bare}} for group in having]


def _path(schema: pa.Schema, name: str) -> Path | None:
    """Return where a name leads by itself: a column, a field by its path, an element of a list."""
    if name in schema.names:
        return (name,)
    column, _, field = name.partition(".")
    while column not in schema.names and "." in field:
        more, _, field = field.partition(".")
        column = f"{column}.{more}"
    if column in schema.names and field in _fields(schema.field(column).type):
        return (column, field)
    element = element_of(name)
    if element and element[0] in schema.names and _has_elements(schema.field(element[0]).type):
        return (element[0], f"[{element[1]}]")
    return None


def leaves_of(leaves: Iterable[str], part: Mapping[str, Path]) -> list[str]:
    """Return the leaves of a file, such as ``candidates.list.element.mag``, that some columns are made of.

    Parameters
    ----------
    leaves
        All of them.
    part
        Name → column, or column and field.
    """
    return [leaf for leaf in leaves if any(_holds(leaf, path) for path in part.values())]


def _holds(leaf: str, path: Path) -> bool:
    column, *field = path
    below = f"{leaf}.".removeprefix(f"{column}.")
    return (
        leaf.startswith(column)
        and below != f"{leaf}."
        and all(each.startswith("[") or f".{each}." in f".{below}" for each in field)
    )


def flat_table(table: pa.Table, part: Mapping[str, Path]) -> pa.Table:
    """Return the named columns, a row for each element where any of them is a list.

    Parameters
    ----------
    table
        The columns that are needed.
    part
        Name → column, or column and field.

    Raises
    ------
    ValueError
        If the lists of a row differ in length.
    """
    columns = {name: _column(table, path) for name, path in part.items()}
    units = {name: table.schema.field(path[0]).metadata for name, path in part.items()}
    lists = {name: each for name, each in columns.items() if _is_list(each.type)}
    if lists:
        parents = _parents(lists)
        columns = {
            name: pc.list_flatten(each) if name in lists else each.take(parents)
            for name, each in columns.items()
        }
    fields = [
        pa.field(name, each.type, metadata=units[name] if len(part[name]) == 1 else None)
        for name, each in columns.items()
    ]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields, table.schema.metadata))


def _parents(lists: Mapping[str, Any]) -> Any:
    """Return for each element the row that it lies in."""
    first, *others = lists
    lengths = pc.fill_null(pc.list_value_length(lists[first]), 0)
    for name in others:
        if not pc.all(pc.equal(pc.fill_null(pc.list_value_length(lists[name]), 0), lengths)).as_py():
            raise ValueError(f"the lists of {first} and {name} differ in length")
    return pc.list_parent_indices(lists[first])


def _column(table: pa.Table, path: Path) -> Any:
    """Return a column, a field of a structure, or a field of the structures in a list, as one array."""
    column = table.column(path[0]).combine_chunks()
    if len(path) == 1:
        return column
    if path[1].startswith("["):
        return pc.list_element(column, int(path[1][1:-1]))
    if pa.types.is_struct(column.type):
        return pc.struct_field(column, path[1])
    values = pc.struct_field(pc.list_flatten(column), path[1])
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(_lengths(column))])
    return pa.LargeListArray.from_arrays(offsets, values)


def _lengths(column: Any) -> Any:
    return pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64())
