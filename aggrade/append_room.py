"""Room on disks for what an append writes, compared before the first byte."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aggrade.commit.backup import backups_beside
from aggrade.errors import Problem, raise_all
from aggrade.price import human_bytes
from aggrade.storage import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aggrade.append_plan import AppendPlan
    from aggrade.commit import CommitPlan
    from aggrade.commit.looking import Look
    from aggrade.storage import Storage

__all__ = ["Disk", "lacking_room", "with_room"]

_BLOCK = 4096
_SHARE = 0.02
_LEAST = 64 << 10


@runtime_checkable
class Disk(Protocol):
    """A storage that can run out of room, and knows it."""

    url: str

    def space(self) -> tuple[int, int]:
        """Return the number of the file system, and its free bytes."""
        ...


def with_room(
    storage: Storage, plan: AppendPlan, seen: Look, weighed: Callable[[AppendPlan], AppendPlan]
) -> AppendPlan:
    """Return a plan if the disks have room for it; where they might not, all is encoded to know better.

    Parameters
    ----------
    storage, plan, seen
        As for `lacking_room`.
    weighed
        Returns a plan with the bytes that its objects will have.

    Raises
    ------
    Refused
        If there is no room for what will be written.
    """
    if any(lacking_room(storage, plan, seen)) and not plan.price.weighed:
        plan = weighed(plan)
    raise_all(lacking_room(storage, plan, seen))
    return plan


def lacking_room(storage: Storage, plan: AppendPlan, seen: Look) -> Iterator[Problem]:
    """Yield a problem for each file system without room for data, metadata and backup, with a margin.

    The margin is what the files' last blocks may take, 2 %, and 64 kB. Of shared chunks that are replaced, the old
    bytes and the new ones are there at once.

    Parameters
    ----------
    storage
        The Zarr store. One that is no `Disk` has room for everything.
    plan
        What will be written. Where its price isn't weighed, values count before compression.
    seen
        What was read of the store to plan it.
    """
    store = bare(storage)
    if plan.commit is None or not isinstance(store, Disk):
        return
    kept = _kept(storage, plan.commit, seen)
    beside = bare(backups_beside(storage))
    for where, free, wanted in _too_full(
        [(store, _written(plan, seen) - _counted(plan.commit, kept)), (beside, kept)]
    ):
        expected = f"{human_bytes(wanted)}" + (f", {human_bytes(kept)} of it for the backup" if kept else "")
        found, fix = (
            f"{human_bytes(free)} free on its disk",
            "free some room, of old backups by prune_backups for instance",
        )
        yield Problem(where, found, expected, f"{fix}, or put the store elsewhere", "disk-room")


def _written(plan: AppendPlan, seen: Look) -> int:
    """Return the bytes that an append takes on disks, copies of a full backup left out."""
    held = 0 if plan.price.weighed else sum(len(found.data) for found in seen.objects.values() if found)
    return plan.price.bytes_written + held + plan.price.requests.get("PUT", 0) * _BLOCK


def _counted(commit: CommitPlan, kept: int) -> int:
    """Return how many bytes of a backup the price tells of."""
    return kept if commit.backup == "touched" else 0


def _kept(storage: Storage, commit: CommitPlan, seen: Look) -> int:
    """Return the bytes of the objects that the backup holds."""
    if commit.backup == "none" or seen.snapshot is None:
        return 0
    if commit.backup == "full":
        return sum(-(-info.size // _BLOCK) * _BLOCK for info in bare(storage).list())
    found = [seen.objects.get(key) for key in commit.shared(seen.snapshot.documents)]
    return len(seen.snapshot.data) + sum(len(stored.data) for stored in found if stored)


def _too_full(needs: Sequence[tuple[Disk, int]]) -> Iterator[tuple[str, int, int]]:
    """Yield where there is too little room: the URL, the bytes that are free, and those that are needed."""
    disks: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for disk, size in needs:
        number, free = disk.space() if size else (-1, 0)
        disks[number].append((disk.url, free, size))
    for each in (disks[number] for number in disks if number != -1):
        wanted = int((1 + _SHARE) * sum(size for _, _, size in each)) + _LEAST
        if wanted > each[0][1]:
            yield each[0][0], each[0][1], wanted
