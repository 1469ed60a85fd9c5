"""What an append costs: requests by kind, round trips, bytes, memory."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from aggrade.append_writing import IN_HAND
from aggrade.commit.backup import Manifest, backup_id
from aggrade.commit.catalogue import files_of, requests_of, rows_of
from aggrade.commit.documents import grid_of, unit_of
from aggrade.commit.intent import Intent, Journal, Owner
from aggrade.commit.layers import LayerRecord
from aggrade.commit.publishing import document_bytes, own_targets
from aggrade.commit.snapshot import FORMAT, ROOT, root_bytes
from aggrade.encoding import BLOCK_BYTES
from aggrade.price import Price
from aggrade.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from aggrade.commit.catalogue import Place
    from aggrade.commit.documents import Document
    from aggrade.commit.looking import Look
    from aggrade.commit.plan import CommitPlan, Layer, Region

__all__ = ["price_of", "price_of_nothing"]

_COPIES, _COPIES_OF_UNIT = 3, 5
_KEPT = {"none": 0, "touched": 2, "full": 1}
_WRITE_ID, _DIGEST, _MARK = "0" * 24, "0" * 64, '"' + "0" * 32 + '"'
_OWNER = Owner(host="0" * 16, boot="0" * 55, process=10_000, started="1000000")
_ZIP_ENTRY, _ZIP_END = 30 + 46, 22
_LINE_BYTES = 4_000


def price_of(
    commit: CommitPlan,
    seen: Look,
    variables: Mapping[str, xr.Variable],
    encoded: Mapping[str, int] | None = None,
    *,
    place: Place | None = None,
    told: int | None = None,
) -> Price:
    """Return what an append costs, what was read to plan it included, if nobody comes in between.

    Of a full backup the copies are estimated: how many objects lie there, only a listing would tell.

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
    """
    published = seen.snapshot.documents if seen.snapshot else {}
    kept = commit.backup if seen.snapshot else "none"
    shared = set(commit.shared(published))
    replaced = sum(layer.supersedes is not None for layer in commit.layers)
    again = not seen.is_calm
    requests = Counter(seen.requests)
    requests.update(
        {
            "GET": replaced + again * (1 + len(shared) + len(commit.layers) + len(commit.grown(published))),
            "HEAD": again * (1 + (seen.snapshot is None)),
            "PUT": 4 + _written(commit, published) + len(commit.layers) + replaced + _KEPT[kept],
            "COPY": _stored_objects(published) if kept == "full" else 0,
            "LIST": int(kept == "full"),
        }
    )
    telling = _telling(commit, seen, place)
    requests.update(telling)
    sizes: Counter[str] = Counter()
    for region in commit.regions:
        sizes[region.variable] += _region_bytes(region, variables)
    values = sum((encoded or {}).get(name, size) for name, size in sizes.items())
    lines = told if told is not None else _LINE_BYTES * len(commit.layers) + _held_bytes(seen)
    return Price(
        requests={kind: count for kind, count in requests.items() if count},
        round_trips=7 + again * (2 + bool(shared)) + (kept == "full") + _KEPT[kept] + 2 * telling["HEAD"],
        bytes_read=seen.bytes_read,
        bytes_written=values + sum(_bookkeeping(commit, seen, shared)) + (lines if place else 0),
        weighed=encoded is not None,
        peak_memory=_memory(commit, variables),
    )


def _telling(commit: CommitPlan, seen: Look, place: Place | None) -> Counter[str]:
    """Return the requests by which the catalogue follows, by kind."""
    files = files_of(rows_of(commit.layers))
    return Counter(requests_of(place, files, seen.catalogue) if place else {})


def _held_bytes(seen: Look) -> int:
    return sum(len(stored.data) for stored in seen.catalogue.values() if stored is not None)


def price_of_nothing(seen: Look) -> Price:
    """Return what it costs to find out that everything is there, and to read the receipt."""
    requests = Counter(seen.requests) + Counter({"GET": 1})
    return Price(requests=dict(requests), round_trips=3, bytes_read=seen.bytes_read)


def _written(commit: CommitPlan, published: Mapping[str, Document]) -> int:
    """Return how many objects and array documents are written."""
    changed = sum(published.get(name) != document for name, document in commit.documents.items())
    return changed + sum(1 for _ in commit.objects())


def _stored_objects(published: Mapping[str, Document]) -> int:
    return 2 + sum(1 + math.prod(grid_of(document)) for document in published.values())


def _memory(commit: CommitPlan, variables: Mapping[str, xr.Variable]) -> int:
    """Return the bytes of the values in hand, as they are made and written, and of the objects they become."""
    units = {region.variable: _unit_bytes(commit, region.variable, variables) for region in commit.regions}
    blocks = [size for region in commit.regions for size in _blocks(region, units, variables)]
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


def _bookkeeping(commit: CommitPlan, seen: Look, shared: set[str]) -> Iterator[int]:
    """Yield the bytes of all that is written beside chunks, from stand-ins with names of the same length."""
    published = seen.snapshot.documents if seen.snapshot else {}
    generation = seen.snapshot.generation + 1 if seen.snapshot else 1
    backup = backup_id(generation, _WRITE_ID) if commit.backup != "none" and seen.snapshot else None
    yield from (len(document_bytes(d)) for name, d in commit.documents.items() if published.get(name) != d)
    yield len(_root(commit, seen, generation))
    yield from _intents(commit, seen, backup)
    yield len(_receipt(commit, generation, backup).model_dump_json(indent=1))
    yield from (len(_record(commit, layer, generation).model_dump_json()) for layer in commit.layers)
    if backup and seen.snapshot and commit.backup == "touched":
        held = {key: len(stored.data) for key in shared if (stored := seen.objects.get(key)) is not None}
        sizes = {**held, ROOT: len(seen.snapshot.data)}
        yield sum(size + 2 * len(key) + _ZIP_ENTRY for key, size in sizes.items()) + _ZIP_END
        yield len(_manifest(commit, backup, generation, sizes).model_dump_json(indent=1))


def _root(commit: CommitPlan, seen: Look, generation: int) -> bytes:
    before = seen.snapshot.mark if seen.snapshot else {}
    mark = {
        "format": FORMAT,
        **before,
        **commit.mark,
        "generation": generation,
        "write_id": _WRITE_ID,
    }
    return root_bytes({**commit.attributes, "aggrade": mark}, commit.documents)


def _intents(commit: CommitPlan, seen: Look, backup: str | None) -> Iterator[int]:
    """Yield the bytes of the intent as it is taken and as it is freed."""
    blank = Intent(state="free", write_id=_WRITE_ID, owner=_OWNER, lease_seconds=30.0)
    before = seen.intent[0] if seen.intent else blank
    journal = Journal(
        kind=commit.kind,
        dim=commit.dim,
        base=commit.base,
        targets=commit.targets(),
        layers=commit.layers,
        backup=backup,
    )
    held = {"state": "held", "journal": journal}
    free = {"state": "free", "journal": None}
    marks = dict.fromkeys((f"{name}/{ROOT}" for name in commit.documents), _MARK)
    yield len(before.model_copy(update=held).model_dump_json())
    yield len(before.model_copy(update={**free, "etags": {**marks, **before.etags}}).model_dump_json())


def _receipt(commit: CommitPlan, generation: int, backup: str | None) -> Receipt:
    return Receipt(
        kind=commit.kind,
        store=commit.store,
        write_id=_WRITE_ID,
        generation=generation,
        dim=commit.dim,
        layers={layer.label: layer.index for layer in commit.layers},
        digests={layer.label: layer.digest for layer in commit.layers},
        objects=100,
        bytes_written=1_000_000,
        requests={"GET": 10, "HEAD": 1, "PUT": 10},
        seconds=1.234,
        backup=backup,
        undo=f"aggrade restore {commit.store} {backup}" if backup else None,
    )


def _record(commit: CommitPlan, layer: Layer, generation: int) -> LayerRecord:
    return LayerRecord(
        label=layer.label,
        index=layer.index,
        digest=layer.digest,
        write_id=_WRITE_ID,
        generation=generation,
        sizes=layer.sizes,
        runs=layer.runs,
        targets=own_targets(commit.targets(), commit.documents, commit.dim, layer),
        objects=10,
        objects_sha256=_DIGEST,
    )


def _manifest(commit: CommitPlan, backup: str, generation: int, sizes: Mapping[str, int]) -> Manifest:
    return Manifest(
        id=backup,
        kind=commit.backup,
        store=commit.store,
        generation=generation,
        write_id=_WRITE_ID,
        objects=dict.fromkeys(sizes, _DIGEST),
        size=sum(sizes.values()),
    )
