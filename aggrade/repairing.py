"""`verify --repair`: mend what can be mended without a doubt, and name what is left.

Whatever is mended follows from what the store itself shows and has on record, and is done by the holder of the
intent, by conditional writes. An orphan is emptied before it is deleted, each on the mark it bore when it was found:
a delete that comes late finds another mark, or an empty object. What a person has to decide is left as it is.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit import Base, Target, backups_beside, layers_of, read_intent, read_snapshot, recover_store
from aggrade.commit.documents import dims_of, in_grid, index_of, shape_of, unit_of
from aggrade.commit.erasing import fill_torn, trim
from aggrade.commit.intent import Journal
from aggrade.commit.looking import known_generation
from aggrade.commit.plan import new_write_id
from aggrade.commit.publishing import write_documents
from aggrade.commit.recovery import acquire
from aggrade.commit.snapshot import ROOT, demand_root
from aggrade.commit.unpublished import drop_unpublished
from aggrade.errors import Conflict, Damaged, Problem, Refused, raise_all
from aggrade.foreign_objects import torn_in_no_use
from aggrade.layout import open_stores
from aggrade.orphans import array_of, find_orphans
from aggrade.rebuilding import rebuild_bookkeeping
from aggrade.receipt_checks import has_newer
from aggrade.root_checks import changed_root
from aggrade.session_catalogue import catalogue_problems, drop_lost_files, make_lines_again
from aggrade.settings import settings
from aggrade.staged_sessions import drop_landed
from aggrade.storage import ConditionFailed, open_storage
from aggrade.storage.together import read_together
from aggrade.verifying import Report, is_damaged, verify

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aggrade.commit import Document, Snapshot
    from aggrade.commit.intent import Lease
    from aggrade.orphans import Orphans
    from aggrade.storage import ObjectInfo, Storage, StoredObject

__all__ = ["Repairs", "repair"]

_log = logging.getLogger(__name__)
_AT_ONCE = 100


class Repairs(BaseModel):
    """What a repair did, what it could not do, and how the store is now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: tuple[str, ...] = Field(default=(), description="A sentence for each thing that was mended.")
    failed: tuple[str, ...] = Field(default=(), description="Why something could not even be tried.")
    report: Report = Field(description="What `verify` says afterwards: what is left is not safe to mend.")

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.report.ok and not self.failed

    def _failed_alone(self) -> list[str]:
        return [sentence for sentence in self.failed if sentence not in self.report.problems]

    def __str__(self) -> str:
        mended = [f"mended: {sentence}" for sentence in self.done] or ["nothing that is safe to mend"]
        return "\n".join(
            [*mended, *(f"not mended: {sentence}" for sentence in self._failed_alone()), str(self.report)]
        )


def repair(store: str, *, storage_options: Mapping[str, Any] | None = None) -> Repairs:
    """Mend what is safe to mend in every store, then verify.

    Dead writers' commits are finished; array documents are written as the root shows them; what nothing claims is
    deleted, and so are backups that were never finished and staged sessions that have landed; the catalogue is made
    again where it differs. Never touched are the root, published values, and whatever another program may have meant to
    write.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Repairs
        ``.done``, ``.failed``, ``.report``.

    Raises
    ------
    BadInput
        If there is no store.
    Unavailable
        If a store did not answer. Run it again: what was half done is recovered.
    """
    done: list[str] = []
    failed: list[str] = []
    for storage in open_stores(store, storage_options):
        try:
            done.extend(_mend(storage))
        except (Damaged, Refused, Conflict) as error:
            _log.warning("could not mend %s: %s", storage.url, error)
            failed.append(str(error))
    done.extend(drop_landed(store, storage_options))
    done.extend(_drop_lost_lines(store, storage_options))
    report = verify(store, storage_options=storage_options)
    return Repairs(done=tuple(done), failed=tuple(failed), report=report)


def _mend(storage: Storage) -> list[str]:
    done = _recovered(storage)
    intent = read_intent(storage)
    shown = read_snapshot(storage)
    demand_root(storage.url, shown, known_generation(storage, shown, intent))
    if shown is None or shown.uneven or (intent is not None and intent[0].state == "held"):
        return done
    raise_all(filter(None, [changed_root(storage, shown)]), Damaged)
    base = Base(etag=shown.etag, generation=shown.generation)
    lease = acquire(storage, Journal(kind="repair", base=base), new_write_id())
    if intent is None and shown.generation:
        done.append(f"{storage.url}: its intent is there again")
    try:
        return done + _mend_as_holder(storage, lease)
    except BaseException:
        lease.stop()
        raise


def _recovered(storage: Storage) -> list[str]:
    receipt = recover_store(storage)
    if receipt is None:
        return []
    return [f"{storage.url}: write {receipt.write_id} of a dead writer is rolled {receipt.details['rolled']}"]


def _mend_as_holder(storage: Storage, lease: Lease) -> list[str]:
    """Mend under the intent what is found under it, and give it back."""
    shown = read_snapshot(storage)
    if shown is None:
        raise Damaged(
            Problem(storage.url, "no root", "the root that was there", "restore a backup", "no-root")
        )
    demand_root(storage.url, shown, lease.intent.least)
    orphans = find_orphans(storage, shown, lease.intent.dirty)
    wrong = _wrong_documents(storage, shown)
    foreign = {name for name, stored in wrong.items() if _is_grown(name, stored, shown, orphans)}
    spared = _beside(shown, foreign)
    orphans = _without(orphans, shown, spared)
    lease.confirm()
    ours = wrong.keys() - spared if shown.generation else ()
    etags, rewritten = _rewrite(storage, lease, shown, sorted(ours))
    made = rebuild_bookkeeping(storage, lease, shown)
    unreadable: list[Problem] = []
    layers = list(layers_of(storage, unreadable, shown))
    torn = () if has_newer(unreadable) else tuple(torn_in_no_use(storage, shown, layers))
    fill_torn(storage, torn, shown.documents, shown.generation, lease.confirm)
    made += [
        f"{storage.url}/{info.key} could not be decoded and is fill: no layer lies in it" for info in torn
    ]
    told = _lines_again(storage, lease, shown)
    dirty, cleared = _clear(storage, lease, shown, orphans)
    trimmed = trim(storage, orphans.edges, shown.documents, shown.generation, lease.confirm)
    if trimmed:
        cleared.append(
            f"{storage.url}: {len(trimmed)} objects no longer hold left-overs beside published rows"
        )
    tidied = _tidy(storage, lease, orphans)
    lease.release(dirty=dirty, etags={**lease.intent.etags, **etags}, generation=shown.generation)
    lines = [f"{storage.url}: the catalogue tells again what the store shows"] if told else []
    return [*rewritten, *made, *cleared, *tidied, *lines]


def _lines_again(storage: Storage, lease: Lease, shown: Snapshot) -> list[int]:
    """Make the catalogue tell what the store shows, unless the store itself is not what was written."""
    if not any(catalogue_problems(storage, shown, Counter())):
        return []
    if is_damaged(storage, shown):
        _log.warning(
            "the catalogue of %s is left as it is, for the store is damaged: mend that first", storage.url
        )
        return []
    try:
        return make_lines_again(storage, lease)
    except Damaged as error:
        _log.warning("the catalogue can't be made again: %s", error)
        return []


def _drop_lost_lines(store: str, storage_options: Mapping[str, Any] | None) -> list[str]:
    root = open_storage(store.rstrip("/"), storage_options)
    gone = drop_lost_files(root)
    return [f"{root.url}: {gone} files of the catalogue that tell of no store are deleted"] if gone else []


def _wrong_documents(storage: Storage, shown: Snapshot) -> dict[str, Document | None]:
    """Return what lies where an array document should, where it is not the root's; None if it can't be read."""
    stored = read_together(storage, [f"{name}/{ROOT}" for name in shown.documents])
    there = {name: _json(stored[f"{name}/{ROOT}"]) for name in shown.documents}
    return {name: document for name, document in there.items() if document != shown.documents[name]}


def _json(stored: StoredObject | None) -> Document | None:
    try:
        found = json.loads(stored.data) if stored else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _beside(shown: Snapshot, foreign: Collection[str]) -> set[str]:
    """Return the arrays of a dimension of which another program has made one longer: it does so one after the other."""
    dims = {dim for name in foreign for dim in dims_of(shown.documents[name])}
    return (
        {name for name, document in shown.documents.items() if dims & {*dims_of(document)}} if dims else set()
    )


def _without(orphans: Orphans, shown: Snapshot, spared: Collection[str]) -> Orphans:
    """Leave out what lies in some arrays: nobody can tell another program's rows from left-overs."""

    def rest(found: Sequence[ObjectInfo]) -> tuple[ObjectInfo, ...]:
        return tuple(info for info in found if array_of(shown, info.key) not in spared)

    beyond, left_over, edges = map(rest, (orphans.beyond, orphans.left_over, orphans.edges))
    return replace(orphans, beyond=beyond, left_over=left_over, edges=edges)


def _is_grown(name: str, stored: Document | None, shown: Snapshot, orphans: Orphans) -> bool:
    """Tell whether another program has made an array longer, by its own document, but not the root.

    Its rows then lie in chunks beyond the published shape, or in the last one, which published rows share.
    """
    if stored is None:
        return False
    unclaimed = (*orphans.beyond, *orphans.left_over)
    beyond = [info.key for info in unclaimed if array_of(shown, info.key) == name]
    try:
        in_chunks = any(in_grid(stored, index_of(name, stored, key) or ()) for key in beyond)
        return in_chunks or _may_share(stored, shown.documents[name], shown.mark.get("dim"))
    except (KeyError, TypeError, ValueError):
        return False


def _may_share(stored: Document, document: Document, dim: str | None) -> bool:
    """Tell whether rows by which an array is longer may lie in a chunk that holds published rows."""
    lengths = zip(dims_of(document), shape_of(stored), shape_of(document), unit_of(document), strict=True)
    return any(d == dim and longer > size and size % unit for d, longer, size, unit in lengths)


def _rewrite(
    storage: Storage, lease: Lease, shown: Snapshot, names: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    documents = {name: shown.documents[name] for name in names}
    etags = write_documents(storage, documents, {}, lease.confirm, shown.generation)
    return etags, [f"{storage.url}/{name}: its zarr.json is what the root shows again" for name in names]


def _clear(
    storage: Storage, lease: Lease, shown: Snapshot, orphans: Orphans
) -> tuple[tuple[Target, ...], list[str]]:
    """Delete orphans; return what is dirty from now on, and what was done.

    Before anything is touched the regions go on record as dirty, with no content that anybody meant to write:
    whoever takes over replaces what lies there, so no mark of ours opens what it wrote.
    """
    doomed = [*orphans.beyond, *orphans.left_over, *orphans.scratch]
    if not doomed:
        return lease.intent.dirty, []
    dirty = tuple(target.model_copy(update={"content": ""}) for target in lease.intent.dirty)
    probe = lease.intent.probe
    deletes = probe is None or probe.conditional_delete is True
    gone: set[str] = set()
    beyond = {info.key for info in orphans.beyond}
    for start in range(0, len(doomed), _AT_ONCE):
        batch = doomed[start : start + _AT_ONCE]
        regions = [_region(shown, info.key) for info in batch if info.key in beyond]
        lease.record(dirty=(*dirty, *regions))
        with ThreadPoolExecutor(settings().parallel_requests) as pool:
            removed = list(pool.map(lambda info: _remove(storage, info, deletes=deletes), batch))
        gone |= {info.key for info, is_gone in zip(batch, removed, strict=True) if is_gone}
        dirty += tuple(region for region in regions if _key(region) not in gone)
    how = "deleted" if deletes else "emptied; this server ignores the condition of a DELETE, so they stay"
    return dirty, [f"{storage.url}: {len(doomed)} objects that nothing claims are {how}"]


def _region(shown: Snapshot, key: str) -> Target:
    """Return the region that is just one object beyond an array's shape."""
    name = array_of(shown, key)
    assert name is not None, "an object beyond an array lies in its folder"
    document = shown.documents[name]
    index, unit = index_of(name, document, key), unit_of(document)
    assert index is not None, "it bears the key of a chunk"
    bounds = tuple((i * size, (i + 1) * size) for i, size in zip(index, unit, strict=True))
    return Target(variable=name, bounds=bounds, unit=unit, key_encoding=document["chunk_key_encoding"])


def _key(region: Target) -> str:
    return next(key for key, _ in region.objects())


def _remove(storage: Storage, info: ObjectInfo, *, deletes: bool) -> bool:
    """Empty an object that is still the one that was found, then delete the empty one; tell whether it is gone."""
    try:
        empty = storage.write(info.key, b"", replacing=info.etag)
    except ConditionFailed as error:
        _log.info("left alone, somebody else has written it: %s", error)
        return False
    return deletes and storage.discard(info.key, empty.etag)


def _tidy(storage: Storage, lease: Lease, orphans: Orphans) -> list[str]:
    """Delete backups that were never finished and files that were never published."""
    done = []
    if orphans.backups:
        lease.confirm()
        beside = backups_beside(storage)
        beside.delete([info.key for name in orphans.backups for info in beside.list(f"{name}/")])
        done.append(f"{beside.url}: {len(orphans.backups)} backups that were never finished are deleted")
    if orphans.partial:
        drop_unpublished(storage, orphans.partial)
        done.append(f"{storage.url}: {len(orphans.partial)} files that were never published are deleted")
    return done
