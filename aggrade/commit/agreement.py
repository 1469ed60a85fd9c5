"""Whether arrays are still what the root shows: a tool that appends without consolidating changes only their own documents.

Rows that such a tool has added lie beyond the published shape, where a commit takes everything for left-overs. So
the documents that a commit will replace are read before it writes, after the chunks that it will replace: a tool
makes an array longer before it writes a chunk, and whatever it writes later changes the mark of that chunk.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aggrade.commit.documents import dims_of, encoding_of, shape_of, unit_of
from aggrade.commit.snapshot import ROOT, moved_on
from aggrade.errors import Conflict, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggrade.commit.documents import Document
    from aggrade.commit.looking import Look
    from aggrade.commit.plan import Target
    from aggrade.commit.snapshot import Snapshot
    from aggrade.storage import Storage, StoredObject

__all__ = [
    "demand_agreement",
    "demand_consolidated",
    "disagreements",
    "document_key",
    "documents_at_stake",
    "marks_of",
    "parsed",
]


def document_key(name: str) -> str:
    """Return where the document of an array lies."""
    return f"{name}/{ROOT}"


def documents_at_stake(seen: Look, dim: str, sizes: Mapping[Any, int]) -> list[str]:
    """Return the keys of the array documents that an append has to look at.

    Those that it will change, and all of them where aggrade has never written; none while a commit is under way.

    Parameters
    ----------
    seen
        The store.
    dim
        The dimension that grows.
    sizes
        The sizes of what is to be appended.
    """
    shown = seen.snapshot
    if shown is None or (seen.intent is not None and seen.intent[0].state == "held"):
        return []
    return [
        document_key(name)
        for name, document in shown.documents.items()
        if "dim" not in shown.mark
        or any(
            d == dim or sizes.get(d, 0) > size
            for d, size in zip(dims_of(document), shape_of(document), strict=True)
        )
    ]


def demand_agreement(storage: Storage, seen: Look, shown: Mapping[str, Document]) -> None:
    """Refuse to plan on arrays that are not what the root shows.

    Parameters
    ----------
    storage, seen
        The store, and what was read of it.
    shown
        Array documents that the root shows.

    Raises
    ------
    Refused
        If another tool wrote there without consolidating.
    Conflict
        If somebody has taken or changed the store since it was looked at, whose commit may be all there is to it.
    """
    problems = [*disagreements(storage.url, shown, seen.objects)]
    if problems and not seen.is_unchanged(storage):
        raise Conflict(moved_on(storage.url))
    raise_all(problems)


def disagreements(
    url: str, shown: Mapping[str, Document], there: Mapping[str, StoredObject | None]
) -> Iterator[Problem]:
    """Yield why arrays are not what the root shows. A document that is missing or torn says nothing and harms nobody.

    Parameters
    ----------
    url
        The store, for people.
    shown
        Array documents that the root shows.
    there
        Key → what lies there; keys of other objects are passed over.
    """
    for name, document in shown.items():
        own = parsed(there.get(document_key(name)))
        if own is not None and not _describes_the_same(own, document):
            yield _disagrees(url, name, own, document)


def demand_consolidated(storage: Storage, shown: Snapshot, dirty: Iterable[Target]) -> None:
    """Refuse where a store holds arrays that its root does not show: nobody can tell them from left-overs.

    Those that a commit gave up are on record as dirty, and a rechunked copy keeps those of its earlier version.

    Parameters
    ----------
    storage, shown
        The store, and what its root shows.
    dirty
        The regions that its intent has on record.

    Raises
    ------
    Refused
        If another tool has made an array there without consolidating.
    """
    if "rechunk" in shown.mark:
        return
    known = {name.partition("/")[0] for name in (*shown.documents, *(one.variable for one in dirty))}
    others = [name for name in storage.folders() if name not in known and not name.startswith(".")]
    raise_all(_unlisted(storage.url, name) for name in others if _is_array(storage, name))


def _is_array(storage: Storage, name: str) -> bool:
    """Tell whether a folder holds the document of an array, of format 3 or 2."""
    return any(storage.stat(f"{name}/{file}") is not None for file in (ROOT, ".zarray"))


def _unlisted(url: str, name: str) -> Problem:
    fix = (
        "another tool made it without consolidating: nothing was written, so that it stays; keep it by "
        "zarr.consolidate_metadata, or delete its folder"
    )
    expected = "arrays that the consolidated metadata show"
    return Problem(
        f"{url}/{name}",
        "an array, or a group, that the root does not show",
        expected,
        fix,
        "not-consolidated",
    )


def parsed(stored: StoredObject | None) -> Document | None:
    """Return an array document that was read, None if it is missing or no such document."""
    try:
        found: Document | None = json.loads(stored.data) if stored else None
        return found if found and _outline(found) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _outline(document: Document) -> tuple[Any, ...]:
    """Return what says where rows lie, and how many."""
    return shape_of(document), unit_of(document), document["data_type"], encoding_of(document)


def _describes_the_same(own: Document, shown: Document) -> bool:
    return _outline(own) == _outline(shown)


def _disagrees(url: str, name: str, own: Document, shown: Document) -> Problem:
    if shape_of(own) == shape_of(shown):
        found, expected = "an array of other chunks or another type", "what the consolidated metadata show"
    else:
        found = f"the shape {_told(own)}"
        expected = f"{_told(shown)}, as the consolidated metadata show"
    fix = (
        "another tool wrote there without consolidating: nothing was written, so that its rows stay; look at them with "
        "xr.open_zarr(…, consolidated=False), then keep them by zarr.consolidate_metadata, or give them up by "
        f"resizing the array to {_told(shown)}; aggrade verify names every array"
    )
    return Problem(f"{url}/{name}", found, expected, fix, "not-consolidated")


def _told(document: Document) -> str:
    return str(shape_of(document))


def marks_of(documents: Iterable[str], there: Mapping[str, StoredObject | None]) -> dict[str, str]:
    """Return key → mark of those array documents that were read, by which they can be replaced."""
    found = {document_key(name): there.get(document_key(name)) for name in documents}
    return {key: stored.etag for key, stored in found.items() if stored is not None}
