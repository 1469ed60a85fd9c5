"""Objects of staged sessions that lie there in the form in which an append would write them: it copies them.

A copy is made only where nothing lies, as a chunk is created by PUT with ``If-None-Match: *``: the server judges that
when it makes the copy, so one that comes late, of a writer that slept through its lease, meets its successor's object
and fails, or lies beyond the published shape in a region that is on record as dirty. Where the server was not seen to
keep that condition, and where a left-over has to be replaced, the bytes are read and written on their condition
instead. The source is pinned by its mark.

What is copied is what was written before under guard, and confirmed by the store then: the list of a commit's objects
with marks and digests lies under ``.aggrade/written/``. A copy that bears its source's mark is that very object; any
other is read back.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from aggrade.append_writing import IN_HAND, Budget
from aggrade.commit.writer import Writer, WrittenObject
from aggrade.errors import Damaged, Problem
from aggrade.settings import settings
from aggrade.staged_forms import WrittenList
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggrade.staged_forms import StagedObject
    from aggrade.storage import Storage

__all__ = ["Splice", "keep_list", "list_key", "list_of"]

_WRITTEN = ".aggrade/written/"


def list_key(write_id: str) -> str:
    """Return where the list of what a commit wrote lies."""
    return f"{_WRITTEN}{write_id}.json"


def keep_list(
    storage: Storage, write_id: str, digests: Mapping[str, str], written: Iterable[WrittenObject]
) -> None:
    """Keep the list of what a commit wrote; to be called before its switch, so that whoever sees that finds it."""
    found = WrittenList(digests=dict(digests), objects=tuple(written))
    storage.write(list_key(write_id), found.model_dump_json().encode())


def list_of(data: bytes | None) -> WrittenList:
    """Return a list from its object's bytes; an empty one if there is none, or of another version of aggrade."""
    try:
        return WrittenList.model_validate_json(data or b"")
    except ValidationError:
        return WrittenList(digests={}, objects=())


def _at_once() -> None:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Splice:
    """Objects of staging stores that a commit takes over as they lie there.

    Parameters
    ----------
    depth
        How many folders below the dataset root the commit's store lies.
    objects
        Key in the commit's store → what lies staged.
    """

    depth: int
    objects: Mapping[str, StagedObject]

    def carry_out(
        self, writer: Writer, *, by_copy: bool, proceed: Callable[[], None] = _at_once
    ) -> list[WrittenObject]:
        """Bring every object, as many at once as requests may be under way.

        Parameters
        ----------
        writer
            Of the commit.
        by_copy
            Whether the server keeps the condition of a copy.
        proceed
            What raises where nothing more may be brought; asked before each batch but the first.

        Raises
        ------
        Conflict
            If something was written there by somebody else.
        Damaged
            If an object of the other store is gone or isn't what was written, or if a copy isn't.
        """
        root, path = _climbed(writer.storage, self.depth)
        budget = Budget(IN_HAND)

        def bring(key: str) -> WrittenObject:
            source, place = self.objects[key].written, self.objects[key].place
            if by_copy and key not in writer.etags:
                wanted = replace(source, key=key)
                copy = _copied(root, place, f"{path}{key}", wanted, budget)
                if copy is not None:
                    return copy
            with budget.taking(source.size):
                return writer.put(key.partition("/")[0], key, _read(root, place, source))

        done, keys, many = list[WrittenObject](), list(self.objects), settings().parallel_requests
        with ThreadPoolExecutor(many) as pool:
            for start in range(0, len(keys), many):
                if start:
                    proceed()
                done += pool.map(bring, keys[start : start + many])
        return done


def _climbed(storage: Storage, depth: int) -> tuple[Storage, str]:
    """Return the storage so many folders above one, and the path from there, with a slash at its end."""
    path = ""
    for _ in range(depth):
        storage, name = storage.above()
        path = f"{name}/{path}"
    return storage, path


def _copied(
    root: Storage, source: str, target: str, wanted: WrittenObject, budget: Budget
) -> WrittenObject | None:
    """Copy one object, and prove the copy; None if something lies there."""
    try:
        mark = root.copy(source, target, unchanged=wanted.etag)
    except ConditionFailed:
        return None
    except Damaged:
        with budget.taking(wanted.size):
            _read(root, source, wanted)
        raise
    if mark != wanted.etag:
        with budget.taking(wanted.size):
            _read(root, target, wanted)
    return replace(wanted, etag=mark)


def _read(root: Storage, key: str, wanted: WrittenObject) -> bytes:
    """Return the bytes of an object that must be those that were written."""
    stored = root.read(key)
    if stored is None or hashlib.sha256(stored.data).hexdigest() != wanted.sha256:
        found = "no object" if stored is None else "other bytes than were written"
        fix = "run it again: the session is cut anew"
        code = "staging-gone" if stored is None else "staging-torn"
        raise Damaged(Problem(f"{root.url}/{key}", found, "a staged object", fix, code))
    return stored.data
