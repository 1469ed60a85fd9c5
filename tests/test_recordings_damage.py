"""A recording that is cut short, empty or damaged is refused with one clear reason, or read as far as it is whole."""

from __future__ import annotations

import warnings
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from make_damage import FILES, MAKERS

from aggrade.errors import BadInput
from aggrade.windowing import cut_windows

if TYPE_CHECKING:
    import xarray as xr

SPEC = {"window_size_s": 1.0}
PLACES = 20
BLOCK = 512
"""Bytes that a disk loses at once."""
each_file = pytest.mark.parametrize(("kind", "name"), FILES, ids=[f"{kind}-{name}" for kind, name in FILES])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Give the folder and the windows of each format's whole recording, made when they are asked for."""
    made: dict[str, tuple] = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("whole") / "P1"
            folder.mkdir()
            MAKERS[kind](folder)
            made[kind] = folder, cut_windows(folder, SPEC)
            assert made[kind][1].sizes["window"] == 6
        return made[kind]

    return get


def _copy(folder, target, name, content):
    """Copy a recording with one of its files changed."""
    target.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (target / path.name).write_bytes(content if path.name == name else path.read_bytes())
    return target


def _cut(folder):
    """Return the windows of a damaged recording, or None if it is refused as it ought to be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return cut_windows(folder, SPEC)
    except BadInput as error:
        told = error.problems
    assert told
    assert all(problem.found and problem.expected and problem.fix for problem in told)
    return None


def _is_beginning(part: xr.Dataset, of: xr.Dataset) -> bool:
    """Tell whether the windows of one are the first ones of the other, number by number."""
    first = of.isel(window=slice(0, part.sizes["window"]))
    of_all_windows = {"eeg_rail", "fnirs_rail"}
    names = {
        str(name) for name in of.variables if {"window", "eeg_channel", "fnirs_channel"} & set(of[name].dims)
    }
    return all(
        name in part.variables and first.variables[name].equals(part.variables[name])
        for name in names - of_all_windows
    )


def _check_truncated(whole, target, kind, name, seed):
    folder, windows = whole(kind)
    content = (folder / name).read_bytes()
    stops = np.random.default_rng(seed).integers(1, len(content), PLACES)
    for number, stop in enumerate(stops):
        found = _cut(_copy(folder, target / str(number), name, content[:stop]))
        assert found is None or _is_beginning(found, windows), f"cut at {stop} of {len(content)}"


def _check_corrupt(whole, target, kind, name, seed, changes):
    folder, _ = whole(kind)
    content = (folder / name).read_bytes()
    rng = np.random.default_rng(seed)
    for number in range(changes):
        changed = bytearray(content)
        for place in rng.integers(0, min(len(content), 3000), rng.integers(1, 9)):
            changed[place] = rng.integers(0, 256)
        found = _cut(_copy(folder, target / str(number), name, bytes(changed)))
        if found is not None:
            assert found.sizes["window"] > 0
            for modality in {"eeg", "fnirs"} & set(found.variables):
                values, coverage = found[modality].values, found[f"{modality}_coverage"].values
                assert np.isfinite(found["window_start"].values).all()
                assert coverage == pytest.approx(1 - np.isnan(values).all(axis=2).mean(axis=2), abs=1e-6)


def _check_zeroed(whole, target, kind, name, seed, places):
    folder, windows = whole(kind)
    content = (folder / name).read_bytes()
    for number, place in enumerate(np.random.default_rng(seed).integers(0, len(content), places)):
        zeroed = content[:place] + bytes(min(BLOCK, len(content) - place)) + content[place + BLOCK :]
        found = _cut(_copy(folder, target / str(number), name, zeroed))
        if found is not None:
            said = f"zeros at {place} of {len(content)}"
            assert found["window_start"].variable.equals(windows["window_start"].variable), said
            for modality in {"eeg", "fnirs"} & set(windows.variables):
                held, there = found[modality].values, windows[modality].values
                told = (found[f"{modality}_coverage"].values < 1).any()
                assert told or np.count_nonzero(held != there) <= BLOCK, said


def _seed(*parts):
    return zlib.crc32(" ".join(map(str, parts)).encode())


@each_file
def test_cut_short_anywhere(whole, tmp_path, kind, name):
    """Cut at twenty random places, every file of every format is refused, or gives the first windows and no other."""
    _check_truncated(whole, tmp_path, kind, name, _seed("cut", kind, name))


@each_file
def test_an_empty_file(whole, tmp_path, kind, name):
    """An empty file is refused."""
    folder, _ = whole(kind)
    assert _cut(_copy(folder, tmp_path / "empty", name, b"")) is None


@each_file
def test_a_damaged_beginning(whole, tmp_path, kind, name):
    """With random bytes changed in its first 3,000, a file is refused or cut; nothing else is raised."""
    _check_corrupt(whole, tmp_path, kind, name, _seed("change", kind, name), 8)


@each_file
def test_a_block_of_zeros(whole, tmp_path, kind, name):
    """With a block of zeros anywhere, a file is refused, or no window moves and no sample but those of the block changes.

    Stamps that were lost are another loss, which the windows tell of.
    """
    _check_zeroed(whole, tmp_path, kind, name, _seed("zeros", kind, name), 5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@each_file
def test_a_block_of_zeros_often(whole, tmp_path, kind, name, seed):
    """The same as for five places at a thousand."""
    _check_zeroed(whole, tmp_path, kind, name, _seed("zeros", kind, name, seed), 50)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@each_file
def test_cut_short_anywhere_often(whole, tmp_path, kind, name, seed):
    """The same as for twenty places at four hundred."""
    _check_truncated(whole, tmp_path, kind, name, _seed("cut", kind, name, seed))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@each_file
def test_a_damaged_beginning_often(whole, tmp_path, kind, name, seed):
    """The same as for eight changes at a thousand."""
    _check_corrupt(whole, tmp_path, kind, name, _seed("change", kind, name, seed), 50)
