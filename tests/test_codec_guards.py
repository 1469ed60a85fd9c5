"""Stores of other tools whose codecs may change values: no row is added to them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.codecs import numcodecs as more
from zarr.registry import get_codec_class

import aggrade
from aggrade.codec_guards import EXACT
from aggrade.errors import Refused

pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")

LOSSY = {
    "bitround": ("f8", more.BitRound(keepbits=3)),
    "quantize": ("f8", more.Quantize(digits=2, dtype="f8")),
    "fixedscaleoffset": ("f8", more.FixedScaleOffset(offset=0, scale=10, dtype="f8", astype="i4")),
    "astype": ("f8", more.AsType(encode_dtype="f4", decode_dtype="f8")),
    "sums of floats": ("f8", more.Delta(dtype="f8")),
    "differences cut": ("i4", more.Delta(dtype="i4", astype="i2")),
    "another type's": ("i4", more.Delta(dtype="i8")),
    "another order's": ("i4", more.Delta(dtype=">i4")),
}
LOSSLESS = {
    "delta": ("i4", {"filters": (more.Delta(dtype="i4"),)}),
    "delta, spelled out": ("u2", {"filters": (more.Delta(dtype="<u2", astype="<u2"),)}),
    "packbits": ("bool", {"filters": (more.PackBits(),)}),
    "transpose": ("f8", {"filters": (TransposeCodec(order=(1, 0)),)}),
    "shuffle": ("f4", {"compressors": (more.Shuffle(elementsize=4), more.Zlib(), more.CRC32())}),
    "numcodecs": ("f8", {"compressors": (more.LZ4(), more.BZ2(), more.LZMA(), more.Fletcher32())}),
    "zarr's": ("f8", {"compressors": (BloscCodec(), GzipCodec(), ZstdCodec(), Crc32cCodec())}),
    "in shards": ("i4", {"filters": (more.Delta(dtype="i4"),), "chunks": (1, 2), "shards": (2, 4)}),
}


def rows(label, values, name="v"):
    """Return one row of values."""
    return xr.Dataset({name: (("session", "x"), np.asarray(values)[None])}, {"session": [label]})


def adopted(path, dtype, **encoding):
    """Write a store of one row by xarray alone."""
    return written(path, rows("a", np.ones(4, dtype)), {"chunks": (4, 4), **encoding})


def written(path, dataset, encoding, name="v"):
    """Write a store by xarray alone."""
    with warnings.catch_warnings(action="ignore"):
        dataset.to_zarr(path, zarr_format=3, consolidated=True, encoding={name: encoding})
    return str(path)


def files(path):
    """Return every file below a folder."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("sharded", [False, True], ids=["chunks", "shards"])
@pytest.mark.parametrize("name", LOSSY)
def test_what_may_change_values_is_refused(tmp_path, name, sharded, dry_run):
    """Array, codec and remedy are named, in the dry run too, and nothing is written."""
    dtype, codec = LOSSY[name]
    layout = {"chunks": (1, 2), "shards": (2, 4)} if sharded else {}
    store = adopted(tmp_path / "x.zarr", dtype, filters=(codec,), **layout)
    before = files(tmp_path)
    with pytest.raises(Refused) as caught:
        aggrade.append(rows("b", np.array([1, 2, 3, 5], dtype)), store, dry_run=dry_run)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("codec", "variable 'v'")
    assert codec.codec_name in problem.found
    assert "another store" in problem.fix
    assert files(tmp_path) == before


def test_it_is_said_with_all_else(tmp_path):
    """Nobody mends one thing to learn of the next."""
    store = adopted(tmp_path / "x.zarr", "f8", filters=(LOSSY["bitround"][1],))
    wrong = rows("b", np.ones(4)).assign(w=("session", [1.0]))
    with pytest.raises(Refused) as caught:
        aggrade.append(wrong, store)
    assert [problem.code for problem in caught.value.problems] == ["extra-variable", "codec"]


def test_arrays_that_are_not_written_may_be_rounded(tmp_path):
    """What has no rows stays as it lies there."""
    fixed = xr.Dataset({"v": ("session", [1.0]), "k": ("x", [1.0, 2.0])}, {"session": ["a"]})
    store = written(tmp_path / "x.zarr", fixed, {"filters": (LOSSY["bitround"][1],)}, "k")
    aggrade.append(fixed.assign_coords(session=["b"]), store)
    with pytest.raises(Refused, match="bitround"):
        aggrade.append(fixed.assign_coords(session=["c"]), store, grow="x")


@pytest.mark.parametrize("name", LOSSLESS)
def test_what_gives_values_back_is_taken(tmp_path, name):
    """Bits that were handed over are those that xarray reads, and `verify` agrees."""
    dtype, encoding = LOSSLESS[name]
    store = adopted(tmp_path / "x.zarr", dtype, **encoding)
    values = (
        (np.random.default_rng(5).normal(size=4) * 1e4).astype("i8" if dtype != "f8" else dtype).astype(dtype)
    )
    aggrade.append(rows("b", values), store)
    assert xr.open_zarr(store)["v"].values[1].tobytes() == values.tobytes()
    assert aggrade.verify(store).ok


def test_every_codec_of_the_list_is_one():
    """A name of the list that zarr doesn't know would be a slip."""
    assert all(get_codec_class(name) for name in EXACT)


@settings(deadline=None, max_examples=15)
@given(hnp.arrays("i4", 4, elements=st.integers(-(2**31), 2**31 - 1)))
def test_differences_of_whole_numbers_wrap_around(tmp_path_factory, values):
    """The sums give back any integer, however large the differences were."""
    store = adopted(tmp_path_factory.mktemp("d") / "x.zarr", "i4", filters=(more.Delta(dtype="i4"),))
    aggrade.append(rows("b", values), store)
    assert xr.open_zarr(store)["v"].values[1].tolist() == values.tolist()
