"""Sources are listed as sessions and read as files, from a folder and from a bucket alike."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from make_recordings import counted, eeg_stream, write_fif, write_snirf, write_xdf

from aggrade.errors import BadInput
from aggrade.recordings.discover import local_session, sessions_in, source_digest
from aggrade.storage import open_storage


@pytest.fixture
def recordings(tmp_path):
    """Return a folder with three sessions and some things that are none."""
    for name in ("Sub 01 ä", "b#?%"):
        (tmp_path / name / "deep").mkdir(parents=True)
        write_xdf(tmp_path / name / "deep" / "rec.xdf", [eeg_stream(np.arange(50) / 10)])
    (tmp_path / "b#?%" / "notes.txt").write_text("a note")
    write_snirf(tmp_path / "alone.v1.snirf", np.arange(9), counted(9, 1))
    (tmp_path / "README.md").write_text("not a session")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "rec.xdf").write_bytes(b"XDF:")
    return tmp_path


def test_every_child_is_a_session(recordings):
    """Folders and recordings are sessions, sorted by id; hidden and other files are none."""
    found = sessions_in(str(recordings))
    assert [item.id for item in found] == ["Sub 01 ä", "alone.v1", "b#?%"]
    assert [Path(item.url).name for item in found] == ["Sub 01 ä", "alone.v1.snirf", "b#?%"]
    assert sessions_in(f"file://{recordings}/")[0].id == "Sub 01 ä"


def test_a_recording_is_a_session_of_its_own(recordings):
    """A file as a source is one session."""
    [found] = sessions_in(str(recordings / "alone.v1.snirf"))
    assert (found.id, found.url) == ("alone.v1", str(recordings / "alone.v1.snirf"))


def test_broken_and_empty_children_are_sessions_too(tmp_path):
    """What bears the suffix of a recording, and an empty folder, are listed, so that a batch names them."""
    (tmp_path / "broken.xdf").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert [item.id for item in sessions_in(str(tmp_path))] == ["broken", "empty"]


def test_links_are_followed(tmp_path):
    """A folder of links, as data managers lay them out, is a folder of sessions; a link back upwards ends there."""
    (tmp_path / "store" / "a1b2").mkdir(parents=True)
    write_xdf(tmp_path / "store" / "a1b2" / "rec.xdf", [eeg_stream(np.arange(50) / 10)])
    (tmp_path / "view" / "sub-01").mkdir(parents=True)
    (tmp_path / "view" / "sub-02").symlink_to(tmp_path / "store" / "a1b2")
    (tmp_path / "view" / "sub-01" / "rec.xdf").symlink_to(tmp_path / "store" / "a1b2" / "rec.xdf")
    (tmp_path / "store" / "a1b2" / "up").symlink_to(tmp_path / "view")
    assert [item.id for item in sessions_in(str(tmp_path / "view"))] == ["sub-01", "sub-02"]


def test_recordings_are_known_by_content(tmp_path):
    """A recording without its suffix is found."""
    write_xdf(tmp_path / "session-7", [eeg_stream(np.arange(50) / 10)])
    assert [item.id for item in sessions_in(str(tmp_path))] == ["session-7"]


def test_two_children_of_one_name_are_refused(tmp_path):
    """Two files that would bear one id are refused with the way out."""
    write_xdf(tmp_path / "P01.xdf", [eeg_stream(np.arange(50) / 10)])
    write_snirf(tmp_path / "P01.snirf", np.arange(9), counted(9, 1))
    with pytest.raises(BadInput, match="folder 'P01'") as caught:
        sessions_in(str(tmp_path))
    assert caught.value.code == "session-twice"


@pytest.mark.parametrize("function", [sessions_in, source_digest])
def test_what_is_not_there_is_refused(tmp_path, function):
    """A source that does not exist, and one without recordings, are each refused by their reason."""
    with pytest.raises(BadInput) as caught:
        function(str(tmp_path / "nowhere"))
    assert caught.value.code == "source-missing"
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(BadInput) as caught:
        function(str(tmp_path))
    assert caught.value.code in {"no-sessions", "no-recording"}


def test_the_files_of_a_session(recordings):
    """A session's files are its recordings, with names relative to it."""
    with local_session(recordings / "b#?%") as session:
        assert session.id == "b#?%"
        assert [(file.name, file.format.name) for file in session.recordings] == [("deep/rec.xdf", "XDF")]
        assert session.files[0].path.read_bytes().startswith(b"XDF:")


def test_companions_belong_to_a_recording(tmp_path):
    """The files that a BrainVision header names and the parts of a large FIF come along, and count once."""
    for suffix, text in ((".vhdr", "Brain Vision Data Exchange Header File"), (".eeg", "x"), (".vmrk", "y")):
        (tmp_path / f"a{suffix}").write_text(text)
    write_fif(tmp_path / "b_raw.fif", counted(50, 1))
    write_fif(tmp_path / "b_raw-1.fif", counted(50, 1))
    with local_session(tmp_path) as session:
        assert [file.name for file in session.recordings] == ["a.vhdr", "b_raw.fif"]
        assert len(session.files) == 5
    with local_session(tmp_path / "a.vhdr") as session:
        assert [file.name for file in session.files] == ["a.eeg", "a.vhdr", "a.vmrk"]
    with local_session(tmp_path / "b_raw.fif") as session:
        assert [file.name for file in session.files] == ["b_raw-1.fif", "b_raw.fif"]
    assert [item.id for item in sessions_in(str(tmp_path))] == ["a", "b_raw"]


def test_the_digest_is_that_of_names_and_contents(recordings):
    """It is SHA-256 over names and contents, the same elsewhere, blind to notes, and not to a byte."""
    path = recordings / "b#?%" / "deep" / "rec.xdf"
    content = hashlib.sha256(path.read_bytes()).digest()
    before = source_digest(recordings / "b#?%")
    assert before == hashlib.sha256(b"deep/rec.xdf\0" + content).hexdigest()
    assert before == source_digest(recordings / "Sub 01 ä")
    (recordings / "b#?%" / "notes.txt").write_text("another note")
    os.utime(path, (0, 0))
    assert source_digest(recordings / "b#?%") == before
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert source_digest(recordings / "b#?%") != before


@pytest.mark.e2e
def test_a_bucket_is_read_as_a_folder_is(recordings, s3_prefix):
    """Sessions, files and digests of a prefix on a real S3 server are those of the same files in a folder."""
    for suffix, text in ((".vhdr", "Brain Vision Data Exchange Header File"), (".eeg", "x"), (".vmrk", "y")):
        (recordings / f"c{suffix}").write_text(text)
    for number in (1, 2):
        write_fif(recordings / f"d_split-0{number}_raw.fif", counted(50, 1))
    storage = open_storage(s3_prefix.url, s3_prefix.storage_options)
    for path in (path for path in recordings.rglob("*") if path.is_file()):
        storage.write(path.relative_to(recordings).as_posix(), path.read_bytes())
    options = {"storage_options": s3_prefix.storage_options}
    there, here = sessions_in(s3_prefix.url, **options), sessions_in(str(recordings))
    assert [item.id for item in there] == [item.id for item in here]
    for remote, local in zip(there, here, strict=True):
        assert source_digest(remote.url, **options) == source_digest(local.url)
        with local_session(remote.url, s3_prefix.storage_options) as session:
            copies = [file.path for file in session.files]
            assert session.id == remote.id
            assert all(path.is_file() for path in copies)
        assert not any(path.exists() for path in copies)
    assert [item.id for item in sessions_in(f"{s3_prefix.url}/c.vhdr", **options)] == ["c"]
    with pytest.raises(BadInput) as caught:
        sessions_in(f"{s3_prefix.url}/nowhere", **options)
    assert caught.value.code == "source-missing"
