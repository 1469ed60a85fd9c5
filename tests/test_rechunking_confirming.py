"""A copy that is not what its source is: it is never published, and made anew by another run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from make_stores import write_zarr

from aggrade.errors import BadInput, Damaged
from aggrade.rechunking import rechunk
from aggrade.verifying import verify

LAYOUT = {"chunks": {"a": 10, "b": -1}, "max_memory": 8000}
CORNER, MIDDLE = (0, 0), (25, 3)
"""The first item is in every sample, the other in none that is drawn of this source."""


def _values(rows):
    return np.random.default_rng(0).random((rows, 8))


def _put(path, rows, generation=1):
    """Write a source as its own writer leaves it: the same samples are drawn of it each time."""
    encoding = {"x": {"chunks": (10, 8), "compressors": None}}
    write_zarr(
        xr.Dataset({"x": (("a", "b"), _values(rows))}),
        path,
        encoding=encoding,
        generation=generation,
        write_id=f"rows-{rows}",
    )
    return str(path)


@pytest.fixture
def source(tmp_path):
    """Return the URL of a matrix that is stored as it is in memory."""
    return _put(tmp_path / "s.zarr", 400)


@pytest.fixture
def target(tmp_path):
    """Return the URL of a target that does not exist."""
    return str(tmp_path / "t.zarr")


def _damage(target, item, version=0):
    """Change one byte of a copy so that its file bears the mark that it bore, as a disk may do."""
    row = item[0] // 10
    path = f"{target}/x/c/{row}/0" if version == 0 else f"{target}/x/c.{row}.0"
    before = os.stat(path)  # noqa: PTH116
    with open(path, "r+b") as file:  # noqa: PTH123
        file.seek(8 * (item[0] % 10 * 8 + item[1]))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _damaging(target, item, version=0, times=1):
    """Return a map whose work is damaged behind the back of whoever did it, that many times."""
    left = [times]

    def run(work, pieces):
        pieces = list(pieces)
        done = list(map(work, pieces))
        if left[0] and pieces and not hasattr(pieces[0], "verb"):
            left[0] -= 1
            _damage(target, item, version)
        return done

    return run


@pytest.mark.parametrize(
    ("item", "compare"), [(CORNER, "sampled"), (CORNER, "full"), (MIDDLE, "full")], ids=str
)
def test_a_copy_with_another_value_is_not_published(source, target, tmp_path, item, compare):
    """One byte makes the difference: sampled finds it where the sample lies, full wherever it is; nothing shows."""
    with pytest.raises(Damaged, match=r"other values than in the source, in \d+ places in all") as caught:
        rechunk(source, target, compare=compare, map=_damaging(target, item), **LAYOUT)
    assert caught.value.code == "rechunk-differs"
    row = item[0] // 10 * 10
    assert f"t.zarr/x[{row}:{row + 10}, 0:8]" in str(caught.value)
    assert not (tmp_path / "t.zarr/zarr.json").exists()


@pytest.mark.parametrize("compare", ["sampled", "full"])
def test_what_was_served_is_served_on(source, target, compare):
    """A target that exists shows the state that it showed."""
    rechunk(source, target, **LAYOUT)
    served = xr.open_zarr(target).load()
    with pytest.raises(Damaged):
        rechunk(
            source, target, compare=compare, anew=True, map=_damaging(target, CORNER, 1), **_other(LAYOUT)
        )
    xr.testing.assert_identical(xr.open_zarr(target).load(), served)
    assert verify(target).ok


def _other(layout):
    return {**layout, "chunks": {"a": 10, "b": 8}, "shards": {"a": 10, "b": 8}}


def test_a_sample_is_a_sample(source, target):
    """Where it does not lie, it finds nothing: who wants to be sure compares all."""
    receipt = rechunk(source, target, map=_damaging(target, MIDDLE), **LAYOUT)
    assert (receipt.details["samples"], receipt.details["compared"]) == (8, 0)
    assert not np.array_equal(xr.open_zarr(target)["x"], _values(400))


def test_another_run_makes_what_differed_anew(source, target):
    """Objects that differ are deleted, so that the next run does not take them for done; all others are done."""
    with pytest.raises(Damaged):
        rechunk(source, target, compare="full", map=_damaging(target, MIDDLE), **LAYOUT)
    made = []

    def noting(work, pieces):
        made.extend(piece for piece in pieces if not hasattr(piece, "verb"))
        return map(work, pieces)

    before = {path: path.stat().st_mtime_ns for path in _chunks(target)}
    rechunk(source, target, compare="full", map=noting, **LAYOUT)
    assert np.array_equal(xr.open_zarr(target)["x"], _values(400))
    again = [
        path
        for path, when in {p: p.stat().st_mtime_ns for p in _chunks(target)}.items()
        if before.get(path) != when
    ]
    assert 0 < len(again) < len(made) * 10


def _chunks(target):
    return [
        path for path in Path(target, "x/c").rglob("*") if path.is_file() and path.name != ".aggrade-lock"
    ]


def test_a_kept_object_that_differs_is_named_with_its_remedy(source, target, tmp_path):
    """An object that is taken over from the version served is compared, too; anew=True makes it anew."""
    rechunk(source, target, **LAYOUT)
    marks = {path: path.stat() for path in (tmp_path / "s.zarr/x/c").rglob("0") if path.is_file()}
    _put(tmp_path / "fresh.zarr", 410, 2)
    _grow(tmp_path, marks)
    _damage(target, MIDDLE)
    with pytest.raises(Damaged, match="run it again with anew=True"):
        rechunk(source, target, compare="full", **LAYOUT)
    rechunk(source, target, compare="full", anew=True, **LAYOUT)
    assert np.array_equal(xr.open_zarr(target)["x"], _values(410))


def _grow(folder, marks):
    """Let the source be longer; files that hold the same stay."""
    for path in sorted((folder / "fresh.zarr").rglob("*")):
        there = folder / "s.zarr" / path.relative_to(folder / "fresh.zarr")
        if path.is_file() and there not in marks:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())


def test_a_comparison_that_there_is_not_is_refused(source, target, tmp_path):
    """A mistyped word does not turn the comparison off."""
    for dry_run in (True, False):
        with pytest.raises(BadInput, match="'sampled' or 'full'") as caught:
            rechunk(source, target, compare="ful", dry_run=dry_run, **LAYOUT)
        assert caught.value.code == "compare-rule"
    assert not (tmp_path / "t.zarr").exists()


def test_the_dry_run_says_what_is_compared(source, target):
    """The plan prints how much, and its price is higher where it is all: both sides are read again."""
    sampled, full = (
        rechunk(source, target, dry_run=True, compare=asked, **LAYOUT) for asked in ("sampled", "full")
    )
    assert "a sample is compared with the source" in str(sampled)
    assert "all of it is compared with the source" in str(full)
    assert full.price.requests["GET"] - sampled.price.requests["GET"] == 40 + 40
    assert full.price.bytes_read - sampled.price.bytes_read == 2 * 400 * 8 * 8
    assert full.price.peak_memory == sampled.price.peak_memory <= full.max_memory
