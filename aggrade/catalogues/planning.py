"""The plan of a population: a frozen value made by a pure function of what is known. Printing it is the dry run."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aggrade.catalogues.cube import (
    DATA,
    MOTION_VARIABLES,
    OBJECT_VARIABLES,
    Shape,
    documents_of,
    epochs_at_once,
    epochs_per_border,
    epochs_per_chunk,
)
from aggrade.catalogues.inspecting import EpochReport
from aggrade.catalogues.loading import How
from aggrade.commit.documents import dims_of, resized, shape_of, unit_of
from aggrade.commit.plan import Base, CommitPlan, Layer, Region
from aggrade.errors import Problem, raise_all
from aggrade.price import Price, human_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aggrade.commit import Document, Snapshot

__all__ = ["FilledEpoch", "FilledPiece", "PopulatePlan", "plan_population"]

_PIECE_BYTES = 64 << 20
_PIECE_EPOCHS = 8
_POOR_FILL = 0.01


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FilledEpoch(_Frozen):
    """One epoch and its place in the store."""

    index: int = Field(description="Index along `epoch`.")
    report: EpochReport = Field(description="What the look at it found.")


class FilledPiece(_Frozen):
    """Some neighbouring epochs that one task writes, whole: every chunk that holds them is its own."""

    epochs: tuple[FilledEpoch, ...] = Field(description="In the order of the store.")
    measurements: tuple[str, ...] = Field(description="In the order of the store.")
    objects_digest: str = Field(description="Digest of the object table.")
    epoch_bytes: int = Field(description="Bytes of the cells of one epoch.")
    digest: str = Field(description="Digest of everything that decides what is written.")

    @classmethod
    def of(cls, epochs: Sequence[FilledEpoch], objects_digest: str, shape: Shape) -> Self:
        """Return the piece with its digest."""
        told = [[each.index, each.report.digest, each.report.time] for each in epochs]
        text = json.dumps([told, objects_digest, shape.model_dump(mode="json")])
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(
            epochs=tuple(epochs),
            measurements=tuple(shape.units),
            objects_digest=objects_digest,
            epoch_bytes=shape.epoch_bytes,
            digest=digest,
        )

    @property
    def span(self) -> tuple[int, int]:
        """Half-open range along `epoch`."""
        indices = [each.index for each in self.epochs]
        return min(indices), max(indices) + 1


class PopulatePlan(_Frozen):
    """What a population will do. Printing it is the dry run.

    Making a plan in which two pieces write one chunk raises `Refused`: each would undo what the other wrote.
    """

    store: str = Field(description="URL of the Zarr store.")
    how: How = Field(description="How catalogues are read and matched.")
    shape: Shape = Field(description="Objects, measurements, units and times of the store.")
    objects_digest: str = Field(description="Digest of the object table.")
    pieces: tuple[FilledPiece, ...] = Field(default=(), description="What each task writes.")
    unchanged: tuple[str, ...] = Field(default=(), description="Epochs that are there already.")
    replaced: tuple[str, ...] = Field(default=(), description="Epochs that come in place of those there.")
    added_objects: int = Field(default=0, description="Objects that the store lacks so far.")
    refused: dict[str, str] = Field(default_factory=dict, description="File → why its epochs are left out.")
    commit: CommitPlan | None = Field(default=None, description="The commit, unless there is nothing to do.")
    price: Price = Field(default_factory=Price, description="What it will cost.")
    memory_per_worker: int = Field(default=0, description="Bytes that the largest piece needs at once.")

    @model_validator(mode="after")
    def _one_owner_per_chunk(self) -> Self:
        if self.commit is not None:
            raise_all(_shared_chunks(self.pieces, self.commit.documents))
        return self

    @property
    def epochs(self) -> tuple[FilledEpoch, ...]:
        """The new epochs, in the order of the store."""
        return tuple(epoch for piece in self.pieces for epoch in piece.epochs)

    @property
    def fill(self) -> float:
        """Fraction of the new cells that the catalogues can fill, at most."""
        room = len(self.epochs) * self.shape.objects * len(self.shape.units)
        return sum(epoch.report.cells for epoch in self.epochs) / room if room else 0.0

    @property
    def _beside(self) -> str:
        looked = self.how.spec.footprint is not None
        return ", beside limits where it was looked and nothing was seen" if looked else ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before saying yes."""
        if not self.epochs or self.fill >= _POOR_FILL:
            return ()
        what = "anything" if self.how.spec.footprint is None else "what was seen"
        found = f"only {self.fill:.2%} of the cells will hold {what}"
        advice = "name the objects that matter by an object table, or keep a table of detections"
        return (f"{found}: a dense cube is the wrong shape for so sparse a survey; {advice}",)

    def __str__(self) -> str:
        shape, epochs = self.shape, self.epochs
        lines = [f"populate {self.store}"]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        lines += [f"  refused: {file}: {why}" for file, why in self.refused.items()]
        if self.unchanged:
            lines.append(f"  already there, nothing to do: {_some(self.unchanged)}")
        if self.replaced:
            lines.append(f"  replaces what is there of: {_some(self.replaced)}")
        if self.commit is None:
            return "\n".join([*lines, "  nothing to write"])
        first, last, base = epochs[0].index, epochs[-1].index, self.commit.base
        state = "creates the store" if base is None else f"on generation {base.generation}"
        rows = sum(epoch.report.rows for epoch in epochs)
        names = _some([epoch.report.key for epoch in epochs])
        chunk = unit_of(self.commit.documents["lightcurves"])
        chunks = sum(name in DATA for name, _, _ in self.commit.objects())
        lines += [
            f"  {len(epochs)} new epochs, index {first} to {last}: {names}",
            f"  {shape.objects:,} objects by {len(shape.units)} measurements ({', '.join(shape.units)})",
            f"  {rows:,} rows, fill at most {self.fill:.1%}{self._beside}",
            f"  {chunks:,} chunks of cells, of (object, measurement, value, epoch) {chunk}",
            f"  {state}; {len(self.pieces)} pieces, each the only one to write its chunks",
            f"  {human_bytes(self.memory_per_worker)} of memory per worker",
            f"  {self.price}",
        ]
        if self.added_objects:
            lines.insert(-1, f"  {self.added_objects:,} of the objects are new, behind those that are there")
        return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]} … {names[-1]} ({len(names)})"


def _shared_chunks(pieces: Sequence[FilledPiece], documents: Mapping[str, Document]) -> Iterator[Problem]:
    """Yield a problem for each variable of which several pieces write one chunk."""
    for name in (name for name in DATA if name in documents):
        owners: dict[int, set[int]] = defaultdict(set)
        for number, piece in enumerate(pieces):
            for epoch in piece.epochs:
                owners[epoch.index // epochs_per_chunk(documents[name])].add(number)
        shared = {chunk: sorted(tasks) for chunk, tasks in owners.items() if len(tasks) > 1}
        if shared:
            chunk, tasks = min(shared.items())
            told = (
                f"{len(shared)} chunks with several tasks, such as chunk {chunk} along epoch by tasks {tasks}"
            )
            fix = "put all catalogues of an epoch into one task, and cut tasks at the borders of chunks"
            yield Problem(name, told, "one task for each chunk", fix, "shared-chunk")


def plan_population(
    *,
    store: str,
    snapshot: Snapshot | None,
    how: How,
    shape: Shape,
    objects_digest: str,
    reports: Sequence[EpochReport],
    unchanged: Sequence[str] = (),
    refused: Mapping[str, str] | None = None,
    supersedes: Mapping[str, int] | None = None,
) -> PopulatePlan:
    """Make the plan. Pure: it opens nothing.

    Parameters
    ----------
    store
        URL, for people.
    snapshot
        The store's state; None if there is no store.
    how
        How catalogues are read and matched.
    shape
        What the store is, or will be.
    objects_digest
        Digest of the object table.
    reports
        The new epochs, none of them with a problem.
    unchanged, refused
        Epochs that are there already, and files that are left out with the reason.
    supersedes
        Key of each new epoch that replaces one → index of the row that it replaces.

    Raises
    ------
    Refused
        If two pieces would share a chunk.
    """
    known = PopulatePlan(
        store=store,
        how=how,
        shape=shape,
        objects_digest=objects_digest,
        unchanged=tuple(unchanged),
        refused=dict(refused or {}),
        replaced=tuple(supersedes or ()),
    )
    if not reports:
        return known
    first = snapshot.length("epoch") if snapshot else 0
    ordered = sorted(reports, key=lambda report: (report.time, report.key))
    epochs = [FilledEpoch(index=first + place, report=report) for place, report in enumerate(ordered)]
    there = snapshot.documents if snapshot else {}
    last = first + len(epochs)
    sizes = {"epoch": last, "object": shape.objects}
    after = {name: resized(doc, sizes) for name, doc in there.items()} or documents_of(shape, last)
    pieces = tuple(FilledPiece.of(cut, objects_digest, shape) for cut in _cut(epochs, shape, after))
    commit = _commit(store, snapshot, after, epochs, supersedes or {})
    added = shape.objects - shape_of(there["object"])[0] if there else 0
    looked = 0 if how.spec.footprint is None else 2 * shape.epoch_bytes
    memory = _memory(pieces, shape, after) + looked
    price = _price(commit, snapshot, pieces, shape, memory)
    written = {"pieces": pieces, "commit": commit, "price": price, "memory_per_worker": memory}
    return PopulatePlan(**{**dict(known), **written, "added_objects": added})


def _cut(
    epochs: Sequence[FilledEpoch], shape: Shape, documents: Mapping[str, Document]
) -> Iterator[list[FilledEpoch]]:
    """Cut epochs into pieces of some 64 MiB at the borders of chunks."""
    unit = epochs_per_border(documents)
    per_piece = max(1, min(_PIECE_EPOCHS, _PIECE_BYTES // max(1, shape.epoch_bytes)))
    step = -(-per_piece // unit) * unit
    start = epochs[0].index // unit * unit
    pieces: dict[int, list[FilledEpoch]] = defaultdict(list)
    for epoch in epochs:
        pieces[(epoch.index - start) // step].append(epoch)
    yield from pieces.values()


def _commit(
    store: str,
    snapshot: Snapshot | None,
    documents: Mapping[str, Document],
    epochs: Sequence[FilledEpoch],
    supersedes: Mapping[str, int],
) -> CommitPlan:
    rows = (epochs[0].index, epochs[-1].index + 1)
    creates = snapshot is None or not snapshot.documents
    before = {} if snapshot is None else snapshot.documents
    of_objects = {*OBJECT_VARIABLES, *MOTION_VARIABLES}
    longer = {name for name in before if name in of_objects and before[name] != documents[name]}
    written = [
        name
        for name, document in documents.items()
        if creates or "epoch" in dims_of(document) or name in longer
    ]
    old = {name: (shape_of(before[name])[0], shape_of(documents[name])[0]) for name in longer}
    mark: dict[str, Any] = {"dim": "epoch", "grow": []}
    if supersedes and snapshot is not None:
        mark["superseded"] = sorted({*snapshot.mark.get("superseded", []), *supersedes.values()})
    return CommitPlan(
        kind="populate",
        store=store,
        dim="epoch",
        base=Base(etag=snapshot.etag, generation=snapshot.generation) if snapshot else None,
        documents=dict(documents),
        attributes={"title": "Light curves"} if snapshot is None or creates else snapshot.attributes,
        mark=mark,
        regions=tuple(
            Region(variable=name, bounds=(old[name],) if name in old else _bounds(documents[name], rows))
            for name in written
        ),
        layers=tuple(
            Layer(
                label=each.report.key,
                index=each.index,
                digest=each.report.digest,
                supersedes=supersedes.get(each.report.key),
            )
            for each in epochs
        ),
    )


def _bounds(document: Document, rows: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    sizes = zip(dims_of(document), shape_of(document), strict=True)
    return tuple(rows if dim == "epoch" else (0, size) for dim, size in sizes)


def _memory(pieces: Sequence[FilledPiece], shape: Shape, documents: Mapping[str, Document]) -> int:
    """Return what a task needs: the largest epoch's file and rows, thrice the cells it holds, the object table."""
    epochs = [epoch for piece in pieces for epoch in piece.epochs]
    most = min(epochs_at_once(documents, shape.epoch_bytes), max(len(piece.epochs) for piece in pieces))
    unit = max(most, epochs_per_border(documents))
    per_row = len(shape.units) * (2 * 8 + 2 * 4 + 1 + 8) + 200
    rows = max(sum(s.size for s in e.report.sources) * 2 + e.report.rows * per_row for e in epochs)
    return rows + 3 * unit * shape.epoch_bytes + 300 * shape.objects


def _price(
    commit: CommitPlan, snapshot: Snapshot | None, pieces: Sequence[FilledPiece], shape: Shape, memory: int
) -> Price:
    published = snapshot.documents if snapshot else {}
    shared = len(commit.shared(published))
    documents = sum(published.get(name) != document for name, document in commit.documents.items())
    epochs = [epoch for piece in pieces for epoch in piece.epochs]
    files = {source.url: source.size for epoch in epochs for source in epoch.report.sources}
    table = len(OBJECT_VARIABLES) + shape.motion * len(MOTION_VARIABLES)
    layers, kept, grown = len(commit.layers), 2 if snapshot else 0, len(commit.grown(published))
    return Price(
        requests={
            "GET": 3 + len(files) + 2 * shared + grown + layers + table + len(pieces),
            "PUT": 4 + kept + sum(1 for _ in commit.objects()) + documents + layers + len(pieces),
            "LIST": len(commit.regions),
            "DELETE": len(pieces),
        },
        round_trips=12 + 3 * len(pieces),
        bytes_read=sum(files.values()),
        bytes_written=len(epochs) * shape.epoch_bytes,
        peak_memory=memory,
    )
