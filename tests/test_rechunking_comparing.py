"""Layouts side by side: what one read costs is what a reader sends."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from make_documents import make_document

from aggrade.errors import BadInput
from aggrade.rechunking.comparing import READS, compare_layouts, read_price
from aggrade.storage import open_storage
from aggrade.storage.counting import counted
from aggrade.storage.zarr_store import ReadStore

SHAPE, DIMS = (40, 2, 30), ("object", "value", "epoch")
CURVES = {
    "lightcurves": make_document((200_000, 2, 2, 500), (50_000, 2, 2, 1), dims=("object", "m", "v", "epoch")),
    "status": make_document((200_000, 2, 500), (50_000, 2, 1), dims=("object", "m", "epoch"), dtype="uint8"),
    "ra": make_document((200_000,), (50_000,), dims=("object",), dtype="float64"),
}
WINDOWS = {
    "eeg": make_document((300, 900, 64, 500), (1, 900, 64, 500), dims=("session", "window", "c", "t")),
    "label": make_document((300, 900), (300, 900), dims=("session", "window"), dtype="int16"),
}


@pytest.mark.parametrize(
    ("chunks", "shards"), [((20, 2, 1), None), ((5, 2, 30), (20, 2, 30)), ((5, 1, 3), (10, 2, 6))]
)
@pytest.mark.parametrize("items", READS["object", "epoch"].values())
def test_a_read_costs_what_zarr_sends(tmp_path, chunks, shards, items):
    """Requests and bytes of an array that is not compressed are those that are counted; zarr joins chunks of a shard that are near."""
    encoding = {"chunks": chunks, "compressors": None} | ({"shards": shards} if shards else {})
    values = np.random.default_rng(0).random(SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset({"x": (DIMS, values)}).to_zarr(
            tmp_path / "s.zarr", zarr_format=3, encoding={"x": encoding}
        )
    counts: Counter[str] = Counter()
    storage, _ = counted(open_storage(str(tmp_path / "s.zarr")), counts)
    array = zarr.open_array(ReadStore(storage), path="x", mode="r")
    counts.clear()
    found = array[tuple(slice(0, items.get(dim)) for dim in DIMS)]
    assert np.array_equal(found, values[tuple(slice(0, items.get(dim)) for dim in DIMS)])
    priced = read_price([array.metadata.to_dict()], ("object", "epoch"), items)
    if (chunks, shards) == ((5, 1, 3), (10, 2, 6)):
        assert counts["GET"] <= priced.requests["GET"]
        return
    assert counts["GET"] == priced.requests["GET"]
    assert 0 <= counts["bytes_read"] - priced.bytes_read <= 2 * (16 * 4 + 4)


def test_three_layouts_of_light_curves():
    """As it lies an epoch is cheap, for reading a light curve; blocks of epochs are between, and cheap to follow."""
    lies, reading, blocks = compare_layouts("s3://sky/x.zarr", CURVES, 1 << 30).offers
    assert lies.reads["one light curve"].requests["GET"] == 2 * 500
    assert lies.reads["one epoch"].requests["GET"] == 2 * 4
    assert reading.reads["one light curve"].requests["GET"] <= 2 * 2
    assert blocks.reads["one light curve"].requests["GET"] == 2 * 50
    assert blocks.reads["one epoch"].requests["GET"] == 2 * 200
    assert (lies.making, lies.too_large) == (None, "")
    assert reading.making.requests["GET"] >= 2 * 2000


def test_three_layouts_of_windows():
    """One random window of a store with a session a chunk is a whole session; for reading it is itself."""
    lies, reading, _ = compare_layouts("/data/windows.zarr", WINDOWS, 1 << 30).offers
    window = 64 * 500 * 4
    assert lies.reads["one random window"].bytes_read == 900 * window + 300 * 900 * 2
    assert reading.reads["one random window"].bytes_read < 2 * window + 300 * 900 * 2
    assert list(lies.reads) == ["one random window", "one session"]


def test_the_table_says_what_to_ask_for():
    """Printed, each layout has a line with its reads, its price and how it is asked for."""
    lines = str(compare_layouts("s3://sky/x.zarr", CURVES, 1 << 30)).splitlines()
    assert len(lines) == 2 + 3
    assert lines[1].split("  ")[0] == "layout"
    assert lines[4].startswith("""--chunks '{"object": 1000, "epoch": 10}'""")


def test_the_documented_table_is_what_is_printed():
    """The sample in docs/rechunking.md is that of these arrays, line by line."""
    shown = {name: CURVES[name] for name in ("lightcurves", "status")}
    documented = (Path(__file__).parents[1] / "docs" / "rechunking.md").read_text()
    _, *lines = str(compare_layouts("s3://sky/x.zarr", shown, 1 << 30)).splitlines()
    assert "\n".join(f"    {line}" for line in lines) in documented


def test_a_layout_that_does_not_fit_says_what_it_needs():
    """Where the bound is too small, the table names the one that would do."""
    offers = compare_layouts("/data/x.zarr", CURVES, 1 << 20).offers
    assert all("at least" in offer.too_large for offer in offers[1:])
    assert "at least" in str(compare_layouts("/data/x.zarr", CURVES, 1 << 20))


def test_the_bound_that_it_names_suffices():
    """It is that of the array which needs the most, not of the first one."""
    small = compare_layouts("/data/x.zarr", CURVES, 1 << 10).offers[1:]
    for place, offer in enumerate(small, 1):
        needed = int(re.search(r"\d+", offer.too_large)[0])
        assert compare_layouts("/data/x.zarr", CURVES, needed).offers[place].too_large == ""
        assert "at least" in compare_layouts("/data/x.zarr", CURVES, needed - 1).offers[place].too_large


def test_a_store_of_another_kind_is_bad_input():
    """What is read of neither light curves nor windows nobody knows."""
    with pytest.raises(BadInput, match="light curves"):
        compare_layouts("/data/x.zarr", {"x": make_document((4,), (2,))}, 1 << 20)
