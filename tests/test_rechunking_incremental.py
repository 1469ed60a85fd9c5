"""Rechunking what has grown or changed: only what that touches is made, all else is taken over as it lies there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
import zarr
from make_datasets import make_session
from make_documents import make_document
from make_stores import let_show

import aggrade
from aggrade.commit import Writer, WrittenObject
from aggrade.errors import BadInput, Conflict, Damaged, Problem
from aggrade.rechunking import rechunk
from aggrade.rechunking.carrying import carry_piece
from aggrade.rechunking.slots import with_version
from aggrade.rechunking.tracing import trace_of
from aggrade.storage import ConditionFailed, open_storage
from aggrade.verifying import verify

BLOCKS = {"chunks": {"object": 30, "epoch": 10}}
OBJECTS = 120


def _cube(epochs, *, changed=()):
    """Return a cube whose epochs are what they are, however many there are; those that changed have other values."""
    numbers = [
        np.random.default_rng([epoch, epoch in changed]).random((OBJECTS, 2)) for epoch in range(epochs)
    ]
    return xr.Dataset(
        {"lightcurves": (("object", "value", "epoch"), np.stack(numbers, -1).astype("f4"))},
        coords={
            "ra": ("object", np.arange(float(OBJECTS))),
            "epoch_time": ("epoch", np.arange(epochs) * 1.0),
        },
    )


def _put(path, dataset, generation):
    """Let a store show a dataset, as its own writer would: objects that hold the same stay the same files."""
    chunks = {"lightcurves": {"chunks": (60, 2, 1)}, "epoch_time": {"chunks": (1,)}}
    return let_show(path, dataset, encoding=chunks, generation=generation, dim="epoch")


def _assert_shows(target, dataset):
    """Compare what bare xarray reads with what was put, and let verify agree."""
    xr.testing.assert_equal(xr.open_zarr(target).load(), dataset)
    report = verify(target)
    assert report.ok, report


def _fresh_bytes(target, name="lightcurves"):
    """Return the bytes of an array's files that have no second name, and how many files have one."""
    files = [
        path.stat() for path in (target / name).rglob("*") if path.is_file() and path.name != "zarr.json"
    ]
    return sum(one.st_size for one in files if one.st_nlink == 1), sum(one.st_nlink > 1 for one in files)


def test_an_epoch_more_writes_a_fraction_of_it_all(tmp_path):
    """One epoch after 500 in blocks of 10 writes less than 3 % of what a full rechunk writes, and shows the same."""
    source = _put(tmp_path / "s.zarr", _cube(500), 1)
    target = tmp_path / "t.zarr"
    full = rechunk(source, str(target), **BLOCKS)
    _put(tmp_path / "s.zarr", _cube(501), 2)
    plan = rechunk(source, str(target), dry_run=True, **BLOCKS)
    done = rechunk(source, str(target), **BLOCKS)
    _assert_shows(str(target), _cube(501))
    assert done.bytes_written <= 0.03 * full.bytes_written
    anew, names = _fresh_bytes(target)
    assert anew <= done.bytes_written
    assert names == 2 * 4 * 50
    assert plan.price.requests["COPY"] == 4 * 50 + 1
    assert plan.reads == 2 + 501
    assert plan.anew.requests["PUT"] == (4 * 51 + 2) + 3 + 3 + 5
    assert "200 kept" in str(plan)
    assert "all anew" in str(plan)


@pytest.mark.parametrize("storing", ["ours", "another tool's"])
def test_whatever_changes_is_followed(tmp_path, storing):
    """Epochs that come, change and go again: each version shows the source, and keeps what the change left alone."""
    made = []
    for number, (epochs, changed) in enumerate([(20, ()), (25, (3,)), (25, ()), (33, (24, 32)), (12, ())]):
        _put(tmp_path / "s.zarr", _cube(epochs, changed=changed), number + 1 if storing == "ours" else 0)
        if storing != "ours":
            _unmark(tmp_path / "s.zarr")
        receipt = rechunk(str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr"), **BLOCKS)
        made.append(receipt.details["kept"])
        _assert_shows(str(tmp_path / "t.zarr"), _cube(epochs, changed=changed))
    ra = times = 1
    assert made == [0, 4 * 1 + ra, 4 * 2 + ra + times, 4 * 2 + ra, 4 * 1 + ra]


def _unmark(path):
    """Take out of a store's root what aggrade keeps there."""
    import json

    root = path / "zarr.json"
    document = json.loads(root.read_text())
    document["attributes"].pop("aggrade", None)
    root.write_text(json.dumps(document))


def test_a_chunk_that_another_tool_overwrites_is_noticed(tmp_path):
    """In a store without generations, a chunk that was replaced in place reaches the copy."""
    _put(tmp_path / "s.zarr", _cube(20), 0)
    _unmark(tmp_path / "s.zarr")
    first = rechunk(str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr"), **BLOCKS)
    assert rechunk(str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr"), **BLOCKS) == first
    root = (tmp_path / "s.zarr/zarr.json").read_bytes()
    _put(tmp_path / "s.zarr", _cube(20, changed=(7,)), 0)
    (tmp_path / "s.zarr/zarr.json").write_bytes(root)
    rechunk(str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr"), **BLOCKS)
    _assert_shows(str(tmp_path / "t.zarr"), _cube(20, changed=(7,)))


LARGE = {"channels": 4, "samples": 400}


def test_replaced_and_removed_sessions_reach_the_copy(tmp_path):
    """A session that is replaced or withdrawn is so in the copy; what lies in other objects is kept."""
    source, target = str(tmp_path / "windows.zarr"), str(tmp_path / "t.zarr")
    layout = {"chunks": {"session": 1, "window": -1}}
    for number in range(3):
        aggrade.append(make_session(f"s{number}", 3, number, **LARGE), source, chunks={"session": 1})
    rechunk(source, target, **layout)
    aggrade.append(make_session("s1", 3, 9, **LARGE), source, on_conflict="replace")
    assert rechunk(source, target, **layout).details["kept"] >= 3
    xr.testing.assert_equal(xr.open_zarr(target).load(), xr.open_zarr(source).load())
    assert xr.open_zarr(target).attrs["aggrade"]["superseded"] == [1]
    aggrade.remove(source, "s0")
    assert rechunk(source, target, **layout).details["kept"] >= 3
    xr.testing.assert_equal(xr.open_zarr(target).load(), xr.open_zarr(source).load())
    assert verify(target).ok


def test_an_object_that_was_damaged_is_made_anew(tmp_path):
    """An object of the version served that somebody overwrote does not get into the next one."""
    source, target = _put(tmp_path / "s.zarr", _cube(20), 1), tmp_path / "t.zarr"
    rechunk(source, str(target), **BLOCKS)
    (target / "lightcurves/c/1/0/0").write_bytes(b"rubbish")
    _put(tmp_path / "s.zarr", _cube(25), 2)
    assert rechunk(source, str(target), **BLOCKS).details["kept"] == 4 * 2 + 1 - 1
    _assert_shows(str(target), _cube(25))


@pytest.mark.parametrize("harm", [None, "lost", "overwritten"])
def test_a_copy_that_is_up_to_date_is_made_again_where_asked(tmp_path, harm):
    """Without a change of the source a copy is left alone, damaged or not; `anew` makes all of it, and it is whole."""
    source, target = _put(tmp_path / "s.zarr", _cube(20), 1), tmp_path / "t.zarr"
    first = rechunk(source, str(target), **BLOCKS)
    hurt = target / "lightcurves/c/1/0/0"
    if harm == "lost":
        hurt.unlink()
    elif harm:
        hurt.write_bytes(b"rubbish")
    assert verify(str(target)).ok == (harm is None)
    assert rechunk(source, str(target), **BLOCKS) == first
    assert not rechunk(source, str(target), anew=True, dry_run=True, **BLOCKS).up_to_date
    again = rechunk(source, str(target), anew=True, **BLOCKS)
    assert (again.generation, again.details["kept"]) == (first.generation + 1, 0)
    _assert_shows(str(target), _cube(20))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_without_names_of_dimensions(tmp_path, zarr_format):
    """Their copies have none either: known again, verified, followed and copied on like all others."""
    source, target, third = (str(tmp_path / f"{name}.zarr") for name in "stu")
    values, layout = np.arange(24.0).reshape(6, 4), {"chunks": {"x": (3, 4)}}
    group = zarr.open_group(source, mode="w", zarr_format=zarr_format)
    array = group.create_array("x", shape=(6, 4), chunks=(2, 2), dtype="f8")
    array[:] = values
    first = rechunk(source, target, **layout)
    assert rechunk(source, target, **layout) == first
    assert verify(target).ok
    array[0] = values[0] = -1
    rechunk(source, target, **layout)
    rechunk(target, third, chunks={"x": (1, 4)})
    for each in (target, third):
        assert np.array_equal(zarr.open_group(each, mode="r")["x"][:], values)
        assert verify(each).ok


@pytest.mark.parametrize("dtype", ["c8", "c16", "f4", "bool", "M8[s]"])
def test_an_array_of_format_2_is_known_again(tmp_path, dtype):
    """Of a source that nobody has touched the copy is up to date, whatever its type and fill."""
    source, target = str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr")
    group = zarr.open_group(source, mode="w", zarr_format=2)
    named = {"_ARRAY_DIMENSIONS": ["a", "b"]}
    array = group.create_array("x", shape=(6, 4), chunks=(2, 2), dtype=dtype, attributes=named)
    array[:3] = np.ones((3, 4), dtype=dtype)
    first = rechunk(source, target, chunks={"x": (3, 4)})
    assert rechunk(source, target, chunks={"x": (3, 4)}) == first
    assert rechunk(source, target, chunks={"x": (3, 4)}, dry_run=True).up_to_date


@pytest.mark.parametrize("asked", [[3, 4], 3, "auto"])
def test_lengths_of_nothing_are_bad_input(tmp_path, asked):
    """Lengths are of a dimension or an array; without it they are told how."""
    source = _put(tmp_path / "s.zarr", _cube(20), 1)
    with pytest.raises(BadInput, match="by dimension or array"):
        rechunk(source, str(tmp_path / "t.zarr"), chunks=asked)


@pytest.mark.parametrize("harm", ["gone", "torn", "asked for"])
def test_without_a_trace_all_is_made_anew(tmp_path, harm):
    """A trace that was lost or torn, or is not to be used, costs a full rechunk and nothing else."""
    source, target = _put(tmp_path / "s.zarr", _cube(20), 1), tmp_path / "t.zarr"
    rechunk(source, str(target), **BLOCKS)
    (trace,) = (target / ".aggrade/traces").iterdir()
    if harm == "gone":
        trace.unlink()
    elif harm == "torn":
        trace.write_bytes(trace.read_bytes()[:-20])
    _put(tmp_path / "s.zarr", _cube(25), 2)
    receipt = rechunk(source, str(target), anew=harm == "asked for", **BLOCKS)
    assert receipt.details["kept"] == 0
    assert len(list((target / ".aggrade/traces").iterdir())) == 2 - (harm == "gone")
    _assert_shows(str(target), _cube(25))


def test_a_layout_that_keeps_nothing_says_so(tmp_path):
    """Where every object holds all epochs, the plan says that nothing of the version served can be kept."""
    source, target = _put(tmp_path / "s.zarr", _cube(4), 1), str(tmp_path / "t.zarr")
    rechunk(source, target, chunks={"object": 30, "epoch": -1})
    _put(tmp_path / "s.zarr", _cube(5).assign_coords(ra=("object", np.ones(OBJECTS))), 2)
    plan = rechunk(source, target, chunks={"object": 30, "epoch": -1}, dry_run=True)
    assert "nothing is kept" in str(plan)


def test_the_trace_names_what_was_read_and_written(tmp_path):
    """A trace holds the marks of all chunks of the source, and all objects of the version."""
    source, target = _put(tmp_path / "s.zarr", _cube(20), 1), open_storage(str(tmp_path / "t.zarr"))
    rechunk(source, target.url, **BLOCKS)
    shown = aggrade.commit.read_snapshot(target)
    trace = trace_of(target, shown)
    files = [path for path in (tmp_path / "s.zarr").rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert sum(map(len, trace.marks.values())) == len(files)
    assert {(key, target.stat(key).etag) for key in trace.objects} == {
        (item.key, item.etag) for item in trace.objects.values()
    }
    assert len(trace.objects) == 4 * 2 + 2


class _Odd:
    """A storage whose copies bear other marks, as those of large objects do on some servers, or other bytes."""

    def __init__(self, inner, copied):
        self.inner, self.url, self._copied = inner, inner.url, copied

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def copy(self, _, target, **__):
        """Write what the test wants in place of the copy."""
        if self._copied is None:
            raise ConditionFailed(Problem(target, "another object", "none", "plan again", "condition"))
        return self.inner.write(target, self._copied).etag


DOCUMENT = make_document((4,), (4,), dtype="int8", compressors=None)
DATA = b"\x01\x02\x03\x04"
DIGEST = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"


def _carried(storage, **changes):
    """Carry the one object of a version into the next."""
    info = storage.write("x/c/0", DATA)
    one = WrittenObject("x/c/0", 4, info.etag, DIGEST)
    after = {"x": with_version(DOCUMENT, 1)}
    writer = Writer(changes.pop("through", storage), after, {}, changes.pop("etags", {}))
    piece = SimpleNamespace(variable="x", bounds=((0, 4),), digest="d")
    return carry_piece(
        writer, piece, served={"x": DOCUMENT}, objects={"x/c/0": one}, by_copy=changes.get("by_copy", True)
    )


def test_a_copy_with_another_mark_is_read_back(tmp_path):
    """The server's copy bears a mark of its own: it counts if it has the bytes, and is damage if it has others."""
    storage = open_storage(str(tmp_path / "good"))
    (item,) = _carried(storage, through=_Odd(storage, DATA)).written
    assert (item.key, item.etag) == ("x/c.0", storage.stat("x/c.0").etag)
    storage = open_storage(str(tmp_path / "bad"))
    with pytest.raises(Damaged) as caught:
        _carried(storage, through=_Odd(storage, b"\x01\x02\x03\x05"))
    assert caught.value.code == "kept-torn"


def test_what_somebody_else_wrote_is_not_taken_for_a_copy(tmp_path):
    """Where another object lies at the new key, the piece fails."""
    storage = open_storage(str(tmp_path / "t"))
    with pytest.raises(Conflict) as caught:
        _carried(storage, through=_Odd(storage, None))
    assert caught.value.code == "key-taken"


def test_where_copies_are_blind_bytes_are_written_on_their_condition(tmp_path):
    """On a server that ignores the condition of a copy, and over a left-over, the bytes go by a conditional write."""
    storage = open_storage(str(tmp_path / "one"))
    (item,) = _carried(storage, through=_Odd(storage, b"never"), by_copy=False).written
    assert (storage.read("x/c.0").data, item.sha256) == (DATA, DIGEST)
    storage = open_storage(str(tmp_path / "other"))
    left = storage.write("x/c.0", b"left-over")
    (item,) = _carried(storage, through=_Odd(storage, b"never"), etags={"x/c.0": left.etag}).written
    assert storage.read("x/c.0").data == DATA
