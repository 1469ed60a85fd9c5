"""Commits that are written in pieces, in parallel, and go on after a crash.

Each piece owns its chunks. When its chunks are confirmed, the piece's entry is written to the ledger under
``.aggrade/ledger/``; a later run of the same plan finds it, confirms that the objects still lie there with the
marks they had, and does not do the work again. The ledger is bookkeeping: losing it costs time, never data.
"""

from __future__ import annotations

import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.commit.writer import Writer, WrittenObject
from aggrade.errors import Conflict, Problem
from aggrade.settings import settings
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aggrade.commit.transaction import Transaction
    from aggrade.storage import Storage

__all__ = ["LEDGER", "Piece", "PieceReceipt", "forget_pieces", "write_pieces"]

LEDGER = ".aggrade/ledger/"
_log = logging.getLogger(__name__)


class Piece(Protocol):
    """A share of a plan that one worker writes: small, picklable, and named by what it will write."""

    @property
    def digest(self) -> str:
        """Digest of everything that decides the piece's bytes."""
        ...


class PieceReceipt(BaseModel):
    """What one worker wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(description="The piece's digest.")
    written: tuple[WrittenObject, ...] = Field(
        description="Every object of the piece, confirmed by the store."
    )
    details: dict[str, Any] = Field(default_factory=dict, description="Counts, JSON-able.")


def write_pieces(
    transaction: Transaction,
    pieces: Sequence[Any],
    work: Callable[[Writer, Any], PieceReceipt],
    map: Callable[..., Iterable[PieceReceipt]] = map,  # noqa: A002 - it is a map, handed in
) -> list[PieceReceipt]:
    """Have every piece of an open transaction written, each once.

    Parameters
    ----------
    transaction
        An open transaction whose plan holds the pieces' regions.
    pieces
        Values with a ``digest`` (see `Piece`).
    work
        Writes one piece; a top-level function or a partial of one, so that it can be sent elsewhere.
    map
        ``map(function, pieces)``: the builtin, or one that sends pieces to a cluster.

    Returns
    -------
    list of PieceReceipt
        In the order of `pieces`.

    Raises
    ------
    Conflict
        If somebody else writes the same keys.
    """
    wanted = list(pieces)
    writer = transaction.writer()
    once = functools.partial(_once, work, writer)
    receipts = list(map(once, wanted))
    if stale := _unconfirmed(transaction.storage, receipts):
        _log.info("writing %d pieces again: their objects are gone or changed", len(stale))
        for place, receipt in zip(stale, map(once, [wanted[place] for place in stale]), strict=True):
            receipts[place] = receipt
    return receipts


def forget_pieces(storage: Storage, receipts: Iterable[PieceReceipt]) -> None:
    """Delete the ledger entries of a commit that has been published."""
    storage.delete([_ledger_key(receipt.digest) for receipt in receipts])


def _ledger_key(digest: str) -> str:
    return f"{LEDGER}{digest}.json"


def _once(work: Callable[[Writer, Any], PieceReceipt], writer: Writer, piece: Piece) -> PieceReceipt:
    """Write a piece unless the ledger shows that it was written and still lies there."""
    key = _ledger_key(piece.digest)
    stored = writer.storage.read(key)
    known = None if stored is None else _understood(stored.data)
    if known is not None and all(_lies_there(writer.storage, item) for item in known.written):
        return known
    receipt = work(writer, piece)
    _keep(writer.storage, key, receipt.model_dump_json().encode(), stored.etag if stored else None)
    return receipt


def _understood(entry: bytes) -> PieceReceipt | None:
    """Return an entry of the ledger, None if it is of another version of aggrade: the piece is done again then."""
    try:
        return PieceReceipt.model_validate_json(entry)
    except ValidationError as error:
        _log.info("an entry of the ledger is not understood, its piece is done again: %s", error)
        return None


def _keep(storage: Storage, key: str, data: bytes, replacing: str | None) -> None:
    try:
        storage.write(key, data, replacing=replacing)
    except ConditionFailed as error:
        stored = storage.read(key)
        if stored is None or stored.data != data:
            found = "an entry that another worker wrote"
            raise Conflict(
                Problem(f"{storage.url}/{key}", found, "one writer", "run it again", "ledger")
            ) from error


def _lies_there(storage: Storage, item: WrittenObject) -> bool:
    info = storage.stat(item.key)
    return info is not None and (info.etag, info.size) == (item.etag, item.size)


def _unconfirmed(storage: Storage, receipts: Sequence[PieceReceipt]) -> list[int]:
    """Return the places of receipts whose objects don't lie there as they were confirmed.

    Receipts can come from a cache that has outlived the store. One request per object of this commit: what
    the store holds beside does not matter.
    """

    def holds(receipt: PieceReceipt) -> bool:
        return all(_lies_there(storage, item) for item in receipt.written)

    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        return [place for place, held in enumerate(pool.map(holds, receipts)) if not held]
