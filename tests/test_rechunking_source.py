"""The state of a source, whatever wrote it."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from make_stores import write_zarr

from aggrade.errors import BadInput, Damaged, Refused
from aggrade.rechunking.source import read_source, relative_url
from aggrade.storage import open_storage

DATASET = xr.Dataset(
    {"x": (("i", "j"), np.arange(12.0).reshape(3, 4), {"units": "V"}), "n": ("i", np.arange(3, dtype="i2"))},
    coords={"i": [10, 20, 30]},
    attrs={"title": "a"},
)


def _written(path, *, zarr_format=3, consolidated=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        DATASET.to_zarr(path, zarr_format=zarr_format, consolidated=consolidated)
    return open_storage(str(path))


def test_a_store_of_ours_is_known_by_generation_and_write_id(tmp_path):
    """Generation and write id come from the root; what belongs to all its copies is kept, what is its own is not."""
    mark = {
        "generation": 7,
        "dim": "i",
        "superseded": [1],
        "source": {"store": "s"},
        "rechunk": {"version": 2},
    }
    write_zarr(DATASET, tmp_path / "ours.zarr", **mark)
    source = read_source(open_storage(str(tmp_path / "ours.zarr")))
    assert (source.generation, source.write_id) == (7, "write-ours.zarr")
    assert source.mark == {"superseded": [1]}
    assert source.attributes == {"title": "a"}
    assert set(source.documents) == {"x", "n", "i"}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_any_flat_store_can_be_read(tmp_path, zarr_format, consolidated):
    """Stores of both formats, consolidated or not, give their arrays, attributes and dimension names."""
    source = read_source(_written(tmp_path / "s.zarr", zarr_format=zarr_format, consolidated=consolidated))
    assert set(source.documents) == {"x", "n", "i"}
    assert source.attributes == {"title": "a"}
    assert source.mark == {}
    assert source.documents["x"]["dimension_names"] == ["i", "j"]
    assert source.documents["x"]["zarr_format"] == 3
    assert np.array_equal(source.open("x")[1:, :2], DATASET.x.values[1:, :2])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_a_change_of_another_tools_store_is_another_state(tmp_path, zarr_format, consolidated):
    """Read twice, the state is the same; after an append by xarray it is another."""
    storage = _written(tmp_path / "s.zarr", zarr_format=zarr_format, consolidated=consolidated)
    first = read_source(storage)
    assert read_source(storage).state(storage) == first.state(storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        DATASET.to_zarr(tmp_path / "s.zarr", append_dim="i", consolidated=consolidated)
    assert read_source(storage).write_id != first.write_id


def test_arrays_are_read_as_they_were(tmp_path):
    """A document that changes after the state was read does not change what is read."""
    storage = _written(tmp_path / "s.zarr")
    source = pickle.loads(pickle.dumps(read_source(storage)))
    (tmp_path / "s.zarr/x/zarr.json").write_text("{}")
    assert np.array_equal(source.open("x")[...], DATASET.x.values)


def test_a_place_without_a_store_says_what_lies_there(tmp_path):
    """No store is bad input; in a dataset root the error names the stores."""
    with pytest.raises(BadInput, match="no Zarr store"):
        read_source(open_storage(str(tmp_path / "nowhere.zarr")))
    _written(tmp_path / "windows.zarr")
    with pytest.raises(BadInput, match=r"the stores windows\.zarr"):
        read_source(open_storage(str(tmp_path)))


def test_an_array_is_no_store(tmp_path):
    """A bare Zarr array is bad input."""
    zarr.create_array(tmp_path / "a.zarr", shape=(3,), dtype="i4")
    with pytest.raises(BadInput, match="a Zarr array"):
        read_source(open_storage(str(tmp_path / "a.zarr")))


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_groups_in_groups_are_refused(tmp_path, zarr_format, consolidated):
    """A group inside the store is refused by name, rather than left out in silence."""
    storage = _written(tmp_path / "s.zarr", zarr_format=zarr_format, consolidated=False)
    group = zarr.open_group(tmp_path / "s.zarr", mode="a", zarr_format=zarr_format)
    group.create_group("inner")
    if consolidated:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(str(tmp_path / "s.zarr"))
    with pytest.raises(Refused, match="inner"):
        read_source(storage)


@pytest.mark.parametrize("broken", ["{", "[]"])
def test_broken_metadata_is_damage(tmp_path, broken):
    """Metadata that are no JSON object are named as damaged."""
    storage = _written(tmp_path / "s.zarr", consolidated=False)
    (tmp_path / "s.zarr/x/zarr.json").write_text(broken)
    with pytest.raises(Damaged, match="x/zarr"):
        read_source(storage)


def test_what_cannot_be_described_is_refused_all_at_once(tmp_path):
    """Irregular chunk grids and unknown data types are refused together."""
    storage = _written(tmp_path / "s.zarr")
    root = json.loads((tmp_path / "s.zarr/zarr.json").read_text())
    nodes = root["consolidated_metadata"]["metadata"]
    nodes["x"]["chunk_grid"]["name"] = "rectilinear"
    nodes["n"]["data_type"] = "float1024"
    (tmp_path / "s.zarr/zarr.json").write_text(json.dumps(root))
    with pytest.raises(Refused) as caught:
        read_source(storage)
    assert {problem.code for problem in caught.value.problems} == {"chunk-grid", "data-type"}


WRONG = {
    "no fill": lambda node: node.pop("fill_value"),
    "no shape": lambda node: node.pop("shape"),
    "a shape below 0": lambda node: node.update(shape=[-1, 4]),
    "a chunk of 0": lambda node: node["chunk_grid"]["configuration"].update(chunk_shape=[0, 2]),
    "a dimension too many": lambda node: node.update(shape=[3, 4, 2]),
    "a name too few": lambda node: node.update(dimension_names=["i"]),
    "no codec": lambda node: node.update(codecs=[]),
    "codecs as text": lambda node: node.update(codecs=["bytes"]),
    "an unknown codec": lambda node: node["codecs"].append({"name": "nobodys.codec"}),
    "unknown keys": lambda node: node.update(chunk_key_encoding={"name": "fancy"}),
    "what must be understood": lambda node: node.update(foo={"must_understand": True}),
    "chunks of many sizes": lambda node: node.update(
        chunk_grid={"name": "rectilinear", "configuration": {"kind": "inline"}}
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("consolidated", [True, False])
def test_arrays_that_nobody_can_read_are_refused(tmp_path, wrong, consolidated):
    """Whatever is wrong with an array's metadata, it is named, in a sentence, before anything is copied."""
    storage = _written(tmp_path / "s.zarr", consolidated=consolidated)
    path = tmp_path / "s.zarr" / ("zarr.json" if consolidated else "x/zarr.json")
    document = json.loads(path.read_text())
    WRONG[wrong](document["consolidated_metadata"]["metadata"]["x"] if consolidated else document)
    path.write_text(json.dumps(document))
    with pytest.raises(Refused) as caught:
        read_source(storage)
    assert [problem.where for problem in caught.value.problems] == ["x"]


WRONG_2 = {
    "an unknown compressor": {"compressor": {"id": "nobodys"}},
    "an unknown filter": {"filters": [{"id": "nobodys"}]},
    "a chunk of 0": {"chunks": [0, 4]},
    "no chunks": {"chunks": None},
    "an unknown type": {"dtype": "<q9"},
    "a long double": {"dtype": "<f16"},
    "objects as JSON": {"dtype": "|O", "filters": [{"id": "json2"}], "fill_value": None},
    "format 1": {"zarr_format": 1},
    "fill of another type": {"fill_value": "zz"},
}


@pytest.mark.parametrize("wrong", WRONG_2)
def test_arrays_of_format_2_that_nobody_can_read_are_refused(tmp_path, wrong):
    """As those of format 3."""
    storage = _written(tmp_path / "s.zarr", zarr_format=2, consolidated=False)
    path = tmp_path / "s.zarr/x/.zarray"
    path.write_text(json.dumps({**json.loads(path.read_text()), **WRONG_2[wrong]}))
    with pytest.raises(Refused) as caught:
        read_source(storage)
    assert [problem.where for problem in caught.value.problems] == ["x"]


def test_names_that_do_not_fit_an_array_of_format_2_are_refused(tmp_path):
    """The attribute that names dimensions must name each of them."""
    storage = _written(tmp_path / "s.zarr", zarr_format=2, consolidated=False)
    (tmp_path / "s.zarr/x/.zattrs").write_text('{"_ARRAY_DIMENSIONS": ["i"]}')
    with pytest.raises(Refused, match="same number of dimensions"):
        read_source(storage)


@pytest.mark.parametrize("mark", ["hello", [1], {"generation": "x"}])
def test_a_mark_that_is_not_ours_is_refused(tmp_path, mark):
    """Another program's attribute of our name is told, and no traceback."""
    storage = _written(tmp_path / "s.zarr")
    path = tmp_path / "s.zarr/zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": {"aggrade": mark}}))
    with pytest.raises(Refused, match="nobody understands"):
        read_source(storage)


@pytest.mark.parametrize(
    ("source", "target", "seen"),
    [
        ("/d/a.zarr", "/d/b.zarr", "../a.zarr"),
        ("s3://bucket/p/a.zarr", "s3://bucket/p/b.zarr", "../a.zarr"),
        ("/d/a.zarr", "/e/b.zarr", "/d/a.zarr"),
        ("s3://bucket/a.zarr", "s3://other/b.zarr", "s3://bucket/a.zarr"),
    ],
)
def test_stores_in_one_folder_are_known_by_name(source, target, seen):
    """Stores that lie together find each other after they were moved together."""
    assert relative_url(source, target) == seen
