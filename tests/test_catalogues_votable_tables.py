"""VOTables as services write them, and what astropy would cut or clip in them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io.votable import from_table, writeto
from astropy.table import MaskedColumn, Table

from aggrade.catalogues.reading import read_table, read_tables
from aggrade.catalogues.tables import TimeSystem, Wanted
from aggrade.errors import BadInput

BIG = 2**60 + 1
DOCUMENT = f"""<?xml version="1.0" encoding="utf-8"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
 <TIMESYS ID="system" timescale="TCB" refposition="BARYCENTER" timeorigin="2455197.5"/>
 <RESOURCE type="results">
  <INFO name="QUERY_STATUS" value="OK"/>
  <PARAM name="MJD-OBS" datatype="double" value="61000.25"/>
  <TABLE name="night">
   <PARAM name="FILTER" datatype="char" arraysize="*" value="r"/>
   <FIELD ID="col_1" name="source_id" datatype="long"><VALUES null="-1"/></FIELD>
   <FIELD ID="col_2" name="time" datatype="double" unit="d" ref="system"/>
   <FIELD ID="col_3" name="flux" datatype="float" unit="nMgy"/>
   <FIELD ID="col_4" name="band" datatype="char" arraysize="*"/>
   <FIELD ID="col_5" name="flags" datatype="short"/>
   <FIELD ID="col_6" name="mags" datatype="double" arraysize="2" unit="mag"/>
   <DATA><TABLEDATA>
    <TR><TD>{BIG}</TD><TD>2000.5</TD><TD>1.5</TD><TD>zg</TD><TD>5</TD><TD>20.5 20.25</TD></TR>
    <TR><TD>-1</TD><TD></TD><TD></TD><TD>007</TD><TD></TD><TD>21 22</TD></TR>
    <TR><TD>{2**63 - 1}</TD><TD>2001.5</TD><TD>NaN</TD><TD>1.10</TD><TD>0</TD><TD>23 24</TD></TR>
   </TABLEDATA></DATA>
  </TABLE>
 </RESOURCE>
</VOTABLE>
"""
ALL = (["time", "flux", "flags"], ["source_id", "band"])


def read(text, numbers=(), labels=(), name="night.vot"):
    """Read columns of a document."""
    return read_table(text.encode(), name, Wanted(frozenset(numbers), frozenset(labels)))


def test_a_long_with_nulls_keeps_64_bits():
    """The declared null is missing, and the ids beside it keep every digit."""
    column = read(DOCUMENT, *ALL).columns["source_id"]
    assert column.values.dtype == np.int64
    assert column.missing.tolist() == [False, True, False]
    assert column.values[[0, 2]].tolist() == [BIG, 2**63 - 1]


def test_columns_go_by_their_names():
    """A column's name, not its ID, is what a specification says; text stays text, units and what is missing are told."""
    table = read(DOCUMENT, *ALL)
    assert table.names == ("source_id", "time", "flux", "band", "flags", "mags")
    assert table.columns["band"].values.tolist() == ["zg", "007", "1.10"]
    assert table.columns["flux"].missing.tolist() == [False, True, True]
    assert table.columns["flux"].unit == "nMgy"
    assert table.columns["flags"].missing.tolist() == [False, True, False]


def test_vectors_go_by_their_index():
    """An element of an array column is a column."""
    column = read(DOCUMENT, ["mags[1]"]).columns["mags[1]"]
    assert (column.values.tolist(), column.unit) == ([20.25, 22.0, 24.0], "mag")


def test_parameters_are_the_header():
    """Parameters of resource and table are what header keys are elsewhere."""
    header = read(DOCUMENT, *ALL).header
    assert (header["MJD-OBS"], header["FILTER"]) == (61000.25, "r")


def test_the_time_system_comes_along():
    """Scale, origin and place of a TIMESYS belong to the columns that refer to it."""
    columns = read(DOCUMENT, *ALL).columns
    assert columns["time"].time == TimeSystem("tcb", 2455197.5, "barycenter")
    assert columns["flux"].time is None


@pytest.mark.parametrize("how", ["tabledata", "binary2"])
def test_every_serialisation_gives_the_same_columns(how):
    """The XML and the binary form say the same."""
    table = Table(
        {
            "id": MaskedColumn([BIG, 5, -3], mask=[False, True, False]),
            "mag": np.array([20.5, np.nan, 21.25], "f4"),
            "band": ["g", "r", "i band"],
        }
    )
    file = io.BytesIO()
    writeto(from_table(table), file, tabledata_format=how)
    read = read_table(file.getvalue(), "a.xml", Wanted(frozenset({"mag"}), frozenset({"id", "band"}))).columns
    assert read["id"].missing.tolist() == [False, True, False]
    assert read["id"].values[[0, 2]].tolist() == [BIG, -3]
    assert np.array_equal(read["mag"].values, np.array([20.5, np.nan, 21.25]), equal_nan=True)
    assert read["band"].values.tolist() == ["g", "r", "i band"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('name="band" datatype="char" arraysize="*"', 'name="band" datatype="char"'), "too long"),
        ((f">{2**63 - 1}<", f">{2**63}<"), "out of range"),
        ((f">{BIG}<", ">1.15e18<"), "invalid literal"),
        (('value="OK"', 'value="OVERFLOW"'), "cut it off"),
        (('value="OK"', 'value="ERROR"'), "ERROR"),
        (('name="flux"', 'name="time"'), "several columns called time"),
    ],
)
def test_what_would_be_lost_is_refused(change, told):
    """Text longer than declared, integers out of range, floats as ids, and results cut off are errors."""
    assert change[0] in DOCUMENT
    with pytest.raises(BadInput, match=told):
        read(DOCUMENT.replace(*change), *ALL)


def test_losses_in_other_columns_do_not_matter():
    """A column that nobody asked for is nobody's problem."""
    text = DOCUMENT.replace('name="band" datatype="char" arraysize="*"', 'name="band" datatype="char"')
    table = read(text, ["flux"], ["source_id"])
    assert table.columns["source_id"].values[0] == BIG
    assert "band" in table.names


def test_an_empty_integer_of_an_old_version_is_no_zero():
    """Before version 1.3 an empty cell could not be an integer: it is refused, never read as 0."""
    text = DOCUMENT.replace('version="1.4"', 'version="1.2"').replace("/v1.3", "/v1.2")
    with pytest.raises(BadInput, match="Empty cell"):
        read(text, ["flags"])


def test_every_table_is_read_with_its_own_parameters():
    """One table per band in one document is several tables, each with its own FILTER."""
    begin, end = DOCUMENT.index("  <TABLE "), DOCUMENT.index(" </RESOURCE>")
    second = DOCUMENT[begin:end].replace('value="r"', 'value="g"').replace("col_", "other_")
    text = DOCUMENT[:end] + second + DOCUMENT[end:]
    tables = read_tables(text.encode(), "a.vot", Wanted(frozenset({"flux"}), frozenset({"source_id"})))
    assert [table.header["FILTER"] for table in tables] == ["r", "g"]
    assert [table.rows for table in tables] == [3, 3]


def test_a_document_cut_anywhere_is_refused():
    """Whatever is missing at the end, there is one clear error."""
    for stop in np.linspace(0, len(DOCUMENT) - 3, 20).astype(int):
        with pytest.raises(BadInput, match=r"night\.vot") as caught:
            read(DOCUMENT[:stop], *ALL)
        assert len(caught.value.problems) == 1
