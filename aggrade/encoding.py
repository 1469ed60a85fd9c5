"""From what a user hands over to what a store holds: xarray's own encoders, made exact.

xarray re-bases times, rounds packed numbers and casts silently when it appends (pydata/xarray#5969, #6329,
#10639). Here every variable is encoded by the encoding of the store's own array documents, and
`changed_values` tells where decoding would not give back what was handed over.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.core.buffer.cpu import Buffer as CpuBuffer
from zarr.dtype import parse_dtype
from zarr.storage import MemoryStore

from aggrade.block_guards import as_declared, with_checked_blocks
from aggrade.commit.documents import Document, dims_of, resized, storable
from aggrade.commit.snapshot import root_bytes
from aggrade.errors import Problem, raise_all
from aggrade.exactness import differing, missing
from aggrade.modalities import absent_variables
from aggrade.plain_attributes import plain_attribute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zarr.core.buffer import Buffer

__all__ = [
    "BLOCK_BYTES",
    "blocks_of",
    "calendar_problem",
    "changed_values",
    "encode",
    "encodings",
    "is_exact",
    "labels_as_stored",
    "layer_digest",
    "plain_dataset",
    "store_view",
    "type_problem",
]

_CF_ATTRIBUTES = (
    "units",
    "calendar",
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "_Unsigned",
)
_CF_ENCODING = (*_CF_ATTRIBUTES, "dtype")
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
BLOCK_BYTES = 16 << 20


def plain_dataset(dataset: xr.Dataset) -> xr.Dataset:
    """Return the same dataset with numpy arrays where pandas' own types were, plain attributes and checked blocks."""
    plain = dataset.copy()
    for name, variable in dataset.variables.items():
        if not isinstance(variable.dtype, np.dtype):
            plain = plain.assign({name: (variable.dims, np.asarray(variable.values), variable.attrs)})
        elif variable.chunks is not None:
            plain = plain.assign({name: with_checked_blocks(variable, str(name))})
        plain[name].attrs = {key: plain_attribute(value) for key, value in variable.attrs.items()}
    return plain.drop_attrs(deep=False).assign_attrs(
        {key: plain_attribute(value) for key, value in dataset.attrs.items()}
    )


def _is_unicode(variable: xr.Variable) -> bool:
    """Tell whether text can be stored at all; what is no text is another matter."""
    try:
        storable(variable)
    except (TypeError, UnicodeEncodeError):
        return False
    return True


def _lacks_text(variable: xr.Variable) -> bool:
    """Tell whether NumPy's text has items that are missing: as text, they would be the words "nan" or "None"."""
    if not hasattr(variable.dtype, "na_object"):
        return False
    return not all(isinstance(item, str) for item in variable.values.astype(object).ravel())


def type_problem(name: str, variable: xr.Variable) -> Problem | None:
    """Return why the values of a variable can't be stored at all, None if they can.

    Bytes would come back as text, structured types have no Zarr v3 specification, and times beyond 64 bits of
    nanoseconds would wrap around.
    """
    plain = "numbers, text or times"
    match variable.dtype.kind:
        case "O" | "U" | "T" if not _is_unicode(variable):
            found, expected, fix = "half a surrogate pair", "text", "decode it with errors='replace'"
        case "T" if _lacks_text(variable):
            found, expected, fix = "missing text", "text", "where text is missing, say ''"
        case "S":
            found, expected, fix = "bytes", "text", "decode it: .astype(str)"
        case "V":
            found, expected, fix = f"type {variable.dtype}", plain, "make a variable of each field"
        case "O" if storable(variable).dtype.kind == "O":
            found, expected, fix = (
                "objects that are not text",
                plain,
                "convert it; where text is missing, say ''",
            )
        case "m" | "M" if not _fits_nanoseconds(variable):
            found, expected = "times that nanoseconds can't hold", "times from 1678 to 2262, within 292 years"
            fix = "store them as float64 with a unit"
        case kind if kind not in "OUTmM" and not _is_zarr_type(variable.dtype):
            found, expected, fix = f"type {variable.dtype}", "a type that Zarr has", "convert it to float64"
        case _:
            return None
    return Problem(f"variable {name!r}", found, expected, fix, "type")


@functools.cache
def _is_zarr_type(dtype: np.dtype[Any]) -> bool:
    try:
        parse_dtype(dtype, zarr_format=3)
    except ValueError:
        return False
    return True


def _fits_nanoseconds(variable: xr.Variable) -> bool:
    """Tell whether 64 bits of nanoseconds hold each time, and the difference of any two (xarray takes it)."""
    values = variable.values[~np.isnat(variable.values)]
    try:
        whole = values.astype(f"{variable.dtype.kind}8[ns]")
    except OverflowError:
        return False
    if not (whole.astype(values.dtype) == values).all():
        return False
    numbers = whole.view(np.int64)
    return not numbers.size or int(numbers.max()) - int(numbers.min()) < 2**63


def store_view(documents: Mapping[str, Document], attributes: Mapping[str, Any]) -> xr.Dataset:
    """Return what xarray makes of array documents alone: dims, attributes and encodings, all values fill."""
    held: dict[str, Buffer] = {
        "zarr.json": CpuBuffer.from_bytes(root_bytes(dict(attributes), dict(documents)))
    }
    for name, document in documents.items():
        held[f"{name}/zarr.json"] = CpuBuffer.from_bytes(json.dumps(document).encode())
    view: xr.Dataset = xr.open_zarr(MemoryStore(held), consolidated=True, zarr_format=3, chunks=None)
    return view


def encodings(documents: Mapping[str, Document]) -> dict[str, dict[str, Any]]:
    """Return the CF encoding of every array of a store (CF conventions §8.1, §4.4), read by xarray itself.

    Raises
    ------
    Refused
        If xarray can't open an array, or not as times of NumPy; every such array is named.
    """
    ones = {name: resized(doc, dict.fromkeys(dims_of(doc), 1)) for name, doc in documents.items()}
    raise_all(filter(None, (calendar_problem(name, doc.get("attributes", {})) for name, doc in ones.items())))
    try:
        found = _encodings(json.dumps(ones))
    except (ValueError, TypeError):
        raise_all(filter(None, (_unreadable(name, doc) for name, doc in ones.items())))
        raise
    return {name: dict(encoding) for name, encoding in found.items()}


@functools.lru_cache(maxsize=32)
def _encodings(documents: str) -> dict[str, dict[str, Any]]:
    """Return what `encodings` does; opening some fifty arrays takes longer than all else that is told of a session."""
    view = store_view(json.loads(documents), {})
    return {
        str(name): {key: variable.encoding[key] for key in _CF_ENCODING if key in variable.encoding}
        for name, variable in view.variables.items()
    }


def calendar_problem(name: str, told: Mapping[str, Any]) -> Problem | None:
    """Return why times are none of NumPy's, by their calendar; None if they are, or are no times.

    Parameters
    ----------
    name
        The variable.
    told
        Its attributes or its encoding, units included.
    """
    calendar = told.get("calendar", "standard")
    if "since" not in str(told.get("units", "")) or str(calendar).lower() in _CALENDARS:
        return None
    found, expected = (
        f"times of the calendar {calendar!r}",
        f"a calendar of datetime64: {', '.join(_CALENDARS)}",
    )
    fix = "drop the attribute 'calendar' if it is wrong, or use another store with such times as numbers"
    return Problem(f"variable {name!r}", found, expected, fix, "time-units")


def _unreadable(name: str, document: Document) -> Problem | None:
    """Return why xarray opens no store that has this array, None if it is not for this array."""
    try:
        store_view({name: document}, {})
    except (ValueError, TypeError) as error:
        units = document.get("attributes", {}).get("units")
        if "since" in str(units):
            found, expected = f"units {units!r}", "units that xarray can read as times, or none with 'since'"
            fix = "name another unit, in the store too if it has this one, or convert it to datetime64"
            return Problem(f"variable {name!r}", found, expected, fix, "time-units")
        found, fix = f"what xarray can't open ({error})", "correct its metadata, or use another store"
        return Problem(f"variable {name!r}", found, "an array that xarray opens", fix, "unreadable-array")
    return None


def encode(dataset: xr.Dataset, known: Mapping[str, Mapping[str, Any]]) -> dict[str, xr.Variable]:
    """Return every variable of `dataset` as the store holds it, lazily where it is lazy.

    Parameters
    ----------
    dataset
        Decoded data.
    known
        The store's `encodings`, with one entry for each variable of `dataset`.

    Returns
    -------
    dict
        Name → variable in the array's own dtype.
    """
    return {
        str(name): _encode(variable, str(name), known[str(name)])
        for name, variable in dataset.variables.items()
    }


def _encode(variable: xr.Variable, name: str, encoding: Mapping[str, Any]) -> xr.Variable:
    plain = storable(variable)
    if plain.dtype.kind == "T":
        return plain.astype(encoding["dtype"]) if _is_fixed_text(encoding) else plain
    attrs = {key: value for key, value in variable.attrs.items() if key not in encoding}
    unused = {"missing_value"} if "_FillValue" in encoding else set()
    used = {key: value for key, value in encoding.items() if key not in unused}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what xarray warns of is compared by `changed_values`
        raw = xr.conventions.encode_cf_variable(xr.Variable(plain.dims, plain.data, attrs, used), name=name)
    dtype = np.dtype(encoding["dtype"])
    return raw if raw.dtype == dtype else raw.astype(dtype, keep_attrs=True)


def _is_fixed_text(encoding: Mapping[str, Any]) -> bool:
    return bool(np.dtype(encoding.get("dtype", "O")).kind == "U")


def is_exact(variable: xr.Variable, encoding: Mapping[str, Any]) -> bool:
    """Tell whether encoding and decoding can't change a value, so that nothing needs to be compared."""
    if storable(variable).dtype.kind == "T":
        return not _is_fixed_text(encoding)
    changes = {"scale_factor", "add_offset", "units", "_Unsigned"} & set(encoding)
    masks = any(_is_value(encoding[key]) for key in ("_FillValue", "missing_value") if key in encoding)
    return not changes and not masks and variable.dtype == np.dtype(encoding["dtype"])


def _is_value(fill: Any) -> bool:
    """Tell whether a fill is one that a user's value could equal: any but NaN."""
    return not missing(np.atleast_1d(fill)).all()


def changed_values(variable: xr.Variable, name: str, encoding: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Return the first value that would not come back as it was handed over, and what would come back.

    Overflow, rounding, cut text, re-based times and values that the store takes for missing all show up here:
    values are decoded by the store's encoding, whatever xarray made of it when it encoded them.
    """
    if is_exact(variable, encoding):
        return None
    rows = variable.shape[0] if variable.ndim else 1
    step = max(1, BLOCK_BYTES * rows // max(variable.nbytes, 1)) if variable.ndim else 1
    for start in range(0, rows, step):
        part = (variable[start : start + step] if variable.ndim else variable).load()
        try:
            back = _round_trip(part, name, encoding)
        except (ValueError, OverflowError):  # an instant that the store's time units can't tell
            return np.atleast_1d(part.values).flat[0], "what can't be read"
        before, after = np.atleast_1d(storable(part).values), np.atleast_1d(back.values)
        different = differing(before, after)
        if different.any():
            place = np.unravel_index(int(np.argmax(different)), different.shape)
            return before[place], after[place]
    return None


def _round_trip(variable: xr.Variable, name: str, encoding: Mapping[str, Any]) -> xr.Variable:
    """Return what readers see of a variable once it is stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = _encode(xr.Variable(variable.dims, variable.data), name, encoding)
        raw.attrs |= {key: encoding[key] for key in _CF_ATTRIBUTES if key in encoding}
        raw.encoding = {}  # what the encoder left there, the decoder would not overwrite
        back: xr.Variable = xr.conventions.decode_cf_variable(name, raw)
    return back


def labels_as_stored(variable: xr.Variable, name: str, encoding: Mapping[str, Any]) -> xr.Variable:
    """Return labels that are numbers in the store's type, so that each has one spelling.

    Readers may see whole numbers as floats, where the store declares one of them missing.

    Parameters
    ----------
    variable
        Labels as they were handed over.
    name
        Of the coordinate.
    encoding
        The store's, from `encodings`.

    Returns
    -------
    xarray.Variable
        The same labels. Those that the store can't hold, and such as are text or times, are left as they are.
    """
    numbers = variable.dtype.kind in "biuf" and np.dtype(encoding.get("dtype", "O")).kind in "biuf"
    if not numbers or "units" in encoding or changed_values(variable, name, encoding) is not None:
        return variable
    packed = {"scale_factor", "add_offset", "_Unsigned"} & set(encoding)
    values = (_round_trip if packed else _encode)(variable, name, encoding).values
    whole = values + 0 if values.dtype.kind == "f" else values  # -0.0 is 0.0
    return xr.Variable(variable.dims, whole, variable.attrs)


def blocks_of(
    bounds: tuple[tuple[int, int], ...], unit: tuple[int, ...], itemsize: int
) -> Iterator[tuple[slice, ...]]:
    """Cut a half-open box into blocks that end at the edges of units, of some 16 MB each, in C order.

    No two blocks share a unit, so they can be written in any order.
    """
    if any(stop <= start for start, stop in bounds):
        return
    steps = list(unit)
    for axis in reversed(range(len(bounds))):
        start, stop = bounds[axis]
        whole = -(-stop // unit[axis]) - start // unit[axis]
        size = itemsize * int(np.prod([min(s, b - a) for s, (a, b) in zip(steps, bounds, strict=True)]))
        steps[axis] = unit[axis] * int(np.clip(BLOCK_BYTES // max(size, 1), 1, whole))
    yield from itertools.product(*(_cuts(*pair, step) for pair, step in zip(bounds, steps, strict=True)))


def _cuts(start: int, stop: int, step: int) -> list[slice]:
    edges = range(start // step * step, stop, step)
    return [slice(max(edge, start), min(edge + step, stop)) for edge in edges]


def layer_digest(variables: Mapping[str, xr.Variable], dim: str, index: int) -> str:
    """Return the digest of one layer's content: names, dtypes, shapes and values as stored.

    Parameters
    ----------
    variables
        Encoded variables; those without `dim` do not count, nor those of a modality that was not recorded.
    dim, index
        Which row.
    """
    total, absent = hashlib.sha256(), absent_variables(variables, dim, index)
    for name in sorted(variables):
        if dim not in variables[name].dims or name in absent:
            continue
        row = variables[name].isel({dim: index})
        total.update(json.dumps([name, list(map(str, row.dims)), str(row.dtype), list(row.shape)]).encode())
        for data in _bytes_of(row, name):
            total.update(data)
    return total.hexdigest()


def _bytes_of(variable: xr.Variable, name: str) -> Iterator[bytes | memoryview]:
    """Yield the values in C order, a block of leading rows at a time; they are what the variable says they are."""
    rows = variable.shape[0] if variable.ndim else 1
    step = max(1, BLOCK_BYTES * rows // max(variable.nbytes, 1)) if variable.ndim else 1
    for start in range(0, rows, step):
        part = variable[start : start + step] if variable.ndim else variable
        values = np.asarray(part.values)
        if values.dtype.kind not in "OUT" or variable.dtype.kind not in "OUT":
            values = as_declared(values, name, variable.dtype, part.shape)
        if values.dtype.kind in "OT":
            yield json.dumps([str(item) for item in values.ravel()]).encode()
        else:
            plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            yield plain.reshape(-1).view(np.uint8).data
