"""A FIF file that was cut short, or whose tags were overwritten, is told from a shorter recording."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrade import cut_windows
from aggrade.errors import BadInput
from aggrade.recordings.fif_tags import follows_another, tag_problem

SPEC = {"window_size_s": 2}


def write(path, *, seconds=30, **how):
    """Write a recording of four channels at 100 Hz, a tag of samples for each second."""
    values = np.random.default_rng(3).normal(0, 1e-5, (4, 100 * seconds))
    raw = mne.io.RawArray(values, mne.create_info(4, 100.0, "eeg"), verbose=False)
    raw.save(path, buffer_size_sec=1, verbose=False, **how)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Give the bytes of a whole file, and a place for damaged ones."""
    path = write(tmp_path_factory.mktemp("fif") / "a_raw.fif")
    return path.read_bytes(), path.with_name("torn_raw.fif")


@pytest.mark.parametrize("name", ["a_raw.fif", "a_raw.fif.gz"])
def test_a_whole_file(tmp_path, name):
    """Compressed or not, nothing is wrong with what MNE has written."""
    assert tag_problem(write(tmp_path / name)) == ""


def test_a_file_in_parts(tmp_path):
    """Each part of a recording that was split is whole."""
    write(tmp_path / "a_raw.fif", seconds=3000, split_size="2MB")
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 1
    assert [tag_problem(part) for part in parts] == [""] * len(parts)
    first = tmp_path / "a_raw.fif"
    assert [follows_another(part) for part in parts] == [part != first for part in parts]


def test_a_part_without_the_first(tmp_path):
    """Its windows would be those of a recording that began later."""
    write(tmp_path / "a_raw.fif", seconds=3000, split_size="2MB")
    (tmp_path / "a_raw.fif").unlink()
    with pytest.raises(BadInput, match="the first part beside it") as caught:
        cut_windows(tmp_path / "a_raw-1.fif", SPEC)
    assert caught.value.code == "fif-part"


@given(st.integers(1, 2**20))
def test_cut_anywhere(whole, place):
    """No file that lacks its end is taken for whole, wherever it was cut."""
    content, torn = whole
    torn.write_bytes(content[: place % (len(content) - 17) + 1])
    assert tag_problem(torn)


@pytest.mark.parametrize("offset", range(0, 16, 3))
def test_a_shorter_recording_is_none(whole, offset):
    """Cut at or within the header of a tag of samples, MNE reads what is before it: here it is an error."""
    content, torn = whole
    torn.write_bytes(content[: content.index(b"\x00\x00\x01\x2c", len(content) // 2) + offset])
    with pytest.raises(BadInput, match=r"expected a whole FIF file") as caught:
        cut_windows(torn, SPEC)
    assert caught.value.code == "fif-torn"


@pytest.mark.parametrize("field", [0, 8])
def test_an_overwritten_tag(whole, field):
    """A kind or a size of zeros in the middle: the samples behind it are not left out silently."""
    content, torn = whole
    place = content.index(b"\x00\x00\x01\x2c", len(content) // 2) + field
    torn.write_bytes(content[:place] + bytes(4) + content[place + 4 :])
    with pytest.raises(BadInput):
        cut_windows(torn, SPEC)
