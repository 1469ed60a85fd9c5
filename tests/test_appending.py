"""`append`: layers come in once, whole, and as they were, or nothing changes."""

from __future__ import annotations

import threading
from collections import Counter

import dask.array
import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import Hooks, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade import BadInput, Conflict, Refused
from aggrade.append_plan import AppendPlan
from aggrade.commit import find_layer, find_receipt, layers_of, manifests, read_intent, read_snapshot
from aggrade.commit.catalogue import FILE_ROWS
from aggrade.errors import Damaged
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

ROOT = "world://data"
FOLDER = "data/windows.zarr"


@pytest.fixture
def world():
    """Return an empty world."""
    return World()


@pytest.fixture
def append(open_world, world):
    """Return a function that appends to one dataset root."""

    def append(dataset, store=ROOT, *, hooks=None, **how):
        values = {"grow": ("window",), "chunks": CHUNKS, "storage_options": open_world(world, hooks), **how}
        return aggrade.append(dataset, store, **values)

    return append


def storage(world):
    """Return the storage of the store."""
    return MemoryStorage(world, FOLDER)


def bare(world):
    """Return what xarray reads without aggrade."""
    return xr.open_zarr(ReadStore(storage(world)), consolidated=True).load()


def plain(session):
    """Return a session without what the append fills in."""
    return session.drop_vars(["content_digest", "receipt"])


def kinds(hooks):
    """Return the requests by kind."""
    return Counter(kind.split()[0] for kind in hooks.kinds)


SESSIONS = [make_session(f"s{i}", windows, i) for i, windows in enumerate([3, 7, 2, 9, 1])]


class TestGrow:
    """Layer upon layer."""

    def test_each_layer_comes_in_as_it_was(self, append, world):
        """Ragged sessions, one after the other: every value, and fill behind the shorter ones."""
        for number, session in enumerate(SESSIONS):
            receipt = append(session)
            assert (receipt.kind, receipt.generation) == ("append", number + 1)
            assert receipt.layers == {f"s{number}": number}
            assert_holds(bare(world), SESSIONS[: number + 1])

    def test_in_one_or_in_many(self, append, world, open_world):
        """Sessions of one dataset lie there as if they had come one by one."""
        same = [make_session(f"s{i}", 4, i) for i in range(5)]
        append(xr.concat(same, "session"))
        other = World()
        for session in same:
            append(session, storage_options=open_world(other))
        one, many = bare(world).drop_vars("receipt"), bare(other).drop_vars("receipt")
        xr.testing.assert_identical(one.drop_attrs(deep=False), many.drop_attrs(deep=False))

    def test_attributes_and_units_are_kept(self, append, world):
        """What describes the store is the first layer's."""
        append(SESSIONS[0].assign_attrs(site="A"))
        append(SESSIONS[1].assign_attrs(site="B"))
        found = bare(world)
        assert (found.attrs["eeg_rate"], found.attrs["site"]) == (250.0, "A")
        assert found["eeg"].attrs["units"] == "V"

    def test_the_store_remembers_what_may_grow(self, append, world):
        """`grow` needs to be said once."""
        append(SESSIONS[0])
        append(SESSIONS[1], grow=())
        assert read_snapshot(storage(world)).mark["grow"] == ["window"]
        assert bare(world).sizes["window"] == 7

    def test_one_name_may_be_given_as_text(self, append, world):
        """A single dimension needs no tuple."""
        append(SESSIONS[0], grow="window")
        append(SESSIONS[1], grow="window")
        assert bare(world).sizes["window"] == 7

    def test_labels_along_a_growing_dimension(self, append, world):
        """A coordinate of windows grows with them."""
        for session in SESSIONS[:4]:
            append(plain(session).assign_coords(window=np.arange(session.sizes["window"]) * 10))
        assert bare(world)["window"].values.tolist() == list(range(0, 90, 10))

    def test_a_session_without_windows(self, append, world):
        """Nothing to keep is a layer too, first or later."""
        empty = make_session("empty", 0, 9)
        append(empty)
        append(SESSIONS[0])
        append(make_session("empty too", 0, 8))
        assert bare(world)["session"].values.tolist() == ["empty", "s0", "empty too"]
        assert bare(world)["n_windows"].values.tolist() == [0, 3, 0]
        np.testing.assert_array_equal(bare(world)["eeg"].values[1], SESSIONS[0]["eeg"].values[0])

    def test_along_any_dimension(self, append, world):
        """Epochs, times, anything: the store is named then."""
        for label in ("night 1", "night 2"):
            image = xr.Dataset({"sky": (("epoch", "y"), np.ones((1, 3)) * len(label))}, {"epoch": [label]})
            append(image, "world://data/sky.zarr", dim="epoch", grow=(), chunks={})
        found = xr.open_zarr(ReadStore(MemoryStorage(world, "data/sky.zarr")), consolidated=True)
        assert found["epoch"].values.tolist() == ["night 1", "night 2"]

    def test_the_dimension_may_come_last(self, append, world):
        """The growing axis need not be the first."""
        for number in range(3):
            cube = xr.Dataset(
                {"flux": (("object", "epoch"), np.full((4, 1), number, "f4"))}, {"epoch": [number]}
            )
            append(cube, "world://data", dim="epoch", grow=(), chunks={"epoch": 2, "object": 3})
        found = xr.open_zarr(ReadStore(MemoryStorage(world, "data/lightcurves.zarr")), consolidated=True)
        assert found["flux"].values.tolist() == [[0, 1, 2]] * 4

    @pytest.mark.parametrize(
        "store", ["world://data", "world://data/", f"world://{FOLDER}", f"world://{FOLDER}/"]
    )
    def test_root_and_store_mean_the_same(self, append, world, store):
        """A dataset root stands for the store of its kind."""
        append(SESSIONS[0], store)
        assert_holds(bare(world), SESSIONS[:1])

    def test_a_type_of_its_own(self, append, world):
        """Shards, packed values, times and text side by side."""

        def session(label, hour):
            return xr.Dataset(
                {
                    "packed": (("session", "x"), np.array([[0.5, np.nan, hour]]), {}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
                    "when": ("session", np.array([f"2026-01-01T{hour:02}:00"], "M8[s]")),
                    "note": ("session", np.array([label * hour], object)),
                    "eeg": (("session", "x"), np.ones((1, 3), "f4") * hour),
                },
                {"session": np.array([label], object)},
            )  # fmt: skip

        for hour, label in enumerate("abc", 1):
            append(session(label, hour), grow=(), chunks={"eeg": (1, 1)}, shards={"eeg": (1, 3)})
        found = bare(world)
        np.testing.assert_array_equal(
            found["packed"].values, [[0.5, np.nan, 1], [0.5, np.nan, 2], [0.5, np.nan, 3]]
        )
        assert [str(time)[11:13] for time in found["when"].values] == ["01", "02", "03"]
        assert found["note"].values.tolist() == ["a", "bb", "ccc"]
        assert found["eeg"].values[:, 0].tolist() == [1, 2, 3]


class TestLabel:
    """Where a layer's label comes from."""

    def test_an_attribute(self, append, world):
        """Without the dimension, it is added, and the attribute becomes the label."""
        bald = plain(SESSIONS[0]).isel(session=0, drop=True).assign_attrs(session_id="from an attribute")
        receipt = append(bald)
        assert receipt.layers == {"from an attribute": 0}
        found = bare(world)
        assert found["eeg"].dims == SESSIONS[0]["eeg"].dims
        assert "session_id" not in found.attrs
        np.testing.assert_array_equal(found["eeg"].values, SESSIONS[0]["eeg"].values)

    def test_a_scalar_coordinate(self, append):
        """One session taken out of many brings its label along."""
        assert append(plain(SESSIONS[0]).isel(session=0)).layers == {"s0": 0}

    def test_a_dimension_without_a_coordinate(self, append):
        """With the dimension there, the attribute names its one row."""
        unnamed = plain(SESSIONS[0]).drop_vars("session").assign_attrs(session_id=7)
        assert append(unnamed).layers == {"7": 0}

    def test_the_coordinate_goes_first(self, append):
        """An attribute beside it is an attribute."""
        assert append(SESSIONS[0].assign_attrs(session_id="other")).layers == {"s0": 0}

    @pytest.mark.parametrize("rows", [1, 2])
    def test_none_is_made_up(self, append, world, rows):
        """Without a label nothing is appended: it could not be found again."""
        unnamed = xr.concat(SESSIONS[:1] * rows, "session").drop_vars("session")
        unnamed = unnamed if rows == 1 else unnamed.assign_attrs(session_id="one for two")
        with pytest.raises(BadInput, match="no label for its layers") as caught:
            append(unnamed)
        assert caught.value.code == "label-missing"
        assert world.objects == {}


class TestAgain:
    """The same twice is once."""

    def test_the_same_receipt_and_no_write(self, append, world):
        """What is there is found by reading, and nothing is written."""
        receipt = append(SESSIONS[0])
        before, hooks = dict(world.objects), Numbered()
        assert append(SESSIONS[0], hooks=hooks) == receipt
        assert world.objects == before
        assert set(kinds(hooks)) == {"GET", "HEAD"}

    def test_after_others_came(self, append):
        """A layer keeps its receipt."""
        receipts = [append(session) for session in SESSIONS]
        assert [append(session) for session in SESSIONS] == receipts

    def test_some_of_several(self, append, world):
        """Of several layers only the new ones are added."""
        same = [make_session(f"s{i}", 4, i) for i in range(4)]
        append(same[1])
        receipt = append(xr.concat(same, "session"))
        assert receipt.layers == {"s0": 1, "s2": 2, "s3": 3}
        assert_holds(bare(world), [same[i] for i in (1, 0, 2, 3)])
        assert append(xr.concat(same[2:], "session")) == receipt

    def test_other_content_is_refused(self, append, world):
        """The same label with other values changes nothing unless it is said what to do."""
        append(SESSIONS[0])
        before = dict(world.objects)
        with pytest.raises(Refused, match="on_conflict='replace'") as caught:
            append(make_session("s0", 3, 99))
        assert caught.value.code == "layer-differs"
        assert world.objects == before

    def test_what_the_append_fills_in_is_no_content(self, append, world):
        """A session read back from a store is the session that was stored."""
        receipt = append(SESSIONS[0])
        assert append(bare(world)) == receipt

    def test_a_receipt_that_is_gone(self, append, world):
        """A layer without its receipt is damage, and is not appended a second time."""
        receipt = append(SESSIONS[0])
        del world.objects[f"{FOLDER}/.aggrade/receipts/{receipt.write_id}.json"]
        with pytest.raises(Damaged, match="verify the store"):
            append(SESSIONS[0])


class TestReplace:
    """Other content under the same label, on request."""

    def test_the_new_row_is_behind_and_the_old_one_marked(self, append, world, open_world):
        """A bare reader sees both, `open_windows` the new one alone."""
        for session in SESSIONS[:3]:
            append(session)
        corrected = make_session("s1", 4, 77)
        receipt = append(corrected, on_conflict="replace")
        assert receipt.layers == {"s1": 3}
        assert_holds(bare(world), [*SESSIONS[:3], corrected])
        assert read_snapshot(storage(world)).mark["superseded"] == [1]
        live = aggrade.open_windows(ROOT, storage_options=open_world(world))
        assert_holds(live.drop_vars("dataset", errors="ignore").load(), [SESSIONS[0], SESSIONS[2], corrected])
        assert aggrade.verify(ROOT, storage_options=open_world(world)).ok

    def test_it_is_done_once(self, append, world):
        """The replacement again is a no-op, and what was replaced before stays marked."""
        append(SESSIONS[0])
        first = append(make_session("s0", 4, 77), on_conflict="replace")
        assert append(make_session("s0", 4, 77), on_conflict="replace") == first
        append(make_session("s0", 5, 78), on_conflict="replace")
        assert read_snapshot(storage(world)).mark["superseded"] == [0, 1]
        assert find_layer(storage(world), "s0").index == 2

    def test_what_is_new_needs_no_replacing(self, append, world):
        """`replace` adds what isn't there."""
        append(SESSIONS[0], on_conflict="replace")
        assert "superseded" not in read_snapshot(storage(world)).mark

    def test_the_state_before_is_kept(self, append, world):
        """A backup holds the root that showed the old row."""
        append(SESSIONS[0])
        receipt = append(make_session("s0", 3, 9), on_conflict="replace")
        assert [manifest.id for manifest in manifests(storage(world))] == [receipt.backup]


class TestLazy:
    """Data that are computed while they are written."""

    def test_streamed_data_are_the_same(self, append, world, open_world):
        """Dask arrays are stored as the values that they stand for, in whatever blocks they come."""
        eager = make_session("s0", 9, 1)
        append(eager)
        for chunks in ({"window": 2}, {"window": 4, "eeg_channel": 1}, {"eeg_sample": 2}):
            other = World()
            receipt = append(eager.chunk(chunks), storage_options=open_world(other))
            assert receipt.digests == {"s0": find_layer(storage(world), "s0").digest}
            xr.testing.assert_identical(
                bare(other).drop_vars("receipt").drop_attrs(deep=False),
                bare(world).drop_vars("receipt").drop_attrs(deep=False),
            )

    def test_only_what_is_new_is_computed_for_writing(self, append):
        """The rows of layers that are there are read for their digest alone."""
        log = []

        def noting(block, block_info=None):
            log.append(block_info[0]["array-location"][0][0])
            return block

        both = xr.concat([make_session(f"s{i}", 4, i) for i in range(2)], "session").drop_vars(
            ["content_digest", "receipt"]
        )
        append(both.isel(session=[0]))
        lazy = both.assign(eeg=both["eeg"].chunk(session=1))
        lazy["eeg"] = (lazy["eeg"].dims, lazy["eeg"].data.map_blocks(noting, dtype="f4"), {"units": "V"})
        append(lazy)
        assert Counter(log)[0] < Counter(log)[1]

    def test_data_that_fail_leave_the_old_state(self, append, world):
        """An error while values are computed is what the caller gets; nothing shows and the store is free."""
        append(plain(SESSIONS[0]))
        calls = []

        def failing(block):
            calls.append(1)
            if len(calls) > 1:
                raise OSError("the recording is gone")
            return block

        lazy = plain(make_session("s1", 3, 1))
        broken = dask.array.from_array(lazy["eeg"].values, chunks=-1).map_blocks(failing, dtype="f4")
        with pytest.raises(OSError, match="the recording is gone"):
            append(lazy.assign(eeg=(lazy["eeg"].dims, broken, {"units": "V"})))
        assert len(calls) == 2
        assert bare(world)["session"].values[0] == "s0"
        assert read_intent(storage(world))[0].state == "free"


class TestStamps:
    """What the append fills in."""

    def test_digest_and_receipt(self, append, world):
        """Each row bears the digest of its content and the commit that brought it."""
        first = append(SESSIONS[0])
        second = append(SESSIONS[1])
        found = bare(world)
        assert found["receipt"].values.tolist() == [first.write_id, second.write_id]
        assert found["content_digest"].values.tolist() == [first.digests["s0"], second.digests["s1"]]
        assert find_receipt(storage(world), found["receipt"].values[1]) == second

    def test_only_where_the_dataset_has_them(self, append, world):
        """No variable is added."""
        append(plain(SESSIONS[0]))
        assert set(bare(world).variables) == set(plain(SESSIONS[0]).variables)

    def test_a_variable_of_that_name_with_another_shape_is_content(self, append, world):
        """Only a stamp per layer is filled in."""
        odd = plain(SESSIONS[0]).assign(receipt=(("session", "window"), np.ones((1, 3))))
        append(odd)
        assert bare(world)["receipt"].values.tolist() == [[1, 1, 1]]


class TestDryRun:
    """What would be done, without doing it."""

    @pytest.mark.parametrize("before", [0, 2])
    def test_it_sends_no_write(self, append, world, before):
        """Neither on create nor later; the plan is what is returned."""
        for session in SESSIONS[:before]:
            append(session)
        held, hooks = dict(world.objects), Numbered()
        plan = append(SESSIONS[3], dry_run=True, hooks=hooks)
        assert isinstance(plan, AppendPlan)
        assert [layer.index for layer in plan.new] == [before]
        assert world.objects == held
        assert set(kinds(hooks)) <= {"GET", "HEAD", *([] if before else ["LIST"])}
        assert "s3" in str(plan)

    def test_of_what_is_there(self, append):
        """A plan without a commit says that nothing has to be done."""
        append(SESSIONS[0])
        plan = append(SESSIONS[0], dry_run=True)
        assert (plan.commit, list(plan.there)) == (None, ["s0"])
        assert "already there" in str(plan)

    def test_a_dead_writer_is_left_to_the_real_run(self, append, world):
        """It looks at the store as it is, and recovers nothing."""
        append(SESSIONS[0])
        found, etag = read_intent(storage(world))
        dead = found.model_copy(
            update={"state": "held", "owner": found.owner.model_copy(update={"started": "1"})}
        )
        storage(world).write(".aggrade/intent.json", dead.model_dump_json().encode(), replacing=etag)
        before = dict(world.objects)
        append(SESSIONS[1], dry_run=True)
        assert world.objects == before
        append(SESSIONS[1])
        assert_holds(bare(world), SESSIONS[:2])


class TestBackup:
    """What is kept of the state before."""

    @pytest.mark.parametrize(("backup", "names"), [("touched", {"objects.zip"}), ("full", {"objects"})])
    def test_kinds(self, append, world, backup, names):
        """What is overwritten, or everything."""
        append(SESSIONS[0])
        receipt = append(SESSIONS[1], backup=backup)
        folder = f"data/windows.zarr.backups/{receipt.backup}/"
        assert {k[len(folder) :].split("/")[0] for k in world.objects if k.startswith(folder)} == {
            *names, "manifest.json",
        }  # fmt: skip

    def test_none(self, append, world):
        """On request nothing is."""
        append(SESSIONS[0])
        assert append(SESSIONS[1], backup="none").backup is None
        assert not any(".backups" in key for key in world.objects)


class TestCost:
    """An append costs what the layer costs."""

    def at_several_sizes(self, append, watch):
        """Append the 4th and the 132nd of sessions, whose rows lie alike in chunks and catalogue; return what was seen."""
        last = 3 + FILE_ROWS
        sessions = [make_session(f"s{number}", 5, number) for number in range(last + 1)]
        append(xr.concat(sessions[:3], "session"))
        few = watch(sessions[3])
        append(xr.concat(sessions[4:last], "session"))
        many = watch(sessions[last])
        return few, many

    def test_requests_do_not_grow_with_the_store(self, append):
        """The same requests, by kind, at 3 and at 131 layers, whether a backup is made or not."""

        def watch(session):
            hooks = Numbered()
            append(session, hooks=hooks)
            return kinds(hooks)

        few, many = self.at_several_sizes(append, watch)
        assert few == many

    def test_bytes_do_not_grow_with_the_store(self, append, world):
        """Nothing that is read or written is larger for the number of layers, but for a few digits."""

        class Sizes(Hooks):
            total = 0

            def after(self, kind, key):
                if kind in {"PUT", "GET"} and threading.current_thread().name != "aggrade-heartbeat":
                    self.total += len(world.objects.get(key, (b"", ""))[0])

        def watch(session):
            hooks = Sizes()
            append(session, hooks=hooks)
            return hooks.total

        few, many = self.at_several_sizes(append, watch)
        assert abs(many - few) < few / 20

    def test_looking_costs_one_request_for_each_layer(self, append):
        """Whether a layer is there is answered by its record."""
        for session in SESSIONS[:3]:
            append(session)
        hooks = Numbered()
        append(SESSIONS[1], hooks=hooks)
        assert sum(".aggrade/layers/" in kind for kind in hooks.kinds) == 1


class TestTogether:
    """Several writers."""

    def test_each_comes_in_once(self, append, world, open_world):
        """Eight threads that append at the same time all succeed."""
        sessions = [make_session(f"s{i}", i % 3 + 1, i) for i in range(8)]
        start, failures = threading.Barrier(8), []

        def run(session):
            start.wait(60)
            try:
                append(session, hooks=Hooks())
            except aggrade.AggradeError as error:  # pragma: no cover - only when it fails
                failures.append(error)

        threads = [threading.Thread(target=run, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(200)
        assert failures == []
        found = bare(world)
        by_label = {str(session["session"].values[0]): session for session in sessions}
        assert sorted(found["session"].values.tolist()) == sorted(by_label)
        assert_holds(found, [by_label[str(label)] for label in found["session"].values])
        assert aggrade.verify(ROOT, storage_options=open_world(world)).ok

    def test_the_same_layer_at_the_same_time(self, append, world):
        """Two that bring the same session bring it once and return the same receipt."""
        start, receipts = threading.Barrier(2), []

        def run():
            start.wait(60)
            receipts.append(append(SESSIONS[0]))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
        assert receipts[0] == receipts[1]
        assert len(list(layers_of(storage(world)))) == 1

    def test_a_store_that_stays_busy(self, append, world, monkeypatch):
        """Whoever can't get in for as long as it wants to wait says so, and writes nothing."""
        append(SESSIONS[0])
        monkeypatch.setenv("AGGRADE_WAIT_SECONDS", "0.2")

        class Overtaking(Hooks):
            def before(self, kind, key):
                if kind == "PUT" and key == f"{FOLDER}/.aggrade/intent.json" and not self.inside():
                    data, _ = world.objects[f"{FOLDER}/zarr.json"]
                    world.objects[f"{FOLDER}/zarr.json"] = (data, world.mark(data))

            def inside(self):
                return b'"held"' in world.objects[f"{FOLDER}/.aggrade/intent.json"][0]

        with pytest.raises(Conflict, match="run it again") as caught:
            append(SESSIONS[1], hooks=Overtaking())
        assert caught.value.code == "moved-on"
        assert bare(world)["session"].values.tolist() == ["s0"]


class TestPlaces:
    """Where a store may lie."""

    def test_in_a_folder(self, tmp_path):
        """A path that isn't there is made."""
        store = str(tmp_path / "new" / "folder")
        for session in SESSIONS[:3]:
            aggrade.append(session, store, grow=("window",))
        assert_holds(xr.open_zarr(f"{store}/windows.zarr").load(), SESSIONS[:3])
        assert aggrade.verify(store).ok

    def test_no_warning_and_no_aggrade_needed(self, tmp_path):
        """Plain xarray opens what was written, coordinates decoded, without a warning."""
        times = np.array(["2026-01-01T00:00:00.5"], "M8[ms]")
        session = SESSIONS[0].assign_coords(began=("session", times))
        aggrade.append(session, str(tmp_path), grow=("window",))
        found = xr.open_zarr(str(tmp_path / "windows.zarr"))
        assert found["began"].values.astype("M8[ms]").tolist() == times.tolist()
        assert "began" in found.coords

    def test_of_another_kind(self):
        """A URL that nobody knows is a wrong parameter, and no folder of that name appears."""
        with pytest.raises(BadInput):
            aggrade.append(SESSIONS[0], "ftp://somewhere/data")
