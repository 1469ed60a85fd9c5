"""Making records and receipts anew, where what lies in the store proves what they said.

A receipt names the digest of each layer that its commit brought. Where a row's content has just that digest, the
record that is lost can only have said so; and where the content of every layer of a commit is what its records say,
so can its receipt. Nothing is made anew that rests on a guess.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from typing import TYPE_CHECKING

from aggrade.append_plan import occupied
from aggrade.channels import length_at
from aggrade.commit import LayerRecord, Target, find_receipt, layers_of
from aggrade.commit.documents import dims_of, labels_of, shape_of, unit_of
from aggrade.commit.layers import RECEIPTS, keep_layer, receipt_key
from aggrade.encoding import layer_digest
from aggrade.errors import Damaged, Refused
from aggrade.receipt import Receipt
from aggrade.receipt_checks import newer_labels, stand_ins
from aggrade.verifying import content_digest, own_objects, row_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import xarray as xr

    from aggrade.commit import Snapshot
    from aggrade.commit.intent import Lease
    from aggrade.errors import Problem
    from aggrade.storage import Storage

__all__ = ["rebuild_bookkeeping"]

_log = logging.getLogger(__name__)
_MOST_SIZES = 100_000


def rebuild_bookkeeping(storage: Storage, lease: Lease, shown: Snapshot) -> list[str]:
    """Write records and receipts that are lost or torn and can be proven; return a sentence for each.

    Parameters
    ----------
    storage, lease
        The store, and its intent, held by this process.
    shown
        The state that it shows.
    """
    dim = shown.mark.get("dim")
    if dim is None or dim not in shown.documents:
        return []
    try:
        labels = labels_of(shown.dataset(storage)[dim].variable)
    except (RuntimeError, ValueError) as error:
        _log.warning("no record can be made anew, the labels can't be decoded: %s", error)
        return []
    unreadable: list[Problem] = []
    records = {record.label: record for record in layers_of(storage, unreadable, shown)}
    recorded = {*records, *newer_labels(unreadable, labels)}
    made = list(_records(storage, shown, _lacking(shown, labels, recorded)))
    if made:
        lease.confirm()
    for record in made:
        keep_layer(storage, record)
    whole = {record.label: record for record in (*records.values(), *made)}
    receipts = list(_receipts(storage, shown, whole))
    known = {record.write_id for record in whole.values()}
    others = [receipt for receipt in stand_ins(storage, shown) if receipt.write_id not in known]
    if receipts or others:
        lease.confirm()
    for receipt in (*receipts, *others):
        _write(storage, receipt)
    return [
        *(f"{storage.url}: the record of layer {record.label!r} is made anew" for record in made),
        *(f"{storage.url}: receipt {receipt.write_id} is made anew" for receipt in receipts),
        *(
            f"{storage.url}: receipt {one.write_id} was torn; another one says that there was such a commit"
            for one in others
        ),
    ]


def _lacking(shown: Snapshot, labels: list[str], recorded: Collection[str]) -> dict[str, int]:
    """Return label → index of the rows that should have a record and have none."""
    gone, adopted = set(shown.mark.get("superseded", [])), shown.mark.get("adopted", 0)
    live = {index: label for index, label in enumerate(labels) if index not in gone}
    count = Counter(live.values())
    return {
        label: index
        for index, label in live.items()
        if index >= adopted and count[label] == 1 and label and label not in recorded
    }


def _records(storage: Storage, shown: Snapshot, lacking: Mapping[str, int]) -> Iterator[LayerRecord]:
    if not lacking:
        return
    receipts = list(_readable_receipts(storage))
    dataset = shown.dataset(storage, decoded=False)
    for label, index in lacking.items():
        for receipt in receipts:
            brought = receipt.kind == "append" and receipt.layers.get(label) == index
            if brought and not shown.has_undone(receipt.generation):
                record = _proven(storage, shown, dataset, label, receipt)
                if record is not None:
                    yield record
                    break


def _readable_receipts(storage: Storage) -> Iterator[Receipt]:
    for info in storage.list(RECEIPTS):
        write_id = info.key.removeprefix(RECEIPTS).removesuffix(".json")
        try:
            receipt = find_receipt(storage, write_id)
        except (Damaged, Refused) as error:
            _log.warning("a receipt can't be read: %s", error)
            continue
        if receipt is not None:
            yield receipt


def _proven(
    storage: Storage, shown: Snapshot, dataset: xr.Dataset, label: str, receipt: Receipt
) -> LayerRecord | None:
    """Return the record of a layer, if the content of its row is what the receipt says."""
    index, digest = receipt.layers[label], receipt.digests.get(label, "")
    bare = LayerRecord(
        label=label,
        index=index,
        digest=digest,
        write_id=receipt.write_id,
        generation=receipt.generation,
        runs=receipt.details.get("channels", {}),
    )
    sizes = _own_sizes(shown, dataset, bare)
    if sizes is None:
        return None
    targets = tuple(_own_targets(storage, shown, bare, sizes))
    record = bare.model_copy(update={"sizes": sizes, "targets": targets})
    missing, sha256 = own_objects(storage, shown, record)
    count = sum(1 for target in targets for _ in target.objects())
    return None if missing else record.model_copy(update={"objects": count, "objects_sha256": sha256})


def _own_sizes(shown: Snapshot, dataset: xr.Dataset, record: LayerRecord) -> dict[str, int] | None:
    """Return the layer's own lengths of dimensions that may grow: those that give its content its digest."""
    dims = [dim for dim in shown.mark.get("grow", []) if dim in dataset.dims]
    lengths = [range(dataset.sizes[dim], -1, -1) for dim in dims]
    try:
        row = {name: variable.load() for name, variable in row_of(shown, dataset, record).items()}
    except (RuntimeError, ValueError) as error:
        _log.warning("layer %s can't be decoded: %s", record.label, error)
        return None
    for chosen in itertools.islice(itertools.product(*lengths), _MOST_SIZES):
        sizes = dict(zip(dims, chosen, strict=True))
        cut = {
            name: variable.isel({dim: slice(0, sizes[dim]) for dim in dims if dim in variable.dims})
            for name, variable in row.items()
        }
        if layer_digest(cut, shown.mark["dim"], 0) == record.digest:
            return {str(d): v.sizes[d] for v in cut.values() for d in v.dims if d != shown.mark["dim"]}
    return None


def _own_targets(
    storage: Storage, shown: Snapshot, record: LayerRecord, sizes: Mapping[str, int]
) -> Iterator[Target]:
    """Yield where objects lie that are the layer's alone; an array of a modality that it lacks has none."""
    dim, index = shown.mark["dim"], record.index
    known = {d: length_at(shown.mark, d, index, shown.length(d))[0] for d in shown.mark.get("channels", {})}
    limits = {**known, **{d: size for d, size in sizes.items() if d not in record.runs}}
    for name, document in sorted(shown.documents.items()):
        dims, unit = dims_of(document), unit_of(document)
        if dim not in dims or unit[dims.index(dim)] != 1:
            continue
        lengths = zip(dims, shape_of(document), strict=True)
        bounds = tuple((index, index + 1) if d == dim else (0, limits.get(d, size)) for d, size in lengths)
        encoding = document["chunk_key_encoding"]
        targets = [
            Target(variable=name, bounds=part, unit=unit, key_encoding=encoding)
            for part in occupied(document, bounds, record.runs)
        ]
        if any(storage.stat(key) is not None for target in targets for key, _ in target.objects()):
            yield from targets


def _receipts(storage: Storage, shown: Snapshot, records: Mapping[str, LayerRecord]) -> Iterator[Receipt]:
    """Yield the receipts that records name, are lost or torn, and whose layers' content proves what they said."""
    dataset = shown.dataset(storage, decoded=False)
    for write_id, group in itertools.groupby(
        sorted(records.values(), key=lambda record: (record.write_id, record.index)),
        key=lambda record: record.write_id,
    ):
        layers = list(group)
        if not _is_lost(storage, write_id):
            continue
        if all(content_digest(shown, dataset, record) == record.digest for record in layers):
            yield Receipt(
                kind="append",
                store=storage.url,
                write_id=write_id,
                generation=layers[0].generation,
                dim=shown.mark["dim"],
                layers={record.label: record.index for record in layers},
                digests={record.label: record.digest for record in layers},
                details={"completed_by": "repair"},
            )


def _is_lost(storage: Storage, write_id: str) -> bool:
    try:
        return find_receipt(storage, write_id) is None
    except Damaged:
        return True
    except Refused:
        return False


def _write(storage: Storage, receipt: Receipt) -> None:
    key = receipt_key(receipt.write_id)
    stored = storage.read(key)
    data = receipt.model_dump_json(indent=1).encode()
    storage.write(key, data, replacing=stored.etag if stored else None)
