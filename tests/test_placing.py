"""In which store a session belongs."""

from __future__ import annotations

import pytest

from aggrade.errors import BadInput
from aggrade.placing import check_root, kinds_of, windows_store


@pytest.mark.parametrize(
    ("start", "layout", "partition", "expected"),
    [
        ("2026-10-31T23:30:00+02:00", "common", "none", "root/windows.zarr"),
        ("2026-10-31T23:30:00+02:00", "common", "month", "root/windows/2026-10.zarr"),
        ("2026-10-31T23:30:00+02:00", "common", "year", "root/windows/2026.zarr"),
        ("", "common", "month", "root/windows/undated.zarr"),
        ("", "common", "none", "root/windows.zarr"),
        ("2026-10-31T23:30:00", "per_session", "none", "root/sessions/S 1%2Fb_windowed.zarr"),
    ],
)
def test_a_session_has_one_place(start, layout, partition, expected):
    """Layout, partition and the session's own date decide, and nothing else."""
    assert windows_store("root/", "S 1/b", start, layout, partition) == expected


def test_the_common_store_can_be_given_a_name():
    """It goes where there is one store, with or without its ending."""
    for name in ("Schlaf 2026 #1", "Schlaf 2026 #1.zarr"):
        assert windows_store("root", "s", "", name=name) == "root/Schlaf 2026 #1.zarr"
        assert (
            windows_store("root", "s", "2026-01-01", partition="year", name=name) == "root/windows/2026.zarr"
        )


@pytest.mark.parametrize(
    "name",
    ["", " ", ".aggrade", "a/b", "..", "a\nb", "lightcurves", "lightcurves.zarr", "windows_for_training"],
)
def test_names_that_the_common_store_cannot_have(name):
    """What is another store's, or no folder's name, is refused."""
    with pytest.raises(BadInput) as caught:
        check_root("s3://lab", name=name)
    assert [problem.code for problem in caught.value.problems] == ["store-name"]


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ({"layout": "per_session", "name": "mine"}, "name"),
        ({"partition": "month", "name": "mine"}, "name"),
        ({"partition": "montage", "channels": "union"}, "channels"),
    ],
)
def test_two_ways_at_once(parameters, where):
    """A name without a common store, and a union of what is kept apart, are refused."""
    with pytest.raises(BadInput, match="one of them") as caught:
        check_root("s3://lab", **parameters)
    assert [problem.where for problem in caught.value.problems] == [where]


def test_stores_are_named_after_montages():
    """A session goes where its montage is, whenever it was."""
    where = windows_store("root", "s", "2026-10-31", partition="montage", montage="eeg8-250Hz_0a1b2c3d")
    assert where == "root/windows/eeg8-250Hz_0a1b2c3d.zarr"


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("windows.zarr", {"windows.zarr"}),
        ("windows/undated.zarr", {"month", "year"}),
        ("windows/2026.zarr", {"year"}),
        ("windows/2026-10.zarr", {"month"}),
        ("windows/eeg8-250Hz_0a1b2c3d.zarr", {"montage"}),
        ("sessions/2026_windowed.zarr", {"sessions/2026_windowed.zarr"}),
    ],
)
def test_partitions_are_told_by_their_names(path, kinds):
    """Between which stores a session may move follows from their names."""
    assert kinds_of(path) == kinds


def test_one_zarr_store_is_no_dataset_root():
    """The URL of a Zarr store is refused where a dataset root is wanted."""
    with pytest.raises(BadInput, match="a dataset root"):
        check_root("s3://lab/windows.zarr/")


def test_stores_of_their_own_are_not_partitioned():
    """A partition of stores that hold one session each is refused."""
    with pytest.raises(BadInput, match="one of them"):
        check_root("s3://lab", "per_session", "month")


def test_every_wrong_parameter_is_named_at_once():
    """Both mistakes are reported together."""
    with pytest.raises(BadInput) as caught:
        check_root("windows.zarr", "per_session", "year")
    assert [problem.code for problem in caught.value.problems] == ["dataset-root", "layout"]


def test_a_plain_root_is_fine():
    """A dataset root with a sensible layout passes."""
    check_root("s3://lab/sleep", "common", "month")
