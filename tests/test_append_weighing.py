"""Weighing what an append writes: encoded, and not sent."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr
from make_commits import DOCUMENTS, add_rows, open_world_store, plan_rows
from make_documents import make_document

from aggrade.append_weighing import WEIGHED, weigh
from aggrade.commit import CommitPlan, Look, Region, look
from aggrade.commit.documents import resized


def rows_of(*labels):
    """Return the variables that `write_rows` writes for these labels."""
    from make_commits import values_of

    rows = np.array([values_of(label) for label in labels])
    return {
        "x": xr.Variable(("row", "column"), rows),
        "total": xr.Variable(("row",), rows.sum(axis=1)),
        "column": xr.Variable(("column",), np.arange(3, dtype="f4")),
    }


@pytest.mark.parametrize("labels", [("a",), ("b", "c"), ("d", "e", "f")])
def test_of_a_new_store(labels):
    """What was weighed is what then lies there."""
    storage = open_world_store()
    plan = plan_rows(storage, *labels)
    weights = weigh(plan, Look(None, None), rows_of(*labels))
    add_rows(storage, *labels)
    there = {name: sum(info.size for info in storage.list(f"{name}/c/")) for name in ("x", "total", "column")}
    assert weights == there


def test_of_chunks_that_hold_published_rows():
    """A shared chunk is weighed as a whole, with what it holds already and the mark of its commit."""
    storage = open_world_store()
    add_rows(storage, "a", "b")
    plan = plan_rows(storage, "c", "d", "e")
    seen = look(storage).again(storage, [], plan.shared(look(storage).snapshot.documents))
    before = {info.key: info.etag for info in storage.list()}
    weights = weigh(plan, seen, rows_of("c", "d", "e"))
    assert {info.key: info.etag for info in storage.list()} == before
    add_rows(storage, "c", "d", "e")
    written = [info for info in storage.list() if before.get(info.key) != info.etag]
    for name in ("x", "total"):
        assert weights[name] == sum(info.size for info in written if info.key.startswith(f"{name}/c/"))


def large(block):
    """Return a commit of one array of 1 MB rows, whose values `block` makes from a row's number."""
    rows = 4 * WEIGHED >> 20
    documents = {
        "x": resized(make_document((0, 1 << 20), (1, 1 << 20), dims=("row", "i"), dtype="uint8"), {})
    }
    documents["x"]["shape"] = [rows, 1 << 20]
    region = Region(variable="x", bounds=((0, rows), (0, 1 << 20)))
    commit = CommitPlan(kind="append", store="here", dim="row", documents=documents, regions=(region,))
    counted = []

    def make(block_info=None):
        first = block_info[None]["array-location"][0][0]
        counted.append(first)
        return block(first)[None]

    lazy = dask.array.map_blocks(
        make, chunks=((1,) * rows, (1 << 20,)), dtype="u1", meta=np.empty((0, 0), "u1")
    )
    return commit, {"x": xr.Variable(("row", "i"), lazy)}, counted


def test_of_large_variables_a_sample_is_taken():
    """A quarter of the rows is encoded, from the first to the last, and stands for the rest within a twentieth."""
    noise = np.random.default_rng(1).integers(0, 256, 1 << 20, dtype="u1")

    def block(row):
        values = np.zeros(1 << 20, "u1")
        values[: (row + 1) << 12] = noise[: (row + 1) << 12]
        return values

    commit, variables, counted = large(block)
    weights = weigh(commit, Look(None, None), variables)
    rows = 4 * WEIGHED >> 20
    assert len(counted) <= rows / 3
    assert {0, rows - 1} <= set(counted)
    exact = sum((row + 1) << 12 for row in range(rows))
    assert weights["x"] == pytest.approx(exact, rel=0.05)


def test_a_fixed_array_is_not_weighed_when_it_is_not_written():
    """Only what the plan's regions name is."""
    storage = open_world_store()
    add_rows(storage, "a")
    plan = plan_rows(storage, "b")
    assert set(weigh(plan, look(storage), rows_of("b"))) == {"x", "total"} < set(DOCUMENTS)
