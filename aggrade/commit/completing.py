"""What follows the switch, beside receipt and layer records: by the commit itself, or by whoever rolls it forward."""

from __future__ import annotations

import logging
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aggrade.commit.dirt import still_dirty
from aggrade.commit.erasing import erase
from aggrade.commit.layers import put_back
from aggrade.commit.purging import purge, to_purge
from aggrade.commit.states import KeptState
from aggrade.commit.unpublished import drop_unpublished
from aggrade.commit.wiping import purge_alone, wipe
from aggrade.errors import BadInput, Conflict, Problem, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.commit.documents import Document
    from aggrade.commit.intent import Lease
    from aggrade.commit.plan import Target
    from aggrade.storage import Storage

__all__ = ["behind_the_switch", "complete", "unless_lost"]

_log = logging.getLogger(__name__)


@contextmanager
def behind_the_switch(url: str) -> Iterator[None]:
    """Say of a right or a name that is missing for what follows a switch that the commit shows: it is not refused.

    Parameters
    ----------
    url
        The store.

    Raises
    ------
    Unavailable
        Instead of `BadInput`. The intent stays, for whoever recovers the store once it can be written.
    """
    try:
        yield
    except BadInput as error:
        where, found = error.problems[0].where, error.problems[0].found
        expected = "leave to write what follows the switch of a commit: the commit shows, its records are not complete"
        fix = f"give that leave, then run: aggrade recover {shlex.quote(url)}"
        raise Unavailable(Problem(where, found, expected, fix, "half-done")) from error


@contextmanager
def unless_lost(write_id: str) -> Iterator[None]:
    """Leave what follows the switch of a commit to whoever took its intent over."""
    try:
        yield
    except Conflict as error:
        if error.code != "lease-lost":
            raise
        _log.warning("somebody else completes write %s: %s", write_id, error)


def complete(
    storage: Storage, lease: Lease, documents: Mapping[str, Document], generation: int
) -> tuple[Target, ...]:
    """Finish a commit whose root shows, as the holder of its intent. Doing it twice is doing it once.

    Parameters
    ----------
    storage, lease
        The store and its intent, with the journal of the commit.
    documents
        Array documents that the root shows.
    generation
        The commit's.

    Returns
    -------
    tuple of Target
        What is dirty from now on.
    """
    intent, journal = lease.intent, lease.intent.journal
    if journal is None or not (journal.restores or journal.erases):
        return still_dirty(intent.dirty, documents)
    if journal.restores:
        _restore_bookkeeping(storage, journal.restores, lease)
    if journal.erases and journal.erases.whole:
        wipe(storage, lease.confirm, backups=journal.erases.purge)
        return ()
    if journal.erases and journal.erases.gone:
        purge_alone(storage, journal.erases, lease.confirm)
        return ()
    if journal.erases and journal.erases.purge:
        purge(storage, to_purge(storage, journal.erases, documents))
    if journal.erases:
        erase(storage, journal.erases, documents, intent.dirty, generation, lease.confirm)
        drop_unpublished(storage)
    new = [target for target in journal.abandons if target not in intent.dirty]
    return (*intent.dirty, *new)


def _restore_bookkeeping(storage: Storage, backup: str, lease: Lease) -> None:
    """Put back the records and receipts that removals since then have wiped out."""
    for key, kept in KeptState(storage, backup).bookkeeping().items():
        put_back(storage, key, kept, lease.confirm)
