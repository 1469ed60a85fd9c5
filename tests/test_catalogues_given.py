"""Object tables that a user gives, as files and as tables in memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.table import Table
from make_catalogues import write_table

from aggrade.catalogues.given import given_objects
from aggrade.catalogues.loading import How
from aggrade.catalogues.positions import healpix
from aggrade.errors import BadInput

COLUMNS = {
    "object": np.array([2**60 + 1, 5, 7]),
    "ra": np.array([10.0, -20.0, 359.0]),
    "dec": np.array([1.0, 2, -3]),
}
SPEC = {
    "object_id": "source",
    "ra": "RAJ2000",
    "dec": "DEJ2000",
    "time": "t",
    "time_scale": "utc",
    "epoch": {"column": "t"},
    "measurements": {"g": {"value": "m"}},
}


def how(*, by="auto", **match):
    """Return how catalogues are read."""
    return How.model_validate({"spec": SPEC, "match": {"by": by, **match}})


@pytest.mark.parametrize("suffix", ["fits", "parquet", "csv", "ecsv"])
def test_files_of_every_format_are_tables(suffix, tmp_path):
    """A file in any format gives the same table as the columns in memory."""
    path = write_table(tmp_path / f"objects.{suffix}", COLUMNS)
    table = given_objects(path, how(), None)
    assert table.digest == given_objects(pd.DataFrame(COLUMNS), how(), None).digest
    assert sorted(table.ids.tolist()) == [5, 7, 2**60 + 1]
    assert table.ra[table.ids.tolist().index(5)] == 340.0


def test_tables_in_memory_are_tables():
    """pandas, pyarrow and astropy tables are taken; a named index is a column."""
    frame = pd.DataFrame(COLUMNS)
    tables = [
        frame,
        frame.set_index("object"),
        pa.table(COLUMNS),
        Table(COLUMNS),
        frame.astype({"object": "Int64"}),
    ]
    assert len({given_objects(table, how(), None).digest for table in tables}) == 1


def test_text_ids_are_kept():
    """Ids of text stay text, whatever kind of text pandas holds."""
    for kind in (object, "str"):
        frame = pd.DataFrame({**COLUMNS, "object": pd.Series(["a", "b", "c"], dtype=kind)})
        assert sorted(given_objects(frame, how(), None).ids.tolist()) == ["a", "b", "c"]


def test_columns_are_called_as_in_the_catalogues_or_as_named():
    """The match's names go first, then the catalogues', then the common ones."""
    plain = given_objects(pd.DataFrame(COLUMNS), how(), None)
    same = {"source": "object", "RAJ2000": "ra", "DEJ2000": "dec"}
    renamed = pd.DataFrame(
        {new: COLUMNS[old] for new, old in same.items()} | {"id": [1, 2, 3], "ra": [0, 0, 0]}
    )
    assert given_objects(renamed, how(), None).digest == plain.digest
    named = pd.DataFrame({"n": COLUMNS["object"], "x": COLUMNS["ra"], "y": COLUMNS["dec"], "id": [1, 2, 3]})
    assert given_objects(named, how(object_id="n", ra="x", dec="y"), None).digest == plain.digest


def test_objects_without_ids_are_called_by_their_place():
    """Where rows are matched by sky, a table needs no ids: an object's id is its HEALPix index."""
    table = given_objects(pd.DataFrame(COLUMNS).drop(columns="object"), how(by="sky"), None)
    assert table.ids.tolist() == healpix(table.ra, table.dec).tolist()


def test_objects_without_places_are_called_by_their_ids():
    """Where rows are matched by id, a table needs no positions."""
    table = given_objects(pd.DataFrame({"object": [3, 1, 2]}), how(), None)
    assert table.ids.tolist() == [1, 2, 3]
    assert np.isnan(table.ra).all()


@pytest.mark.parametrize(
    ("columns", "by", "told"),
    [
        ({"name": [1], "ra": [1.0], "dec": [2.0]}, "id", "a column source or object"),
        ({"object": [1], "ra": [1.0]}, "sky", "a column DEJ2000 or dec"),
        ({"object": [1.5], "ra": [1.0], "dec": [2.0]}, "id", "lose digits"),
        ({"object": [1, 1], "ra": [1.0, 2.0], "dec": [2.0, 3.0]}, "id", "several times"),
        ({"object": [1], "ra": ["x"], "dec": [2.0]}, "id", "found text, expected degrees"),
        ({"object": [1], "ra": [361.0], "dec": [2.0]}, "id", "ra such as 361"),
        ({"ra": [np.nan], "dec": [np.nan]}, "sky", "without id and position"),
    ],
)
def test_what_is_no_object_table_is_refused(columns, by, told):
    """Missing columns, ids as floats, repeated ids and places off the sky are refused."""
    with pytest.raises(BadInput, match=told):
        given_objects(pd.DataFrame(columns), how(by=by), None)


def test_other_things_are_refused(tmp_path):
    """A list is no table, a folder with two files is no one table, and a path must exist."""
    with pytest.raises(BadInput, match="found list"):
        given_objects([1, 2], how(), None)
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / name, COLUMNS)
    with pytest.raises(BadInput, match="2 files"):
        given_objects(tmp_path, how(), None)
    with pytest.raises(BadInput, match="no catalogues"):
        given_objects(tmp_path / "c.csv", how(), None)
