"""What the way through staging costs beside the two appends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aggrade.commit.documents import shape_of
from aggrade.price import Price

if TYPE_CHECKING:
    from aggrade.append_plan import AppendPlan
    from aggrade.commit.documents import Document

__all__ = ["is_small", "price_of_passing"]

_LINE_BYTES = 170
_SMALL = 1 << 16


def price_of_passing(staging: AppendPlan, landing: AppendPlan) -> Price:
    """Return what it costs to list what is staged, to look for the session in its store, to read it and to remove it.

    Parameters
    ----------
    staging, landing
        The plans of both appends. What is copied is not read.
    """
    if staging.commit is None:
        return Price()
    documents = staging.commit.documents
    keys = [(name, key) for name, key, _ in staging.commit.objects()]
    large = sum(not is_small(documents[name]) and name not in landing.copied for name, _ in keys)
    small = sum(is_small(documents[name]) for name, _ in keys)
    bookkeeping = ("root", "intent", "layer record", "receipt", "list")
    listed = len(keys) * _LINE_BYTES
    return Price(
        requests={
            "PUT": 1,
            "GET": 4 + small + 2 * large,
            "HEAD": 1 + (landing.commit is not None and landing.commit.base is None),
            "LIST": 1,
            "DELETE": len(keys) + len(documents) + len(bookkeeping),
        },
        round_trips=7 + 2 * large,
        bytes_read=staging.price.bytes_written,
        bytes_written=listed,
        weighed=staging.price.weighed,
    )


def is_small(document: Document) -> bool:
    """Tell whether an array is read when a staged session is opened, together with all others of its size."""
    return math.prod(shape_of(document)) <= _SMALL
