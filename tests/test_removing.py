"""`remove` takes one session out of a dataset, wherever it lies, and leaves the others as they were."""

from __future__ import annotations

import random
import shutil
import warnings
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
import xarray as xr
import zarr
from make_datasets import CHUNKS, assert_holds, make_session
from make_traces import traces
from memory_storage import Alone, DiesAt, Killed, MemoryStorage, Numbered, World, open_world
from zarr.errors import ZarrUserWarning

import aggrade
from aggrade.commit import find_layer, manifests, read_intent, read_snapshot
from aggrade.commit.backup import unfinished_backups
from aggrade.errors import BadInput, Damaged, Refused
from aggrade.landing import land
from aggrade.layout import session_store
from aggrade.repairing import repair
from aggrade.staging import drop_staged, stage
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

ROOT = "world://data"
STORE = f"{ROOT}/windows.zarr"
GONE = "sub-3 ζ/withdrawn"
LABELS = ["sub-1", "sub-2", GONE, "sub-31", "sub-4"]


class Data:
    """A dataset in a world."""

    def __init__(self, open_world, labels=LABELS, **how):
        self.world = World(**how)
        self.options = open_world(self.world)
        self.sessions = {label: make_session(label, 2 + i % 3, i) for i, label in enumerate(labels)}
        self.storage = MemoryStorage(self.world, "data/windows.zarr")

    def append(self, label, store=ROOT, **how):
        """Append a session."""
        session, how = self.sessions[label], {"chunks": CHUNKS, **how}
        return aggrade.append(session, store, grow=("window",), storage_options=self.options, **how)

    def remove(self, label=GONE, store=ROOT, **how):
        """Remove a session."""
        return aggrade.remove(store, label, storage_options=self.options, **how)

    def seen(self):
        """Return what readers see."""
        return aggrade.open_windows(ROOT, storage_options=self.options).load()

    def assert_others(self, but=GONE):
        """Assert that all others are there as they were, and that verify agrees."""
        assert_holds(self.seen(), [session for label, session in self.sessions.items() if label != but])
        report = aggrade.verify(ROOT, storage_options=self.options)
        assert report.ok, report


@pytest.fixture
def data(open_world):
    """Return a dataset of five sessions in one store."""
    data = Data(open_world)
    for label in LABELS:
        data.append(label)
    return data


def test_the_search_finds_what_is_there(data):
    """What the tests below search for is found before anything is removed."""
    found = traces(data.world.objects, data.sessions[GONE])
    assert [key for key in found if "/eeg/c/2/" in key]
    assert [key for key in found if "/session/c" in key]
    assert [key for key in found if "/layers/" in key]
    assert [key for key in found if "/receipts/" in key]
    assert [key for key in found if ".backups/" in key]


class TestGone:
    """Nothing of it is left."""

    @pytest.mark.parametrize("shards", [None, {"eeg": (1, 4, 2, 5)}, {"eeg": (2, 4, 2, 5)}])
    def test_from_the_store(self, open_world, shards):
        """Neither its id nor its samples are found anywhere but in backups; the others are as they were."""
        data = Data(open_world)
        for label in LABELS:
            data.append(label, shards=shards if label == LABELS[0] else None)
        data.remove()
        assert traces(data.world.objects, data.sessions[GONE], but=".backups/") == []
        data.assert_others()

    def test_from_backups_too(self, data):
        """With purge_backups nothing is found at all; the manifests and the receipt say which were emptied."""
        before = [one.id for one in aggrade.list_backups(ROOT, storage_options=data.options)]
        receipt = data.remove(purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []
        data.assert_others()
        purged = [one.id for one in aggrade.list_backups(ROOT, storage_options=data.options) if one.purged]
        assert receipt.details["purged"] == purged == before[2:]
        assert receipt.undo is None
        with pytest.raises(aggrade.Refused, match="purged"):
            aggrade.restore(ROOT, purged[0], storage_options=data.options)
        aggrade.restore(ROOT, before[0], storage_options=data.options)
        assert list(data.seen()["session"].values) == LABELS[:1]

    def test_from_full_backups(self, data):
        """Those of states that showed it are emptied; those from before it are free of it."""
        data.sessions |= {label: make_session(label, 2, 9) for label in ("sub-5", "sub-6")}
        data.append("sub-5", backup="full")
        data.remove("sub-5", purge_backups=True)
        assert traces(data.world.objects, data.sessions.pop("sub-5")) == []
        data.append("sub-6", backup="full")
        data.remove(purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []
        data.assert_others()

    def test_the_receipt_names_nobody(self, data):
        """Neither the receipt that is returned nor any that is kept holds the id."""
        receipt = data.remove(purge_backups=True)
        assert GONE not in receipt.model_dump_json()
        assert receipt.layers == {}
        assert receipt.details["rows"] == 1

    def test_other_sessions_keep_their_receipts(self, open_world):
        """Of a receipt that tells of several sessions only what tells of the one goes."""
        data = Data(open_world)
        both = xr.concat([make_session(label, 2, 1) for label in ("a", GONE)], "session")
        aggrade.append(both, ROOT, grow=("window",), storage_options=data.options)
        data.remove()
        again = aggrade.append(make_session("a", 2, 1), ROOT, grow=("window",), storage_options=data.options)
        assert again.layers == {"a": 0}
        assert list(again.digests) == ["a"]

    def test_replaced_rows_go_as_well(self, data):
        """What it was before a replace is removed with it."""
        older = data.sessions[GONE]
        data.sessions[GONE] = make_session(GONE, 4, 99)
        data.append(GONE, on_conflict="replace")
        data.remove(purge_backups=True)
        assert traces(data.world.objects, older) == traces(data.world.objects, data.sessions[GONE]) == []
        data.assert_others()

    def test_from_rechunked_copies(self, data):
        """The copy is served without it, the version before is emptied, and the next rechunk is whole again."""
        copy = f"{ROOT}/windows_for_training.zarr"
        for _ in range(2):
            aggrade.rechunk(STORE, copy, storage_options=data.options)
            data.sessions["last"] = make_session("last", 3, 50)
            data.append("last")
        data.remove(purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []
        shown = aggrade.open_windows(copy, storage_options=data.options).load()
        assert GONE not in shown["session"].values
        assert aggrade.verify(ROOT, storage_options=data.options).ok
        aggrade.rechunk(STORE, copy, storage_options=data.options)
        shown = aggrade.open_windows(copy, storage_options=data.options).load()
        assert_holds(shown, [session for label, session in data.sessions.items() if label != GONE])

    def test_from_staging(self, data):
        """Its staging store is deleted, another one's is left."""
        for label in (GONE, "sub-1"):
            stage(data.sessions[label], ROOT, f"staged {label[:5]}", storage_options=data.options)
        receipt = data.remove(purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []
        assert receipt.details["staging"] == 1
        assert [key for key in data.world.objects if "staged sub-1.zarr" in key]

    def test_only_in_staging(self, data):
        """A session that never landed is removed from there."""
        session = make_session("staged only", 3, 60)
        stage(session, ROOT, "name", storage_options=data.options)
        data.remove("staged only")
        assert traces(data.world.objects, session) == []
        data.assert_others(but="staged only")

    def test_what_a_dead_writer_left(self, data):
        """Left-overs of an append that died are wiped out as well, whomever they are of."""
        session = make_session("died", 5, 70)
        rehearsal, hooks = data.world.copy(), Numbered()
        options = {"world": rehearsal, "hooks": hooks}
        aggrade.append(session, ROOT, grow=("window",), storage_options=options)
        place = hooks.kinds.index("PUT data/windows.zarr/zarr.json") + 1
        dying = {"world": data.world, "hooks": DiesAt(data.world, place, after=False)}
        with pytest.raises(Killed):
            aggrade.append(session, ROOT, grow=("window",), storage_options=dying)
        assert [key for key in traces(data.world.objects, session) if "/eeg/" in key]
        data.remove(purge_backups=True)
        assert traces(data.world.objects, session) == []
        data.append(GONE)
        data.append("sub-4")
        assert aggrade.verify(ROOT, storage_options=data.options).ok

    def test_after_a_restore(self, data):
        """What a restore has left behind, beyond the shape or in another key space, goes too."""
        first = data.append("sub-4")
        assert first.layers == {"sub-4": 4}
        ids = [one.id for one in aggrade.list_backups(ROOT, storage_options=data.options)]
        undone = aggrade.restore(ROOT, ids[0], storage_options=data.options).backup
        data.append("sub-4")
        aggrade.restore(ROOT, undone, storage_options=data.options)
        data.remove(purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []
        data.assert_others()

    def test_one_among_fifty(self, tmp_path):
        """On a disk: its id and its samples are nowhere under the root, and the other 49 equal what they were."""
        sessions = [make_session(f"person {i:02}", 1 + i % 4, i) for i in range(50)]
        for start in range(0, 50, 10):
            some = [
                session.pad(window=(0, 4 - session.sizes["window"]))
                for session in sessions[start : start + 10]
            ]
            for session in some:
                session["label"] = session["label"].fillna(-1).astype("i2")
            aggrade.append(xr.concat(some, "session"), str(tmp_path), grow=("window",))
        before = aggrade.open_windows(str(tmp_path)).load()
        aggrade.rechunk(f"{tmp_path}/windows.zarr", f"{tmp_path}/windows_for_training.zarr")
        aggrade.remove(str(tmp_path), "person 23", purge_backups=True)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert traces({str(path): (path.read_bytes(), "") for path in files}, sessions[23]) == []
        after = aggrade.open_windows(str(tmp_path)).load()
        kept = before.isel(session=[i for i in range(50) if i != 23])
        xr.testing.assert_identical(after.drop_attrs(deep=False), kept.drop_attrs(deep=False))
        assert aggrade.verify(str(tmp_path)).ok


class TestPlaces:
    """Wherever a session may lie."""

    def test_a_partition(self, data):
        """It is found in the partition that has it; others are not touched."""
        extra = make_session("in a partition", 2, 80)
        for name, session in {"2026-10": extra, "2026-11": make_session("other", 2, 81)}.items():
            url = f"{ROOT}/windows/{name}.zarr"
            aggrade.append(session, url, grow=("window",), chunks=CHUNKS, storage_options=data.options)
        before = {key: value for key, value in data.world.objects.items() if "2026-11" in key}
        data.remove("in a partition", purge_backups=True)
        assert traces(data.world.objects, extra) == []
        assert before.items() <= data.world.objects.items()
        assert "other" in data.seen()["session"].values

    @pytest.mark.parametrize("purge", [True, False])
    def test_a_store_of_its_own(self, data, purge):
        """The whole store goes, its name included; without purging it can be brought back."""
        own, url = make_session("own store", 3, 90), f"{ROOT}/sessions/own store_windowed.zarr"
        aggrade.append(own, url, grow=("window",), chunks=CHUNKS, storage_options=data.options)
        receipt = data.remove("own store", purge_backups=purge)
        assert "own store" not in receipt.model_dump_json()
        assert traces(data.world.objects, own, but="\0" if purge else ".backups/") == []
        data.assert_others(but="own store")
        if not purge:
            (backup,) = [
                one for one in aggrade.list_backups(ROOT, storage_options=data.options) if one.store == url
            ]
            aggrade.restore(ROOT, backup, storage_options=data.options)
            assert "own store" in data.seen()["session"].values
            assert aggrade.verify(ROOT, storage_options=data.options).ok

    def test_a_store_of_its_own_that_holds_another_too(self, data):
        """A store that is named after a session is not deleted with others in it: theirs stay, and it can be undone."""
        data.sessions["guest"] = make_session("guest", 3, 77)
        own = f"{ROOT}/{session_store(GONE)}"
        data.append(GONE, own)
        data.append("guest", own)
        assert "goes as a whole" not in str(data.remove(dry_run=True))
        receipt = data.remove()
        assert receipt.undo
        left = aggrade.open_windows(own, storage_options=data.options)
        assert_holds(left.load(), [data.sessions["guest"]])

    @pytest.mark.parametrize("purge", [True, False])
    def test_no_folder_keeps_the_name(self, tmp_path, purge):
        """On a disk the folder of a session's own store goes with it, and the staging store's; others stay."""
        aggrade.append(make_session("common", 2, 1), tmp_path)
        aggrade.append(make_session("P77", 2, 2), tmp_path / "sessions" / "P77_windowed.zarr")
        stage(make_session("P77", 2, 3), str(tmp_path), "P77-staged")
        aggrade.remove(tmp_path, "P77", purge_backups=purge)
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        kept = {name for name in names if "P77" in name}
        assert not kept if purge else all(".backups" in name for name in kept)
        assert aggrade.verify(tmp_path).ok
        assert (tmp_path / "sessions").is_dir()

    def test_a_variable_that_belongs_to_all(self, tmp_path):
        """What does not grow and names the session is not this session's to change: the receipt says where it is."""
        named = make_session("P77", 2, 1).assign_coords(subject="P77")
        aggrade.append(named, tmp_path)
        aggrade.append(make_session("other", 2, 2).assign_coords(subject="P77"), tmp_path)
        (remains,) = aggrade.remove(tmp_path, "P77").details["remains"]
        assert "variable 'subject', which lies along no session, names it" in remains
        assert "P77" not in remains
        assert "remains" not in aggrade.remove(tmp_path, "other").details

    def test_one_store_by_its_url(self, data):
        """Named by its URL, a store is cleaned with its copies and the staging of its dataset."""
        copy = f"{ROOT}/windows_for_training.zarr"
        aggrade.rechunk(STORE, copy, storage_options=data.options)
        stage(data.sessions[GONE], ROOT, "name", storage_options=data.options)
        data.remove(store=STORE, purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []

    def test_an_epoch(self, tmp_path):
        """An epoch of light curves is removed along its own dimension; `LightCurves` shows the others."""
        spec = {
            "object_id": "id",
            "time": "mjd",
            "time_scale": "utc",
            "epoch": {"filename": r"night_(\d)"},
            "measurements": {"g": {"value": "mag", "error": "err"}},
            "unit": "mag",
        }
        for night in (1, 2, 3):
            rows = "".join(f"{number},{6000 + night},{14.5 + night},0.125\n" for number in (7, 8))
            (tmp_path / f"night_{night}.csv").write_text(f"id,mjd,mag,err\n{rows}")
        root = str(tmp_path / "out")
        aggrade.populate(str(tmp_path / "night_*.csv"), root, spec)
        aggrade.rechunk(f"{root}/lightcurves.zarr", f"{root}/lightcurves_by_object.zarr")
        aggrade.remove(root, "2", dim="epoch", purge_backups=True)
        curve = aggrade.LightCurves(root).lightcurve(7)
        assert list(curve["epoch"].values) == ["1", "3"]
        np.testing.assert_array_equal(curve["lightcurves"][0, 0], np.float32([15.5, 17.5]))
        assert aggrade.verify(root).ok
        again = aggrade.populate(str(tmp_path / "night_2.csv"), root, spec)
        assert again.layers == {"2": 3}
        shutil.rmtree(root)

    @pytest.mark.parametrize("form", [2, 3])
    def test_a_store_of_another_tool(self, tmp_path, form):
        """An adopted store of either format, whose sessions have no records, is cleaned as well."""
        url = str(tmp_path / "windows.zarr")
        whole = xr.Dataset(
            {"eeg": (("session", "sample"), np.arange(20, dtype="f4").reshape(5, 4))},
            coords={"session": [11, 12, 13, 14, 15]},
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole.isel(session=slice(0, 4)).to_zarr(url, zarr_format=form, consolidated=True)
        aggrade.append(whole.isel(session=slice(4, 5)), url)
        aggrade.remove(url, "12", purge_backups=True)
        shown = aggrade.open_windows(url).load()
        np.testing.assert_array_equal(shown["session"], [11, 13, 14, 15])
        np.testing.assert_array_equal(shown["eeg"], whole["eeg"][[0, 2, 3, 4]])
        raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert np.arange(4, 8, dtype="f4").tobytes() not in raw
        assert aggrade.verify(url).ok


class TestOwnStoreWithoutRoot:
    """A store that is named after a session and shows nothing."""

    URL = f"{ROOT}/sessions/own store_windowed.zarr"

    def died(self, data, at="zarr.json"):
        """Append to it and die before an object is written."""
        how = {"grow": ("window",), "chunks": CHUNKS}
        own, rehearsal, hooks = make_session("own store", 3, 90), data.world.copy(), Numbered()
        aggrade.append(own, self.URL, **how, storage_options={"world": rehearsal, "hooks": hooks})
        place = hooks.kinds.index(f"PUT {self.URL.removeprefix('world://')}/{at}") + 1
        options = {"world": data.world, "hooks": DiesAt(data.world, place, after=False)}
        with pytest.raises(Killed):
            aggrade.append(own, self.URL, **how, storage_options=options)
        return own

    @pytest.mark.parametrize("recovered", [True, False])
    def test_an_append_that_died_before_its_root(self, data, recovered):
        """No backup is made of what it left, and nothing of it stays."""
        own = self.died(data)
        if recovered:
            aggrade.recover(ROOT, storage_options=data.options)
        assert traces(data.world.objects, own)
        data.remove("own store", purge_backups=True)
        assert [key for key in data.world.objects if "own store" in key] == []
        assert traces(data.world.objects, own) == []
        data.assert_others(but="own store")

    def test_backups_alone(self, data):
        """A store that was removed before has left a backup, which is purged, once."""
        own = make_session("own store", 3, 90)
        aggrade.append(own, self.URL, grow=("window",), chunks=CHUNKS, storage_options=data.options)
        data.remove("own store")
        assert traces(data.world.objects, own)
        with pytest.raises(BadInput, match="nothing of"):
            data.remove("own store")
        receipt = data.remove("own store", purge_backups=True)
        assert len(receipt.details["purged"]) == 1
        assert "own store" not in receipt.model_dump_json()
        assert traces(data.world.objects, own) == []
        with pytest.raises(BadInput, match="nothing of"):
            data.remove("own store", purge_backups=True)
        data.assert_others(but="own store")

    @pytest.mark.parametrize("after", [True, pytest.param(False, marks=pytest.mark.long)])
    def test_purging_backups_alone_dies(self, data, after):
        """Wherever it dies, whoever recovers it or removes it again leaves nothing."""
        own = make_session("own store", 3, 90)
        aggrade.append(own, self.URL, grow=("window",), chunks=CHUNKS, storage_options=data.options)
        data.remove("own store")
        rehearsal, hooks = data.world.copy(), Numbered()
        options = {"world": rehearsal, "hooks": hooks}
        aggrade.remove(ROOT, "own store", purge_backups=True, storage_options=options)
        held = False
        for place, kind in enumerate(hooks.kinds, 1):
            if not kind.startswith(("PUT", "DELETE")):
                continue
            world = data.world.copy()
            options = {"world": world, "hooks": DiesAt(world, place, after=after)}
            with pytest.raises(Killed):
                aggrade.remove(ROOT, "own store", purge_backups=True, storage_options=options)
            held |= bool(aggrade.recover(ROOT, storage_options={"world": world, "hooks": None}))
            with suppress(BadInput):
                aggrade.remove(
                    ROOT, "own store", purge_backups=True, storage_options=data.options | {"world": world}
                )
            assert traces(world.objects, own) == [], kind
        assert held

    def test_a_root_that_comes_meanwhile(self, data):
        """Somebody publishes the store while it is taken for one without a root: it is planned again."""
        storage = MemoryStorage(data.world, self.URL.removeprefix("world://"))
        storage.write("eeg/c/0", b"left")
        own, appended = make_session("own store", 3, 90), []
        url, options = self.URL, data.options

        class Comes(Alone):
            """Appends before the intent is first written."""

            def before(self, kind, key):
                """See `Hooks.before`."""
                if kind == "PUT" and key.endswith("intent.json") and not appended:
                    appended.append(key)
                    aggrade.append(own, url, grow=("window",), chunks=CHUNKS, storage_options=options)

        both = {"world": data.world, "hooks": Comes()}
        aggrade.remove(ROOT, "own store", purge_backups=True, storage_options=both)
        assert appended
        assert [key for key in data.world.objects if "own store" in key] == []
        data.assert_others(but="own store")


class TestUnfinishedBackups:
    """Backups whose writer died before their manifest: copies of everything, or what a removal gave up."""

    def died(self, data, how):
        """Die before the manifest is written."""
        make = {
            "full": lambda options: aggrade.append(
                make_session("new", 2, 8), ROOT, grow=("window",), backup="full", storage_options=options
            ),
            "removed": lambda options: aggrade.remove(ROOT, GONE, storage_options=options),
        }[how]
        rehearsal, hooks = data.world.copy(), Numbered()
        make({"world": rehearsal, "hooks": hooks})
        (place,) = (
            at for at, kind in enumerate(hooks.kinds, 1) if kind.startswith("PUT") and "manifest" in kind
        )
        with pytest.raises(Killed):
            make({"world": data.world, "hooks": DiesAt(data.world, place, after=False)})

    @pytest.mark.parametrize("how", ["full", "removed"])
    def test_they_go_with_purging(self, data, how):
        """Nothing of the session is left in them, and the receipt names them."""
        self.died(data, how)
        (half,) = unfinished_backups(data.storage)
        assert [key for key in traces(data.world.objects, data.sessions[GONE]) if half in key]
        plan = data.remove(purge_backups=True, dry_run=True)
        assert half in str(plan)
        receipt = data.remove(purge_backups=True)
        assert half in receipt.details["purged"]
        assert traces(data.world.objects, data.sessions[GONE]) == []
        assert [key for key in data.world.objects if half in key] == []
        data.assert_others()

    def test_without_purging_they_stay(self, data):
        """Backups are not touched then."""
        self.died(data, "full")
        data.remove()
        assert unfinished_backups(data.storage)

    def test_one_that_alone_is_left(self, data):
        """The session has gone from everywhere else: its record in a copy is found, another label is not."""
        self.died(data, "full")
        (half,) = unfinished_backups(data.storage)
        kept = {key: entry for key, entry in data.world.objects.items() if half in key}
        data.remove(purge_backups=True)
        data.world.objects.update(kept)
        with pytest.raises(BadInput, match="nothing of"):
            data.remove("never there", purge_backups=True)
        data.remove(purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []
        data.assert_others()

    def test_in_the_store_of_others(self, data):
        """A store of its own is not all that is looked at: a common store's unfinished backup goes, too."""
        self.died(data, "full")
        own = make_session("own store", 3, 90)
        url = f"{ROOT}/{session_store('own store')}"
        aggrade.append(own, url, grow=("window",), chunks=CHUNKS, storage_options=data.options)
        data.remove("own store", purge_backups=True)
        assert unfinished_backups(data.storage) == []
        data.assert_others(but="own store")

    def test_a_removal_that_dies_is_recovered(self, data):
        """It dies when it deletes them: whoever recovers the store deletes what is left."""
        self.died(data, "full")
        (half,) = unfinished_backups(data.storage)
        rehearsal, hooks = data.world.copy(), Numbered()
        options = {"world": rehearsal, "hooks": hooks}
        aggrade.remove(ROOT, GONE, purge_backups=True, storage_options=options)
        places = [at for at, kind in enumerate(hooks.kinds, 1) if "DELETE" in kind and half in kind]
        for place in (places[0], places[len(places) // 2], places[-1]):
            world = data.world.copy()
            dying = {"world": world, "hooks": DiesAt(world, place, after=False)}
            with pytest.raises(Killed):
                aggrade.remove(ROOT, GONE, purge_backups=True, storage_options=dying)
            assert aggrade.recover(ROOT, storage_options={"world": world, "hooks": None})
            assert traces(world.objects, data.sessions[GONE]) == []


class TestReaders:
    """What others see."""

    def test_a_bare_reader(self, data):
        """A bare reader sees a row of fill with an empty label, and every other row where it was."""
        data.remove()
        found = xr.open_zarr(ReadStore(data.storage), consolidated=True).load()
        assert list(found["session"].values) == ["sub-1", "sub-2", "", "sub-31", "sub-4"]
        assert np.isnan(found["eeg"][2]).all()
        assert (found["label"][2] == -1).all()
        np.testing.assert_array_equal(found["eeg"][3, :2], data.sessions["sub-31"]["eeg"][0])

    def test_a_dataset_that_was_open(self, data):
        """Who has opened the store before goes on reading the others as they were."""
        opened = aggrade.open_windows(ROOT, storage_options=data.options)
        data.remove()
        for row, label in enumerate(LABELS):
            if label != GONE:
                windows = data.sessions[label].sizes["window"]
                np.testing.assert_array_equal(
                    opened["eeg"][row, :windows].values, data.sessions[label]["eeg"][0].values
                )

    def test_it_may_come_again(self, data):
        """The same session can be appended again, as a new one."""
        data.remove(purge_backups=True)
        receipt = data.append(GONE)
        assert receipt.layers == {GONE: 5}
        assert find_layer(data.storage, GONE).generation == receipt.generation
        assert data.append(GONE).write_id == receipt.write_id
        assert aggrade.verify(ROOT, storage_options=data.options).ok


class TestUndone:
    """Without purging."""

    def test_the_receipt_names_the_command(self, data):
        """Restoring the backup that the receipt names brings the session back, with its record and receipt."""
        before = data.seen()
        receipt = data.remove()
        assert receipt.undo == f"aggrade restore {STORE} {receipt.backup}"
        data.append("sub-1")
        aggrade.restore(STORE, receipt.backup, storage_options=data.options)
        xr.testing.assert_identical(data.seen().drop_attrs(deep=False), before.drop_attrs(deep=False))
        assert data.append(GONE).layers == {GONE: 2}
        assert aggrade.verify(ROOT, storage_options=data.options).ok

    def test_undone_after_others_came(self, data):
        """What was appended after the removal goes with it, and what was replaced comes back."""
        receipt = data.remove()
        data.append(GONE)
        data.sessions["new"] = make_session("new", 9, 8)
        data.append("new")
        aggrade.restore(STORE, receipt.backup, storage_options=data.options)
        assert list(data.seen()["session"].values) == LABELS
        assert find_layer(data.storage, GONE, read_snapshot(data.storage)).index == 2
        assert aggrade.verify(ROOT, storage_options=data.options).ok

    def test_backups_are_purged_later(self, data):
        """Removed first and purged later, it is gone from the backups, too."""
        data.remove()
        assert traces(data.world.objects, data.sessions[GONE])
        data.remove(purge_backups=True)
        assert traces(data.world.objects, data.sessions[GONE]) == []
        data.assert_others()


def test_attributes_of_the_session_that_made_the_store(open_world):
    """What it said of itself in attributes, of the dataset and of variables, goes with it; units and the rest stay."""
    world = World()
    options = open_world(world)
    told = {"source": f"{GONE}.xdf", "who": {GONE: 1, "with": [GONE, "sub-9"]}, "made": "by hand"}
    first, other = (make_session(label, 2, seed)[["eeg"]] for seed, label in enumerate((GONE, "sub-9")))
    first["eeg"].attrs |= {"units": "µV", "note": GONE, "of": f"cap of {GONE}, size 56"}
    other["eeg"].attrs["units"] = "µV"
    aggrade.append(first.assign_attrs(told), ROOT, chunks=CHUNKS, storage_options=options)
    aggrade.append(other, ROOT, chunks=CHUNKS, storage_options=options)
    aggrade.remove(ROOT, GONE, purge_backups=True, storage_options=options)
    left = aggrade.open_windows(ROOT, storage_options=options).load()
    assert_holds(left, [other])
    assert {key: left.attrs[key] for key in told} == {
        "source": ".xdf",
        "who": {"with": ["sub-9"]},
        "made": "by hand",
    }
    assert left["eeg"].attrs == {"units": "µV", "of": "cap of , size 56"}
    assert not [key for key, (data, _) in world.objects.items() if GONE.encode() in data]
    assert aggrade.verify(ROOT, storage_options=options).ok


class TestDamaged:
    """What is torn keeps nobody from withdrawing a consent, and the receipt says what it took along."""

    @pytest.mark.parametrize("torn", [b"{", b"[" * 100_000, b"7"])
    def test_a_receipt(self, data, torn):
        """Nobody can tell whom it names: it is emptied, and a repair says that there was such a commit."""
        keys = [key for key in data.world.objects if "/receipts/" in key]
        for key in keys:
            data.world.objects[key] = (torn, data.world.mark(torn))
        data.remove(purge_backups=True)
        assert not traces(data.world.objects, data.sessions[GONE])
        assert {data.world.objects[key][0] for key in keys} == {b""}
        assert repair(ROOT, storage_options=data.options).ok
        data.assert_others()

    @pytest.mark.parametrize("purge", [False, True])
    @pytest.mark.parametrize("damage", ["archive lost", "archive torn", "archive flagged", "copies lost"])
    def test_a_backup_that_holds_its_record(self, data, damage, purge):
        """A removal that was undone leaves one, and nobody can tell since when the session was there."""
        backup = data.remove().backup
        aggrade.restore(STORE, backup, storage_options=data.options)
        folder = f"data/windows.zarr.backups/{backup}/"
        for key in [key for key in data.world.objects if key.startswith(folder)]:
            if key.endswith("objects.zip") and damage != "copies lost":
                content = damaged(damage, data.world.objects.pop(key)[0])
                data.world.objects.update(
                    {} if content is None else {key: (content, data.world.mark(content))}
                )
            elif damage == "copies lost" and f"{folder}objects/" in key:
                del data.world.objects[key]
        assert not aggrade.verify(ROOT, storage_options=data.options).ok
        data.remove(purge_backups=purge)
        assert GONE not in data.seen()["session"].values
        assert not purge or not traces(data.world.objects, data.sessions[GONE])

    def test_a_variable_that_belongs_to_all(self, data):
        """The removal ends, and says that nobody knows whether the variable names somebody."""
        key = "data/windows.zarr/eeg_channel/c/0"
        data.world.objects[key] = (b"torn", data.world.mark(b"torn"))
        (sentence,) = data.remove().details["remains"]
        assert "'eeg_channel'" in sentence
        assert "can't be decoded" in sentence
        assert not [key for key in data.world.objects if "/layers/" in key and GONE in key]

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_what_others_share(self, data, dry_run):
        """Their values were lost before, and are fill afterwards: plan and receipt name the object."""
        key = "n_windows/c/0"
        data.world.objects[f"data/windows.zarr/{key}"] = (b"torn", data.world.mark(b"torn"))
        found = data.remove(dry_run=dry_run)
        if dry_run:
            assert found.stores[0].torn == (key,)
            assert f"other layers' rows in it become fill: {key}" in str(found)
        else:
            assert key in str(found.details["torn"])


def damaged(how, archive):
    """Return what is left of an archive; None if nothing is."""
    if how == "archive torn":
        return archive[: len(archive) // 2]
    if how == "archive lost":
        return None
    content, place = bytearray(archive), -1
    while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
        content[place + 8] |= 1
    return bytes(content)


class TestRefused:
    """Reasons not to."""

    @pytest.mark.parametrize("label", ["nobody", "sub-", "sub-3"])
    def test_an_unknown_session(self, data, label):
        """An id that isn't there is bad input, and nothing changes."""
        before = dict(data.world.objects)
        with pytest.raises(BadInput, match="nothing of"):
            data.remove(label)
        assert data.world.objects == before

    def test_where_no_store_lies(self, tmp_path):
        """Who mistyped the path is told so; nothing is made there."""
        with pytest.raises(BadInput, match="check the path, where no store lies, and the label"):
            aggrade.remove(tmp_path / "nothing", "sub-1")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("label", ["b\ud800", ""])
    def test_a_label_that_is_no_text(self, data, label):
        """Half a surrogate pair can't have been stored; an empty label is that of rows that were wiped out before."""
        data.remove()
        before = dict(data.world.objects)
        with pytest.raises(BadInput, match="label: found"):
            data.remove(label, purge_backups=True)
        assert data.world.objects == before

    @pytest.mark.parametrize("copied", [False, True])
    @pytest.mark.parametrize("dim", ["window", "eeg_channel", "epoch"])
    def test_another_dimension(self, data, dim, copied):
        """Sessions lie along `session`: nothing of one that lies there is removed along another dimension."""
        if copied:
            aggrade.rechunk(STORE, f"{ROOT}/windows_for_training.zarr", storage_options=data.options)
        stage(data.sessions[GONE], ROOT, "name", storage_options=data.options)
        before = dict(data.world.objects)
        for dry_run in (True, False):
            with pytest.raises(BadInput, match=f"found dimension '{dim}', expected session") as caught:
                data.remove(dim=dim, purge_backups=True, dry_run=dry_run)
            assert caught.value.code == "dimension"
        assert data.world.objects == before

    def test_labels_that_are_torn(self, data):
        """Where labels can't be read, nothing is guessed."""
        key = "data/windows.zarr/session/c/0"
        data.world.objects[key] = (b"torn", data.world.mark(b"torn"))
        with pytest.raises(Damaged, match="can't be decoded"):
            data.remove()

    def test_a_dry_run(self, data):
        """The plan names places, backups and the price; nothing is written."""
        before, hooks = dict(data.world.objects), Numbered()
        options = {"world": data.world, "hooks": hooks}
        plan = aggrade.remove(ROOT, GONE, purge_backups=True, dry_run=True, storage_options=options)
        assert data.world.objects == before
        assert {kind.split()[0] for kind in hooks.kinds} <= {"GET", "HEAD", "LIST"}
        assert "rows 2" in str(plan)
        assert "can't be restored any more" in str(plan)
        assert plan.price.requests["PUT"] > 0
        assert plan.model_validate_json(plan.model_dump_json()) == plan

    def test_the_price_is_what_is_sent(self, data):
        """The plan says how many requests of each kind the removal sends, and it sends just as many."""
        plan, hooks = data.remove(dry_run=True), Numbered()
        aggrade.remove(ROOT, GONE, storage_options={"world": data.world, "hooks": hooks})
        assert plan.price.requests == Counter(kind.split()[0] for kind in hooks.kinds)

    def test_the_intent_is_free_and_names_nobody(self, data):
        """When all is done, no object of the commit's own names it."""
        data.remove()
        intent = read_intent(data.storage)[0]
        assert intent.state == "free"
        assert intent.journal is None


def grown_by_another_tool(store, session):
    """Make every array of a store one row longer, as zarr-python does that leaves the consolidated metadata alone."""
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    for name in [name for name, v in session.variables.items() if v.dims[:1] == ("session",)]:
        array = group[name]
        array.append(np.array(["s9"], object) if name == "session" else array[0:1], axis=0)


def chunks_of(store):
    """Return every chunk of a store with its bytes."""
    return {path: path.read_bytes() for path in store.rglob("c/**/*") if path.is_file()}


@pytest.mark.parametrize("how", [{}, {"purge_backups": True}, {"dry_run": True}])
@pytest.mark.parametrize("ours", [True, False])
def test_rows_that_another_tool_added_without_consolidating_stay(tmp_path, ours, how):
    """They lie beyond what the root shows, where a removal wipes out everything: it is refused, as an append is."""
    store = tmp_path / "windows.zarr"
    sessions = [make_session(f"s{number}", 3, number) for number in (1, 2)]
    if ours:
        for session in sessions:
            aggrade.append(session, store, grow=("window",), chunks=CHUNKS)
    else:
        foreign = xr.concat(sessions, "session", data_vars="minimal")
        for variable in foreign.variables.values():
            variable.encoding = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)
            foreign.to_zarr(
                store, zarr_format=3, consolidated=True, encoding={"eeg": {"chunks": (1, 2, 2, 5)}}
            )
    grown_by_another_tool(store, sessions[0])
    before = chunks_of(store)
    with pytest.raises(Refused, match="another tool wrote there without consolidating") as caught:
        aggrade.remove(store, "s2", **how)
    assert caught.value.code == "not-consolidated"
    assert chunks_of(store) == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_restore_gives_up_no_rows_of_another_tool(tmp_path, dry_run):
    """It is refused as well, until they are consolidated or given up."""
    store = tmp_path / "windows.zarr"
    session = make_session("s1", 3, 1)
    for number in (1, 2):
        newest = aggrade.append(
            make_session(f"s{number}", 3, number), store, grow=("window",), chunks=CHUNKS
        ).backup
    grown_by_another_tool(store, session)
    before = chunks_of(store)
    with pytest.raises(Refused, match="another tool wrote there without consolidating"):
        aggrade.restore(store, newest, dry_run=dry_run)
    assert chunks_of(store) == before


@pytest.mark.parametrize(
    "seed", [30, 31, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(30))]
)
def test_any_order_of_events(open_world, seed):
    """Whatever is appended, replaced, removed, restored and pruned: readers see what a simple model says."""
    choose = random.Random(seed)
    data, model, kept = Data(open_world, (), content_etags=bool(seed % 2)), {}, {}
    for step in range(14):
        label = f"s{choose.randrange(6)}"
        do = (
            choose.choice(["append"] * 4 + ["remove", "remove", "restore", "prune"]) if step > 2 else "append"
        )
        before, receipt = dict(model), None
        if do == "append":
            session = make_session(label, choose.randrange(1, 8), choose.randrange(100))
            data.sessions[label] = model[label] = session
            receipt = data.append(label, on_conflict="replace")
        elif do == "remove" and label in model:
            receipt = data.remove(label, purge_backups=choose.random() < 0.4)
            del model[label]
            purged = {one.id for one in manifests(data.storage) if one.purged}
            kept = {name: state for name, state in kept.items() if name not in purged}
        elif do == "restore" and kept:
            backup = choose.choice(list(kept))
            receipt = aggrade.restore(STORE, backup, storage_options=data.options)
            model = dict(kept[backup])
        elif do == "prune":
            for one in aggrade.prune_backups(STORE, 4, storage_options=data.options):
                kept.pop(one.id, None)
        if receipt is not None and receipt.backup:
            kept.setdefault(receipt.backup, before)
        found = data.seen().sortby("session")
        assert_holds(found, [model[name] for name in sorted(model)])
        report = aggrade.verify(ROOT, storage_options=data.options)
        assert report.ok, report
    for backup, state in list(kept.items())[-10:]:
        aggrade.restore(STORE, backup, storage_options=data.options)
        assert_holds(data.seen().sortby("session"), [state[name] for name in sorted(state)])


class TestFilesWithoutAName:
    """What writers that were killed while they staged left on a disk."""

    @pytest.fixture
    def root(self, tmp_path):
        """Give a dataset in which a session has landed, whose staging store a dead writer left something in."""
        aggrade.append(make_session("other", 2, 1), str(tmp_path), grow=("window",))
        staged = stage(make_session(GONE, 3, 2), str(tmp_path), "gone-abc")
        store = tmp_path / ".aggrade" / "staging" / "gone-abc.zarr"
        chunk = next(path for path in (store / "eeg" / "c").rglob("*") if path.is_file())
        samples = chunk.read_bytes()
        (chunk.parent / ".aggrade-tmp-0123456789abcdef").write_bytes(samples)
        return tmp_path, staged, store, samples

    def test_dropping_what_was_staged_drops_them(self, root):
        """Neither they nor their folders outlive the landing."""
        _, staged, store, _ = root
        land(staged, staged.store())
        drop_staged(staged)
        assert not store.exists()

    def test_a_removal_drops_them(self, root):
        """However they came to stay: no file holds the samples, and no folder bears the name."""
        top, staged, store, samples = root
        land(staged, staged.store())
        drop_staged(staged)
        (store / "eeg" / "c" / "0").mkdir(parents=True)
        (store / "eeg" / "c" / "0" / ".aggrade-tmp-0123456789abcdef").write_bytes(samples)
        (store / "label").mkdir()
        (store / "label" / ".aggrade-lock").touch()
        assert [path for path in store.rglob("*") if path.is_file() and path.read_bytes() == samples]
        aggrade.remove(str(top), GONE, purge_backups=True)
        assert not [path for path in top.rglob("*") if path.is_file() and samples in path.read_bytes()]
        assert not [path for path in top.rglob("*") if "gone-abc" in path.name]
        assert aggrade.verify(str(top)).ok

    def test_a_rehearsal_leaves_them(self, root):
        """A dry run deletes nothing."""
        top, staged, *_ = root
        land(staged, staged.store())
        before = sorted(top.rglob("*"))
        aggrade.remove(str(top), GONE, dry_run=True)
        assert sorted(top.rglob("*")) == before
