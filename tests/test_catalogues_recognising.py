"""Formats are recognised by what a file begins with, whatever its name says."""

from __future__ import annotations

import gzip

import pytest

from aggrade.catalogues.reading import format_of
from aggrade.catalogues.recognising import Layout, layout_of

HEADS = {
    "FITS": b"SIMPLE  =                    T / conforms\n",
    "Parquet": b"PAR1\x15\x00",
    "ECSV": b"# %ECSV 1.0\n# ---\n",
    "VOTable": b'<?xml version="1.0"?>\n<!-- from a service -->\n<VOTABLE version="1.4">\n',
    "IPAC": b"\\MJD = 61000\n\\ a comment\n|  id|  ra|\n|long|real|\n    1 2.5\n",
    "SExtractor": b"#   1 NUMBER   Running object number\n#   2 FLAGS\n 1 0\n",
    "CSV": b"id,mag\n1,20.5\n",
    "plain text": b"#MJD Mag Err\n48823.477 -6.051 0.758\n",
}


@pytest.mark.parametrize("name", ["a.dat", "a", "a.fits", "a.csv", "a.cat"])
@pytest.mark.parametrize("kind", HEADS)
def test_content_comes_before_the_ending(kind, name):
    """The first bytes decide, gzipped or not, even where the ending says something else."""
    for head in (HEADS[kind], gzip.compress(HEADS[kind])):
        found = format_of(name, head)
        assert found is not None
        assert found.name == kind


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x00\x01\x02",
        b"\x89PNG\r\n",
        b"\x1f\x8bnot gzip at all",
        b"Dear reader,\nplease look at the 3 files.\n",
        b"# A title\n\nSome words, and 12 more.\nAnd a line.\n",
        b"| name | value |\n|------|-------|\n| a | 1 |\n",
        b"<html><body>503</body></html>\n",
        b"1 2 3\n4 5 6\n",
        b"a b c\nd e f\n",
        b"a b\n1 2\n3\n",
    ],
)
def test_other_files_are_no_catalogues(head):
    """Prose, pictures, web pages, Markdown and numbers without names are not recognised."""
    assert format_of("a.dat", head) is None


def test_the_ending_decides_where_the_content_does_not():
    """A file whose content is unknown is what its name says, so that it is refused as that."""
    for name, kind in (("a.FITS", "FITS"), ("a.csv.gz", "CSV"), ("a.vot", "VOTable"), ("a.tbl", "IPAC")):
        found = format_of(name, b"\x00\x00")
        assert found is not None
        assert found.name == kind


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("#id mag\n1 2.5\n", Layout(None, commented=True)),
        ("# made today\n# id  mag\n\n a  2.5\n", Layout(None, commented=True)),
        ("id   mag\n  1   2.5\n", Layout(None, commented=False)),
        ("# from 2 nights\nid;mag\n1;2.5\n", Layout(";", commented=False)),
        ("#id,mag\n1,2.5\n", Layout(",", commented=True)),
        ("id|mag\n1|2.5\n", Layout("|", commented=False)),
        ("\ufeffid\tmag\r\n1\t2.5\r\n", Layout("\t", commented=False)),
        ("id mag\n1 2.5\n2 cut off her", Layout(None, commented=False)),
    ],
)
def test_layouts_of_plain_tables(text, layout):
    """Names in the first line or the last comment, between blanks, commas, semicolons, tabs or bars, are told apart."""
    assert layout_of(text.encode()) == layout
