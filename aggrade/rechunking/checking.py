"""Comparing a rechunked store with what was written: every object is there, byte for byte.

A rechunk writes every object of its arrays, those of fill too, so a missing one is never taken for fill.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aggrade.commit import find_receipt
from aggrade.commit.documents import key_of, shape_of, units_in
from aggrade.commit.layers import RECEIPTS
from aggrade.commit.salting import object_digest, objects_digest
from aggrade.errors import Damaged, Refused
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.commit import Document, Snapshot
    from aggrade.receipt import Receipt
    from aggrade.storage import Storage

__all__ = ["copy_problems", "every_key", "last_receipt"]


def every_key(documents: Mapping[str, Document]) -> Iterator[str]:
    """Yield the key of every object that the arrays consist of."""
    for name, document in documents.items():
        for index in units_in(document, tuple((0, size) for size in shape_of(document))):
            yield key_of(name, document, index)


def last_receipt(target: Storage, shown: Snapshot) -> Receipt | None:
    """Return the receipt of the rechunk that made what a target shows; a fence since then has another name."""
    receipt = find_receipt(target, shown.write_id)
    if receipt is not None:
        return receipt
    names = (info.key.removeprefix(RECEIPTS).removesuffix(".json") for info in target.list(RECEIPTS))
    made = (find_receipt(target, name) for name in names)
    rechunks = (one for one in made if one is not None and one.kind == "rechunk")
    return max(rechunks, key=lambda one: one.generation, default=None)


def copy_problems(target: Storage, shown: Snapshot) -> Iterator[str]:
    """Yield what is wrong with the objects of a rechunked store, reading each once; nothing for other stores.

    Parameters
    ----------
    target
        The store.
    shown
        The state it shows.
    """
    if "rechunk" not in shown.mark:
        return
    keys = sorted(every_key(shown.documents))
    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        digests = pool.map(lambda key: object_digest(target, key, shown.documents[key.split("/")[0]]), keys)
        found = list(zip(keys, digests, strict=True))
    if missing := [key for key, digest in found if digest is None]:
        yield f"{target.url}: {len(missing)} objects are missing, such as {missing[0]}; rechunk it again with anew."
        return
    try:
        receipt = last_receipt(target, shown)
    except (Damaged, Refused) as error:
        yield str(error)
        return
    expected = receipt.details.get("objects_sha256") if receipt else None
    if expected is not None and expected != objects_digest((key, digest or "") for key, digest in found):
        yield f"{target.url}: its objects are not the bytes that were written; rechunk it again with anew."
