"""Records of layers and receipts of commits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_storage import MemoryStorage, Numbered, World
from pydantic import ValidationError

from aggrade.commit import layers
from aggrade.commit.layers import LayerRecord
from aggrade.commit.plan import Target
from aggrade.commit.snapshot import Snapshot
from aggrade.errors import Conflict, Damaged, Problem
from aggrade.receipt import Receipt
from aggrade.storage.local import LocalStorage

ODD = ["S 01", "Sub 03/ä", "..", "", "a\nb", "x" * 300, "日本", "zarr.json", "c/0", " "]


@pytest.fixture
def storage():
    """Return an empty storage."""
    return MemoryStorage(World(), "x.zarr")


def record(label="s1", *, generation=1, **changes):
    """Return a layer's record."""
    values = {"index": 0, "digest": "d", "write_id": f"w{generation}", "generation": generation}
    return LayerRecord(label=label, **{**values, **changes})


def receipt(write_id="w1", **changes):
    """Return a commit's receipt."""
    return Receipt(kind="append", store="world://x.zarr", write_id=write_id, generation=1, **changes)


class TestRecords:
    """One small object per layer."""

    def test_a_layer_that_is_not_there(self, storage):
        """Of an unknown label nothing is found."""
        assert layers.find_layer(storage, "s1") is None

    def test_a_layer_is_found_as_it_was_kept(self, storage):
        """A record comes back whole, regions included."""
        target = Target(variable="x", bounds=((0, 1),), unit=(1,), key_encoding={"name": "default"})
        kept = record(targets=(target,), objects=1, objects_sha256="0f", sizes={"window": 3})
        layers.keep_layer(storage, kept)
        assert layers.find_layer(storage, "s1") == kept

    @pytest.mark.parametrize("label", ODD)
    def test_any_label(self, label, tmp_path):
        """Slashes, dots, any script and any length are legal in a label, also on a disk."""
        disk = LocalStorage(str(tmp_path / "x.zarr"))
        layers.keep_layer(disk, record(label))
        assert layers.find_layer(disk, label) == record(label)

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.text(), unique=True, max_size=6))
    def test_labels_never_share_a_record(self, labels):
        """As many labels as were kept are listed, whatever they look like."""
        storage = MemoryStorage(World(), "x.zarr")
        for index, label in enumerate(labels):
            layers.keep_layer(storage, record(label, index=index))
        assert {one.label: one.index for one in layers.layers_of(storage)} == {
            label: index for index, label in enumerate(labels)
        }

    def test_finding_one_costs_one_request(self):
        """Whatever the store holds, one read answers."""
        hooks = Numbered()
        storage = MemoryStorage(World(), "x.zarr", hooks)
        for index in range(20):
            layers.keep_layer(storage, record(f"s{index}"))
        hooks.kinds.clear()
        layers.find_layer(storage, "s7")
        assert [kind.split()[0] for kind in hooks.kinds] == ["GET"]

    def test_a_new_record_costs_one_request(self):
        """Creating is one conditional write."""
        hooks = Numbered()
        layers.keep_layer(MemoryStorage(World(), "x.zarr", hooks), record())
        assert [kind.split()[0] for kind in hooks.kinds] == ["PUT"]

    def test_a_newer_record_replaces_an_older_one(self, storage):
        """Replacing a layer leads to the new row."""
        layers.keep_layer(storage, record(generation=1))
        layers.keep_layer(storage, record(generation=2, index=5))
        assert layers.find_layer(storage, "s1").index == 5

    def test_an_older_record_changes_nothing(self, storage):
        """Whoever is late does not turn the store back."""
        layers.keep_layer(storage, record(generation=2, index=5))
        layers.keep_layer(storage, record(generation=1, index=0))
        assert layers.find_layer(storage, "s1").index == 5

    def test_the_same_record_twice(self, storage):
        """Whoever rolls forward after a crash finds its record kept already."""
        layers.keep_layer(storage, record())
        before = dict(storage.world.objects)
        layers.keep_layer(storage, record())
        assert storage.world.objects == before

    def test_one_of_another_layer(self, storage):
        """A record under the name of another layer is damage; where it lies, any new one of that layer takes its place."""
        layers.keep_layer(storage, record())
        layers.keep_layer(storage, record("s2", generation=9))
        one, two = layers.layer_key("s1"), layers.layer_key("s2")
        storage.write(one, storage.read(two).data, replacing=storage.stat(one).etag)
        with pytest.raises(Damaged, match="found the record of layer 's2'") as caught:
            layers.find_layer(storage, "s1")
        assert caught.value.code == "record-misplaced"
        unreadable = []
        assert [found.label for found in layers.layers_of(storage, unreadable)] == ["s2"]
        assert [one in problem.where for problem in unreadable] == [True]
        layers.keep_layer(storage, record(index=4))
        assert layers.find_layer(storage, "s1").index == 4

    @pytest.mark.parametrize("torn", [b"", b"{", b'{"label": "s1"}'])
    def test_one_that_is_torn(self, storage, torn):
        """A record that can't be read is damage, passed over only by who asks for it, and replaced by any new one."""
        layers.keep_layer(storage, record())
        layers.keep_layer(storage, record("s2"))
        (key,) = (info.key for info in storage.list(layers.LAYERS) if b'"s1"' in storage.read(info.key).data)
        storage.write(key, torn, replacing=storage.stat(key).etag)
        with pytest.raises(Damaged, match="not understood") as caught:
            layers.find_layer(storage, "s1")
        assert caught.value.code == "record-unreadable"
        with pytest.raises(Damaged):
            list(layers.layers_of(storage))
        unreadable = []
        assert [one.label for one in layers.layers_of(storage, unreadable)] == ["s2"]
        assert [key in problem.where for problem in unreadable] == [True]
        layers.keep_layer(storage, record(index=4))
        assert layers.find_layer(storage, "s1").index == 4

    def test_records_are_strict(self):
        """A record with a field that isn't known is of a newer aggrade and is not half understood."""
        with pytest.raises(ValidationError, match="colour"):
            record(colour="blue")


class TestReceipts:
    """What a commit did."""

    def test_a_commit_that_never_took_effect_has_none(self, storage):
        """Without a receipt nothing was done."""
        assert layers.find_receipt(storage, "w1") is None

    def test_a_receipt_is_found_as_it_was_kept(self, storage):
        """A receipt comes back whole."""
        kept = receipt(layers={"s1": 0}, requests={"PUT": 3}, details={"cells": 4})
        assert layers.keep_receipt(storage, kept) == kept
        assert layers.find_receipt(storage, "w1") == kept

    def test_what_recovery_wrote_goes_first(self, storage):
        """A commit that somebody else completed returns the receipt that they wrote."""
        theirs = layers.keep_receipt(storage, receipt(details={"completed_by": "recover"}))
        assert layers.keep_receipt(storage, receipt(objects=5)) == theirs
        assert layers.find_receipt(storage, "w1") == theirs

    def test_receipts_are_no_layers(self, storage):
        """Listing layers leaves receipts out."""
        layers.keep_receipt(storage, receipt())
        layers.keep_layer(storage, record())
        assert [one.label for one in layers.layers_of(storage)] == ["s1"]


def state(*undone):
    """Return a state whose root says which commits were undone."""
    return Snapshot("", {"aggrade": {"undone": [list(pair) for pair in undone]}})


class TestUndone:
    """Records of commits that a restore has undone."""

    def test_a_record_of_an_undone_commit_does_not_count(self, storage):
        """It is found without a state, and not in a state that has undone it."""
        layers.keep_layer(storage, record(generation=4))
        assert layers.find_layer(storage, "s1").generation == 4
        assert layers.find_layer(storage, "s1", state((3, 6))) is None
        assert list(layers.layers_of(storage, state=state((3, 6)))) == []

    @pytest.mark.parametrize(("generation", "counts"), [(3, True), (4, False), (6, False), (7, True)])
    def test_what_a_restore_undoes(self, storage, generation, counts):
        """Commits after the state that was restored, up to the one that was given up."""
        layers.keep_layer(storage, record(generation=generation))
        assert (layers.find_layer(storage, "s1", state((3, 6))) is not None) is counts

    def test_the_record_before_counts_again(self, storage):
        """Of several commits that brought a label, the newest that was not undone is found."""
        for generation in (2, 4, 9):
            layers.keep_layer(storage, record(generation=generation, index=generation))
        assert layers.find_layer(storage, "s1", state((3, 6))).index == 9
        assert layers.find_layer(storage, "s1", state((3, 6), (8, 9))).index == 2
        assert layers.find_layer(storage, "s1", state((8, 9))).index == 4
        assert layers.find_layer(storage, "s1", state((1, 9))) is None

    def test_a_removed_layer_is_none(self, storage):
        """What a removal leaves where a record lay is no record, outlives those of commits before it, and gives way to the next one."""
        layers.keep_layer(storage, record())
        key = layers.layer_key("s1")
        storage.write(key, layers.removed(4), replacing=storage.stat(key).etag)
        assert layers.find_layer(storage, "s1") is None
        assert list(layers.layers_of(storage)) == []
        layers.keep_layer(storage, record(generation=3))
        assert layers.find_layer(storage, "s1") is None
        layers.keep_layer(storage, record(generation=5))
        assert layers.find_layer(storage, "s1").generation == 5

    def test_a_removal_that_was_undone_and_made_again(self, storage):
        """Put back beside the mark of its removal, a record counts where the removal is undone, and only there."""
        key, confirmed = layers.layer_key("s1"), []
        layers.keep_layer(storage, record(generation=2))
        kept = storage.read(key)
        storage.write(key, layers.removed(3), replacing=kept.etag)
        layers.put_back(storage, key, [kept.data], lambda: confirmed.append(True))
        assert layers.find_layer(storage, "s1", state((2, 3))).generation == 2
        assert layers.find_layer(storage, "s1", state((3, 4))) is None
        assert list(layers.layers_of(storage, state=state((3, 4)))) == []
        layers.put_back(storage, key, [kept.data], lambda: confirmed.append(True))
        assert confirmed == [True]
        layers.keep_layer(storage, record(generation=6))
        assert layers.find_layer(storage, "s1", state((3, 4))).generation == 6
        assert layers.find_layer(storage, "s1", state((3, 4), (5, 6))) is None
        assert layers.find_layer(storage, "s1", state((2, 6))).generation == 2

    def test_a_label_that_came_again_after_its_removal(self, storage):
        """Where its second coming is undone, the removal before it counts."""
        layers.keep_layer(storage, record(generation=2))
        key = layers.layer_key("s1")
        storage.write(key, layers.removed(3), replacing=storage.stat(key).etag)
        layers.keep_layer(storage, record(generation=4))
        assert layers.find_layer(storage, "s1", state((3, 5))) is None
        entries = layers.entries_of(storage.read(key).data)
        assert [(one.generation, hasattr(one, "label")) for one in entries] == [(4, True), (3, False)]

    def test_one_who_lost_the_intent_puts_nothing_back(self, storage):
        """Who sleeps while he puts a record back leaves the mark of a later removal alone."""
        key = layers.layer_key("s1")
        storage.write(key, layers.removed(7))

        def lost():
            raise Conflict(Problem("x", "taken over", "ours", "run it again", "lease-lost"))

        with pytest.raises(Conflict, match="taken over"):
            layers.put_back(storage, key, [record(generation=2).model_dump_json().encode()], lost)
        assert storage.read(key).data == layers.removed(7)
