"""A recording in several files is one stream with the gaps that the files' starts tell, or it is refused."""

from __future__ import annotations

from datetime import timedelta

import mne
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
from aggrade.windowing import cut_windows


def _session(folder, streams=None, **channels):
    with local_session(folder) as files, opened_session(files, Wanted(streams or {}, channels)) as session:
        x = {name: np.asarray(stream.x[0 : len(stream.t)]) for name, stream in session.streams.items()}
        return session, x


def _edf(path, seconds, later, first=0, label="Fz"):
    """Write an EDF of 100 Hz that begins some seconds after START and counts its samples."""
    signal = EdfSignal(label, first + np.arange(100 * seconds), 100)
    return write_edf_signals(path, [signal], seconds, start=START + timedelta(seconds=later))


def _tags(time):
    return {"MeasurementDate": "2026-03-01", "MeasurementTime": time, "TimeUnit": "s"}


def test_parts_follow_with_their_gap(tmp_path, caplog):
    """Two EDF files, the later one first by name: samples keep their times, and what lies between is NaN."""
    _edf(tmp_path / "b.edf", 10, 0)
    _edf(tmp_path / "a.edf", 6, 14, first=5000)
    windows = cut_windows(tmp_path, {"window_size_s": 2.0})
    assert windows["window_start"].values[0] == pytest.approx(np.arange(10) * 2.0)
    assert windows["eeg_coverage"].values[0].tolist() == [1, 1, 1, 1, 1, 0, 0, 1, 1, 1]
    values = windows["eeg"].values[0, :, 0]
    assert np.array_equal(values[:5].ravel(), np.arange(1000))
    assert np.isnan(values[5:7]).all()
    assert np.array_equal(values[7:].ravel(), np.arange(5000, 5600))
    assert (windows["eeg_lost"].item(), windows["eeg_gaps"].item()) == (400, 1)
    assert windows["source"].item() == '["a.edf", "b.edf"]'
    assert windows["session_start"].item().startswith("2026-03-01T10:00:00")
    assert windows["offset_resolution_s"].item() == 2.0
    assert "a.edf joined to b.edf with a gap of 4.000 s between them, known to 2 s" in caplog.text


def test_a_start_that_is_known_to_a_second_may_fall_short(tmp_path, caplog):
    """A part that is said to begin 1 s before the end of the one before follows at once, and that is said."""
    _edf(tmp_path / "a.edf", 10, 0)
    _edf(tmp_path / "b.edf", 10, 9, first=1000)
    session, x = _session(tmp_path)
    assert session.streams["eeg"].t == pytest.approx(np.arange(2000) / 100)
    assert x["eeg"][:, 0] == pytest.approx(np.arange(2000), abs=1e-6)
    assert "taken to follow at once" in caplog.text


def test_parts_that_overlap_are_refused(tmp_path):
    """Two recorders with one montage are not one after the other; naming one settles it."""
    _edf(tmp_path / "a.edf", 10, 0)
    _edf(tmp_path / "b.edf", 10, 5)
    with pytest.raises(BadInput, match=r"b\.edf beginning 5\.000 s before the end of a\.edf") as caught:
        _session(tmp_path)
    assert caught.value.code == "parts-overlap"
    assert _session(tmp_path, {"eeg": "b.edf:eeg"})[0].sources == ("b.edf",)


def test_what_is_refused_says_which_modality_to_choose(tmp_path):
    """Two fNIRS files that overlap are told apart by naming one of the fNIRS, not of an EEG that there isn't."""
    for name in ("a", "b"):
        write_snirf(tmp_path / f"{name}.snirf", np.arange(90) / 10, counted(90, 2))
    with pytest.raises(BadInput, match=r"streams = \{'fnirs': 'file:stream'\}") as caught:
        _session(tmp_path)
    assert caught.value.code == "parts-overlap"
    assert _session(tmp_path, {"fnirs": "b.snirf:nirs/data1"})[0].sources == ("b.snirf",)


def test_parts_without_a_start_are_refused(tmp_path):
    """SNIRF runs of which one has no date can't be put one after the other."""
    write_snirf(tmp_path / "a.snirf", np.arange(90) / 10, counted(90, 2))
    write_snirf(tmp_path / "b.snirf", np.arange(90) / 10, counted(90, 2), tags={"TimeUnit": "s"})
    with pytest.raises(BadInput, match=r"no start time in b\.snirf") as caught:
        _session(tmp_path)
    assert caught.value.code == "parts-without-start"


def test_parts_with_two_dates_are_refused(tmp_path, caplog):
    """An EDF part whose header states two days has no start, and the log says why before the session is refused."""
    _edf(tmp_path / "a.edf", 10, 0)
    _edf(tmp_path / "b.edf", 10, 60)
    assert len(_session(tmp_path)[0].streams["eeg"].t) == 2000
    plain = (tmp_path / "b.edf").read_bytes()
    (tmp_path / "b.edf").write_bytes(plain.replace(b"01-MAR-2026", b"02-MAR-2026"))
    with pytest.raises(BadInput, match=r"no start time in b\.edf") as caught:
        _session(tmp_path)
    assert caught.value.code == "parts-without-start"
    assert "b.edf: the date is 01.03.26 in the header and 02-MAR-2026" in caplog.text


def test_other_channels_are_no_part(tmp_path):
    """Two files with other channels are asked for, as ever."""
    _edf(tmp_path / "a.edf", 10, 0)
    _edf(tmp_path / "b.edf", 10, 20, label="Cz")
    with pytest.raises(BadInput) as caught:
        _session(tmp_path)
    assert caught.value.code == "ambiguous-streams"


def test_parts_at_other_rates_are_refused(tmp_path):
    """Files that declare nothing and run at 10 and at 12.5 Hz are no parts of one recording."""
    write_snirf(tmp_path / "a.snirf", np.arange(90) / 10, counted(90, 2), tags=_tags("10:00:00Z"))
    write_snirf(tmp_path / "b.snirf", np.arange(90) / 12.5, counted(90, 2), tags=_tags("10:01:00Z"))
    with pytest.raises(BadInput, match=r"10 Hz in .*12\.5 Hz in") as caught:
        _session(tmp_path)
    assert caught.value.code == "parts-rate"


def test_groups_of_one_snirf_are_parts(tmp_path):
    """/nirs1 and /nirs2 count from starts of their own, and their time vectors do not begin at 0."""
    path = tmp_path / "a.snirf"
    tap, rest = {"tap": [[1.0, 2.0, 1.0]]}, {"tap": [[0.5, 2.0, 1.0]]}
    time = 0.2 + np.arange(50) / 10
    write_snirf(path, time, counted(50, 2), group="nirs1", tags=_tags("10:00:00.5Z"), stimuli=tap)
    later = _tags("10:00:30.25Z")
    write_snirf(path, time, counted(50, 2, 900), group="nirs2", tags=later, stimuli=rest, mode="a")
    session, x = _session(tmp_path)
    assert session.streams["fnirs"].t == pytest.approx(np.append(time, time + 29.75) - 0.2)
    assert x["fnirs"][[49, 50], 0].tolist() == [49, 900]
    [markers] = session.markers
    assert markers.t == pytest.approx([0.8, 30.05])
    assert session.offset_resolution_s == pytest.approx(0.11)


def test_parts_of_both_modalities_keep_together(tmp_path):
    """XDF files of one computer follow by their stamps; what one file holds moves as one."""
    for name, first, later in (("a", 100.0, 0), ("b", 131.5, 31)):
        t = first + np.arange(1280) / 256
        streams = [
            eeg_stream(t),
            nirs_stream(first + 0.28 + np.arange(45) / 10),
            marker_stream([first + 1], ["go"]),
        ]
        start = (START + timedelta(seconds=later)).isoformat()
        write_xdf(tmp_path / f"{name}.xdf", streams, header={"datetime": start})
    session, _ = _session(tmp_path)
    assert session.streams["eeg"].t[1280] == 31.5
    assert session.streams["fnirs"].t[[0, 45]] == pytest.approx([0.28, 31.78])
    assert [item.t.tolist() for item in session.markers] == [[1.0, 32.5]]
    assert (session.clock, session.offset_resolution_s) == ("stamps", 0.0)


def test_parts_are_placed_against_the_other_modality(tmp_path):
    """EEG in two FIF files and one SNIRF that ran on: the second part's samples meet their own second of optics."""
    write_fif(tmp_path / "a_raw.fif", counted(256 * 8, 1), start=START)
    write_fif(tmp_path / "b_raw.fif", counted(256 * 8, 1, 7000), start=START + timedelta(seconds=20))
    write_snirf(tmp_path / "c.snirf", np.arange(300) / 10, counted(300, 1))
    windows = cut_windows(tmp_path, {"window_size_s": 2.0})
    covered = np.flatnonzero(windows["eeg_coverage"].values[0])
    assert covered.tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert windows["eeg"].values[0, 10, 0, 0] == 7000
    assert windows["fnirs"].values[0, 10, 0, 0] == 200


@pytest.mark.parametrize("naming", ["neuromag", "bids"])
def test_fif_files_that_continue_each_other_count_once(tmp_path, naming):
    """What MNE splits by size it reads as one file, under either of its naming schemes; all of them are named."""
    info = mne.create_info(["A", "B"], 256.0, "eeg")
    raw = mne.io.RawArray(counted(200_000, 2).T, info, verbose="error")
    raw.set_meas_date(START)
    name = "p_raw.fif" if naming == "neuromag" else "p_eeg.fif"
    raw.save(tmp_path / name, split_size="2MB", split_naming=naming, fmt="double", verbose="error")
    assert len(list(tmp_path.iterdir())) > 2
    session, x = _session(tmp_path)
    assert np.array_equal(x["eeg"], counted(200_000, 2))
    assert session.sources == tuple(sorted(path.name for path in tmp_path.iterdir()))
