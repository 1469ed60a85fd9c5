"""What one read costs in each of several layouts of a store, and what it costs to make them. Pure arithmetic.

A read takes every array that has both dimensions that matter: light curves and their status, or a window's samples,
labels and quality. A shard costs a request for its index and one for each chunk, unless it is read whole (zarr may join
chunks that lie near each other); bytes count before compression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aggrade.commit.documents import Document, dims_of, shape_of, unit_of
from aggrade.errors import BadInput, Problem
from aggrade.price import Price, human_bytes
from aggrade.rechunking.grids import inner_of, is_sharded, raw_bytes
from aggrade.rechunking.layouts import asked_layouts, laid_out
from aggrade.rechunking.plan import SourceState, plan_rechunk, target_documents
from aggrade.rechunking.pricing import least_memory
from aggrade.rechunking.suggesting import suggested_layouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrade.rechunking.layouts import Asked

__all__ = ["Comparison", "Offer", "compare_layouts", "read_price"]

_INDEX_BYTES = 16

READS = {
    ("object", "epoch"): {"one light curve": {"object": 1}, "one epoch": {"epoch": 1}},
    ("session", "window"): {"one random window": {"session": 1, "window": 1}, "one session": {"session": 1}},
}
"""Dimensions of a store → what is read of it: for each read, how many items along which dimensions."""

_BLOCKS: dict[tuple[str, str], dict[str, int]] = {
    ("object", "epoch"): {"object": 1000, "epoch": 10},
    ("session", "window"): {"session": 1, "window": -1},
}
"""The layout that suits what grows: blocks of epochs, a session a chunk."""


@dataclass(frozen=True)
class Offer:
    """One layout.

    Parameters
    ----------
    name
        What it is called.
    asked
        Lengths by dimension that give it; nothing where it is the one that is chosen where nothing is asked for.
    reads
        What is read → what that costs.
    making
        What the rechunk costs, its chunks alone; None for the layout that there is.
    too_large
        Why it can't be made within the bound of memory.
    """

    name: str
    asked: Mapping[str, int]
    reads: Mapping[str, Price]
    making: Price | None = None
    too_large: str = ""


@dataclass(frozen=True)
class Comparison:
    """Several layouts side by side; printing it gives a table.

    Parameters
    ----------
    store
        URL of the store.
    offers
        The layouts.
    """

    store: str
    offers: tuple[Offer, ...] = field(default=())

    def __str__(self) -> str:
        names = list(self.offers[0].reads)
        rows = [["layout", *names, "to make it"], *([one.name, *_said(one)] for one in self.offers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([f"{self.store}: requests and bytes before compression", *lines])


def _said(offer: Offer) -> list[str]:
    reads = [
        f"{price.requests['GET']:,} GET, {human_bytes(price.bytes_read)}" for price in offer.reads.values()
    ]
    if offer.making is None:
        return [*reads, offer.too_large or "it is there"]
    requests = sum(offer.making.requests.values())
    return [*reads, f"{requests:,} requests, memory {human_bytes(offer.making.peak_memory)}"]


def compare_layouts(store: str, documents: Mapping[str, Document], max_memory: int) -> Comparison:
    """Compare the layout of a store with the one for reading and with the one that suits what grows.

    Parameters
    ----------
    store
        URL of the store.
    documents
        Its array documents.
    max_memory
        Bytes that one piece of a rechunk may take.

    Raises
    ------
    BadInput
        If the store has neither light curves nor windows.
    """
    kind = _kind(documents)
    blocks = _BLOCKS[kind]
    reading = {
        name: laid_out(documents[name], layout) for name, layout in suggested_layouts(documents).items()
    }
    growing = {
        name: laid_out(documents[name], layout)
        for name, layout in asked_layouts(documents, blocks, None).items()
    }
    sides = [("as it lies", {}, documents), ("for reading", {}, reading), (_label(blocks), blocks, growing)]
    offers = []
    for place, (name, asked, laid) in enumerate(sides):
        reads = {read: read_price(laid.values(), kind, items) for read, items in READS[kind].items()}
        made = _making(documents, asked, max_memory) if place else (None, "")
        offers.append(Offer(name, asked, reads, *made))
    return Comparison(store, tuple(offers))


def _kind(documents: Mapping[str, Document]) -> tuple[str, str]:
    dims = {dim for document in documents.values() for dim in dims_of(document) if dim}
    for kind in READS:
        if set(kind) <= dims:
            return kind
    found = f"a source with the dimensions {', '.join(sorted(dims)) or 'none'}"
    expected = "light curves (object, epoch) or windows (session, window)"
    raise BadInput(Problem("source", found, expected, "give chunks, and compare dry runs", "chunks-needed"))


def _label(asked: Mapping[str, int]) -> str:
    said = ", ".join(f'"{name}": {length}' for name, length in asked.items())
    return f"--chunks '{{{said}}}'"


def _making(documents: Mapping[str, Document], asked: Asked, max_memory: int) -> tuple[Price | None, str]:
    """Return what it costs to make a layout, or why it can't be made."""
    wanted = target_documents(documents, chunks=asked or None)
    enough = max(least_memory(document, wanted[name], max_memory) for name, document in documents.items())
    if enough > max_memory:
        return None, f"needs at least {enough} bytes ({human_bytes(enough)})"
    state = SourceState(store="", generation=0, write_id="")
    return plan_rechunk(state, documents, "", chunks=asked or None, max_memory=max_memory).price, ""


def read_price(documents: Iterable[Document], kind: tuple[str, str], items: Mapping[str, int]) -> Price:
    """Return what it costs to read so many items along some dimensions, and all along the others.

    Parameters
    ----------
    documents
        Array documents of a store.
    kind
        Dimensions that an array must have to be read.
    items
        Dimension → items, which lie in one chunk.
    """
    gets = size = 0
    for document in documents:
        if set(kind) <= set(dims_of(document)) and 0 not in shape_of(document):
            more = _one_read(document, items)
            gets, size = gets + more[0], size + more[1]
    return Price(requests={"GET": gets}, bytes_read=size)


def _one_read(document: Document, items: Mapping[str, int]) -> tuple[int, int]:
    """Return requests and bytes of a read of one array."""
    wanted = [
        min(items.get(dim or "", size), size)
        for dim, size in zip(dims_of(document), shape_of(document), strict=True)
    ]
    inner, unit = inner_of(document), unit_of(document)
    chunks = math.prod(-(-count // step) for count, step in zip(wanted, inner, strict=True))
    shards = math.prod(-(-count // step) for count, step in zip(wanted, unit, strict=True))
    size = chunks * raw_bytes(document, inner)
    if not is_sharded(document):
        return chunks, size
    held = math.prod(whole // step for whole, step in zip(unit, inner, strict=True))
    if chunks >= shards * held:
        return shards, size
    return shards + chunks, size + shards * held * _INDEX_BYTES
