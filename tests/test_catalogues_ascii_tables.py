"""Tables of text as programs write them: IPAC, ASCII_HEAD of SExtractor, columns between blanks."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.reading import read_table
from aggrade.catalogues.tables import Wanted
from aggrade.errors import BadInput

BIG = 2**60 + 1
IPAC = rf"""\fixlen = T
\MJD_OBS = 61000.25
\FILTER = 'r'
\ a comment
|              objid|  name|             ra|  flux|  n|
|               long|  char|         double|  real|int|
|                   |      |            deg|  nMgy|   |
|               null|  null|           null|  -999|   |
 {BIG}   1.10            1.25   20.5   3
                  5    1.1            null   -999   4
 9223372036854775807 i band   359.999999999  21.25   5
"""


def read(text, numbers=(), labels=(), name="night.tbl"):
    """Read columns of a text."""
    return read_table(text.encode(), name, Wanted(frozenset(numbers), frozenset(labels)))


def test_ipac_tables_keep_types_units_and_keywords():
    """Integers keep 64 bits, text its digits and blanks, nulls are missing, units and keywords come along."""
    table = read(IPAC, ["ra", "flux", "n"], ["objid", "name"])
    assert table.names == ("objid", "name", "ra", "flux", "n")
    assert table.columns["objid"].values.tolist() == [BIG, 5, 2**63 - 1]
    assert table.columns["name"].values.tolist() == ["1.10", "1.1", "i band"]
    assert np.array_equal(table.columns["ra"].values, [1.25, np.nan, 359.999999999], equal_nan=True)
    assert table.columns["flux"].missing.tolist() == [False, True, False]
    assert [table.columns[name].unit for name in ("ra", "flux", "n")] == ["deg", "nMgy", None]
    assert (table.header["MJD_OBS"], table.header["FILTER"]) == (61000.25, "r")


def test_ipac_tables_without_types_are_refused():
    """A header that ends after the names is torn: types are not made up."""
    with pytest.raises(BadInput, match="no types"):
        read(IPAC[: IPAC.index("|               long")], ["ra"])


def test_an_id_that_is_missing_in_ipac_leaves_the_others_whole():
    """A null among 64-bit ids is missing, and no other id loses a digit."""
    column = read(
        IPAC.replace("                  5    1", "               null    1"), [], ["objid"]
    ).columns["objid"]
    assert column.missing.tolist() == [False, True, False]
    assert column.values[[0, 2]].tolist() == [BIG, 2**63 - 1]


def test_digits_in_a_text_column_of_ipac_stay_text():
    """What the file calls text is text, though all of it looks like numbers: 1.10 is not 1.1, nor 007 the 7."""
    text = IPAC.replace("i band", "   007")
    assert read(text, [], ["name"]).columns["name"].values.tolist() == ["1.10", "1.1", "007"]


VECTORS = f"""\
#   1 NUMBER                 Running object number
#   2 ALPHA_J2000            Right ascension of barycenter (J2000)            [deg]
#   3 MAG_APER               Fixed aperture magnitude vector                  [mag]
#   6 FLAGS                  Extraction flags
#   7 MAGERR_APER            RMS error vector for fixed aperture mag.         [mag]
{BIG}    1.25   20.5 20.25 20.125   0   0.1 0.2 0.3
         2     1.5   21.5 21.25 99.0     3   0.4 0.5 0.6
"""


@pytest.mark.parametrize("name", ["night.cat", "night.dat"])
def test_vectors_of_sextractor_go_by_their_index(name):
    """A vector's elements are found by its name and an index, wherever in the line it stands and however wide it is."""
    numbers = ["MAG_APER[0]", "MAG_APER[2]", "MAGERR_APER[1]", "MAGERR_APER[2]", "FLAGS", "MAG_APER[3]"]
    table = read(VECTORS, numbers, ["NUMBER"], name)
    assert table.columns["NUMBER"].values.tolist() == [BIG, 2]
    assert table.columns["MAG_APER[0]"].values.tolist() == [20.5, 21.5]
    assert table.columns["MAG_APER[2]"].values.tolist() == [20.125, 99.0]
    assert table.columns["MAGERR_APER[1]"].values.tolist() == [0.2, 0.5]
    assert table.columns["MAGERR_APER[2]"].values.tolist() == [0.3, 0.6]
    assert table.columns["FLAGS"].values.tolist() == [0, 3]
    assert table.columns["MAG_APER[2]"].unit == "mag"
    assert "MAG_APER[3]" not in table.columns


@pytest.mark.parametrize(
    "text",
    [
        f"#a title\n#MJD id Mag Err\n48823.5 {BIG} -6.051 0.758\n48824.5 007 null -\n",
        f"MJD id Mag Err\n48823.5   {BIG}   -6.051   0.758\n48824.5 007 nan --\n",
        f"#MJD,id,Mag,Err\n48823.5,{BIG},-6.051,0.758\n48824.5,007,null,-\n",
        f"MJD|id|Mag|Err\n48823.5|{BIG}|-6.051|0.758\n48824.5|007||\n",
    ],
)
def test_plain_tables_keep_ids_and_numbers(text):
    """Ids keep every digit and leading zero, numbers are numbers, and the usual words for nothing are missing."""
    table = read(text, ["MJD", "Mag", "Err"], ["id"], "lc_1.mjd")
    assert table.names == ("MJD", "id", "Mag", "Err")
    assert table.columns["id"].values.tolist() == [str(BIG), "007"]
    assert table.columns["MJD"].values.tolist() == [48823.5, 48824.5]
    assert table.columns["Mag"].values[0] == -6.051
    assert table.columns["Mag"].missing.tolist() == table.columns["Err"].missing.tolist() == [False, True]


def test_whole_numbers_of_plain_tables_keep_64_bits():
    """Ids above 2^53 are whole numbers to the last digit."""
    column = read(f"#id mag\n{BIG} 1.5\n{BIG + 1} 2.5\n", ["mag"], ["id"], "a.txt").columns["id"]
    assert column.values.tolist() == [BIG, BIG + 1]


@pytest.mark.parametrize("text", [IPAC, VECTORS, "#MJD Mag Err\n48823.5 -6.051 0.758\n48824.5 -6.1 0.5\n"])
def test_torn_lines_are_refused(text):
    """A file that ends amid a line gives one clear error, wherever it was cut."""
    wanted = ["Mag", "flux", "MAG_APER[0]"]
    for stop in np.linspace(0, len(text) - 2, 40).astype(int):
        if not text[:stop].endswith("\n"):
            with pytest.raises(BadInput) as caught:
                read(text[:stop], wanted, [], "night.dat")
            assert len(caught.value.problems) == 1


def test_comments_before_a_csv_header_are_passed_over():
    """Lines of # above the names are no part of the table."""
    table = read("# made on 2026-10-01\n# by hand\nid,mag\n7,20.5\n", ["mag"], ["id"], "a.csv")
    assert table.names == ("id", "mag")
    assert table.columns["mag"].values.tolist() == [20.5]
