"""XDF files are read with their stored stamps, and refused where they are not whole."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import pyxdf
from make_recordings import counted, eeg_stream, marker_stream, nirs_stream, write_xdf

from aggrade.errors import BadInput
from aggrade.recordings.xdf import FORMAT
from flows.xdf_writer import XdfStream, xdf_bytes


def _load(path, name="EEG", picks=None):
    with FORMAT.open(path, path.name) as recording:
        header = next(item for item in recording.streams if item.name == name)
        stream = recording.load(header, range(len(header.channels)) if picks is None else picks)
        return stream, np.asarray(stream.x[0 : len(stream.t)])


def test_headers_say_what_the_file_says(tmp_path):
    """Names, modalities, units, types, rates and counts come from the chunks, before a sample is read."""
    streams = [eeg_stream(np.arange(50) / 256), nirs_stream(np.arange(9) / 10), marker_stream([0.1], ["go"])]
    write_xdf(tmp_path / "a.xdf", streams)
    with FORMAT.open(tmp_path / "a.xdf", "a.xdf") as recording:
        eeg, nirs = recording.streams
    assert (eeg.name, eeg.modality, eeg.nominal_rate, eeg.samples) == ("EEG", "eeg", 256.0, 50)
    assert (eeg.channels, eeg.units, eeg.types) == (("A", "B"), ("µV", "µV"), ("eeg", "eeg"))
    assert (nirs.modality, nirs.units[0], nirs.types[0], nirs.source) == ("fnirs", "V", "nirs", "a.xdf")


def test_stored_stamps_are_believed(tmp_path):
    """Across a small drop the stamps stay as they were stored; with pyxdf's default they move by tens of ms."""
    t = 100 + np.delete(np.arange(2000), range(700, 735)) / 256
    write_xdf(tmp_path / "a.xdf", [eeg_stream(t)])
    stream, x = _load(tmp_path / "a.xdf")
    assert np.array_equal(stream.t, t)
    assert np.array_equal(x, counted(len(t), 2))
    naive = pyxdf.load_xdf(tmp_path / "a.xdf")[0][0]["time_stamps"]
    assert np.abs(naive - t).max() > 0.03


def test_chosen_channels_come_in_the_order_asked_for(tmp_path):
    """Picks select and order channels, in the header as in the samples."""
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(20) / 256, labels=("A", "B", "C"))])
    stream, x = _load(tmp_path / "a.xdf", picks=[2, 0])
    assert stream.header.channels == ("C", "A")
    assert np.array_equal(x, counted(20, 3)[:, [2, 0]])


def test_clock_offsets_bring_streams_together(tmp_path):
    """Two streams of two computers come on the recorder's clock by the offsets in the file."""
    tick = np.arange(0, 60, 5.0)
    eeg = eeg_stream(1000 + np.arange(5000) / 100, rate=100)
    nirs = nirs_stream(37 + np.arange(400) / 10, clock_offsets=[(37 + second, 963.5) for second in tick])
    write_xdf(tmp_path / "a.xdf", [eeg, nirs])
    assert _load(tmp_path / "a.xdf", "NIRS")[0].t[0] == pytest.approx(1000.5, abs=1e-6)
    assert _load(tmp_path / "a.xdf")[0].t[0] == 1000


def test_markers_of_text_and_of_numbers(tmp_path):
    """Texts and numbers of marker streams become texts; empty streams give none."""
    numbers = XdfStream("codes", "Markers", np.array([2.0, 3.0]), np.array([[7], [255]], "i4"))
    streams = [marker_stream([1.5], ["go"]), numbers, marker_stream([], [], name="empty")]
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(999) / 256), *streams])
    with FORMAT.open(tmp_path / "a.xdf", "a.xdf") as recording:
        found = {item.name: item for item in recording.markers()}
        assert {header.name for header in recording.streams} == {"EEG"}
    assert found["markers"].text == ("go",)
    assert found["codes"].text == ("7", "255")
    assert list(found["codes"].t) == [2.0, 3.0]
    assert set(found) == {"markers", "codes"}


def test_codes_of_many_digits_stay_apart(tmp_path):
    """Codes that are stored as floats keep their digits: two that differ are two markers."""
    codes = np.array([[1048576.0], [1048577.0], [0.5], [7.0]], "f8")
    stream = XdfStream("codes", "Markers", np.arange(4.0), codes)
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(999) / 256), stream])
    with FORMAT.open(tmp_path / "a.xdf", "a.xdf") as recording:
        [markers] = recording.markers()
    assert markers.text == ("1048576", "1048577", "0.5", "7")


def test_streams_without_samples_or_labels(tmp_path):
    """An empty stream is listed with no samples; channels without labels are numbered; twins are told apart."""
    bare = XdfStream("X", "EEG", np.arange(5) / 10, counted(5, 3).astype("f4"), 10)
    empty = eeg_stream(np.empty(0), np.empty((0, 2)), name="X")
    write_xdf(tmp_path / "a.xdf", [bare, empty])
    with FORMAT.open(tmp_path / "a.xdf", "a.xdf") as recording:
        first, second = recording.streams
    assert (first.name, first.channels) == ("X (1)", ("ch1", "ch2", "ch3"))
    assert (second.name, second.samples) == ("X (2)", 0)


def test_labels_that_occur_twice_are_numbered(tmp_path):
    """Two channels of one label get numbers, so that a channel has one name."""
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(9) / 10, labels=("A", "B", "A"))])
    assert _load(tmp_path / "a.xdf")[0].header.channels == ("A-0", "B", "A-1")


@pytest.mark.parametrize(
    ("text", "started"),
    [
        ("2026-10-05T09:00:00+0200", "2026-10-05T09:00:00+02:00"),
        ("2026-10-05T09:00:00.25+00:00", "2026-10-05T09:00:00.250000+00:00"),
        ("yesterday", None),
        (None, None),
    ],
)
def test_the_start_is_that_of_the_recorder(tmp_path, text, started):
    """The header's date is known to a second at best; none, or none that can be read, is unknown."""
    header = {} if text is None else {"datetime": text}
    write_xdf(tmp_path / "a.xdf", [eeg_stream(7 + np.arange(9) / 10)], header=header)
    origin = _load(tmp_path / "a.xdf")[0].origin
    assert (origin.start.isoformat() if origin.start else None) == started
    assert origin.resolution_s == 1.0 if started else np.isnan(origin.resolution_s)
    assert (origin.zero, origin.device) == (7.0, "lsl")


def test_compressed_files_are_read(tmp_path):
    """A gzipped XDF under the suffix of LabRecorder holds the same."""
    (tmp_path / "a.xdfz").write_bytes(gzip.compress(xdf_bytes([eeg_stream(np.arange(50) / 10)])))
    assert len(_load(tmp_path / "a.xdfz")[0].t) == 50


def test_a_file_cut_anywhere_is_refused(tmp_path):
    """Cut short at any of forty places, the file is refused with one reason that names it."""
    whole = xdf_bytes([eeg_stream(np.arange(3000) / 256), marker_stream([1.0], ["go"])])
    for stop in np.linspace(0, len(whole) - 1, 40).astype(int):
        (tmp_path / "cut.xdf").write_bytes(whole[:stop])
        with (
            pytest.raises(BadInput, match=r"cut\.xdf") as caught,
            FORMAT.open(tmp_path / "cut.xdf", "cut.xdf"),
        ):
            pass
        assert len(caught.value.problems) == 1
        assert caught.value.code in {"truncated", "unreadable"}


def test_a_stream_without_a_footer_is_refused(tmp_path):
    """A recorder that died leaves no footer: the reason names the stream."""
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(50) / 10, footer=False)])
    with (
        pytest.raises(BadInput, match=r"'EEG'.*no footer") as caught,
        FORMAT.open(tmp_path / "a.xdf", "a.xdf"),
    ):
        pass
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_that_ends_inside_a_chunk_is_said_to(tmp_path, pack):
    """The reason is in the words of someone who copies files, not in a library's."""
    whole = pack(xdf_bytes([eeg_stream(np.arange(512) / 256)]))
    (tmp_path / "a.xdf").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(BadInput, match="cut short; copy the file again") as caught:
        FORMAT.open(tmp_path / "a.xdf", "a.xdf").__enter__()
    assert caught.value.code == "truncated"
    assert "EOFError" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "byte", "said"),
    [
        (b"<?xml", 0, None),
        (b"\x02\x00\x01\x00\x00\x00", 2, "a chunk of stream 1, of which there is no header"),
        (b"XDF:", 4, "a chunk whose length takes 7 bytes, not 1, 4 or 8"),
    ],
)
def test_a_byte_that_was_damaged_is_said_in_words(tmp_path, place, byte, said):
    """A stream whose header names another number, and a length of lengths that there is none of."""
    whole = bytearray(xdf_bytes([eeg_stream(np.arange(512) / 256)]))
    at = whole.index(place) + byte
    whole[at] = 7
    (tmp_path / "a.xdf").write_bytes(whole)
    with pytest.raises(BadInput, match=r"a\.xdf") as caught:
        FORMAT.open(tmp_path / "a.xdf", "a.xdf").__enter__()
    assert "KeyError" not in str(caught.value)
    assert said is None or said in str(caught.value)


def test_samples_missing_within_are_noticed(tmp_path):
    """A file that holds fewer samples than its footer tells of is refused."""
    whole = xdf_bytes([eeg_stream(np.arange(512) / 256)])
    (tmp_path / "a.xdf").write_bytes(whole.replace(b"<sample_count>512<", b"<sample_count>612<"))
    with pytest.raises(BadInput, match="612") as caught, FORMAT.open(tmp_path / "a.xdf", "a.xdf"):
        pass
    assert caught.value.code == "truncated"


def test_other_files_are_refused(tmp_path):
    """A file of another kind under this suffix is refused."""
    (tmp_path / "a.xdf").write_bytes(b"PK\x03\x04 not a recording")
    with pytest.raises(BadInput, match="XDF") as caught, FORMAT.open(tmp_path / "a.xdf", "a.xdf"):
        pass
    assert caught.value.code == "unreadable"
    assert caught.value.__cause__ is not None
