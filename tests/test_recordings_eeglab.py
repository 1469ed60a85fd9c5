"""EEGLAB datasets are read in microvolts, with every sample at its own time, from either kind of MATLAB file."""

from __future__ import annotations

import contextlib
import json
import logging
import struct
import warnings
import zlib
from pathlib import Path

import h5py
import mne
import numpy as np
import pytest
from make_eeglab import EMPTY, events_of, places_of, write_set, write_set73
from make_recordings import counted

from aggrade.errors import BadInput
from aggrade.recordings.formats import FORMATS, format_of
from aggrade.windowing import cut_windows

WRITERS = [write_set, write_set73]
both = pytest.mark.parametrize("write", WRITERS)
NAN = float("nan")
TWO = {"window_size_s": 2.0}


def _open(path):
    return format_of(path.name, path.read_bytes()[:1024]).open(path, path.name)


def _load(path, picks=None, name="eeg"):
    with _open(path) as recording:
        header = next(item for item in recording.streams if item.name == name)
        stream = recording.load(header, range(len(header.channels)) if picks is None else picks)
        return stream, np.asarray(stream.x[0 : len(stream.t)]), recording.markers(), recording.warnings


def _refused(path):
    with pytest.raises(BadInput, match=path.name.replace(".", r"\.")) as caught, _open(path):
        pass
    return caught.value


def _mne(path):
    with warnings.catch_warnings(action="ignore"):
        return mne.io.read_raw_eeglab(path, preload=True, verbose="error")


@both
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("fdt", [None, "a.fdt"])
def test_samples_are_microvolts_wherever_they_lie(tmp_path, write, inside, fdt):
    """Samples in the file or beside it, fields alone or in EEG: values are the stored ones, not volts."""
    path = write(tmp_path / "a.set", inside=inside, fdt=fdt)
    stream, x, markers, notes = _load(path, picks=[1, 0])
    assert np.array_equal(x, counted(1000, 2)[:, [1, 0]])
    assert stream.header.units == ("µV", "µV")
    assert np.array_equal(stream.t, np.arange(1000) / 100)
    assert (stream.header.nominal_rate, stream.header.channels) == (100.0, ("B", "A"))
    assert not markers
    assert not notes
    with _open(path) as recording:
        rows = recording.load(recording.streams[0], [0]).x
        assert rows.shape == (1000, 1)
        assert np.array_equal(rows[400:403], counted(1000, 2)[400:403, :1])
        assert rows[5:5].shape == (0, 1)
    assert _mne(path).get_data() * 1e6 == pytest.approx(counted(1000, 2).T)


@both
def test_one_channel_and_one_event(tmp_path, write):
    """MATLAB's arrays of one element lose their dimension, and are read like any others."""
    path = write(tmp_path / "a.set", counted(500, 1), events=events_of(("go", 51.0, 10.0)))
    stream, x, [markers], _ = _load(path)
    assert np.array_equal(x, counted(500, 1))
    assert stream.header.channels == ("A",)
    assert (markers.t[0], markers.duration[0], markers.text) == (0.5, 0.1, ("go",))


@both
def test_compressed_or_in_chunks(tmp_path, write):
    """Samples that are packed in the file are the same."""
    packed = {"compressed": True} if write is write_set else {"chunks": (100, 1)}
    stream, x, _, _ = _load(write(tmp_path / "a.set", **packed))
    assert np.array_equal(x, counted(1000, 2))
    assert len(stream.t) == 1000


@both
def test_latencies_count_from_one_and_may_be_fractions(tmp_path, write):
    """The first sample's latency is 1, and what lies between samples stays there."""
    events = events_of(("go", 1.0, 0.0), ("go", 300.25, 25.0), ("stop", 101.0, NAN))
    _, _, [markers], _ = _load(write(tmp_path / "a.set", events=events))
    assert list(zip(markers.text, markers.t, markers.duration, strict=True)) == [
        ("go", 0.0, 0.0), ("stop", 1.0, 0.0), ("go", 2.9925, 0.25)
    ]  # fmt: skip


@both
def test_a_boundary_is_lost_time(tmp_path, write):
    """What lies behind a boundary is later by the samples that were taken out there; MNE closes the gap."""
    events = events_of(
        ("go", 101.0, 0.0), ("boundary", 200.5, 3000.0), ("go", 201.0, 0.0), ("stop", 301.0, 0.0)
    )
    path = write(tmp_path / "a.set", events=events)
    stream, x, [markers], _ = _load(path)
    expected = np.concatenate([np.arange(200), 3200 + np.arange(800)]) / 100
    assert np.array_equal(stream.t, expected)
    assert np.array_equal(x, counted(1000, 2))
    assert list(markers.text) == ["go", "boundary", "go", "stop"]
    assert markers.t == pytest.approx([1.0, 1.995, 32.0, 33.0])
    assert markers.duration[1] == 30.0
    raw = _mne(path)
    assert raw.times[-1] == 9.99
    assert raw.annotations.onset[-1] == 3.0
    assert raw.annotations.duration[1] == pytest.approx(7.995, abs=0.011)


@both
def test_boundaries_add_up_in_any_order(tmp_path, write):
    """Several boundaries shift what follows by all that is missing before it, also if they are not sorted."""
    events = events_of(
        ("boundary", 600.5, 50.0), ("boundary", 300.5, 100.0), ("x", 700.0, 0.0), ("boundary", 300.5, 7.5)
    )
    stream, _, [markers], _ = _load(write(tmp_path / "a.set", events=events))
    sample = np.arange(1, 1001)
    assert stream.t == pytest.approx((sample - 1 + 107.5 * (sample > 300) + 50.0 * (sample > 600)) / 100)
    assert markers.t[markers.text.index("x")] == pytest.approx((699 + 157.5) / 100)


@pytest.mark.parametrize(("latency", "first"), [(400.0, 400), (400.25, 401), (400.5, 401), (400.75, 401)])
def test_the_sample_at_a_boundary_begins_what_follows(tmp_path, latency, first):
    """A boundary on a sample, as amplifiers mark a new segment, belongs to what follows; so does one between two."""
    stream, _, _, _ = _load(write_set(tmp_path / "a.set", events=events_of(("boundary", latency, 10.0))))
    [behind] = np.flatnonzero(np.diff(stream.t) > 0.05)
    assert behind + 2 == first


@both
@pytest.mark.parametrize("latency", [0.5, 1.0, 1000.5, 1001.0])
def test_a_boundary_at_either_end_takes_nothing_out(tmp_path, write, latency):
    """Where a recording begins or ends, nothing is missing from within, whatever a boundary says."""
    path = write(
        tmp_path / "a.set", events=events_of(("boundary", latency, NAN), ("boundary", latency, 77.0))
    )
    assert np.array_equal(_load(path)[0].t, np.arange(1000) / 100)


@both
@pytest.mark.parametrize("duration", [NAN, 0.0, EMPTY, -3.0])
def test_a_boundary_of_unknown_length_is_refused(tmp_path, write, duration):
    """Merged datasets do not say how much lies between their parts: no time behind it can be known."""
    error = _refused(write(tmp_path / "a.set", events=events_of(("boundary", 500.5, duration))))
    assert [problem.code for problem in error.problems] == ["unknown-loss"]
    assert "4.995 s" in str(error)


def test_boundaries_without_durations_are_refused(tmp_path):
    """Old datasets have boundaries and no field for their length."""
    error = _refused(write_set(tmp_path / "a.set", events=[{"type": "boundary", "latency": 500.5}]))
    assert error.code == "unknown-loss"


@both
@pytest.mark.parametrize("kind", ["Boundary", "boundary ", -99.0])
def test_a_boundary_has_several_names(tmp_path, write, kind):
    """EEGLAB compares without regard to case, and calls a boundary -99 where all events are numbers."""
    stream, _, [markers], _ = _load(write(tmp_path / "a.set", events=events_of((kind, 500.5, 100.0))))
    assert stream.t[-1] == pytest.approx(10.99)
    assert markers.text == ("boundary",)


def test_numeric_events_are_called_alike(tmp_path):
    """An event of type 7 is ``7``, however the file stores the number; MNE calls it ``7`` or ``7.0``."""
    kinds = {"byte.set": np.uint8(7), "double.set": 7.0}
    paths = [write_set(tmp_path / name, events=events_of((kind, 5.0, 0.0))) for name, kind in kinds.items()]
    paths.append(write_set73(tmp_path / "new.set", events=events_of((7.0, 5.0, 0.0), (1234567.0, 9.0, 0.0))))
    assert [_load(path)[2][0].text[0] for path in paths] == ["7", "7", "7"]
    assert _load(paths[2])[2][0].text[1] == "1234567"
    assert {str(_mne(path).annotations.description[0]) for path in paths} == {"7", "7.0"}


@pytest.mark.parametrize("row", [("go", 51.0, np.inf), ("go", np.inf, 0.0), ("boundary", 51.5, np.inf)])
def test_events_that_never_end_are_refused(tmp_path, row):
    """An infinite duration would label every window to the end, and none of them says a time."""
    error = _refused(write_set(tmp_path / "a.set", events=events_of(row, ("go", 20.0, 0.0))))
    assert error.code == "value"
    assert "1 events of infinite latency or duration" in str(error)


@both
def test_events_without_a_latency_are_left_out_and_counted(tmp_path, write):
    """An event that is nowhere is no marker, and the user is told."""
    events = events_of(("go", 5.0, 0.0), ("lost", NAN, 0.0), ("gone", EMPTY, 0.0), ("", 9.0, 0.0))
    _, _, [markers], notes = _load(write(tmp_path / "a.set", events=events))
    assert markers.text == ("go", "")
    assert "2 events have no latency" in notes[0]


@both
def test_types_are_those_of_the_file(tmp_path, write):
    """Channels of other types are not EEG, have no unit that is made up, and are not chosen; MNE calls them EEG in V."""
    places = places_of("Fz", "Cz", "GSR", "left", types=("EEG", "", "skin", "EOG"), unit=("", "mV", "", ""))
    path = write(tmp_path / "a.set", counted(1000, 4), places=places)
    header = _load(path)[0].header
    assert header.types == ("eeg", "eeg", "skin", "eog")
    assert header.units == ("µV", "mV", "", "µV")
    assert list(cut_windows(path, TWO)["eeg_channel"].values) == ["Fz", "Cz"]
    assert set(_mne(path).get_channel_types()) == {"eeg", "eog"}


@both
def test_optical_channels_are_fnirs(tmp_path, write):
    """EEG and optical channels of one dataset are two streams."""
    places = places_of("Fz", "S1_D1", "Cz", "S2_D1", types=("EEG", "HbO", "EEG", "HbR"))
    path = write(tmp_path / "a.set", counted(100, 4), places=places)
    assert _load(path)[0].header.channels == ("Fz", "Cz")
    stream, x, _, _ = _load(path, name="fnirs")
    assert (stream.header.modality, stream.header.types) == ("fnirs", ("hbo", "hbr"))
    assert np.array_equal(x, counted(100, 4)[:, [1, 3]])


@both
def test_channels_without_names_are_numbered(tmp_path, write):
    """A dataset without channel locations has numbered channels; names that occur twice get a number."""
    assert _load(write(tmp_path / "a.set", places=[]))[0].header.channels == ("ch1", "ch2")
    assert _load(write(tmp_path / "a.set", places=places_of("Fz", "Fz")))[0].header.channels == (
        "Fz-0",
        "Fz-1",
    )


@both
def test_an_epoched_dataset_is_refused(tmp_path, write):
    """Epochs are no recording: the sentence says so, and what to give instead."""
    error = _refused(write(tmp_path / "a.set", trials=4.0, pnts=250.0, fdt="a.fdt"))
    assert error.code == "epoched"
    assert "before epochs were cut" in str(error)
    epochs = counted(1000, 2).T.reshape(2, 250, 4).astype("f4")
    assert _refused(write(tmp_path / "b.set", trials=4.0, pnts=250.0, data=epochs)).code == "epoched"


def _with_epochs_73(path):
    write_set73(path, trials=4.0, pnts=250.0)
    with h5py.File(path, "a") as file:
        del file["data"]
        file["data"] = np.zeros((4, 250, 2), "f4")
    return path


def test_half_a_character_in_a_name_is_refused(tmp_path):
    """Half of a pair of code units is no text: no store could hold such a channel's name."""
    write_set73(tmp_path / "a.set", places=places_of("Fz", "\udc41z"))
    with pytest.raises(BadInput, match=r"'\\udc41z'.*text in Unicode") as caught:
        cut_windows(tmp_path, {"window_size_s": 1.0, "window_stride_s": 1.0})
    assert caught.value.code == "unreadable"


def test_epochs_of_three_dimensions_are_refused_in_version_73(tmp_path):
    """Numbers of three dimensions are epochs, turned round as HDF5 has them."""
    assert _refused(_with_epochs_73(tmp_path / "a.set")).code == "epoched"


@both
def test_every_contradiction_is_named_at_once(tmp_path, write):
    """Another number of samples, of channels, and an unknown loss are three problems of one error."""
    events = events_of(("boundary", 500.5, 0.0))
    error = _refused(write(tmp_path / "a.set", places=places_of("A", "B", "C"), pnts=999.0, events=events))
    assert [problem.code for problem in error.problems] == ["shape", "shape", "unknown-loss"]


@both
@pytest.mark.parametrize("field", ["nbchan", "pnts", "srate", "data", "event", "chanlocs"])
def test_a_missing_field_is_named(tmp_path, write, field):
    """A dataset that was cut short between two variables lacks a list of events, say, and is not believed."""
    error = _refused(write(tmp_path / "a.set", inside=True, without=(field,)))
    assert [problem.where for problem in error.problems] == [f"a.set, EEG.{field}"]


@pytest.mark.parametrize("rate", [0.0, -5.0, NAN, np.inf])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    """No time can be told from a rate that is not a number above 0."""
    assert "EEG.srate" in str(_refused(write_set(tmp_path / "a.set", rate=100.0, srate=rate)))


@both
def test_other_matlab_files_are_refused(tmp_path, write):
    """A study of several datasets and a file of something else are refused by name."""
    everything = ("nbchan", "trials", "pnts", "srate", "data", "chanlocs", "event")
    assert _refused(write(tmp_path / "a.set", without=everything)).code == "no-dataset"
    assert _refused(write(tmp_path / "b.set", without=everything, ALLEEG=1.0)).code == "several"


@both
def test_the_samples_are_those_beside_the_dataset(tmp_path, write):
    """A copy under a new name has samples under that name; MNE goes back to those of the old one."""
    write(tmp_path / "old.set", counted(1000, 2, 5000), fdt="old.fdt")
    path = write(tmp_path / "new.set", fdt="old.fdt")
    _, x, _, notes = _load(path)
    assert np.array_equal(x, counted(1000, 2))
    assert "'old.fdt'; those of 'new.fdt'" in notes[0]
    assert _mne(path).get_data()[0, 0] * 1e6 == pytest.approx(5000)


@both
def test_samples_that_are_not_there_or_not_whole_are_refused(tmp_path, write):
    """Without its second file, or with one of another size, a dataset is refused; MNE reads a longer one."""
    path = write(tmp_path / "a.set", fdt=r"C:\data\a.fdt")
    samples = tmp_path / "a.fdt"
    whole = samples.read_bytes()
    samples.write_bytes(whole + whole[:8])
    assert _refused(path).code == "truncated"
    samples.write_bytes(whole[:-4])
    assert _refused(path).code == "truncated"
    samples.unlink()
    assert _refused(path).code == "companion"
    assert _refused(write(tmp_path / "b.set", fdt="b.dat")).code == "companion"


@both
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_anywhere_is_refused(tmp_path, write, inside, packed):
    """Cut short at any of thirty places, the file is refused with one error."""
    more = {"compressed": True} if write is write_set and packed else {}
    events = events_of(("boundary", 500.5, 100.0), ("go", 600.0, 0.0))
    whole = write(tmp_path / "a.set", events=events, inside=inside, **more).read_bytes()
    places = np.random.default_rng(5).integers(0, len(whole), 24).tolist()
    for stop in (*places, 0, 1, 128, 132, 136, len(whole) - 1):
        (tmp_path / "cut.set").write_bytes(whole[:stop])
        with pytest.raises(BadInput, match=r"cut\.set"):
            cut_windows(tmp_path / "cut.set", TWO)


def test_a_file_cut_at_a_seam_is_refused_where_it_matters(tmp_path):
    """Between two variables a MATLAB 5 file looks whole: without what a recording needs it is refused."""
    whole = write_set(tmp_path / "a.set", events=events_of(("go", 5.0, 0.0))).read_bytes()
    seams, place = [], 128
    while place < len(whole):
        seams.append(place)
        place += 8 + int.from_bytes(whole[place + 4 : place + 8], "little")
    assert len(seams) == 11
    for stop in seams[:-1]:
        (tmp_path / "cut.set").write_bytes(whole[:stop])
        assert _refused(tmp_path / "cut.set").code in {"no-dataset", "field"}


def test_version_5_is_told_by_its_first_variable(tmp_path):
    """A MATLAB file is an EEGLAB dataset if its first variable is; other MATLAB files are no recordings."""
    for inside, compressed in ((False, False), (False, True), (True, False), (True, True)):
        path = write_set(tmp_path / "a.dat", inside=inside, compressed=compressed)
        assert format_of("a.dat", path.read_bytes()[:1024]).name == "EEGLAB"
    other = write_set(tmp_path / "b.mat", without=("setname",)).read_bytes()
    assert format_of("b.mat", other[:1024]) is None
    assert format_of("b.mat", other[:130]) is None
    assert format_of("b.mat", write_set73(tmp_path / "c.mat").read_bytes()[:1024]) is None
    broken = bytearray(write_set(tmp_path / "a.dat", compressed=True).read_bytes()[:1024])
    broken[136:144] = b"\0" * 8
    assert format_of("b.mat", bytes(broken)) is None


@both
def test_end_to_end(tmp_path, write):
    """Windows of a dataset with a hole, labels and a bad stretch are what counting by hand says."""
    events = events_of(
        ("left", 101.0, 0.0), ("boundary", 500.5, 300.0), ("right", 551.0, 0.0), ("BAD move", 801.0, 100.0)
    )
    folder = tmp_path / "Sub 01 ä"
    folder.mkdir()
    write(folder / "rec.set", events=events, fdt="rec.fdt")
    windows = cut_windows(folder, {**TWO, "mapping": {"left": 0, "right": 1}})
    t = np.concatenate([np.arange(500), 800 + np.arange(500)]) / 100
    assert windows["n_windows"].item() == 6
    for window in range(6):
        expected = np.full((2, 200), np.nan, "f4")
        rows = np.flatnonzero((t >= 2 * window) & (t < 2 * window + 2))
        expected[:, np.rint(t[rows] * 100).astype(int) - 200 * window] = counted(1000, 2)[rows].T
        assert np.array_equal(windows["eeg"].values[0, window], expected, equal_nan=True)
    assert windows["eeg_coverage"].values[0].tolist() == [1, 1, 0.5, 0, 1, 1]
    assert windows["label"].values[0].tolist() == [0, -1, -1, -1, 1, -1]
    assert windows["bad_fraction"].values[0] == pytest.approx([0, 0, 0, 0, 0, 0.5])
    assert (windows["eeg_gaps"].item(), windows["eeg_lost"].item()) == (1, 300)
    assert windows["session_start"].item() == ""
    assert list(windows["eeg_channel_unit"].values) == ["µV", "µV"]
    assert json.loads(windows["source"].item()) == ["rec.fdt", "rec.set"]


def test_the_digest_covers_the_samples_beside(tmp_path):
    """Other samples in the ``.fdt`` file are another session content, also when the ``.set`` alone is named."""
    path = write_set(tmp_path / "a.set", fdt="a.fdt")
    first = cut_windows(path, TWO)["source_digest"].item()
    write_set(path, counted(1000, 2, 1), fdt="a.fdt")
    assert cut_windows(path, TWO)["source_digest"].item() != first


@both
def test_windows_equal_what_mne_reads_where_nothing_is_missing(tmp_path, write):
    """Without boundaries the windows are MNE's samples in microvolts."""
    x = np.random.default_rng(3).normal(0, 40, (1000, 3)).astype("f4")
    path = write(tmp_path / "a.set", x, rate=250.0)
    values = cut_windows(path, TWO)["eeg"].values[0]
    raw = _mne(path).get_data() * 1e6
    assert np.allclose(values, raw.reshape(3, 2, 500).transpose(1, 0, 2), rtol=1e-6)


def test_only_samples_are_left_in_the_file(tmp_path):
    """A dataset of version 7.3 is opened without its samples, and of these one channel is read."""
    path = write_set73(tmp_path / "a.set", counted(1000, 8), chunks=(100, 1))
    with _open(path) as recording:
        stream = recording.load(recording.streams[0], [6])
        assert stream.x.table.chunks == (100, 1)
        assert np.array_equal(stream.x[10:20][:, 0], counted(1000, 8)[10:20, 6])


def test_samples_that_nobody_wrote_are_refused(tmp_path):
    """A file of version 7.3 whose samples were never written holds none, though HDF5 reads zeros."""
    path = write_set73(tmp_path / "a.set")
    with h5py.File(path, "a") as file:
        del file["data"]
        file.create_dataset("data", (1000, 2), "f4")
    assert _refused(path).code == "unwritten"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", [0, 8, 15, 200])
def test_a_damaged_element_is_refused_before_scipy_sees_it(tmp_path, compressed, inside, kind):
    """An element of samples of a type that there isn't ends SciPy's process; here it is one error."""
    path = write_set(tmp_path / "a.set", inside=inside)
    whole, tag = bytearray(path.read_bytes()), b"\x07\0\0\0" + (8000).to_bytes(4, "little")
    assert whole.count(tag) == 1
    whole[whole.index(tag)] = kind
    place = 128
    packed = bytes(whole[:place])
    while compressed and place < len(whole):
        stop = place + 8 + int.from_bytes(whole[place + 4 : place + 8], "little")
        content = zlib.compress(whole[place:stop])
        packed += (15).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content
        place = stop
    path.write_bytes(packed if compressed else whole)
    with pytest.raises(BadInput, match=rf"type {kind} ") as caught:
        cut_windows(path, TWO)
    assert caught.value.code == "unreadable"


def test_damage_anywhere_is_an_error_or_nothing(tmp_path):
    """Whichever byte of the tags of a dataset is changed, the file is refused or its windows are cut."""
    whole = write_set(tmp_path / "a.set", counted(300, 1), events=events_of(("go", 5.0, 0.0))).read_bytes()
    path, refused = tmp_path / "b.set", 0
    random = np.random.default_rng(11)
    for place in random.integers(128, len(whole), 60):
        changed = bytearray(whole)
        changed[place] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        with contextlib.suppress(BadInput):
            assert cut_windows(path, {"window_size_s": 1.0})["n_windows"].item() > 0
            refused -= 1
        refused += 1
    assert refused > 0


def test_files_of_the_other_byte_order_are_told_too():
    """A dataset that was saved on a big-endian machine begins with its numbers turned round."""
    flags, dims, name = (struct.pack(">II", kind, size) for kind, size in ((6, 8), (5, 8), (1, 3)))
    body = flags + bytes(8) + dims + struct.pack(">ii", 1, 1) + name + b"EEG".ljust(8, b"\0")
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + struct.pack(">II", 14, len(body)) + body
    assert format_of("a.mat", head).name == "EEGLAB"
    assert format_of("a.mat", head.replace(b"EEG", b"ECG")) is None


def test_what_pymatreader_cannot_read_is_said(tmp_path, caplog):
    """A field of a MATLAB class that is not understood is a warning in the log, not a failure."""
    path = write_set73(tmp_path / "a.set")
    with h5py.File(path, "a") as file:
        file["event"].attrs["MATLAB_class"] = np.bytes_("table")
    with caplog.at_level(logging.WARNING):
        cut_windows(path, TWO)
    assert "Complex objects" in caplog.text


def test_it_is_registered_with_its_second_file():
    """EEGLAB is one of the formats, and its ``.fdt`` files travel with it."""
    [known] = [known for known in FORMATS if known.name == "EEGLAB"]
    assert known.companions == (".fdt",)
    assert Path("x.SET").suffix.lower() in known.suffixes
