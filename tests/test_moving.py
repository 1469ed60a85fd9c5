"""Sessions that belong in another partition than the one where they lie."""

from __future__ import annotations

import functools
import re
import shlex

import numpy as np
import pytest
import xarray as xr
from make_datasets import make_session
from make_moves import LAYOUTS, ODD, ROOT, dated, ingest, staged
from memory_storage import Numbered, World, open_world

import aggrade
from aggrade.commit.catalogue import FILE_ROWS, Place, encoded
from aggrade.errors import BadInput, Damaged, Refused
from aggrade.landing import land as land_there
from aggrade.moving import homes
from aggrade.session_rows import empty_table
from aggrade.staging import drop_staged

__all__ = ["open_world"]


@pytest.fixture
def options(open_world):
    """Return the storage options of a world in which a session without a date lies beside another one."""
    found = open_world(World())
    for dataset in (dated(ODD, ""), dated("other", "", seed=2)):
        land(dataset, found)
    return found


def land(dataset, options, **how):
    """Ingest a session; return the receipt."""
    receipt = ingest(dataset, options, **how)
    drop_staged(staged(dataset, options), storage_options=options)
    return receipt


def lying(options):
    """Return where each session lies by the catalogue, and assert that what is shown and the catalogue agree."""
    shown = aggrade.open_windows(ROOT, storage_options=options)
    lines = aggrade.read_catalogue(ROOT, storage_options=options)
    assert sorted(lines["session"]) == sorted(map(str, shown["session"].values))
    assert aggrade.verify(ROOT, storage_options=options).ok
    return dict(zip(lines["session"], lines["store"], strict=True))


def test_a_session_that_is_dated_moves(options):
    """It leaves `undated`, once, with all its samples; the other session stays."""
    receipt = land(dated(ODD, "2026-10-31T08:00:00"), options)
    assert receipt.store == f"{ROOT}/windows/2026-10.zarr"
    assert lying(options) == {ODD: "windows/2026-10.zarr", "other": "windows/undated.zarr"}
    found = aggrade.open_windows(ROOT, storage_options=options).sel(session=ODD)
    assert np.array_equal(found["eeg"].values, dated(ODD, "")["eeg"].values[0])
    assert str(found["session_start"].values) == "2026-10-31T08:00:00"


def test_there_and_back_again(options):
    """A date that was wrong is put right as often as it takes, and the same again is nothing."""
    for start, part in (
        ("2026-10-31", "2026-10"),
        ("2025-01-01", "2025-01"),
        ("2026-10-31", "2026-10"),
        ("", "undated"),
    ):
        receipt = land(dated(ODD, start), options)
        assert lying(options)[ODD] == f"windows/{part}.zarr"
        assert land(dated(ODD, start), options).write_id == receipt.write_id


def test_other_content_is_refused_unless_it_replaces(options):
    """What was measured must be the same; else it is refused before anything is written, or replaces the old one."""
    world = options["world"]
    before = {key: value for key, value in world.objects.items() if "/staging/" not in key}
    with pytest.raises(Refused, match="other content"):
        ingest(dated(ODD, "2026-10-31", seed=5), options)
    assert {key: value for key, value in world.objects.items() if "/staging/" not in key} == before
    land(dated(ODD, "2026-10-31", seed=5), options, on_conflict="replace")
    assert lying(options)[ODD] == "windows/2026-10.zarr"
    found = aggrade.open_windows(ROOT, storage_options=options).sel(session=ODD)
    assert np.array_equal(found["eeg"].values, dated(ODD, "", seed=5)["eeg"].values[0])


def test_what_the_other_store_refuses_stays(options):
    """A partition that refuses the session's channels refuses its move; where it lies nothing is changed."""
    land(dated("wide", "2026-10-01", channels=3), options)
    with pytest.raises(Refused, match="channels='union'"):
        ingest(dated(ODD, "2026-10-31"), options)
    assert lying(options)[ODD] == "windows/undated.zarr"
    land(dated(ODD, "2026-10-31"), options, channels="union")
    assert lying(options)[ODD] == "windows/2026-10.zarr"


@pytest.mark.parametrize("partition", ["none", "montage"])
def test_another_layout_moves_nothing(options, partition):
    """A dataset keeps to its layout: a session that lies in a partition of another kind is refused, by name."""
    with pytest.raises(Refused) as caught:
        ingest(dated(ODD, ""), options, partition=partition)
    (problem,) = caught.value.problems
    assert (problem.code, problem.found) == ("lies-elsewhere", "it in windows/undated.zarr")


def test_a_year_is_not_a_month(options):
    """Sessions without a date may go to either; those with one stay with the kind that they have."""
    land(dated(ODD, "2026-10-31"), options)
    with pytest.raises(Refused, match=r"it in windows/2026-10\.zarr"):
        ingest(dated(ODD, "2026-10-31"), options, partition="year")


def test_without_a_catalogue_the_stores_tell(options):
    """Where the catalogue is gone or torn, sessions are found by their labels, and those that have left are not."""
    land(dated(ODD, "2026-10-31"), options)
    expected = homes(ROOT, storage_options=options)
    for key in [key for key in options["world"].objects if key.startswith("data/catalogue/")]:
        del options["world"].objects[key]
    assert homes(ROOT, storage_options=options) == expected
    options["world"].objects["data/catalogue/partition=x/torn.parquet"] = (b"PAR1", "torn")
    assert homes(ROOT, storage_options=options) == expected
    aggrade.rebuild_catalogue(ROOT, storage_options=options)
    assert lying(options) == expected


def test_withdrawn_after_a_move(options):
    """A removal takes a session out of both partitions, wholly."""
    land(dated(ODD, "2026-10-31"), options)
    assert any(b"Sub 01/" in data for data, _ in options["world"].objects.values())
    aggrade.remove(ROOT, ODD, purge_backups=True, storage_options=options)
    assert lying(options) == {"other": "windows/undated.zarr"}
    assert not any(b"Sub 01/" in data for data, _ in options["world"].objects.values())


EVERYWHERE = {
    **{name: [how, how, how] for name, how in LAYOUTS.items()},
    "year": [{"layout": "common", "partition": "year"}] * 3,
}
"""Ways of laying out; of partitions by date, one holds sessions without any."""
SESSIONS = [dated(ODD, "2026-10-31"), dated("other", "2025-01-01", seed=2), dated("third", "", channels=3)]


@functools.cache
def grown(layout):
    """Return a world with three sessions in one of the layouts, and where each was put."""
    world, options, put = World(), {}, {}
    options.update(world=world, hooks=None)
    for session, how in zip(SESSIONS, EVERYWHERE[layout], strict=True):
        cut = staged(session, options)
        url = cut.store(how["layout"], how["partition"], name=how.get("name", "windows"))
        land_there(cut, url, storage_options=options, channels="refuse" if "mont" in layout else "union")
        drop_staged(cut, storage_options=options)
        put[cut.session] = url.removeprefix(f"{ROOT}/")
    return world, put


def told(world):
    """Return the keys of the catalogue's files."""
    return sorted(key for key in world.objects if key.startswith("data/catalogue/"))


HARMS = {
    "lost": lambda world, key: world.objects.pop(key),
    "torn": lambda world, key: world.objects.update({key: (world.objects[key][0][:-9], "torn")}),
    "empty": lambda world, key: world.objects.update({key: (encoded(empty_table(), 1), "empty")}),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("layout", EVERYWHERE)
def test_no_part_of_the_catalogue_decides(open_world, layout, harm):
    """Whichever of its files is lost, torn or tells of less, each session is found where it was put; so if all are."""
    world, put = grown(layout)
    for key in told(world):
        harmed = world.copy()
        HARMS[harm](harmed, key)
        assert homes(ROOT, storage_options=open_world(harmed)) == put
    harmed = world.copy()
    for key in told(world):
        HARMS[harm](harmed, key)
    assert homes(ROOT, storage_options=open_world(harmed)) == put


def test_each_file_of_a_store_of_many(open_world):
    """Of a store with several files each may be lost, the last one included."""
    options, count = open_world(World()), 2 * FILE_ROWS + 3
    names = ["window_start", "n_windows", "label", "content_digest", "receipt"]
    many = [make_session(f"n{at}", 1, at)[names] for at in range(count)]
    one = xr.concat(many, "session", data_vars="minimal", coords="minimal")
    aggrade.append(one, ROOT, storage_options=options)
    expected = {f"n{at}": "windows.zarr" for at in range(count)}
    assert len(told(options["world"])) == 3
    for key in told(options["world"]):
        harmed = options["world"].copy()
        del harmed.objects[key]
        assert homes(ROOT, storage_options=open_world(harmed)) == expected


@pytest.mark.parametrize(
    ("partition", "start", "harm"),
    [("month", "2026-05-02", "lost"), ("year", "2026-05-02", "torn"), ("month", "", "empty")],
)
def test_a_session_moves_though_its_lines_are_lost(open_world, partition, start, harm):
    """It leaves the partition where it lies, dated or not, and shows once; the catalogue tells of it again."""
    options = open_world(World())
    for session in (dated("other", "2025-03-02", seed=2), dated(ODD, start)):
        land(session, options, partition=partition)
    part = start[: {"month": 7, "year": 4}[partition]] or "undated"
    (key,) = [key for key in told(options["world"]) if f"partition={part}/" in key]
    HARMS[harm](options["world"], key)
    land(dated(ODD, "2024-07-01"), options, partition=partition)
    new, old = {"month": ("2024-07", "2025-03"), "year": ("2024", "2025")}[partition]
    assert lying(options) == {ODD: f"windows/{new}.zarr", "other": f"windows/{old}.zarr"}


def test_lines_of_an_older_state(options):
    """Lines that came back from a copy of the catalogue, of a session that has left or of no store, are not believed."""
    world = options["world"]
    (key,) = told(world)
    before = world.objects[key]
    land(dated(ODD, "2024-10-31"), options)
    expected = {ODD: "windows/2024-10.zarr", "other": "windows/undated.zarr"}
    world.objects[key] = before
    world.objects[key.replace("/partition=undated/", "/partition=x/")] = before
    world.objects[key.replace("-000000", "-000000 (1)")] = before
    assert homes(ROOT, storage_options=options) == expected


def asked(options, open_world):
    """Return the requests of looking where sessions lie, but those for the catalogue and the list of stores."""
    hooks = Numbered()
    homes(ROOT, storage_options=open_world(options["world"], hooks))
    plain = [kind.split(" ", 1) for kind in hooks.kinds]
    assert sum(kind == "LIST" and key.startswith("data/catalogue") for kind, key in plain) == 1
    return [(kind, key) for kind, key in plain if ".zarr/" in key]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("per session", []), ("month", ["2025-01", "2026-10", "undated"]), ("common", ["windows"])],
)
def test_what_it_costs(open_world, layout, expected):
    """Beside the catalogue, it reads the root of each common store, and nothing of sessions' own."""
    requests = asked(open_world(grown(layout)[0]), open_world)
    assert {kind for kind, _ in requests} <= {"GET"}
    roots = [f"{name}.zarr/zarr.json" for name in expected]
    assert sorted("/".join(key.split("/")[-2:]) for _, key in requests) == roots


def test_what_a_lost_line_costs(open_world):
    """Of stores of sessions' own only that is looked into of which no line is left."""
    world = grown("per session")[0].copy()
    path = grown("per session")[1]["other"]
    (key,) = [key for key in told(world) if Place(None, path).prefix in key]
    del world.objects[key]
    requests = asked(open_world(world), open_world)
    assert 1 < len(requests) < 6
    assert {key.startswith(f"data/{path}/") for _, key in requests} == {True}


def test_a_removal_leaves_nothing_to_look_into(options, open_world):
    """A store with a row that was removed or superseded is told of wholly: its labels are not read."""
    land(dated("third", ""), options)
    aggrade.remove(ROOT, "other", storage_options=options)
    land(dated(ODD, "2026-10-31"), options)
    requests = asked(options, open_world)
    assert sorted(key for _, key in requests) == [
        "data/windows/2026-10.zarr/zarr.json",
        "data/windows/undated.zarr/zarr.json",
    ]


class TestAStoreThatCannotBeRead:
    """What the catalogue tells of it counts; where that tells nothing, nobody guesses."""

    @pytest.mark.parametrize("layout", ["common", "named", "month"])
    def test_its_root(self, open_world, layout):
        """The catalogue's word is taken for a store whose root is torn; without it, it is an error."""
        world, put = grown(layout)
        torn = world.copy()
        root = f"data/{put[ODD]}/zarr.json"
        torn.objects[root] = (torn.objects[root][0][:-9], "torn")
        options = open_world(torn)
        assert homes(ROOT, storage_options=options) == put
        for key in told(torn):
            del torn.objects[key]
        if layout != "named":
            with pytest.raises(Damaged):
                homes(ROOT, storage_options=options)

    def test_its_labels(self, options):
        """Labels that are asked for and can't be decoded are an error, by the store's name."""
        world = options["world"]
        for key in [key for key in world.objects if key.startswith("data/windows/undated.zarr/session/c")]:
            world.objects[key] = (b"torn", "torn")
        assert homes(ROOT, storage_options=options) == dict.fromkeys((ODD, "other"), "windows/undated.zarr")
        for key in told(world):
            del world.objects[key]
        with pytest.raises(Damaged, match=r"undated\.zarr: found labels that can't be decoded"):
            homes(ROOT, storage_options=options)

    def test_one_store(self, options):
        """One Zarr store has no homes."""
        with pytest.raises(BadInput, match="a dataset root"):
            homes(f"{ROOT}/windows/undated.zarr", storage_options=options)


@pytest.mark.parametrize("wrong", ["2026-10", "undated"])
def test_a_session_in_two_places_is_taken_out_of_one(options, wrong):
    """Readers refuse it and name the command that takes it out of one store; the other keeps it, and is told of."""
    cut = staged(dated(ODD, "2026-10-31"), options)
    land_there(cut, f"{ROOT}/windows/2026-10.zarr", storage_options=options)
    drop_staged(cut, storage_options=options)
    with pytest.raises(BadInput) as caught:
        aggrade.open_windows(ROOT, storage_options=options)
    assert caught.value.code == "duplicate-label"
    with pytest.raises(BadInput, match=re.escape(str(caught.value))):
        aggrade.WindowReader(ROOT, 1, storage_options=options)
    (command,) = re.findall("such as (aggrade remove .*) \\(given", str(caught.value))
    *_, dim, _, store, label = shlex.split(command)
    assert (store, label, dim) == (f"{ROOT}/windows/2026-10.zarr", ODD, "session")
    aggrade.remove(store.replace("2026-10", wrong), label, dim=dim, storage_options=options)
    kept = {"2026-10": "undated", "undated": "2026-10"}[wrong]
    assert lying(options) == {ODD: f"windows/{kept}.zarr", "other": "windows/undated.zarr"}
    found = aggrade.open_windows(ROOT, storage_options=options).sel(session=ODD)
    assert np.array_equal(found["eeg"].values, dated(ODD, "")["eeg"].values[0])
    assert homes(ROOT, storage_options=options) == lying(options)
