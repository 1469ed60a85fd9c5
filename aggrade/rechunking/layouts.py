"""From what is asked for to array documents: chunk and shard of every array, checked all at once.

A number for a dimension governs every array of two and more dimensions that has it. *Columns*, arrays of one
dimension that larger arrays have too, are read whole by everyone who opens the store: they get the smallest multiple
of that number which holds 65,536 items, so that opening stays cheap. A tuple for a variable is taken as it stands.
Dimensions that are not named keep the source's chunks, arrays of which nothing is named their layout.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from aggrade.commit.documents import Document, dims_of, shape_of, unit_of
from aggrade.errors import BadInput, Problem, raise_all
from aggrade.rechunking.grids import Shape, chunk_codecs, inner_of, is_sharded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["COLUMN_ITEMS", "Asked", "Layout", "asked_layouts", "column_layout", "laid_out", "layout_of"]

COLUMN_ITEMS = 65_536

Asked: TypeAlias = "Mapping[str, int | tuple[int, ...]]"


@dataclass(frozen=True, slots=True)
class Layout:
    """How one array is cut.

    Parameters
    ----------
    chunk
        Shape of what is decoded alone.
    shard
        Shape of what one object holds, a multiple of `chunk`; None if each chunk is an object.
    """

    chunk: Shape
    shard: Shape | None = None


def layout_of(document: Document) -> Layout:
    """Return the layout that an array has."""
    return Layout(inner_of(document), unit_of(document) if is_sharded(document) else None)


def laid_out(document: Document, layout: Layout) -> Document:
    """Return the same array in another layout; codecs, fill value, attributes and names stay."""
    changed = copy.deepcopy(document)
    codecs = copy.deepcopy(chunk_codecs(document))
    changed["codecs"] = codecs if layout.shard is None else [_sharding(layout.chunk, codecs)]
    changed["chunk_grid"] = {
        "name": "regular",
        "configuration": {"chunk_shape": list(layout.shard or layout.chunk)},
    }
    return changed


def _sharding(chunk: Shape, codecs: list[dict[str, Any]]) -> dict[str, Any]:
    index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunk),
            "codecs": codecs,
            "index_codecs": index_codecs,
            "index_location": "end",
        },
    }


def asked_layouts(
    documents: Mapping[str, Document],
    chunks: Asked | None,
    shards: Asked | None,
) -> dict[str, Layout]:
    """Return the layout of every array.

    Parameters
    ----------
    documents
        The source's array documents.
    chunks, shards
        Lengths by dimension (``{"object": 1000, "epoch": -1}``, -1 for the whole length) or by variable
        (``{"eeg": (1, 8, 64, 500)}``). Chunks without shards are objects of their own.

    Raises
    ------
    BadInput
        If a name is neither a dimension nor a variable, a length is not a length, or a shard is not a whole number of
        chunks.
    """
    chunks, shards = dict(chunks or {}), dict(shards or {})
    raise_all(
        [*_name_problems(documents, "chunks", chunks), *_name_problems(documents, "shards", shards)], BadInput
    )
    crowded = {
        dim for document in documents.values() if len(dims_of(document)) > 1 for dim in dims_of(document)
    }
    found = {
        name: _layout(name, document, chunks, shards, column=_is_column(document, crowded))
        for name, document in documents.items()
    }
    raise_all(
        (problem for name, layout in found.items() for problem in _alignment_problems(name, layout)), BadInput
    )
    return found


def _is_column(document: Document, crowded: set[str]) -> bool:
    dims = dims_of(document)
    return len(dims) == 1 and dims[0] in crowded


def _layout(
    name: str, document: Document, chunks: Mapping[str, Any], shards: Mapping[str, Any], *, column: bool
) -> Layout:
    named = set(dims_of(document)) | {name}
    if not shape_of(document) or not named & (set(chunks) | set(shards)):
        return layout_of(document)
    if column and not isinstance(chunks.get(name), tuple) and not isinstance(shards.get(name), tuple):
        (dim,), (size,) = dims_of(document), shape_of(document)
        return column_layout(size, shards.get(dim, chunks.get(dim, size)))
    chunk = _lengths(name, document, chunks, inner_of(document))
    if not _concerns(name, document, shards):
        return Layout(chunk)
    return Layout(chunk, _lengths(name, document, shards, chunk, multiple=True))


def column_layout(size: int, step: int = 1) -> Layout:
    """Return the layout of a column of `size` items: whole steps, together at least `COLUMN_ITEMS`."""
    step = size if step == -1 else step
    return Layout((max(1, min(size, -(-COLUMN_ITEMS // max(1, step)) * step)),))


def _concerns(name: str, document: Document, asked: Mapping[str, Any]) -> bool:
    return isinstance(asked.get(name), tuple) or any(
        isinstance(asked.get(dim), int) for dim in dims_of(document)
    )


def _lengths(
    name: str, document: Document, asked: Mapping[str, Any], default: Shape, *, multiple: bool = False
) -> Shape:
    """Return what is asked for one array; -1 is the whole length, in whole chunks for a shard."""
    wanted = asked.get(name)
    if not isinstance(wanted, tuple):
        by_dim = [asked.get(dim) for dim in dims_of(document)] or [None] * len(default)
        wanted = tuple(
            length if isinstance(length, int) else usual
            for length, usual in zip(by_dim, default, strict=True)
        )
    steps = default if multiple else (1,) * len(default)
    return tuple(
        max(1, -(-size // step)) * step if length == -1 else length
        for length, size, step in zip(wanted, shape_of(document), steps, strict=True)
    )


def _name_problems(
    documents: Mapping[str, Document], parameter: str, asked: Mapping[str, Any]
) -> Iterator[Problem]:
    dims = {dim for document in documents.values() for dim in dims_of(document) if dim}
    for name, wanted in asked.items():
        where = f"{parameter}[{name!r}]"
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            if name not in dims:
                yield _unknown(where, f"no dimension {name!r}", sorted(dims))
            elif not _is_length(wanted):
                yield _not_a_length(where, wanted)
        elif name not in documents:
            yield _unknown(where, f"no variable {name!r}", sorted(documents))
        elif not _is_shape(wanted, len(shape_of(documents[name]))):
            yield _not_a_shape(where, wanted, documents[name])


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value > 0 or value == -1)


def _is_shape(value: Any, dimensions: int) -> bool:
    return isinstance(value, tuple) and len(value) == dimensions and all(map(_is_length, value))


def _unknown(where: str, found: str, names: list[str]) -> Problem:
    return Problem(
        where, found, f"one of {', '.join(names) or 'none'}", "name what the source has", "unknown-name"
    )


def _not_a_length(where: str, found: Any) -> Problem:
    return Problem(
        where, repr(found), "a number above 0, or -1 for the whole length", "give a length", "chunk-length"
    )


def _not_a_shape(where: str, found: Any, document: Document) -> Problem:
    axes = ", ".join(dims_of(document)) or f"{len(shape_of(document))} dimensions"
    expected = f"one length (a number above 0, or -1) for each of ({axes})"
    return Problem(
        where, repr(found), expected, "give a tuple of lengths, or numbers by dimension", "chunk-length"
    )


def _alignment_problems(name: str, layout: Layout) -> Iterator[Problem]:
    if layout.shard is None:
        return
    if any(shard % chunk for shard, chunk in zip(layout.shard, layout.chunk, strict=True)):
        near = tuple(
            -(-shard // chunk) * chunk for shard, chunk in zip(layout.shard, layout.chunk, strict=True)
        )
        yield Problem(
            f"shards of {name!r}",
            f"{layout.shard}, which are not whole numbers of chunks {layout.chunk}",
            f"for example {near}",
            "choose shards that are multiples of the chunks",
            "shard-alignment",
        )
