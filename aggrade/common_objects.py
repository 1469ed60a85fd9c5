"""Objects that belong to no layer: those of arrays that do not grow with the layers, such as channels and positions.

No record has their digests, but aggrade writes every one of them, fill included: in a store that it has made, one that
is missing is never taken for fill, and one that can't be decoded is torn.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import dims_of, key_of, shape_of, units_in
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from aggrade.commit import Document, Snapshot
    from aggrade.storage import Storage

__all__ = ["common_problems"]


def common_problems(storage: Storage, shown: Snapshot, checked: Counter[str]) -> Iterator[str]:
    """Yield a sentence for each array without layers that misses objects or holds torn ones, reading each once.

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
    is_whole = not shown.mark.get("adopted")
    for name, document in shown.documents.items():
        if dim in dims_of(document):
            continue
        missing, torn = _looked_at(storage, name, document, checked)
        if missing and is_whole:
            yield f"{storage.url}/{name}: {len(missing)} objects are missing, such as {missing[0]}; restore."
        if torn:
            yield f"{storage.url}/{name}: {len(torn)} objects can't be decoded, such as {torn[0]}; restore."


def _looked_at(
    storage: Storage, name: str, document: Document, checked: Counter[str]
) -> tuple[list[str], list[str]]:
    """Return which of an array's objects are missing, and which can't be decoded."""
    whole = tuple((0, size) for size in shape_of(document))
    keys = [key_of(name, document, index) for index in units_in(document, whole)]
    chunks = Chunks(document)

    def state(key: str) -> str:
        stored = storage.read(key)
        if stored is None:
            return "missing"
        try:
            chunks.values(stored.data)
        except (RuntimeError, ValueError):
            return "torn"
        return "whole"

    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        states = list(zip(keys, pool.map(state, keys), strict=True))
    checked["objects"] += len(keys)
    missing, torn = ([key for key, was in states if was == wrong] for wrong in ("missing", "torn"))
    return missing, torn
