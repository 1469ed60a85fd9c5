"""The plan of an append: a frozen value made by a pure function of the store's state and what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import asked_sizes, dims_of, resized, shape_of, unit_of
from aggrade.commit.plan import BackupKind, Base, CommitPlan, Layer, Region
from aggrade.errors import Problem, Refused
from aggrade.price import Price

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from aggrade.commit.documents import Document
    from aggrade.commit.layers import LayerRecord
    from aggrade.commit.snapshot import Snapshot

__all__ = ["AppendPlan", "OnConflict", "default_layout", "is_superseded", "plan_append"]

OnConflict = Literal["refuse", "replace"]

_SHARED_ROWS = 4096
_SMALL_ROW = 64 << 10
_INNER_BYTES = 1 << 20
_SHARD_BYTES = 64 << 20


class AppendPlan(BaseModel):
    """What an append will do. Printing it is the dry run.

    A plan without a commit means that every layer is there already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(description="URL of the Zarr store.")
    dim: str = Field(description="The dimension that grows.")
    new: tuple[Layer, ...] = Field(default=(), description="Layers that will be added.")
    there: dict[str, str] = Field(
        default_factory=dict, description="Label of a layer that is there → its commit."
    )
    commit: CommitPlan | None = Field(default=None, description="The commit, unless there is nothing to do.")
    price: Price = Field(default_factory=Price, description="What it will cost.")

    def __str__(self) -> str:
        lines = [f"append to {self.store}, along {self.dim}"]
        lines += [f"  already there, nothing to do: {label}" for label in self.there]
        lines += [f"  + {layer.label} at index {layer.index}{_replaces(layer)}" for layer in self.new]
        if self.commit is not None:
            created = (
                "creates the store"
                if self.commit.base is None
                else f"on generation {self.commit.base.generation}"
            )
            lines.append(f"  {created}; backup: {self.commit.backup}")
            lines.append(f"  {self.price}")
        return "\n".join(lines)


def _replaces(layer: Layer) -> str:
    return "" if layer.supersedes is None else f", replaces row {layer.supersedes}"


def default_layout(
    dataset: xr.Dataset, dim: str, grow: Sequence[str], chunks: Mapping[str, Any], shards: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return chunks and shards of every variable of a store that is to be created.

    A variable with more than 64 kB in a row gets one row per object, so that an append never touches another
    layer's: inner chunks of at most 1 MB along the first dimension that may grow (1 to 8 long), in shards of
    some 64 MB. Smaller ones share objects of 4,096 rows, so that opening a store of many layers stays cheap.

    Parameters
    ----------
    dataset, dim, grow
        As in `aggrade.append`.
    chunks, shards
        What was asked for; it goes before the default.
    """
    inner: dict[str, Any] = {}
    outer: dict[str, Any] = {}
    for key, variable in dataset.variables.items():
        name, dims = str(key), [str(d) for d in variable.dims]
        chunk, shard = _unit(variable, dict(zip(dims, variable.shape, strict=True)), dim, grow)
        inner[name] = asked_sizes(name, dims, chunks, chunk)
        if name in shards or set(shards) & set(dims):
            outer[name] = asked_sizes(name, dims, shards, inner[name])
        elif shard != chunk == inner[name]:
            outer[name] = shard
    return inner, outer


def _unit(
    variable: xr.Variable, sizes: dict[str, int], dim: str, grow: Sequence[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the inner chunk and the shard of one variable."""
    chunk = {d: max(1, size) for d, size in sizes.items()}
    growing = next((d for d in sizes if d in grow and d != dim), None)
    if dim not in sizes:
        chunk |= {growing: 1024} if growing else {}
        return tuple(chunk.values()), tuple(chunk.values())
    row = variable.dtype.itemsize * int(np.prod([size for d, size in sizes.items() if d != dim] or [1]))
    if row <= _SMALL_ROW:
        chunk |= {dim: _SHARED_ROWS} if growing is None else {dim: _SHARED_ROWS // 32, growing: 256}
        return tuple(chunk.values()), tuple(chunk.values())
    chunk[dim] = 1
    shard = dict(chunk)
    if growing is not None:
        each = max(1, row // max(1, sizes[growing]))
        chunk[growing] = int(np.clip(_INNER_BYTES // each, 1, 8))
        shard[growing] = chunk[growing] * int(np.clip(_SHARD_BYTES // (each * chunk[growing]), 1, 64))
    return tuple(chunk.values()), tuple(shard.values())


def is_superseded(snapshot: Snapshot | None, index: int) -> bool:
    """Tell whether a row has been replaced by a later one."""
    return snapshot is not None and index in snapshot.mark.get("superseded", [])


def plan_append(
    *,
    store: str,
    snapshot: Snapshot | None,
    variables: Mapping[str, xr.Variable],
    documents: Mapping[str, Document],
    attributes: Mapping[str, Any],
    dim: str,
    grow: Sequence[str],
    digests: Mapping[str, str],
    records: Mapping[str, LayerRecord],
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
) -> AppendPlan:
    """Make the plan. Pure: it opens nothing.

    Parameters
    ----------
    store
        URL, for people.
    snapshot
        The store's state; None if there is no store.
    variables
        Encoded variables; those along `dim` have one row per label of `digests`, in that order.
    documents, attributes
        Array documents and root attributes as the store has them, or as it will get them.
    dim, grow
        As in `aggrade.append`.
    digests
        Label → digest of each layer that is asked for.
    records
        Label → record of those that are there.
    on_conflict
        ``"replace"`` adds the new content as a new row and marks the old one superseded.
    backup
        As in `aggrade.append`.

    Raises
    ------
    Refused
        If a layer is there with other content and may not be replaced.
    """
    same = {label: record.write_id for label, record in records.items() if record.digest == digests[label]}
    differing = {label: record for label, record in records.items() if label not in same}
    if differing and on_conflict == "refuse":
        raise Refused(*(_differs(store, record) for record in differing.values()))
    first = snapshot.length(dim) if snapshot else 0
    own = {str(d): v.sizes[d] for v in variables.values() for d in v.dims if d in grow}
    wanted = [label for label in digests if label not in same]
    new = tuple(
        Layer(
            label=label,
            index=first + i,
            digest=digests[label],
            sizes=own,
            supersedes=differing[label].index if label in differing else None,
        )
        for i, label in enumerate(wanted)
    )
    if not new:
        return AppendPlan(store=store, dim=dim, there=same)
    commit = _commit(store, snapshot, documents, attributes, dim, grow, own, new, backup)
    return AppendPlan(
        store=store, dim=dim, new=new, there=same, commit=commit, price=_price(commit, snapshot, variables)
    )


def _differs(store: str, record: LayerRecord) -> Problem:
    return Problem(
        f"layer {record.label!r}",
        f"the same label with other content at index {record.index} of {store}",
        "a new label, or the same content",
        "check which is right; to replace the old one pass on_conflict='replace'",
        "layer-differs",
    )


def _commit(
    store: str,
    snapshot: Snapshot | None,
    documents: Mapping[str, Document],
    attributes: Mapping[str, Any],
    dim: str,
    grow: Sequence[str],
    own: Mapping[str, int],
    new: tuple[Layer, ...],
    backup: BackupKind,
) -> CommitPlan:
    first, last = new[0].index, new[-1].index + 1
    sizes = {dim: last} | {d: max(size, snapshot.length(d) if snapshot else 0) for d, size in own.items()}
    after = {name: resized(document, sizes) for name, document in documents.items()}
    regions = []
    for name, document in after.items():
        bounds = _bounds(
            document, documents[name] if snapshot and snapshot.documents else None, dim, (first, last), own
        )
        if bounds is not None:
            regions.append(Region(variable=name, bounds=bounds))
    superseded = [layer.supersedes for layer in new if layer.supersedes is not None]
    mark: dict[str, Any] = {"dim": dim, "grow": list(grow)}
    if superseded:
        mark["superseded"] = sorted({*(snapshot.mark.get("superseded", []) if snapshot else []), *superseded})
    return CommitPlan(
        kind="append",
        store=store,
        dim=dim,
        base=Base(etag=snapshot.etag, generation=snapshot.generation) if snapshot else None,
        documents=after,
        attributes=dict(attributes),
        mark=mark,
        regions=tuple(regions),
        layers=new,
        backup=backup,
    )


def _bounds(
    after: Document, before: Document | None, dim: str, rows: tuple[int, int], own: Mapping[str, int]
) -> tuple[tuple[int, int], ...] | None:
    """Return what of one array is written: new rows, new labels of growing dimensions, or all on create."""
    dims, shape = dims_of(after), shape_of(after)
    limits = {d: (0, size) for d, size in own.items()} | {dim: rows}
    if dim in dims or before is None:
        return tuple(limits.get(d, (0, size)) for d, size in zip(dims, shape, strict=True))
    longer = {d: (old, new) for d, old, new in zip(dims, shape_of(before), shape, strict=True) if new > old}
    if not longer:
        return None
    return tuple(longer.get(d, (0, size)) for d, size in zip(dims, shape, strict=True))


def _price(commit: CommitPlan, snapshot: Snapshot | None, variables: Mapping[str, xr.Variable]) -> Price:
    published = snapshot.documents if snapshot else {}
    objects = sum(1 for _ in commit.objects())
    shared = len(commit.shared(published))
    documents = sum(published.get(name) != document for name, document in commit.documents.items())
    kept = 2 if snapshot and commit.backup != "none" else 0
    layers = len(commit.layers)
    return Price(
        requests={
            "GET": 3 + layers + 2 * shared + (1 if kept else 0),
            "PUT": 2 + kept + objects + documents + 1 + 1 + layers,
        },
        round_trips=12,
        bytes_read=sum(_unit_bytes(commit, name, variables) for name in _shared_names(commit, published)),
        bytes_written=sum(v.nbytes for v in variables.values()),
        peak_memory=3 * max((_unit_bytes(commit, name, variables) for name in commit.documents), default=0),
    )


def _shared_names(commit: CommitPlan, published: Mapping[str, Document]) -> list[str]:
    keys = set(commit.shared(published))
    return [name for name, key, _ in commit.objects() if key in keys]


def _unit_bytes(commit: CommitPlan, name: str, variables: Mapping[str, xr.Variable]) -> int:
    itemsize = variables[name].dtype.itemsize if name in variables else 8
    return int(np.prod(unit_of(commit.documents[name]), dtype=np.int64)) * itemsize
