"""Whether a recording may have changed."""

from __future__ import annotations

import pytest

from aggrade.errors import BadInput
from aggrade.recordings.fingerprint import source_fingerprint


@pytest.fixture
def folder(tmp_path):
    """Make a session of two files, and a neighbour."""
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "eeg.edf").write_bytes(b"eeg")
    (tmp_path / "sub-01" / "nirs.snirf").write_bytes(b"nirs")
    (tmp_path / "sub-02").mkdir()
    (tmp_path / "sub-02" / "eeg.edf").write_bytes(b"other")
    return tmp_path


def test_untouched_files_keep_their_fingerprint(folder):
    """Two looks at files at rest give the same."""
    assert source_fingerprint(f"{folder}/sub-01") == source_fingerprint(f"{folder}/sub-01/")


def test_a_file_url_is_the_same_folder(folder):
    """A file URL and a plain path name the same."""
    assert source_fingerprint(f"file://{folder}/sub-01") == source_fingerprint(f"{folder}/sub-01")


@pytest.mark.parametrize("name", ["eeg.edf", "late.snirf"])
def test_a_written_or_added_file_changes_it(folder, name):
    """Writing a file, of the same length or a new one, changes the fingerprint."""
    before = source_fingerprint(f"{folder}/sub-01")
    written = folder / "sub-01" / "new"
    written.write_bytes(b"xxx")
    written.rename(folder / "sub-01" / name)
    assert source_fingerprint(f"{folder}/sub-01") != before


def test_a_removed_file_changes_it(folder):
    """Removing a file changes the fingerprint."""
    before = source_fingerprint(f"{folder}/sub-01")
    (folder / "sub-01" / "nirs.snirf").unlink()
    assert source_fingerprint(f"{folder}/sub-01") != before


def test_neighbours_and_hidden_files_do_not_count(folder):
    """Another session and hidden files leave the fingerprint alone."""
    before = source_fingerprint(f"{folder}/sub-01")
    (folder / "sub-02" / "more.edf").write_bytes(b"more")
    (folder / "sub-01" / ".DS_Store").write_bytes(b"noise")
    assert source_fingerprint(f"{folder}/sub-01") == before


def test_a_file_counts_with_its_companions(tmp_path):
    """Of a single recording its companions count; a recording whose name only begins alike does not."""
    recording = tmp_path / "a.vhdr"
    recording.write_bytes(b"head")
    alone = source_fingerprint(str(recording))
    (tmp_path / "ab.vhdr").write_bytes(b"another")
    assert source_fingerprint(str(recording)) == alone
    (tmp_path / "a.eeg").write_bytes(b"samples")
    assert source_fingerprint(str(recording)) != alone


@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        ("a_raw.fif", "a_raw-1.fif", "ab_raw-1.fif"),
        ("a_split-01_raw.fif", "a_split-02_raw.fif", "a_split-02_ave.fif"),
    ],
)
def test_a_file_counts_with_those_that_continue_it(tmp_path, first, second, other):
    """The second file of a recording that was split counts, under either naming scheme; another recording's doesn't."""
    recording = tmp_path / first
    recording.write_bytes(b"head")
    alone = source_fingerprint(str(recording))
    (tmp_path / other).write_bytes(b"another")
    assert source_fingerprint(str(recording)) == alone
    (tmp_path / second).write_bytes(b"samples")
    assert source_fingerprint(str(recording)) != alone


def test_nothing_there_is_an_error(tmp_path):
    """A session that isn't there is bad input, not an empty fingerprint."""
    with pytest.raises(BadInput, match="found no recording"):
        source_fingerprint(f"{tmp_path}/none")
