"""The switch: array documents first, then the root by compare-and-swap, then receipt and layer records."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aggrade.commit.documents import dims_of
from aggrade.commit.layers import LayerRecord, keep_layer
from aggrade.commit.plan import Layer, Target
from aggrade.commit.salting import objects_digest
from aggrade.commit.snapshot import ROOT, read_snapshot
from aggrade.errors import Conflict, Problem, Unavailable
from aggrade.settings import settings
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from aggrade.commit.documents import Document
    from aggrade.commit.writer import WrittenObject
    from aggrade.storage import Storage

__all__ = ["document_bytes", "keep_layers", "layer_records", "own_targets", "switch_root", "write_documents"]


def document_bytes(document: Document, generation: int = 0) -> bytes:
    """Return an array document as it is stored.

    The generation follows it as white space. Where a server's ETags are hashes, equal documents of different
    commits would otherwise bear the same mark, and a suspended writer's compare-and-swap could succeed.

    Parameters
    ----------
    document
        Content of ``zarr.json``.
    generation
        Of the commit that writes it. The length of the result doesn't depend on it.
    """
    stamp = format(generation % (1 << _STAMP_BITS), f"0{_STAMP_BITS}b").translate(_WHITE)
    return f"{json.dumps(document, indent=1)}\n{stamp}".encode()


_STAMP_BITS = 24
_WHITE = str.maketrans("01", " \t")


def write_documents(
    storage: Storage,
    documents: Mapping[str, Document],
    hints: Mapping[str, str],
    confirm: Callable[[], None],
    generation: int = 0,
) -> dict[str, str]:
    """Write array documents as the holder of the intent, whatever lies there.

    Parameters
    ----------
    storage, documents
        Where and what.
    hints
        Key → mark as last written. A wrong hint costs two requests.
    confirm
        Raises if the intent is no longer ours; called between reading a mark and replacing what bears it.
    generation
        That of the root which shows these documents.

    Returns
    -------
    dict
        Key → new mark.
    """

    def write(name: str) -> tuple[str, str]:
        key = f"{name}/{ROOT}"
        return key, _replace(
            storage, key, document_bytes(documents[name], generation), hints.get(key), confirm
        )

    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        return dict(pool.map(write, documents))


def _replace(storage: Storage, key: str, data: bytes, hint: str | None, confirm: Callable[[], None]) -> str:
    """Write what only the holder of the intent may write; a fenced writer can be in the way a few times."""
    for _ in range(settings().request_attempts):
        try:
            return storage.write(key, data, replacing=hint).etag
        except ConditionFailed:
            stored = storage.read(key)
            if stored is not None and stored.data == data:
                return stored.etag
            hint = None if stored is None else stored.etag
            confirm()
    problem = Problem(
        f"{storage.url}/{key}", "an object that keeps changing", "one writer", "run it again", "contended"
    )
    raise Conflict(problem)


def switch_root(storage: Storage, data: bytes, write_id: str, replacing: str | None) -> str:
    """Publish: swap the root document, and find out what happened if the reply was lost.

    Returns
    -------
    str
        The root's new mark.

    Raises
    ------
    Conflict
        If somebody else published or fenced in between; nothing of this commit shows.
    Unavailable
        If it can't be known whether the switch took effect. The intent stays; recovery decides.
    """
    try:
        return storage.write(ROOT, data, replacing=replacing).etag
    except (ConditionFailed, Unavailable) as error:
        now = read_snapshot(storage)
        if now is not None and now.write_id == write_id:
            return now.etag
        if isinstance(error, Unavailable):
            raise
        raise Conflict(_overtaken(storage)) from error


def _overtaken(storage: Storage) -> Problem:
    return Problem(
        f"{storage.url}/{ROOT}",
        "a root that somebody else wrote meanwhile",
        "the root that was read when the intent was taken",
        "run it again: it is planned anew on what is there now",
        "overtaken",
    )


def own_targets(
    targets: Iterable[Target], documents: Mapping[str, Document], dim: str | None, layer: Layer
) -> tuple[Target, ...]:
    """Return where the objects lie that belong to one layer alone."""
    own = []
    for target in targets:
        dims = dims_of(documents[target.variable])
        axis = dims.index(dim) if dim in dims else None
        if axis is not None and target.unit[axis] == 1 and layer.index in range(*target.bounds[axis]):
            own.append(target.model_copy(update={"bounds": _narrowed(target.bounds, dims, dim, layer)}))
    return tuple(own)


def _narrowed(
    bounds: tuple[tuple[int, int], ...], dims: tuple[str, ...], dim: str | None, layer: Layer
) -> tuple[tuple[int, int], ...]:
    limits = {dim: (layer.index, layer.index + 1)}
    return tuple(limits.get(name, pair) for name, pair in zip(dims, bounds, strict=True))


def layer_records(
    layers: Sequence[Layer],
    targets: Sequence[Target],
    documents: Mapping[str, Document],
    dim: str | None,
    written: Iterable[WrittenObject],
    stamp: tuple[str, int],
) -> list[LayerRecord]:
    """Return the record of each layer, with a digest over the objects that are its own.

    Parameters
    ----------
    layers, targets, documents, dim
        As planned.
    written
        Everything that was written.
    stamp
        Write id and generation of the commit.
    """
    by_key = {item.key: item.sha256 for item in written}
    records = []
    for layer in layers:
        own = own_targets(targets, documents, dim, layer)
        keys = sorted(key for target in own for key, _ in target.objects())
        records.append(
            LayerRecord(
                label=layer.label,
                index=layer.index,
                digest=layer.digest,
                write_id=stamp[0],
                generation=stamp[1],
                sizes=layer.sizes,
                runs=layer.runs,
                targets=own,
                objects=len(keys),
                objects_sha256=objects_digest((key, by_key[key]) for key in keys),
            )
        )
    return records


def keep_layers(storage: Storage, records: Iterable[LayerRecord], known: Collection[str] = ()) -> None:
    """Write the records of several layers.

    Parameters
    ----------
    storage, records
        Where and what.
    known
        Labels under whose keys something lies.
    """

    def keep(record: LayerRecord) -> None:
        keep_layer(storage, record, after_another=record.label in known)

    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        list(pool.map(keep, records))
