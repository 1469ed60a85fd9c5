"""How many bytes a commit writes beside chunks: from stand-ins with names of the same length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aggrade.commit.backup import Manifest, backup_id
from aggrade.commit.dirt import still_dirty
from aggrade.commit.intent import Intent, Journal, Owner
from aggrade.commit.layers import LayerRecord
from aggrade.commit.publishing import document_bytes, own_targets
from aggrade.commit.snapshot import FORMAT, ROOT, root_bytes
from aggrade.receipt import Receipt, undo_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aggrade.commit.plan import CommitPlan, Layer
    from aggrade.commit.snapshot import Snapshot
    from aggrade.storage.probe import Probe

    Stored = Callable[[str, bytes], list[bytes]]

__all__ = ["Kept", "archive_size", "as_given", "commit_bytes", "root_objects"]

_WRITE_ID, _DIGEST, _MARK = "0" * 24, "0" * 64, '"' + "0" * 32 + '"'
_OWNER = Owner(host="0" * 16, boot="0" * 55, process=10_000, started="1000000")
_MADE = "2000-01-01T00:00:00+00:00"
_ZIP_ENTRY, _ZIP_END = 30 + 46, 22


class Kept(NamedTuple):
    """What a backup will hold: key → bytes of what goes into its archive, and of what is copied."""

    archived: Mapping[str, int] = {}
    copied: Mapping[str, int] = {}


def as_given(_: str, data: bytes) -> list[bytes]:
    """Return what is written for one object: itself."""
    return [data]


def archive_size(sizes: Mapping[str, int]) -> int:
    """Return the bytes of an uncompressed ZIP archive of objects, by their keys and sizes."""
    return sum(size + 2 * len(key.encode()) + _ZIP_ENTRY for key, size in sizes.items()) + _ZIP_END


def root_objects(commit: CommitPlan, base: Snapshot | None, stored: Stored = as_given) -> list[bytes]:
    """Return what the switch will write, but for write id and marks.

    Parameters
    ----------
    commit
        What will be done.
    base
        What the store shows.
    stored
        What is written for an object, by its key and content.
    """
    before = base.mark if base and commit.inherits else {}
    mark = {"format": FORMAT, **before, **commit.mark, "write_id": _WRITE_ID}
    mark["generation"] = _generation(commit, base)
    return stored(ROOT, root_bytes({**commit.attributes, "aggrade": mark}, commit.documents))


def commit_bytes(
    commit: CommitPlan,
    base: Snapshot | None,
    intent: Intent | None,
    kept: Kept,
    *,
    stored: Stored = as_given,
    probe: Probe | None = None,
    details: Mapping[str, Any] | None = None,
) -> Iterator[int]:
    """Yield the bytes of root, array documents, intents, receipt, records and of the backup's archive and manifest.

    Parameters
    ----------
    commit, base, stored
        As for `root_objects`.
    intent
        The one that lies there.
    kept
        What is backed up; of a full backup nothing is archived.
    probe
        What a new intent says of the server.
    details
        What the receipt is to say.
    """
    published = base.documents if base else {}
    generation = _generation(commit, base)
    has_backup = commit.backup != "none" and base is not None
    backup = backup_id(generation, _WRITE_ID) if has_backup else None
    changed = {
        name: document for name, document in commit.documents.items() if published.get(name) != document
    }
    objects = [stored(f"{name}/{ROOT}", document_bytes(document)) for name, document in changed.items()]
    yield from (len(data) for each in (*objects, root_objects(commit, base, stored)) for data in each)
    yield from _intents(commit, intent, backup, list(changed), probe, generation)
    yield len(_receipt(commit, generation, backup, details or {}).model_dump_json(indent=1).encode())
    yield from (len(_record(commit, layer, generation).model_dump_json().encode()) for layer in commit.layers)
    if backup:
        if commit.backup == "touched":
            yield archive_size(kept.archived)
        yield len(_manifest(commit, backup, generation, kept).model_dump_json(indent=1).encode())


def _generation(commit: CommitPlan, base: Snapshot | None) -> int:
    return max(base.generation if base else 0, commit.after) + 1


def _intents(
    commit: CommitPlan,
    before: Intent | None,
    backup: str | None,
    changed: list[str],
    probe: Probe | None,
    generation: int,
) -> Iterator[int]:
    """Yield the bytes of the intent as it is taken and as it is freed."""
    before = before or Intent(state="free", write_id=_WRITE_ID, owner=_OWNER, lease_seconds=30.0, probe=probe)
    journal = Journal(
        kind=commit.kind,
        dim=commit.dim,
        base=commit.base,
        targets=commit.targets(),
        layers=commit.layers,
        backup=backup,
        abandons=commit.abandons,
        restores=commit.restores,
        erases=commit.erases,
    )
    marks = dict.fromkeys((f"{name}/{ROOT}" for name in changed), _MARK)
    dirty = (*before.dirty, *(target for target in commit.abandons if target not in before.dirty))
    if not (commit.restores or commit.erases):
        dirty = still_dirty(before.dirty, commit.documents)
    free: dict[str, Any] = {"state": "free", "journal": None, "etags": {**marks, **before.etags}}
    free |= {"dirty": dirty, "generation": generation}
    for changes in ({"state": "held", "journal": journal}, free):
        yield len(before.model_copy(update=changes).model_dump_json().encode())


def _receipt(commit: CommitPlan, generation: int, backup: str | None, details: Mapping[str, Any]) -> Receipt:
    return Receipt(
        kind=commit.kind,
        store=commit.store,
        write_id=_WRITE_ID,
        generation=generation,
        dim=commit.dim,
        layers={layer.label: layer.index for layer in commit.layers},
        digests={layer.label: layer.digest for layer in commit.layers},
        objects=100,
        bytes_written=1_000_000,
        requests={"GET": 10, "HEAD": 1, "PUT": 10},
        seconds=1.234,
        backup=backup,
        undo=undo_command(commit.store, backup),
        root_digest=_DIGEST,
        details=dict(details),
    )


def _record(commit: CommitPlan, layer: Layer, generation: int) -> LayerRecord:
    return LayerRecord(
        label=layer.label,
        index=layer.index,
        digest=layer.digest,
        write_id=_WRITE_ID,
        generation=generation,
        sizes=layer.sizes,
        runs=layer.runs,
        targets=own_targets(commit.targets(), commit.documents, commit.dim, layer),
        objects=10,
        objects_sha256=_DIGEST,
    )


def _manifest(commit: CommitPlan, backup: str, generation: int, kept: Kept) -> Manifest:
    full = commit.backup == "full"
    copied = {} if full else kept.copied
    return Manifest(
        id=backup,
        kind=commit.backup,
        store=commit.store,
        generation=generation,
        write_id=_WRITE_ID,
        objects={**dict.fromkeys(kept.archived, _DIGEST), **dict.fromkeys(kept.copied, _MARK)},
        size=sum(kept.archived.values()) + sum(kept.copied.values()),
        commit=commit.kind,
        made=_MADE,
        copied=tuple(copied),
        regions=commit.keeps,
    )
