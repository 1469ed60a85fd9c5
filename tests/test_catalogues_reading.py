"""Every format, written by its own library, read back to the same columns; broken ones are refused."""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from make_catalogues import write_ldac, write_table

from aggrade.catalogues.reading import FORMATS, format_of, is_catalogue, read_table, read_tables
from aggrade.catalogues.tables import Wanted
from aggrade.errors import BadInput

BIG = 2**60 + 1
COLUMNS = {
    "id": np.array([BIG, -3, 2**63 - 1]),
    "ra": np.array([1.25, np.nan, 359.999999999]),
    "mag": np.array([20.5, 21.25, np.nan], "f4"),
    "band": np.array(["g", "r", "i band"]),
    "other": np.arange(3),
}
WANTED = Wanted(frozenset({"ra", "mag", "absent"}), frozenset({"id", "band"}))
SUFFIXES = ("fits", "parquet", "csv", "ecsv")


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    """Return a catalogue in each format."""
    return write_table(tmp_path / f"night.{request.param}", COLUMNS)


def read(path, wanted=WANTED):
    """Read a file."""
    return read_table(path.read_bytes(), path.name, wanted)


def test_every_format_gives_the_same_columns(path):
    """Ids keep all 64 bits, numbers their values, text its words, whatever the format."""
    table = read(path)
    assert table.rows == 3
    assert set(table.columns) == {"id", "ra", "mag", "band"}
    assert set(table.names) == set(COLUMNS)
    ids = table.columns["id"].values
    assert ids.dtype == np.int64
    assert ids.tolist() == COLUMNS["id"].tolist()
    for name in ("ra", "mag"):
        column = table.columns[name]
        assert np.array_equal(column.values.astype("f8"), COLUMNS[name].astype("f8"), equal_nan=True)
        assert column.missing.tolist() == np.isnan(COLUMNS[name]).tolist()
    assert table.columns["band"].values.tolist() == COLUMNS["band"].tolist()


def test_columns_that_are_not_wanted_are_not_read(path):
    """What isn't named is not in the result."""
    assert set(read(path, Wanted(frozenset({"mag"}))).columns) == {"mag"}


def test_a_table_without_rows_is_a_table(tmp_path):
    """No rows are no error."""
    for suffix in SUFFIXES:
        empty = {name: values[:0] for name, values in COLUMNS.items()}
        table = read(write_table(tmp_path / f"empty.{suffix}", empty))
        assert table.rows == 0
        assert set(table.columns) == {"id", "ra", "mag", "band"}


@pytest.mark.parametrize("suffix", ["fits", "csv"])
def test_gzipped_files_are_read(suffix, tmp_path):
    """A gzipped file is what it holds."""
    plain = write_table(tmp_path / f"night.{suffix}", COLUMNS).read_bytes()
    table = read_table(gzip.compress(plain), f"night.{suffix}.gz", WANTED)
    assert table.columns["id"].values[0] == BIG


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv"])
def test_units_and_headers_come_along(suffix, tmp_path):
    """Units of columns and keys of the header are read where the format has them."""
    path = write_table(
        tmp_path / f"a.{suffix}", COLUMNS, meta={"MJD-OBS": 61000.25}, units={"mag": "mag", "ra": "deg"}
    )
    table = read(path)
    assert table.columns["mag"].unit == "mag"
    assert table.columns["ra"].unit == "deg"
    assert table.columns["id"].unit is None
    assert float(table.header["MJD-OBS"]) == 61000.25


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_whole_files_only(suffix, tmp_path):
    """A file cut short at any of 40 places is refused; text only if a line is torn."""
    data = write_table(tmp_path / f"night.{suffix}", COLUMNS).read_bytes()
    for stop in np.linspace(0, len(data) - 1, 40).astype(int):
        if suffix in ("csv", "ecsv") and data[:stop].count(b"\n") > 1 and data[:stop].endswith(b"\n"):
            continue
        with pytest.raises(BadInput, match=f"night.{suffix}") as caught:
            read_table(data[:stop], f"night.{suffix}", WANTED)
        assert caught.value.code == "unreadable"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("data", [b"", b"\n", b"\x00" * 5000, b"SIMPLE  =", b"PAR1PAR1", b"\x1f\x8b\x08"])
def test_what_is_no_table_is_refused(suffix, data):
    """Files of rubbish are refused, and no library's own error gets out."""
    with pytest.raises(BadInput):
        read_table(data, f"night.{suffix}", WANTED)


def test_an_unknown_ending_is_refused():
    """A file that no format claims is refused, naming those that are known."""
    with pytest.raises(BadInput, match=r"FITS \(\.fits \.fit"):
        read_table(b"", "notes.txt", WANTED)
    assert not is_catalogue("notes.txt")


@pytest.mark.parametrize("name", ["A.FITS", "a.fit.gz", "b.cat", "c.parquet", "d.ECSV", "e.csv", "f.tsv"])
def test_formats_are_known_by_their_endings(name):
    """Endings tell the format in any case, gzipped or not."""
    assert format_of(name) in FORMATS


def test_the_first_table_of_a_fits_file_is_read(tmp_path):
    """Images before the table are passed over, and keys of the primary header are kept."""
    primary = fits.PrimaryHDU(np.zeros((3, 4), "i2"))
    primary.header["VISIT"] = 17
    parts = [primary, fits.ImageHDU(np.zeros(7)), fits.BinTableHDU(Table(COLUMNS)), fits.ImageHDU(np.ones(2))]
    fits.HDUList(parts).writeto(tmp_path / "a.fits")
    table = read(tmp_path / "a.fits")
    assert table.columns["id"].values[0] == BIG
    assert table.header["VISIT"] == 17


def test_a_fits_file_of_images_is_refused(tmp_path):
    """A file without a table is refused, naming what it holds."""
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(7))]).writeto(tmp_path / "a.fits")
    with pytest.raises(BadInput, match="no table, only PRIMARY, IMAGE"):
        read(tmp_path / "a.fits")


def test_the_objects_of_an_ldac_file_are_read(tmp_path):
    """In FITS_LDAC the table is the second one, and the image's header is a table of text."""
    path = write_ldac(tmp_path / "a.ldac", COLUMNS, {"MJD-OBS": 61000.25, "FILTER": "r"})
    table = read(path)
    assert table.columns["id"].values.tolist() == COLUMNS["id"].tolist()
    assert table.header["MJD-OBS"] == 61000.25
    assert table.header["FILTER"] == "r"


def test_a_file_of_several_tables_is_not_one(tmp_path):
    """Where one table is asked for, several of the same columns are refused; elsewhere each of them is read."""
    parts = [fits.BinTableHDU(Table(COLUMNS), name="LDAC_OBJECTS") for _ in range(2)]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "a.cat")
    with pytest.raises(BadInput, match="2 tables with the same columns"):
        read(tmp_path / "a.cat")
    assert len(read_tables((tmp_path / "a.cat").read_bytes(), "a.cat", WANTED)) == 2


def test_vectors_of_fits_go_by_their_index(tmp_path):
    """An element of a vector column is a column; the whole vector is not understood."""
    Table({"mags": np.array([[1.0, 2.0], [3.0, 4.0]])}).write(tmp_path / "a.fits")
    columns = read(tmp_path / "a.fits", Wanted(frozenset({"mags", "mags[1]", "mags[2]"}))).columns
    assert columns["mags[1]"].values.tolist() == [2.0, 4.0]
    assert columns["mags"].kind == "vectors"
    assert "mags[2]" not in columns


def test_unsigned_integers_of_fits_keep_their_digits(tmp_path):
    """Unsigned 64-bit ids, kept with an offset of 2^63, don't go through floats."""
    ids = np.array([2**63 + 1, 5, BIG], "u8")
    Table({"id": ids}).write(tmp_path / "a.fits")
    column = read(tmp_path / "a.fits").columns["id"]
    assert column.values.dtype == np.uint64
    assert column.values.tolist() == ids.tolist()


def test_compressed_images_are_no_tables(tmp_path):
    """An image that is compressed into a table is an image."""
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((8, 8), "i2"))]).writeto(tmp_path / "a.fits")
    with pytest.raises(BadInput, match="no table, only PRIMARY, compressed IMAGE"):
        read(tmp_path / "a.fits")


def test_ascii_tables_in_fits_are_read(tmp_path):
    """The other kind of FITS table is read too."""
    columns = [
        fits.Column("mag", "F8.3", array=np.array([20.5, 21.25])),
        fits.Column("id", "I10", array=[1, 2]),
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.TableHDU.from_columns(columns)]).writeto(tmp_path / "a.fits")
    table = read(tmp_path / "a.fits")
    assert table.columns["mag"].values.tolist() == [20.5, 21.25]
    assert table.columns["id"].values.tolist() == [1, 2]


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
def test_masked_integers_are_missing(suffix, tmp_path):
    """An integer that is masked is missing, whatever stands in its place."""
    table = Table({"id": MaskedColumn([BIG, 5, 7], mask=[False, True, False])})
    table.write(tmp_path / f"a.{suffix}", format="fits" if suffix == "fits" else "ascii.ecsv")
    column = read(tmp_path / f"a.{suffix}").columns["id"]
    assert column.missing.tolist() == [False, True, False]
    assert column.values[0] == BIG


def test_nullable_integers_of_parquet_are_missing(tmp_path):
    """A null among 64-bit integers does not turn the others into floats."""
    pd.DataFrame({"id": pd.array([BIG, None], "Int64")}).to_parquet(tmp_path / "a.parquet")
    column = read(tmp_path / "a.parquet").columns["id"]
    assert column.values[0] == BIG
    assert column.missing.tolist() == [False, True]


def test_categories_of_parquet_are_text(tmp_path):
    """Dictionary-encoded text is text, and a column of nulls alone is missing."""
    table = pa.table({"band": pa.array(["g", None, "r"]).dictionary_encode(), "mag": pa.nulls(3)})
    pq.write_table(table, tmp_path / "a.parquet")
    columns = read(tmp_path / "a.parquet").columns
    assert columns["band"].values.tolist() == ["g", "", "r"]
    assert columns["band"].missing.tolist() == [False, True, False]
    assert columns["mag"].missing.all()


def test_columns_of_other_types_are_told_by_their_type(tmp_path):
    """A column that is neither numbers nor text is read as something that isn't understood, named by its type."""
    columns = {"mag": [[[1.0]], [[2.0]]], "ra": [1.0, 2.0], "id": pa.array([1, 2], pa.timestamp("ms"))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    read_columns = read(tmp_path / "a.parquet").columns
    assert "list<" in read_columns["mag"].kind
    assert read_columns["id"].kind == "timestamp[ms]"


def test_quantities_of_ecsv_are_numbers_with_units(tmp_path):
    """A QTable's columns are numbers with their units."""
    from astropy import units

    QTable({"ra": [1.0, 2.0] * units.deg}).write(tmp_path / "a.ecsv")
    column = read(tmp_path / "a.ecsv").columns["ra"]
    assert column.values.tolist() == [1.0, 2.0]
    assert column.unit == "deg"


CSV = "id,ra,mag,band\n1152921504606846977,1.25,20.5,g\n2,NaN,,r\n"


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        "\ufeff" + CSV,
        CSV.replace("\n", "\r\n"),
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace("NaN", "--").replace(",,", ",null,"),
        CSV.replace("id,ra", '"id", ra'),
    ],
)
def test_csv_in_the_wild(text):
    """Marks of byte order, line ends of Windows, other separators and other words for nothing change nothing."""
    columns = read_table(text.encode(), "a.csv", WANTED).columns
    assert columns["id"].values.tolist() == [BIG, 2]
    assert columns["ra"].missing.tolist() == [False, True]
    assert columns["mag"].missing.tolist() == [False, True]
    assert columns["band"].values.tolist() == ["g", "r"]


def test_csv_numbers_late_in_the_file_keep_their_digits():
    """The first rows don't decide the type of all: integers first, decimals and text ids a megabyte later."""
    rows = 60_000
    lines = ["id,mag"] + [f"{index},{index}" for index in range(rows)] + ["x-1,0.5", ""]
    columns = read_table("\n".join(lines).encode(), "a.csv", WANTED).columns
    assert columns["mag"].values[-1] == 0.5
    assert columns["id"].values[-1] == "x-1"
    assert columns["id"].values[12345] == "12345"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,ra\n1,2,3\n", "Expected 2 columns, got 3"),
        ("id,ra\n1,north\n", "north"),
        ("id,id\n1,2\n", "several columns called id"),
        ("id,ra\n1,2", "last line does not end"),
        ("id,r\xe9\n1,2\n", "can't"),
    ],
)
def test_csv_that_is_wrong_is_refused(text, told):
    """A row too long, a word among numbers, two columns of one name, half a line: each is told."""
    with pytest.raises(BadInput, match=told):
        read_table(text.encode("latin-1"), "a.csv", WANTED)


def test_reading_warns_of_nothing(path):
    """No library's warning gets out, not even from a file cut short."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(path)
        with pytest.raises(BadInput):
            read_table(path.read_bytes()[:-30], path.name, WANTED)


MASKED = {
    "id": MaskedColumn([1, 2, 3], mask=[False, False, True]),
    "mag": MaskedColumn([15.0, 7.5, 16.0], mask=[False, True, False], unit="mag"),
    "sizes": MaskedColumn([[1.0, 2], [3, 4], [5, 6]], mask=[[0, 0], [0, 1], [0, 0]]),
    "kept": MaskedColumn([1.0, 2, 3], mask=[False, False, False]),
}


@pytest.mark.parametrize("suffix", ["parquet", "fits", "ecsv"])
def test_values_under_a_mask_are_missing(suffix, tmp_path):
    """A mask that astropy keeps in a column beside the values counts as in a table in memory: numbers, ids, elements."""
    masked = Table(
        {name: values for name, values in MASKED.items() if (name, suffix) != ("sizes", "parquet")}
    )
    for name in masked.colnames:
        masked[name].info.serialize_method["fits"] = "data_mask"
    masked.write(tmp_path / f"a.{suffix}")
    wanted = Wanted(frozenset({"mag", "kept", "sizes[0]", "sizes[1]"}), frozenset({"id"}))
    columns = read(tmp_path / f"a.{suffix}", wanted).columns
    expected = {"id": [0, 0, 1], "mag": [0, 1, 0], "kept": [0, 0, 0]}
    if suffix == "fits":
        expected |= {"sizes[0]": [0, 0, 0], "sizes[1]": [0, 1, 0]}
    for name, missing in expected.items():
        assert columns[name].missing.tolist() == list(map(bool, missing)), name
    assert np.isnan(columns["mag"].values).tolist() == [False, True, False]
    assert not [name for name in columns if "mask" in name]


def test_a_column_that_is_only_called_a_mask_hides_nothing(tmp_path):
    """Numbers called ``mag.mask`` are numbers; truth values that are asked for themselves are there."""
    columns = {"mag": [1.0, 2.0], "mag.mask": [0.0, 1.0], "r": [1.0, 2.0], "r.mask": [False, True]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", Wanted(frozenset({"mag", "r.mask"}))).columns
    assert found["mag"].missing.tolist() == [False, False]
    assert found["r.mask"].values.tolist() == [False, True]


def test_bars_at_both_ends_are_no_columns(tmp_path):
    """A table of fixed width, as astropy writes it, is plain text, however many rows it has, and no IPAC."""
    for rows in (1, 3, 30):
        path = tmp_path / f"night_{rows}.txt"
        columns = {"id": np.arange(rows), "band": ["g"] * rows, "mag": np.arange(rows) + 0.5}
        Table(columns).write(path, format="ascii.fixed_width")
        assert format_of(path.name, path.read_bytes()).name == "plain text"
        found = read(path, Wanted(frozenset({"mag"}), frozenset({"id", "band"})))
        assert found.names == ("id", "band", "mag")
        assert found.columns["id"].values.tolist() == list(range(rows))
        assert found.columns["mag"].values.tolist() == (np.arange(rows) + 0.5).tolist()
