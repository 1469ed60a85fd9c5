"""Which conditions a server keeps: some look-alikes of S3 accept the headers and ignore them.

A server is asked once for each endpoint and bucket by each process that writes there first. The answer goes into
the intent of each store (`aggrade.commit.intent`), so that an append to a store that is there asks nothing, and
`aggrade status` can show it. Who comes by another endpoint asks again: a gateway may drop what the server keeps.
"""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem
from aggrade.price import Price
from aggrade.storage import ConditionFailed, bare
from aggrade.storage.counting import counts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrade.storage import Storage

__all__ = ["PROBE_PRICE", "SCRATCH", "Probe", "conditions", "keeps_copies", "must_ask", "presumed", "probe"]

logger = logging.getLogger(__name__)

SCRATCH = ".aggrade/probe"
"""Where a probe writes."""

_FIX = "use a server that enforces conditional writes, such as AWS S3 or SeaweedFS 4, or a local disk"
_KNOWN: dict[tuple[str, str], Probe] = {}
PROBE_PRICE = Price(
    requests={"GET": 4, "HEAD": 9, "PUT": 9, "COPY": 1, "DELETE": 3, "LIST": 1},
    round_trips=27,
    bytes_read=23,
    bytes_written=16,
    weighed=True,
)
"""What it costs to ask a server that keeps every condition."""

_GUARD = threading.Lock()
_NEEDED = {
    "create_only": "create-only writes (PUT with If-None-Match: *)",
    "compare_and_swap": "compare-and-swap (PUT with If-Match)",
    "read_after_write": "that what was written is read and listed at once",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server was seen to do. None: it was not asked.

    Parameters
    ----------
    endpoint
        Where requests go; empty where there is no server.
    place
        The bucket as ``s3://…``, or the folder.
    create_only
        A new object is created, and an existing one is not overwritten by creating it.
    compare_and_swap
        An object is replaced by who knows its mark, and by no one who knows an older one or none.
    read_after_write
        What was written last is what is read and listed.
    conditional_copy
        A copy does not overwrite what is at its target. Without it, staged objects are read and written instead.
    conditional_delete
        An object is deleted by who knows its mark, and by no one who knows an older one. Only a repair needs it.
    content_md5, checksums
        An object whose ``Content-MD5``, or whose ``x-amz-checksum-…``, does not match is not stored.
    """

    endpoint: str
    place: str
    create_only: bool
    compare_and_swap: bool
    read_after_write: bool
    conditional_copy: bool | None = None
    conditional_delete: bool | None = None
    content_md5: bool | None = None
    checksums: bool | None = None

    @property
    def safe(self) -> bool:
        """Whether the guarded commit can stand on this server."""
        return all(getattr(self, name) for name in _NEEDED)

    @property
    def where(self) -> str:
        """The server and the bucket, for people."""
        return f"{self.endpoint}, bucket {self.place}" if self.endpoint else self.place

    def problems(self) -> tuple[Problem, ...]:
        """Return why the guarded commit cannot stand on this server; nothing where it can."""
        expected = "conditions that the server keeps"
        return tuple(
            Problem(self.where, f"{words} not enforced", expected, _FIX, "no-conditional-writes")
            for name, words in _NEEDED.items()
            if not getattr(self, name)
        )

    def __str__(self) -> str:
        said = {True: "kept", False: "NOT kept"}
        answers = {name: value for name, value in asdict(self).items() if isinstance(value, bool)}
        seen = [f"{name.replace('_', '-')} {said[value]}" for name, value in answers.items()]
        return f"{self.where}: {', '.join(seen)}"


def conditions(storage: Storage, recorded: Probe | None = None) -> Probe | None:
    """Return what is known of the server below a storage, asking it at most once per endpoint and bucket.

    Parameters
    ----------
    storage
        The store.
    recorded
        What an earlier writer saw; it counts if it was seen at the same endpoint and bucket.

    Returns
    -------
    Probe or None
        None where there is no server: a disk and its locks are our own code. Of a server at which something is only
        rehearsed it is taken for granted that it keeps them.

    Raises
    ------
    BadInput, Unavailable
        If the store cannot be written to at all.
    """
    address = getattr(bare(storage), "address", None)
    if address is None:
        return None
    known = _known(address, recorded)
    if known is None and getattr(bare(storage), "is_rehearsed", False):
        return presumed(storage, recorded)
    if known is None:
        known = _asked(storage)
        if known.safe:
            with _GUARD:
                _KNOWN[address] = known
    return known


def _asked(storage: Storage) -> Probe:
    """Probe a server; where requests are counted, as many as it gets: one call to a storage may be several."""
    counts = counts_of(storage)
    if counts is None:
        return probe(storage)
    seen = probe(bare(storage))
    counts.update(PROBE_PRICE.requests)
    return seen


def presumed(storage: Storage, recorded: Probe | None) -> Probe | None:
    """Return what is known of the server, or that it keeps everything. Parameters as for `keeps_copies`."""
    address = getattr(bare(storage), "address", None)
    if address is None:
        return None
    return _known(address, recorded) or Probe(*address, *[True] * (len(fields(Probe)) - len(address)))


def must_ask(storage: Storage, recorded: Probe | None) -> bool:
    """Tell whether a writer would probe the server first. Parameters as for `keeps_copies`."""
    address = getattr(bare(storage), "address", None)
    return address is not None and _known(address, recorded) is None


def _known(address: tuple[str, str], recorded: Probe | None) -> Probe | None:
    """Return what is known of a server without asking it."""
    if recorded is not None and recorded.safe and (recorded.endpoint, recorded.place) == address:
        return recorded
    with _GUARD:
        return _KNOWN.get(address)


def keeps_copies(storage: Storage, recorded: Probe | None) -> bool:
    """Tell whether a copy overwrites nothing, by what is known without asking; a server that nobody asked counts.

    Parameters
    ----------
    storage
        The store.
    recorded
        What an earlier writer saw. Whoever holds the intent has it from there, and so for certain.
    """
    address = getattr(bare(storage), "address", None)
    if address is None:
        return True
    known = _known(address, recorded)
    return known is None or bool(known.conditional_copy)


def probe(storage: Storage) -> Probe:
    """Find out by some twenty requests on scratch keys which conditions a store keeps; leave nothing behind.

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
    folder = f"{SCRATCH}/{secrets.token_hex(8)}"
    scratch = [f"{folder}/{name}" for name in ("one", "other", "missing", "torn", "spare")]
    endpoint, place = getattr(bare(storage), "address", ("", storage.url))
    try:
        result = Probe(endpoint, place, **_ask(storage, scratch))
    finally:
        storage.delete(scratch)
    logger.info("%s", result)
    return result


def _ask(storage: Storage, scratch: list[str]) -> dict[str, bool]:
    one, other, missing, torn, spare = scratch
    try:
        first = storage.write(one, b"first").etag
    except BadInput as error:
        if error.code != "request-refused":
            raise
        logger.info("the server knows no conditional writes: %s", error)
        return dict.fromkeys(_NEEDED, False)
    create_only = _refuses(lambda: storage.write(one, b"again"))
    etag = first if create_only else _etag(storage, one)
    swaps = not _refuses(lambda: storage.write(one, b"second", replacing=etag))
    fresh = _shows(storage, one, b"second") if swaps else _shows(storage, one, None)
    stale = _refuses(lambda: storage.write(one, b"third", replacing=etag))
    nothing = _refuses(lambda: storage.write(missing, b"", replacing=etag))
    storage.write(other, b"other")
    _refuses(lambda: storage.copy(other, one))
    found = storage.read(one)
    copies = found is not None and found.data != b"other"
    answers = {
        "create_only": create_only,
        "compare_and_swap": swaps and stale and nothing,
        "read_after_write": fresh,
        "conditional_copy": copies,
        "conditional_delete": _deletes(storage, other, stale=etag),
    }
    checks = getattr(bare(storage), "checks_uploads", None)
    return answers | (checks(torn, spare) if checks else {})


def _etag(storage: Storage, key: str) -> str:
    found = storage.stat(key)
    return found.etag if found else ""


def _shows(storage: Storage, key: str, data: bytes | None) -> bool:
    """Tell whether reading, asking and listing agree on what was written last."""
    found, listed = storage.read(key), list(storage.list(key))
    if found is None or [info.key for info in listed] != [key]:
        return False
    return listed[0].etag == found.etag == _etag(storage, key) and data in {None, found.data}


def _deletes(storage: Storage, key: str, *, stale: str) -> bool:
    """Tell whether a delete happens to whoever knows the mark, and to no one else."""
    etag = _etag(storage, key)
    return not storage.discard(key, stale) and _etag(storage, key) == etag and storage.discard(key, etag)


def _refuses(write: Callable[[], object]) -> bool:
    try:
        write()
    except ConditionFailed:
        return True
    return False
