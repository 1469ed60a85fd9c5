"""Taking over objects of the version that is served into the next one, as they lie there.

Each version has keys of its own (`aggrade.rechunking.slots`), so an object that both have in common is copied from one
key to another: by the server, or as a second name of the same file. A copy is made only where nothing lies. Where a
server does not keep that condition, and where a left-over has to be replaced, the bytes are read and written on their
condition instead. What bears another mark than its source is read back.
"""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from aggrade.commit import PieceReceipt
from aggrade.commit.documents import key_of, units_in
from aggrade.commit.salting import unsalted
from aggrade.commit.writer import taken
from aggrade.errors import Conflict, Damaged, Problem
from aggrade.storage import ConditionFailed
from aggrade.storage.together import hands

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.commit import Document, Writer, WrittenObject
    from aggrade.rechunking.plan import Piece
    from aggrade.storage import Storage

__all__ = ["carry_piece"]

_log = logging.getLogger(__name__)


def carry_piece(
    writer: Writer,
    piece: Piece,
    *,
    served: Mapping[str, Document],
    objects: Mapping[str, WrittenObject],
    by_copy: bool,
) -> PieceReceipt:
    """Take over the objects of one box.

    Parameters
    ----------
    writer
        Of the open transaction on the target.
    piece
        The box.
    served
        Array documents of the version that is served.
    objects
        Key → every object of that version, as it was written.
    by_copy
        Whether the server keeps the condition of a copy.

    Raises
    ------
    Conflict
        If somebody else writes the same objects.
    Damaged
        If an object of the version that is served is not what was written.
    """
    name = piece.variable
    before, after = served[name], writer.documents[name]
    pairs = [
        (objects[key_of(name, before, index)], key_of(name, after, index))
        for index in units_in(after, piece.bounds)
    ]

    def bring(pair: tuple[WrittenObject, str]) -> WrittenObject:
        one, key = pair
        if by_copy and key not in writer.etags:
            return _copied(writer.storage, before, one, key)
        return writer.put(name, key, unsalted(before, _read(writer.storage, before, one.key, one.sha256)))

    with ThreadPoolExecutor(hands(max(one.size for one, _ in pairs))) as pool:
        written = tuple(pool.map(bring, pairs))
    _log.info("kept %s %s: %d objects", name, piece.bounds, len(written))
    return PieceReceipt(digest=piece.digest, written=written, details={"bytes": 0})


def _copied(storage: Storage, document: Document, one: WrittenObject, key: str) -> WrittenObject:
    try:
        mark = storage.copy(one.key, key, unchanged=one.etag)
    except ConditionFailed as error:
        raise Conflict(taken(storage, key)) from error
    if mark != one.etag:
        _read(storage, document, key, one.sha256)
    return replace(one, key=key, etag=mark)


def _read(storage: Storage, document: Document, key: str, sha256: str) -> bytes:
    """Return the bytes of an object that must be those that were written."""
    stored = storage.read(key)
    if stored is None or hashlib.sha256(unsalted(document, stored.data)).hexdigest() != sha256:
        found = "no object" if stored is None else "other bytes than were written"
        fix = "run it again with anew=True"
        raise Damaged(Problem(f"{storage.url}/{key}", found, "an object as it was written", fix, "kept-torn"))
    return stored.data
