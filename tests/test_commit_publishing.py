"""The switch and what goes with it: array documents, root, layer records."""

from __future__ import annotations

import hashlib
import json

import pytest
from make_documents import make_document
from memory_storage import Hooks, LosesReply, MemoryStorage, Numbered, World

from aggrade.commit import publishing
from aggrade.commit.layers import layers_of
from aggrade.commit.plan import Layer, Target
from aggrade.commit.snapshot import root_bytes
from aggrade.commit.writer import WrittenObject
from aggrade.errors import Conflict, Problem, Unavailable

X = make_document((2, 3), (1, 3), dims=("row", "column"))
ENCODING = X["chunk_key_encoding"]


@pytest.fixture
def storage():
    """Return an empty storage."""
    return MemoryStorage(World(), "s.zarr")


def confirm():
    """Say that the intent is ours."""


def lost():
    """Say that it is somebody else's."""
    raise Conflict(Problem("intent", "theirs", "ours", "run it again", "lease-lost"))


def documents_of(storage, *names):
    """Return the documents that lie there."""
    return {name: json.loads(storage.read(f"{name}/zarr.json").data) for name in names}


class TestDocuments:
    """Array documents, as the holder of the intent writes them."""

    def test_new_ones_are_created(self, storage):
        """Each is one conditional write, and its mark is handed back."""
        found = publishing.write_documents(storage, {"x": X, "y": X}, {}, lost)
        assert documents_of(storage, "x", "y") == {"x": X, "y": X}
        assert found == {f"{name}/zarr.json": storage.stat(f"{name}/zarr.json").etag for name in "xy"}

    def test_a_right_hint_saves_requests(self, storage):
        """Where the mark is known, replacing is one request."""
        hints = publishing.write_documents(storage, {"x": X}, {}, lost)
        hooks = Numbered()
        again = MemoryStorage(storage.world, "s.zarr", hooks)
        publishing.write_documents(again, {"x": {**X, "shape": [9, 3]}}, hints, lost)
        assert hooks.kinds == ["PUT s.zarr/x/zarr.json"]
        assert documents_of(storage, "x")["x"]["shape"] == [9, 3]

    @pytest.mark.parametrize("hints", [{}, {"x/zarr.json": "no such mark"}])
    def test_a_wrong_hint_costs_requests_only(self, storage, hints):
        """Whatever lies there is replaced, once the intent has been confirmed."""
        publishing.write_documents(storage, {"x": X}, {}, lost)
        asked = []
        publishing.write_documents(storage, {"x": {**X, "shape": [9, 3]}}, hints, lambda: asked.append(1))
        assert documents_of(storage, "x")["x"]["shape"] == [9, 3]
        assert asked == [1]

    def test_a_hint_for_what_is_gone(self, storage):
        """A document that vanished is made again."""
        publishing.write_documents(storage, {"x": X}, {"x/zarr.json": "gone"}, confirm)
        assert documents_of(storage, "x") == {"x": X}

    def test_without_the_intent_nothing_is_replaced(self, storage):
        """Who lost the intent leaves a document that somebody else wrote."""
        publishing.write_documents(storage, {"x": X}, {}, lost)
        with pytest.raises(Conflict) as caught:
            publishing.write_documents(storage, {"x": {**X, "shape": [9, 3]}}, {}, lost)
        assert caught.value.code == "lease-lost"
        assert documents_of(storage, "x") == {"x": X}

    def test_what_is_right_already_is_left(self, storage):
        """The same document, written by whoever, is success."""
        (mark,) = publishing.write_documents(storage, {"x": X}, {}, lost).values()
        assert publishing.write_documents(storage, {"x": X}, {}, lost) == {"x/zarr.json": mark}

    def test_the_same_document_of_another_commit_is_another_object(self, storage):
        """Where marks are hashes, a document that comes back in a later commit doesn't bear its old mark."""
        first = publishing.document_bytes(X, 7)
        assert json.loads(first) == X
        assert len({publishing.document_bytes(X, generation) for generation in range(100)}) == 100
        assert {len(publishing.document_bytes(X, generation)) for generation in (0, 9, 10**6)} == {len(first)}
        publishing.write_documents(storage, {"x": X}, {}, lost, 7)
        assert storage.read("x/zarr.json").data == first

    def test_one_that_keeps_changing_is_given_up(self, storage):
        """Somebody who doesn't keep to the rules is not fought for ever."""
        other = publishing.document_bytes({**X, "shape": [1, 3]})

        class Contended(Hooks):
            def before(self, kind, key):
                if kind == "PUT":
                    world = storage.world
                    world.objects[key] = (other, world.mark(other))

        with pytest.raises(Conflict, match="keeps changing") as caught:
            publishing.write_documents(
                MemoryStorage(storage.world, "s.zarr", Contended()), {"x": X}, {}, confirm
            )
        assert caught.value.code == "contended"

    def test_no_documents_no_requests(self):
        """A commit that changes no array writes none."""
        hooks = Numbered()
        assert publishing.write_documents(MemoryStorage(World(), "s.zarr", hooks), {}, {}, lost) == {}
        assert hooks.kinds == []


class TestSwitch:
    """The one write that makes a state visible."""

    def root(self, write_id):
        """Return a root that bears a write id."""
        return root_bytes({"aggrade": {"format": 1, "generation": 1, "write_id": write_id}}, {})

    def test_the_first_root_is_created(self, storage):
        """Where there is none, the switch is a create."""
        mark = publishing.switch_root(storage, self.root("w1"), "w1", None)
        assert storage.stat("zarr.json").etag == mark

    def test_a_root_is_swapped_for_the_one_that_was_read(self, storage):
        """The switch replaces exactly the root of the base."""
        first = publishing.switch_root(storage, self.root("w1"), "w1", None)
        publishing.switch_root(storage, self.root("w2"), "w2", first)
        assert storage.read("zarr.json").data == self.root("w2")

    @pytest.mark.parametrize("replacing", [None, "an older mark"])
    def test_another_root_stays(self, storage, replacing):
        """If somebody published or fenced in between, nothing of this commit shows."""
        publishing.switch_root(storage, self.root("theirs"), "theirs", None)
        with pytest.raises(Conflict, match="somebody else wrote meanwhile") as caught:
            publishing.switch_root(storage, self.root("mine"), "mine", replacing)
        assert caught.value.code == "overtaken"
        assert storage.read("zarr.json").data == self.root("theirs")

    def test_a_lost_reply_is_found_out(self, storage):
        """If the root bears this commit's name, the switch took effect."""
        losing = MemoryStorage(storage.world, "s.zarr", LosesReply(1))
        mark = publishing.switch_root(losing, self.root("w1"), "w1", None)
        assert storage.stat("zarr.json").etag == mark

    def test_a_repeated_request_is_no_conflict(self, storage):
        """A client that sent it twice meets its own root."""
        mark = publishing.switch_root(storage, self.root("w1"), "w1", None)
        assert publishing.switch_root(storage, self.root("w1"), "w1", None) == mark

    def test_a_request_that_never_arrived(self, storage):
        """If nothing was written, the store was out of reach and nothing else is claimed."""

        class Down(Hooks):
            def before(self, kind, key):
                if kind == "PUT":
                    raise Unavailable(Problem(key, "no reply", "a reply", "retry", "unavailable"))

        with pytest.raises(Unavailable):
            publishing.switch_root(
                MemoryStorage(storage.world, "s.zarr", Down()), self.root("w1"), "w1", None
            )
        assert storage.stat("zarr.json") is None


def target(bounds, unit, variable="x"):
    """Return a region."""
    return Target(variable=variable, bounds=bounds, unit=unit, key_encoding=ENCODING)


class TestOwn:
    """Which objects belong to one layer alone."""

    def test_rows_of_their_own(self):
        """Where a row has its own objects, they are those of its index."""
        layer = Layer(label="b", index=1, digest="d")
        (own,) = publishing.own_targets([target(((0, 4), (0, 3)), (1, 3))], {"x": X}, "row", layer)
        assert [key for key, _ in own.objects()] == ["x/c/1/0"]

    def test_shared_objects_are_nobodys(self):
        """An object of several rows belongs to none of them."""
        layer = Layer(label="b", index=1, digest="d")
        shared = make_document((4, 3), (2, 3), dims=("row", "column"))
        assert publishing.own_targets([target(((0, 4), (0, 3)), (2, 3))], {"x": shared}, "row", layer) == ()

    def test_arrays_without_the_dimension_are_nobodys(self):
        """What doesn't grow belongs to the store."""
        layer = Layer(label="b", index=1, digest="d")
        assert publishing.own_targets([target(((0, 2), (0, 3)), (1, 3))], {"x": X}, "epoch", layer) == ()

    def test_the_dimension_may_come_last(self):
        """Epochs are the last axis of a light-curve cube."""
        cube = make_document((6, 4), (3, 1), dims=("object", "epoch"))
        layer = Layer(label="e", index=2, digest="d")
        (own,) = publishing.own_targets([target(((0, 6), (0, 4)), (3, 1))], {"x": cube}, "epoch", layer)
        assert [key for key, _ in own.objects()] == ["x/c/0/2", "x/c/1/2"]


class TestRecords:
    """What is kept of each layer."""

    def test_each_layer_has_a_digest_over_its_own_objects(self):
        """The digest is over keys and digests of the layer's objects, in the order of keys."""
        layers = [Layer(label=label, index=i, digest=f"d{i}", sizes={"w": i}) for i, label in enumerate("ab")]
        written = [WrittenObject(f"x/c/{i}/0", 1, "e", f"sha{i}") for i in range(2)]
        records = publishing.layer_records(
            layers, [target(((0, 2), (0, 3)), (1, 3))], {"x": X}, "row", written, ("w9", 4)
        )
        assert [(r.label, r.index, r.digest, r.sizes, r.objects) for r in records] == [
            ("a", 0, "d0", {"w": 0}, 1),
            ("b", 1, "d1", {"w": 1}, 1),
        ]
        assert {(r.write_id, r.generation) for r in records} == {("w9", 4)}
        assert records[1].objects_sha256 == hashlib.sha256(b"x/c/1/0 sha1\n").hexdigest()

    def test_they_are_kept(self, storage):
        """All of them are found afterwards."""
        layers = [Layer(label=f"s{i}", index=i, digest="d") for i in range(30)]
        records = publishing.layer_records(layers, [], {}, "row", [], ("w1", 1))
        publishing.keep_layers(storage, records)
        assert sorted(layers_of(storage), key=lambda r: r.index) == records

    def test_a_commit_without_layers_keeps_none(self, storage):
        """A rechunk brings no layers."""
        publishing.keep_layers(storage, publishing.layer_records([], [], {}, None, [], ("w1", 1)))
        assert not list(layers_of(storage))
