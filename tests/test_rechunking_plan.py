"""The plan of a rechunk: what it promises, and what it refuses."""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document, open_document
from pydantic import ValidationError

from aggrade.errors import BadInput, Refused
from aggrade.rechunking.object_codec import object_codec
from aggrade.rechunking.plan import RechunkPlan, SourceState, plan_rechunk, target_documents
from aggrade.rechunking.strips import strips_of

STATE = SourceState(store="../source.zarr", generation=3, write_id="abc")
MIB = 1 << 20


def _plan(documents: dict[str, Any], max_memory: int = 1 << 30, **asked: Any) -> RechunkPlan:
    return plan_rechunk(STATE, documents, "/data/target.zarr", max_memory=max_memory, **asked)


@st.composite
def geometries(draw):
    """Draw an array's document, chunks and shards to ask for, and a bound that just does or has room."""
    dimensions = draw(st.integers(0, 3))
    lengths = st.lists(st.integers(1, 12), min_size=dimensions, max_size=dimensions)
    shape = draw(st.lists(st.integers(0, 14), min_size=dimensions, max_size=dimensions))
    chunk, asked, times, together = (draw(lengths) for _ in range(4))
    shard = [c * t for c, t in zip(chunk, times, strict=True)] if draw(st.booleans()) else None
    dtype = draw(st.sampled_from(["bool", "int16", "float64", "S3", str]))
    document = make_document(shape, chunk, shard, dtype=dtype)
    wanted: dict[str, Any] = {"chunks": {"x": tuple(asked)}}
    if draw(st.booleans()):
        wanted["shards"] = {"x": tuple(a * t for a, t in zip(asked, together, strict=True))}
    return document, wanted, draw(st.sampled_from([0, 1000, MIB]))


def _fitting(document, wanted, spare):
    """Plan with the least memory that is said to do, and some more."""
    try:
        return _plan({"x": document}, spare + 1, **wanted)
    except Refused as error:
        return _plan({"x": document}, spare + _named_bound(error), **wanted)


def _named_bound(error: Refused) -> int:
    return int(re.search(r"at least (\d+) bytes", str(error)).group(1))


def _cells(bounds, unit):
    """Return the grid cells of `unit` that a box touches, item by item."""
    columns = [{item // step for item in range(*pair)} for pair, step in zip(bounds, unit, strict=True)]
    return set(itertools.product(*columns))


@settings(deadline=None)
@given(geometries())
def test_every_item_lies_in_one_piece_and_every_object_too(geometry):
    """Pieces cover the array once, and no target object lies in two of them."""
    plan = _fitting(*geometry)
    array = open_document(plan.documents["x"])
    counts = np.zeros(array.shape, int)
    owners: dict[Any, int] = {}
    for number, piece in enumerate(plan.pieces):
        counts[tuple(slice(*pair) for pair in piece.bounds)] += 1
        for cell in _cells(piece.bounds, array.shards or array.chunks):
            assert owners.setdefault(cell, number) == number
    assert (counts == 1).all()
    assert len(owners) == plan.writes == plan.copying.requests["PUT"]


@settings(deadline=None)
@given(geometries())
def test_the_price_is_what_is_counted(geometry):
    """Reads, bytes and memory equal what walking through the pieces gives."""
    plan = _fitting(*geometry)
    source, item = (
        open_document(geometry[0]),
        plan.price.bytes_written // max(1, math.prod(plan.sources["x"]["shape"])),
    )
    strips = [strip.pieces for strip in strips_of(plan.pieces, plan.arrays)]
    touched = [set().union(*(_cells(piece.bounds, source.chunks) for piece in strip)) for strip in strips]
    reads = sum(len(cells) for cells in touched)
    assert plan.reads == reads
    assert plan.price.bytes_read == reads * math.prod(source.chunks) * item
    assert plan.arrays["x"].chunks == len(set().union(*touched))
    largest = max(
        (math.prod(stop - start for start, stop in piece.bounds) for piece in plan.pieces), default=0
    )
    assert largest * item <= plan.price.peak_memory <= plan.max_memory
    requests = plan.copying.requests["GET"]
    if source.shards is None:
        assert requests == reads
    elif object_codec(geometry[0]) is None:
        assert reads <= requests <= 2 * reads
    else:
        shards = sum(len(_cells(piece.bounds, source.shards)) for piece in plan.pieces)
        assert requests in {shards, shards + reads}


@settings(deadline=None)
@given(geometries())
def test_a_bound_that_is_named_does_and_a_smaller_one_is_refused(geometry):
    """The error for too little memory names a bound; the plan fits into it, and not into one byte less."""
    document, wanted, _ = geometry
    if 0 in document["shape"]:
        assert _plan({"x": document}, 1, **wanted).price.peak_memory == 0
        return
    with pytest.raises(Refused) as caught:
        _plan({"x": document}, 1, **wanted)
    assert caught.value.code == "max-memory"
    enough = _named_bound(caught.value)
    assert _plan({"x": document}, enough, **wanted).price.peak_memory <= enough
    with pytest.raises(Refused):
        _plan({"x": document}, enough - 1, **wanted)


@settings(deadline=None)
@given(geometries())
def test_a_plan_survives_json(geometry):
    """A plan is read back from JSON as it was."""
    plan = _fitting(*geometry)
    assert RechunkPlan.model_validate_json(plan.model_dump_json()) == plan


CUBE = {
    "lightcurves": make_document(
        (200_000, 2, 2, 500), (50_000, 2, 2, 1), dims=("object", "m", "value", "epoch")
    ),
    "ra": make_document((200_000,), (50_000,), dims=("object",), dtype="float64"),
}


def test_the_measured_cube_is_read_once_within_a_gibibyte():
    """With 1 GiB every chunk of the reference cube is read once; with 256 MiB each is read twice."""
    plan = _plan(CUBE, chunks={"object": 1000, "epoch": -1})
    assert plan.reads == 4 * 500 + 4
    assert plan.writes == 200 + 4
    assert plan.price.bytes_read == 1_600_000_000 + 1_600_000
    less = _plan(CUBE, 256 * MIB, chunks={"object": 1000, "epoch": -1})
    assert less.arrays["lightcurves"].reads == 2 * 2000
    assert less.price.peak_memory <= 256 * MIB


def test_printing_a_plan_says_what_it_does():
    """The printed plan names arrays, chunks, pieces, requests, bytes and memory."""
    said = str(_plan(CUBE, chunks={"object": 1000, "epoch": -1}, shards={"object": 4000}))
    for part in (
        "../source.zarr (generation 3) → /data/target.zarr, version 0",
        "lightcurves (object: 200000, m: 2, value: 2, epoch: 500)",
        "chunks 50000 x 2 x 2 x 1 → 1000 x 2 x 2 x 500 in shards 4000 x 2 x 2 x 500",
        "2004 chunk reads",
        "requests 2,044 GET, 63 PUT",
        "writes 1.6 GB",
    ):
        assert part in said


def test_small_arrays_share_a_line():
    """Coordinates that are one object each are named together, not a line each; long ones keep theirs."""
    small = {name: make_document((500,), (100,), dims=("epoch",)) for name in ("epoch", "time")}
    said = str(_plan(CUBE | small, chunks={"object": 1000, "epoch": -1})).splitlines()
    assert "  copied whole: epoch, time" in said
    assert [line.split()[0] for line in said if "objects," in line and "pieces" not in line] == [
        "lightcurves",
        "ra",
    ]


def test_a_plan_that_reads_chunks_again_says_so():
    """Chunks that lie in several pieces are announced with how often they are read."""
    assert "each read 2.0 times" in str(_plan(CUBE, 400_000_000, chunks={"object": 12_500, "epoch": 500}))


def test_a_plan_without_anything_to_do_says_so():
    """A plan of a target that is up to date needs no pieces and says that nothing is done."""
    plan = _plan(CUBE, chunks={"object": 1000}).model_copy(
        update={"pieces": (), "arrays": {}, "up_to_date": True}
    )
    assert "nothing to do" in str(plan)
    assert plan.copying.requests == {"GET": 0, "PUT": 0}
    assert RechunkPlan.model_validate_json(plan.model_dump_json()) == plan


def _altered(change):
    plan = json.loads(_plan(CUBE, 64 * MIB, chunks={"object": 1000, "epoch": -1}).model_dump_json())
    change(plan["pieces"])
    return json.dumps(plan)


@pytest.mark.parametrize(
    "change",
    [
        lambda pieces: pieces.pop(),
        lambda pieces: pieces.append(pieces[0]),
        lambda pieces: pieces[0].update(bounds=[[0, 999], *pieces[0]["bounds"][1:]]),
        lambda pieces: pieces[0].update(variable="dec"),
        lambda pieces: pieces[-1].update(variable="lightcurves"),
    ],
    ids=["missing", "twice", "cut", "unknown", "foreign"],
)
def test_pieces_that_do_not_hold_every_object_once_are_refused(change):
    """No plan can be made in which an object has no piece, or two, or is cut through."""
    with pytest.raises(Refused) as caught:
        RechunkPlan.model_validate_json(_altered(change))
    assert caught.value.code == "pieces"


def test_a_plan_is_frozen_and_knows_its_fields():
    """A plan can't be changed, and a field it doesn't know is an error."""
    plan = _plan(CUBE, chunks={"object": 1000})
    with pytest.raises(ValidationError):
        plan.version = 2
    with pytest.raises(ValidationError):
        RechunkPlan.model_validate({**plan.model_dump(), "surprise": 1})


def test_pieces_are_named_by_all_that_decides_their_bytes():
    """Another state, version, layout or box gives a piece another digest; the same plan the same."""
    asked = {"chunks": {"object": 1000, "epoch": -1}}
    first = [piece.digest for piece in _plan(CUBE, 64 * MIB, **asked).pieces]
    assert len(set(first)) == len(first)
    assert first == [piece.digest for piece in _plan(CUBE, 64 * MIB, **asked).pieces]
    later = plan_rechunk(
        STATE.model_copy(update={"generation": 4}), CUBE, "/data/target.zarr", max_memory=64 * MIB, **asked
    )
    others = [
        later,
        _plan(CUBE, 64 * MIB, version=1, **asked),
        _plan(CUBE, 64 * MIB, chunks={"object": 500, "epoch": -1}),
    ]
    for other in others:
        assert not {piece.digest for piece in other.pieces if piece.variable == "lightcurves"} & set(first)


def test_all_arrays_that_do_not_fit_are_named_together():
    """Too little memory is reported for every array at once."""
    with pytest.raises(Refused) as caught:
        _plan(CUBE, 1000, chunks={"object": 1000, "epoch": -1})
    assert [problem.where for problem in caught.value.problems] == [
        "max_memory for 'lightcurves'",
        "max_memory for 'ra'",
    ]


def test_documents_of_a_version_bear_its_keys():
    """The target's documents are the source's in another layout, with the keys of the version."""
    documents = target_documents(CUBE, chunks={"object": 1000}, version=2)
    assert documents["ra"]["chunk_key_encoding"] == {"name": "v2", "configuration": {"separator": "."}}
    assert documents == _plan(CUBE, chunks={"object": 1000}, version=2).documents


def test_nothing_asked_for_a_store_of_another_kind_is_bad_input():
    """Without chunks a store that is neither light curves nor windows can't be planned."""
    with pytest.raises(BadInput, match="nothing asked for"):
        _plan({"x": make_document((4,), (2,))})
