"""What a rechunk will do, as a frozen value: pieces, price, proof. Pure arithmetic; nothing here opens a store.

A *piece* is a box of whole target objects of one array. Whoever carries it out reads its box of the source in
blocks, then writes its objects; both fit into ``max_memory``. Objects that the next version has in common with the one
served are *kept*: copied from key to key. Every target object lies in exactly one piece, made or kept: the plan counts
and refuses to exist otherwise.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aggrade.commit.documents import Bounds, Document, dims_of, shape_of, unit_of
from aggrade.errors import Problem, raise_all
from aggrade.price import Price, human_bytes
from aggrade.rechunking.bookkeeping import Beside, Looked
from aggrade.rechunking.boxing import cells_in, marked_boxes
from aggrade.rechunking.covering import coverage_gaps
from aggrade.rechunking.grids import Shape, blocks, inner_of, is_sharded, raw_bytes
from aggrade.rechunking.layouts import asked_layouts, laid_out
from aggrade.rechunking.pricing import ArrayPlan, memory_problems, part_of, plan_array, price_of
from aggrade.rechunking.room import Room
from aggrade.rechunking.slots import with_version
from aggrade.rechunking.suggesting import suggested_layouts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrade.rechunking.layouts import Asked
    from aggrade.rechunking.ordering import Order

__all__ = ["Compare", "Piece", "RechunkPlan", "SourceState", "plan_rechunk", "target_documents"]

Compare = Literal["sampled", "full"]
"""How much of a copy is compared with its source before it is published."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceState(_Frozen):
    """Which state of which store is rechunked."""

    store: str = Field(description="URL of the source; relative to the target where both lie in one place.")
    generation: int = Field(description="The source's generation; 0 for a store of another tool.")
    write_id: str = Field(description="The commit that made this state, or the mark of its root metadata.")


class Piece(_Frozen):
    """Whole target objects of one array, written by one task."""

    variable: str
    bounds: tuple[tuple[int, int], ...] = Field(description="Half-open box in items.")
    digest: str = Field(description="Names what is copied: state, array, layout and box.")
    size: int = Field(default=0, description="Bytes of its values.")


class RechunkPlan(_Frozen):
    """Everything that one rechunk will do. Printing it is the dry run.

    Raises
    ------
    Refused
        On construction, if the pieces do not hold every target object exactly once.
    """

    source: SourceState
    target: str = Field(description="URL of the target store.")
    version: int = Field(description="Which version of the target this makes, from 0.")
    max_memory: int = Field(description="Bytes that one piece may take.")
    sources: dict[str, dict[str, Any]] = Field(description="Array documents of the source.")
    documents: dict[str, dict[str, Any]] = Field(description="Array documents of the target.")
    arrays: dict[str, ArrayPlan]
    pieces: tuple[Piece, ...]
    kept: tuple[Piece, ...] = Field(
        default=(), description="What the next version has in common with the one served."
    )
    compare: Compare = Field(
        default="sampled", description="Whether a sample or all of it is compared before it is published."
    )
    bookkeeping: Price = Field(default=Price(), description="What it costs beside chunks, planning included.")
    moved: int = Field(default=0, description="How many objects have another place than in the source.")
    anew: Price | None = Field(default=None, description="What it would cost to keep nothing.")
    room: Room | None = Field(
        default=None,
        description="What is needed on the target's disk, and what there is; None where it has none.",
    )
    prunes: int = Field(
        default=0, description="Objects of former versions that are deleted when the target shows this."
    )
    up_to_date: bool = Field(
        default=False, description="Whether the target shows this already; then nothing is done."
    )

    @model_validator(mode="after")
    def _holds_every_object_once(self) -> Self:
        if self.up_to_date:
            return self
        boxes: dict[str, list[Bounds]] = {name: [] for name in self.documents}
        for piece in (*self.pieces, *self.kept):
            boxes.setdefault(piece.variable, []).append(piece.bounds)
        raise_all(
            _uncovered(name, gap)
            for name, own in boxes.items()
            for gap in (
                coverage_gaps(self.documents[name], own)
                if name in self.documents
                else [f"pieces of {name!r}"]
            )
        )
        return self

    @property
    def reads(self) -> int:
        """How often a chunk of the source is read and decoded."""
        return sum(array.reads for array in self.arrays.values())

    @property
    def writes(self) -> int:
        """Objects of the target, metadata left out."""
        return sum(array.writes for array in self.arrays.values())

    @property
    def copying(self) -> Price:
        """What the chunks alone cost.

        Reads are an upper bound where the source is sharded; memory is that of one piece.
        """
        return price_of(self.arrays.values())

    @property
    def price(self) -> Price:
        """What it will cost in all, if nobody else is at work on the target and no run has died there."""
        return self.copying + self.bookkeeping

    def __str__(self) -> str:
        state = f"{self.source.store} (generation {self.source.generation})"
        title = f"rechunk {state} → {self.target}, version {self.version}"
        if self.up_to_date:
            also = f" but to delete {self.prunes} objects of former versions" if self.prunes else ""
            return f"{title}\n  nothing to do{also}: the target shows this state in this layout already"
        counts = f"{len(self.pieces)} pieces, {self.reads} chunk reads, {self.writes} objects written"
        compared = "all of it is" if self.compare == "full" else "a sample is"
        bound = f"a piece may take {human_bytes(self.max_memory)}; {compared} compared with the source"
        return "\n".join(
            [
                title,
                *self._lines(),
                *self._sorted(),
                f"  {counts}; {bound}",
                f"  {self.price}",
                *self._room(),
                *self._other_way(),
            ]
        )

    def _room(self) -> list[str]:
        """Say what is taken of the target's disk, and what becomes of the version served."""
        lines = [] if self.room is None else [f"  room: {self.room}"]
        if self.version:
            fate = (
                f"is deleted then ({self.prunes} objects)" if self.prunes else "stays until the next rechunk"
            )
            lines.append(f"  version {self.version - 1} is served until this one is whole, and {fate}")
        return lines

    def _sorted(self) -> list[str]:
        """Say that objects were added."""
        return (
            [f"  objects that were added are sorted in: {self.moved:,} have another place"]
            if self.moved
            else []
        )

    def _other_way(self) -> list[str]:
        """Say what a version costs that keeps nothing of the one served, and when that is due."""
        if self.anew is None:
            return []
        if not self.kept:
            why = "each object of the version served holds something that is new or has another layout"
            return [f"  nothing is kept: {why}"]
        due = "due where objects were lost or damaged, or for another layout"
        return [f"  all anew (anew=True) would be {self.anew}; {due}"]

    def _lines(self) -> list[str]:
        """Describe each array, those of one dimension that are one object together."""
        small = [
            name
            for name, array in self.arrays.items()
            if array.writes + array.copies <= 1 and len(shape_of(self.sources[name])) <= 1
        ]
        large = [self._line(name) for name in self.arrays if name not in small]
        return [*large, f"  copied whole: {', '.join(small)}"] if small else large

    def _line(self, name: str) -> str:
        source, target, array = self.sources[name], self.documents[name], self.arrays[name]
        axes = ", ".join(f"{dim}: {size}" for dim, size in zip(_axes(source), shape_of(source), strict=True))
        shard = f" in shards {_by(unit_of(target))}" if is_sharded(target) else ""
        passes = f", each read {array.reads / array.chunks:.1f} times" if array.reads > array.chunks else ""
        kept = f", {array.copies} kept" if array.copies else ""
        if (rolling := array.rolling) is not None:
            strips = sum(1 for _ in blocks(tuple((0, size) for size in shape_of(source)), rolling.strip))
            passes += f" in {strips} strip{'s' * (strips > 1)} of pieces that share them"
        return (
            f"  {name} ({axes}): chunks {_by(inner_of(source))} → {_by(inner_of(target))}{shard}; "
            f"{array.chunks} chunks{passes}, {array.writes} objects{kept}, {human_bytes(array.bytes_written)}"
        )


def _axes(document: Document) -> tuple[str, ...]:
    return tuple(dim or "?" for dim in dims_of(document)) or ("?",) * len(shape_of(document))


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "1"


def _uncovered(name: str, gap: str) -> Problem:
    return Problem(
        f"pieces of {name!r}", gap, "every target object in exactly one piece", "plan it again", "pieces"
    )


def target_documents(
    documents: Mapping[str, Document],
    *,
    chunks: Asked | None = None,
    shards: Asked | None = None,
    version: int = 0,
) -> dict[str, Document]:
    """Return the array documents that the target gets. Parameters and errors as for `plan_rechunk`."""
    if chunks is None and shards is None:
        layouts = suggested_layouts(documents)
    else:
        layouts = asked_layouts(documents, chunks, shards)
    return {
        name: with_version(laid_out(document, layouts[name]), version) for name, document in documents.items()
    }


def plan_rechunk(
    source: SourceState,
    documents: Mapping[str, Document],
    target: str,
    *,
    chunks: Asked | None = None,
    shards: Asked | None = None,
    max_memory: int,
    version: int = 0,
    kept: Mapping[str, Sequence[Bounds]] | None = None,
    compare: Compare = "sampled",
    looked: Looked = Looked(),  # noqa: B008 - frozen
    order: Order | None = None,
) -> RechunkPlan:
    """Plan the rechunk of one state of a store.

    Parameters
    ----------
    source
        The state.
    documents
        Its array documents, in the form of Zarr v3.
    target
        URL of the target.
    chunks, shards
        What is asked for, see `aggrade.rechunking.layouts.asked_layouts`; a good reading layout if neither is given.
    max_memory
        Bytes that the work on one piece may take.
    version
        Which version of the target this makes.
    kept
        Array → boxes of objects that the version served has in common with this one; None if there is none served.
    compare
        Whether a sample or all of it is compared with the source before it is published.
    looked
        What was sent to know all this.
    order
        In which order the target has the source's items; None where it has the same.

    Raises
    ------
    BadInput
        If what is asked for does not fit the source.
    Refused
        If a piece does not fit into `max_memory`; the error names the bound that would do.
    """
    wanted = target_documents(documents, chunks=chunks, shards=shards, version=version)
    raise_all(
        problem
        for name, document in documents.items()
        for problem in memory_problems(name, document, wanted[name], max_memory)
    )
    whole = {
        name: plan_array(document, wanted[name], max_memory, order) for name, document in documents.items()
    }
    same = kept or {}
    boxes = {name: _boxes(wanted[name], whole[name], same.get(name, ())) for name in documents}
    arrays = {
        name: part_of(whole[name], documents[name], wanted[name], boxes[name], order)
        if same.get(name)
        else whole[name]
        for name in documents
    }

    def pieces(found: Mapping[str, Sequence[Bounds]]) -> tuple[Piece, ...]:
        return tuple(
            _piece(source, name, documents[name], wanted[name], bounds)
            for name in documents
            for bounds in found.get(name, ())
        )

    beside = Beside(looked, source.write_id, documents, wanted, is_full=compare == "full", order=order)
    every = {name: _boxes(wanted[name], array, ()) for name, array in whole.items()}
    return RechunkPlan(
        source=source,
        target=target,
        version=version,
        max_memory=max_memory,
        sources=dict(documents),
        documents=wanted,
        arrays=arrays,
        pieces=pieces(boxes),
        kept=pieces(same),
        compare=compare,
        bookkeeping=beside.price(arrays, boxes, same),
        moved=order.moved if order else 0,
        anew=None if kept is None else price_of(whole.values()) + beside.price(whole, every),
    )


def _boxes(document: Document, array: ArrayPlan, kept: Sequence[Bounds]) -> list[Bounds]:
    """Return pieces that hold every object of an array that is not kept, as long and wide as planned at most."""
    everything = tuple((0, size) for size in shape_of(document))
    if array.rolling is not None and not kept:
        rolling = array.rolling
        return [box for strip in blocks(everything, rolling.strip) for box in blocks(strip, rolling.piece)]
    whole = blocks(everything, array.piece)
    if not kept:
        return list(whole)
    made = ~cells_in(document, kept)
    return [part for box in whole for part in marked_boxes(made, document, box)]


def _piece(source: SourceState, name: str, before: Document, after: Document, bounds: Bounds) -> Piece:
    stated = [source.model_dump(), name, before, after, bounds]
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
    size = raw_bytes(before, tuple(stop - start for start, stop in bounds))
    return Piece(variable=name, bounds=bounds, digest=digest, size=size)
