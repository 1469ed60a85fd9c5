"""Whether a store keeps the conditions of writes: some look-alikes of S3 accept the headers and ignore them."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggrade.errors import Problem
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrade.storage import Storage

__all__ = ["Probe", "probe"]

logger = logging.getLogger(__name__)

_FOLDER = ".aggrade/probe"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a store was seen to do.

    Parameters
    ----------
    url
        The store.
    create_only
        A new object is created, and an existing one is not overwritten by creating it.
    compare_and_swap
        An object is replaced by who knows its mark, and by no one who knows an older one or none.
    conditional_copy
        A copy does not overwrite what is at its target. The commit does without it.
    """

    url: str
    create_only: bool
    compare_and_swap: bool
    conditional_copy: bool

    @property
    def safe(self) -> bool:
        """Whether the guarded commit can stand on this store."""
        return self.create_only and self.compare_and_swap

    def problems(self) -> tuple[Problem, ...]:
        """Return why the guarded commit cannot stand on this store; nothing where it can."""
        wanted = {
            "create-only writes (If-None-Match)": self.create_only,
            "compare-and-swap (If-Match)": self.compare_and_swap,
        }
        return tuple(
            Problem(
                self.url,
                f"{name} not enforced",
                "conditions that the server keeps",
                _FIX,
                "no-conditional-writes",
            )
            for name, kept in wanted.items()
            if not kept
        )

    def __str__(self) -> str:
        seen = [
            f"{name.replace('_', '-')} {'kept' if getattr(self, name) else 'NOT kept'}"
            for name in ("create_only", "compare_and_swap", "conditional_copy")
        ]
        return f"{self.url}: {', '.join(seen)}"


_FIX = "use a server that enforces conditional writes, such as AWS S3 or SeaweedFS 4"


def probe(storage: Storage) -> Probe:
    """Find out by some ten requests on scratch keys which conditions a store keeps; leave nothing behind.

    It shows what a server does with requests that follow each other. Whether it keeps its word among many clients
    at once, no few requests can show.

    Parameters
    ----------
    storage
        The store. The scratch keys lie below ``.aggrade/probe``.

    Raises
    ------
    BadInput, Unavailable
        If the store cannot be written to at all.
    """
    folder = f"{_FOLDER}/{secrets.token_hex(8)}"
    one, other, missing = f"{folder}/one", f"{folder}/other", f"{folder}/missing"
    try:
        first = storage.write(one, b"first").etag
        create_only = _refuses(lambda: storage.write(one, b"again"))
        etag = first if create_only else _etag(storage, one)
        swaps = not _refuses(lambda: storage.write(one, b"second", replacing=etag))
        stale = _refuses(lambda: storage.write(one, b"third", replacing=etag))
        nothing = _refuses(lambda: storage.write(missing, b"", replacing=etag))
        storage.write(other, b"other")
        _refuses(lambda: storage.copy(other, one))
        found = storage.read(one)
        copies = found is not None and found.data != b"other"
    finally:
        storage.delete([one, other, missing])
    result = Probe(storage.url, create_only, swaps and stale and nothing, copies)
    logger.info("%s", result)
    return result


def _etag(storage: Storage, key: str) -> str:
    found = storage.stat(key)
    return found.etag if found else ""


def _refuses(write: Callable[[], object]) -> bool:
    try:
        write()
    except ConditionFailed:
        return True
    return False
