"""What a copy was made of: the mark of every object that was read, and of every object that was written.

It lies in the target under ``.aggrade/traces/``, named by the root of the version that it belongs to. The next rechunk
lists both stores, compares marks, and knows which objects of the target would come out as they are. Losing a trace
costs time, never data: all is copied anew then.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import zlib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.commit import WrittenObject
from aggrade.rechunking.slots import belongs
from aggrade.storage.together import together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.commit import Document, Snapshot
    from aggrade.storage import ObjectInfo, Storage

__all__ = [
    "TRACES",
    "Marks",
    "Trace",
    "form_of",
    "keep_trace",
    "marks_in",
    "marks_of",
    "objects_in",
    "trace_key",
    "trace_of",
]

TRACES = ".aggrade/traces/"

Marks = dict[str, dict[str, str]]
"""Array → key → mark."""

_NOT_ITS_FORM = {"shape", "attributes"}
_log = logging.getLogger(__name__)


class Trace(BaseModel):
    """What one version of a target was made of, and what it consists of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forms: dict[str, str] = Field(description="Array → digest of how the source stored it.")
    marks: Marks = Field(description="Array → key → mark of every object of the source, before it was read.")
    objects: dict[str, WrittenObject] = Field(description="Key → every object of the version.")
    order: str = Field(
        default="",
        description="Digest of the order that it has the objects of its source in; empty if in theirs.",
    )


def form_of(document: Document) -> str:
    """Return a digest of how an array is stored: type, fill, chunks, codecs and keys, but not how long it is."""
    form = {key: value for key, value in document.items() if key not in _NOT_ITS_FORM}
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def marks_in(storage: Storage, documents: Mapping[str, Document]) -> Marks:
    """Return the marks of the objects of several arrays. Parameters as for `objects_in`."""
    return marks_of(objects_in(storage, documents))


def marks_of(objects: Mapping[str, Mapping[str, ObjectInfo]]) -> Marks:
    """Return the marks of objects, by array and key."""
    return {name: {key: info.etag for key, info in found.items()} for name, found in objects.items()}


def objects_in(storage: Storage, documents: Mapping[str, Document]) -> dict[str, dict[str, ObjectInfo]]:
    """Return the objects of several arrays by array and key, by one listing each.

    Parameters
    ----------
    storage
        The Zarr store.
    documents
        The arrays; objects that their documents don't name are left out.
    """

    def listed(name: str, document: Document) -> dict[str, ObjectInfo]:
        found: list[ObjectInfo] = list(storage.list(f"{name}/"))
        return {info.key: info for info in found if belongs(name, document, info.key)}

    calls = [
        lambda name=name, document=document: listed(name, document) for name, document in documents.items()
    ]
    return dict(zip(documents, together(*calls), strict=True))


def keep_trace(storage: Storage, name: str, trace: Trace) -> None:
    """Write a trace; to be called before the switch, so that whoever sees the version finds it.

    Parameters
    ----------
    storage
        The target.
    name
        A name that nobody else has used.
    trace
        What to write.
    """
    storage.write(trace_key(name), gzip.compress(trace.model_dump_json().encode(), 1, mtime=0))


def trace_of(storage: Storage, shown: Snapshot | None) -> Trace | None:
    """Return the trace of the version that a target shows; None if there is none, or none that can be read."""
    made: dict[str, Any] = shown.mark.get("rechunk", {}) if shown else {}
    stored = storage.read(trace_key(made["trace"])) if made.get("trace") else None
    if stored is None:
        return None
    try:
        return Trace.model_validate_json(gzip.decompress(stored.data))
    except (OSError, EOFError, zlib.error, ValidationError) as error:
        _log.info("the trace %s can't be read, all is copied anew: %s", made["trace"], error)
        return None


def trace_key(name: str) -> str:
    """Return where a trace lies."""
    return f"{TRACES}{name}.json.gz"
