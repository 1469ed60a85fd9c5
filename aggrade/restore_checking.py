"""Whether all is there that a restore needs, and what it writes back is what was appended, as far as records tell.

Copies are made on the server's side, so a manifest has no digests of them. A backup that holds copies of a session
holds its record as well, and the record has a digest of the objects that are the session's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.commit.backup import COPIES, backups_beside
from aggrade.commit.layers import LAYERS, LayerRecord, entries_of
from aggrade.commit.marking import gone_backups
from aggrade.commit.salting import objects_digest
from aggrade.errors import Damaged, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.commit.backup import Manifest
    from aggrade.commit.snapshot import Snapshot
    from aggrade.commit.states import KeptState

__all__ = ["check_restored", "demand_backups"]


def demand_backups(state: KeptState, now: Snapshot | None) -> None:
    """Refuse to put a state together without a backup that holds what a removal or a restore has taken away since.

    Parameters
    ----------
    state
        The state to restore.
    now
        What the store shows. Without a root, nobody knows which backups there have been.

    Raises
    ------
    Damaged
        If there was one that is gone.
    """
    if now is not None:
        there = {one.id for one in state.all}
        raise_all(gone_backups(state.storage, now, there, state.manifest.generation), Damaged)


def check_restored(state: KeptState, digests: Mapping[tuple[str, tuple[int, ...]], str]) -> None:
    """Refuse to publish sessions whose copies are not the bytes that were appended.

    Adopted rows have no record, and nothing is known of sessions of which some objects stay where they lie.

    Parameters
    ----------
    state
        The state that is restored.
    digests
        Array and index → SHA-256 of each object that was written, without a salt; empty where nobody knows.

    Raises
    ------
    Damaged
        If an object of a session has changed since the backup was made.
    """
    problems: dict[str, Problem] = {}
    for manifest in state.later:
        for record in _records(state, manifest):
            found = _digest(record, digests)
            if found is not None and found != record.objects_sha256:
                problems.setdefault(record.label, _changed(state, manifest, record))
    raise_all(problems.values(), Damaged)


def _records(state: KeptState, manifest: Manifest) -> Iterator[LayerRecord]:
    """Yield the records that a backup of copies holds, of sessions that the state shows."""
    if not any(map(manifest.holds_copy, manifest.objects)):
        return
    for key in manifest.objects:
        if key.startswith(LAYERS) and (record := _shown(state, state.kept(manifest, key))):
            yield record


def _shown(state: KeptState, data: bytes) -> LayerRecord | None:
    """Return the record that counts in the state; None if a later commit brought the session, or one took it away."""
    shown = state.shown
    for entry in entries_of(data):
        if entry.generation <= shown.generation and not shown.has_undone(entry.generation):
            return entry if isinstance(entry, LayerRecord) else None
    return None


def _digest(record: LayerRecord, digests: Mapping[tuple[str, tuple[int, ...]], str]) -> str | None:
    written = [
        (key, digests.get((target.variable, index)))
        for target in record.targets
        for key, index in target.objects()
    ]
    return objects_digest(written) if written and all(digest for _, digest in written) else None


def _changed(state: KeptState, manifest: Manifest, record: LayerRecord) -> Problem:
    where = f"{backups_beside(state.storage).url}/{manifest.id}/{COPIES}"
    found = f"other bytes in the copies of layer {record.label!r}"
    fix = "restore another backup, or bring these objects back from elsewhere"
    return Problem(where, found, "those that were appended", fix, "backup-damaged")
