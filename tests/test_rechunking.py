"""`rechunk` from end to end: right, resumable, published by one switch, and refused where it must be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_arrays import random_values
from make_datasets import make_session
from make_stores import write_zarr

import aggrade
from aggrade.errors import BadInput, Conflict, Damaged, Refused
from aggrade.rechunking import RechunkPlan, rechunk
from aggrade.verifying import verify

LAYOUT = {"chunks": {"object": 10, "epoch": -1}, "shards": {"object": 30}}


def _cube(objects=47, epochs=9, seed=0):
    rng = np.random.default_rng(seed)
    dims = ("object", "measurement", "value", "epoch")
    return xr.Dataset(
        {
            "lightcurves": (dims, random_values((objects, 2, 2, epochs), "f4", seed), {"units": "mag"}),
            "status": (
                ("object", "measurement", "epoch"),
                rng.integers(0, 4, (objects, 2, epochs)).astype("u1"),
            ),
            "empty": (("object", "nothing"), np.zeros((objects, 0), "f8")),
        },
        coords={
            "object": random_values((objects,), str, seed),
            "ra": ("object", rng.uniform(0, 360, objects), {"units": "deg"}),
            "epoch": [f"e{number}" for number in range(epochs)],
            "measurement": ["g", "r"],
            "time_ref": np.float64(2459000.5),
        },
        attrs={"time_scale": "tdb", "list": [1, 2]},
    )


def _write(path, dataset, **bookkeeping):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoding = {"lightcurves": {"chunks": (20, 2, 2, 1)}, "status": {"chunks": (47, 1, 2)}}
        dataset = dataset.assign(
            {n: v.astype(np.dtypes.StringDType()) for n, v in dataset.items() if v.dtype.kind == "U"}
        )
        write_zarr(dataset, path, encoding=encoding, **bookkeeping)
    return str(path)


@pytest.fixture
def source(tmp_path):
    """Return the URL of a small cube as a populated store has it."""
    return _write(tmp_path / "lightcurves.zarr", _cube(), dim="epoch")


@pytest.fixture
def target(tmp_path):
    """Return the URL of a target that does not exist."""
    return str(tmp_path / "by_object.zarr")


def _assert_shows(target, source):
    """Compare two stores as bare xarray opens them, aggrade's own attribute aside."""
    there, here = (xr.open_zarr(url).load().drop_attrs(deep=False) for url in (target, source))
    xr.testing.assert_identical(there, here)
    attributes = [dict(xr.open_zarr(url).attrs) for url in (target, source)]
    assert attributes[0].pop("aggrade")["generation"] > 0
    attributes[1].pop("aggrade", None)
    assert attributes[0] == attributes[1]


def _files(root):
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()
    }


def test_the_copy_is_the_source_in_another_layout(source, target):
    """Values, coordinates, attributes, names and empty arrays are the source's; chunks and shards are the asked."""
    receipt = rechunk(source, target, **LAYOUT)
    _assert_shows(target, source)
    there = zarr.open_group(target, mode="r")
    assert (there["lightcurves"].chunks, there["lightcurves"].shards) == ((10, 2, 2, 9), (30, 2, 2, 9))
    assert there["status"].chunks == (10, 1, 9)
    assert there["ra"].attrs["units"] == "deg"
    assert receipt.kind == "rechunk"
    documents = len(list(there.array_keys())) + 1
    assert receipt.objects == 2 + 2 * 2 + 5 + documents
    assert verify(target).ok


def test_nothing_asked_for_gives_the_reading_layout(source, target):
    """Without chunks, light curves get all epochs in one chunk."""
    rechunk(source, target)
    _assert_shows(target, source)
    assert zarr.open_group(target, mode="r")["lightcurves"].chunks[-1] == 9


def test_rechunk_is_public(source, target):
    """The verb is where DESIGN says, with the bound as text."""
    assert aggrade.rechunk(source, target, max_memory="64 MiB").generation == 1
    _assert_shows(target, source)


@st.composite
def stores(draw):
    """Draw a store of two arrays that share dimensions, the layout to ask for, and how the source is cut."""
    sizes = {dim: draw(st.integers(0, 9)) for dim in "abc"}
    lengths = st.fixed_dictionaries({dim: st.integers(1, 5) for dim in "abc"})
    dtypes = st.sampled_from(["bool", "i2", "f8", "M8[ns]", str])
    chunk, asked, times = draw(lengths), draw(lengths), draw(lengths)
    variables = {
        name: (
            tuple(dims),
            random_values([sizes[dim] for dim in dims], draw(dtypes), draw(st.integers(0, 9))),
        )
        for name, dims in (("x", draw(st.permutations("abc"))), ("y", draw(st.sampled_from(["a", "ba", ""]))))
    }
    encoding = {
        name: {"chunks": tuple(chunk[dim] for dim in dims)} for name, (dims, _) in variables.items() if dims
    }
    if draw(st.booleans()) and 0 not in sizes.values():
        encoding["x"]["shards"] = tuple(chunk[dim] * times[dim] for dim in variables["x"][0])
    layout = {"chunks": asked}
    if draw(st.booleans()):
        layout["shards"] = {dim: asked[dim] * times[dim] for dim in "abc"}
    return xr.Dataset(variables), encoding, layout


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stores(), st.sampled_from([0, 300]))
def test_any_layout_of_any_store_is_reached(tmp_path, store, spare):
    """Random shapes, types, chunks and shards, with the least memory that does: the copy equals the source."""
    dataset, encoding, layout = store
    for folder in ("s.zarr", "t.zarr", "t.zarr.backups"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(tmp_path / "s.zarr", zarr_format=3, encoding=encoding)
    source, target = str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr")
    rechunk(source, target, max_memory=_least(source, target, layout) + spare, **layout)
    _assert_shows(target, source)


def _least(source, target, layout):
    """Return the bound that the refusal of too small a one names."""
    try:
        rechunk(source, target, max_memory=1, dry_run=True, **layout)
    except Refused as error:
        return max(int(problem.expected.split()[2]) for problem in error.problems)
    return 1


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_stores_of_other_tools_can_be_rechunked(tmp_path, target, zarr_format):
    """A plain Zarr store of format 2 or 3 is copied, masks and times included."""
    times = np.array(["2026-01-01", "NaT", "2026-01-03"], "M8[ns]")
    dataset = xr.Dataset(
        {"x": (("a", "b"), np.arange(12.0).reshape(3, 4)), "when": ("a", times)}, attrs={"u": 1}
    )
    dataset["x"].encoding = {"_FillValue": -1.0, "dtype": "i2", "scale_factor": 0.5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(tmp_path / "plain.zarr", zarr_format=zarr_format)
    rechunk(str(tmp_path / "plain.zarr"), target, chunks={"a": 2, "b": 2})
    _assert_shows(target, str(tmp_path / "plain.zarr"))


def test_again_is_a_no_op_with_the_same_receipt(source, target, tmp_path):
    """A target that shows the state in this layout is left alone: same receipt, no file touched or made."""
    receipt = rechunk(source, target, **LAYOUT)
    before = _files(tmp_path)
    assert rechunk(source, target, **LAYOUT) == receipt
    assert _files(tmp_path) == before
    assert rechunk(source, target, dry_run=True, **LAYOUT).up_to_date


def test_a_dry_run_writes_nothing(source, target, tmp_path):
    """The plan is returned and printed; no file is made, neither for a new nor for a stale target."""
    before = _files(tmp_path)
    plan = rechunk(source, target, dry_run=True, **LAYOUT)
    assert isinstance(plan, RechunkPlan)
    assert "lightcurves (object: 47" in str(plan)
    assert _files(tmp_path) == before
    rechunk(source, target, **LAYOUT)
    before = _files(tmp_path)
    assert rechunk(source, target, chunks={"object": 5}, dry_run=True).version == 1
    assert _files(tmp_path) == before


def test_the_root_says_what_it_shows(tmp_path, target):
    """The target's root names its source's state and version, and carries over what concerns readers, not how the source grows."""
    source = _write(tmp_path / "s.zarr", _cube(), generation=5, dim="epoch", superseded=[2], grow=["object"])
    rechunk(source, target, **LAYOUT)
    mark = json.loads((tmp_path / "by_object.zarr/zarr.json").read_text())["attributes"]["aggrade"]
    assert mark["source"] == {"store": "../s.zarr", "generation": 5, "write_id": "write-s.zarr"}
    trace = f".aggrade/traces/{mark['rechunk'].pop('trace')}.json.gz"
    assert (tmp_path / "by_object.zarr" / trace).exists()
    assert mark["rechunk"] == {"version": 0, "retired": []}
    assert mark["superseded"] == [2]
    assert not {"dim", "grow"} & set(mark)
    assert mark["generation"] == 1


def test_what_the_source_no_longer_says_is_emptied(tmp_path, target):
    """Rows that were superseded before and are not any more are no longer hidden in the copy."""
    source = _write(tmp_path / "s.zarr", _cube(), generation=5, superseded=[2])
    rechunk(source, target, **LAYOUT)
    shutil.rmtree(source)
    _write(tmp_path / "s.zarr", _cube(), generation=6)
    rechunk(source, target, **LAYOUT)
    assert xr.open_zarr(target).attrs["aggrade"]["superseded"] == []


def _grow(path, epochs, generation):
    """Replace the source by a longer one, as a populated epoch makes it."""
    shutil.rmtree(path)
    return _write(path, _cube(epochs=epochs, seed=epochs), generation=generation)


def test_a_stale_target_gets_its_next_version_by_one_switch(source, target, tmp_path):
    """Until the root is swapped the old version is served, then the new; who had the old one open reads on."""
    rechunk(source, target, **LAYOUT)
    old, expected = xr.open_zarr(target), xr.open_zarr(target).load()
    _grow(tmp_path / "lightcurves.zarr", 12, 2)
    seen = []

    def watching(work, pieces):
        for piece in pieces:
            yield work(piece)
            seen.append(xr.open_zarr(target).load())

    receipt = rechunk(source, target, map=watching, **LAYOUT)
    assert len(seen) == len(_arrays_with_items(target))
    assert all(one.identical(expected) for one in seen)
    assert receipt.generation == 2
    _assert_shows(target, source)
    xr.testing.assert_identical(old.load(), expected)
    assert verify(target).ok


def _arrays_with_items(target):
    return [name for name, array in zarr.open_group(target, mode="r").arrays() if array.size]


def test_versions_take_turns_and_old_ones_go(source, target, tmp_path):
    """After any number of rechunks, only the chunks of the version served and of the one before are left."""
    shown = []
    for version in range(7):
        if version:
            _grow(tmp_path / "lightcurves.zarr", 9 + version, version + 1)
        assert rechunk(source, target, **LAYOUT).details["version"] == version
        _assert_shows(target, source)
        shown.append(_chunk_keys(target))
        kept = set().union(*shown[-2:])
        assert {key for key in _files(tmp_path / "by_object.zarr") if _is_chunk(key)} == kept
        assert len(kept) == sum(map(len, shown[-2:]))


def _is_chunk(key):
    return not key.startswith(".aggrade/") and not key.endswith(("zarr.json", ".aggrade-lock"))


def _chunk_keys(target):
    """Return the keys that zarr derives for every chunk of the version that is served."""
    keys = set()
    for name, array in zarr.open_group(target, mode="r").arrays():
        cells = np.ndindex(
            *(-(-size // step) for size, step in zip(array.shape, array.shards or array.chunks, strict=True))
        )
        keys |= {f"{name}/{array.metadata.encode_chunk_key(cell)}" for cell in cells}
    return keys


def test_an_array_that_the_source_lost_goes_with_its_version(source, target, tmp_path):
    """An array that is gone from the source is gone from the next version, and its objects from the one after."""
    rechunk(source, target, **LAYOUT)
    shutil.rmtree(source)
    _write(tmp_path / "lightcurves.zarr", _cube().drop_vars("ra"), generation=2)
    old = xr.open_zarr(target)
    rechunk(source, target, **LAYOUT)
    assert "ra" not in xr.open_zarr(target)
    assert np.array_equal(old.ra, _cube().ra)
    rechunk(source, target, chunks={"object": 5})
    _assert_shows(target, source)
    assert not (tmp_path / "by_object.zarr/ra/zarr.json").exists()


class Stopped(BaseException):
    """The process is gone."""


def _stopping_after(count):
    def run(work, pieces):
        for number, piece in enumerate(pieces):
            if number == count:
                raise Stopped
            yield work(piece)

    return run


def _counting(done):
    def run(work, pieces):
        for piece in pieces:
            before = _modified(done["target"])
            yield work(piece)
            done["copied"] += _modified(done["target"]) != before

    return run


def _modified(target):
    return {key: when for key, when in _files(target).items() if _is_chunk(key)}


@pytest.mark.parametrize("count", [0, 1, 4, 6])
@pytest.mark.parametrize("stale", [False, True])
def test_a_run_that_was_stopped_is_gone_on_with(source, target, tmp_path, count, stale):
    """Run again, a stopped rechunk copies only the pieces that were not done; meanwhile the old version is served."""
    layout = {**LAYOUT, "max_memory": 100_000}
    if stale:
        rechunk(source, target, **layout)
        _grow(tmp_path / "lightcurves.zarr", 12, 2)
        expected = xr.open_zarr(target).load()
    pieces = len(rechunk(source, target, dry_run=True, **layout).pieces)
    with pytest.raises(Stopped):
        rechunk(source, target, map=_stopping_after(count), **layout)
    if stale:
        xr.testing.assert_identical(xr.open_zarr(target).load(), expected)
    done = {"target": tmp_path / "by_object.zarr", "copied": 0}
    rechunk(source, target, map=_counting(done), **layout)
    assert done["copied"] == pieces - count
    _assert_shows(target, source)
    assert verify(target).ok
    assert not list((tmp_path / "by_object.zarr/.aggrade").glob("ledger/*.json"))


def test_what_a_stopped_run_of_another_layout_left_does_not_show(source, target, tmp_path):
    """Objects that a dead run wrote under other chunks are replaced or deleted, none is left over."""
    with pytest.raises(Stopped):
        rechunk(source, target, chunks={"object": 3, "epoch": 2}, map=_stopping_after(3), max_memory=100_000)
    rechunk(source, target, **LAYOUT)
    _assert_shows(target, source)
    assert {key for key in _files(tmp_path / "by_object.zarr") if _is_chunk(key)} == _chunk_keys(target)


def test_pieces_run_in_threads(source, target):
    """Any map will do, and the result is the same."""
    with ThreadPoolExecutor(4) as pool:
        rechunk(source, target, map=pool.map, max_memory=100_000, **LAYOUT)
    _assert_shows(target, source)


def test_a_source_that_changes_meanwhile_is_noticed(source, target, tmp_path):
    """Nothing is published from a source that shows another generation in the end; run again, it is."""

    def growing(work, pieces):
        done = list(map(work, pieces))
        root = tmp_path / "lightcurves.zarr/zarr.json"
        root.write_text(root.read_text().replace('"generation": 1', '"generation": 2'))
        return done

    with pytest.raises(Conflict, match="generation 2 of the source") as caught:
        rechunk(source, target, map=growing, **LAYOUT)
    assert caught.value.code == "source-changed"
    assert not (tmp_path / "by_object.zarr/zarr.json").exists()
    rechunk(source, target, **LAYOUT)
    _assert_shows(target, source)


def test_a_copy_that_differs_is_not_published(source, target, tmp_path):
    """Where a sampled value differs from the source, the old version stays and the difference is named."""
    rechunk(source, target, **LAYOUT)
    expected = xr.open_zarr(target).load()
    _grow(tmp_path / "lightcurves.zarr", 12, 2)

    def tampering(work, pieces):
        done = list(map(work, pieces))
        for chunk in (tmp_path / "lightcurves.zarr/status/c").rglob("*"):
            if chunk.is_file():
                chunk.unlink()
        return done

    with pytest.raises(Damaged, match="other values than in the source") as caught:
        rechunk(source, target, map=tampering, **LAYOUT)
    assert caught.value.code == "rechunk-differs"
    xr.testing.assert_identical(xr.open_zarr(target).load(), expected)


def test_a_damaged_source_leaves_what_was_served(source, target, tmp_path):
    """A chunk that can't be decoded stops the rechunk with its place; the old version is served on."""
    rechunk(source, target, **LAYOUT)
    expected = xr.open_zarr(target).load()
    _grow(tmp_path / "lightcurves.zarr", 12, 2)
    (tmp_path / "lightcurves.zarr/lightcurves/c/0/0/0/3").write_bytes(b"rubbish")
    with pytest.raises(Damaged, match=r"lightcurves\["):
        rechunk(source, target, **LAYOUT)
    xr.testing.assert_identical(xr.open_zarr(target).load(), expected)


@pytest.mark.parametrize(
    "place", ["{source}", "{source}/", "{source}/inside.zarr", "{root}", "file://{source}"]
)
def test_source_and_target_must_be_apart(source, tmp_path, place):
    """The source itself, a place inside it and a place around it are no targets."""
    before = _files(tmp_path)
    with pytest.raises(BadInput) as caught:
        rechunk(source, place.format(source=source, root=tmp_path), **LAYOUT)
    assert caught.value.code == "target-place"
    assert _files(tmp_path) == before


def test_a_link_to_the_source_is_the_source(source, tmp_path):
    """A symbolic link does not make another place."""
    (tmp_path / "link.zarr").symlink_to(source)
    with pytest.raises(BadInput, match="the source itself"):
        rechunk(source, str(tmp_path / "link.zarr"), **LAYOUT)


@pytest.mark.parametrize(
    ("asked", "error", "code"),
    [
        ({"chunks": {"object": 10}, "shards": {"object": 25}}, BadInput, "shard-alignment"),
        ({"chunks": {"objects": 10}}, BadInput, "unknown-name"),
        ({"chunks": {"flux": (1, 1)}}, BadInput, "unknown-name"),
        ({"chunks": {"object": 10}, "max_memory": "1 kB"}, Refused, "max-memory"),
        ({"chunks": {"object": 10}, "max_memory": "plenty"}, BadInput, "max-memory"),
        ({"chunks": {"object": 10}, "max_memory": 0}, BadInput, "max-memory"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_byte_is_written(
    source, target, tmp_path, asked, error, code
):
    """Unaligned shards, unknown names and too little memory are refused, dry run or not, and nothing is made."""
    before = _files(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(error) as caught:
            rechunk(source, target, dry_run=dry_run, **asked)
        assert caught.value.code == code
    assert _files(tmp_path) == before


def _plain_store(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset({"x": ("a", [1, 2])}).to_zarr(path, zarr_format=3)


def _version2_store(path):
    xr.Dataset({"x": ("a", [1, 2])}).to_zarr(path, zarr_format=2)


def _other_files(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    ("occupy", "code"),
    [(_plain_store, "target-taken"), (_version2_store, "zarr-format"), (_other_files, "target-taken")],
)
def test_what_is_not_an_earlier_result_is_never_replaced(source, target, tmp_path, occupy, code):
    """A target that holds another store or other files is refused and stays as it is."""
    occupy(tmp_path / "by_object.zarr")
    before = _files(tmp_path)
    with pytest.raises(Refused) as caught:
        rechunk(source, target, **LAYOUT)
    assert caught.value.code == code
    assert _files(tmp_path) == before


def test_the_result_of_another_source_is_never_replaced(source, target, tmp_path):
    """A target that shows another store is refused by name."""
    rechunk(source, target, **LAYOUT)
    other = _write(tmp_path / "other.zarr", _cube())
    with pytest.raises(Refused, match=r"the rechunked form of \.\./lightcurves\.zarr"):
        rechunk(other, target, **LAYOUT)


def test_stores_that_move_together_stay_together(source, target, tmp_path):
    """Source and target that were moved to another folder still know each other."""
    receipt = rechunk(source, target, **LAYOUT)
    (tmp_path / "elsewhere").mkdir()
    for name in ("lightcurves.zarr", "by_object.zarr"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    again = rechunk(
        str(tmp_path / "elsewhere/lightcurves.zarr"), str(tmp_path / "elsewhere/by_object.zarr"), **LAYOUT
    )
    assert again.write_id == receipt.write_id


def _windows(label, windows, seed):
    return make_session(label, windows, seed, channels=4, samples=400)


def test_an_appended_store_is_followed_layer_by_layer(tmp_path, target):
    """A copy of a store that grows by append shows each state in turn, superseded rows marked as in the source."""
    source = str(tmp_path / "windows.zarr")
    aggrade.append(_windows("s1", 3, 1), source, grow=("window",))
    assert rechunk(source, target).details["source"]["generation"] == 1
    _assert_shows(target, source)
    assert zarr.open_group(target, mode="r")["eeg"].chunks == (1, 1, 4, 400)
    aggrade.append(_windows("s2", 5, 2), source, grow=("window",))
    aggrade.append(_windows("s1", 4, 3), source, grow=("window",), on_conflict="replace")
    rechunk(source, target)
    _assert_shows(target, source)
    assert xr.open_zarr(target).attrs["aggrade"]["superseded"] == [0]
    assert verify(target).ok


def test_the_benchmark_runs():
    """The benchmark checks its own results and prints a row for each contestant."""
    root = Path(__file__).parent.parent
    size = ["--objects", "2000", "--epochs", "4", "--rounds", "1"]
    command = [sys.executable, "benchmarks/rechunk.py", *size, "--cases", "i", "--peers", "floor", "ours"]
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("floor", "ours"))]
    assert [row[0] for row in rows] == ["floor", "ours"]
    assert rows[0][3] == "1.00"
    assert rows[0][5] in {"1.00", "nan"}, "so little work may take no tick of the processor's clock"
