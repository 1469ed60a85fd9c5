"""Making room for the next version of a target: deleting what no version that still counts has written.

It happens on purpose and under the intent, before the first byte is written. Spared are the version that is served,
and what a dead run of the same plan has left for this one to go on with.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aggrade.commit.pieces import LEDGER
from aggrade.rechunking.slots import belongs, strangers
from aggrade.rechunking.tracing import TRACES, trace_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aggrade.commit import Transaction
    from aggrade.rechunking.plan import RechunkPlan

__all__ = ["make_room"]

_log = logging.getLogger(__name__)


def make_room(
    transaction: Transaction, plan: RechunkPlan, retired: Iterable[str], trace: str | None = None
) -> int:
    """Delete the chunks of versions before the one that is served, and what runs of other plans have left.

    Parameters
    ----------
    transaction
        Open, on the target.
    plan
        What will be written.
    retired
        Arrays of the version before the one that is served, which later ones do not have.
    trace
        Name of the trace of the version that is served, if it has one.

    Returns
    -------
    int
        How many objects were deleted.

    Raises
    ------
    Conflict
        If the intent may have been lost; nothing is deleted then.
    """
    names = {*plan.documents, *transaction.published, *retired}
    doomed = [key for name in sorted(names) for key in _left(transaction, plan, name)]
    doomed += [*_other_ledgers(transaction, plan), *_other_traces(transaction, trace)]
    if doomed:
        transaction.lease.confirm()
        transaction.storage.delete(doomed)
        _log.info("deleted %d objects of earlier versions from %s", len(doomed), plan.target)
    return len(doomed)


def _left(transaction: Transaction, plan: RechunkPlan, name: str) -> Iterator[str]:
    keys = [info.key for info in transaction.storage.list(f"{name}/")]
    served, planned = transaction.published.get(name), plan.documents.get(name)
    if served is None and planned is None:
        yield from keys
        return
    replaceable = transaction.writer().etags
    resumed = {key for key in keys if planned and key in replaceable and belongs(name, planned, key)}
    yield from strangers(name, [served] if served else [], keys, resumed)


def _other_ledgers(transaction: Transaction, plan: RechunkPlan) -> list[str]:
    own = {f"{LEDGER}{piece.digest}.json" for piece in (*plan.pieces, *plan.kept)}
    return [info.key for info in transaction.storage.list(LEDGER) if info.key not in own]


def _other_traces(transaction: Transaction, trace: str | None) -> list[str]:
    served = trace_key(trace) if trace else None
    return [info.key for info in transaction.storage.list(TRACES) if info.key != served]
