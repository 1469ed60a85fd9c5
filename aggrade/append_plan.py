"""The plan of an append: a frozen value made by a pure function of the store's state and what is asked."""

from __future__ import annotations

import itertools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aggrade.append_pricing import price_of, price_of_nothing
from aggrade.channels import grown, length_at, runs_of, same_channels
from aggrade.commit.documents import dims_of, in_grid, key_of, resized, shape_of, unit_of, units_in
from aggrade.commit.plan import BackupKind, Base, CommitPlan, Layer, Region
from aggrade.errors import Problem, Refused
from aggrade.price import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import xarray as xr

    from aggrade.channels import Runs, Union
    from aggrade.commit.catalogue import Place
    from aggrade.commit.documents import Bounds, Document
    from aggrade.commit.layers import LayerRecord
    from aggrade.commit.looking import Look
    from aggrade.commit.snapshot import Snapshot

__all__ = ["AppendPlan", "OnConflict", "is_superseded", "keys_to_read", "occupied", "plan_append"]

OnConflict = Literal["refuse", "replace"]


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
    copied: tuple[str, ...] = Field(
        default=(), description="Variables whose objects are copied from staging as they lie there."
    )
    left_out: tuple[str, ...] = Field(
        default=(), description="Attributes that the store won't keep, since it has its own."
    )
    price: Price = Field(default_factory=Price, description="What it will cost.")

    @property
    def details(self) -> dict[str, Any]:
        """What the receipt says beside what was written."""
        runs = {"channels": self.new[0].runs} if self.new and self.new[0].runs else {}
        several = {"together": len(self.new)} if len(self.new) > 1 else {}
        return runs | several | ({"left_out": list(self.left_out)} if self.left_out else {})

    def costing_more(self, price: Price) -> AppendPlan:
        """Return the same plan at a higher price."""
        return self.model_copy(update={"price": self.price + price})

    def __str__(self) -> str:
        lines = [f"append to {self.store}, along {self.dim}"]
        lines += [f"  already there, nothing to do: {label}" for label in self.there]
        lines += [f"  + {layer.label} at index {layer.index}{_replaces(layer)}" for layer in self.new]
        if self.copied:
            lines.append(f"  copied from staging as they lie there: {', '.join(self.copied)}")
        if self.left_out:
            lines.append(f"  note: not kept, the store has its own: {', '.join(self.left_out)}")
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


def is_superseded(snapshot: Snapshot | None, index: int) -> bool:
    """Tell whether a row has been replaced by a later one."""
    return snapshot is not None and index in snapshot.mark.get("superseded", [])


def keys_to_read(
    documents: Mapping[str, Document], dim: str, sizes: Mapping[Any, int], *, overwritten: bool
) -> list[str]:
    """Return the keys of all that an append needs to know of a store's arrays before it is planned.

    Parameters
    ----------
    documents
        The store's array documents.
    dim
        The dimension that grows.
    sizes
        The sizes of what is to be appended.
    overwritten
        Whether the chunks matter that hold published rows and will hold new ones.

    Returns
    -------
    list of str
        Everything that doesn't grow along `dim`, and these chunks.
    """
    keys = []
    for name, document in documents.items():
        dims, shape = dims_of(document), shape_of(document)
        if dim in dims and not overwritten:
            continue
        bounds = tuple(
            (size, size + sizes.get(dim, 1))
            if d == dim
            else (0, min(size, sizes.get(d, size)) if dim in dims else size)
            for d, size in zip(dims, shape, strict=True)
        )
        keys += [key_of(name, document, i) for i in units_in(document, bounds) if in_grid(document, i)]
    return keys


def plan_append(
    *,
    store: str,
    seen: Look,
    variables: Mapping[str, xr.Variable],
    documents: Mapping[str, Document],
    attributes: Mapping[str, Any],
    dim: str,
    grow: Sequence[str],
    digests: Mapping[str, str],
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    place: Place | None = None,
    union: Union | None = None,
    absent: AbstractSet[str] = frozenset(),
    left_out: Sequence[str] = (),
    lengths: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> AppendPlan:
    """Make the plan. Pure: it opens nothing.

    Parameters
    ----------
    store
        URL, for people.
    seen
        The store's state, with the records of those layers that are there already.
    variables
        Encoded variables; those along `dim` have one row per label of `digests`, in that order.
    documents, attributes
        Array documents and root attributes as the store has them, or as it will get them.
    dim, grow
        As in `aggrade.append`.
    digests
        Label → digest of each layer that is asked for.
    on_conflict
        ``"replace"`` adds the new content as a new row and marks the old one superseded.
    backup
        As in `aggrade.append`.
    place
        Where the dataset's catalogue tells of the store, if one does.
    union
        Which of the store's channels the layers have, where they need not have all of them.
    absent
        Variables that only fill the place of what was not handed over: objects that hold nothing else are not written.
    left_out
        Attributes that the store won't keep, as sentences name them.
    lengths
        Label → dimension → how long that layer is, where it may be shorter than `variables` are.

    Raises
    ------
    Refused
        If a layer is there with other content and may not be replaced.
    """
    snapshot, records = seen.snapshot, seen.records
    runs = dict(union.runs) if union else {}
    same = {
        label: record.write_id
        for label, record in records.items()
        if record.digest == digests[label]
        and _is_on(record, runs, snapshot)
        and not is_superseded(snapshot, record.index)
    }
    differing = {label: record for label, record in records.items() if label not in same}
    live = [record for record in differing.values() if not is_superseded(snapshot, record.index)]
    if live and on_conflict == "refuse":
        raise Refused(*(_differs(store, record) for record in live))
    first = snapshot.length(dim) if snapshot else 0
    growing = {*grow, *runs}
    own = {str(d): v.sizes[d] for v in variables.values() for d in v.dims if d in growing}
    sizes = {str(d): v.sizes[d] for v in variables.values() if dim in v.dims for d in v.dims if d != dim}
    wanted = [label for label in digests if label not in same]
    new = tuple(
        Layer(
            label=label,
            index=first + i,
            digest=digests[label],
            sizes=sizes | {d: size for d, size in lengths.get(label, {}).items() if d in sizes},
            runs=runs,
            supersedes=differing[label].index if label in differing else None,
        )
        for i, label in enumerate(wanted)
    )
    if not new:
        return AppendPlan(store=store, dim=dim, there=same, price=price_of_nothing(seen))
    commit = _commit(store, snapshot, documents, attributes, dim, grow, own, new, backup, absent)
    if snapshot and union and runs:
        told = grown(snapshot.mark, union, first, snapshot.sizes)
        commit = commit.model_copy(update={"mark": {**commit.mark, **told}})
    if place is not None:
        commit = commit.model_copy(update={"mark": {**commit.mark, "catalogue": place.way}})
    price = price_of(commit, seen, variables, place=place)
    noted = tuple(left_out)
    return AppendPlan(store=store, dim=dim, new=new, there=same, commit=commit, left_out=noted, price=price)


def _is_on(record: LayerRecord, runs: Mapping[str, Runs], snapshot: Snapshot | None) -> bool:
    """Tell whether a layer that is there lies on just these channels."""
    mark, sizes = (snapshot.mark, snapshot.sizes) if snapshot else ({}, {})
    lengths = {
        dim: (record.sizes.get(dim, length_at(mark, dim, record.index, sizes[dim])[0]), sizes[dim])
        for dim in {*record.runs, *runs, *mark.get("channels", {})}
        if dim in sizes
    }
    return same_channels(record.runs, runs, lengths)


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
    absent: AbstractSet[str],
) -> CommitPlan:
    first, last = new[0].index, new[-1].index + 1
    sizes = {dim: last} | {d: max(size, snapshot.length(d) if snapshot else 0) for d, size in own.items()}
    after = {name: resized(document, sizes) for name, document in documents.items()}
    regions = []
    for name, document in after.items():
        bounds = _bounds(
            document, documents[name] if snapshot and snapshot.documents else None, dim, (first, last), own
        )
        if bounds is not None and not (name in absent and _is_alone(document, dim)):
            regions += [
                Region(variable=name, bounds=part) for part in _parts(document, bounds, dim, grow, new)
            ]
    superseded = [layer.supersedes for layer in new if layer.supersedes is not None]
    mark: dict[str, Any] = {"dim": dim, "grow": list(grow)}
    if snapshot and "dim" not in snapshot.mark and snapshot.length(dim):
        mark["adopted"] = snapshot.length(dim)
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


def _is_alone(document: Document, dim: str) -> bool:
    """Tell whether each object of an array belongs to one layer."""
    dims = dims_of(document)
    return dim in dims and unit_of(document)[dims.index(dim)] == 1


def _parts(
    document: Document, bounds: Bounds, dim: str, grow: Sequence[str], new: Sequence[Layer]
) -> Iterator[Bounds]:
    """Yield the parts of a region that hold something of new layers; where each has objects of its own, no padding."""
    dims = dims_of(document)
    if dim not in dims:
        yield bounds
    elif not _is_alone(document, dim):
        yield from occupied(document, bounds, new[0].runs)
    else:
        for length, same in itertools.groupby(
            new, lambda layer: {d: layer.sizes[d] for d in dims if d in grow and d in layer.sizes}
        ):
            layers = list(same)
            rows = layers[0].index, layers[-1].index + 1
            own = tuple(
                rows if d == dim else (start, min(stop, length.get(d, stop)))
                for d, (start, stop) in zip(dims, bounds, strict=True)
            )
            yield from occupied(document, own, new[0].runs)


def occupied(document: Document, bounds: Bounds, runs: Mapping[str, Runs]) -> list[Bounds]:
    """Return the parts of a region that hold something of a layer: those whose objects have none of its channels go.

    Parameters
    ----------
    document
        The array's.
    bounds
        The region.
    runs
        Dimension → where the layer's own channels lie.
    """
    axes = [
        [pair] if dim not in runs else _occupied(pair, unit, runs[dim])
        for dim, pair, unit in zip(dims_of(document), bounds, unit_of(document), strict=True)
    ]
    return list(itertools.product(*axes))


def _occupied(bounds: tuple[int, int], unit: int, runs: Runs) -> Runs:
    units = {at for start, stop in runs for at in range(start // unit, -(-stop // unit))}
    edges = ((max(a * unit, bounds[0]), min(b * unit, bounds[1])) for a, b in runs_of(sorted(units)))
    return tuple((start, stop) for start, stop in edges if stop > start)


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
