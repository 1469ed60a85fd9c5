"""What a commit will do, as a frozen value that can be printed, stored in the intent and sent elsewhere."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import dims_of, in_grid, key_of, units_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.commit.documents import Document

__all__ = ["BackupKind", "Base", "CommitPlan", "Erasure", "Layer", "Region", "Target", "new_write_id"]

BackupKind = Literal["touched", "full", "none"]


def new_write_id() -> str:
    """Return a name that no other write bears."""
    return secrets.token_hex(12)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(_Frozen):
    """The state that a plan was made for: the root's mark and generation."""

    etag: str
    generation: int


class Layer(_Frozen):
    """One session or epoch: its label, its index along the growing dimension, the digest of its content."""

    label: str
    index: int
    digest: str
    sizes: dict[str, int] = Field(
        default_factory=dict, description="The layer's own length of each dimension."
    )
    runs: dict[str, tuple[tuple[int, int], ...]] = Field(
        default_factory=dict,
        description="Dimension → which indices along it are the layer's, in its own order, where it lacks some.",
    )
    supersedes: int | None = Field(default=None, description="Index of the row that this layer replaces.")


class Region(_Frozen):
    """A half-open box of one array that will be written; its keys follow from the array's document."""

    variable: str
    bounds: tuple[tuple[int, int], ...]


class Target(_Frozen):
    """A region with what its keys follow from, so that it can be understood when the document is gone."""

    variable: str
    bounds: tuple[tuple[int, int], ...]
    unit: tuple[int, ...]
    key_encoding: dict[str, Any]
    content: str = Field(default="", description="Digest of the layers that were to be written there.")

    @property
    def document(self) -> Document:
        """A stand-in document with just the grid and the key encoding."""
        return {
            "shape": [max(stop, 1) for _, stop in self.bounds],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.unit)}},
            "chunk_key_encoding": self.key_encoding,
        }

    def objects(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield key and index of every object of the region."""
        document = self.document
        for index in units_in(document, self.bounds):
            yield key_of(self.variable, document, index), index


class Erasure(_Frozen):
    """What a removal wipes out once the root no longer shows it; enough for whoever has to go on with it."""

    label: str = Field(
        description="The session's id or the epoch's key. It leaves the store with the intent."
    )
    dim: str
    rows: tuple[int, ...] = Field(default=(), description="Every row that has borne the label.")
    since: int = Field(
        default=0, description="The first generation that may have held it; older backups may be free of it."
    )
    purge: bool = Field(default=False, description="Whether backups that hold it are emptied.")
    whole: bool = Field(
        default=False, description="Whether the store holds nothing else and goes as a whole."
    )
    gone: bool = Field(default=False, description="Whether only backups are left of the store.")

    @property
    def leaves_no_store(self) -> bool:
        """Whether there is neither root nor intent once it is done."""
        return self.whole or self.gone


class CommitPlan(_Frozen):
    """Everything that one commit to one Zarr store will do.

    Parameters
    ----------
    kind
        ``"append"``, ``"populate"``, ``"rechunk"`` …
    store
        URL of the Zarr store, for people.
    dim
        The dimension that grows, if one does.
    base
        The state the plan was made for; None creates the store.
    documents
        All array documents after the commit.
    attributes
        The root's attributes after the commit; the key ``aggrade`` is filled in by the transaction.
    mark
        What to keep in ``attributes["aggrade"]`` beside generation and write id.
    regions
        What will be written.
    layers
        The layers that this commit adds.
    backup
        ``"touched"`` copies the objects that will be overwritten, ``"full"`` the whole store.
    sparse
        Whether regions may hold objects that are not written because they are fill.
    inherits
        Whether the root keeps what aggrade kept in it before, where `mark` says nothing else.
    keeps
        Regions of which every object that lies there goes into the backup.
    keeps_also
        Keys of further objects that go into the backup.
    abandons
        Regions that no longer show after the commit: they are dirty then.
    restores
        Name of the backup whose state this commit shows again.
    erases
        What is wiped out after the switch.
    after
        A generation that the new one has to be above, where there is no root to tell.
    """

    kind: str
    store: str
    dim: str | None = None
    base: Base | None = None
    documents: dict[str, dict[str, Any]]
    attributes: dict[str, Any] = Field(default_factory=dict)
    mark: dict[str, Any] = Field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    layers: tuple[Layer, ...] = ()
    backup: BackupKind = "touched"
    sparse: bool = False
    inherits: bool = True
    keeps: tuple[Target, ...] = ()
    keeps_also: tuple[str, ...] = ()
    abandons: tuple[Target, ...] = ()
    restores: str | None = None
    erases: Erasure | None = None
    after: int = 0

    @property
    def content(self) -> str:
        """Digest of the layers: two plans that bear the same one write the same values in the same place."""
        layers = json.dumps([[layer.label, layer.index, layer.digest] for layer in self.layers])
        return hashlib.sha256(layers.encode()).hexdigest() if self.layers else ""

    def targets(self) -> tuple[Target, ...]:
        """Return the regions with all that their keys follow from."""
        return tuple(
            Target(
                variable=region.variable,
                bounds=region.bounds,
                unit=tuple(self.documents[region.variable]["chunk_grid"]["configuration"]["chunk_shape"]),
                key_encoding=self.documents[region.variable]["chunk_key_encoding"],
                content=self.content,
            )
            for region in self.regions
        )

    def objects(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Yield variable, key and index of every object that will be written."""
        for region in self.regions:
            document = self.documents[region.variable]
            for index in units_in(document, region.bounds):
                yield region.variable, key_of(region.variable, document, index), index

    def shared(self, published: Mapping[str, Document]) -> list[str]:
        """Return the keys that exist already: chunks that hold published rows too.

        Parameters
        ----------
        published
            The array documents of the base state.
        """
        return [
            key for name, key, index in self.objects() if self._is_published(published.get(name), name, index)
        ]

    def grown(self, published: Mapping[str, Document]) -> list[str]:
        """Return the arrays that new layers make longer, or a removal takes rows from; none in a commit of another kind.

        Parameters
        ----------
        published
            The array documents of the base state.
        """
        if self.erases and not self.erases.whole:
            return [name for name, before in published.items() if self.erases.dim in dims_of(before)]
        if not self.layers:
            return []
        return [name for name, before in published.items() if before != self.documents.get(name)]

    def _is_published(self, before: Document | None, name: str, index: tuple[int, ...]) -> bool:
        same_keys = (
            before is not None and before["chunk_key_encoding"] == self.documents[name]["chunk_key_encoding"]
        )
        return same_keys and in_grid(before, index)
