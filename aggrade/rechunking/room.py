"""Room on the disk of a local target for its next version, compared before the first byte.

How many bytes a copy takes is known when it is written. Before, it is expected to be packed as its source is: values that
are not compressed take what they take, all others as much as the source's objects do.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from aggrade.append_room import Disk
from aggrade.commit.documents import shape_of
from aggrade.errors import Problem
from aggrade.price import human_bytes
from aggrade.rechunking.grids import chunk_codecs, inner_of, raw_bytes
from aggrade.rechunking.slots import belongs
from aggrade.settings import settings
from aggrade.storage import bare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggrade.commit.documents import Document
    from aggrade.rechunking.pricing import ArrayPlan
    from aggrade.storage import Storage

__all__ = ["Room", "expected_bytes", "lacking_room", "room_for"]

_BLOCK = 4096
_SHARE = 0.02
_LEAST = 64 << 10
_AS_THEY_ARE = {"bytes", "transpose", "crc32c"}
"""Codecs that leave values as long as they are."""


class Room(BaseModel):
    """What a rechunk is expected to take of a disk, and what there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    needed: int = Field(description="Bytes, with a margin.")
    free: int = Field(description="Bytes, those of versions that are deleted first included.")

    def __str__(self) -> str:
        return (
            f"about {human_bytes(self.needed)} of {human_bytes(self.free)} that are free on the target's disk"
        )


def expected_bytes(before: Document, after: Document, array: ArrayPlan, stored: int) -> int:
    """Return how many bytes the objects of one array are expected to take that are made, not kept.

    Parameters
    ----------
    before, after
        Its documents in the source and in the target.
    array
        How it is copied.
    stored
        Bytes of its objects in the source.
    """
    expected = stored * array.bytes_written / max(1, raw_bytes(before))
    names = {codec["name"] for codec in chunk_codecs(after)}
    if names <= _AS_THEY_ARE:
        expected *= _padded(after) / max(1, _padded(before))
    return math.ceil(expected)


def _padded(document: Document) -> int:
    """Return the bytes of all chunks of an array, whole."""
    shape = tuple(
        -(-size // step) * step for size, step in zip(shape_of(document), inner_of(document), strict=True)
    )
    return raw_bytes(document, shape)


def room_for(
    target: Storage,
    expected: int,
    objects: int,
    served: Mapping[str, Document],
    names: Iterable[str],
) -> Room | None:
    """Return what is needed and what there is, the room of former versions included; None where there is no disk.

    The margin is what the files' last blocks may take, 2 %, and 64 kB.

    Parameters
    ----------
    target
        Where the copy will lie.
    expected
        Bytes of the objects that are made.
    objects
        How many files are written.
    served
        Array documents of the version that is served.
    names
        Arrays of which the target may hold objects.
    """
    disk = bare(target)
    if not isinstance(disk, Disk):
        return None
    needed = int((1 + _SHARE) * expected) + objects * _BLOCK + _LEAST
    former = sum(_former_bytes(Path(disk.url), name, served.get(name)) for name in set(names))
    return Room(needed=needed, free=disk.space()[1] + former)


def _former_bytes(root: Path, name: str, served: Document | None) -> int:
    """Return the bytes that come free with an array's objects that are not served. Other names of served files are none."""
    total = 0
    for path in Path(root, name).rglob("*"):
        key = path.relative_to(root).as_posix()
        if served is not None and belongs(name, served, key):
            continue
        with suppress(FileNotFoundError):
            status = path.lstat()
            total += status.st_size if path.is_file() and status.st_nlink == 1 else 0
    return total


def lacking_room(target: str, room: Room | None) -> Iterator[Problem]:
    """Yield why a disk is too full, if it is.

    Parameters
    ----------
    target
        URL of the target.
    room
        What is needed, and what there is.
    """
    share = settings().room_share
    if room is not None and share * room.needed > room.free:
        fix = (
            "free some room, or put the target elsewhere; where it is known to pack better than its source, lower "
            f"AGGRADE_ROOM_SHARE (now {share:g})"
        )
        yield Problem(
            target,
            f"{human_bytes(room.free)} free on its disk",
            f"about {human_bytes(room.needed)}",
            fix,
            "disk-room",
        )
