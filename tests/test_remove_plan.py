"""Where a removal looks: stores that show nothing, stores that are gone, and what nobody can name any more."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress

import numpy as np
import pytest
import zarr
from make_datasets import CHUNKS, assert_holds, make_session
from make_traces import traces
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import manifests, read_intent, read_snapshot
from aggrade.errors import BadInput, Refused
from aggrade.repairing import repair

__all__ = ["open_world"]

ROOT = "world://data"
STORE = f"{ROOT}/windows.zarr"
COPY = f"{ROOT}/windows_for_training.zarr"
GONE = "sub-3 ζ/withdrawn"
FIRST, SECOND, WITHDRAWN = (
    make_session(label, windows, seed)
    for seed, (label, windows) in enumerate([("sub-1", 3), ("sub-2", 4), (GONE, 5)])
)
HOW = {"grow": ("window",), "chunks": CHUNKS}


@pytest.fixture
def world():
    """Return a world without a dataset."""
    return World(content_etags=True)


@pytest.fixture
def options(open_world, world):
    """Return the storage options that lead to it."""
    return open_world(world)


def append(session, options):
    """Append a session to the common store."""
    return aggrade.append(session, STORE, **HOW, storage_options=options)


def rechunk(options):
    """Make the rechunked copy."""
    return aggrade.rechunk(STORE, COPY, storage_options=options)


def dies(world, action, key):
    """Do something that dies before it first writes a key."""
    hooks = Numbered()
    action({"world": world.copy(), "hooks": hooks})
    place = hooks.kinds.index(f"PUT {key}") + 1
    with pytest.raises(Killed):
        action({"world": world, "hooks": DiesAt(world, place, after=False)})


def remove(options, label=GONE, store=ROOT, **how):
    """Remove a session with its backups."""
    return aggrade.remove(store, label, **{"purge_backups": True, **how}, storage_options=options)


def assert_shows(options, sessions):
    """Assert that just these sessions are shown, and that nothing is wrong."""
    assert_holds(aggrade.open_windows(ROOT, storage_options=options).load(), sessions)
    report = aggrade.verify(ROOT, storage_options=options)
    assert report.ok, str(report)


@pytest.mark.parametrize("before", [[], [FIRST]], ids=["the first", "another"])
class TestAnAppendThatDied:
    """A session of which no root has ever told."""

    @pytest.fixture(autouse=True)
    def died(self, world, options, before):
        """Have its append die before the root."""
        for session in before:
            append(session, options)
        dies(world, lambda how: append(WITHDRAWN, how), "data/windows.zarr/zarr.json")
        assert [key for key in traces(world.objects, WITHDRAWN) if "/eeg/" in key]

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_its_intent_names_it(self, world, options, before, dry_run):
        """Who removes it finds the intent and takes it back: what it left is wiped out."""
        if dry_run:
            data = dict(world.objects)
            plan = remove(options, dry_run=True)
            assert plan.found
            assert world.objects == data
        receipt = remove(options)
        assert receipt.details["rewritten"] >= 2
        assert traces(world.objects, WITHDRAWN) == []
        for session in (SECOND, WITHDRAWN):
            append(session, options)
        assert_shows(options, [*before, SECOND, WITHDRAWN])

    def test_once_it_was_recovered_nothing_names_it(self, world, options, before):
        """Then it can't be told from a label that never was, and the error names the way to be rid of it."""
        aggrade.recover(ROOT, storage_options=options)
        for label in (GONE, "never there"):
            with pytest.raises(BadInput, match="nothing of") as caught:
                remove(options, label)
            assert "verify --repair" in str(caught.value)
        assert traces(world.objects, WITHDRAWN)
        repair(ROOT, storage_options=options)
        assert traces(world.objects, WITHDRAWN) == []
        with pytest.raises(BadInput, match="nothing of"):
            remove(options)
        append(SECOND, options)
        assert_shows(options, [*before, SECOND])

    def test_another_label_stays_unknown(self, world, options, before):
        """The intent of another session is no reason to find one."""
        with pytest.raises(BadInput, match="nothing of"):
            remove(options, "never there")
        assert traces(world.objects, WITHDRAWN)
        assert len(before) in {0, 1}


@pytest.mark.parametrize("recovered", [True, False])
def test_a_first_rechunk_that_died(world, options, recovered):
    """What it wrote lies in a store that shows nothing yet."""
    for session in (FIRST, WITHDRAWN):
        append(session, options)
    dies(world, rechunk, "data/windows_for_training.zarr/zarr.json")
    if recovered:
        aggrade.recover(ROOT, storage_options=options)
    assert [key for key in traces(world.objects, WITHDRAWN) if "training" in key]
    remove(options)
    assert traces(world.objects, WITHDRAWN) == []
    assert_shows(options, [FIRST])
    rechunk(options)
    assert_holds(aggrade.open_windows(COPY, storage_options=options).load(), [FIRST])


class TestAStoreThatIsGone:
    """Somebody has deleted a common store; its backups lie there still."""

    @pytest.fixture(autouse=True)
    def deleted(self, world, options):
        """Append three sessions, the withdrawn one second, and delete the store."""
        for session, backup in ((FIRST, "touched"), (WITHDRAWN, "full"), (SECOND, "full")):
            aggrade.append(session, STORE, **HOW, backup=backup, storage_options=options)
        aggrade.append(make_session("elsewhere", 2, 9), COPY, **HOW, storage_options=options)
        for key in [key for key in world.objects if key.startswith("data/windows.zarr/")]:
            del world.objects[key]
        assert traces(world.objects, WITHDRAWN)

    def test_backups_that_hold_it_are_emptied(self, world, options):
        """Those from before it came are spared: others may need them."""
        before, holding = (one.id for one in manifests(MemoryStorage(world, "data/windows.zarr")))
        plan = remove(options, dry_run=True)
        assert "only backups are left" in str(plan)
        assert remove(options).details["purged"] == [holding]
        assert traces(world.objects, WITHDRAWN) == []
        assert traces(world.objects, SECOND) == []
        assert {one.id: one.purged for one in manifests(MemoryStorage(world, "data/windows.zarr"))} == {
            before: False,
            holding: True,
        }
        aggrade.restore(STORE, before, storage_options=options)
        assert_holds(aggrade.open_windows(STORE, storage_options=options).load(), [FIRST])
        with pytest.raises(BadInput, match="nothing of"):
            remove(options)

    def test_no_store_is_made(self, world, options):
        """Neither root nor intent comes to lie where none was."""
        remove(options)
        assert [key for key in world.objects if key.startswith("data/windows.zarr/")] == []

    def test_without_purging(self, options):
        """Backups are not looked at."""
        with pytest.raises(BadInput, match="with purge_backups"):
            remove(options, purge_backups=False)

    @pytest.mark.parametrize("label", ["never there", "elsewhere"])
    def test_others_stay(self, world, options, label):
        """A session that is in none of them changes none of them."""
        backups = {key: data for key, data in world.objects.items() if "/windows.zarr.backups/" in key}
        with suppress(BadInput):
            remove(options, label)
        assert {key: world.objects[key] for key in backups} == backups

    def test_it_dies(self, world, options):
        """Wherever it dies, it is recovered, and nothing is left once it was run again; no store is made."""
        hooks, directions = Numbered(), set()
        remove({"world": world.copy(), "hooks": hooks})
        for place in [place for place, kind in enumerate(hooks.kinds, 1) if kind.startswith(("PUT", "DEL"))]:
            for after in (False, True):
                now = world.copy()
                with pytest.raises(Killed):
                    remove({"world": now, "hooks": DiesAt(now, place, after=after)})
                if done := aggrade.recover(ROOT, storage_options={"world": now, "hooks": None}):
                    directions.add(done.details["rolled"])
                with suppress(BadInput):
                    remove({**options, "world": now})
                assert traces(now.objects, WITHDRAWN) == []
                assert [key for key in now.objects if key.startswith("data/windows.zarr/")] == []
        assert directions == {"forward"}

    def test_a_store_that_comes_meanwhile(self, world, options, open_world):
        """Somebody makes the store anew while it is taken for gone: it is planned again."""

        class Comes(Numbered):
            """Appends before the intent is first written."""

            came = False

            def before(self, kind, key):
                """See `Hooks.before`."""
                if kind == "PUT" and key == "data/windows.zarr/.aggrade/intent.json" and not self.came:
                    self.came = True
                    append(FIRST, options)

        hooks = Comes()
        remove(open_world(world, hooks))
        assert hooks.came
        assert traces(world.objects, WITHDRAWN) == []
        assert_holds(aggrade.open_windows(STORE, storage_options=options).load(), [FIRST])

    def test_what_is_no_store(self, world, options):
        """Objects without a root or an intent are somebody's, of whom nothing is known."""
        world.objects["data/windows.zarr/eeg/c/0/0/0/0"] = (b"somebody's", "mark")
        with suppress(BadInput):
            remove(options)
        assert world.objects["data/windows.zarr/eeg/c/0/0/0/0"][0] == b"somebody's"


def test_lines_of_a_store_that_is_gone(tmp_path):
    """A store was deleted with its backups: what the catalogue tells of the session goes, another's line stays."""
    root = tmp_path / "data"
    for session, store in ((FIRST, "sessions/one_windowed.zarr"), (WITHDRAWN, "windows.zarr")):
        aggrade.append(session, root / store, grow=("window",))
        aggrade.rebuild_catalogue(root)
    shutil.rmtree(root / "windows.zarr")
    shutil.rmtree(root / "windows.zarr.backups", ignore_errors=True)

    def lines():
        return {path: path.read_bytes() for path in (root / "catalogue").rglob("*.parquet")}

    before = lines()
    assert [path for path, data in before.items() if GONE.encode() in data]
    with pytest.raises(BadInput, match="nothing of"):
        aggrade.remove(root, "never there")
    assert lines() == before
    assert "of a store that is gone" in str(aggrade.remove(root, GONE, dry_run=True))
    assert lines() == before
    aggrade.remove(root, GONE)
    kept = lines()
    assert len(kept) == len(before) - 1
    assert all(GONE.encode() not in data and before[path] == data for path, data in kept.items())


def add_array(store, name="foo", form=3):
    """Add an array as zarr-python does, which leaves consolidated metadata alone."""
    group = zarr.open_group(store, mode="r+", use_consolidated=False, zarr_format=form)
    names = {"dimension_names": ["x"]} if form == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["x"]}}
    group.create_array(name, shape=(10,), chunks=(5,), dtype="f8", **names)[:] = np.arange(10)


def files_in(store):
    """Return every file of a store with its bytes."""
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
class TestAnArrayThatTheRootDoesNotShow:
    """Another tool has made it without consolidating: nobody can tell its chunks from left-overs."""

    @pytest.fixture(params=[3, 2])
    def store(self, request, tmp_path):
        """Return a store of two sessions, ours or adopted, with such an array."""
        store, form = tmp_path / "windows.zarr", request.param
        if form == 2:
            FIRST.drop_encoding().to_zarr(store, zarr_format=2, consolidated=True)
        for session in [FIRST, WITHDRAWN][form == 2 :]:
            aggrade.append(session, store, grow=("window",))
        add_array(store, form=form)
        return store

    @pytest.mark.parametrize("how", [{}, {"purge_backups": True}, {"dry_run": True}])
    def test_the_removal_is_refused(self, store, how):
        """Before anything is written."""
        before = files_in(store)
        with pytest.raises(Refused, match="an array, or a group, that the root does not show") as caught:
            aggrade.remove(store, GONE, **how)
        assert caught.value.code == "not-consolidated"
        assert caught.value.problems[0].where.endswith("/foo")
        assert files_in(store) == before

    def test_what_was_advised_helps(self, store):
        """Once it is consolidated, or deleted, the session goes and the array stays as it is."""
        form = 3 if (store / "zarr.json").exists() else 2
        zarr.consolidate_metadata(store, zarr_format=form)
        aggrade.remove(store, GONE, purge_backups=True)
        found = zarr.open_group(store, mode="r")["foo"][:]
        np.testing.assert_array_equal(found, np.arange(10))
        assert traces({str(k): (v, "") for k, v in files_in(store).items()}, WITHDRAWN) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_root_without_arrays_of_another_tool(tmp_path, seed):
    """A group that is empty by its root, beside a dataset's stores, is left as it is."""
    choose = random.Random(seed)
    aggrade.append(WITHDRAWN, tmp_path / "windows.zarr", grow=("window",))
    group = zarr.create_group(tmp_path / "own.zarr")
    for name in ("foo", "deep/er/array")[: 1 + seed]:
        group.create_array(name, shape=(4,), chunks=(2,), dtype="f8")[:] = choose.random()
    zarr.consolidate_metadata(zarr.create_group(tmp_path / "empty.zarr").store)
    before = files_in(tmp_path / "own.zarr") | files_in(tmp_path / "empty.zarr")
    with suppress(Refused):
        aggrade.remove(tmp_path, GONE, purge_backups=True)
    assert files_in(tmp_path / "own.zarr") | files_in(tmp_path / "empty.zarr") == before


def test_the_intent_is_given_back(world, options):
    """A store of which left-overs were wiped out is free, and shows what it showed."""
    append(FIRST, options)
    dies(world, lambda how: append(WITHDRAWN, how), "data/windows.zarr/zarr.json")
    remove(options)
    storage = MemoryStorage(world, "data/windows.zarr")
    intent, shown = read_intent(storage), read_snapshot(storage)
    assert intent is not None
    assert shown is not None
    assert intent[0].state == "free"
    assert GONE not in intent[0].model_dump_json()
