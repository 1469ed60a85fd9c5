"""A heap that the library of HDF5 would read for ever, or beyond its end, is refused before it is read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from aggrade.errors import BadInput
from aggrade.recordings.hdf5_heaps import demand_sound_heaps

SIGNATURE = b"GCOL\x01"


@pytest.fixture
def texts(tmp_path):
    """Return a file with texts of variable length behind some samples, and where their heap begins."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["samples"] = np.zeros(5000)
        file["names"] = ["Fz", "Cz", "a longer name"]
        file.attrs["subject"] = "sub-01"
    return path, path.read_bytes().index(SIGNATURE)


def changed(path, place, data):
    """Overwrite bytes of a file."""
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(bytes(content))
    return path


def test_a_whole_file(texts):
    """What HDF5's own library has written passes."""
    demand_sound_heaps(texts[0], "a.h5")


def test_many_heaps(tmp_path):
    """So does a file with as many texts as need several heaps."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(300):
            file[f"name {number}"] = "x" * number
    assert (tmp_path / "a.h5").read_bytes().count(SIGNATURE) > 5
    demand_sound_heaps(tmp_path / "a.h5", "a.h5")


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        pytest.param(16, bytes(16), id="no size"),
        pytest.param(24, b"\xff" * 8, id="a size that overflows"),
        pytest.param(24, (5000).to_bytes(8, "little"), id="larger than its heap"),
    ],
)
def test_objects_that_lead_nowhere(texts, offset, data):
    """An object without a size, or with more than there is, is told with the place of its heap."""
    path, place = texts
    with pytest.raises(BadInput, match=rf"sub-01/a\.h5.* heap at byte {place}.*whole HDF5 file"):
        demand_sound_heaps(changed(path, place + offset, data), "sub-01/a.h5")


def test_behind_the_first_block(texts, tmp_path):
    """A heap is found wherever it lies, across the borders of what is read at a time as well."""
    path, place = texts
    content = bytearray(path.read_bytes()[place:])
    content[16:32] = bytes(16)
    for before in ((16 << 20) - 3, 16 << 20, (32 << 20) - 1):
        far = tmp_path / f"{before}.h5"
        far.write_bytes(bytes(before) + bytes(content))
        with pytest.raises(BadInput, match=f"byte {before}"):
            demand_sound_heaps(far, far.name)


def test_samples_that_look_like_the_signature(tmp_path):
    """The bytes of a signature among samples are no heap, where no heap could begin there."""
    (tmp_path / "a.h5").write_bytes(SIGNATURE + b"\xff" * 5000 + SIGNATURE)
    demand_sound_heaps(tmp_path / "a.h5", "a.h5")
