"""Codecs of arrays that rows are added to: they have to give back what they were given, bit for bit.

A store that another tool made may round values while it compresses them. Rows that an append adds to it would be
others than those that were handed over, and `verify` would say so of every one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.documents import dims_of
from aggrade.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aggrade.asked import Asked

__all__ = ["EXACT", "codecs_are_exact"]

EXACT = frozenset(
    {
        *("bytes", "transpose", "vlen-utf8", "vlen-bytes", "blosc", "crc32c", "gzip", "zstd"),
        *(f"numcodecs.{name}" for name in ("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd")),
        *(f"numcodecs.{name}" for name in ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")),
        "numcodecs.shuffle",
    }
)
"""Codecs of Zarr format 3 that give back what they were given, however they are set."""


def codecs_are_exact(asked: Asked) -> Iterator[Problem]:
    """Demand that what is written along a dimension that grows is stored by codecs known to be lossless."""
    for name in asked.known:
        document = asked.documents[name]
        if asked.moving & set(dims_of(document)):
            for codec in _others(document["codecs"], document["data_type"]):
                found = (
                    f"the codec {codec!r} in the store, of which it can't be known whether values come back"
                )
                expected = "codecs that are lossless, such as zstd, blosc or gzip"
                fix = "write the store anew without it, or use another store"
                yield Problem(f"variable {name!r}", found, expected, fix, "codec")


def _others(codecs: Sequence[dict[str, Any]], data_type: Any) -> Iterator[str]:
    """Yield the names of codecs that are not known to be lossless, those within shards as well."""
    for codec in codecs:
        settings = codec.get("configuration", {})
        if codec["name"] == "sharding_indexed":
            yield from _others(settings["codecs"], data_type)
        elif not _is_exact(codec["name"], settings, data_type):
            yield codec["name"]


def _is_exact(name: str, settings: dict[str, Any], data_type: Any) -> bool:
    """Tell whether a codec is lossless; differences are, of integers that wrap around in the array's own type."""
    match name, data_type:
        case "numcodecs.packbits", "bool":
            return True
        case "numcodecs.delta", str() if data_type.startswith(("int", "uint")):
            return {settings["dtype"], settings.get("astype") or settings["dtype"]} <= _names(data_type)
    return name in EXACT


def _names(data_type: str) -> set[str]:
    """Return how NumPy may call a type whose bytes lie in this machine's order.

    >>> sorted(_names("int16"))[-2:]
    ['i2', 'int16']
    """
    dtype = np.dtype(data_type)
    return {data_type, dtype.str, dtype.str[1:]}
