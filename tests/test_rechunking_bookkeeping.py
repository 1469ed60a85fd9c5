"""What a rechunk is said to cost is what is counted, planning and commit included."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from make_datasets import make_session
from make_stores import let_show

import aggrade
from aggrade.rechunking import rechunk_storage
from aggrade.storage import open_storage
from aggrade.storage.counting import counted, requests_in

LAYOUTS = {
    "chunks": {"chunks": {"a": 4, "c": 5}, "shards": None, "max_memory": 6000},
    "shards": {"chunks": {"a": 4, "c": 5}, "shards": {"a": 8}, "max_memory": 1 << 20},
    "one chunk a shard": {"chunks": {"a": 4, "c": 5}, "shards": {"a": 4, "c": 5}, "max_memory": 1 << 20},
}
SOURCES = {
    "chunks": {"x": {"chunks": (7, 2, 1)}},
    "shards": {"x": {"chunks": (7, 1, 1), "shards": (14, 2, 2)}},
}


def _dataset(epochs):
    """Return a matrix without a zero, a column, text and a scalar."""
    numbers = np.random.default_rng(0).uniform(1, 2, (20, 2, 30)).astype("f4")[..., :epochs]
    variables = {"x": (("a", "b", "c"), numbers), "t": 2.5}
    return xr.Dataset(variables, {"c": np.arange(1.0, epochs + 1), "name": ("b", ["g", "r"])})


def _put(path, epochs, generation, encoding):
    """Let a store show a dataset; files that hold the same stay."""
    return open_storage(let_show(path, _dataset(epochs), encoding=encoding, generation=generation, dim="c"))


def _run(source, target, layout, *, dry_run=False, **how):
    """Rechunk; return what comes of it and the requests that were counted at both stores."""
    counts: Counter[str] = Counter()
    stores = [counted(storage, counts)[0] for storage in (source, target)]
    return rechunk_storage(*stores, layout, dry_run=dry_run, **how), requests_in(counts)


def _assert_priced(source, target, layout, *, deleted=False, **how):
    """Assert that a dry run and the run cost what was said; deleting an older version costs nothing but one look."""
    plan, _ = _run(source, target, layout, dry_run=True, **how)
    receipt, spent = _run(source, target, layout, **how)
    priced = Counter(plan.price.requests)
    assert {**priced, "DELETE": priced["DELETE"] + receipt.details["deleted"]} == {
        **spent,
        "HEAD": spent["HEAD"] - deleted,
    }
    assert (receipt.details["deleted"] > 0) == deleted
    return plan


@pytest.mark.parametrize(
    ("stored", "layout"), [("chunks", "chunks"), ("shards", "shards"), ("shards", "one chunk a shard")]
)
def test_each_version_costs_what_was_said(tmp_path, stored, layout):
    """Requests of every kind, at both stores: for a new target, one that grows, one whose source only says so, and one made anew."""
    target, asked = open_storage(str(tmp_path / "t.zarr")), LAYOUTS[layout]
    for number, (epochs, anew) in enumerate([(10, False), (11, False), (11, False), (14, True)]):
        source = _put(tmp_path / "s.zarr", epochs, number + 1, SOURCES[stored])
        plan = _assert_priced(source, target, asked, deleted=number > 1, anew=anew)
        assert bool(plan.kept) == (number in {1, 2})


@pytest.mark.parametrize(
    ("stored", "layout"), [("chunks", "chunks"), ("shards", "shards"), ("chunks", "one chunk a shard")]
)
def test_comparing_all_costs_what_was_said(tmp_path, stored, layout):
    """Either side is read once more, what is kept included; for a new target, one that grows, and one made anew."""
    target, asked = open_storage(str(tmp_path / "t.zarr")), LAYOUTS[layout]
    for number, (epochs, anew) in enumerate([(10, False), (11, False), (14, True)]):
        source = _put(tmp_path / "s.zarr", epochs, number + 1, SOURCES[stored])
        how = {"anew": anew, "compare": "full"}
        plan = _assert_priced(source, target, asked, deleted=number > 1, **how)
        assert bool(plan.kept) == (number == 1)


def test_the_check_for_missing_chunks_is_in_the_price(tmp_path):
    """Of a store that was appended to, a record is read for each layer; a store of another tool is listed to know its state."""
    target = open_storage(str(tmp_path / "t.zarr"))
    source = open_storage(str(tmp_path / "windows.zarr"))
    asked = {"chunks": {"session": 1, "window": -1}, "shards": None, "max_memory": 1 << 24}
    looks = []
    for number in range(3):
        session = make_session(f"s{number}", 3, number, channels=4, samples=400)
        aggrade.append(session, source.url, chunks={"session": 1})
        _, looking = _run(source, target, asked, dry_run=True)
        looks.append(looking)
        _assert_priced(source, target, asked, deleted=number > 1)
    assert [look["LIST"] for look in looks[1:]] == [2 * len(_arrays(source)) + 1] * 2
    assert looks[2]["GET"] == looks[1]["GET"] + 1
    plan, looking = _run(source, target, asked, dry_run=True)
    _, spent = _run(source, target, asked)
    assert plan.up_to_date
    assert plan.price.requests == spent == {**looking, "GET": looking["GET"] + 2}


def _arrays(storage):
    return [name for name in storage.folders() if not name.startswith(".")]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_of_another_tool_costs_what_was_said(tmp_path, zarr_format):
    """Its metadata and its listings, which tell its state, are asked for twice; that is in the price."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _dataset(10).to_zarr(tmp_path / "s.zarr", zarr_format=zarr_format, consolidated=False)
    source, target = (open_storage(str(tmp_path / name)) for name in ("s.zarr", "t.zarr"))
    plan = _assert_priced(source, target, LAYOUTS["chunks"])
    arrays = len(_arrays(source))
    assert plan.price.requests["LIST"] == 2 * (1 + arrays) + arrays + 1 + arrays + 2
