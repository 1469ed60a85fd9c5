"""Pieces that share what they read, from the plan to the copy: reads, memory, resume, any map."""

from __future__ import annotations

import math
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import hypothesis
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from make_documents import make_document

from aggrade import rechunk, verify
from aggrade.rechunking import rechunk_storage
from aggrade.rechunking.plan import SourceState, plan_rechunk
from aggrade.rechunking.rolling import Window
from aggrade.rechunking.strips import InStrip, in_strips, strips_of
from aggrade.storage import open_storage
from aggrade.storage.counting import Counted

STATE = SourceState(store="../s.zarr", generation=1, write_id="w")
SHAPE, CHUNKS = (200, 3, 10), (50, 3, 1)
LAYOUT = {"chunks": {"x": (4, 3, 10)}, "shards": {"x": (16, 3, 10)}}
BOUND = 56 * 30 * 8 + 2 * 16 * 30 * 8
"""Room for one window and what is written of it."""


class StoppedError(Exception):
    """Ends a run."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a small light-curve cube in chunks that end where no shard does."""
    path = tmp_path_factory.mktemp("strips") / "s.zarr"
    values = np.random.default_rng(0).random(SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.Dataset({"x": (("a", "b", "c"), values)})
        dataset.to_zarr(path, zarr_format=3, encoding={"x": {"chunks": CHUNKS}})
    return path


def _layout(**how):
    return {**LAYOUT, "max_memory": BOUND, **how}


def _plan(shape=SHAPE, source=CHUNKS, bound=BOUND, kept=None, **asked):
    documents = {"x": make_document(shape, source, dtype="float64")}
    return plan_rechunk(STATE, documents, "/t.zarr", max_memory=bound, kept=kept, **(asked or LAYOUT))


def _cells(bounds, unit):
    ranges = [
        range(start // step, -(-stop // step)) for (start, stop), step in zip(bounds, unit, strict=True)
    ]
    return set(map(tuple, np.stack(np.meshgrid(*ranges), -1).reshape(-1, len(unit)).tolist()))


def test_each_chunk_is_read_once_within_the_bound():
    """One strip of 5 pieces reads each chunk once; with a byte less each piece reads all it needs, most twice."""
    plan = _plan()
    assert (plan.reads, plan.arrays["x"].chunks, len(plan.pieces)) == (40, 40, 5)
    assert plan.price.peak_memory == BOUND
    assert [len(strip.pieces) for strip in strips_of(plan.pieces, plan.arrays)] == [5]
    assert "40 chunks in 1 strip of pieces that share them" in str(plan)
    less = _plan(bound=BOUND - 1)
    assert less.arrays["x"].rolling is None
    assert less.reads == 80


def test_where_pieces_alone_read_once_there_are_no_strips():
    """Strips are for what they save: with room for a row of chunks that ends with a shard, pieces stay by themselves."""
    assert _plan(source=(48, 3, 1)).arrays["x"].rolling is None
    assert _plan(bound=1 << 20).arrays["x"].rolling is None


def test_the_next_strip_begins_where_grids_meet():
    """A long array is several strips, each of which another worker may take, and no chunk is read twice."""
    plan = _plan(shape=(2000, 3, 10), bound=BOUND + 8 * 30 * 8)
    strips = strips_of(plan.pieces, plan.arrays)
    assert [strip.pieces[0].bounds[0][0] for strip in strips] == [0, 400, 800, 1200, 1600]
    assert plan.reads == plan.arrays["x"].chunks == 400
    assert len({strip.digest for strip in strips}) == 5
    assert sum(strip.size for strip in strips) == 2000 * 30 * 8


@hypothesis.settings(deadline=None, max_examples=20)
@given(
    st.tuples(st.integers(100, 300), st.integers(1, 4)),
    st.tuples(st.integers(20, 50), st.integers(1, 4)),
    st.integers(3, 19),
    st.integers(0, 1),
)
def test_reads_and_memory_are_those_of_a_walk(shape, chunks, target, axis):
    """A strip reads what its pieces touch, once; from a piece's start to its last chunk's end it all fits."""
    (shape, chunks), wanted = (pair[:: 1 - 2 * axis] for pair in (shape, chunks)), [5, 5]
    wanted[axis] = target
    bound = 8 * (5 * (chunks[axis] + target) + 3 * max(math.prod(chunks), math.prod(wanted)))
    plan = _plan(shape, chunks, bound, chunks={"x": tuple(wanted)})
    array, strips = plan.arrays["x"], strips_of(plan.pieces, plan.arrays)
    read = [set().union(*(_cells(piece.bounds, chunks) for piece in strip.pieces)) for strip in strips]
    assert sum(map(len, read)) == plan.reads == plan.copying.requests["GET"]
    assert plan.reads <= 1.2 * array.chunks
    for piece in plan.pieces:
        held = [stop - start for start, stop in piece.bounds]
        if array.rolling is not None:
            along = array.rolling.axis
            start, stop = piece.bounds[along]
            held[along] = min(-(-stop // chunks[along]) * chunks[along], shape[along]) - start
        assert math.prod(held) * 8 + array.spare <= array.peak_memory <= bound


@pytest.mark.parametrize("compare", ["sampled", "full"])
def test_requests_are_those_of_the_price(source, tmp_path, compare):
    """What is sent is what the plan said, the comparison of everything included, and the copy is the source."""
    here, there = Counted(open_storage(str(source))), Counted(open_storage(str(tmp_path / "t.zarr")))
    plan = rechunk_storage(here, there, _layout(), compare=compare, dry_run=True)
    assert plan.arrays["x"].rolling is not None
    here.counts.clear()
    there.counts.clear()
    receipt = rechunk_storage(here, there, _layout(), compare=compare)
    sent = here.counts["GET"] + there.counts["GET"]
    asked_again = 3
    assert abs(sent - plan.price.requests["GET"]) <= asked_again
    assert there.counts["DELETE"] == len(plan.pieces) == 5
    assert receipt.details["chunk_reads"] == 40
    assert zarr.open_group(tmp_path / "t.zarr")["x"].shards == (16, 3, 10)
    assert np.array_equal(xr.open_zarr(tmp_path / "t.zarr").x, xr.open_zarr(source).x)


def _stopping_after(count):
    """Return a map over strips that raises after so many pieces."""

    def run(work, items):
        done = []

        def one(inner, piece):
            if len(done) == count:
                raise StoppedError
            done.append(piece)
            return inner(piece)

        for item in items:
            carried_out, inner = work.func, work.args[0]
            yield carried_out(lambda piece, inner=inner: one(inner, piece), item)

    return run


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_strip_that_was_stopped_is_gone_on_with_at_its_piece(source, tmp_path, count):
    """What is done stays; of the source only chunks are read that the other pieces hold, each once."""
    target = tmp_path / "t.zarr"
    with pytest.raises(StoppedError):
        rechunk(source, target, map=_stopping_after(count), **_layout())
    done = {path: path.stat().st_mtime_ns for path in (target / "x/c").rglob("*") if path.is_file()}
    assert len(done) == 3 * count
    here = Counted(open_storage(str(source)))
    plan = rechunk_storage(here, open_storage(str(target)), _layout(), dry_run=True)
    before = here.counts["GET"]
    needed = set().union(*(_cells(piece.bounds, CHUNKS) for piece in plan.pieces[count:]))
    rechunk_storage(here, open_storage(str(target)), _layout())
    beside = plan.price.requests["GET"] - plan.copying.requests["GET"]
    assert len(needed) <= here.counts["GET"] - before <= len(needed) + beside
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
    assert np.array_equal(xr.open_zarr(target).x, xr.open_zarr(source).x)
    assert verify(str(target)).ok


def test_an_object_that_is_gone_is_made_again_alone(source, tmp_path):
    """A piece whose object vanished before the end is done once more, without its strip."""
    target, lost = tmp_path / "t.zarr", []

    def losing(work, items):
        results = [work(item) for item in items]
        if not lost:
            lost.append(next(path for path in (target / "x/c").rglob("*") if path.is_file()))
            lost[0].unlink()
        return results

    rechunk(source, target, map=losing, **_layout())
    assert lost[0].exists()
    assert np.array_equal(xr.open_zarr(target).x, xr.open_zarr(source).x)


def _in_threads(work, items):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, items))


def _in_processes(work, items):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, items))


@pytest.mark.parametrize("run", [_in_threads, pytest.param(_in_processes, marks=pytest.mark.long)])
def test_strips_can_be_carried_out_anywhere(tmp_path, run):
    """Threads and fresh processes give the copy that a loop gives."""
    values = np.random.default_rng(0).random((800, 3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.Dataset({"x": (("a", "b", "c"), values)})
        dataset.to_zarr(tmp_path / "s.zarr", zarr_format=3, encoding={"x": {"chunks": (50, 3, 1)}})
    how = {"chunks": {"x": (16, 3, 2)}, "max_memory": (64 + 2 * 50) * 6 * 8}
    plan = rechunk(tmp_path / "s.zarr", tmp_path / "t.zarr", dry_run=True, **how)
    assert 1 < len(strips_of(plan.pieces, plan.arrays)) < len(plan.pieces)
    rechunk(tmp_path / "s.zarr", tmp_path / "t.zarr", map=run, **how)
    assert np.array_equal(xr.open_zarr(tmp_path / "t.zarr").x, values)


def test_pieces_that_share_nothing_go_out_by_themselves():
    """A map gets the pieces as they are where each is a strip of its own, and strips in their order elsewhere."""
    alone, together = _plan(bound=BOUND - 1), _plan()
    sent = []

    def noting(work, items):
        sent[:] = items
        return map(work, items)

    assert list(in_strips(noting, alone.arrays)(lambda piece: piece.digest, alone.pieces)) == [
        piece.digest for piece in alone.pieces
    ]
    assert sent == list(alone.pieces)
    assert list(in_strips(noting, together.arrays)(lambda piece: piece.digest, together.pieces)) == [
        piece.digest for piece in together.pieces
    ]
    assert sent == strips_of(together.pieces, together.arrays)
    assert sent[0].size == sum(piece.size for piece in together.pieces)
    assert strips_of(together.pieces[3:4], together.arrays)[0].digest == together.pieces[3].digest


def test_a_strip_can_be_pickled():
    """A strip survives pickling, as a cluster demands; a piece in it is named as the piece."""
    plan = _plan()
    (strip,) = strips_of(plan.pieces, plan.arrays)
    assert pickle.loads(pickle.dumps(strip)) == strip
    assert InStrip(plan.pieces[0], Window()).digest == plan.pieces[0].digest


def test_what_is_kept_is_left_out_of_strips():
    """Where the served version has objects in common, pieces read all they need: gaps would be read for nothing."""
    kept = {"x": [((16, 32), (0, 3), (0, 10))]}
    plan = _plan(kept=kept)
    assert plan.arrays["x"].rolling is None
    assert plan.anew.requests["GET"] < _plan(bound=BOUND - 1, kept=kept).anew.requests["GET"]
    assert sum(len(_cells(piece.bounds, CHUNKS)) for piece in plan.pieces) == plan.reads
