"""The layout of a store that an append creates: chunks and shards of every variable, by arithmetic alone."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aggrade.commit.documents import asked_sizes
from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator, Sequence

    import numpy as np
    import xarray as xr

__all__ = ["checked_sizes", "default_layout", "name_problems"]

SMALL_ROW = 64 << 10
SMALL_STEP = 32
SHARED_BYTES = 1 << 20
SHARED_ROWS = 4096
GROWING_ROWS = 128
FEWEST_ROWS = 32
LONGEST_INNER = 256
GROWING_LABELS = 1024
INNER_BYTES = 1 << 20
SHARD_BYTES = 64 << 20
SHORTEST_INNER = 8
SMALL_INNER = 16 << 10
LONGEST_SHARD = 512
LONGEST_ROW = 8192
SHORTEST_SHARD = 32
LARGEST_OBJECT = 512 << 20
TEXT_BYTES = 64
SMALL_MATRIX = 256
MATRIX_BYTES = 16 << 20
INDEX_SHARE = 8
INDEX_ENTRY = 16


def checked_sizes(what: str, wanted: Mapping[str, Any] | None, dataset: xr.Dataset) -> dict[str, Any]:
    """Return chunks or shards as they were asked for, as plain whole numbers.

    Parameters
    ----------
    what
        ``"chunks"`` or ``"shards"``, for people.
    wanted
        ``{dimension: int}`` or ``{variable: tuple}``.
    dataset
        What is to be stored.

    Raises
    ------
    BadInput
        If they are no mapping, a size is no whole number above 0, or a variable's tuple hasn't one for each dimension.
    """
    _check_names(what, wanted)
    asked = dict(wanted or {})
    raise_all(
        (problem for name, size in asked.items() for problem in _size_problems(what, name, size, dataset)),
        BadInput,
    )
    return {
        name: tuple(map(operator.index, size)) if isinstance(size, tuple | list) else operator.index(size)
        for name, size in asked.items()
    }


def _check_names(what: str, wanted: object) -> None:
    if not isinstance(wanted, Mapping | None):
        expected = "{dimension: how many} or {variable: (how many, …)}"
        raise BadInput(Problem(what, repr(wanted), expected, "say how many of each", "chunk-size"))


def _size_problems(what: str, name: str, size: Any, dataset: xr.Dataset) -> Iterator[Problem]:
    several = isinstance(size, tuple | list)
    where, fix = f"{what}[{name!r}]", "say how many, as a whole number above 0"
    if not all(_is_size(item) for item in (size if several else [size])):
        yield Problem(where, repr(size), "whole numbers above 0", fix, "chunk-size")
    dims = dataset.variables[name].dims if name in dataset.variables else ()
    if several and dims and len(size) != len(dims):
        yield Problem(where, repr(size), f"one size for each of {dims}", "give as many", "chunk-size")


def _is_size(item: Any) -> bool:
    try:
        return not isinstance(item, bool) and operator.index(item) > 0
    except TypeError:
        return False


def default_layout(
    dataset: xr.Dataset, dim: str, grow: Sequence[str], chunks: Mapping[str, Any], shards: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return chunks and shards of every variable of a store that is to be created.

    A variable of which a row holds more than 64 kB, or more than 32 bytes for each step of a dimension that may grow,
    gets one row per object, so that an append never touches another layer's, in shards of at most 64 MB. If each such
    step is a matrix (a window of channels and samples) of more than 256 bytes, it is an inner chunk of its own, up to
    16 MB, so that reading it alone reads little else: a shard has so few of them (32 to 512) that its index is at most
    an eighth of one, where they are larger than 4 kB. Else inner chunks hold at most 1 MB and are 8 to 256 long along a
    dimension that may grow, as many as make 16 kB, in shards of up to 8,192.

    Smaller variables share objects of up to 4,096 rows and 1 MB, so that opening a store of many layers stays cheap.
    Along a dimension that may grow, these are 1,024 to 8,192 long, as long as 32 rows fit: each that a layer needs is
    written while the store's lease is held. They are no shards: such an object is replaced, and who reads it by two
    requests would see a mixture. How long the first layer is decides nothing: it may be a short one.

    Parameters
    ----------
    dataset, dim, grow
        As in `aggrade.append`.
    chunks, shards
        What was asked for; it goes before the default, and a default chunk is no longer than the shard asked for.

    Raises
    ------
    BadInput
        If a name is none of the dataset's, if chunks don't divide a shard, or if what was asked for makes objects of
        more than 512 MiB, each of which is put together in memory.
    """
    inner: dict[str, Any] = {}
    outer: dict[str, Any] = {}
    there = dataset.variables, dataset.sizes
    problems = [*name_problems("chunks", chunks, *there), *name_problems("shards", shards, *there)]
    for key, variable in dataset.variables.items():
        name, dims = str(key), [str(d) for d in variable.dims]
        sizes = dict(zip(dims, variable.shape, strict=True))
        chunk, shard = _unit(variable.dtype.itemsize, sizes, dim, grow)
        wanted = asked_sizes(name, dims, shards, [0] * len(dims))
        shortened = [min(*pair) if pair[1] else pair[0] for pair in zip(chunk, wanted, strict=True)]
        inner[name] = asked_sizes(name, dims, chunks, shortened)
        if any(wanted):
            outer[name] = asked_sizes(name, dims, shards, inner[name])
            problems += _uneven(name, dims, inner[name], outer[name])
        elif shard != chunk == inner[name]:
            outer[name] = shard
        if any(wanted) or inner[name] != chunk:
            problems += _too_large(name, variable.dtype, outer.get(name, inner[name]))
    raise_all(problems, BadInput)
    return inner, outer


def name_problems(
    what: str, asked: Mapping[str, Any], variables: Collection[Hashable], dims: Collection[Hashable]
) -> Iterator[Problem]:
    """Demand dimensions for numbers and variables for tuples: what names neither would decide nothing.

    Parameters
    ----------
    what
        ``"chunks"`` or ``"shards"``, for people.
    asked
        As `checked_sizes` returns it.
    variables, dims
        The names that there are.
    """
    for name, size in asked.items():
        kind, there = ("variable", variables) if isinstance(size, tuple) else ("dimension", dims)
        if name not in there:
            expected = f"one of the {kind}s {', '.join(sorted(map(str, there)))}"
            fix = "correct the name (dimensions have a number, variables a tuple), or leave it out"
            yield Problem(f"{what}[{name!r}]", f"a {kind} that there isn't", expected, fix, "chunk-size")


def _uneven(name: str, dims: Sequence[str], chunk: Sequence[int], shard: Sequence[int]) -> Iterator[Problem]:
    for dim, inner, outer in zip(dims, chunk, shard, strict=True):
        if outer % inner:
            below = outer // inner * inner
            near = f"{below} or {below + inner}" if below else str(inner)
            found, expected = f"{outer} along {dim!r}", f"a number of whole chunks of {inner}: {near}"
            fix = "ask for one of these, or for other chunks"
            yield Problem(f"shards of {name!r}", found, expected, fix, "chunk-size")


def _too_large(name: str, dtype: np.dtype[Any], unit: Sequence[int]) -> Iterator[Problem]:
    size = (TEXT_BYTES if dtype.kind in "OUT" else dtype.itemsize) * math.prod(unit)
    if size > LARGEST_OBJECT:
        found = f"objects of {tuple(unit)}, {size:,} bytes each in memory"
        expected = (
            f"at most {LARGEST_OBJECT:,} bytes: each is put together as a whole, however few rows there are"
        )
        fix = "ask for shorter chunks or shards"
        yield Problem(f"chunks of {name!r}", found, expected, fix, "chunk-size")


def _unit(
    itemsize: int, sizes: dict[str, int], dim: str, grow: Sequence[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the inner chunk and the shard of one variable."""
    chunk = {d: max(1, size) for d, size in sizes.items()}
    growing = next((d for d in sizes if d in grow and d != dim), None)
    if dim not in sizes:
        chunk |= {growing: GROWING_LABELS} if growing else {}
        return tuple(chunk.values()), tuple(chunk.values())
    fixed = {d: size for d, size in chunk.items() if d not in (dim, growing)}
    step = itemsize * math.prod(fixed.values())
    if step <= (SMALL_STEP if growing else SMALL_ROW):
        chunk |= {growing: _shared_length(step)} if growing else {}
        rows = GROWING_ROWS if growing else SHARED_ROWS
        chunk |= {dim: min(rows, SHARED_BYTES // (step * (chunk[growing] if growing else 1)))}
        return tuple(chunk.values()), tuple(chunk.values())
    return _row_unit(itemsize, chunk, dim, growing)


def _shared_length(step: int) -> int:
    """Return how long an object that layers share is along a dimension that may grow by so many bytes a step."""
    return min(LONGEST_ROW, _power_of_2(SHARED_BYTES // (FEWEST_ROWS * step)))


def _row_unit(
    itemsize: int, sizes: dict[str, int], dim: str, growing: str | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut one row into inner chunks and shards: along the dimension that may grow, then along the others in order."""
    axes = sorted((d for d in sizes if d != dim), key=lambda d: d != growing)
    matrix = itemsize * math.prod(sizes[d] for d in axes[1:])
    if growing and len(axes) > 2 and SMALL_MATRIX < matrix <= MATRIX_BYTES:
        chunk = {**sizes, dim: 1, growing: 1}
        return tuple(chunk.values()), tuple({**chunk, growing: _matrices(matrix)}.values())
    small = _power_of_2(max(SHORTEST_INNER, min(LONGEST_INNER, SMALL_INNER // matrix)))
    lengths = [LONGEST_ROW if d == growing else sizes[d] for d in axes]
    longest = [small if d == growing else sizes[d] for d in axes]
    each = [itemsize * math.prod(sizes[d] for d in axes[place + 1 :]) for place in range(len(axes))]
    chunk = _fitting(axes, longest, [sizes[d] for d in axes], each, INNER_BYTES)
    shard = _fitting(axes, lengths, [sizes[d] for d in axes], each, SHARD_BYTES)
    whole = {d: max(chunk[d], size // chunk[d] * chunk[d]) for d, size in shard.items()}
    whole |= {d: -(-sizes[d] // chunk[d]) * chunk[d] for d in axes if d != growing and shard[d] == sizes[d]}
    return tuple({**sizes, **chunk, dim: 1}.values()), tuple({**sizes, **whole, dim: 1}.values())


def _matrices(size: int) -> int:
    """Return how many matrices of so many bytes a shard has: a power of 2, so that shards of several arrays nest."""
    most = min(LONGEST_SHARD, SHARD_BYTES // size, max(SHORTEST_SHARD, size // (INDEX_SHARE * INDEX_ENTRY)))
    return _power_of_2(max(1, most))


def _power_of_2(most: int) -> int:
    return 1 << (most.bit_length() - 1)


def _fitting(
    axes: Sequence[str], longest: Sequence[int], sizes: Sequence[int], each: Sequence[int], limit: int
) -> dict[str, int]:
    """Return the largest box of whole trailing axes that holds at most `limit` bytes."""
    box: dict[str, int] = {}
    for place, axis in enumerate(axes):
        box[axis] = max(1, min(longest[place], limit // max(each[place], 1)))
        if each[place] <= limit:
            return box | dict(zip(axes[place + 1 :], sizes[place + 1 :], strict=True))
    return box
