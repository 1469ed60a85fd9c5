"""Sessions between being cut and being appended."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from make_datasets import assert_holds, make_session
from memory_storage import MemoryStorage, Numbered, World, open_world

from aggrade import Receipt, append
from aggrade.append_plan import AppendPlan
from aggrade.errors import BadInput, Damaged
from aggrade.landing import find_landed, land, plan_landing
from aggrade.opening import open_windows
from aggrade.staging import STAGING, Staged, drop_left, drop_staged, is_staged, open_staged, stage
from aggrade.storage import OPENERS

__all__ = ["open_world"]


@pytest.fixture
def session():
    """Make one session."""
    return make_session("S 01/b", windows=5, seed=1)


@pytest.fixture
def staged(session, tmp_path):
    """Stage it."""
    return stage(session, str(tmp_path), "s01-abc")


def _chunks(staged):
    return sorted(Path(staged.root, STAGING, f"{staged.name}.zarr").glob("eeg/c/**/*"), reverse=True)


def test_a_staged_session_comes_back_as_it_was(session, staged):
    """What is opened from staging equals what was staged, and holds nothing of the bookkeeping."""
    opened = open_staged(staged)
    xr.testing.assert_equal(
        opened.drop_vars(["content_digest", "receipt"]), session.drop_vars(["content_digest", "receipt"])
    )
    assert opened.attrs == session.attrs


def test_what_is_known_of_it_is_small_and_json(session, staged):
    """A staged session is known by id, place, digest and counts, and survives JSON."""
    assert (staged.session, staged.windows, staged.bytes) == ("S 01/b", 5, session.nbytes)
    assert Staged.model_validate_json(staged.model_dump_json()) == staged
    assert "5 windows" in str(staged)


def test_start_and_source_are_taken_from_the_session(session, tmp_path):
    """The session's start and source are known without opening it."""
    said = session.assign(session_start=("session", np.array(["2026-10-01T08:00:00"], dtype=object)))
    staged = stage(said.assign(source=("session", np.array(["/data/s01"], dtype=object))), str(tmp_path), "x")
    assert (staged.start, staged.source) == ("2026-10-01T08:00:00", "/data/s01")
    assert staged.store(partition="month") == f"{tmp_path}/windows/2026-10.zarr"


def test_staging_twice_is_staging_once(session, staged):
    """The same session staged again changes nothing."""
    assert stage(session, staged.root, staged.name) == staged


def test_no_reader_of_the_dataset_sees_it(staged):
    """A dataset with a staged session and nothing else holds no windows."""
    with pytest.raises(BadInput, match="no store"):
        open_windows(staged.root)


def test_it_lands_with_the_digest_it_was_staged_with(session, staged):
    """Appending from staging gives the same store as appending directly, with the digest that staging foretold."""
    store = staged.store()
    assert find_landed(store, staged.session, staged.digest) is None
    receipt = append(open_staged(staged), store, grow=("window",))
    assert isinstance(receipt, Receipt)
    assert receipt.digests == {staged.session: staged.digest}
    assert find_landed(store, staged.session, staged.digest) == receipt
    assert_holds(open_windows(staged.root), [session])


def test_it_lands_in_the_layout_of_a_direct_append(session, staged, tmp_path):
    """The array documents of a store do not depend on the way through staging."""
    append(open_staged(staged), staged.store(), grow=("window",))
    append(session, f"{tmp_path}/direct/windows.zarr", grow=("window",))
    roots = [
        json.loads(Path(store, "zarr.json").read_text())
        for store in (staged.store(), f"{tmp_path}/direct/windows.zarr")
    ]
    assert roots[0]["consolidated_metadata"] == roots[1]["consolidated_metadata"]


def test_other_content_has_not_landed(staged):
    """A session that lies there with other content is not taken for this one."""
    append(make_session("S 01/b", windows=5, seed=2), staged.store(), grow=("window",))
    assert find_landed(staged.store(), staged.session, staged.digest) is None


def test_dropping_leaves_nothing(staged):
    """A dropped session leaves no file, and dropping it again is no error."""
    assert is_staged(staged)
    drop_staged(staged)
    assert not is_staged(staged)
    assert [path for path in Path(staged.root).rglob("*") if path.is_file()] == []
    drop_staged(staged)


def test_what_a_killed_drop_left_is_cleared_when_it_is_staged_again(open_world):
    """Wherever the deletion stopped, the session is staged anew, whole, and lands."""
    session, root = make_session("s1", 3, 1), "world://data"
    world = World()
    stage(session, root, "s1-abc", storage_options=open_world(world))
    storage = MemoryStorage(world, f"data/{STAGING}/s1-abc.zarr")
    keys = [info.key for info in storage.list() if info.key != "zarr.json"]
    storage.delete(["zarr.json"])
    for deleted in range(len(keys) + 1):
        half = world.copy()
        MemoryStorage(half, storage.prefix).delete(keys[:deleted])
        again = stage(session, root, "s1-abc", storage_options=open_world(half))
        assert_holds(open_staged(again, storage_options=open_world(half)).load(), [session])
        assert land(again, again.store(), storage_options=open_world(half)).layers == {"s1": 0}


def test_a_staging_store_that_another_program_wrote_to_is_left_alone(session, staged):
    """Only what has no root is the rest of a deletion."""
    root = Path(staged.root, STAGING, f"{staged.name}.zarr", "zarr.json")
    document = json.loads(root.read_text())
    del document["attributes"]["aggrade"]
    root.write_text(json.dumps(document))
    with pytest.raises(Damaged, match="older or by another program"):
        stage(session, staged.root, staged.name)
    assert root.exists()


def test_a_dropped_session_does_not_open(staged):
    """Opening what is gone is damage, said as such."""
    drop_staged(staged)
    with pytest.raises(Damaged, match="a session that is staged"):
        open_staged(staged)


@pytest.mark.parametrize("samples", [5, 50_000], ids=["small", "large"])
def test_a_missing_chunk_is_never_taken_for_fill(tmp_path, samples):
    """A session dropped while it is opened or read raises; its samples never turn into NaN."""
    staged = stage(make_session("s", windows=5, seed=1, samples=samples), str(tmp_path), "s-abc")
    chunks = [path for path in _chunks(staged) if path.is_file()]

    def read(when):
        if when == "before":
            chunks[0].unlink()
        opened = open_staged(staged)
        if when == "after":
            chunks[0].unlink()
        return opened["eeg"].load()

    with pytest.raises(Damaged, match="no object"):
        read("before" if samples == 5 else "after")


def test_planning_writes_nothing(session, tmp_path):
    """The plan names the store that the session belongs in, and leaves no file."""
    plan = plan_landing(session, str(tmp_path), "s01-abc", layout="per_session")
    assert isinstance(plan, AppendPlan)
    assert plan.store.endswith("sessions/S 01%2Fb_windowed.zarr")
    assert [layer.label for layer in plan.new] == ["S 01/b"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("windows", "samples"), [(5, 2), (40, 4000)], ids=["written", "copied"])
def test_the_price_is_what_is_sent(open_world, windows, samples):
    """The plan's requests are those of staging, looking, appending and removing, in a new store and in one that is there."""
    world, hooks = World(), Numbered()
    options = {"storage_options": open_world(world, hooks)}
    for label in ("S 01/b", "S 02"):
        session = make_session(label, windows, seed=1, samples=samples)
        plan = plan_landing(session, "world://data", "name", **options)
        hooks.kinds.clear()
        staged = stage(session, "world://data", "name", **options)
        assert find_landed(staged.store(), staged.session, staged.digest, **options) is None
        assert is_staged(staged, **options)
        land(staged, staged.store(), **options)
        drop_staged(staged, **options)
        assert plan.price.requests == Counter(kind.split()[0] for kind in hooks.kinds)
        assert plan.price.requests.get("COPY", 0) == int(samples == 4000)


def test_a_session_that_has_landed_costs_no_staging(session, staged):
    """The plan of a session that lies in its store is the price of looking."""
    append(open_staged(staged), staged.store(), grow=("window",))
    plan = plan_landing(session, staged.root, staged.name)
    assert plan.commit is None
    assert plan.price.requests.keys() <= {"GET", "HEAD"}


def test_small_arrays_are_read_when_it_is_opened(open_world):
    """Opening reads every small array once, and computing with them reads nothing more."""
    world, hooks = World(), Numbered()
    staged = stage(
        make_session("s", windows=5, seed=1), "world://data", "n", storage_options=open_world(world)
    )
    opened = open_staged(staged, storage_options=open_world(world, hooks))
    before = hooks.count
    opened.load()
    assert hooks.count == before
    assert max(Counter(hooks.kinds).values()) == 1


def test_what_a_killed_run_left_of_one_that_landed(staged, tmp_path):
    """Half a staging store without a root goes; one that is whole, or that somebody else stages, stays."""
    land(staged, staged.store())
    folder = tmp_path / ".aggrade" / "staging"
    drop_left([staged], str(tmp_path))
    assert is_staged(staged)
    (folder / "s01-abc.zarr" / "zarr.json").unlink()
    other = stage(make_session("s02", windows=2, seed=5), str(tmp_path), "s02-abc")
    drop_left([staged], str(tmp_path))
    assert not (folder / "s01-abc.zarr").exists()
    assert is_staged(other)


def test_what_was_staged_before_a_session_was_cut_anew(staged, tmp_path):
    """Of sessions that landed or were refused, what lies under other names goes; other sessions' stays."""
    root = str(tmp_path)
    other = stage(make_session("S 01", windows=2, seed=5), root, "s01-other")
    refused = stage(make_session("S 02", windows=2, seed=6), root, "s02-new")
    before = stage(make_session("S 02", windows=3, seed=7), root, "s02-old")
    anew = stage(make_session("S 01/b", windows=5, seed=8), root, "s01-new")
    land(anew, anew.store())
    drop_left([anew], root, refused=[refused])
    assert [is_staged(one) for one in (staged, before)] == [False, False]
    assert [is_staged(one) for one in (other, refused, anew)] == [True, True, True]
    assert {path.name for path in (tmp_path / STAGING).iterdir()} == {
        "s01-new.zarr",
        "s01-other.zarr",
        "s02-new.zarr",
    }


def test_what_is_being_staged_stays(staged, tmp_path):
    """A staging store without a root yet, under another name, is somebody's at work or a dead one's."""
    half = stage(make_session("S 01/b", windows=5, seed=8), str(tmp_path), "half")
    (tmp_path / STAGING / "half.zarr" / "zarr.json").unlink()
    drop_left([staged], str(tmp_path))
    assert (tmp_path / STAGING / f"{half.name}.zarr" / "eeg").exists()


class Lagging(MemoryStorage):
    """A server that lists folders some time after their last object."""

    def folders(self, prefix=""):
        """See `Storage.folders`."""
        return sorted({*super().folders(prefix), "s01-abc.zarr"})


def test_a_folder_that_is_listed_still_is_nothing(open_world, monkeypatch, session):
    """Where nothing lies any more, nothing is deleted: a run that has nothing to do sends nothing that writes."""
    world, hooks = World(), Numbered()
    staged = stage(session, "world://data", "s01-abc", storage_options=open_world(world))
    land(staged, staged.store(), storage_options=open_world(world))
    drop_staged(staged, storage_options=open_world(world))
    monkeypatch.setitem(OPENERS, "world", lambda *_: Lagging(world, "data", hooks))
    drop_left([staged], "world://data")
    assert {kind.split()[0] for kind in hooks.kinds} == {"LIST"}
