"""The published state of one Zarr store: what its root document shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import xarray as xr
import zarr

from aggrade.commit.array_checks import fault_of_array
from aggrade.commit.documents import Document, dims_of, shape_of
from aggrade.errors import BadInput, Damaged, Problem, Refused, raise_all
from aggrade.root_marks import mark_problems
from aggrade.storage.zarr_store import ReadStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.storage import Storage, StoredObject

__all__ = [
    "FORMAT",
    "ROOT",
    "Snapshot",
    "demand_root",
    "moved_on",
    "read_snapshot",
    "root_bytes",
    "snapshot_of",
]

ROOT = "zarr.json"
_GROUP_OF_FORMAT_2, _ROOT_OF_FORMAT_2 = ".zgroup", ".zmetadata"
FORMAT = 1
_RESTORE = "delete it, then restore the newest backup (aggrade restore)"
_OF_ONE_COMMIT = {"generation", "write_id", "needed_backups"}


@dataclass(frozen=True)
class Snapshot:
    """One state of a store, as its consolidated root shows it.

    Parameters
    ----------
    etag
        The root object's mark when it was read.
    attributes
        The root group's attributes; ``attributes["aggrade"]`` is ours.
    documents
        Name of each array → its ``zarr.json``.
    data
        The root object's bytes.
    """

    etag: str
    attributes: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False, compare=False)

    @property
    def mark(self) -> dict[str, Any]:
        """What aggrade keeps in the root: format, generation, write id, dim, grow and more."""
        return dict(self.attributes.get("aggrade", {}))

    @property
    def generation(self) -> int:
        """The number of commits and fences so far; it never repeats. 0 for a store of another tool."""
        return int(self.mark.get("generation", 0))

    @property
    def write_id(self) -> str:
        """The unique name of the commit that made this state."""
        return str(self.mark.get("write_id", ""))

    def has_undone(self, generation: int) -> bool:
        """Tell whether a restore has undone the commit that made a generation."""
        undone = self.mark.get("undone") or ()
        return any(after < generation <= until for after, until in undone)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension."""
        return {
            dim: size
            for document in self.documents.values()
            for dim, size in zip(dims_of(document), shape_of(document), strict=False)
        }

    @cached_property
    def uneven(self) -> list[Problem]:
        """What contradicts itself: each dimension that is longer in one array than in another."""
        lengths: dict[str, dict[int, list[str]]] = {}
        for name, document in self.documents.items():
            for dim, size in zip(dims_of(document), shape_of(document), strict=False):
                lengths.setdefault(dim, {}).setdefault(size, []).append(name)
        return [_uneven(dim, found) for dim, found in lengths.items() if len(found) > 1]

    def length(self, dim: str) -> int:
        """Return the length of a dimension, 0 if the store doesn't have it."""
        return self.sizes.get(dim, 0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what it shows of arrays and attributes, by which a change by hand is told.

        The length of dimensions that grow is left out, for another tool may append and consolidate; so is what names
        one commit.
        """
        attributes = {**self.attributes, "aggrade": _without(self.mark, _OF_ONE_COMMIT)}
        growing = {self.mark.get("dim"), *(self.mark.get("grow") or ())}
        arrays = {
            name: {**document, "shape": _lengths(document, growing)}
            for name, document in self.documents.items()
        }
        return hashlib.sha256(json.dumps([attributes, arrays], sort_keys=True).encode()).hexdigest()

    def open(self, storage: Storage) -> zarr.Group:
        """Open the store for reading, as plain Zarr."""
        return zarr.open_group(ReadStore(storage), mode="r", zarr_format=3, use_consolidated=True)

    def dataset(self, storage: Storage, *, decoded: bool = True) -> xr.Dataset:
        """Open the store for reading, as a lazy xarray Dataset without Dask and without indexes.

        Parameters
        ----------
        storage
            The store.
        decoded
            Values as users see them, or as stored. Whole numbers that are labels stay what they are, though xarray
            would take one that is the fill value for missing, and make floats of the others.

        Raises
        ------
        Damaged
            If a dimension is longer in one array than in another.
        """
        raise_all(self.uneven, Damaged)
        options: dict[str, Any] = {"consolidated": True, "zarr_format": 3, "chunks": None}
        if decoded:
            options["mask_and_scale"] = {
                name: not _is_label(name, doc) for name, doc in self.documents.items()
            }
        opened: xr.Dataset = xr.open_zarr(
            ReadStore(storage), decode_cf=decoded, create_default_indexes=False, **options
        )
        return opened


def _uneven(dim: str, lengths: dict[int, list[str]]) -> Problem:
    found = " and ".join(f"{size} in {', '.join(sorted(names))}" for size, names in sorted(lengths.items()))
    fix = "restore a backup; of a store that isn't ours yet, resize the arrays that another tool left behind or ahead"
    return Problem(f"dimension {dim!r}", found, "one length in all arrays", fix, "dimension-length")


def _lengths(document: Document, growing: set[str | None]) -> dict[str, int]:
    pairs = zip(dims_of(document), shape_of(document), strict=False)
    return {dim: size for dim, size in pairs if dim not in growing}


def _without(fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def read_snapshot(storage: Storage) -> Snapshot | None:
    """Read the state that a store shows, with one request.

    Returns
    -------
    Snapshot or None
        None if there is no store.

    Raises
    ------
    BadInput
        If it is one array.
    Damaged
        If the root is not a Zarr v3 group with consolidated metadata, or what aggrade keeps in it was changed by hand.
    Refused
        If a newer aggrade wrote it, if there are groups in it, or if it is a store of Zarr format 2 and the storage
        does not adopt such stores (`aggrade.storage.adopting.Adopting`).
    """
    stored = storage.read(ROOT)
    if stored is None and storage.stat(_GROUP_OF_FORMAT_2) is not None:
        stored = storage.read(_ROOT_OF_FORMAT_2)
        if stored is None or b'"zarr_consolidated_format"' in stored.data:
            raise Refused(_format_2(storage.url))
    return None if stored is None else snapshot_of(storage.url, stored)


def snapshot_of(url: str, stored: StoredObject) -> Snapshot:
    """Return the state that a root document shows. Raises as `read_snapshot`.

    Parameters
    ----------
    url
        The store, for people.
    stored
        Its root, wherever it was kept.
    """
    try:
        root = _json(url, stored.data)
        if root.get("zarr_format", 3) != 3:
            raise Refused(_other_format(url, {root["zarr_format"]}))
        if root.get("node_type") == "array":
            raise BadInput(_one_array(url))
        documents = root["consolidated_metadata"]["metadata"]
        snapshot = Snapshot(stored.etag, dict(root.get("attributes", {})), dict(documents), stored.data)
        groups = [name for name, doc in documents.items() if doc["node_type"] != "array" or "/" in name]
        versions = {doc.get("zarr_format", 3) for doc in documents.values()}
        nameless = [name for name, doc in documents.items() if not groups and not _names_dimensions(doc)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(_not_a_root(url)) from error
    if versions - {3}:
        raise Refused(_other_format(url, versions - {3}))
    if groups:
        raise Refused(_nested(url, groups))
    mark = snapshot.attributes.get("aggrade", {})
    if isinstance(mark, dict):
        _check_format(url, snapshot)
    raise_all(mark_problems(f"{url}/{ROOT}", mark), Damaged)
    if nameless and not snapshot.generation:
        raise Refused(*(_nameless(url, name) for name in nameless))
    raise_all(_faults(url, snapshot, [] if "rechunk" in snapshot.mark else nameless), Damaged)
    return snapshot


def _faults(url: str, snapshot: Snapshot, nameless: list[str]) -> Iterator[Problem]:
    """Yield what of arrays in a root nobody can work with."""
    ours = f"{_RESTORE}, or correct it"
    others = "correct it, or write the store anew"
    for name, document in snapshot.documents.items():
        fault = "dimensions without names" if name in nameless else fault_of_array(document)
        if fault is not None:
            expected, fix = "an array of Zarr format 3", ours if snapshot.generation else others
            yield Problem(f"{url}/{ROOT}", f"array {name!r} with {fault}", expected, fix, "root-array")


def _json(url: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        found, expected = "an object that is no JSON", "the root that a commit left"
        raise Damaged(Problem(f"{url}/{ROOT}", found, expected, _RESTORE, "root-torn")) from error


def _one_array(url: str) -> Problem:
    return Problem(url, "one array", "a store of arrays", "name the store that it lies in", "one-array")


def _nested(url: str, names: list[str]) -> Problem:
    found, fix = f"groups within it, such as {min(names)!r}", "name one group that holds only arrays"
    return Problem(url, found, "a group of arrays", fix, "nested-groups")


def _is_label(name: str, document: Document) -> bool:
    """Tell whether an array holds whole numbers as the labels of its dimension, neither times nor packed."""
    kind, attributes = str(document["data_type"]), document.get("attributes", {})
    coded = attributes.keys() & {"units", "scale_factor", "add_offset", "_Unsigned"}
    return dims_of(document) == (name,) and kind.startswith(("int", "uint")) and not coded


def _names_dimensions(document: Document) -> bool:
    names = dims_of(document)
    return len(names) == len(shape_of(document)) and all(isinstance(name, str) for name in names)


def _nameless(url: str, name: str) -> Problem:
    fix = "write it with xarray, or give dimension_names to zarr"
    return Problem(f"{url}/{name}", "dimensions without names", "a name for each", fix, "zarr-format")


def _other_format(url: str, versions: set[Any]) -> Problem:
    found = f"metadata of Zarr format {', '.join(sorted(map(str, versions)))}"
    return Problem(url, found, "Zarr format 3 or 2", "update aggrade, or name another store", "zarr-format")


def _format_2(url: str) -> Problem:
    """Say why a store of format 2 that isn't adopted is no target: a new root would hide it from readers."""
    fix = "name another store, or rechunk it into a new one: aggrade rechunk"
    return Problem(url, "a store of Zarr format 2", "Zarr format 3", fix, "zarr-format")


def moved_on(url: str) -> Problem:
    """Return what there is to say where the root is another one than a plan was made for."""
    return Problem(
        url,
        "another state than the one the plan was made for",
        "the state that was read before planning",
        "run it again: it is planned anew on what is there now",
        "moved-on",
    )


def lost_root(url: str, shown: Snapshot | None, least: int) -> Problem | None:
    """Return what there is to say where a root is gone, or older than the last commit left it; None where it isn't.

    Another program has deleted or replaced it then, as xarray does, which writes the root's attributes anew with
    every append. What it knew of the store, such as the rows that are replaced, is lost with it.

    Parameters
    ----------
    url
        The store.
    shown
        What its root shows.
    least
        The generation that it has to have (`aggrade.commit.intent.Intent.least`).
    """
    if (shown.generation if shown else 0) >= least:
        return None
    older = f"a root of generation {shown.generation}, older or by another program" if shown else None
    fix = "restore the newest backup (aggrade restore), then bring again what came since; without one, name a new store"
    expected = f"the root of generation {least} or later that a commit left"
    return Problem(url, older or "no root", expected, fix, "root-lost")


def demand_root(url: str, shown: Snapshot | None, least: int) -> None:
    """Raise `Damaged` where `lost_root` finds something. Parameters as there."""
    raise_all(filter(None, [lost_root(url, shown, least)]), Damaged)


def _not_a_root(url: str) -> Problem:
    return Problem(
        f"{url}/{ROOT}",
        "no Zarr v3 group with consolidated metadata",
        "a store made by aggrade or by xarray's to_zarr",
        "consolidate it with zarr.consolidate_metadata, or name another store",
        "not-a-store",
    )


def _check_format(url: str, snapshot: Snapshot) -> None:
    version = snapshot.mark.get("format", FORMAT)
    if version != FORMAT:
        problem = Problem(
            url,
            f"store format {version}",
            f"format {FORMAT}",
            "update aggrade, then try again",
            "store-format",
        )
        raise Refused(problem)


def root_bytes(attributes: dict[str, Any], documents: dict[str, Document]) -> bytes:
    """Return the root document: a Zarr v3 group with inline consolidated metadata, as zarr-python writes it."""
    root = {
        "attributes": attributes,
        "zarr_format": 3,
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": dict(sorted(documents.items())),
        },
        "node_type": "group",
    }
    return json.dumps(root, indent=1).encode()
