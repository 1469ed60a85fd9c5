"""What was read of a store before its intent is taken, and how one knows that it still holds afterwards.

Only who holds the intent changes the root or what is published. So whatever is read after the intent was seen
free is what would be read under the intent, if the intent is then taken by a compare-and-swap on just the one that
was seen: nobody has held it in between. The root is looked at twice, once beside the intent, so that it can be
planned on, and once after it, together with all that the plan needs to know. No mark that was read like this can
be a successor's, since a successor comes after us.

Where the intent was held, or left-overs are on record, the transaction reads under the intent instead.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aggrade.commit.intent import INTENT, Intent, Lease, least_shown, read_intent
from aggrade.commit.layers import LAYERS, LayerRecord, find_layer, look_for_layer
from aggrade.commit.snapshot import ROOT, Snapshot, demand_root, moved_on, read_snapshot
from aggrade.errors import Conflict
from aggrade.storage.together import read_together, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggrade.commit.catalogue import Place
    from aggrade.commit.plan import Layer, Target
    from aggrade.storage import Storage, StoredObject

__all__ = ["Look", "demand_known", "known_generation", "look"]


@dataclass(frozen=True)
class Look:
    """What a store was at one look.

    Parameters
    ----------
    snapshot
        Its root; None if there is no store.
    intent
        Its intent with its mark; None if there has never been one.
    records
        Label → record of those layers that were asked for and are there.
    kept
        Label → bytes of what lies where its record does, which may not count: it may be undone, or be removed.
    objects
        Key → object, or None where there is none, of those that were read.
    catalogue
        The same of the files of the dataset's catalogue, by their keys below the dataset root.
    is_confirmed
        Whether the root was still the same when records and objects were read.
    requests
        What it took, by kind.
    bytes_read
        Bytes of the objects that were read.
    reserved
        Regions that this writer has put on record as dirty itself, before it brings objects there.
    """

    snapshot: Snapshot | None
    intent: tuple[Intent, str] | None
    records: Mapping[str, LayerRecord] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    objects: Mapping[str, StoredObject | None] = field(default_factory=dict)
    catalogue: Mapping[str, StoredObject | None] = field(default_factory=dict)
    is_confirmed: bool = False
    requests: Mapping[str, int] = field(default_factory=Counter)
    bytes_read: int = 0
    reserved: tuple[Target, ...] = ()

    @property
    def is_calm(self) -> bool:
        """Whether nobody held the intent and no left-overs of others are on record."""
        intent = self.intent[0] if self.intent else None
        return intent is None or (intent.state == "free" and intent.dirty == self.reserved)

    @property
    def is_held(self) -> bool:
        """Whether somebody held the intent, dead or alive."""
        return self.intent is not None and self.intent[0].state == "held"

    @property
    def lines(self) -> Mapping[str, StoredObject | None]:
        """Files of the catalogue as they still are; none where whoever holds the intent, or finishes it, changes them."""
        return {} if self.is_held else self.catalogue

    def again(
        self,
        storage: Storage,
        labels: Sequence[str],
        keys: Iterable[str],
        place: Place | None = None,
        files: Sequence[int] = (),
    ) -> Look:
        """Make sure that the root is still the same, and read the records of some layers and objects, all at once.

        Parameters
        ----------
        storage, labels, keys
            The store, the layers and the objects.
        place, files
            Where the catalogue tells of the store, and which files of it to read.

        Raises
        ------
        Conflict
            If the root is another one.
        Damaged
            If a record can't be read, or the root is older than the last commit left it.
        """
        now, least, objects, told, *found = together(
            lambda: storage.stat(ROOT),
            lambda: known_generation(storage, self.snapshot, self.intent),
            lambda: read_together(storage, keys),
            lambda: read_together(place.root, map(place.key, files)) if place else {},
            *(lambda label=label: look_for_layer(storage, label, self.snapshot) for label in labels),
        )
        if (now.etag if now else None) != (self.snapshot.etag if self.snapshot else None):
            raise Conflict(moved_on(storage.url))
        by_label = dict(zip(labels, found, strict=True))
        records = {label: record for label, (record, _) in by_label.items() if record is not None}
        demand_root(storage.url, self.snapshot, least)
        return replace(
            self,
            records=records,
            kept={label: size for label, (_, size) in by_label.items() if size is not None},
            objects=objects,
            catalogue=told,
            is_confirmed=True,
        )

    def is_unchanged(self, storage: Storage) -> bool:
        """Tell whether root and intent are still what was read: else somebody's commit may be all that is wrong."""
        known = {
            ROOT: self.snapshot.etag if self.snapshot else None,
            INTENT: self.intent[1] if self.intent else None,
        }
        now = dict(zip(known, together(*(lambda key=key: storage.stat(key) for key in known)), strict=True))
        return all((info.etag if info else None) == known[key] for key, info in now.items())

    def holds(self, lease: Lease, keys: Iterable[str]) -> bool:
        """Tell whether root and objects are for certain what they are now that `lease` has been taken.

        Parameters
        ----------
        lease
            The intent that was taken.
        keys
            The objects that matter.
        """
        taken = lease.replaced == (self.intent[1] if self.intent else None)
        return taken and self.is_calm and self.is_confirmed and set(keys) <= set(self.objects)


def look(storage: Storage) -> Look:
    """Read root and intent at once.

    Raises
    ------
    Damaged, Refused
        If one of them can't be read.
    """
    return Look(*together(lambda: read_snapshot(storage), lambda: read_intent(storage)))


def known_generation(storage: Storage, shown: Snapshot | None, intent: tuple[Intent, str] | None) -> int:
    """Return the generation that a root has at least: 0 while somebody is at work, who may be deleting the store.

    Layers are on record only where a root has shown them. They are listed where the root knows of no commit, and
    count if nobody has written root or intent meanwhile: a record may be younger than the root that was read.

    Parameters
    ----------
    storage
        The store.
    shown
        What its root shows.
    intent
        What `read_intent` gave before that, or was found unchanged after it.
    """
    if intent is not None and intent[0].state == "held":
        return 0
    least = least_shown(intent)
    if least or (shown is not None and shown.generation):
        return least
    if not any(True for _ in storage.list(LAYERS)):
        return 0
    return int(Look(shown, intent).is_unchanged(storage))


def demand_known(storage: Storage, layers: Sequence[Layer], shown: Snapshot | None) -> None:
    """Raise if a layer's record is not the one that was planned on: it may have come after the root that was.

    Parameters
    ----------
    storage, layers
        The store, and what is to be appended.
    shown
        What the store shows.

    Raises
    ------
    Conflict
        If a record has come, or gone.
    """
    find = [lambda label=layer.label: find_layer(storage, label, shown) for layer in layers]
    for layer, record in zip(layers, together(*find), strict=True):
        if (record.index if record else None) != layer.supersedes:
            raise Conflict(moved_on(storage.url))
