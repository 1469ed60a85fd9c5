"""XDF files are read back by pyxdf and by a reading of the specification's first bytes."""

from __future__ import annotations

import numpy as np
import pytest
import pyxdf

from flows.xdf_writer import XdfStream, write_xdf, xdf_bytes

RNG = np.random.default_rng(7)


def _stream(name="eeg", dtype="f4", n=1000, rate=250.0, **options):
    stamps = 100.25 + np.arange(n) / rate
    samples = (RNG.normal(size=(n, 3)) * 100).astype(dtype)
    return XdfStream(name=name, type="EEG", stamps=stamps, samples=samples, rate=rate, **options)


def _read(path, **options):
    streams, header = pyxdf.load_xdf(path, dejitter_timestamps=False, **options)
    return {stream["info"]["name"][0]: stream for stream in streams}, header


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i2", "i4", "i8", ">f4"])
def test_every_number_comes_back(tmp_path, dtype):
    """Stamps and samples of every numeric format are read back bit by bit."""
    stream = _stream(dtype=dtype)
    write_xdf(tmp_path / "a.xdf", [stream])
    read, _ = _read(tmp_path / "a.xdf")
    np.testing.assert_array_equal(read["eeg"]["time_stamps"], stream.stamps)
    np.testing.assert_array_equal(read["eeg"]["time_series"], stream.samples)
    assert read["eeg"]["info"]["nominal_srate"] == ["250.0"]
    assert int(read["eeg"]["footer"]["info"]["sample_count"][0]) == 1000


def test_markers_channels_and_header_come_back(tmp_path):
    """Text of any length and script, channel descriptions and the start time are kept."""
    texts = ["go <&>", "stöp", "x" * 300, ""]
    markers = XdfStream("markers", "Markers", np.array([100.5, 101.0, 102.0, 103.5]), texts)
    channels = [{"label": label, "unit": "microvolts", "type": "EEG"} for label in ("AF7", "Cz", "ü")]
    write_xdf(
        tmp_path / "a.xdf",
        [_stream(channels=channels), markers],
        header={"datetime": "2026-10-05T09:00:00+0200"},
    )
    read, header = _read(tmp_path / "a.xdf")
    assert [row[0] for row in read["markers"]["time_series"]] == texts
    np.testing.assert_array_equal(read["markers"]["time_stamps"], markers.stamps)
    described = read["eeg"]["info"]["desc"][0]["channels"][0]["channel"]
    assert [channel["label"][0] for channel in described] == ["AF7", "Cz", "ü"]
    assert header["info"]["datetime"] == ["2026-10-05T09:00:00+0200"]


def test_clock_offsets_shift_the_stamps(tmp_path):
    """A constant clock offset is what pyxdf adds to every stamp when it synchronizes clocks."""
    offsets = [(time, 2.5) for time in (100.0, 101.0, 102.0, 103.0)]
    write_xdf(tmp_path / "a.xdf", [_stream(clock_offsets=offsets)])
    raw, _ = _read(tmp_path / "a.xdf", synchronize_clocks=False)
    shifted, _ = _read(tmp_path / "a.xdf", synchronize_clocks=True)
    np.testing.assert_allclose(shifted["eeg"]["time_stamps"] - raw["eeg"]["time_stamps"], 2.5, atol=1e-6)


def test_stamps_left_out_follow_at_the_nominal_rate(tmp_path):
    """With one stamp per chunk the reader counts the others at the nominal rate."""
    stream = _stream(stamp_each=False, n=600, chunk_samples=100)
    write_xdf(tmp_path / "a.xdf", [stream])
    read, _ = _read(tmp_path / "a.xdf")
    np.testing.assert_allclose(read["eeg"]["time_stamps"], stream.stamps, atol=1e-9)
    np.testing.assert_array_equal(read["eeg"]["time_series"], stream.samples)


def test_an_empty_stream_and_a_missing_footer_are_read(tmp_path):
    """A stream without samples and a recorder that died give files that pyxdf reads."""
    empty = XdfStream(
        "none", "EEG", np.empty(0), np.empty((0, 2), "f4"), 250.0, [{"label": "a"}, {"label": "b"}]
    )
    write_xdf(tmp_path / "a.xdf", [empty, _stream(footer=False)])
    read, _ = _read(tmp_path / "a.xdf")
    assert len(read["none"]["time_series"]) == 0
    assert read["none"]["info"]["channel_count"] == ["2"]
    assert len(read["eeg"]["time_series"]) == 1000


def test_same_streams_same_bytes():
    """The writer is a function of its arguments, and its files start as the specification says."""
    stream = _stream()
    data = xdf_bytes([stream])
    assert data == xdf_bytes([stream])
    assert data[:4] == b"XDF:"
    assert b"<version>1.0</version>" in data[:120]


def test_unknown_sample_types_are_refused():
    """Unsigned integers have no XDF format."""
    with pytest.raises(KeyError):
        xdf_bytes([_stream(dtype="u2")])
