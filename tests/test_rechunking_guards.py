"""Reasons not to rechunk into a place."""

from __future__ import annotations

import pytest

from aggrade.commit import Snapshot
from aggrade.errors import BadInput
from aggrade.rechunking.guards import memory_bound, place_problems, target_problems
from aggrade.rechunking.plan import SourceState
from aggrade.storage import open_storage

STATE = SourceState(store="../source.zarr", generation=1, write_id="w")


@pytest.mark.parametrize(
    ("asked", "bound"),
    [("1 GiB", 1 << 30), ("512MB", 512_000_000), (4096, 4096), ("2e6", 2_000_000), ("1kiB", 1024)],
)
def test_memory_is_read_as_people_write_it(asked, bound):
    """Bytes and sizes with a unit are understood."""
    assert memory_bound(asked) == bound


@pytest.mark.parametrize("asked", ["", "much", "-1 GB", 0, -5, None, "1 XB", "1e400 B"])
def test_memory_that_is_none_is_bad_input(asked):
    """What is no size, or not above 0, is refused."""
    with pytest.raises(BadInput, match=r"^memory: found") as caught:
        memory_bound(asked, "memory")
    assert caught.value.code == "max-memory"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3://b/a.zarr", "s3://b/a.zarr"),
        ("s3://b/a.zarr", "s3://b/a.zarr/x"),
        ("s3://b/a.zarr", "s3://b"),
        ("/d/a.zarr", "/d/../d/a.zarr"),
        ("/d/a.zarr", "/d/a.zarr/b.zarr"),
        ("/d/a.zarr", "/d"),
    ],
)
def test_overlapping_places_are_named(source, target):
    """Neither may lie in the other."""
    assert [problem.code for problem in place_problems(source, target)] == ["target-place"]


@pytest.mark.parametrize(
    ("source", "target"),
    [("s3://b/a.zarr", "s3://b/a.zarr2"), ("s3://b/a.zarr", "s3://c/a.zarr"), ("/d/a.zarr", "/d/b.zarr")],
)
def test_places_of_their_own_pass(source, target):
    """A name that only begins like the other's is another place."""
    assert not list(place_problems(source, target))


def _codes(folder, before):
    return [problem.code for problem in target_problems(open_storage(str(folder)), before, STATE)]


def test_an_empty_place_and_an_earlier_result_pass(tmp_path):
    """Nothing at all, a root without arrays, and what rechunk made of this source may be written to."""
    assert _codes(tmp_path / "nothing.zarr", None) == []
    assert _codes(tmp_path, Snapshot("e")) == []
    assert _codes(tmp_path, Snapshot("e", {"aggrade": {"source": {"store": STATE.store}}}, {"x": {}})) == []


def test_what_a_dead_first_run_left_passes(tmp_path):
    """A folder with an intent of ours is a rechunk that never finished."""
    (tmp_path / "x/c").mkdir(parents=True)
    (tmp_path / "x/c/0").write_bytes(b"1")
    assert _codes(tmp_path, None) == ["target-taken"]
    (tmp_path / ".aggrade").mkdir()
    owner = '{"host":"h","boot":"b","process":1,"started":"s"}'
    intent = f'{{"format":1,"state":"free","write_id":"w","owner":{owner},"lease_seconds":1}}'
    (tmp_path / ".aggrade/intent.json").write_text(intent)
    assert _codes(tmp_path, None) == []


def test_what_is_somebodys_is_refused(tmp_path):
    """A store that rechunk did not make, and one that it made of another source, are not replaced."""
    assert _codes(tmp_path, Snapshot("e", {}, {"x": {}})) == ["target-taken"]
    assert _codes(tmp_path, Snapshot("e", {"aggrade": {"source": {"store": "../o.zarr"}}}, {})) == [
        "target-taken"
    ]
