"""Stores that xarray wrote, of either format, consolidated or not: adopted by the first append, nothing rewritten."""

from __future__ import annotations

import json
import threading
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from make_datasets import assert_holds, make_session
from memory_storage import DiesAt, Hooks, Killed, LosesReply, MemoryStorage, Numbered, World, open_world
from storage_conformance import StorageConformance

import aggrade
from aggrade.errors import Conflict, Damaged, Refused, Unavailable
from aggrade.repairing import repair
from aggrade.storage.adopting import Adopting
from aggrade.storage.local import LocalStorage

__all__ = ["open_world"]

FORMS = [(2, True), (2, False), (3, True), (3, False)]
NAMES = ["2 consolidated", "2", "3 consolidated", "3"]
KEPT = ["eeg", "n_windows", "window_start"]
FIRST, SECOND, LONGER = (
    make_session(label, windows, seed)[KEPT]
    for seed, (label, windows) in enumerate((("a", 5), ("b", 3), ("c ä", 8)))
)
CHUNKS = {"eeg": (1, 2, 2, 5), "window_start": (3, 3), "n_windows": (3,), "session": (3,)}


def write(path, form, dataset=FIRST, *, chunks=CHUNKS, encoding=None):
    """Write a store by xarray alone, its rows sharing chunks with rows to come."""
    version, consolidated = form
    options = {name: {"chunks": sizes} for name, sizes in chunks.items() if name in dataset.variables}
    for name, more in (encoding or {}).items():
        options.setdefault(name, {}).update(more)
    with warnings.catch_warnings(action="ignore"):
        dataset.to_zarr(path, zarr_format=version, consolidated=consolidated, encoding=options)
    return str(path)


def files(path):
    """Return every file of a store but those of aggrade."""
    found = {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }
    return {key: data for key, data in found.items() if not key.startswith(".aggrade/")}


def metadata(key):
    """Tell whether a file says what arrays are like."""
    return key.rpartition("/")[2] in {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


def append(dataset, store, **options):
    """Append, the windows being allowed to be more."""
    return aggrade.append(dataset, store, grow=("window",), **options)


class TestConformance(StorageConformance):
    """It keeps the contract of every storage."""

    rounds = 1

    @pytest.fixture
    def storage(self, tmp_path):
        """Return an adopting storage over an empty folder."""
        return Adopting(LocalStorage(str(tmp_path / "data")))


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
class TestForms:
    """All four forms alike."""

    def test_sessions_are_added(self, tmp_path, form):
        """Rows of xarray's and of ours are read by anyone, through consolidated metadata and without."""
        store = write(tmp_path / "windows.zarr", form)
        append(SECOND, store)
        receipt = append(LONGER, store)
        assert append(LONGER, store).write_id == receipt.write_id
        for consolidated in (True, False):
            with warnings.catch_warnings(action="ignore", category=zarr.errors.ZarrUserWarning):
                found = xr.open_zarr(store, consolidated=consolidated, zarr_format=form[0]).load()
            assert_holds(found, [FIRST, SECOND, LONGER])
        assert_holds(aggrade.open_windows(store).load(), [FIRST, SECOND, LONGER])
        assert aggrade.verify(store).ok

    def test_nothing_is_rewritten_that_need_not_be(self, tmp_path, form):
        """Chunks that no new row shares stay byte by byte, and no file of the other format appears."""
        store = write(tmp_path / "windows.zarr", form)
        before = files(tmp_path / "windows.zarr")
        append(SECOND, store)
        after = files(tmp_path / "windows.zarr")
        assert before.keys() <= after.keys()
        changed = {key for key in before if before[key] != after[key] and not metadata(key)}
        assert changed
        assert not any(key.startswith(("eeg/", "eeg_channel/")) for key in changed)
        assert not any(key.endswith("zarr.json") for key in after) or form[0] == 3

    def test_channels_are_guarded(self, tmp_path, form):
        """What is refused in our own stores is refused here, and nothing is written."""
        store = write(tmp_path / "windows.zarr", form)
        before = files(tmp_path)
        swapped = SECOND.assign_coords(eeg_channel=SECOND["eeg_channel"].values[::-1])
        with pytest.raises(Refused, match="in another order"):
            append(swapped, store)
        with pytest.raises(Refused, match="before aggrade"):
            append(make_session("a", 2, 9)[KEPT], store)
        assert files(tmp_path) == before

    def test_a_dry_run_writes_nothing(self, tmp_path, form):
        """The plan is made on what is there."""
        store = write(tmp_path / "windows.zarr", form)
        before = files(tmp_path)
        plan = append(SECOND, store, dry_run=True)
        assert plan.commit.layers[0].index == 1
        assert files(tmp_path) == before

    @pytest.mark.parametrize("earlier", [False, True], ids=["first append", "second append"])
    def test_a_full_backup_is_restored(self, tmp_path, form, earlier):
        """The command that a receipt names undoes the append, whatever form the store was in."""
        store = write(tmp_path / "windows.zarr", form)
        rows = [FIRST]
        if earlier:
            append(SECOND, store)
            rows.append(SECOND)
        backup = append(LONGER, store, backup="full").backup
        aggrade.restore(store, backup)
        assert_holds(aggrade.open_windows(store).load(), rows)
        assert aggrade.verify(store).ok

    def test_a_repair_before_it_is_ours(self, tmp_path, form):
        """Documents are not ours to write then: the store can be appended to afterwards."""
        store = write(tmp_path / "windows.zarr", form)
        group = zarr.open_group(store, mode="r+", use_consolidated=False)
        group["eeg"].attrs["note"] = "by hand"
        repair(store)
        append(SECOND, store)
        assert_holds(aggrade.open_windows(store).load(), [FIRST, SECOND])

    def test_looking_and_recovering(self, tmp_path, form):
        """A store of another tool's is verified, surveyed and recovered as it is, without a write."""
        store = write(tmp_path / "windows.zarr", form)
        before = files(tmp_path)
        assert aggrade.verify(store).ok
        assert aggrade.recover(store) is None
        assert aggrade.list_backups(store) == []
        assert files(tmp_path) == before


@pytest.fixture
def adopted(tmp_path):
    """Return a function that puts a store of format 2 into a world."""
    write(tmp_path / "windows.zarr", (2, True))

    def make(form=(2, True), **how):
        folder = tmp_path / f"{form}.zarr"
        if not folder.exists():
            write(folder, form)
        world = World(**how)
        storage = MemoryStorage(world, "data/windows.zarr")
        for key, data in files(folder).items():
            storage.write(key, data)
        return world

    return make


STORE = "world://data/windows.zarr"


def seen(world, tmp_path):
    """Return what xarray reads of a store, its objects laid out as files."""
    folder = tmp_path / f"seen-{len(list(tmp_path.iterdir()))}"
    for key, (data, _) in world.objects.items():
        if key.startswith("data/windows.zarr/"):
            file = folder / key.removeprefix("data/windows.zarr/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    consolidated = any("consolidated" in file.read_text() for file in folder.glob("*z*") if file.is_file())
    return xr.open_zarr(folder, consolidated=consolidated).load()


each_step = pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long), 5], ids=["every", "every fifth"]
)
"""Which requests: each of them in the long proofs, a sample else."""


@each_step
@pytest.mark.parametrize(("form", "after"), [((2, True), False), ((2, False), True), ((3, False), False)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_at_every_request(adopted, open_world, tmp_path, form, after, step):
    """Whatever the request it dies at, readers see old or new, and running it again makes it whole, once."""
    rehearsal, outcomes = Numbered(), set()
    append(SECOND, STORE, storage_options=open_world(adopted(form), rehearsal))
    for place in range(rehearsal.count, 0, -step):
        world = adopted(form)
        with pytest.raises(Killed):
            append(SECOND, STORE, storage_options=open_world(world, DiesAt(world, place, after=after)))
        found = seen(world, tmp_path)
        outcomes.add(found.sizes["session"])
        assert_holds(found, [FIRST, SECOND][: found.sizes["session"]])
        for session in (LONGER, SECOND):
            append(session, STORE, storage_options=open_world(world))
        rest = [SECOND, LONGER] if found.sizes["session"] == 2 else [LONGER, SECOND]
        assert_holds(seen(world, tmp_path), [FIRST, *rest])
        assert aggrade.verify(STORE, storage_options=open_world(world)).ok
    assert outcomes == {1, 2}


@each_step
@pytest.mark.parametrize("form", FORMS[1:2], ids=NAMES[1:2])
def test_a_lost_reply_at_every_request(adopted, open_world, monkeypatch, tmp_path, form, step):
    """A lost reply ends in success or in a clear error, and running it again makes it whole, once."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    rehearsal = Numbered()
    append(SECOND, STORE, storage_options=open_world(adopted(form), rehearsal))
    for place in range(rehearsal.count, 0, -step):
        world = adopted(form)
        try:
            append(SECOND, STORE, storage_options=open_world(world, LosesReply(place)))
        except Unavailable:
            append(SECOND, STORE, storage_options=open_world(world))
        assert_holds(seen(world, tmp_path), [FIRST, SECOND])


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
def test_two_writers(adopted, open_world, tmp_path, form):
    """Two that adopt the same store at the same time both get in, each once."""
    world = adopted(form, content_etags=True)
    threads = [
        threading.Thread(
            target=append, args=(each, STORE), kwargs={"storage_options": open_world(world, Hooks())}
        )
        for each in (SECOND, LONGER)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = seen(world, tmp_path)
    by_label = {str(each["session"].values[0]): each for each in (SECOND, LONGER)}
    assert_holds(found, [FIRST, *(by_label.pop(label) for label in found["session"].values[1:])])
    assert not by_label


TYPES = {
    "bool": np.array([True, False]),
    "int8": np.array([-3, 4], "i1"),
    "uint64": np.array([2**63, 1], "u8"),
    "big endian": np.array([1.5, -2.25], ">f4"),
    "complex": np.array([1 + 2j, -3j], "c8"),
    "half": np.array([0.5, 2], "f2"),
    "text": np.array(["ä b", ""], object),
    "fixed text": np.array(["ä b", "c"]),
    "time": np.array(["2024-02-29T12:34:56", "1999-01-01T12:34:56"], "M8[ns]"),
}


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.parametrize("values", TYPES.values(), ids=TYPES)
def test_every_type_of_format_2(tmp_path, values):
    """Values of each type that xarray writes are added as they are, and those there stay."""
    first, second = (xr.Dataset({"v": ("epoch", values[i : i + 1])}, {"epoch": [i]}) for i in (0, 1))
    store = write(tmp_path / "x.zarr", (2, True), first, chunks={"v": (4,)})
    aggrade.append(second, store, dim="epoch")
    found = xr.open_zarr(store)["v"].values
    assert found.dtype.kind == xr.open_zarr(write(tmp_path / "y.zarr", (2, True), first))["v"].dtype.kind
    assert found.tolist() == values.tolist()


def test_an_hour_in_a_store_of_days_is_refused(tmp_path):
    """Times were stored in days from the first of them: an hour more would be lost, or read as another day."""
    first, second = (
        xr.Dataset({"v": ("epoch", np.array([time], "M8[ns]"))}, {"epoch": [i]})
        for i, time in enumerate(("2024-02-29T12:34:56", "1999-01-01T13:00"))
    )
    store = write(tmp_path / "x.zarr", (2, True), first)
    with pytest.raises(Refused, match=r"variable 'v': found 1999-01-01T13") as caught:
        aggrade.append(second, store, dim="epoch")
    assert caught.value.code == "value-lost"


@pytest.mark.parametrize("version", [2, 3])
def test_integers_whose_sign_an_attribute_tells(tmp_path, version):
    """Readers get what was handed over, as values and as labels; what they would get otherwise is refused."""
    unsigned = {"_Unsigned": "true"}
    labels = xr.Variable("epoch", np.array([7], "i1"), unsigned)
    first = xr.Dataset({"v": ("epoch", np.array([5], "i1"), unsigned)}, {"epoch": labels})
    store = write(tmp_path / "x.zarr", (version, True), first)
    for label, value in ((200, 250), (9, 6)):
        row = xr.Dataset({"v": ("epoch", np.array([value], "u1"))}, {"epoch": [label]})
        assert aggrade.append(row, store, dim="epoch") == aggrade.append(row, store, dim="epoch")
    with pytest.raises(Refused, match=r"found -6, which would be stored as 250.*the store's uint8") as caught:
        aggrade.append(
            row.assign(v=("epoch", np.array([-6], "i1"))).assign_coords(epoch=[1]), store, dim="epoch"
        )
    assert caught.value.code == "value-lost"
    found = xr.open_zarr(store, zarr_format=version)
    assert found["v"].values.tolist() == [5, 250, 6]
    assert found["epoch"].values.tolist() == [7, 200, 9]
    assert aggrade.verify(store).ok


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "told",
    [{"units": "fortnights since whenever"}, {"units": "days since 2000-01-01", "calendar": "noleap"}],
)
def test_times_that_nobody_can_read_are_refused(tmp_path, version, told):
    """A store that xarray itself can't open by its units or calendar is named, in the dry run too."""
    rows = xr.Dataset({"v": ("epoch", [1.0], told)}, {"epoch": [1]})
    store = write(tmp_path / "x.zarr", (version, True), rows)
    before = files(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(Refused, match=r"variable 'v': found .*(whenever|noleap)") as caught:
            aggrade.append(rows.assign_coords(epoch=[2]), store, dim="epoch", dry_run=dry_run)
        assert caught.value.code == "time-units"
    assert files(tmp_path) == before


def test_a_codec_that_zarr_lacks_is_refused(tmp_path):
    """The array is named, whose chunks nobody here can read."""
    rows = xr.Dataset({"v": ("epoch", [1.0])}, {"epoch": [1]})
    store = write(tmp_path / "x.zarr", (3, True), rows)
    root = json.loads((tmp_path / "x.zarr" / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["v"]["codecs"].append({"name": "own.codec"})
    (tmp_path / "x.zarr" / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(Refused, match=r"variable 'v'.*own\.codec"):
        aggrade.append(rows.assign_coords(epoch=[2]), store, dim="epoch")


def codecs():
    """Return ways to store chunks in format 2 that have a name in format 3."""
    from numcodecs import Blosc, GZip, Zstd

    return {
        "none": {"compressors": None},
        "zstd": {"compressors": Zstd(3)},
        "gzip": {"compressors": GZip(2)},
        "blosc": {"compressors": Blosc("lz4", 5, Blosc.BITSHUFFLE)},
        "blosc, shuffle by itself": {"compressors": Blosc("zstd", 1, Blosc.AUTOSHUFFLE)},
        "packed": {"dtype": "i2", "scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -1},
    }


@pytest.mark.parametrize("name", ["none", "zstd", "gzip", "blosc", "blosc, shuffle by itself", "packed"])
def test_every_codec_that_has_a_name(tmp_path, name):
    """Chunks that hold rows of both are read by whoever knows format 2."""

    def rows(first, label):
        return xr.Dataset({"v": (("epoch", "x"), np.arange(first, first + 6.0)[None])}, {"epoch": [label]})

    store = write(
        tmp_path / "x.zarr", (2, True), rows(0, 1), chunks={"v": (4, 3)}, encoding={"v": codecs()[name]}
    )
    aggrade.append(rows(20, 2), store, dim="epoch")
    found = xr.open_zarr(store, zarr_format=2)["v"].values
    assert found.tolist() == [list(np.arange(6.0)), list(np.arange(20, 26.0))]


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_orders_and_separators(tmp_path, order, separator):
    """Arrays made by hand in either order of items, with either kind of key."""
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    array = group.create_array(
        "v",
        shape=(1, 4),
        chunks=(2, 3),
        dtype="i4",
        order=order,
        chunk_key_encoding={"name": "v2", "separator": separator},
    )
    array[:] = np.arange(4)[None]
    array.attrs["_ARRAY_DIMENSIONS"] = ["epoch", "x"]
    labels = group.create_array("epoch", shape=(1,), chunks=(2,), dtype="i8", fill_value=None)
    labels[:] = 7
    labels.attrs["_ARRAY_DIMENSIONS"] = ["epoch"]
    addition = xr.Dataset({"v": (("epoch", "x"), np.arange(4, 8, dtype="i4")[None])}, {"epoch": [8]})
    aggrade.append(addition, str(tmp_path / "x.zarr"), dim="epoch")
    found = zarr.open_group(tmp_path / "x.zarr", mode="r", zarr_format=2)
    assert found["v"][:].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert found["epoch"][:].tolist() == [7, 8]


def spoilt(path, change):
    """Write a store of format 2 and change what is said of one array."""
    store = write(path, (2, True))
    file = path / ".zmetadata"
    root = json.loads(file.read_text())
    change(root["metadata"])
    file.write_text(json.dumps(root))
    return store


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda m: m["eeg/.zarray"].update(filters=[{"id": "delta", "dtype": "<f4"}]), "filters delta"),
        (lambda m: m["eeg/.zarray"].update(compressor={"id": "lzma"}), "compressor lzma"),
        (lambda m: m["eeg/.zarray"].update(dtype=[["a", "<f4"]]), r"values of dtype \[\['a'"),
        (lambda m: m["session/.zarray"].update(filters=[{"id": "pickle"}]), "values of dtype |O"),
        (lambda m: m["eeg/.zattrs"].pop("_ARRAY_DIMENSIONS"), "no _ARRAY_DIMENSIONS"),
        (
            lambda m: m.update({"deep/x/.zarray": m["eeg/.zarray"], "deep/x/.zattrs": m["eeg/.zattrs"]}),
            "deep/x",
        ),
    ],
    ids=["filter", "compressor", "structure", "objects", "dimensions", "groups"],
)
def test_what_cannot_be_guarded_is_refused(tmp_path, change, found):
    """A store that can't be written as it was is refused with the reason, and stays as it is."""
    store = spoilt(tmp_path / "windows.zarr", change)
    before = files(tmp_path)
    with pytest.raises(Refused, match=found):
        append(SECOND, store)
    assert files(tmp_path) == before


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("version", [2, 3])
def test_a_store_that_contradicts_itself_is_damage(tmp_path, version, dry_run):
    """Another tool made one array longer and stopped: append and remove say which, and write nothing."""
    store, session = str(tmp_path / "windows.zarr"), make_session("a", 3, 1)[["eeg", "label"]]
    session.to_zarr(store, zarr_format=version, consolidated=False)
    longer = zarr.open_group(store)["eeg"]
    longer.resize((2, *longer.shape[1:]))
    before = files(tmp_path)
    with pytest.raises(Damaged, match=r"'session': found 1 in label, session and 2 in eeg") as caught:
        aggrade.append(make_session("b", 3, 2)[["eeg", "label"]], store, grow=("window",), dry_run=dry_run)
    assert caught.value.problems[0].code == "dimension-length"
    with pytest.raises(Damaged, match="resize the arrays"):
        aggrade.remove(store, "a", dry_run=dry_run)
    assert "found 1 in label, session and 2 in eeg" in str(aggrade.verify(store))
    assert files(tmp_path) == before


def test_torn_metadata_are_damage(tmp_path):
    """Metadata that are no JSON are named."""
    store = write(tmp_path / "windows.zarr", (2, True))
    (tmp_path / "windows.zarr" / ".zmetadata").write_text('{"metadata": {')
    with pytest.raises(Damaged, match=r"\.zmetadata: found no JSON"):
        append(SECOND, store)


def test_groups_of_format_3_are_refused(tmp_path):
    """A group within the group is no flat store."""
    store = write(tmp_path / "windows.zarr", (3, False))
    zarr.open_group(tmp_path / "windows.zarr", mode="a").create_group("deep")
    with pytest.raises(Refused, match="deep"):
        append(SECOND, store)


def by_hand(path, version, *, names=True, labels=(0, 1)):
    """Make a store as one does with zarr alone: whole numbers as labels, zarr's own fill."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    for name, values in {"v": np.arange(6, dtype="f4").reshape(2, 3), "epoch": np.array(labels)}.items():
        dims = ["epoch", "x"][: values.ndim]
        named = {"dimension_names": dims} if names and version == 3 else {}
        array = group.create_array(
            name, shape=values.shape, chunks=(2,) * values.ndim, dtype=values.dtype, **named
        )
        array[:] = values
        if names and version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = dims
    return str(path)


def row(label):
    """Return a row for a store that was made by hand."""
    return xr.Dataset({"v": (("epoch", "x"), np.array([[7, 8, 9]], "f4"))}, {"epoch": [label]})


@pytest.mark.parametrize("version", [2, 3])
def test_whole_numbers_as_labels(tmp_path, version):
    """In format 2 xarray makes floats of them, the fill being missing: they are the labels that they are, so handed over or not."""
    store = by_hand(tmp_path / "x.zarr", version)
    receipts = [aggrade.append(row(label), store, dim="epoch") for label in (2, 2.0, 3.0)]
    assert receipts[0].layers == receipts[1].layers == {"2": 2}
    assert receipts[2].layers == {"3": 3}
    assert aggrade.verify(store).problems == ()
    with pytest.raises(Refused, match="layer '1'"):
        aggrade.append(row(1), store, dim="epoch")


def test_dimensions_without_names_are_refused(tmp_path):
    """Zarr alone gives none in format 3: every such array is named."""
    store = by_hand(tmp_path / "x.zarr", 3, names=False)
    before = files(tmp_path)
    with pytest.raises(Refused, match="dimensions without names") as caught:
        aggrade.append(row(2), store, dim="epoch")
    assert {problem.where.rpartition("/")[2] for problem in caught.value.problems} == {"epoch", "v"}
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("zarr.json", lambda root: root.update(zarr_format=4)),
        ("zarr.json", lambda root: root["consolidated_metadata"]["metadata"]["eeg"].update(zarr_format=4)),
        ("zarr.json", lambda root: (root.update(zarr_format=4), root.pop("consolidated_metadata"))),
        (".zmetadata", lambda root: root["metadata"]["eeg/.zarray"].update(zarr_format=1)),
    ],
    ids=["root", "array", "not consolidated", "before format 2"],
)
def test_formats_of_another_time_are_refused(tmp_path, key, change):
    """A format that isn't known is named, and nothing is written."""
    store = write(tmp_path / "windows.zarr", (3 if key == "zarr.json" else 2, True))
    root = json.loads((tmp_path / "windows.zarr" / key).read_text())
    change(root)
    (tmp_path / "windows.zarr" / key).write_text(json.dumps(root))
    before = files(tmp_path)
    with pytest.raises(Refused, match=r"Zarr format [14]") as caught:
        append(SECOND, store)
    assert caught.value.code == "zarr-format"
    assert files(tmp_path) == before


def test_a_store_with_a_label_twice_is_refused(tmp_path):
    """No layer could be found again by it: both rows are named."""
    store = by_hand(tmp_path / "x.zarr", 3, labels=(5, 5))
    before = files(tmp_path)
    with pytest.raises(Refused, match="rows 0, 1") as caught:
        aggrade.append(row(6), store, dim="epoch", dry_run=True)
    assert caught.value.code == "label-twice-there"
    assert files(tmp_path) == before


class Meanwhile(Numbered):
    """Does something once, just before the first request of a kind."""

    def __init__(self, wanted, do):
        super().__init__()
        self.wanted, self.do = wanted, do

    def before(self, kind, key):
        """See `Hooks.before`."""
        super().before(kind, key)
        if f"{kind} {key}" == self.wanted and self.do:
            do, self.do = self.do, None
            do()


def test_rows_that_were_removed_before_the_first_append(tmp_path):
    """Rows that a removal has emptied have no label, and keep nobody from appending."""
    url = f"{tmp_path}/windows.zarr"
    values = np.arange(12.0).reshape(3, 4)
    plain = xr.Dataset({"v": (("session", "x"), values)}, {"session": np.array(["a", "b", "c"], object)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.to_zarr(url, zarr_format=3)
    for label in "ab":
        aggrade.remove(url, label)
    new = xr.Dataset({"v": (("session", "x"), np.ones((1, 4)))}, {"session": np.array(["n"], object)})
    aggrade.append(new, url)
    found = aggrade.open_windows(url)
    assert found["session"].values.tolist() == ["c", "n"]
    assert found["v"].values.tolist() == [values[2].tolist(), [1.0] * 4]
    assert aggrade.verify(url).ok


def test_a_tool_that_appends_between_plan_and_commit(adopted, open_world):
    """Its chunk is not the one that was read: nothing of it is replaced, and the next try says why."""
    world = adopted((2, True))
    append(SECOND, STORE, storage_options=open_world(world))
    storage = MemoryStorage(world, "data/windows.zarr")

    def appends():
        for key, data in {
            "n_windows/.zarray": json.dumps(
                {**json.loads(storage.read("n_windows/.zarray").data), "shape": [3]}
            ),
            "n_windows/0": "rows of another tool",
        }.items():
            storage.write(key, data.encode(), replacing=storage.stat(key).etag)

    hooks = Meanwhile("PUT data/windows.zarr/.aggrade/intent.json", appends)
    with pytest.raises(Conflict, match="somebody else wrote"):
        append(LONGER, STORE, storage_options=open_world(world, hooks))
    assert hooks.do is None
    for how in ({}, {"dry_run": True}):
        with pytest.raises(Refused, match="consolidate_metadata"):
            append(LONGER, STORE, storage_options=open_world(world), **how)
    assert storage.read("n_windows/0").data == b"rows of another tool"


def test_a_store_of_ours_costs_nothing_more(open_world):
    """In a consolidated store of format 3 as many requests are sent with it as without."""
    world, plain, hooks = World(), Numbered(), Numbered()
    append(FIRST, STORE, storage_options=open_world(world))
    storage = MemoryStorage(world, "data/windows.zarr", plain)
    storage.read("zarr.json")
    Adopting(MemoryStorage(world, "data/windows.zarr", hooks)).read("zarr.json")
    assert hooks.kinds == plain.kinds
