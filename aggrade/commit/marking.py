"""What a commit leaves in the root for aggrade, beside what the root shows to all (`aggrade.root_marks`).

Two of the fields are evidence. ``common`` has the digest of each object that no layer has of its own, such as the names of
channels: no record speaks of these. ``needed_backups`` names the backups that hold what a removal or a restore took
away: a state from before them can't be put together without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggrade.commit.backup import backups_beside
from aggrade.commit.documents import dims_of, in_grid, index_of
from aggrade.commit.snapshot import FORMAT
from aggrade.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from aggrade.commit.documents import Document
    from aggrade.commit.plan import CommitPlan
    from aggrade.commit.snapshot import Snapshot
    from aggrade.commit.writer import WrittenObject
    from aggrade.storage import Storage

__all__ = ["DIGITS", "common_name", "digests_of_common", "gone_backups", "mark_after"]

DIGITS = 32
"""How much of a SHA-256 the root keeps of an object, in hex."""


def mark_after(
    plan: CommitPlan,
    base: Snapshot | None,
    stamp: tuple[int, str],
    backup: str | None,
    written: Iterable[WrittenObject],
) -> dict[str, Any]:
    """Return what the root keeps for aggrade after a commit.

    Parameters
    ----------
    plan, base
        What the commit does, and the state before it; None if there is none.
    stamp
        Its generation and write id.
    backup
        The backup that it has made.
    written
        The objects that it has written.
    """
    before = base.mark if base else {}
    kept = {key: value for key, value in before.items() if key != "fenced"} if plan.inherits else {}
    generation, write_id = stamp
    needed = {**plan.mark, **before}.get("needed_backups") or []
    if backup and plan.kind in {"remove", "restore"}:
        needed = [*needed, backup]
    mark = {"format": FORMAT, **kept, **plan.mark, "generation": generation, "write_id": write_id}
    common = _common(mark, plan, written)
    return {
        **{key: value for key, value in mark.items() if key not in {"common", "needed_backups"}},
        **({"needed_backups": needed} if needed else {}),
        **({"common": common} if common else {}),
    }


def common_name(name: str, index: Iterable[int]) -> str:
    """Return how the root names an object whatever its key: a restore may give an array other keys.

    >>> common_name("eeg_channel", (0,))
    'eeg_channel 0'
    """
    return f"{name} {'.'.join(map(str, index))}"


def _common(mark: Mapping[str, Any], plan: CommitPlan, written: Iterable[WrittenObject]) -> dict[str, str]:
    dim = mark.get("dim", plan.dim)
    if dim is None or "rechunk" in mark:
        return {}
    there = {name for name, document in plan.documents.items() if dim not in dims_of(document)}
    before = {key: sha for key, sha in (mark.get("common") or {}).items() if key.rpartition(" ")[0] in there}
    return before | dict(digests_of_common({name: plan.documents[name] for name in there}, written))


def digests_of_common(
    documents: Mapping[str, Document], written: Iterable[WrittenObject]
) -> Iterator[tuple[str, str]]:
    """Yield name and digest of each written object of some arrays; objects that were copied have none.

    Parameters
    ----------
    documents
        Name of each array → its document.
    written
        Objects of these and other arrays.
    """
    for item in written:
        name = item.key.partition("/")[0]
        document = documents.get(name)
        index = None if document is None else index_of(name, document, item.key)
        if index is not None and item.sha256 and in_grid(document, index):
            yield common_name(name, index), item.sha256[:DIGITS]


def gone_backups(storage: Storage, shown: Snapshot, there: Collection[str], since: int) -> Iterator[Problem]:
    """Yield what there is to say of backups that are gone without which no state from before them can be shown.

    Parameters
    ----------
    storage, shown
        The Zarr store and the state that it shows.
    there
        Names of its backups.
    since
        Generation of the earliest state that is wanted.
    """
    for name in shown.mark.get("needed_backups") or []:
        if name not in there and int(name.partition("-")[0]) >= since:
            found = "no backup, though a commit took away what it holds"
            expected = "the backup, without which no state from before it can be restored"
            fix = "bring it back from elsewhere, restore a later backup, or prune those before it"
            yield Problem(f"{backups_beside(storage).url}/{name}", found, expected, fix, "backup-gone")
