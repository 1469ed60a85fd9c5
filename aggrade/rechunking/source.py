"""The state of the store that is rechunked: one of ours, or any flat Zarr store of format 3 or 2.

A store of ours is known by the generation and write id in its root. Of another tool's store its metadata and the marks
of all its chunks stand for the state, so that a chunk which such a tool overwrites is noticed, too.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import textwrap
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import StorePath

from aggrade.commit import Snapshot, read_intent
from aggrade.commit.documents import Document, grid_of, shape_of
from aggrade.commit.intent import least_shown
from aggrade.commit.snapshot import ROOT, demand_root
from aggrade.errors import BadInput, Damaged, Problem, Refused, raise_all
from aggrade.layout import stores_in
from aggrade.rechunking.box_reading import undecodable_chunks
from aggrade.rechunking.chunk_codec import demand_whole_frame
from aggrade.rechunking.grids import native_dtype
from aggrade.rechunking.object_codec import object_codec
from aggrade.rechunking.ordering import axis_of, is_cube, order_of
from aggrade.rechunking.plan import SourceState
from aggrade.rechunking.tracing import marks_in
from aggrade.rechunking.version2 import as_version3
from aggrade.storage.zarr_store import ReadStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.object_codec import ObjectCodec
    from aggrade.rechunking.ordering import Order
    from aggrade.rechunking.tracing import Marks
    from aggrade.storage import Storage, StoredObject

__all__ = ["OWN_MARKS", "Source", "open_array", "read_source", "relative_url", "with_order"]

OWN_MARKS = frozenset(
    {"format", "generation", "write_id", "dim", "grow", "source", "rechunk", "undone", "catalogue"}
)
"""Keys of the root's ``aggrade`` attribute that say how one store grows; its copies grow by rechunking."""


@dataclass(frozen=True)
class Source:
    """One state of a store, and how to read its arrays; small and picklable.

    Parameters
    ----------
    storage
        Where it lies.
    generation, write_id
        What tells this state from others.
    attributes
        The root's attributes, aggrade's own left out.
    mark
        What aggrade keeps in the root for whoever reads: superseded rows and the like.
    documents
        Array documents in the form of Zarr v3.
    stored
        Array documents as they lie in the store, of format 3 or 2.
    order
        In which order its objects are copied; None if in the one in which they lie.
    """

    storage: Storage
    generation: int
    write_id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    mark: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    stored: dict[str, Document] = field(default_factory=dict)
    order: Order | None = None

    def state(self, target: Storage) -> SourceState:
        """Return the state as a plan and the root of `target` keep it."""
        store = relative_url(self.storage.url, target.url)
        return SourceState(store=store, generation=self.generation, write_id=self.write_id)

    def codec(self, name: str) -> ObjectCodec | None:
        """Return how an array's objects are put together, None where only zarr can read them."""
        return object_codec(self.documents[name]) if self.stored[name] is self.documents[name] else None

    def open(self, name: str) -> zarr.Array[Any]:
        """Open one array for reading as it was when the state was read."""
        return open_array(self.storage, name, self.stored[name])

    def rows(self, name: str, bounds: Bounds) -> dict[int, NDArray[np.int64]]:
        """Return, for a box of the copy, which items it holds along the dimension whose order is another."""
        axis = axis_of(self.order, self.documents[name])
        return {axis: self.order.rows[slice(*bounds[axis])]} if self.order and axis is not None else {}

    def values(self, name: str, bounds: Bounds) -> np.ndarray[Any, Any]:
        """Return what a box of the copy has to hold, read by zarr's own pipeline."""
        rows = self.rows(name, bounds)
        region = tuple(rows.get(axis, slice(*pair)) for axis, pair in enumerate(bounds))
        array = self.open(name)
        values = array.oindex[region] if rows else array[region]
        return np.asarray(values, dtype=native_dtype(self.documents[name]))


class _FramesStore(ReadStore):
    """A store whose chunks are frames of Blosc, each of which has to be whole."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a chunk. Raises `ValueError` if it is cut off."""
        found = await super().get(key, prototype, byte_range)
        if found is not None and byte_range is None:
            demand_whole_frame(found.to_bytes())
        return found


def _is_blosc(document: Document) -> bool:
    last = (document.get("codecs") or [{}])[-1].get("name")
    return last == "blosc" or (document.get("compressor") or {}).get("id") == "blosc"


def open_array(storage: Storage, name: str, document: Document) -> zarr.Array[Any]:
    """Open an array by a document that need not lie in the store; chunks are read from there."""
    store = _FramesStore(storage) if _is_blosc(document) else ReadStore(storage)
    path = StorePath(store, name)
    return zarr.Array(zarr.AsyncArray(metadata=document, store_path=path))  # type: ignore[call-overload]


def relative_url(source: str, target: str) -> str:
    """Return the source's place as seen from the target's folder if both lie in the same one, else its URL.

    >>> relative_url("s3://bucket/a/x.zarr", "s3://bucket/a/y.zarr")
    '../x.zarr'
    """
    if posixpath.dirname(source) == posixpath.dirname(target):
        return f"../{posixpath.basename(source)}"
    return source


def read_source(storage: Storage) -> Source:
    """Read the state that a store shows.

    Raises
    ------
    BadInput
        If there is no Zarr group.
    Refused
        If it holds what can't be rechunked: groups in groups, irregular chunk grids, unknown data types.
    Damaged
        If its metadata can't be read, or its root is older than the last commit left it.
    """
    intent = read_intent(storage)
    stored = storage.read(ROOT)
    try:
        demand_root(storage.url, _shown(stored), least_shown(intent))
        return (
            _read_version2(storage) if stored is None else _read_version3(storage, stored.data, stored.etag)
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Refused(_strange(storage.url, error)) from error


def with_order(source: Source) -> Source:
    """Return the same state with the order of its objects: of a cube of ours to which objects were added.

    Raises
    ------
    Damaged
        If ids or HEALPix indices can't be decoded.
    """
    if not source.generation or source.mark.get("adopted") or not is_cube(source.documents):
        return source

    def column(name: str) -> np.ndarray[Any, Any]:
        bounds = ((0, shape_of(source.documents[name])[0]),)
        with undecodable_chunks(source.storage.url, name, bounds):
            return source.values(name, bounds)

    return replace(source, order=order_of(column("healpix"), lambda: column("object")))


def _shown(stored: StoredObject | None) -> Snapshot | None:
    """Return of a root as much as tells its generation."""
    try:
        return Snapshot(stored.etag, dict(json.loads(stored.data)["attributes"])) if stored else None
    except (ValueError, KeyError, TypeError):
        return Snapshot(stored.etag) if stored else None


def _read_version3(storage: Storage, data: bytes, etag: str) -> Source:
    root = _parsed(storage, ROOT, data)
    if root.get("node_type") != "group":
        raise BadInput(_not_a_group(storage.url, "a Zarr array"))
    consolidated = root.get("consolidated_metadata") or {}
    nodes = consolidated.get("metadata")
    if nodes is None:
        nodes = {name: _node(storage, name) for name in storage.folders() if not name.startswith(".")}
    documents = {name: node for name, node in nodes.items() if node and node.get("node_type") == "array"}
    raise_all(_nested(name) for name, node in nodes.items() if node and node.get("node_type") == "group")
    _demand_arrays(storage, documents)
    attributes = dict(root.get("attributes") or {})
    mark = attributes.pop("aggrade", {})
    kept = {key: value for key, value in mark.items() if key not in OWN_MARKS}
    write_id = mark.get("write_id") or _digest(etag, documents, marks_in(storage, documents))
    return Source(storage, int(mark.get("generation", 0)), write_id, attributes, kept, documents, documents)


def _node(storage: Storage, name: str) -> Document | None:
    stored = storage.read(f"{name}/{ROOT}")
    return None if stored is None else _parsed(storage, f"{name}/{ROOT}", stored.data)


def _read_version2(storage: Storage) -> Source:
    metadata, etags = _version2_metadata(storage)
    names = [key.removesuffix("/.zarray") for key in metadata if key.endswith("/.zarray")]
    raise_all(_nested(key.removesuffix("/.zgroup")) for key in metadata if key.endswith("/.zgroup"))
    stored = {
        name: {**metadata[f"{name}/.zarray"], "attributes": metadata.get(f"{name}/.zattrs", {})}
        for name in names
    }
    _demand_arrays(storage, stored)
    documents = {name: as_version3(document) for name, document in stored.items()}
    attributes = metadata.get(".zattrs", {})
    write_id = _digest(etags, stored, marks_in(storage, documents))
    return Source(storage, 0, write_id, attributes, {}, documents, stored)


def _version2_metadata(storage: Storage) -> tuple[dict[str, Any], str]:
    """Return metadata by key, and the marks of what they were read from."""
    consolidated = storage.read(".zmetadata")
    if consolidated is not None:
        metadata = _parsed(storage, ".zmetadata", consolidated.data)["metadata"]
        return dict(metadata), consolidated.etag
    if storage.stat(".zgroup") is None:
        raise BadInput(_not_a_group(storage.url, _what_lies_there(storage)))
    folders = [f"{name}/" for name in storage.folders() if not name.startswith(".")]
    keys = [".zattrs", *(folder + key for folder in folders for key in (".zarray", ".zattrs", ".zgroup"))]
    found = {key: stored for key in keys if (stored := storage.read(key)) is not None}
    return {key: _parsed(storage, key, one.data) for key, one in found.items()}, "".join(
        one.etag for one in found.values()
    )


def _what_lies_there(storage: Storage) -> str:
    stores = stores_in(storage)
    return f"a folder with the stores {', '.join(stores)}" if stores else "no Zarr store"


def _parsed(storage: Storage, key: str, data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except ValueError as error:
        raise Damaged(_unreadable(f"{storage.url}/{key}")) from error
    if not isinstance(parsed, dict):
        raise Damaged(_unreadable(f"{storage.url}/{key}"))
    return parsed


def _unreadable(where: str) -> Problem:
    return Problem(where, "an object that is no JSON document", "metadata of Zarr", "restore it", "metadata")


def _digest(etags: str, documents: Mapping[str, Any], marks: Marks) -> str:
    stated = json.dumps([etags, documents, marks], sort_keys=True)
    return hashlib.sha256(stated.encode()).hexdigest()


def _not_a_group(url: str, found: str) -> Problem:
    return Problem(url, found, "one Zarr store with arrays", "name the Zarr store itself", "not-a-store")


def _nested(name: str) -> Problem:
    return Problem(
        name, "a group inside the store", "arrays only", "rechunk the group as a store of its own", "group"
    )


def _demand_arrays(storage: Storage, stored: Mapping[str, Document]) -> None:
    """Raise if there are arrays that can't be copied, naming each of them."""
    raise_all(problem for name, document in stored.items() for problem in _problems(storage, name, document))


def _problems(storage: Storage, name: str, stored: Document) -> Iterator[Problem]:
    grid = stored.get("chunk_grid", {"name": "regular"})
    kind = grid.get("name") if isinstance(grid, dict) else grid
    if kind != "regular":
        yield Problem(name, f"a {kind} chunk grid", "a regular one", "leave the array out", "chunk-grid")
        return
    try:
        open_array(storage, name, stored)
        document = stored if "chunk_grid" in stored else as_version3(stored)
        open_array(storage, name, document)
        native_dtype(document)
        grid_of(document)
    except Exception as error:  # noqa: BLE001 - zarr raises whatever it stumbles over
        yield _unknown(name, error)


def _unknown(name: str, error: Exception) -> Problem:
    found = textwrap.shorten(f"metadata that zarr {zarr.__version__} can't use, {_said(error)}", 300)
    fix = "correct it, update zarr, or leave the array out"
    return Problem(name, found, "an array that can be read", fix, "data-type")


def _strange(url: str, error: Exception) -> Problem:
    found = textwrap.shorten(f"metadata that nobody understands, {_said(error)}", 300)
    fix = "correct its zarr.json, or write the store anew"
    return Problem(url, found, "what the specification of Zarr describes", fix, "metadata")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
