"""`verify`: compare a store with what its receipts say."""

from __future__ import annotations

import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.append_rows import STAMPS
from aggrade.backup_checks import backup_problems
from aggrade.commit import find_receipt, layers_of, read_intent, read_snapshot
from aggrade.commit.agreement import disagreements, document_key
from aggrade.commit.documents import key_of, labels_of
from aggrade.commit.intent import INTENT
from aggrade.commit.layers import replaced_before
from aggrade.commit.looking import known_generation
from aggrade.commit.salting import object_digest, objects_digest
from aggrade.commit.snapshot import ROOT, lost_root
from aggrade.common_objects import common_problems
from aggrade.damage import damage_of
from aggrade.encoding import layer_digest
from aggrade.errors import BadInput, Damaged, Problem, Refused
from aggrade.foreign_objects import foreign_problems, reached, torn_in_no_use
from aggrade.layout import open_stores
from aggrade.orphans import find_orphans
from aggrade.receipt_checks import has_newer, newer_labels, receipt_problems
from aggrade.rechunking.checking import copy_problems
from aggrade.root_checks import backups_of, changed_root, maker_problems, root_problems
from aggrade.session_catalogue import catalogue_problems, lost_files
from aggrade.settings import settings
from aggrade.settling import Finding, settled
from aggrade.staged_sessions import find_staged
from aggrade.storage import open_storage, url_of
from aggrade.storage.remembering import Remembering

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from os import PathLike

    import xarray as xr

    from aggrade.commit import Intent, LayerRecord, Snapshot
    from aggrade.storage import Storage

__all__ = ["Report", "content_digest", "is_damaged", "own_objects", "row_of", "verify"]

_log = logging.getLogger(__name__)
_ANEW = "remove it and append it anew, or restore a backup that has it"


class Report(BaseModel):
    """What `verify` found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: tuple[str, ...] = Field(default=(), description="A sentence for each thing that is wrong.")
    notes: tuple[str, ...] = Field(
        default=(), description="A sentence for each thing that is untidy and harms nobody."
    )
    checked: dict[str, int] = Field(default_factory=dict, description="What was looked at, counted.")

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def damage(self) -> list[Problem]:
        """Return what is wrong as what an error is made of."""
        return damage_of(self.problems)

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {what}" for what, count in self.checked.items())
        return "\n".join(
            [
                f"{'ok' if self.ok else f'{len(self.problems)} problems'}: checked {counts}",
                *self.problems,
                *(f"note: {note}" for note in self.notes),
            ]
        )


def verify(store: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> Report:
    """Compare every store with its own records, reading every object once.

    Checked are: array documents against the root; sizes along each dimension; each layer's label, row and
    record; each layer's own objects, byte for byte, a missing chunk never being taken for fill; the content of
    appended layers against the digest they came with; receipts; intents that are still held; objects that nothing
    claims; what the catalogue tells of the sessions; and what is untidy and harmless (left-overs on record, staged sessions).

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Report
        ``.ok``, ``.problems``, ``.checked``.

    Raises
    ------
    BadInput
        If there is no store.
    Unavailable
        If the store did not answer.
    """
    store = url_of(store)
    stores = open_stores(store, storage_options)
    if not stores:
        found = Problem(store, "no Zarr store", "a dataset root or a Zarr store", "check the URL", "no-store")
        raise BadInput(found)
    checked: Counter[str] = Counter()
    notes: list[str] = []
    problems = [text for storage in stores for text in _store(storage, checked, notes)]
    problems = list(dict.fromkeys((*problems, *_lost_lines(store, storage_options))))
    notes.extend(staged.sentence for staged in find_staged(store, storage_options))
    _log.info("verified %s: %d problems", store, len(problems))
    return Report(problems=tuple(problems), notes=tuple(notes), checked=dict(checked))


def _lost_lines(store: str, storage_options: Mapping[str, Any] | None) -> list[str]:
    root = open_storage(store.rstrip("/"), storage_options)
    return [
        f"{root.url}: {info.key} is kept by no store that is there; run verify --repair."
        for info in lost_files(root)
    ]


def _store(storage: Storage, checked: Counter[str], notes: list[str]) -> list[str]:
    checked["stores"] += 1
    found = settled(storage, lambda found: _state(storage, found))
    checked.update(found.checked)
    notes.extend(found.notes)
    return found.problems


def _state(storage: Storage, found: Finding) -> Iterator[str]:
    checked = found.checked
    intent = yield from _intent(storage, found)
    backups = backups_of(storage)
    try:
        snapshot = read_snapshot(storage)
    except (Damaged, Refused) as error:
        yield str(error)
        return
    found.marks[ROOT] = snapshot.etag if snapshot else None
    lost = lost_root(storage.url, snapshot, known_generation(storage, snapshot, intent))
    if lost is not None:
        yield str(lost)
        return
    if snapshot is None:
        if (intent is None and any(storage.list())) or (intent is not None and intent[0].state == "free"):
            yield f"{storage.url}: there is no root; the first write never finished, run it again."
        return
    if (
        intent is None
        and snapshot.generation
        and "rechunk" not in snapshot.mark
        and storage.stat(INTENT) is None
    ):
        yield f"{storage.url}: its intent is gone, and what dead writers left is on no record; run verify --repair."
    yield from root_problems(storage, snapshot, backups)
    remembering = Remembering(storage)
    changed = changed_root(remembering, snapshot)
    if changed is not None:
        yield str(changed)
    sizes = [f"{storage.url}: {problem}" for problem in snapshot.uneven]
    yield from sizes
    yield from _documents(storage, snapshot, checked)
    damage = list(sizes)
    if not sizes:
        damage += _layers(remembering, snapshot, checked)
        damage += common_problems(remembering, snapshot, checked)
        yield from damage
    yield from backup_problems(storage, snapshot, checked)
    yield from copy_problems(storage, snapshot)
    if not sizes and (intent is None or intent[0].state == "free"):
        orphans = find_orphans(storage, snapshot, intent[0].dirty if intent else ())
        drift = [] if damage else list(catalogue_problems(remembering, snapshot, checked))
        if _is_still(storage, intent):
            yield from orphans.problems()
            yield from drift
            found.notes.extend(orphans.notes())


def is_damaged(storage: Storage, shown: Snapshot) -> bool:
    """Tell whether layers, or what is common to them, are not what was written. Every object of the store is read."""
    known, checked = Remembering(storage), Counter[str]()
    return bool(shown.uneven or [*_layers(known, shown, checked), *common_problems(known, shown, checked)])


def _intent(storage: Storage, found: Finding) -> Generator[str, None, tuple[Intent, str] | None]:
    """No commit is under way, dead or alive."""
    try:
        there = read_intent(storage)
    except (Damaged, Refused) as error:
        yield str(error)
        return None
    found.marks[INTENT] = there[1] if there else None
    if there is not None and there[0].state == "held":
        found.is_held = True
        kind = there[0].journal.kind if there[0].journal else "something"
        fix = "wait for it, or, if its process is gone, run the same command again or aggrade recover"
        yield f"{storage.url}: {kind} (write {there[0].write_id}) is not finished; {fix}."
    return there


def _is_still(storage: Storage, intent: tuple[Intent, str] | None) -> bool:
    """Tell whether nobody has written meanwhile: what a live writer puts there is no orphan."""
    now = storage.stat(INTENT)
    return (now.etag if now else None) == (intent[1] if intent else None)


def _documents(storage: Storage, snapshot: Snapshot, checked: Counter[str]) -> Iterator[str]:
    """Array documents equal what the root shows."""
    for name, document in snapshot.documents.items():
        checked["arrays"] += 1
        key = document_key(name)
        stored = storage.read(key)
        foreign = [*disagreements(storage.url, {name: document}, {key: stored})]
        if foreign:
            told = f"its zarr.json is not what the root shows but says {foreign[0].found}"
            fix = "if another tool has appended, keep its rows by zarr.consolidate_metadata, else run verify --repair"
            yield f"{storage.url}/{name}: {told}; {fix}."
        elif stored is None or _json(stored.data) != document:
            fix = "run verify --repair" if snapshot.generation else "run zarr.consolidate_metadata"
            yield f"{storage.url}/{name}: its zarr.json is not what the root shows; {fix}."


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _layers(storage: Storage, snapshot: Snapshot, checked: Counter[str]) -> Iterator[str]:
    dim = snapshot.mark.get("dim")
    if dim is None:
        return
    try:
        labels = labels_of(snapshot.dataset(storage)[dim].variable)
    except (RuntimeError, ValueError) as error:
        yield f"{storage.url}: the labels of its layers can't be decoded ({error}); restore."
        return
    unreadable: list[Problem] = []
    records = {record.label: record for record in layers_of(storage, unreadable, snapshot)}
    yield from map(str, unreadable)
    yield from maker_problems(storage, snapshot, records.values())
    yield from _labels(storage, snapshot, labels, {*records, *newer_labels(unreadable, labels)})
    yield from map(str, receipt_problems(storage, {record.write_id for record in records.values()}))
    dataset = snapshot.dataset(storage, decoded=False)
    for record in sorted(records.values(), key=lambda record: record.index):
        checked["layers"] += 1
        if record.label in labels:
            yield from _layer(storage, (snapshot, dataset), record, labels, checked)
        for former in replaced_before(record, snapshot):
            yield from _replaced(storage, snapshot, former)
    placed = [one for one in records.values() if labels[one.index : one.index + 1] == [one.label]]
    yield from foreign_problems(storage, snapshot, placed)
    for info in () if has_newer(unreadable) else torn_in_no_use(storage, snapshot, records.values()):
        yield f"{storage.url}/{info.key}: can't be decoded, and no layer that shows lies in it; run verify --repair."


def _labels(storage: Storage, snapshot: Snapshot, labels: list[str], recorded: set[str]) -> Iterator[str]:
    """Each row that counts has its label alone and its record, and each record has a row."""
    gone = set(snapshot.mark.get("superseded", []))
    live = Counter(label for index, label in enumerate(labels) if index not in gone)
    adopted = set(labels[: snapshot.mark.get("adopted", 0)])
    for label, count in live.items():
        if count > 1:
            yield f"{storage.url}: layer {label!r} is there {count} times; restore."
        if label not in recorded and label not in adopted:
            yield f"{storage.url}: layer {label!r} has no record; run verify --repair, and if that can't make it anew, as of another tool's row, remove it and append it."
    for label in sorted(recorded - set(labels)):
        yield f"{storage.url}: the record of layer {label!r} has no row; restore."


def _layer(
    storage: Storage,
    state: tuple[Snapshot, xr.Dataset],
    record: LayerRecord,
    labels: list[str],
    checked: Counter[str],
) -> Iterator[str]:
    where = f"{storage.url}: layer {record.label!r}"
    if record.index >= len(labels) or labels[record.index] != record.label:
        yield f"{where} is not at index {record.index}, where its record says; restore."
        return
    try:
        receipt = find_receipt(storage, record.write_id)
    except (Damaged, Refused) as error:
        yield str(error)
        return
    if receipt is None:
        yield f"{where} names receipt {record.write_id}, which is gone; run verify --repair."
    checked["objects"] += record.objects
    missing, digest = own_objects(storage, state[0], record)
    if missing:
        yield f"{where} misses {len(missing)} objects, such as {missing[0]}; {_ANEW}."
    elif digest != record.objects_sha256:
        yield f"{where}: its objects are not the bytes that were written; {_ANEW}."
    elif receipt is not None and receipt.kind == "append" and content_digest(*state, record) != record.digest:
        yield f"{where}: its content is not what was appended; {_ANEW}."


def _replaced(storage: Storage, snapshot: Snapshot, record: LayerRecord) -> Iterator[str]:
    """Objects of a row that was replaced are there still: a restore of the state before needs them."""
    where = f"{storage.url}: layer {record.label!r}, as it was before it was replaced"
    fix = "bring them back from elsewhere, or restore no state that shows it"
    missing, digest = own_objects(storage, snapshot, record)
    if missing:
        yield f"{where}, misses {len(missing)} objects, such as {missing[0]}; {fix}."
    elif digest != record.objects_sha256:
        yield f"{where}: its objects are not the bytes that were written; {fix}."


def own_objects(storage: Storage, snapshot: Snapshot, record: LayerRecord) -> tuple[list[str], str]:
    """Return which of a layer's own objects are missing, and the digest of the others, reading each once.

    They are known by the keys they were written under; a restore may have moved them since.

    Parameters
    ----------
    storage, snapshot
        The store and the state that it shows.
    record
        The layer's; only its targets matter.
    """
    written = {key: (target.variable, index) for target in record.targets for key, index in target.objects()}
    keys = sorted(written)
    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        digests = pool.map(lambda key: _digest(storage, snapshot, *written[key]), keys)
        found = dict(zip(keys, digests, strict=True))
    missing = [key for key, digest in found.items() if digest is None]
    return missing, objects_digest(found.items())


def _digest(storage: Storage, snapshot: Snapshot, name: str, index: tuple[int, ...]) -> str | None:
    document = snapshot.documents.get(name)
    return None if document is None else object_digest(storage, key_of(name, document, index), document)


def content_digest(snapshot: Snapshot, dataset: xr.Dataset, record: LayerRecord) -> str | None:
    """Return the digest of a layer's content as it lies there; None if it can't be decoded.

    Parameters
    ----------
    snapshot, dataset
        The state that the store shows, and the same opened with values as stored.
    record
        The layer's.
    """
    try:
        return layer_digest(row_of(snapshot, dataset, record), snapshot.mark["dim"], 0)
    except (RuntimeError, ValueError) as error:
        _log.warning("layer %s can't be decoded: %s", record.label, error)
        return None


def row_of(snapshot: Snapshot, dataset: xr.Dataset, record: LayerRecord) -> dict[str, xr.Variable]:
    """Return the variables of a layer's row that count as its content. Parameters as for `content_digest`."""
    dim = snapshot.mark["dim"]
    own = {axis: at for axis, at in reached(snapshot, record).items() if axis in dataset.sizes}
    row = dataset.isel({dim: slice(record.index, record.index + 1), **own})
    return {
        str(name): row.variables[name]
        for name in row.variables
        if dim in row[name].dims and name not in STAMPS
    }
