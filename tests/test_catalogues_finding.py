"""Catalogues are found in folders, under prefixes, by globs and by name, on a disk and elsewhere."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from memory_storage import World, open_world

from aggrade.catalogues.finding import content_mark, find_catalogues, read_source
from aggrade.errors import BadInput, Conflict

__all__ = ["open_world"]

FILES = (
    "a/n1.fits",
    "a/n2.csv",
    "a/b/n3.parquet",
    "a/n4.csv.gz",
    "a/notes.txt",
    ".hidden/x.csv",
    "s.zarr/x.csv",
    "a/_x.csv",
)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with catalogues and other things."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def keys(found):
    """Return the names of what was found."""
    return [source.name for source in found]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", ["n3.parquet", "n1.fits", "n2.csv", "n4.csv.gz"]),
        ("/a", ["n3.parquet", "n1.fits", "n2.csv", "n4.csv.gz"]),
        ("/a/", ["n3.parquet", "n1.fits", "n2.csv", "n4.csv.gz"]),
        ("/a/n", ["n1.fits", "n2.csv", "n4.csv.gz"]),
        ("/a/n2.csv", ["n2.csv"]),
        ("/a/*.csv", ["n2.csv"]),
        ("/*/n?.fits", ["n1.fits"]),
        ("/a/n[12].*", ["n1.fits", "n2.csv"]),
        ("/a/n[!1]*", ["n2.csv", "n4.csv.gz"]),
        ("/**/*.parquet", ["n3.parquet"]),
        ("/a/**", ["n3.parquet", "n1.fits", "n2.csv", "n4.csv.gz"]),
    ],
)
def test_folders_prefixes_globs_and_files(folder, asked, expected):
    """Each way to name catalogues finds exactly those; stores, hidden files and other formats are left out."""
    assert keys(find_catalogues(f"{folder}{asked}")) == expected
    assert keys(find_catalogues(Path(f"{folder}{asked}"))) == expected
    assert keys(find_catalogues(f"file://{folder}{asked}")) == expected


def test_relative_paths_are_found(folder, monkeypatch):
    """Paths relative to the current folder work, globs included."""
    monkeypatch.chdir(folder / "a")
    assert keys(find_catalogues("n1.fits")) == ["n1.fits"]
    assert keys(find_catalogues("*.csv")) == ["n2.csv"]
    assert keys(find_catalogues("b")) == ["n3.parquet"]
    assert keys(find_catalogues(".")) == ["n3.parquet", "n1.fits", "n2.csv", "n4.csv.gz"]


def test_several_places_at_once(folder):
    """Several names are taken together, and a file named twice is one file."""
    asked = [folder / "a" / "b", folder / "a" / "n1.fits", f"{folder}/a/n1.*"]
    assert keys(find_catalogues(asked)) == ["n3.parquet", "n1.fits"]


def test_files_left_out_are_told(folder, caplog):
    """What no format claims is named in a warning."""
    with caplog.at_level(logging.WARNING):
        find_catalogues(folder)
    assert "notes.txt" in caplog.text


@pytest.mark.parametrize("asked", ["/nowhere", "/a/notes.txt", "/a/*.ecsv", "/.hidden/*.ecsv"])
def test_nothing_is_refused(folder, asked):
    """Where there is no catalogue, the place that was searched is named."""
    with pytest.raises(BadInput, match="no catalogues") as caught:
        find_catalogues(f"{folder}{asked}")
    assert asked in str(caught.value)


def test_no_names_at_all_are_refused():
    """An empty list names nothing."""
    with pytest.raises(BadInput, match="no catalogues"):
        find_catalogues([])


def test_other_storages_are_searched_in_the_same_way(open_world):
    """Prefix, glob and file work on any storage."""
    world = World()
    for name in FILES:
        world.objects[f"bucket/{name}"] = (name.encode(), world.mark(b""))
    options = open_world(world)
    for asked, expected in (("", 4), ("/a/n", 3), ("/a/*.csv", 1), ("/a/n1.fits", 1)):
        assert len(find_catalogues(f"world://bucket{asked}", options)) == expected
    source = find_catalogues("world://bucket/a/n1.fits", options)[0]
    assert read_source(source, options) == b"a/n1.fits"


def test_a_file_that_changed_is_not_read(folder):
    """A file that was replaced or deleted after it was found is a conflict."""
    source = find_catalogues(folder / "a" / "n1.fits")[0]
    assert read_source(source) == b"a/n1.fits"
    (folder / "a" / "n1.fits").write_bytes(b"other")
    with pytest.raises(Conflict, match="another file"):
        read_source(source)
    (folder / "a" / "n1.fits").unlink()
    with pytest.raises(Conflict, match="no file any more"):
        read_source(source)


def test_marks_on_a_disk_are_of_the_content(folder):
    """A copy of a file has the same mark, though the disk knows it by another."""
    one = find_catalogues(folder / "a" / "n1.fits")[0]
    (folder / "copy.fits").write_bytes(b"a/n1.fits")
    other = find_catalogues(folder / "copy.fits")[0]
    assert one.etag != other.etag
    assert content_mark(one) == content_mark(other, b"a/n1.fits") == hashlib.sha256(b"a/n1.fits").hexdigest()


def test_marks_on_s3_come_with_the_listing(folder):
    """On S3 nothing is read to know a file's mark."""
    source = find_catalogues(folder / "a" / "n1.fits")[0].model_copy(update={"folder": "s3://bucket"})
    assert content_mark(source) == source.etag


IPAC = b"|  id| mag|\n|long|real|\n    1 20.5\n"


@pytest.fixture
def others(tmp_path):
    """Return a folder with tables that bear no known ending, and other files."""
    files = {
        "n1.dat": IPAC,
        "n2.dat": IPAC[:9],
        "n3.dat": b"",
        "n4.dat": b"\x89PNG",
        "lc_1.mjd": b"#MJD Mag\n48823.5 -6.5\n",
        "table": b"SIMPLE  =                    T",
        "README.txt": b"# Two nights\n\nof 12 objects each.\n",
        "empty.txt": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_files_are_known_by_their_content(others):
    """Tables of any ending are found, and torn or empty ones of the same ending, so that they are refused by name."""
    assert keys(find_catalogues(others)) == ["lc_1.mjd", "n1.dat", "n2.dat", "n3.dat", "table"]


@pytest.mark.parametrize("name", ["n1.dat", "table", "lc_1.mjd", "lc_*", "n1"])
def test_one_file_is_known_by_its_content(others, name):
    """A file that is named, or found by a prefix or glob, needs no known ending."""
    (found,) = find_catalogues(others / name)
    assert found.name.startswith(name.removesuffix("*"))


@pytest.mark.parametrize("name", ["README.txt", "n3.dat", "n4.dat"])
def test_a_file_that_is_no_catalogue_is_refused(others, name):
    """A file of unknown content and ending is refused when it is named."""
    with pytest.raises(BadInput, match="no catalogues"):
        find_catalogues(others / name)
