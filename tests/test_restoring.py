"""`restore` brings back what a store showed, whatever has happened since."""

from __future__ import annotations

import random
import warnings
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import find_layer, manifests, read_intent, read_snapshot
from aggrade.errors import BadInput, Damaged, Refused
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

ROOT = "world://data"
STORE = f"{ROOT}/windows.zarr"


class Store:
    """A store in a world, with what it should show after each step."""

    def __init__(self, open_world, **how):
        self.world = World(**how)
        self.options = open_world(self.world)
        self.storage = MemoryStorage(self.world, "data/windows.zarr")
        self.rows: list[xr.Dataset] = []
        self.kept: dict[str, list[xr.Dataset]] = {}

    def append(self, label, windows=3, seed=0, **how):
        """Append a session."""
        session, before = make_session(label, windows, seed), self.rows
        there = self.seen().sizes["session"] if before else 0
        receipt = aggrade.append(
            session, STORE, grow=("window",), chunks=CHUNKS, storage_options=self.options, **how
        )
        if self.seen().sizes["session"] > there:
            self.rows = [*before, session]
        self.keep(receipt, before)
        return receipt

    def restore(self, backup):
        """Restore a backup."""
        before = self.rows
        receipt = aggrade.restore(STORE, backup, storage_options=self.options)
        self.rows = self.kept[backup]
        self.keep(receipt, before)
        return receipt

    def keep(self, receipt, before):
        """Remember the state that a backup was made of."""
        if receipt.backup:
            self.kept.setdefault(receipt.backup, before)

    def seen(self):
        """Return what a bare reader sees."""
        return xr.open_zarr(ReadStore(self.storage), consolidated=True).load()

    def plan(self, backup):
        """Return the plan of a restore."""
        return aggrade.restore(STORE, backup, dry_run=True, storage_options=self.options)

    def check(self):
        """Assert that readers see what they should, and that verify agrees."""
        assert_holds(self.seen(), self.rows)
        report = aggrade.verify(STORE, storage_options=self.options)
        assert report.ok, report


@pytest.fixture
def store(open_world):
    """Return a store of three sessions."""
    store = Store(open_world)
    for number, windows in enumerate([3, 7, 2]):
        store.append(f"s{number}", windows, number)
    return store


def backup_of(store, generation):
    """Return the first backup of a state."""
    return next(one.id for one in manifests(store.storage) if one.generation == generation)


class TestStates:
    """What is shown afterwards."""

    @pytest.mark.parametrize("generation", [1, 2])
    def test_an_earlier_state(self, store, generation):
        """The sessions up to then, with the lengths of then."""
        store.restore(backup_of(store, generation))
        assert store.seen().sizes["window"] == {1: 3, 2: 7}[generation]
        assert len(store.rows) == generation
        store.check()

    def test_a_restore_is_undone_by_its_own_backup(self, store):
        """The receipt's backup brings back what was given up, and its own undoes that again."""
        before = store.seen()
        undone = store.restore(backup_of(store, 1))
        again = store.restore(undone.backup)
        xr.testing.assert_identical(store.seen().drop_attrs(deep=False), before.drop_attrs(deep=False))
        store.check()
        store.restore(again.backup)
        assert len(store.rows) == 1
        store.check()

    def test_after_others_came_in_its_place(self, store):
        """Rows that were overwritten since come back whole, and the newer ones can come back again."""
        given_up = store.restore(backup_of(store, 1)).backup
        store.append("other", 9, 5)
        newer = store.restore(given_up).backup
        store.check()
        store.restore(newer)
        assert [str(row["session"].values[0]) for row in store.rows] == ["s0", "other"]
        store.check()

    def test_after_a_replace(self, store):
        """The replaced row counts again, and can be replaced again."""
        receipt = store.append("s1", 4, 77, on_conflict="replace")
        store.restore(receipt.backup)
        store.check()
        shown = aggrade.open_windows(STORE, storage_options=store.options)
        assert list(shown["session"].values) == ["s0", "s1", "s2"]
        assert store.append("s1", 7, 1).generation == 2
        store.append("s1", 4, 77, on_conflict="replace")
        store.check()

    def test_a_session_comes_again(self, store):
        """What a restore has undone is not taken for being there; what is there still is."""
        store.restore(backup_of(store, 2))
        assert find_layer(store.storage, "s2", read_snapshot(store.storage)) is None
        assert store.append("s0", 3, 0).generation == 1
        again = store.append("s2", 2, 2)
        assert again.layers == {"s2": 2}
        assert again.generation == 5
        store.check()

    def test_a_full_backup(self, store):
        """It brings back everything, also what was lost from the store since."""
        kept = store.append("s3", 3, 3, backup="full").backup
        store.world.objects.pop("data/windows.zarr/eeg/c/1/0/0/0")
        store.restore(kept)
        store.check()

    def test_a_shared_object_that_was_damaged(self, store):
        """What a touched backup holds replaces what lies there and is not what it was."""
        kept = store.append("s3", 3, 3).backup
        key = "data/windows.zarr/n_windows/c/0"
        store.world.objects[key] = (b"torn", store.world.mark(b"torn"))
        assert store.plan(kept).arrays["n_windows"] == "moves"
        store.restore(kept)
        store.check()

    def test_what_a_moved_array_leaves_is_told(self, store):
        """Objects under the keys from which an array moved away are called that, and are no fault."""
        kept = store.append("s3", 3, 3).backup
        store.world.objects["data/windows.zarr/n_windows/c/0"] = (b"torn", store.world.mark(b"torn"))
        store.restore(kept)
        report = aggrade.verify(STORE, storage_options=store.options)
        assert report.ok
        told = [note for note in report.notes if "of an earlier layout" in note]
        assert len(told) == 1
        assert "1 objects of" in told[0]
        assert "such as n_windows/c/0; delete them when nobody reads" in told[0]

    def test_a_store_that_is_gone(self, store):
        """From a full backup a store is made anew, and its generations go on, beyond that of the commit that is gone."""
        kept = store.append("s3", 3, 3, backup="full").backup
        for key in [key for key in store.world.objects if key.startswith("data/windows.zarr/")]:
            del store.world.objects[key]
        assert store.restore(kept).generation == 5
        assert_holds(store.seen(), store.rows)
        store.append("s4", 2, 4)
        assert_holds(store.seen(), store.rows)

    def test_populated_epochs(self, tmp_path):
        """Light curves come back as well, array by array."""
        spec = {
            "object_id": "id",
            "time": "mjd",
            "time_scale": "utc",
            "epoch": {"filename": r"night_(\d)"},
            "measurements": {"g": {"value": "mag", "error": "err"}},
            "unit": "mag",
        }
        states, backups = [], []
        for night in (1, 2, 3, 4):
            folder = tmp_path / f"in{night}"
            folder.mkdir()
            rows = "".join(f"{number},{6000 + night},{14.5 + night},0.125\n" for number in (7, 8))
            (folder / f"night_{night}.csv").write_text(f"id,mjd,mag,err\n{rows}")
            backups.append(aggrade.populate(str(folder), str(tmp_path / "out"), spec).backup)
            states.append(xr.open_zarr(tmp_path / "out" / "lightcurves.zarr").load())
        for night in (3, 1, 2):
            aggrade.restore(str(tmp_path / "out"), backups[night])
            found = xr.open_zarr(tmp_path / "out" / "lightcurves.zarr").load()
            xr.testing.assert_identical(
                found.drop_attrs(deep=False), states[night - 1].drop_attrs(deep=False)
            )
        assert aggrade.verify(str(tmp_path / "out")).ok
        curves = aggrade.LightCurves(str(tmp_path / "out"))
        assert list(curves.dataset["epoch"].values) == ["1", "2"]
        aggrade.populate(str(tmp_path / "in4"), str(tmp_path / "out"), spec)
        found = xr.open_zarr(tmp_path / "out" / "lightcurves.zarr").load()
        np.testing.assert_array_equal(found["lightcurves"][0, 0, 0], np.float32([15.5, 16.5, 18.5]))


@pytest.mark.parametrize(
    "seed", [105, 111, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(40))]
)
def test_any_of_the_last_ten(open_world, seed):
    """After any appends, replaces and restores, each of the last ten backups brings back its state."""
    choose = random.Random(seed)
    store = Store(open_world, content_etags=bool(seed % 2))
    for step in range(12):
        do = choose.choice(["append"] * 3 + ["replace"] + ["restore"] * 2) if step > 2 else "append"
        asked = f"s{choose.randrange(8)}", choose.randrange(1, 10), choose.randrange(1000)
        if do == "restore":
            store.restore(choose.choice(list(store.kept)))
        else:
            store.append(*asked, on_conflict="replace")
        store.check()
    for backup in list(store.kept)[-10:]:
        store.restore(backup)
        assert_holds(store.seen(), store.rows)
    store.check()


class TestCost:
    """What it takes."""

    def test_going_back_moves_nothing(self, store):
        """An earlier state lies there still: nothing but metadata is written, whatever the store holds."""
        plan = store.plan(backup_of(store, 1))
        assert set(plan.arrays.values()) == {"stays"}
        hooks = Numbered()
        aggrade.restore(STORE, backup_of(store, 1), storage_options={"world": store.world, "hooks": hooks})
        puts = [kind for kind in hooks.kinds if kind.startswith("PUT")]
        assert not [kind for kind in puts if "/c/" in kind]

    def test_undoing_writes_what_comes_back(self, store):
        """Only objects of rows that come back are written, none of those that stayed."""
        undone = store.restore(backup_of(store, 2)).backup
        assert set(store.plan(undone).arrays.values()) == {"stays", "grows"}
        hooks = Numbered()
        aggrade.restore(STORE, undone, storage_options={"world": store.world, "hooks": hooks})
        written = [kind for kind in hooks.kinds if kind.startswith("PUT data/windows.zarr/eeg/c")]
        assert written == ["PUT data/windows.zarr/eeg/c/2/0/0/0"]

    @pytest.mark.parametrize("case", ["stays", "grows", "moves", "undoes a removal", "undoes two"])
    def test_the_price_is_what_is_sent(self, store, case):
        """The plan says how many requests of each kind the restore sends, and it sends just as many."""
        backup = backup_of(store, 1)
        if case not in {"stays", "undoes a removal", "undoes two"}:
            backup = store.restore(backup).backup
        if case == "moves":
            store.append("other", 9, 5)
        if case.startswith("undoes"):
            backup = aggrade.remove(STORE, "s1", storage_options=store.options).backup
        if case == "undoes two":
            aggrade.remove(STORE, "s2", storage_options=store.options)
        plan, hooks = store.plan(backup), Numbered()
        assert case in plan.arrays.values() or case.startswith("undoes")
        aggrade.restore(STORE, backup, storage_options={"world": store.world, "hooks": hooks})
        assert plan.price.requests == Counter(kind.split()[0] for kind in hooks.kinds)

    @pytest.mark.parametrize("case", ["going back", "coming again", "what was replaced"])
    def test_the_price_tells_of_the_catalogue(self, open_world, case):
        """In a dataset the requests by which the catalogue follows are in the price, whether sessions go or come."""
        world, kept = World(), []
        options = open_world(world)
        for label, seed in (("s0", 0), ("s1", 1), ("s2", 2), ("s1", 9)):
            session = make_session(label, 3, seed)
            how = {"on_conflict": "replace", "chunks": CHUNKS, "storage_options": options}
            kept.append(aggrade.append(session, ROOT, grow=("window",), **how).backup)
        backup = kept[1]
        if case == "coming again":
            backup = aggrade.restore(ROOT, backup, storage_options=options).backup
        elif case == "what was replaced":
            backup = kept[3]
        hooks = Numbered()
        plan = aggrade.restore(ROOT, backup, dry_run=True, storage_options=options)
        aggrade.restore(ROOT, backup, storage_options={"world": world, "hooks": hooks})
        assert [kind for kind in hooks.kinds if kind.startswith("PUT") and "/catalogue/" in kind]
        assert plan.price.requests == Counter(kind.split()[0] for kind in hooks.kinds)
        assert aggrade.verify(ROOT, storage_options=options).ok

    def test_a_dry_run_writes_nothing(self, store):
        """The plan says what becomes of each array, and at what price."""
        before, hooks = dict(store.world.objects), Numbered()
        options = {"world": store.world, "hooks": hooks}
        plan = aggrade.restore(STORE, backup_of(store, 1), dry_run=True, storage_options=options)
        assert store.world.objects == before
        assert {kind.split()[0] for kind in hooks.kinds} <= {"GET", "HEAD", "LIST"}
        assert "to its state of generation 1" in str(plan)
        assert "eeg" in str(plan)
        assert "requests" in str(plan)


class TestRefused:
    """Reasons not to."""

    @pytest.mark.parametrize("where", [STORE, "world://data"])
    def test_an_unknown_backup(self, store, where):
        """Those that there are, are named."""
        with pytest.raises(BadInput, match="no backup 'nonsense'") as caught:
            aggrade.restore(where, "nonsense", storage_options=store.options)
        assert backup_of(store, 1) in str(caught.value)

    def test_a_store_without_backups(self, tmp_path):
        """Who mistyped the path reads where to look; nothing is made there."""
        with pytest.raises(BadInput, match="a store with backups: it has none; check the path"):
            aggrade.restore(tmp_path / "nothing.zarr", "nonsense")
        assert list(tmp_path.iterdir()) == []

    def test_a_backup_that_has_lost_its_archive(self, store):
        """Nothing is guessed, and the present state stays."""
        backup = backup_of(store, 1)
        key = f"data/windows.zarr.backups/{backup}/objects.zip"
        kept = store.world.objects.pop(key)
        with pytest.raises(Damaged, match="restore another backup"):
            store.restore(backup)
        store.world.objects[key] = kept
        store.check()

    def test_a_torn_archive(self, store):
        """The same."""
        backup = backup_of(store, 1)
        key = f"data/windows.zarr.backups/{backup}/objects.zip"
        kept = store.world.objects[key]
        store.world.objects[key] = (kept[0][:50], "torn")
        with pytest.raises(Damaged, match="restore another backup"):
            store.restore(backup)
        store.world.objects[key] = kept
        store.check()


def test_a_dataset_root_finds_the_store(store):
    """The backup's id says which store is meant."""
    receipt = aggrade.restore("world://data", backup_of(store, 1), storage_options=store.options)
    assert receipt.store == STORE
    assert store.seen().sizes["session"] == 1


def test_a_manifest_will_do(store):
    """What `list_backups` returns can be handed over."""
    manifest = aggrade.list_backups(STORE, storage_options=store.options)[0]
    assert aggrade.restore(STORE, manifest, storage_options=store.options).generation == 4


class TestUndoneRemovals:
    """Layer records are those of the rows that show, whatever was undone and done again."""

    def test_undone_and_undone_again(self, open_world):
        """A removal whose undoing was undone holds: the same session comes in again, with any content."""
        for seed in (1, 7):
            store = Store(open_world)
            store.append("base")
            store.append("s1", 2, 1)
            removal = aggrade.remove(STORE, "s1", storage_options=store.options)
            back = aggrade.restore(STORE, removal.backup, storage_options=store.options)
            assert label_of(store, "s1").index == 1
            again = aggrade.restore(STORE, back.backup, storage_options=store.options)
            assert label_of(store, "s1") is None
            assert aggrade.verify(STORE, storage_options=store.options).ok
            session = make_session("s1", 2, seed)
            receipt = aggrade.append(session, STORE, grow=("window",), storage_options=store.options)
            assert receipt.generation > again.generation
            shown = aggrade.open_windows(STORE, storage_options=store.options)
            assert shown["session"].values.tolist() == ["base", "s1"]
            assert aggrade.verify(STORE, storage_options=store.options).ok

    def test_any_of_several_states(self, open_world):
        """Removed, come again and removed once more: in each state that is restored the label is there or not."""
        store = Store(open_world)
        store.append("base")
        there = {}
        for seed in (1, 2):
            there[store.append("s1", 2, seed).backup] = False
            there[aggrade.remove(STORE, "s1", storage_options=store.options).backup] = True
        for backup in random.Random(4).choices(sorted(there), k=12):
            aggrade.restore(STORE, backup, storage_options=store.options)
            assert (label_of(store, "s1") is not None) is there[backup]
            report = aggrade.verify(STORE, storage_options=store.options)
            assert report.ok, report


def label_of(store, label):
    """Return the record of a label that counts."""
    return find_layer(store.storage, label, read_snapshot(store.storage))


def test_the_receipt_tells_how_to_undo_it(store):
    """It names the command, as the receipts of appends do."""
    receipt = store.restore(backup_of(store, 1))
    assert receipt.undo == f"aggrade restore {STORE} {receipt.backup}"
    assert receipt.details["generation"] == 1
    assert read_intent(store.storage)[0].state == "free"


def test_pruned_backups_leave_the_newer_ones_whole(store):
    """Pruning takes the oldest; whichever is left can still be restored."""
    undone = store.restore(backup_of(store, 1))
    store.append("other", 9, 5)
    aggrade.prune_backups(STORE, 2, storage_options=store.options)
    assert len(manifests(store.storage)) == 2
    store.restore(undone.backup)
    store.check()


def test_copies_have_no_backups(store):
    """A rechunked store is made again from its source, so nothing is kept of it."""
    for _ in range(2):
        aggrade.rechunk(STORE, "world://data/copy.zarr", storage_options=store.options)
        store.append("s9", 2, 9)
    assert manifests(MemoryStorage(store.world, "data/copy.zarr")) == []


def test_refusing_a_copy_with_a_backup(store):
    """A backup of a copy, wherever it came from, is not restored."""
    root = store.storage.read("zarr.json")
    marked = root.data.replace(b'"dim": "session"', b'"dim": "session", "rechunk": {"version": 0}', 1)
    store.storage.write("zarr.json", marked, replacing=root.etag)
    backup = store.append("s9", 2, 9).backup
    with pytest.raises(Refused, match="rechunk again"):
        store.restore(backup)


@pytest.fixture
def adopted(tmp_path):
    """Return a store of format 2 that grew from one session to three, and the backups on the way."""
    url = str(tmp_path / "windows.zarr")

    def grow(label):
        return aggrade.append(session_of(label), url)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session_of(1).to_zarr(url, zarr_format=2, consolidated=True)
    return url, [grow(label).backup for label in (2, 3)], grow


def session_of(label):
    """Return a session with a number for an id."""
    values = np.arange(12, dtype="f4").reshape(1, 3, 4) + label
    return xr.Dataset({"eeg": (("session", "window", "sample"), values)}, coords={"session": [label]})


class TestFormat2:
    """Stores that another tool made."""

    def test_there_and_back(self, adopted):
        """Their earlier states come back, the one before the first append included, and can be undone."""
        url, (first, second), _ = adopted
        undo = aggrade.restore(url, first).backup
        xr.testing.assert_equal(xr.open_zarr(url).load(), session_of(1))
        aggrade.restore(url, undo)
        aggrade.restore(url, second)
        expected = xr.concat([session_of(1), session_of(2)], "session")
        xr.testing.assert_equal(xr.open_zarr(url).load(), expected)
        assert aggrade.verify(url).ok

    def test_a_removal_is_final(self, adopted):
        """Its plan says so, and its receipt names no command that would be refused."""
        url, _, _ = adopted
        assert "can't be undone in Zarr format 2" in str(aggrade.remove(url, "2", dry_run=True))
        assert aggrade.remove(url, "2").undo is None

    def test_what_they_can_t_do(self, adopted):
        """They have one key space: what would have to be overwritten is refused, and nothing changes."""
        url, (first, _), grow = adopted
        undo = aggrade.restore(url, first).backup
        grow(9)
        before = xr.open_zarr(url).load()
        with pytest.raises(Refused, match="format 2"):
            aggrade.restore(url, undo)
        xr.testing.assert_identical(xr.open_zarr(url).load(), before)
