"""What a rechunk costs beside its chunks: planning, the marks of its pieces, the comparison, the commit.

Counted for a target on which nobody else is at work and where no run has died. Heartbeats are left out, and so is what
it takes to find out which conditions a server keeps, and the request before objects of an earlier version are deleted.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import unit_of
from aggrade.price import Price
from aggrade.rechunking.drawing import drawn_boxes
from aggrade.rechunking.grids import inner_of, is_sharded, raw_bytes
from aggrade.rechunking.ordering import parts_of_box
from aggrade.rechunking.pricing import compared_boxes, reading_price

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggrade.commit.documents import Bounds, Document
    from aggrade.rechunking.ordering import Order
    from aggrade.rechunking.pricing import ArrayPlan

__all__ = ["Beside", "Looked", "bookkeeping_price", "comparing_price", "full_comparing_price"]

_INTENT = {"GET": 2, "HEAD": 1, "PUT": 2}
"""Left-overs are looked for; it is read, taken, confirmed and released."""

_COMMIT = {"GET": 1, "PUT": 3, "LIST": 2}
"""The root is read and switched; trace and receipt are written; ledger and traces are listed."""


class Looked(BaseModel):
    """What was sent to make a plan, and what its run asks again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: dict[str, int] = Field(default_factory=dict, description="By kind, sent to either store.")
    bytes_read: int = Field(default=0, description="Bytes of what they brought.")
    again: dict[str, int] = Field(
        default_factory=dict,
        description="Those that tell which state the source shows; asked once more in the end.",
    )
    again_bytes: int = Field(default=0, description="Bytes of what these bring.")
    served: tuple[str, ...] = Field(
        default=(), description="Arrays of which the target may hold objects of earlier versions."
    )
    is_new: bool = Field(default=True, description="Whether the target is made.")

    @property
    def price(self) -> Price:
        """What a dry run costs."""
        return Price(requests=self.requests, bytes_read=self.bytes_read)


@dataclass(frozen=True)
class Beside:
    """What a rechunk is of which the price beside its chunks is asked.

    Parameters
    ----------
    looked
        What was sent to make the plan.
    write_id
        Of the source's state.
    sources, documents
        Array documents of source and target.
    is_full
        Whether all of it is compared, not a sample alone.
    order
        In which order the target has the source's items; None where it has the same.
    """

    looked: Looked
    write_id: str
    sources: Mapping[str, Document]
    documents: Mapping[str, Document]
    is_full: bool
    order: Order | None = None

    def price(self, arrays: Mapping[str, ArrayPlan], *found: Mapping[str, Sequence[Bounds]]) -> Price:
        """Return what goes over the wire beside chunks.

        Parameters
        ----------
        arrays
            How each array is copied, and how much of it is made and kept.
        *found
            Array → boxes that are made, and those that are kept.
        """
        objects = sum(array.writes + array.copies for array in arrays.values())
        pieces = sum(len(boxes) for each in found for boxes in each.values())
        price = bookkeeping_price(self.looked, self.documents, pieces, objects)
        price += comparing_price(self.write_id, self.sources, self.documents, self.order)
        for name, array in arrays.items() if self.is_full else ():
            boxes = [box for each in found for box in each.get(name, ())]
            price += full_comparing_price(self.sources[name], self.documents[name], array, boxes, self.order)
        return price


def bookkeeping_price(looked: Looked, documents: Mapping[str, Document], pieces: int, objects: int) -> Price:
    """Return what goes over the wire beside chunks.

    Parameters
    ----------
    looked
        What was sent to make the plan.
    documents
        Array documents of the target.
    pieces, objects
        How many are made or taken over.
    """
    requests = Counter(_INTENT) + Counter(_COMMIT) + Counter(looked.again)
    requests.update(
        {
            "GET": pieces,
            "HEAD": objects + looked.is_new,
            "PUT": pieces + len(documents),
            "LIST": len({*documents, *looked.served}),
            "DELETE": pieces,
        }
    )
    return looked.price + Price(requests=dict(requests), bytes_read=looked.again_bytes)


def comparing_price(
    write_id: str,
    sources: Mapping[str, Document],
    documents: Mapping[str, Document],
    order: Order | None = None,
) -> Price:
    """Return the requests for samples of source and target; values are those of chunks that are there."""
    gets = 0
    for name, before in sources.items():
        after = documents[name]
        drawn = drawn_boxes(write_id, name, before, after)
        gets += sum(_gets(before, box, order) + _gets(after, box) for box in drawn)
    return Price(requests={"GET": gets})


def full_comparing_price(
    before: Document,
    after: Document,
    array: ArrayPlan,
    boxes: Iterable[Bounds],
    order: Order | None = None,
) -> Price:
    """Return what it costs to read boxes of an array on both sides, cut into pieces, and compare all of them.

    Parameters
    ----------
    before, after
        The array's documents in the source and in the target.
    array
        How it is copied.
    boxes
        What is compared: whole target objects, in items.
    order
        In which order the target has the source's items; None where it has the same.
    """
    parts = compared_boxes(after, array, boxes)
    here = reading_price(before, parts, array.read_block, array.spare, order)
    there = reading_price(after, parts, array.write_block, array.spare)
    size = max((raw_bytes(before, tuple(stop - start for start, stop in part)) for part in parts), default=0)
    return here + there + Price(peak_memory=size + array.spare if parts else 0)


def _gets(document: Document, box: Bounds, order: Order | None = None) -> int:
    """Return the requests for a sample: a shard's index comes before its chunks, unless one chunk is all of it."""
    chunks = parts_of_box(document, order, box, inner_of(document))
    if not is_sharded(document) or math.prod(unit_of(document)) == math.prod(inner_of(document)):
        return chunks
    return chunks + parts_of_box(document, order, box, unit_of(document))
