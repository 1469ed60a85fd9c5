"""What earlier versions wrote, read by this one: their intents, stores and results."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
import xarray as xr
from make_datasets import assert_holds
from make_fixtures import FOLDER, STORE, append, session
from memory_storage import MemoryStorage, World, open_world
from prefect.results import ResultRecord

import aggrade
from aggrade.commit.intent import read_intent
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

ARCHIVES = sorted(FOLDER.glob("*.zip"))
HOW = {"back": [1, 2], "forward": [1, 2, 3]}

each_version = pytest.mark.parametrize("archive", ARCHIVES, ids=[path.stem for path in ARCHIVES])
each_death = pytest.mark.parametrize("how", HOW)


def test_the_first_version_is_there():
    """There is something to read."""
    assert [path.stem for path in ARCHIVES][:1] == ["0.1.0"]


def world_of(archive, how):
    """Return the world that a version left."""
    world = World()
    with zipfile.ZipFile(archive) as kept:
        etags = json.loads(kept.read(f"{how}/etags.json"))
        world.objects = {key: (kept.read(f"{how}/{key}"), etag) for key, etag in etags.items()}
    return world.copy()


def assert_lies_there(world, numbers):
    """Assert that anybody sees these sessions."""
    found = xr.open_zarr(ReadStore(MemoryStorage(world, "data/windows.zarr")), consolidated=True).load()
    assert_holds(found, [session(number) for number in numbers])


@each_version
@each_death
def test_a_writer_that_died_is_recovered(open_world, archive, how):
    """Its intent is understood: what was published stays, what was not goes, and the store is whole."""
    world = world_of(archive, how)
    assert read_intent(MemoryStorage(world, "data/windows.zarr"))[0].state == "held"
    assert_lies_there(world, HOW[how])
    receipt = aggrade.recover(STORE, storage_options=open_world(world))
    assert receipt.details["rolled"] == how
    assert_lies_there(world, HOW[how])
    report = aggrade.verify(STORE, storage_options=open_world(world))
    assert report.ok, report


@each_version
@each_death
def test_its_store_grows_on(open_world, archive, how):
    """What lies there is known again, what is new is added, and what was appended can be taken out."""
    world = world_of(archive, how)
    options = open_world(world)
    for number in (3, 1, 4):
        append(world, number)
    assert_lies_there(world, [1, 2, 3, 4])
    aggrade.remove(STORE, "s4", storage_options=options)
    aggrade.restore(
        STORE, aggrade.list_backups(STORE, storage_options=options)[0].id, storage_options=options
    )
    assert aggrade.verify(STORE, storage_options=options).ok


@each_version
@each_death
def test_its_backups_are_restored(open_world, archive, how):
    """Each backup gives the state that it was made of: that before the second append, and before the third."""
    world = world_of(archive, how)
    options = open_world(world)
    aggrade.recover(STORE, storage_options=options)
    names = [backup.id for backup in aggrade.list_backups(STORE, storage_options=options)]
    assert names
    for number in range(len(names), 0, -1):
        aggrade.restore(STORE, names[number - 1], storage_options=options)
        assert_lies_there(world, range(1, number + 1))


@each_version
def test_its_results_are_understood(archive):
    """What Prefect kept of its tasks is what this version would keep."""
    with zipfile.ZipFile(archive) as kept:
        staged, piece = (
            ResultRecord.deserialize(kept.read(f"results/{name}")).result for name in ("staged", "piece")
        )
    assert (staged.session, staged.root, staged.windows, staged.digest) == ("s1", "s3://b/d", 3, "0d")
    assert (staged.name, staged.start) == ("s1-0", "2026-01-02T03:04:05Z")
    assert [(one.key, one.size, one.etag, one.sha256) for one in piece.written] == [("x/c/0", 7, '"e"', "ab")]
    assert piece.details == {"epochs": {"1": {"rows": 6}}}


def test_a_torn_archive_would_be_noticed(tmp_path):
    """The archives are read, not passed over."""
    path = tmp_path / "9.zip"
    path.write_bytes(ARCHIVES[0].read_bytes()[:1000])
    with pytest.raises(zipfile.BadZipFile):
        world_of(path, "back")
    assert zipfile.is_zipfile(io.BytesIO(ARCHIVES[0].read_bytes()))
