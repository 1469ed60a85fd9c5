"""Nested Parquet becomes rows: lists, lists of structures, structures of lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aggrade.catalogues.reading import read_table, read_tables
from aggrade.catalogues.tables import Wanted
from aggrade.errors import BadInput

BIG = 2**60 + 1
IDS = [BIG, 5, None, 7]
MJD = [[1.0, 2.0, 3.0], [], [4.0], None]
MAG = [[20.5, None, 21.5], [], [22.5], None]
ROWS = {"id": [BIG, BIG, BIG, None], "mjd": [1.0, 2.0, 3.0, 4.0], "mag": [20.5, None, 21.5, 22.5]}
"""The same written flat, by hand."""
PARALLEL = pa.table(
    {"id": pa.array(IDS, pa.int64()), "mjd": pa.array(MJD), "mag": pa.array(MAG, pa.list_(pa.float32()))}
)
STRUCTURES = [
    None if times is None else [{"mjd": t, "mag": m} for t, m in zip(times, mags, strict=True)]
    for times, mags in zip(MJD, MAG, strict=True)
]
OF_LISTS = [
    None if times is None else {"mjd": times, "mag": mags} for times, mags in zip(MJD, MAG, strict=True)
]
SHAPES = {
    "parallel lists": (PARALLEL, ""),
    "a list of structures": (pa.table({"id": PARALLEL["id"], "lc": STRUCTURES}), "lc."),
    "a structure of lists": (pa.table({"id": PARALLEL["id"], "lc": OF_LISTS}), "lc."),
}


def written(table):
    """Return a table as a Parquet file of several row groups."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def check(table, prefix=""):
    """Compare a table with the same written flat."""
    assert table.rows == 4
    ids = table.columns["id"]
    assert ids.missing.tolist() == [each is None for each in ROWS["id"]]
    assert ids.values[:3].tolist() == ROWS["id"][:3]
    for name in ("mjd", "mag"):
        expected = [np.nan if each is None else each for each in ROWS[name]]
        assert np.array_equal(table.columns[prefix + name].values, expected, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_lists_become_rows(shape):
    """Each element is a row beside its object's id, by path; empty and missing lists give none."""
    table, prefix = SHAPES[shape]
    wanted = Wanted(frozenset({f"{prefix}mjd", f"{prefix}mag"}), frozenset({"id"}))
    read = read_table(written(table), "a.parquet", wanted)
    check(read, prefix)
    assert set(read.names) == {"id", f"{prefix}mjd", f"{prefix}mag"}


@pytest.mark.parametrize("shape", SHAPES)
def test_fields_go_by_their_names_alone(shape):
    """A field is found without its path where nothing else has that name."""
    wanted = Wanted(frozenset({"mjd", "mag"}), frozenset({"id"}))
    check(read_table(written(SHAPES[shape][0]), "a.parquet", wanted))


def test_without_lists_nothing_is_repeated():
    """Where only plain columns are asked for, a row is a row."""
    read = read_table(written(PARALLEL), "a.parquet", Wanted(labels=frozenset({"id"})))
    assert read.rows == 4
    assert read.columns["id"].missing.tolist() == [False, False, True, False]


ALERTS = pa.table(
    {
        "objectId": ["a", "b"],
        "candidate": [{"jd": 5.5, "magpsf": 18.5, "rb": 0.5}, {"jd": 6.5, "magpsf": 19.5, "rb": 0.25}],
        "prv_candidates": [[{"jd": 1.5, "magpsf": None}, {"jd": 2.5, "magpsf": 17.5}], None],
    }
)


def test_an_alert_and_its_history_are_one_table():
    """Every structure that has all of the fields gives its rows; one that lacks a field gives none."""
    wanted = Wanted(frozenset({"jd", "magpsf"}), frozenset({"objectId"}))
    now, before = read_tables(written(ALERTS), "a.parquet", wanted)
    assert now.columns["objectId"].values.tolist() == ["a", "b"]
    assert now.columns["jd"].values.tolist() == [5.5, 6.5]
    assert before.columns["objectId"].values.tolist() == ["a", "a"]
    assert before.columns["magpsf"].missing.tolist() == [True, False]
    (only,) = read_tables(written(ALERTS), "a.parquet", Wanted(frozenset({"jd", "rb"})))
    assert only.columns["rb"].values.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("columns", "wanted", "told"),
    [
        ({"mjd": [[1.0, 2.0]], "mag": [[20.5]]}, {"mjd", "mag"}, "differ in length"),
        ({"p": [{"mjd": 1.0}], "q": [{"mag": 2.0}]}, {"mjd", "mag"}, "spread over p, q"),
    ],
)
def test_what_does_not_belong_together_is_refused(columns, wanted, told):
    """Lists of different lengths, and fields of which no structure has all, are errors."""
    with pytest.raises(BadInput, match=told):
        read_table(written(pa.table(columns)), "a.parquet", Wanted(frozenset(wanted)))


def test_vectors_are_no_rows():
    """A list of fixed length is a vector: its elements go by their index, and the whole is not understood."""
    table = pa.table({"mags": pa.array([[1.0, 2.0], [3.0, None]], pa.list_(pa.float64(), 2)), "id": [1, 2]})
    read = read_table(written(table), "a.parquet", Wanted(frozenset({"mags", "mags[1]"}), frozenset({"id"})))
    assert read.rows == 2
    assert "list" in read.columns["mags"].kind
    assert np.array_equal(read.columns["mags[1]"].values, [2.0, np.nan], equal_nan=True)
