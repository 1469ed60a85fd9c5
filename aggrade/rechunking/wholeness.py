"""Objects that a source of ours must have: one that is missing is never taken for fill.

In a store that aggrade has made, every object of a layer and of an array without layers is written, fill included, and so is
every object of a rechunked copy. Of a store of another tool nothing is known: Zarr leaves chunks of fill out.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aggrade.commit import read_snapshot
from aggrade.commit.documents import dims_of, in_grid, key_of, shape_of, units_in
from aggrade.commit.layers import LAYERS, record_in
from aggrade.errors import Problem
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.commit import Document, LayerRecord, Snapshot
    from aggrade.rechunking.source import Source
    from aggrade.rechunking.tracing import Marks

__all__ = ["missing_objects"]


def missing_objects(source: Source, marks: Marks) -> Iterator[Problem]:
    """Yield a problem for each array that misses objects which were written.

    Parameters
    ----------
    source
        The state that is to be copied.
    marks
        Of all objects that lie there.
    """
    if not source.generation:
        return
    shown = read_snapshot(source.storage)
    assert shown is not None, "a store with a generation has a root"
    for name, wanted in _written(source, shown).items():
        missing = sorted(wanted - marks.get(name, {}).keys())
        if missing:
            yield _missing(f"{source.storage.url}/{name}", missing)


def _written(source: Source, shown: Snapshot) -> dict[str, set[str]]:
    """Return array → keys of all objects that are known to have been written."""
    dim, found = shown.mark.get("dim"), defaultdict[str, set[str]](set)
    is_copy, is_ours = "rechunk" in shown.mark, not shown.mark.get("adopted")
    for name, document in source.documents.items():
        if is_copy or (dim is not None and is_ours and dim not in dims_of(document)):
            found[name] |= _all_keys(name, document)
    if not is_copy:
        for record in _records(source, shown):
            for target in record.targets:
                if (own := source.documents.get(target.variable)) is not None:
                    indices = (index for _, index in target.objects() if in_grid(own, index))
                    found[target.variable] |= {key_of(target.variable, own, index) for index in indices}
    return found


def _records(source: Source, shown: Snapshot) -> Iterator[LayerRecord]:
    keys = [info.key for info in source.storage.list(LAYERS)]
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        for stored in pool.map(source.storage.read, keys):
            record = record_in(stored.data, shown) if stored else None
            if record is not None:
                yield record


def _all_keys(name: str, document: Document) -> set[str]:
    whole = tuple((0, size) for size in shape_of(document))
    return {key_of(name, document, index) for index in units_in(document, whole)}


def _missing(where: str, keys: list[str]) -> Problem:
    return Problem(
        where,
        f"{len(keys)} objects missing that were written, such as {keys[0]}",
        "every object of a layer",
        "verify the source and restore its backup, then run it again",
        "chunk-missing",
    )
