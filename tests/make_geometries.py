"""Arrays of random shapes, types, chunks, shards and orders, each with a rechunk that takes most of a bound of memory.

Values follow from their place, so that a copy of gigabytes is checked without reading the array that was copied.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import TransposeCodec
from zarr.storage import MemoryStore

from aggrade.errors import Refused
from aggrade.rechunking.plan import SourceState, plan_rechunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
COUNT = 50
LEAST, MOST = 256 * MIB, 4096 * MIB
BLOCK = 64 * MIB
DTYPES = ("bool", "u1", "i2", "f4", "f4", "f8", "M8[ns]", "c16", "str")
TEXT_BYTES = 128
WORDS = ("", "a", "Ωμέγα", "naïve", "x" * 40)


@dataclass(frozen=True)
class Geometry:
    """One array, how it is stored, and how it is to be stored."""

    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    order: tuple[int, ...] | None
    zarr_format: int
    compressed: bool
    period: int
    to_chunks: tuple[int, ...]
    to_shards: tuple[int, ...] | None
    max_memory: int

    @property
    def layout(self) -> dict[str, Any]:
        """What is asked of `rechunk`."""
        shards = {"x": self.to_shards} if self.to_shards else None
        return {"chunks": {"x": self.to_chunks}, "shards": shards, "max_memory": self.max_memory}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


def geometry(number: int) -> Geometry:
    """Return the geometry of a number below `COUNT`; the bound grows with it, from 256 MiB to 4 GiB."""
    rng = random.Random(number)
    bound = int(LEAST * (MOST / LEAST) ** ((number / (COUNT - 1)) ** 5))
    wanted = bound * (0.6 if rng.random() < 0.7 else 0.1)
    drawn = (_drawn(rng, bound) for _ in itertools.count())
    return next(one for one in drawn if one is not None and priced_memory(one) >= wanted)


def priced_memory(one: Geometry) -> int:
    """Return the memory that the plan states; 0 where the bound is too small."""
    held: dict[str, Any] = {}
    _created(zarr.open_group(MemoryStore(held), zarr_format=3), replace(one, zarr_format=3))
    document = json.loads(held["x/zarr.json"].to_bytes())
    state = SourceState(store="../s.zarr", generation=0, write_id="w")
    try:
        return plan_rechunk(state, {"x": document}, "/t.zarr", **one.layout).price.peak_memory
    except Refused:
        return 0


def _drawn(rng: random.Random, bound: int) -> Geometry | None:
    dtype = rng.choice(DTYPES)
    item = TEXT_BYTES if dtype == "str" else np.dtype(dtype).itemsize
    shape = _shape(rng, rng.uniform(0.6, 1.2) * bound / item)
    chunks, to_chunks = _lengths(rng, shape), _lengths(rng, shape)
    shards, to_shards = _together(rng, shape, chunks), _together(rng, shape, to_chunks)
    units = [(shards or chunks, 3000), (chunks, 20_000), (to_shards or to_chunks, 3000), (to_chunks, 20_000)]
    if any(_count(shape, unit) > most or math.prod(unit) * item > bound // 3 for unit, most in units):
        return None
    zarr_format = 2 if shards is None and dtype != "str" and rng.random() < 0.2 else 3
    axes = tuple(rng.sample(range(len(shape)), len(shape)))
    order = tuple(reversed(range(len(shape)))) if zarr_format == 2 else axes
    return Geometry(
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        order=order if rng.random() < 0.3 and dtype != "str" else None,
        zarr_format=zarr_format,
        compressed=rng.random() < 0.7,
        period=rng.choice((65_537, 1_000_003)),
        to_chunks=to_chunks,
        to_shards=to_shards,
        max_memory=bound,
    )


def _shape(rng: random.Random, items: float) -> tuple[int, ...]:
    shares = [rng.uniform(0.15, 1) for _ in range(rng.randint(1, 4))]
    return tuple(max(1, int(items ** (share / sum(shares)))) for share in shares)


def _lengths(rng: random.Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a chunk that is long along some dimensions and short along the others."""
    return tuple(
        max(1, -(-size // rng.randint(1, 4)) if rng.random() < 0.5 else size // rng.randint(20, 2000))
        for size in shape
    )


def _together(rng: random.Random, shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return a shard, about as often as none."""
    if rng.random() < 0.5:
        return None
    most = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
    return tuple(
        step * rng.randint(1, min(count, rng.choice((1, 4, 64))))
        for step, count in zip(chunk, most, strict=True)
    )


def _count(shape: tuple[int, ...], unit: tuple[int, ...]) -> int:
    return math.prod(-(-size // step) for size, step in zip(shape, unit, strict=True))


def write_source(one: Geometry, path: Path) -> None:
    """Write the array ``x`` of a store with plain zarr, block by block."""
    array = _created(zarr.open_group(path, mode="w", zarr_format=one.zarr_format), one)
    pattern = _pattern(one)
    for region in _regions(one, one.shards or one.chunks):
        array[region] = _values(one, pattern, region)


def _created(group: zarr.Group, one: Geometry) -> zarr.Array:
    """Make the array ``x``, with nothing in it yet."""
    how: dict[str, Any] = {} if one.compressed else {"compressors": None}
    if one.order and one.zarr_format == 3:
        how["filters"] = [TransposeCodec(order=one.order)]
    elif one.order:
        how["order"] = "F"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return group.create_array(
            "x",
            shape=one.shape,
            chunks=one.chunks,
            shards=one.shards,
            dtype=str if one.dtype == "str" else one.dtype,
            dimension_names=[f"d{axis}" for axis in range(len(one.shape))] if one.zarr_format == 3 else None,
            config={"write_empty_chunks": True},
            **how,
        )


def difference(one: Geometry, path: Path) -> str:
    """Return where an array, read by plain zarr, has other values than were written; nothing if it has none."""
    array, pattern = zarr.open_group(path, mode="r")["x"], _pattern(one)
    if array.shape != one.shape or (array.shards or array.chunks) != (one.to_shards or one.to_chunks):
        return f"{array.shape} in {array.chunks} and {array.shards}"
    for region in _regions(one, one.to_shards or one.to_chunks):
        if not _equal(np.asarray(array[region]), _values(one, pattern, region)):
            return str(region)
    return ""


def _equal(found: np.ndarray, wanted: np.ndarray) -> bool:
    if wanted.dtype.kind == "T":
        return bool((found == wanted).all())
    return np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(wanted, found.dtype).tobytes()


def _pattern(one: Geometry) -> np.ndarray:
    """Return the values that repeat along the array, seen as one row."""
    rng = np.random.default_rng(one.period)
    if one.dtype == "str":
        return np.array(WORDS, np.dtypes.StringDType())[rng.integers(0, len(WORDS), one.period)]
    if one.dtype == "bool":
        return rng.integers(0, 2, one.period).astype(bool)
    return np.frombuffer(rng.bytes(one.period * np.dtype(one.dtype).itemsize), one.dtype)


def _values(one: Geometry, pattern: np.ndarray, region: tuple[slice, ...]) -> np.ndarray:
    """Return what lies in a region: the value of an item's place in the whole array."""
    place, step = np.zeros((), np.int32), 1
    for axis in reversed(range(len(region))):
        part = region[axis]
        along = np.arange(part.start, part.stop, dtype=np.int64) * step % one.period
        shape = [-1] + [1] * place.ndim
        place = (along.astype(np.int32).reshape(shape) + place) % one.period
        step = step * one.shape[axis] % one.period
    return pattern[place]


def _regions(one: Geometry, unit: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield regions of whole units with some megabytes each, or one unit if that is larger."""
    item = TEXT_BYTES if one.dtype == "str" else np.dtype(one.dtype).itemsize
    step = list(unit)
    for axis in reversed(range(len(unit))):
        step[axis] *= max(1, min(-(-one.shape[axis] // unit[axis]), BLOCK // (item * math.prod(step))))
    axes = [range(0, size, length) for size, length in zip(one.shape, step, strict=True)]
    for corner in itertools.product(*axes):
        yield tuple(
            slice(start, min(start + length, size))
            for start, length, size in zip(corner, step, one.shape, strict=True)
        )
