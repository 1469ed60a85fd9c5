"""What an append costs: requests by kind, round trips, bytes, memory."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from aggrade.append_covering import covering, read_to_cover
from aggrade.append_writing import IN_HAND
from aggrade.bookkeeping_bytes import Kept, as_given, commit_bytes, root_objects
from aggrade.commit.catalogue import files_of, requests_of, rows_of
from aggrade.commit.dirt import within
from aggrade.commit.documents import grid_of, unit_of
from aggrade.commit.publishing import document_bytes
from aggrade.commit.reserving import regions_ahead, reserved_intent
from aggrade.commit.snapshot import ROOT
from aggrade.encoding import BLOCK_BYTES
from aggrade.price import Price
from aggrade.settings import settings
from aggrade.storage.counting import requests_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import xarray as xr

    from aggrade.bookkeeping_bytes import Stored
    from aggrade.commit.catalogue import Place
    from aggrade.commit.documents import Document
    from aggrade.commit.intent import Intent
    from aggrade.commit.looking import Look
    from aggrade.commit.plan import CommitPlan, Region
    from aggrade.storage.adopting import Adopting
    from aggrade.storage.probe import Probe

__all__ = ["consolidation_price", "price_of", "price_of_nothing"]

_COPIES, _COPIES_OF_UNIT = 3, 5
_KEPT = {"none": 0, "touched": 2, "full": 1}
_LINE_BYTES = 4_000


def price_of(
    commit: CommitPlan,
    seen: Look,
    variables: Mapping[str, xr.Variable],
    encoded: Mapping[str, int] | None = None,
    *,
    place: Place | None = None,
    told: int | None = None,
    there: Mapping[str, int] | None = None,
    stored: Stored = as_given,
    probe: Probe | None = None,
    taken_over: Collection[str] = (),
    by_copy: bool = True,
) -> Price:
    """Return what an append costs, what was read to plan it included, if nobody comes in between.

    Of a full backup the copies are estimated unless it is known what lies there.

    Parameters
    ----------
    commit
        What will be done.
    seen
        What was read of the store, at what price.
    variables
        Encoded variables.
    encoded
        Bytes of the objects of each variable, where they are known; else values count before compression.
    place
        Where the dataset's catalogue tells of the store, if one does.
    told
        Bytes of its files, where they are known.
    there
        Key → bytes of all that a full backup copies, where it is known.
    stored
        What is written for an object, by its key and content.
    probe
        What the intent will say of the server, where none lies there yet.
    taken_over
        Variables whose objects lie staged as they are to lie in the store.
    by_copy
        Whether these are copied on the server's side, or read and written.
    """
    published = seen.snapshot.documents if seen.snapshot else {}
    kept = commit.backup if seen.snapshot else "none"
    shared = set(commit.shared(published))
    former = [seen.kept[layer.label] for layer in commit.layers if layer.label in seen.kept]
    again, (intent, reserving) = not seen.is_calm, _ahead(commit, seen, taken_over)
    rebuilt, shown = covering(commit, seen), read_to_cover(commit, seen)
    more = len(root_objects(commit, seen.snapshot, stored)) - 1
    staged = sum(name in taken_over for name, _, _ in commit.objects())
    copies = staged if by_copy else 0
    requests = Counter(seen.requests)
    requests.update(
        {
            "GET": len(former) + staged - copies,
            "HEAD": more + (kept == "full"),
            "PUT": 4 + _written(commit, published) - copies + len(commit.layers) + _KEPT[kept] + more,
            "COPY": copies + (_in_full(published, there) if kept == "full" else 0),
            "LIST": 2 * (kept == "full"),
        }
    )
    requests.update({"GET": len(shown), "PUT": len(rebuilt)})
    requests.update(_under_the_intent(commit, seen, len(shared)) if again else {})
    telling = _telling(commit, seen, place)
    requests.update(telling)
    more_trips = 3 * (kept == "full") + _KEPT[kept] + 2 * telling["HEAD"]
    sent = [region for region in commit.regions if not (by_copy and region.variable in taken_over)]
    sizes = _sizes(commit, sent, rebuilt, variables)
    values = sum((encoded or {}).get(name, size) for name, size in sizes.items())
    held = _sizes_of(shared, seen)
    backup = Kept(copied=there or {}) if kept == "full" else Kept({**held, ROOT: _root_bytes(seen)})
    lines = told if told is not None else _LINE_BYTES * len(commit.layers) + _held_bytes(seen)
    return reserving + Price(
        requests={kind: count for kind, count in requests.items() if count},
        round_trips=7 + again * (2 + bool(shared)) + len(rebuilt) + len(shown) + more_trips,
        bytes_read=seen.bytes_read
        + sum(former)
        + (_held_bytes(seen) if place and seen.is_held else 0)
        + sum(_sizes_of(shown, seen).values())
        + again * (_root_bytes(seen) + sum(held.values()) + sum(former) + _grown_bytes(commit, published)),
        bytes_written=values
        + sum(commit_bytes(commit, seen.snapshot, intent, backup, stored=stored, probe=probe))
        + sum(former)
        + (lines if place else 0),
        weighed=encoded is not None,
        peak_memory=_memory(commit, sent, variables),
    )


def _ahead(commit: CommitPlan, seen: Look, taken_over: Collection[str]) -> tuple[Intent | None, Price]:
    """Return the intent that is replaced by the one taken, and what it costs to bring objects before that."""
    intent, price = seen.intent[0] if seen.intent else None, Price(weighed=True)
    regions = regions_ahead(commit, seen, taken_over)
    if intent is None or not regions:
        return intent, price
    reserved = reserved_intent(intent, regions)
    count = sum(1 for region in regions for _ in region.objects())
    batches = -(-count // settings().parallel_requests)
    size = len(reserved.model_dump_json().encode())
    requests = Counter(PUT=1) + Counter(HEAD=batches - 1)
    return reserved, Price(requests=requests, round_trips=2 * batches, bytes_written=size, weighed=True)


def _under_the_intent(commit: CommitPlan, seen: Look, shared: int) -> dict[str, int]:
    """Return the requests by which is read again under the intent what has been read before it, and left-overs."""
    dirty = seen.intent[0].dirty if seen.intent else ()
    grown = commit.grown(seen.snapshot.documents if seen.snapshot else {})
    return {
        "GET": 1 + shared + len(commit.layers) + len(grown),
        "HEAD": 1 + (seen.snapshot is None),
        "LIST": len(within(dirty, commit.documents)),
    }


def _sizes(
    commit: CommitPlan,
    sent: Sequence[Region],
    rebuilt: Sequence[tuple[str, tuple[int, ...]]],
    variables: Mapping[str, xr.Variable],
) -> Counter[str]:
    """Return the bytes before compression of what is written of each variable."""
    sizes: Counter[str] = Counter()
    for region in sent:
        sizes[region.variable] += _region_bytes(region, variables)
    for name, _ in rebuilt:
        sizes[name] += _unit_bytes(commit, name, variables)
    return sizes


def _sizes_of(keys: Iterable[str], seen: Look) -> dict[str, int]:
    return {key: len(found.data) for key in keys if (found := seen.objects.get(key)) is not None}


def _root_bytes(seen: Look) -> int:
    return len(seen.snapshot.data) if seen.snapshot else 0


def _grown_bytes(commit: CommitPlan, published: Mapping[str, Document]) -> int:
    """Return the bytes of the documents of the arrays that become longer."""
    return sum(len(document_bytes(published[name])) for name in commit.grown(published))


def _telling(commit: CommitPlan, seen: Look, place: Place | None) -> Counter[str]:
    """Return the requests by which the catalogue follows, by kind."""
    files = files_of(rows_of(commit.layers))
    return Counter(requests_of(place, files, seen.lines) if place else {})


def _held_bytes(seen: Look) -> int:
    return sum(len(stored.data) for stored in seen.catalogue.values() if stored is not None)


def price_of_nothing(seen: Look, receipt: int = 0) -> Price:
    """Return what it costs to find out that everything is there, and to read the receipt of so many bytes."""
    requests = Counter(seen.requests) + Counter({"GET": 1})
    return Price(requests=dict(requests), round_trips=3, bytes_read=seen.bytes_read + receipt)


def consolidation_price(storage: Adopting, seen: Look) -> Price:
    """Return what an append costs beyond its price where metadata have to be consolidated first.

    They are written, and then the store is looked at again.

    Parameters
    ----------
    storage
        The store as it was read to plan the append.
    seen
        What was read then.
    """
    root, gathering = storage.gathered, storage.gathering
    if root is None:
        return Price(weighed=True)
    objects = storage.as_stored(ROOT, root.data)
    requests = Counter(seen.requests) - Counter(requests_in(gathering))
    requests.update(PUT=len(objects), HEAD=len(objects) - 1)
    again = seen.bytes_read - gathering["bytes_read"] + gathering["LIST"] * len(objects[0])
    written = sum(map(len, objects))
    return Price(
        requests=dict(requests), round_trips=3, bytes_read=again, bytes_written=written, weighed=True
    )


def _written(commit: CommitPlan, published: Mapping[str, Document]) -> int:
    """Return how many objects and array documents are written."""
    changed = sum(published.get(name) != document for name, document in commit.documents.items())
    return changed + sum(1 for _ in commit.objects())


def _in_full(published: Mapping[str, Document], there: Mapping[str, int] | None) -> int:
    """Return how many objects a full backup copies; an estimate unless it is known what lies there."""
    if there is not None:
        return len(there)
    return 2 + sum(1 + math.prod(grid_of(document)) for document in published.values())


def _memory(commit: CommitPlan, sent: Sequence[Region], variables: Mapping[str, xr.Variable]) -> int:
    """Return the bytes of the values in hand, as they are made and written, and of the objects they become."""
    units = {region.variable: _unit_bytes(commit, region.variable, variables) for region in sent}
    blocks = [size for region in sent for size in _blocks(region, units, variables)]
    if not blocks:
        return 0
    return _COPIES * min(sum(blocks), max(IN_HAND, *blocks)) + _COPIES_OF_UNIT * max(units.values())


def _blocks(region: Region, units: Mapping[str, int], variables: Mapping[str, xr.Variable]) -> list[int]:
    """Return the bytes of the blocks of a region, with the chunks that they are made into, as many as matter."""
    whole = _region_bytes(region, variables)
    block = max(units[region.variable], min(BLOCK_BYTES, whole))
    return [block] * min(-(-IN_HAND // block), max(1, -(-whole // block)))


def _unit_bytes(commit: CommitPlan, name: str, variables: Mapping[str, xr.Variable]) -> int:
    return int(variables[name].dtype.itemsize) * math.prod(unit_of(commit.documents[name]))


def _region_bytes(region: Region, variables: Mapping[str, xr.Variable]) -> int:
    return int(variables[region.variable].dtype.itemsize) * math.prod(b - a for a, b in region.bounds)
