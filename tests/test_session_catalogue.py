"""`read_catalogue`, `rebuild_catalogue`: one line for each session, kept by every commit, made again from the stores."""

from __future__ import annotations

import functools
import io
from collections import Counter
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from memory_storage import MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade import BadInput, Damaged
from aggrade.commit import read_snapshot
from aggrade.commit.catalogue import FILE_ROWS, Place
from aggrade.commit.chunks import Chunks
from aggrade.landing import land
from aggrade.layout import partition_store, session_store
from aggrade.repairing import repair
from aggrade.staging import stage

__all__ = ["open_world"]

ROOT = "world://data"
ODD = "Sub 01/ä b#?%"
LAYOUTS = {
    "common": lambda _: "windows.zarr",
    "named": lambda _: "sleep é.zarr",
    "partitions": lambda label: partition_store("2026" if label == "s2" else "undated"),
    "per_session": session_store,
}


def rich_session(label, windows, seed):
    """Return a session of both modalities with quality, rates and provenance, some values missing."""
    rng = np.random.default_rng(seed)
    plain = make_session(label, windows, seed)
    dims, per = ("session", "window"), lambda: rng.random((1, windows))
    text = lambda value: ("session", np.array([value], object))  # noqa: E731
    flat = rng.random((1, windows, 2)) < 0.3
    peaks = np.where(rng.random((1, windows, 2)) < 0.2, np.nan, rng.random((1, windows, 2)))
    return plain.assign(
        eeg_coverage=(dims, per().astype("f4")),
        fnirs_coverage=(dims, np.zeros((1, windows), "f4")),
        eeg_surplus=(dims, rng.integers(0, 3, (1, windows)).astype("i2")),
        eeg_flat=((*dims, "eeg_channel"), flat),
        eeg_peak_to_peak=((*dims, "eeg_channel"), peaks.astype("f4")),
        bad_fraction=(dims, per().astype("f4")),
        max_gap=(dims, per().astype("f4")),
        eeg_hum=((*dims, "eeg_channel"), rng.random((1, windows, 2))),
        eeg_rate_measured=("session", [249.9 + seed]),
        eeg_lost=("session", [seed]),
        session_start=text(f"2026-10-{seed:02}T10:00:00+02:00"),
        source=text(f'["{label}.xdf"]'),
        fnirs_channel=("fnirs_channel", np.array(["S1-D1"], object)),
    ).assign_attrs(window_size_s=2.0, mapping={"LEFT": 0, "RIGHT": 1})


SESSIONS = [
    rich_session(label, windows, seed)
    for seed, (label, windows) in enumerate([("s1", 3), (ODD, 7), ("s2", 5)], start=1)
]


class Data:
    """A dataset in memory that grows as the ingest does it: staged, then landed in the store of a layout."""

    def __init__(self, options, layout="common"):
        self.options, self.world, self.store = options, options["world"], LAYOUTS[layout]

    def url(self, label):
        return f"{ROOT}/{self.store(label)}"

    def append(self, session, **how):
        label = str(session["session"].values[0])
        staged = stage(session, ROOT, "one", storage_options=self.options)
        receipt = land(staged, self.url(label), storage_options=self.options, **how)
        drop = MemoryStorage(self.world, "data/.aggrade/staging/one.zarr")
        drop.delete([info.key for info in drop.list()])
        return receipt

    def read(self):
        return aggrade.read_catalogue(ROOT, storage_options=self.options)

    def rebuild(self):
        return aggrade.rebuild_catalogue(ROOT, storage_options=self.options)

    def verify(self):
        return aggrade.verify(ROOT, storage_options=self.options)

    def files(self):
        return {
            key: data for key, (data, _) in self.world.objects.items() if key.startswith("data/catalogue/")
        }

    def assert_follows(self, labels):
        """Assert that it tells of just these sessions, and of them just what it is rebuilt to."""
        kept = self.read()
        assert sorted(kept["session"]) == sorted(labels)
        assert self.verify().ok, str(self.verify())
        for key in self.files():
            del self.world.objects[key]
        self.rebuild()
        pd.testing.assert_frame_equal(self.read(), kept)


@functools.cache
def grown(layout):
    """Return a world with three sessions in one of the layouts."""
    world = World()
    made = Data({"world": world, "hooks": None}, layout)
    for session in SESSIONS:
        made.append(session)
    return world


@pytest.fixture(params=LAYOUTS)
def data(open_world, request):
    """Return a dataset of three sessions in one of the layouts."""
    return Data(open_world(grown(request.param).copy()), request.param)


@pytest.mark.parametrize("kind", ["M8[s]", "M8[ms]", "M8[ns]", "m8[s]"])
def test_times_as_ids_are_spelled_as_the_store_does(open_world, kind):
    """Of whatever resolution they were handed over, the catalogue tells what it is rebuilt to."""
    data = Data(open_world(World()))
    for day in (18_000, 18_001):
        labels = np.array([day], "M8[D]" if kind[0] == "M" else "m8[D]").astype(kind)
        session = xr.Dataset({"z": ("session", [float(day)])}, {"session": labels})
        aggrade.append(session, ROOT, storage_options=data.options)
    shown = aggrade.open_windows(ROOT, storage_options=data.options)["session"].values
    data.assert_follows(list(map(str, shown)))


@pytest.fixture
def common(open_world):
    """Return a dataset of three sessions in the common store."""
    return Data(open_world(grown("common").copy()))


def many_sessions(count):
    """Return sessions that hold next to nothing."""
    names = ["window_start", "n_windows", "label", "content_digest", "receipt"]
    many = [make_session(f"n{at}", 1, at)[names] for at in range(count)]
    return xr.concat(many, "session", data_vars="minimal", coords="minimal")


class TestFollows:
    """Whatever a commit does, the catalogue tells what the stores show, and is rebuilt to the same."""

    def test_append(self, data):
        """Each session has its line, in every layout, ids with any character included."""
        data.assert_follows(["s1", ODD, "s2"])

    def test_the_same_again(self, data):
        """An append that has nothing to do leaves it as it is, byte for byte."""
        before = data.files()
        data.append(SESSIONS[0])
        assert data.files() == before

    def test_replace(self, data):
        """A session that is replaced has one line, which points at the new row."""
        data.append(rich_session("s1", 4, 9), on_conflict="replace")
        line = data.read().set_index("session").loc["s1"]
        assert line["windows"] == 4
        shown = xr.open_zarr(_store(data, line["store"]), consolidated=True)
        assert str(shown["session"].values[line["index"]]) == "s1"
        assert int(shown["n_windows"][line["index"]]) == 4
        data.assert_follows(["s1", ODD, "s2"])

    @pytest.mark.parametrize("purge", [False, True])
    def test_remove(self, data, purge):
        """Nothing of a removed session is left in it, nor, if backups are purged, anywhere."""
        aggrade.remove(ROOT, ODD, purge_backups=purge, storage_options=data.options)
        for key, content in data.files().items():
            assert ODD not in unquote(key)
            table = pq.read_table(io.BytesIO(content))
            assert ODD not in str(table.to_pylist())
            assert b"Sub 01" not in content
        data.assert_follows(["s1", "s2"])

    def test_restore(self, data):
        """What a restore undoes loses its line, what it brings back gets it again."""
        store = data.url("s1")
        backup = data.append(rich_session("s1", 4, 9), on_conflict="replace").backup
        receipt = aggrade.restore(store, backup, storage_options=data.options)
        assert data.read().set_index("session").loc["s1", "windows"] == 3
        data.assert_follows(["s1", ODD, "s2"])
        aggrade.restore(store, receipt.backup, storage_options=data.options)
        assert data.read().set_index("session").loc["s1", "windows"] == 4
        data.assert_follows(["s1", ODD, "s2"])

    def test_restore_to_before_the_catalogue(self, open_world):
        """A store that is restored to a state from before its catalogue keeps it."""
        made = Data(open_world(World()))
        aggrade.append(SESSIONS[0], made.url("s1"), grow=("window",), storage_options=made.options)
        backup = made.append(SESSIONS[1]).backup
        aggrade.restore(ROOT, backup, storage_options=made.options)
        made.assert_follows(["s1"])
        made.append(SESSIONS[2])
        made.assert_follows(["s1", "s2"])

    def test_many_at_once_fill_several_files(self, open_world):
        """Rows of one append that lie in two files are told in both; a later one is told beside them."""
        made = Data(open_world(World()))
        some = many_sessions(FILE_ROWS + 2)
        aggrade.append(some[{"session": slice(1, None)}], ROOT, storage_options=made.options)
        aggrade.append(some[{"session": slice(0, 1)}], ROOT, storage_options=made.options)
        assert len(made.files()) == 2
        assert list(made.read()["index"]) == list(range(FILE_ROWS + 2))
        made.assert_follows(some["session"].values)

    def test_a_missing_modality(self, common):
        """Of a modality that a session lacks there is nothing but nulls, although the store has room for it."""
        kept = [name for name in SESSIONS[0].variables if not str(name).startswith("eeg")]
        common.append(SESSIONS[0][kept].assign_coords(session=["deaf"]).assign_attrs(SESSIONS[0].attrs))
        line = common.read().set_index("session").loc["deaf"]
        told = [name for name in line.index if name.startswith("eeg") and line[[name]].notna().all()]
        assert told == []
        assert list(line["fnirs_channels"]) == ["S1-D1"]
        common.assert_follows(["s1", ODD, "s2", "deaf"])

    def test_no_dataset_root_no_catalogue(self, open_world):
        """A bare Zarr store, and epochs, leave no trace of a catalogue."""
        options = open_world(World())
        aggrade.append(SESSIONS[0], f"{ROOT}/windows.zarr", grow=("window",), storage_options=options)
        night = xr.Dataset({"n": ("epoch", [1])}, {"epoch": ["night 1"]})
        aggrade.append(night, ROOT, dim="epoch", storage_options=options)
        assert not any("catalogue" in key for key in options["world"].objects)
        assert "catalogue" not in read_snapshot(MemoryStorage(options["world"], "data/windows.zarr")).mark

    def test_a_store_remembers_its_catalogue(self, common):
        """Once told of, a store is told of however it is named."""
        aggrade.append(
            rich_session("s4", 2, 4), f"{ROOT}/windows.zarr", grow=("window",), storage_options=common.options
        )
        common.assert_follows(["s1", ODD, "s2", "s4"])


def _store(data, path):
    from aggrade.storage.zarr_store import ReadStore

    return ReadStore(MemoryStorage(data.world, f"data/{path}"))


class TestLines:
    """What a line says, worked out here from the arrays that were handed over."""

    def test_every_column(self, common):
        """Counts, lengths, labels, quality and provenance are those of the session's own windows."""
        line = common.read().set_index("session").loc[ODD]
        given = SESSIONS[1]
        assert line["store"] == "windows.zarr"
        assert (line["index"], line["windows"], line["partition"]) == (1, 7, "windows")
        assert (line["window_size_s"], line["duration_s"]) == (2.0, 14.0)
        assert list(line["eeg_channels"]) == ["E0", "E1"]
        labels = Counter(
            {0: "LEFT", 1: "RIGHT", 2: "2"}[value] for value in given["label"].values[0].tolist()
        )
        assert dict(line["labels"]) == dict(labels)
        for name in ("eeg_coverage", "bad_fraction", "eeg_flat"):
            assert line[name] == pytest.approx(float(given[name].astype("f8").mean()), rel=1e-12)
        assert line["eeg_coverage_min"] == given["eeg_coverage"].values.min()
        assert line["fnirs_coverage"] == 0
        assert line["max_gap"] == given["max_gap"].values.max()
        peaks = given["eeg_peak_to_peak"].values
        assert line["eeg_peak_to_peak"] == pytest.approx(
            float(np.median(peaks[~np.isnan(peaks)].astype("f8")))
        )
        assert line["eeg_surplus"] == given["eeg_surplus"].values.sum()
        assert dict(line["quality"]) == {"eeg_hum": pytest.approx(float(given["eeg_hum"].mean()), rel=1e-12)}
        assert (line["eeg_rate_measured"], line["eeg_lost"]) == (251.9, 2)
        assert line["session_start"] == "2026-10-02T10:00:00+02:00"
        assert line["source"] == f'["{ODD}.xdf"]'

    def test_digest_and_receipt_are_the_commits(self, common):
        """They are what the append's receipt says."""
        receipt = common.append(rich_session("s4", 2, 4))
        line = common.read().set_index("session").loc["s4"]
        assert (line["content_digest"], line["receipt"]) == (receipt.digests["s4"], receipt.write_id)

    def test_read_as_it_lies(self, tmp_path):
        """Pandas and pyarrow read the folder without aggrade, with the partition from its name."""
        for session in SESSIONS:
            aggrade.append(session, str(tmp_path), grow=("window",))
        expected = aggrade.read_catalogue(str(tmp_path))
        by_pandas = pd.read_parquet(tmp_path / "catalogue").sort_values("index", ignore_index=True)
        assert list(by_pandas["session"]) == ["s1", ODD, "s2"]
        assert set(by_pandas.columns) == set(expected.columns)
        assert list(by_pandas["partition"].astype(str)) == ["windows"] * 3
        by_arrow = ds.dataset(tmp_path / "catalogue", partitioning="hive").to_table()
        assert by_arrow.filter(ds.field("session") == ODD)["windows"].to_pylist() == [7]

    def test_it_reads_no_samples(self, common):
        """Rebuilding reads not one object of the sample arrays."""
        hooks = Numbered()
        aggrade.rebuild_catalogue(ROOT, storage_options={"world": common.world, "hooks": hooks})
        assert not [kind for kind in hooks.kinds if "/eeg/c" in kind]

    def test_a_dataset_without_one(self, open_world):
        """Where there is no catalogue, reading gives no line and the same columns."""
        options = open_world(World())
        empty = aggrade.read_catalogue(ROOT, storage_options=options)
        assert len(empty) == 0
        made = Data(options)
        made.append(SESSIONS[0])
        assert list(empty.columns) == list(made.read().columns)

    @pytest.mark.parametrize("call", [aggrade.read_catalogue, aggrade.rebuild_catalogue])
    def test_one_store_is_refused(self, common, call):
        """A Zarr store has no catalogue of its own."""
        with pytest.raises(BadInput, match="dataset root"):
            call(f"{ROOT}/windows.zarr", storage_options=common.options)


class TestDrift:
    """`verify` says where the catalogue differs from the stores, and what mends it."""

    def assert_mended(self, data, sentence):
        problems = data.verify().problems
        assert [text for text in problems if sentence in text], problems
        assert all("run verify --repair" in text for text in problems)
        repairs = repair(ROOT, storage_options=data.options)
        assert repairs.ok, str(repairs)
        assert repairs.done
        assert sorted(data.read()["session"]) == sorted(["s1", ODD, "s2"])

    def test_lost_lines(self, data):
        """A file that is gone is noticed, and made again."""
        del data.world.objects[next(iter(data.files()))]
        self.assert_mended(data, "does not tell of")

    def test_a_torn_file(self, common):
        """A file that can't be read is noticed, and made again."""
        key, content = next(iter(common.files().items()))
        common.world.objects[key] = (content[:-20], "torn")
        with pytest.raises(Damaged, match="can't be read"):
            common.read()
        self.assert_mended(common, "can't be read")

    def test_a_torn_file_keeps_nobody_from_appending(self, common):
        """The next append makes it whole again."""
        key, content = next(iter(common.files().items()))
        common.world.objects[key] = (content[:-20], "torn")
        common.append(rich_session("s4", 2, 4))
        common.assert_follows(["s1", ODD, "s2", "s4"])

    def test_other_lines(self, common):
        """A line that says something else, and one of a session that isn't there, are noticed."""
        key, content = next(iter(common.files().items()))
        table = pq.read_table(io.BytesIO(content))
        lines = table.to_pylist()
        lines[0]["windows"], lines[1]["session"] = 99, "nobody"
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(lines, schema=table.schema), sink)
        common.world.objects[key] = (sink.getvalue(), "other")
        problems = " ".join(common.verify().problems)
        assert "tells otherwise than the store of session 's1' at row 0" in problems
        assert "does not show: session 'nobody' at row 1" in problems
        self.assert_mended(common, "tells otherwise")

    def test_lines_of_no_store(self, common):
        """A file of a store that isn't there is noticed, and deleted."""
        key, content = next(iter(common.files().items()))
        gone = Place(MemoryStorage(common.world, "data"), "sessions/gone_windowed.zarr")
        common.world.objects[f"data/{gone.key(0)}"] = (content, "lost")
        self.assert_mended(common, "is kept by no store")
        assert list(common.files()) == [key]

    @pytest.mark.parametrize(
        ("name", "said"),
        [("{}9.parquet", "is kept by no store"), ("{}x.parquet", "is kept by no store")],
        ids=["another number", "no number"],
    )
    def test_a_copy_of_a_file(self, common, name, said):
        """Who reads the catalogue as it lies would count sessions twice: it is noticed, and deleted."""
        key, content = next(iter(common.files().items()))
        common.world.objects[name.format(key.removesuffix(".parquet"))] = (content, "copy")
        self.assert_mended(common, said)
        assert list(common.files()) == [key]

    def test_lines_in_two_files(self, common):
        """A copy under the name of another file of the store is noticed, and emptied."""
        key, content = next(iter(common.files().items()))
        common.world.objects[key.replace("000000.parquet", "000001.parquet")] = (content, "copy")
        self.assert_mended(common, "tells of 3 sessions again")

    def test_a_copy_goes_with_the_session(self, common):
        """A removal leaves no id in a file that no store keeps."""
        key, content = next(iter(common.files().items()))
        common.world.objects[f"{key.removesuffix('.parquet')}9.parquet"] = (content, "copy")
        aggrade.remove(ROOT, "s2", storage_options=common.options)
        assert not any(b"s2" in data and name.endswith("9.parquet") for name, data in common.files().items())

    def test_a_damaged_store_is_not_believed(self, common):
        """The catalogue tells what was written, until somebody has mended the store."""
        before = common.files()
        storage = MemoryStorage(common.world, "data/windows.zarr")
        chunks = Chunks(read_snapshot(storage).documents["eeg_channel"])
        place = "data/windows.zarr/eeg_channel/c/0"
        written = common.world.objects[place]
        common.world.objects[place] = (chunks.bytes_of(np.array(["E1", "E0"], object)), "swapped")
        repairs = repair(ROOT, storage_options=common.options)
        assert not repairs.ok
        assert common.files() == before
        common.world.objects[place] = written
        assert common.verify().ok

    def test_a_dataset_from_before(self, open_world):
        """Sessions that came without a catalogue are missed from the first one on that comes with it."""
        made = Data(open_world(World()))
        for session in SESSIONS[:2]:
            aggrade.append(
                session, made.url(""), grow=("window",), chunks=CHUNKS, storage_options=made.options
            )
        assert made.verify().ok
        made.append(SESSIONS[2])
        self.assert_mended(made, "session 's1' at row 0 and 1 more")

    def test_rebuilding_begins_one(self, open_world):
        """Rebuilding gives a dataset without a catalogue one that commits keep up to date from then on."""
        made = Data(open_world(World()))
        aggrade.append(SESSIONS[0], made.url(""), grow=("window",), storage_options=made.options)
        receipt = made.rebuild()
        assert receipt.details == {"stores": 1, "files": 1, "deleted": 0}
        aggrade.append(SESSIONS[1], made.url(""), grow=("window",), storage_options=made.options)
        made.assert_follows(["s1", ODD])


class TestPrice:
    """The catalogue costs one read and one write for each append, whatever the dataset holds."""

    def cost(self, data, session, **how):
        hooks = Numbered()
        options = {"world": data.world, "hooks": hooks}
        plan = aggrade.append(session, ROOT, dry_run=True, storage_options=data.options, **how)
        receipt = aggrade.append(session, ROOT, storage_options=options, **how)
        sent = Counter(kind.split()[0] for kind in hooks.kinds)
        assert plan.price.requests == sent == receipt.requests
        return Counter(kind.split()[0] for kind in hooks.kinds if "data/catalogue/" in kind)

    def test_append(self, common):
        """One GET and one PUT, as the dry run says."""
        assert self.cost(common, rich_session("s4", 2, 4)) == {"GET": 1, "PUT": 1}

    def test_create(self, open_world):
        """The same where there is nothing yet."""
        assert self.cost(Data(open_world(World())), SESSIONS[0]) == {"GET": 1, "PUT": 1}

    def test_replace_in_another_file(self, open_world):
        """A row that is replaced in another file costs that file, as the dry run says."""
        made = Data(open_world(World()))
        some = many_sessions(FILE_ROWS + 1)
        aggrade.append(some[{"session": slice(1, None)}], ROOT, storage_options=made.options)
        other = some[{"session": slice(3, 4)}].assign(label=lambda session: session["label"] + 1)
        assert self.cost(made, other, on_conflict="replace") == {"GET": 2, "PUT": 2}
        made.assert_follows(some["session"].values[1:])

    def test_bytes(self, common):
        """The bytes of the dry run are those that are written, within 5 %."""

        class Sizes(Numbered):
            total = 0

            def after(self, kind, key):
                if kind == "PUT":
                    self.total += len(common.world.objects[key][0])

        session, hooks = rich_session("s4", 2, 4), Sizes()
        plan = aggrade.append(session, ROOT, dry_run=True, storage_options=common.options)
        aggrade.append(session, ROOT, storage_options={"world": common.world, "hooks": hooks})
        assert plan.price.bytes_written == pytest.approx(hooks.total, rel=0.05)
