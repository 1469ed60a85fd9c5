"""What is asked for, as layouts and documents of every array."""

from __future__ import annotations

import pytest
from make_documents import make_document, open_document

from aggrade.errors import BadInput
from aggrade.rechunking.layouts import COLUMN_ITEMS, Layout, asked_layouts, laid_out, layout_of

CUBE = make_document((5000, 2, 40), (1000, 2, 1), dims=("object", "band", "epoch"))
SHARDED = make_document((5000, 40), (50, 40), (500, 40), dims=("object", "epoch"), dtype="int16")
STORE = {
    "flux": CUBE,
    "flag": SHARDED,
    "ra": make_document((5000,), (100,), dims=("object",)),
    "band": make_document((2,), (2,), dims=("band",), dtype=str),
    "zero": make_document((), (), dims=()),
    "bare": {**make_document((6, 6), (2, 2)), "dimension_names": None},
}


def test_numbers_go_to_every_array_with_the_dimension():
    """A length for a dimension governs all arrays of two dimensions and more that have it; -1 is all of it."""
    found = asked_layouts(STORE, {"object": 100, "epoch": -1}, None)
    assert found["flux"] == Layout((100, 2, 40))
    assert found["flag"] == Layout((100, 40))


def test_what_is_not_named_stays():
    """Arrays without a named dimension keep chunks and shards; dimensions without a number keep their chunks."""
    found = asked_layouts(STORE, {"band": 1}, None)
    assert found["flux"] == Layout((1000, 1, 1))
    assert found["flag"] == Layout((50, 40), (500, 40))
    assert found["bare"] == Layout((2, 2))
    assert found["zero"] == Layout(())


def test_shards_are_whole_chunks_of_what_is_asked():
    """Shards by dimension span one chunk elsewhere; -1 rounds up to whole chunks."""
    found = asked_layouts(STORE, {"object": 16, "epoch": -1}, {"object": 1600})
    assert found["flux"] == Layout((16, 2, 40), (1600, 2, 40))
    found = asked_layouts(STORE, {"object": 16, "epoch": 15}, {"object": -1, "epoch": -1})
    assert found["flux"] == Layout((16, 2, 15), (5008, 2, 45))


def test_shards_alone_keep_the_chunks():
    """Asked for shards only, the chunks in them are the source's."""
    assert asked_layouts(STORE, None, {"object": 2000})["flux"] == Layout((1000, 2, 1), (2000, 2, 1))


def test_a_tuple_goes_to_one_variable_as_it_stands():
    """A tuple for a variable is taken whatever the numbers say, also for a column."""
    found = asked_layouts(STORE, {"object": 100, "flux": (7, 1, -1), "ra": (10,)}, {"flag": (200, 80)})
    assert found["flux"] == Layout((7, 1, 40))
    assert found["ra"] == Layout((10,))
    assert found["flag"] == Layout((100, 40), (200, 80))


@pytest.mark.parametrize(
    ("asked", "chunk"), [(16, 65_536), (1000, 66_000), (-1, 5_000_000), (70_000, 70_000)]
)
def test_columns_stay_in_few_chunks(asked, chunk):
    """A column beside larger arrays gets whole steps that hold at least 65,536 items."""
    tall = {
        "ra": make_document((5_000_000,), (100,), dims=("object",)),
        "flux": make_document((5_000_000, 3), (100, 3), dims=("object", "epoch")),
    }
    assert asked_layouts(tall, {"object": asked}, None)["ra"] == Layout((chunk,))
    assert COLUMN_ITEMS == 65_536
    assert asked_layouts(tall, {"object": 1, "epoch": 1}, {"object": asked})["ra"] == Layout((chunk,))


def test_a_series_of_its_own_is_no_column():
    """Where nothing has more dimensions, a number governs arrays of one dimension too."""
    series = {"x": make_document((1000,), (10,), dims=("time",))}
    assert asked_layouts(series, {"time": 250}, None)["x"] == Layout((250,))


def test_a_dimension_of_length_zero_has_chunks():
    """A chunk is at least 1 long, also along a dimension that is empty."""
    empty = {"x": make_document((0, 5), (4, 5), dims=("a", "b"))}
    assert asked_layouts(empty, {"a": -1}, {"a": -1})["x"] == Layout((1, 5), (1, 5))


@pytest.mark.parametrize(
    ("chunks", "shards", "codes"),
    [
        ({"epochs": 3}, None, ["unknown-name"]),
        ({"fluxes": (1, 1, 1)}, {"nowhere": 5}, ["unknown-name", "unknown-name"]),
        ({"ra": 5}, None, ["unknown-name"]),
        ({"object": 0}, None, ["chunk-length"]),
        ({"object": -2}, {"epoch": -1.5}, ["chunk-length", "unknown-name"]),
        ({"flux": (1, 2)}, None, ["chunk-length"]),
        ({"flux": (1, 2, 0)}, None, ["chunk-length"]),
        ({"flux": (True, 2, 3)}, None, ["chunk-length"]),
        ({"flux": "auto"}, None, ["chunk-length"]),
        ({"object": True}, None, ["unknown-name"]),
        ({"object": 16}, {"object": 100}, ["shard-alignment", "shard-alignment"]),
        (None, {"flux": (500, 2, 1)}, ["shard-alignment"]),
    ],
)
def test_what_makes_no_sense_is_refused_all_at_once(chunks, shards, codes):
    """Unknown names, lengths that are none and shards that cut chunks are bad input, each with a reason."""
    with pytest.raises(BadInput) as caught:
        asked_layouts(STORE, chunks, shards)
    assert [problem.code for problem in caught.value.problems] == codes


def test_a_shard_that_cuts_chunks_comes_with_one_that_does_not():
    """The error of an unaligned shard names the next one that fits."""
    with pytest.raises(BadInput, match=r"\(112, 2, 1\)"):
        asked_layouts(STORE, {"flux": (16, 2, 1)}, {"flux": (100, 2, 1)})


@pytest.mark.parametrize("document", [CUBE, {**SHARDED, "shape": [5000, 40, 1]}], ids=["plain", "sharded"])
@pytest.mark.parametrize("layout", [Layout((10, 2, 20)), Layout((10, 2, 20), (50, 2, 40))])
def test_zarr_opens_a_document_in_its_new_layout(document, layout):
    """A document in another layout is one that zarr opens with these chunks and shards; the rest stays."""
    if len(document["chunk_grid"]["configuration"]["chunk_shape"]) != 3:
        document = make_document(
            (50, 4, 40), (5, 2, 4), (10, 4, 40), dtype="int16", fill_value=7, attributes={"u": "V"}
        )
    array = open_document(laid_out(document, layout))
    assert (array.chunks, array.shards) == (layout.chunk, layout.shard)
    kept = ("shape", "data_type", "fill_value", "attributes", "dimension_names")
    assert {key: laid_out(document, layout)[key] for key in kept} == {key: document[key] for key in kept}
    assert array.compressors == open_document(document).compressors
    assert layout_of(laid_out(document, layout)) == layout


def test_codecs_are_carried_over():
    """Filters and compressors stay what they were, in shards and out of them."""
    zstd = [{"name": "gzip", "configuration": {"level": 7}}]
    document = make_document((8, 8), (4, 4), compressors=zstd, filters=[])
    there = laid_out(document, Layout((2, 2), (4, 4)))
    assert there["codecs"][0]["configuration"]["codecs"] == document["codecs"]
    assert laid_out(there, Layout((4, 4))) == document
