"""Objects that belong to no layer: those of arrays that do not grow with the layers, such as channels and positions.

No record speaks of them, but the root has the digest of each that aggrade has written (`aggrade.commit.marking`), and it
writes every one of them, fill included: in a store that it has made, one that is missing is never taken for fill.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import dims_of, index_of, key_of, shape_of, unit_of, units_in
from aggrade.commit.marking import DIGITS, common_name
from aggrade.commit.salting import unsalted
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    from aggrade.commit import Document, Snapshot
    from aggrade.storage import Storage

__all__ = ["common_problems"]

_FIX = "bring them back from elsewhere, or restore a full backup"
_WRONG = {"torn": "can't be decoded", "changed": "are not the bytes that were written"}


def common_problems(storage: Storage, shown: Snapshot, checked: Counter[str]) -> Iterator[str]:
    """Yield a sentence for each array without layers whose objects are missing, torn or changed, reading each once.

    Parameters
    ----------
    storage, shown
        The store and the state that it shows. One that another tool has made may leave fill out: of that, only
        what lies there is looked at.
    checked
        Where objects are counted.
    """
    dim = shown.mark.get("dim")
    if dim is None or "rechunk" in shown.mark:
        return
    is_whole, common = not shown.mark.get("adopted"), shown.mark.get("common") or {}
    for name, document in shown.documents.items():
        if dim in dims_of(document):
            continue
        found = _looked_at(storage, name, document, common)
        checked["objects"] += sum(map(len, found.values()))
        if found["missing"] and is_whole:
            yield f"{storage.url}/{name}: {len(found['missing'])} objects are missing, such as {found['missing'][0]}; {_FIX}."
        for wrong, told in _WRONG.items():
            if keys := found[wrong]:
                yield f"{storage.url}/{name}: {len(keys)} objects {told}, such as {keys[0]}; {_FIX}."


def _as_shown(chunks: Chunks, document: Document, key: str, data: bytes) -> bytes:
    """Return the object that holds what one shows, and nothing that was undone, or left, beyond the array's shape."""
    index = index_of(key.partition("/")[0], document, key) or ()
    place = zip(index, unit_of(document), shape_of(document), strict=True)
    part = tuple(slice(0, size - i * unit) for i, unit, size in place)
    clean = chunks.values(None)
    clean[part] = chunks.values(data)[part]
    return chunks.bytes_of(clean)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def _looked_at(
    storage: Storage, name: str, document: Document, common: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the keys of an array's objects by what is wrong with them, if anything."""
    whole = tuple((0, size) for size in shape_of(document))
    wanted = {
        key_of(name, document, index): common.get(common_name(name, index))
        for index in units_in(document, whole)
    }
    chunks = Chunks(document)

    def state(key: str) -> str:
        stored = storage.read(key)
        if stored is None:
            return "missing"
        try:
            shown = _as_shown(chunks, document, key, stored.data)
        except (RuntimeError, ValueError):
            return "torn"
        digests = {_digest(unsalted(document, data)) for data in (stored.data, shown)}
        return "whole" if wanted[key] in {None, *digests} else "changed"

    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        states = list(zip(wanted, pool.map(state, wanted), strict=True))
    return {
        wrong: [key for key, was in states if was == wrong]
        for wrong in ("whole", "missing", "torn", "changed")
    }
