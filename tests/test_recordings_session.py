"""Sessions of one file and of several are on one clock that begins with their first sample."""

from __future__ import annotations

import logging
from datetime import timedelta

import numpy as np
import pytest
from make_recordings import (
    START,
    EdfSignal,
    counted,
    eeg_stream,
    marker_stream,
    nirs_stream,
    write_edf_signals,
    write_fif,
    write_snirf,
    write_xdf,
)

from aggrade.errors import BadInput
from aggrade.recordings.choosing import Wanted
from aggrade.recordings.discover import local_session
from aggrade.recordings.session import opened_session


def _session(folder, **channels):
    with local_session(folder) as files, opened_session(files, Wanted({}, channels)) as session:
        return session


def _tags(time, date="2026-03-01"):
    return {"MeasurementDate": date, "MeasurementTime": time, "TimeUnit": "s"}


def test_one_file_has_one_clock(tmp_path):
    """Streams of an XDF keep their offsets; zero is the first sample of the earliest."""
    streams = [nirs_stream(100.28 + np.arange(50) / 10), eeg_stream(100 + np.arange(1500) / 256)]
    write_xdf(tmp_path / "a.xdf", [*streams, marker_stream([101.0], ["go"])])
    session = _session(tmp_path)
    assert session.streams["eeg"].t[0] == 0
    assert session.streams["fnirs"].t[0] == pytest.approx(0.28)
    assert session.markers[0].t[0] == 1.0
    assert (session.clock, session.offset_resolution_s) == ("stamps", 0.0)
    assert (session.id, session.sources) == (tmp_path.name, ("a.xdf",))


def test_zero_is_that_of_the_streams_that_are_used(tmp_path):
    """Without the EEG the session begins with the fNIRS."""
    streams = [nirs_stream(100.28 + np.arange(50) / 10), eeg_stream(100 + np.arange(1500) / 256)]
    write_xdf(tmp_path / "a.xdf", streams, header={"datetime": "2026-03-01T10:00:00Z"})
    session = _session(tmp_path, eeg=())
    assert session.streams["fnirs"].t[0] == 0
    assert set(session.streams) == {"fnirs"}


def test_a_pair_is_placed_by_start_times(tmp_path, caplog):
    """FIF and SNIRF whose starts differ by 0.28 s are that far apart; how well that is known is stored and said."""
    write_fif(tmp_path / "a_raw.fif", counted(2560, 1), start=START + timedelta(microseconds=879794))
    write_snirf(tmp_path / "b.snirf", np.arange(90) / 10, counted(90, 1), tags=_tags("10:00:01.159794Z"))
    caplog.set_level(logging.INFO, "aggrade")
    session = _session(tmp_path)
    assert session.streams["fnirs"].t[0] == pytest.approx(0.28)
    assert session.clock == "start times"
    assert session.offset_resolution_s == pytest.approx(2e-6)
    assert session.stream_resolution_s == pytest.approx({"eeg": 1e-6, "fnirs": 1e-6})
    assert session.start == "2026-03-01T10:00:00.879794+00:00"
    assert "placed against each other by start times, to 2e-06 s" in caplog.text


def test_a_pair_with_an_edf_is_known_to_a_second(tmp_path, caplog):
    """A plain EDF knows its start to a second, and so does the pair; the SNIRF's zone is taken for both."""
    write_edf_signals(tmp_path / "a.edf", [EdfSignal("Fz", np.arange(1000), 100)], 10)
    write_snirf(
        tmp_path / "b.snirf", 0.05 + np.arange(80) / 10, counted(80, 1), tags=_tags("10:00:00.41+02:00")
    )
    session = _session(tmp_path)
    assert session.streams["fnirs"].t[0] == pytest.approx(0.46)
    assert session.stream_resolution_s == pytest.approx({"eeg": 1.0, "fnirs": 0.01})
    assert session.offset_resolution_s == pytest.approx(1.01)
    assert session.start == "2026-03-01T10:00:00+02:00"
    assert "no time zone" in caplog.text


def test_a_pair_that_cannot_be_placed_is_refused(tmp_path):
    """Without a date the SNIRF cannot be placed, and nothing is guessed."""
    write_edf_signals(tmp_path / "a.edf", [EdfSignal("Fz", np.arange(1000), 100)], 10)
    write_snirf(tmp_path / "b.snirf", np.arange(80) / 10, counted(80, 1), tags={"TimeUnit": "s"})
    with pytest.raises(BadInput, match=r"b\.snirf") as caught:
        _session(tmp_path)
    assert caught.value.code == "no-common-clock"
    assert _session(tmp_path, eeg=()).start == ""


def test_markers_of_a_file_that_is_not_used_are_left_out(tmp_path):
    """Markers whose clock has no part in the session cannot be placed, and are not."""
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(999) / 256), marker_stream([1.0], ["go"])])
    write_snirf(tmp_path / "b.snirf", np.arange(9), counted(9, 1), stimuli={"tap": [[1.0, 1.0, 1.0]]})
    assert [item.text for item in _session(tmp_path, fnirs=()).markers] == [("go",)]


def test_the_start_is_that_of_the_first_sample(tmp_path):
    """A time vector that begins at 0.15 s begins the session that much after the measurement's start."""
    write_snirf(tmp_path / "b.snirf", 0.15 + np.arange(80) / 10, counted(80, 1))
    session = _session(tmp_path)
    assert session.start == "2026-03-01T10:00:00.150000+00:00"
    assert session.start_resolution_s == 1.0


def test_a_broken_file_refuses_its_session(tmp_path):
    """One broken file among two refuses the session: half a session would look whole."""
    write_xdf(tmp_path / "a.xdf", [eeg_stream(np.arange(999) / 256)])
    (tmp_path / "b.snirf").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(BadInput, match=r"b\.snirf"):
        _session(tmp_path)


def test_stamps_without_sense_refuse_the_session(tmp_path):
    """A clock that was set back by minutes is refused by the name of its stream."""
    t = np.concatenate([500 + np.arange(99) / 10, 100 + np.arange(99) / 10])
    write_xdf(tmp_path / "a.xdf", [eeg_stream(t)])
    with pytest.raises(BadInput, match="'EEG'") as caught:
        _session(tmp_path)
    assert caught.value.code == "clock-back"
