"""Backups: what they hold, where they lie, and when they count."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter

import pytest
from memory_storage import Alone, DiesAt, Killed, MemoryStorage, Numbered, World

from aggrade.backup_checks import backup_problems
from aggrade.commit import Snapshot, backup
from aggrade.errors import BadInput, Conflict, Problem, Unavailable
from aggrade.storage import StoredObject
from aggrade.storage.local import LocalStorage

NAME = backup.backup_id(3, "abc")
TOUCHED = {
    "zarr.json": StoredObject(b'{"a": 1}', "1"),
    "eeg/c/0/0": StoredObject(bytes(range(256)), "2"),
    "a b/ä": StoredObject(b"", "3"),
}


@pytest.fixture
def storage():
    """Return a Zarr store with a few objects, in a folder."""
    held = MemoryStorage(World(), "data/x.zarr")
    for key, stored in TOUCHED.items():
        held.write(key, stored.data)
    held.write("eeg/c/1/0", b"untouched")
    return held


def make(storage, kind="touched"):
    """Make a backup of generation 3."""
    return backup.back_up(storage, NAME, (3, "base"), kind, TOUCHED)


def archive(storage):
    """Return what a backup's archive holds."""
    stored = backup.backups_beside(storage).read(f"{NAME}/objects.zip")
    with zipfile.ZipFile(io.BytesIO(stored.data)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


class TestTouched:
    """Only what will be overwritten."""

    def test_the_archive_holds_every_object_byte_for_byte(self, storage):
        """What was read with its mark is what is kept."""
        make(storage)
        assert archive(storage) == {key: stored.data for key, stored in TOUCHED.items()}

    def test_the_manifest_says_what_there_is(self, storage):
        """Keys, digests, size and the state that was kept."""
        manifest = make(storage)
        assert manifest.objects == {
            key: hashlib.sha256(stored.data).hexdigest() for key, stored in TOUCHED.items()
        }
        assert (manifest.id, manifest.kind, manifest.store) == (NAME, "touched", storage.url)
        assert (manifest.generation, manifest.write_id) == (3, "base")
        assert manifest.size == backup.backups_beside(storage).stat(f"{NAME}/objects.zip").size

    def test_it_costs_two_writes(self, storage):
        """One archive and one manifest, however many objects are touched."""
        hooks = Numbered()
        make(MemoryStorage(storage.world, "data/x.zarr", hooks))
        assert hooks.kinds == [
            f"PUT data/x.zarr.backups/{NAME}/{name}" for name in ("objects.zip", "manifest.json")
        ]

    def test_the_store_is_left_alone(self, storage):
        """A backup writes nothing into the store."""
        before = {info.key: info.etag for info in storage.list()}
        make(storage)
        assert {info.key: info.etag for info in storage.list()} == before

    def test_the_same_backup_has_the_same_bytes(self, storage):
        """An archive holds no time, so that a request sent twice sends the same."""
        make(storage)
        one = backup.backups_beside(storage).read(f"{NAME}/objects.zip").data
        other = MemoryStorage(World(), "data/x.zarr")
        make(other)
        assert backup.backups_beside(other).read(f"{NAME}/objects.zip").data == one


class TestFull:
    """The whole store."""

    def test_every_object_is_copied(self, storage):
        """Touched or not, everything is there, byte for byte."""
        manifest = make(storage, "full")
        copies = backup.backups_beside(storage).within(f"{NAME}/objects")
        everything = {info.key: storage.read(info.key).data for info in storage.list()}
        assert {info.key: copies.read(info.key).data for info in copies.list()} == everything
        assert set(manifest.objects) == set(everything)
        assert manifest.size == sum(map(len, everything.values()))

    def test_by_the_server(self, storage):
        """Nothing passes through this process but the manifest."""
        hooks = Numbered()
        make(MemoryStorage(storage.world, "data/x.zarr", hooks), "full")
        assert sorted(kind.split()[0] for kind in hooks.kinds) == ["COPY"] * 4 + ["LIST", "LIST", "PUT"]


class Meddles(Alone):
    """Does something once, before or after a request for a key."""

    def __init__(self, request, act, *, after=False):
        self.request, self.act, self.late = request, act, after

    def before(self, kind, key):
        """See `Hooks.before`."""
        self._meddle(kind, key, late=False)

    def after(self, kind, key):
        """See `Hooks.after`."""
        self._meddle(kind, key, late=True)

    def _meddle(self, kind, key, *, late):
        if self.late == late and self.request == f"{kind} {key}":
            self.request = ""
            self.act()


class TestMeddled:
    """Somebody writes between the listing, the copying and the manifest."""

    COPIES = f"data/x.zarr.backups/{NAME}/objects"

    def test_the_manifest_tells_the_size_of_what_was_copied(self, storage):
        """A chunk that was replaced after it was listed is kept as it was when it was copied."""

        def replace():
            storage.write("eeg/c/1/0", b"longer than it was", replacing=storage.stat("eeg/c/1/0").etag)

        hooks = Meddles(f"COPY {self.COPIES}/eeg/c/1/0", replace)
        manifest = make(MemoryStorage(storage.world, "data/x.zarr", hooks), "full")
        beside = backup.backups_beside(storage)
        assert beside.read(f"{NAME}/objects/eeg/c/1/0").data == b"longer than it was"
        assert manifest.size == sum(info.size for info in beside.list(f"{NAME}/objects/"))
        assert list(backup_problems(storage, Snapshot(""), Counter())) == []

    def test_a_copy_that_vanished_makes_no_backup(self, storage):
        """The store was not touched: the commit is refused, and says which object."""
        beside = backup.backups_beside(storage)
        hooks = Meddles(
            f"COPY {self.COPIES}/a b/ä", lambda: beside.delete([f"{NAME}/objects/a b/ä"]), after=True
        )
        with pytest.raises(Unavailable, match="a b/ä: found no copy of it") as caught:
            make(MemoryStorage(storage.world, "data/x.zarr", hooks), "full")
        assert caught.value.problems[0].code == "backup-incomplete"
        assert backup.manifests(storage) == []


@pytest.mark.parametrize("kind", ["touched", "full"])
class TestManifestLast:
    """A backup counts when its manifest is there."""

    def test_the_manifest_is_the_last_write(self, storage, kind):
        """Everything it names lies there before it."""
        hooks = Numbered()
        make(MemoryStorage(storage.world, "data/x.zarr", hooks), kind)
        assert hooks.kinds[-1] == f"PUT data/x.zarr.backups/{NAME}/manifest.json"
        assert sum("manifest.json" in one for one in hooks.kinds) == 1

    def test_what_died_before_is_no_backup(self, storage, kind):
        """A backup that was cut short is not listed."""
        rehearsal = Numbered()
        make(MemoryStorage(storage.world.copy(), "data/x.zarr", rehearsal), kind)
        dying = MemoryStorage(
            storage.world, "data/x.zarr", DiesAt(storage.world, rehearsal.count, after=False)
        )
        with pytest.raises(Killed):
            make(dying, kind)
        assert list(backup.backups_beside(storage).list())
        assert backup.manifests(storage) == []


@pytest.mark.parametrize("kind", ["touched", "full"])
def test_copies_of_a_writer_that_was_taken_over_are_no_backup(storage, kind):
    """Whoever slept amid its copies may have copied what came since: no manifest tells of them."""

    def overtaken():
        raise Conflict(Problem("intent", "another's", "ours", "run it again", "overtaken"))

    copied = [storage.stat("eeg/c/1/0")]
    with pytest.raises(Conflict):
        backup.back_up(storage, NAME, (3, "base"), kind, TOUCHED, copied=copied, confirm=overtaken)
    assert [info.key for info in backup.backups_beside(storage).list() if "objects/eeg/c/1/0" in info.key]
    assert backup.manifests(storage) == []


def test_a_writer_whose_lease_ran_out_writes_no_manifest(storage):
    """What it has archived may have been deleted since, by a removal."""

    def late():
        raise Conflict(Problem("intent", "a lease that ran out", "ours", "run it again", "lease-lost"))

    with pytest.raises(Conflict):
        backup.back_up(storage, NAME, (3, "base"), "touched", TOUCHED, check=late)
    assert list(backup.backups_beside(storage).list())
    assert backup.manifests(storage) == []


class TestList:
    """Which backups there are."""

    def test_none(self, storage):
        """A store without backups has an empty list."""
        assert backup.manifests(storage) == []

    def test_oldest_first(self, storage):
        """Backups are in the order of the states they keep, beyond nine as well."""
        for generation in (10, 2, 100, 1):
            name = backup.backup_id(generation, "w")
            backup.back_up(storage, name, (generation, "w"), "touched", TOUCHED)
        assert [manifest.generation for manifest in backup.manifests(storage)] == [1, 2, 10, 100]

    def test_of_other_stores_nothing_is_listed(self, storage):
        """Each store has its own backups beside it."""
        make(storage)
        assert backup.manifests(MemoryStorage(storage.world, "data/y.zarr")) == []

    @pytest.mark.parametrize("data", [b"", b"{", b'{"id": "x", "of a later": "version"}'])
    def test_one_that_is_not_understood(self, storage, data):
        """It is listed with what its name tells, and is not whole."""
        backup.backups_beside(storage).write("00000004-w/manifest.json", data)
        make(storage)
        whole, torn = sorted(backup.manifests(storage), key=lambda one: one.id)
        assert (torn.id, torn.generation, torn.write_id, torn.unreadable) == ("00000004-w", 4, "w", True)
        assert (whole.is_whole, torn.is_whole) == (True, False)
        assert "unreadable" not in whole.model_dump_json()

    def test_they_lie_beside_the_store(self, storage):
        """A store's folder holds the store alone."""
        assert backup.backups_beside(storage).url == f"{storage.url}.backups"

    def test_on_a_disk(self, tmp_path):
        """A folder's backups are folders beside it."""
        disk = LocalStorage(str(tmp_path / "x.zarr"))
        disk.write("zarr.json", b"{}")
        backup.back_up(disk, NAME, (3, "base"), "full", {})
        assert (tmp_path / "x.zarr.backups" / NAME / "objects" / "zarr.json").read_bytes() == b"{}"
        assert [manifest.id for manifest in backup.manifests(disk)] == [NAME]

    def test_a_whole_bucket_has_nothing_beside_it(self):
        """A store needs a name to have backups beside it."""
        from aggrade.storage.s3 import S3Storage

        with pytest.raises(BadInput):
            backup.backups_beside(S3Storage("s3://bucket", {"key": "k", "secret": "s"}))
