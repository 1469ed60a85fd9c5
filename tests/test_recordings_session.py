"""Sessions of one file and of several are on one clock that begins with their first sample."""

from __future__ import annotations

import logging
from datetime import timedelta

import numpy as np
import pytest
from make_damage import MAKERS
from make_eeglab import events_of, write_set
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
from aggrade.windowing import cut_windows


def _session(folder, clock="auto", clock_markers=None, **channels):
    wanted = Wanted({}, channels, clock, clock_markers or {})
    with local_session(folder) as files, opened_session(files, wanted) as session:
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


def test_files_that_a_format_keeps_apart_are_named(tmp_path):
    """A session says all files of the recordings it was cut from, and none of those beside them."""
    for name in ("a", "b"):
        write_set(tmp_path / f"{name}.set", fdt=f"{name}.fdt")
    with (
        local_session(tmp_path) as files,
        opened_session(files, Wanted({"eeg": "b.set:eeg"}, {}, "auto", {})) as session,
    ):
        assert session.sources == ("b.fdt", "b.set")


def test_a_header_may_call_its_files_otherwise(tmp_path):
    """A BrainVision recording whose samples and markers have another stem names them all the same."""
    MAKERS["BrainVision"](tmp_path)
    for ending in ("eeg", "vmrk"):
        (tmp_path / f"a.{ending}").rename(tmp_path / f"old.{ending}")
    header = tmp_path / "a.vhdr"
    text = header.read_text("utf-8")
    header.write_text(text.replace("=a.eeg", "=old.eeg").replace("=a.vmrk", "=old.vmrk"), "utf-8")
    assert _session(tmp_path).sources == ("a.vhdr", "old.eeg", "old.vmrk")


@pytest.mark.parametrize(("samples", "said"), [(0, "0 samples"), (1, "1 sample")])
def test_a_stream_of_one_sample_is_left_out(tmp_path, caplog, samples, said):
    """It has no rate; the other modality is cut alone, and the log says so, but not where it wasn't wanted."""
    streams = [eeg_stream(100 + np.arange(samples)), nirs_stream(100 + np.arange(50) / 10)]
    write_xdf(tmp_path / "a.xdf", streams)
    assert set(_session(tmp_path, eeg=[]).streams) == {"fnirs"}
    assert "left out" not in caplog.text
    session = _session(tmp_path)
    assert set(session.streams) == {"fnirs"}
    assert session.warnings[0].startswith(f"a.xdf: 'EEG' (eeg, {said}) is left out")
    assert session.warnings[0] in caplog.text
    write_xdf(tmp_path / "a.xdf", streams[:1])
    with pytest.raises(
        BadInput, match=rf"\(eeg, {said}\), expected an EEG or fNIRS stream with two samples or more"
    ):
        _session(tmp_path)


def test_empty_files_are_all_named(tmp_path):
    """A file without a byte is said to be empty, whatever its format, with every other one of the session."""
    names = ("a.edf", "b.snirf", "c_raw.fif", "d.npz")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadInput) as caught:
        _session(tmp_path)
    told = [(problem.where, problem.found, problem.code) for problem in caught.value.problems]
    assert told == [(name, "an empty file", "no-data") for name in names]


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


EVENTS = np.array([2.0, 5.5, 11.25, 13.0, 21.5, 24.0, 36.75, 45.0])
TEXTS = ("left", "left", "right", "left", "right", "right", "left", "right")
BEGAN, FAST = 3.7, 1 + 80e-6


def _set_and_snirf(folder, *, tags=None, texts=TEXTS, kept=slice(1, None), rename=str):
    """Write 60 s of EEG at 100 Hz and of optics that began 3.7 s later, on a clock that is fast by 80 ppm."""
    events = events_of(*((text, 1 + 100 * t, 0.0) for t, text in zip(EVENTS, texts, strict=True)))
    write_set(folder / "a.set", counted(6000, 2), events=events)
    seen = [(t, 0.5, 1.0, text) for t, text in zip((EVENTS - BEGAN) * FAST, texts, strict=True) if t > 0][
        kept
    ]
    stimuli = {rename(name): [row[:3] for row in seen if row[3] == name] for name in dict.fromkeys(texts)}
    time = np.arange(500) / 10
    write_snirf(folder / "b.snirf", time, counted(500, 2), tags=tags or {"TimeUnit": "s"}, stimuli=stimuli)


def test_a_pair_without_starts_is_placed_by_markers(tmp_path, caplog):
    """EEGLAB states no start; markers that both files have give offset and drift, and all stamps follow them."""
    _set_and_snirf(tmp_path)
    session = _session(tmp_path)
    assert session.clock == "markers"
    expected = BEGAN + np.arange(500) / 10 / FAST
    assert session.streams["fnirs"].t == pytest.approx(expected, abs=1e-9)
    assert session.timings["fnirs"].regular == pytest.approx(expected, abs=1e-9)
    assert session.timings["fnirs"].rate == pytest.approx(10 * FAST)
    assert 0 <= session.offset_resolution_s < 1e-6
    markers = {item.source: item for item in session.markers}
    assert markers["b.snirf"].t == pytest.approx(EVENTS[2:], abs=1e-9)
    assert "b.snirf/nirs placed against a.set by 6 markers of 8 and 6 that have the same text" in caplog.text
    assert "drift -80.0 ppm" in caplog.text


def test_markers_cut_the_same_windows(tmp_path):
    """Windows lie where both were recorded, and hold the optics of their own seconds by the fitted clock."""
    _set_and_snirf(tmp_path)
    spec = {"window_size_s": 5.0, "mapping": {"left": 0, "right": 1}, "markers": "a.set:events"}
    windows = cut_windows(tmp_path, spec)
    starts = windows["window_start"].values[0]
    assert starts[0] == pytest.approx(BEGAN, abs=1e-9)
    last = windows["fnirs"].values[0, -1, 0]
    assert abs(last[0] / 10 / FAST + BEGAN - starts[-1]) <= 0.1
    assert windows["clock"].item() == "markers"


def test_markers_count_more_than_start_times(tmp_path, caplog):
    """Where files state starts and markers, the markers place them, and the difference is said."""
    write_edf_signals(
        tmp_path / "a.edf",
        [
            EdfSignal("Fz", np.arange(6000), 100),
            EdfSignal.texts(
                [
                    f"+{second}\x14\x14\0".encode()
                    + b"".join(
                        f"+{t}\x14{text}\x14\0".encode()
                        for t, text in zip(EVENTS, TEXTS, strict=True)
                        if second == int(t)
                    )
                    for second in range(60)
                ]
            ),
        ],
        60,
        kind="EDF+C",
    )
    rows = {
        text: [[t - 7.0, 1.0, 1.0] for t, name in zip(EVENTS, TEXTS, strict=True) if name == text]
        for text in TEXTS
    }
    rows = {text: [row for row in found if row[0] >= 0] for text, found in rows.items()}
    write_snirf(
        tmp_path / "b.snirf", np.arange(500) / 10, counted(500, 1), tags=_tags("10:00:04Z"), stimuli=rows
    )
    session = _session(tmp_path)
    assert session.clock == "markers"
    assert session.streams["fnirs"].t[0] == pytest.approx(7.0)
    assert "start times of a.edf and b.snirf/nirs differ from the markers by 3.000 s" in caplog.text
    by_starts = _session(tmp_path, "starts")
    assert by_starts.clock == "start times"
    assert by_starts.streams["fnirs"].t[0] == pytest.approx(4.0)


def test_other_texts_need_names(tmp_path):
    """Markers that are called otherwise in each file are refused with both lists, and used when they are named."""
    names = {"left": "tap", "right": "rest"}
    _set_and_snirf(tmp_path, rename=names.__getitem__)
    with pytest.raises(BadInput) as caught:
        _session(tmp_path)
    assert caught.value.code == "no-common-clock"
    message = str(caught.value)
    for part in ("a.set and b.snirf", "'left' at 2.000 s", "'tap' at 9.301 s", "clock_markers"):
        assert part in message
    named = {"eeg": "events", "fnirs": "nirs/stim"}
    session = _session(tmp_path, clock_markers=named)
    assert session.streams["fnirs"].t[0] == pytest.approx(BEGAN, abs=1e-6)
    with pytest.raises(BadInput) as caught:
        _session(tmp_path, clock_markers=named | {"fnirs": "stim"})
    assert caught.value.code == "unknown-markers"


def test_a_rhythm_alone_is_refused(tmp_path):
    """Equal markers at equal intervals would fit in many ways."""
    events = events_of(*(("tap", 1 + 500 * k, 0.0) for k in range(1, 11)))
    write_set(tmp_path / "a.set", counted(6000, 1), events=events)
    rows = {"tap": [[5.0 * k, 1.0, 1.0] for k in range(1, 9)]}
    write_snirf(
        tmp_path / "b.snirf", np.arange(500) / 10, counted(500, 1), tags={"TimeUnit": "s"}, stimuli=rows
    )
    with pytest.raises(BadInput, match="ways"):
        _session(tmp_path)


def test_a_way_that_is_demanded_is_the_only_one(tmp_path):
    """Markers and stamps that are demanded and not there are refused, although start times would do."""
    write_edf_signals(tmp_path / "a.edf", [EdfSignal("Fz", np.arange(1000), 100)], 10)
    write_snirf(tmp_path / "b.snirf", np.arange(80) / 10, counted(80, 1), tags=_tags("10:00:00Z"))
    for clock, code in (("markers", "clock-markers"), ("stamps", "clock-stamps")):
        with pytest.raises(BadInput) as caught:
            _session(tmp_path, clock)
        assert caught.value.code == code
    assert _session(tmp_path).clock == "start times"


def test_shared_stamps_count_more_than_markers(tmp_path):
    """Two XDF files of one computer keep their stamps, whatever their markers say."""
    texts, t = ("a", "b", "c", "d"), np.array([101.0, 102.5, 104.0, 107.0])
    header = {"datetime": START.isoformat()}
    eeg = eeg_stream(100 + np.arange(2560) / 256)
    write_xdf(tmp_path / "a.xdf", [eeg, marker_stream(t, texts)], header=header)
    nirs = nirs_stream(100.5 + np.arange(90) / 10)
    write_xdf(tmp_path / "b.xdf", [nirs, marker_stream(t + 0.4, texts)], header=header)
    session = _session(tmp_path)
    assert (session.clock, session.streams["fnirs"].t[0]) == ("stamps", 0.5)
    by_markers = _session(tmp_path, "markers")
    assert by_markers.clock == "markers"
    assert by_markers.streams["fnirs"].t[0] == pytest.approx(0.1)
