"""In which store a session belongs."""

from __future__ import annotations

import pytest

from aggrade.errors import BadInput
from aggrade.placing import check_root, windows_store


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
