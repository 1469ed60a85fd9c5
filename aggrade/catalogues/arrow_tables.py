"""Parquet and CSV by pyarrow, and whatever pyarrow makes of a DataFrame."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from aggrade.catalogues.nesting import flat_table, leaves_of, names_of, parts_of
from aggrade.catalogues.tables import (
    NOTHING,
    Column,
    Table,
    Wanted,
    meant,
    text_column,
    with_masks,
    without_masked,
)

__all__ = ["from_arrow", "read_csv", "read_parquet"]

_OWN_KEYS = (b"ARROW:schema", b"pandas")
_NULLS = [*dict.fromkeys([*pyarrow.csv.ConvertOptions().null_values, *NOTHING])]


def read_parquet(data: bytes, wanted: Wanted) -> tuple[Table, ...]:
    """Read the wanted columns of a Parquet file, nested ones too. A field's metadata ``unit`` is its unit.

    Columns of lists give a row for each element (see `aggrade.catalogues.nesting`).
    """
    file = pyarrow.parquet.ParquetFile(pa.BufferReader(data))
    schema, names = file.schema_arrow, file.schema_arrow.names
    if doubled := sorted(name for name in wanted.names if names.count(name) > 1):
        raise ValueError(f"several columns called {', '.join(doubled)}")
    more = with_masks(wanted)
    known, leaves = names_of(schema), [file.schema.column(index).path for index in range(len(file.schema))]
    found = []
    for part in parts_of(schema, more.names):
        table = file.read(columns=leaves_of(leaves, part))
        rows = flat_table(table, part) if part else table
        read = from_arrow(rows, known, rows.num_rows if part else file.metadata.num_rows)
        found.append(without_masked(read, wanted))
    return tuple(found)


def from_arrow(table: pa.Table, names: tuple[str, ...], rows: int) -> Table:
    """Return a pyarrow table as a `Table`; a field's metadata ``unit`` is its unit."""
    columns = {
        field.name: _column(table.column(index), _unit(field)) for index, field in enumerate(table.schema)
    }
    metadata = table.schema.metadata or {}
    header = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in metadata.items()
        if key not in _OWN_KEYS
    }
    return Table(columns, names, header, rows)


def _unit(field: pa.Field) -> str | None:
    unit = (field.metadata or {}).get(b"unit", b"").decode(errors="replace")
    return unit or None


def _column(chunked: pa.ChunkedArray, unit: str | None) -> Column:
    if pa.types.is_dictionary(chunked.type):
        chunked = chunked.cast(chunked.type.value_type)
    missing = np.asarray(chunked.is_null().to_numpy(), bool)
    kind = chunked.type
    if pa.types.is_null(kind):
        return Column(np.full(len(chunked), np.nan), missing, unit)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return Column(chunked.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(), missing, unit)
    if pa.types.is_floating(kind):
        values = chunked.fill_null(np.nan).to_numpy()
        return Column(values, missing | np.isnan(values), unit)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return text_column(chunked.fill_null("").to_numpy(), missing, unit)
    return Column(np.empty(len(chunked), f"V{1}"), missing, str(kind))


def read_csv(data: bytes, wanted: Wanted) -> Table:
    """Read the wanted columns of a text table: numbers as numbers, names as text or as whole 64-bit integers.

    The separator is the one that the first line has most of: comma, semicolon or tab. Lines before it that
    begin with ``#`` are passed over.
    """
    plain = _without_comments(data.removeprefix(b"\xef\xbb\xbf"))
    first = plain.split(b"\n", 1)[0].decode()
    separator = max(",;\t", key=first.count)
    names = [name.strip() for name in next(csv.reader([first.rstrip("\r")], delimiter=separator), [])]
    there = [name for name in names if name in wanted.names]
    if doubled := sorted(name for name in set(there) if there.count(name) > 1):
        raise ValueError(f"several columns called {', '.join(doubled)}")
    kinds = {name: pa.string() if name in wanted.labels else pa.float64() for name in there}
    table = pyarrow.csv.read_csv(
        io.BytesIO(plain),
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=kinds, include_columns=there or names[:1], null_values=_NULLS
        ),
    )
    read = from_arrow(table, tuple(names), table.num_rows)
    columns = {name: meant(read.columns[name], is_number=name in wanted.numbers) for name in there}
    return Table(columns, read.names, {}, read.rows)


def _without_comments(data: bytes) -> bytes:
    start = 0
    while data.startswith(b"#", start):
        start = data.find(b"\n", start) + 1 or len(data)
    return data[start:]
