"""Taking the intent, and finishing what a dead holder began: forward if its root shows, back otherwise.

Whoever finds an intent whose heartbeat stands still takes it over by compare-and-swap, which ends the dead
holder's right to it, and looks at the root. If the root bears the intent's write id, the commit took effect:
receipt, layer records and array documents are completed. Otherwise the root is *fenced*: its generation is
raised, so that the dead holder's own compare-and-swap can never succeed, should it only have been asleep. No
chunk is deleted; regions go on record as dirty (see `aggrade.commit.dirt`).
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

from aggrade.clock import clock_of
from aggrade.commit.cataloguing import follow
from aggrade.commit.completing import behind_the_switch, complete
from aggrade.commit.dirt import joined, left_dirty
from aggrade.commit.intent import (
    INTENT,
    INTENT_FORMAT,
    Intent,
    Journal,
    Lease,
    Owner,
    is_abandoned,
    read_intent,
)
from aggrade.commit.layers import keep_receipt
from aggrade.commit.plan import new_write_id
from aggrade.commit.publishing import keep_layers, layer_records, own_targets, write_documents
from aggrade.commit.salting import unsalted
from aggrade.commit.snapshot import FORMAT, ROOT, Snapshot, read_snapshot, root_bytes
from aggrade.commit.writer import WrittenObject
from aggrade.errors import Conflict, Damaged, Problem, raise_all
from aggrade.receipt import Receipt, undo_command
from aggrade.settings import settings
from aggrade.storage import ConditionFailed
from aggrade.storage.probe import conditions

if TYPE_CHECKING:
    from aggrade.commit.looking import Look
    from aggrade.storage import Storage
    from aggrade.storage.probe import Probe

__all__ = ["acquire", "recover_store", "resolve", "roll_back"]

_log = logging.getLogger(__name__)


def acquire(storage: Storage, journal: Journal, write_id: str, known: Look | None = None) -> Lease:
    """Take the intent, recovering a dead holder's first, waiting for one that is alive.

    Parameters
    ----------
    storage, journal, write_id
        The store, what is about to be done there, and its name.
    known
        The intent as it was read a while ago; it is taken without being read again, if it is still that one.

    Raises
    ------
    Conflict
        If another writer is alive for longer than ``AGGRADE_WAIT_SECONDS``.
    Refused
        If the server doesn't keep the conditions of writes; found out where no store has been yet.
    """
    clock = clock_of(storage)
    deadline = clock.now() + settings().wait_seconds
    if known is not None and (known.intent is None or known.intent[0].state == "free"):
        lease = _try_to_take(storage, journal, write_id, known.intent)
        if lease is not None:
            return lease
    while True:
        found = read_intent(storage)
        if found is None or found[0].state == "free":
            lease = _try_to_take(storage, journal, write_id, found)
            if lease is not None:
                return lease
        elif is_abandoned(storage, *found, patience=max(deadline - clock.now(), 0.1)):
            resolve(storage, *found)
        elif clock.now() > deadline:
            raise Conflict(_busy(storage, found[0]))
        else:
            clock.pause(0.05, 0.25)


def _try_to_take(
    storage: Storage, journal: Journal, write_id: str, found: tuple[Intent, str] | None
) -> Lease | None:
    before, etag = found if found is not None else (None, None)
    probe = _demand_conditions(storage, before)
    intent = Intent(
        state="held",
        write_id=write_id,
        owner=Owner.here(),
        lease_seconds=settings().lease_seconds,
        journal=journal,
        dirty=before.dirty if before else (),
        etags=before.etags if before else {},
        probe=probe,
        generation=before.generation if before else 0,
    )
    try:
        return Lease.take(storage, intent, replacing=etag)
    except ConditionFailed:
        return None


def _demand_conditions(storage: Storage, intent: Intent | None) -> Probe | None:
    """Refuse a server that was seen not to keep the conditions of writes; return what was seen of it."""
    seen = conditions(storage, intent.probe if intent else None)
    raise_all(seen.problems() if seen else ())
    return seen


def _busy(storage: Storage, intent: Intent) -> Problem:
    owner = intent.owner
    return Problem(
        f"{storage.url}/{INTENT}",
        f"another writer at work (process {owner.process} on {owner.host})",
        f"a free intent within {settings().wait_seconds:g} s",
        "wait for it to end, or raise AGGRADE_WAIT_SECONDS",
        "busy",
    )


def resolve(storage: Storage, intent: Intent, etag: str) -> Receipt | None:
    """Take over an abandoned intent and finish it.

    Returns
    -------
    Receipt or None
        What was done; None if somebody else was faster.
    """
    probe = _demand_conditions(storage, intent)
    taken = intent.model_copy(update={"owner": Owner.here(), "beat": intent.beat + 1, "probe": probe})
    ours = {"format": INTENT_FORMAT, "lease_seconds": settings().lease_seconds}
    taken = taken.model_copy(update=ours)
    try:
        lease = Lease.take(storage, taken, replacing=etag)
    except ConditionFailed:
        return None
    _log.info("took over the intent of write %s in %s", intent.write_id, storage.url)
    try:
        return _finish(storage, lease)
    except BaseException:
        lease.stop()
        raise


def _finish(storage: Storage, lease: Lease) -> Receipt:
    root = read_snapshot(storage)
    if root is not None and root.write_id == lease.intent.write_id:
        with behind_the_switch(storage.url):
            return _roll_forward(storage, lease, root)
    journal = lease.intent.journal
    erases = journal.erases if journal else None
    if root is None and journal and journal.base and erases and erases.leaves_no_store:
        complete(storage, lease, {}, journal.base.generation + 1)
        lease.stop()
        return _report(storage, lease.intent, journal.base.generation + 1, "forward")
    return roll_back(storage, lease, fence=True)


def _roll_forward(storage: Storage, lease: Lease, root: Snapshot) -> Receipt:
    intent, journal = lease.intent, lease.intent.journal or Journal(kind="unknown")
    receipt = Receipt(
        kind=journal.kind,
        store=storage.url,
        write_id=intent.write_id,
        generation=root.generation,
        dim=journal.dim,
        layers={layer.label: layer.index for layer in journal.layers},
        digests={layer.label: layer.digest for layer in journal.layers},
        backup=journal.backup,
        undo=undo_command(storage.url, journal.backup),
        root_digest=root.digest,
        details={"completed_by": "recover"},
    )
    written = _own_objects(storage, journal, root)
    stamp = (intent.write_id, root.generation)
    keep_receipt(storage, receipt)
    keep_layers(
        storage, layer_records(journal.layers, journal.targets, root.documents, journal.dim, written, stamp)
    )
    follow(storage, lease, root)
    etags = write_documents(storage, root.documents, intent.etags, lease.confirm, root.generation)
    dirty = complete(storage, lease, root.documents, root.generation)
    lease.release(dirty=dirty, etags=etags, generation=root.generation)
    _log.info("rolled forward write %s in %s: %d layers", intent.write_id, storage.url, len(journal.layers))
    return _report(storage, intent, root.generation, "forward")


def _own_objects(storage: Storage, journal: Journal, root: Snapshot) -> list[WrittenObject]:
    """Read back what belongs to the layers alone; the dead holder's own digests are gone."""
    found = []
    for layer in journal.layers:
        for target in own_targets(journal.targets, root.documents, journal.dim, layer):
            for key, _ in target.objects():
                stored = storage.read(key)
                if stored is None:
                    raise Damaged(_missing(storage, key, layer.label))
                data = unsalted(root.documents[target.variable], stored.data)
                sha256 = hashlib.sha256(data).hexdigest()
                found.append(WrittenObject(key, len(stored.data), stored.etag, sha256))
    return found


def _missing(storage: Storage, key: str, label: str) -> Problem:
    fix = "restore the backup from before this layer, then bring the layer again"
    return Problem(f"{storage.url}/{key}", "no object", f"a chunk of layer {label!r}", fix, "missing-chunk")


def roll_back(storage: Storage, lease: Lease, *, fence: bool) -> Receipt:
    """Leave the state that the root shows, and free the intent.

    Parameters
    ----------
    storage, lease
        The store and its intent, held by this process.
    fence
        Whether somebody's compare-and-swap on the root may still be under way.
    """
    intent = lease.intent
    before = read_snapshot(storage)
    root = _fence(storage, intent) if fence else before
    if root is not None and root.write_id == intent.write_id:
        return _roll_forward(storage, lease, root)
    targets = () if _is_void(intent, before) else intent.journal.targets if intent.journal else ()
    dirty = joined((*intent.dirty, *left_dirty(targets, root.documents if root else {})))
    lease.release(dirty=dirty, etags=intent.etags, generation=root.generation if root else 0)
    _log.info("rolled back write %s in %s", intent.write_id, storage.url)
    return _report(storage, intent, root.generation if root else 0, "back")


def _is_void(intent: Intent, root: Snapshot | None) -> bool:
    """Tell whether the intent was won on a base that had gone by then: its holder wrote nothing.

    While it is held, only a fence changes the root, and a fence says whom it fenced. The same root bears another mark
    where the store was copied with the intent in it; each commit raises the generation.
    """
    if intent.journal is None:
        return True
    base = intent.journal.base
    if root is None or base is None:
        same = root is None and base is None
    else:
        same = root.etag == base.etag or 0 < root.generation == base.generation
    return not same and not (root is not None and root.mark.get("fenced") == intent.write_id)


def _fence(storage: Storage, intent: Intent) -> Snapshot | None:
    """Raise the root's generation, making a root where there is none, so that the commit's swap can't succeed.

    Returns the root as it is then; it bears the commit's write id if its swap was faster than the fence. A root that
    is another one than the commit was planned on is left alone: the swap fails on it, and it may be the state of
    somebody who has taken over meanwhile and whose commit is known by it.
    """
    base = intent.journal.base.etag if intent.journal and intent.journal.base else None
    for _ in range(settings().request_attempts):
        root = read_snapshot(storage)
        if (root.etag if root else None) != base:
            return root
        attributes = _fenced(root, intent.write_id)
        try:
            etag = storage.write(
                ROOT,
                root_bytes(attributes, root.documents if root else {}),
                replacing=root.etag if root else None,
            ).etag
        except ConditionFailed:
            continue
        return Snapshot(etag, attributes, root.documents if root else {})
    raise Conflict(
        Problem(
            f"{storage.url}/{ROOT}",
            "a root that keeps changing",
            "one holder",
            "run recover again",
            "contended",
        )
    )


def _fenced(root: Snapshot | None, write_id: str) -> dict[str, Any]:
    before = root.mark if root else {"format": FORMAT}
    generation = (root.generation if root else 0) + 1
    mark = {**before, "generation": generation, "write_id": f"fence-{new_write_id()}", "fenced": write_id}
    return {**(root.attributes if root else {}), "aggrade": mark}


def _report(storage: Storage, intent: Intent, generation: int, direction: str) -> Receipt:
    journal = intent.journal
    return Receipt(
        kind="recover",
        store=storage.url,
        write_id=intent.write_id,
        generation=generation,
        layers={layer.label: layer.index for layer in journal.layers}
        if journal and direction == "forward"
        else {},
        details={"rolled": direction, "what": journal.kind if journal else "unknown"},
    )


def recover_store(storage: Storage) -> Receipt | None:
    """Finish what a dead writer left in one Zarr store; leave a writer alone that is alive.

    Returns
    -------
    Receipt or None
        None if there was nothing to recover.
    """
    found = read_intent(storage)
    if found is None or found[0].state == "free" or not is_abandoned(storage, *found):
        return None
    return resolve(storage, *found)
