"""Objects of a staged session that lie there in the form in which an append would write them: it copies them.

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
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.append_rows import STAMPS
from aggrade.append_writing import IN_HAND, Budget
from aggrade.commit.documents import dims_of, key_of, shape_of, unit_of, units_in
from aggrade.commit.writer import Writer, WrittenObject
from aggrade.encoding import encodings
from aggrade.errors import Damaged, Problem
from aggrade.settings import settings
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggrade.commit import CommitPlan
    from aggrade.commit.documents import Bounds, Document
    from aggrade.storage import Storage

__all__ = ["Splice", "StagedForm", "WrittenList", "foretold", "form_of", "keep_list", "list_key", "list_of"]

_WRITTEN = ".aggrade/written/"
_APART = {"shape", "attributes", "chunk_key_encoding"}
"""Of two documents, what the bytes of an object don't depend on."""


class WrittenList(BaseModel):
    """What one commit wrote, for whoever copies it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digests: dict[str, str] = Field(description="Label → digest of each layer's content.")
    objects: tuple[WrittenObject, ...] = Field(description="Objects, without those that replaced others.")


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


@dataclass(frozen=True)
class StagedForm:
    """In which form a session lies in its staging store.

    Parameters
    ----------
    folder
        Path of the staging store below the dataset root.
    documents
        Its array documents.
    written
        Its objects by key, as the store confirmed them; those that replaced others are left out.
    digest
        Of the session's content, by the encodings of the staging store; empty if it isn't known.
    """

    folder: str
    documents: Mapping[str, Document]
    written: Mapping[str, WrittenObject]
    digest: str = ""

    def alike(self, known: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Return the variables that another store encodes in the same way, by its `encodings`."""
        own = encodings(self.documents)
        return {name for name in own if _spelled(own[name]) == _spelled(known.get(name, {}))}

    def is_digested(self, names: Iterable[str], known: Mapping[str, Mapping[str, Any]], dim: str) -> bool:
        """Tell whether the digest is also that of these variables, as another store encodes them.

        Parameters
        ----------
        names
            The session's variables.
        known
            The other store's `encodings`.
        dim
            The dimension along which sessions lie.
        """
        staged = {name for name, document in self.documents.items() if dim in dims_of(document)} - {*STAMPS}
        return bool(self.digest) and staged == set(names) - {*STAMPS} and staged <= self.alike(known)

    def fitting(self, commit: CommitPlan, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
        """Return the variables whose objects are, byte for byte, what a commit would write. Pure.

        Parameters
        ----------
        commit
            What will be written.
        known
            The store's `encodings`.
        """
        if len(commit.layers) != 1 or commit.layers[0].runs:
            return ()
        alike, regions = self.alike(known), defaultdict[str, list["Bounds"]](list)
        for region in commit.regions:
            regions[region.variable].append(region.bounds)
        return tuple(
            name
            for name, parts in regions.items()
            if name in alike and len(parts) == 1 and self._fits(name, commit, parts[0])
        )

    def _fits(self, name: str, commit: CommitPlan, bounds: Bounds) -> bool:
        here, there = self.documents[name], commit.documents[name]
        if _form(here) != _form(there) or commit.dim not in dims_of(here):
            return False
        axis = dims_of(here).index(commit.dim)
        own = tuple(
            pair if at != axis else (pair[0] - bounds[axis][0], pair[1] - bounds[axis][0])
            for at, pair in enumerate(bounds)
        )
        whole = tuple((0, size) for size in shape_of(here))
        keys = (key_of(name, here, index) for index in units_in(here, whole))
        return unit_of(here)[axis] == 1 and own == whole and all(key in self.written for key in keys)

    def objects(self, commit: CommitPlan, names: Iterable[str]) -> dict[str, WrittenObject]:
        """Return key → object in staging of everything that a commit takes over of some variables."""
        wanted = set(names)
        return {
            key: self.written[self._own_key(name, index, commit)]
            for name, key, index in commit.objects()
            if name in wanted
        }

    def _own_key(self, name: str, index: tuple[int, ...], commit: CommitPlan) -> str:
        dims = dims_of(self.documents[name])
        own = tuple(0 if dim == commit.dim else i for dim, i in zip(dims, index, strict=True))
        return key_of(name, self.documents[name], own)


def _spelled(encoding: Mapping[str, Any]) -> dict[str, str]:
    """Return an encoding so that a fill of NaN is equal to itself."""
    return {key: repr(value) for key, value in encoding.items()}


def _form(document: Document) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _APART}


def form_of(folder: str, documents: Mapping[str, Document], written: WrittenList) -> StagedForm:
    """Return the form in which a session lies in a staging store.

    Parameters
    ----------
    folder
        Path of the staging store below the dataset root.
    documents
        Its array documents.
    written
        What the commit wrote that made them.
    """
    digest = next(iter(written.digests.values())) if len(written.digests) == 1 else ""
    return StagedForm(folder, documents, {item.key: item for item in written.objects}, digest)


def foretold(folder: str, commit: CommitPlan) -> StagedForm:
    """Return the form in which a session will lie in a staging store that a commit is to make.

    Parameters
    ----------
    folder
        Path of the staging store below the dataset root.
    commit
        Its plan.
    """
    written = {key: WrittenObject(key, 0, "", "") for _, key, _ in commit.objects()}
    return StagedForm(folder, commit.documents, written)


def _at_once() -> None:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Splice:
    """Objects of another store that a commit takes over as they lie there.

    Parameters
    ----------
    folder
        Path of the other store below the dataset root.
    depth
        How many folders below the dataset root the commit's store lies.
    objects
        Key in the commit's store → what lies in the other one.
    """

    folder: str
    depth: int
    objects: Mapping[str, WrittenObject]

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
            source = self.objects[key]
            place = f"{self.folder}/{source.key}"
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
        raise Damaged(Problem(f"{root.url}/{key}", found, "a staged object", fix, "staging-torn"))
    return stored.data
