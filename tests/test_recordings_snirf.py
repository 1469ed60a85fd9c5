"""SNIRF files are read by their own time vector, and by what their tags say."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from make_recordings import counted, write_snirf

from aggrade.errors import BadInput
from aggrade.recordings.snirf import FORMAT

TAGS = {"MeasurementDate": "2026-03-01", "MeasurementTime": "10:00:00Z", "TimeUnit": "s"}


def _load(path, name="nirs/data1", picks=None):
    with FORMAT.open(path, path.name) as recording:
        header = next(item for item in recording.streams if item.name == name)
        stream = recording.load(header, range(len(header.channels)) if picks is None else picks)
        return stream, stream.x[0 : len(stream.t)], recording.warnings, recording.markers()


def test_a_hole_stays_where_it_is(tmp_path):
    """The end of a recording with a hole of 30 s is 30 s later, as its time vector says."""
    time = np.concatenate([np.arange(300) / 10, 60 + np.arange(300) / 10])
    stream, x, _, _ = _load(write_snirf(tmp_path / "a.snirf", time, counted(600, 2)))
    assert np.array_equal(stream.t, time)
    assert np.array_equal(x, counted(600, 2))
    assert x.dtype == np.float32


def test_the_first_time_need_not_be_zero(tmp_path):
    """Stamps and stimuli stay on the file's own clock, which begins before the first sample."""
    path = write_snirf(
        tmp_path / "a.snirf", 0.15 + np.arange(50) / 10, counted(50, 2), stimuli={"go": [[1.0, 5.0, 1.0]]}
    )
    stream, _, _, [markers] = _load(path)
    assert stream.t[0] == 0.15
    assert (markers.t[0], markers.duration[0], markers.text) == (1.0, 5.0, ("go",))


def test_a_time_vector_of_two_is_onset_and_period(tmp_path):
    """Two numbers for more samples are the first stamp and the period; two for two samples are stamps."""
    stream, _, _, _ = _load(write_snirf(tmp_path / "a.snirf", [0.5, 0.25], counted(9, 1)))
    assert np.array_equal(stream.t, 0.5 + np.arange(9) / 4)
    stream, _, _, _ = _load(write_snirf(tmp_path / "b.snirf", [0.5, 0.75], counted(2, 1)))
    assert list(stream.t) == [0.5, 0.75]


@pytest.mark.parametrize(("unit", "scale"), [("ms", 1e-3), ("s", 1.0), ("us", 1e-6), ("Seconds", 1.0)])
def test_the_unit_of_time_is_followed(tmp_path, unit, scale):
    """Stamps, onsets and durations are in the unit that the tag names."""
    tags = TAGS | {"TimeUnit": unit}
    stimuli = {"go": [[200 / scale, 100 / scale, 1]]}
    path = write_snirf(tmp_path / "a.snirf", np.arange(9) / scale, counted(9, 1), tags=tags, stimuli=stimuli)
    stream, _, warnings, [markers] = _load(path)
    assert stream.t == pytest.approx(np.arange(9))
    assert (markers.t[0], markers.duration[0]) == pytest.approx((200, 100))
    assert not warnings


def test_an_unstated_unit_is_seconds_and_said(tmp_path):
    """'unknown' is taken as seconds with a warning; a unit that is none is refused."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 1), tags=TAGS | {"TimeUnit": "unknown"})
    stream, _, warnings, _ = _load(path)
    assert list(stream.t) == list(range(9))
    assert "seconds" in warnings[0]
    path = write_snirf(
        tmp_path / "b.snirf", np.arange(9), counted(9, 1), tags=TAGS | {"TimeUnit": "fortnight"}
    )
    with pytest.raises(BadInput, match="fortnight") as caught:
        _load(path)
    assert caught.value.code == "time-unit"


@pytest.mark.parametrize(
    ("date", "time", "start", "resolution"),
    [
        ("2026-03-01", "17:27:03+02:00", "2026-03-01T17:27:03+02:00", 1.0),
        ("2026-03-01", "17:27:03Z", "2026-03-01T17:27:03+00:00", 1.0),
        ("2026-03-01", "17:27:03", "2026-03-01T17:27:03", 1.0),
        ("2026-03-01", "17:27:03.250", "2026-03-01T17:27:03.250000", 0.01),
        ("2026-03-01", "17:27:03.159794", "2026-03-01T17:27:03.159794", 1e-6),
        ("2026-03-01", "17:27:03.000000", "2026-03-01T17:27:03", 1.0),
        (None, "17:27:03", None, np.nan),
        ("unknown", "unknown", None, np.nan),
    ],
)
def test_date_and_time_are_as_the_file_states_them(tmp_path, date, time, start, resolution):
    """A zone is kept, none is not made up, a missing date is unknown; the digits say how well it is known."""
    tags = {"MeasurementTime": time, "TimeUnit": "s"} | ({"MeasurementDate": date} if date else {})
    stream, _, warnings, _ = _load(write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 1), tags=tags))
    assert (stream.origin.start.isoformat() if stream.origin.start else None) == start
    assert stream.origin.resolution_s == pytest.approx(resolution, nan_ok=True)
    assert bool(warnings) == (start is None)


def test_numbered_groups_are_read_each_on_its_clock(tmp_path):
    """``/nirs1`` and ``/nirs2`` are two streams with two clocks."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 1), group="nirs1")
    write_snirf(path, np.arange(5), counted(5, 1, 50), group="nirs2", mode="a")
    first, second = (_load(path, f"{group}/data1") for group in ("nirs1", "nirs2"))
    assert (len(first[0].t), len(second[0].t)) == (9, 5)
    assert second[1][0, 0] == 50
    assert first[0].origin.clock != second[0].origin.clock


def test_aux_is_a_modality_of_its_own(tmp_path):
    """Auxiliary inputs are streams, never fNIRS channels, with their own stamps."""
    aux = {"EEG in": (np.arange(90) / 100, counted(90, 2)), "heart": (np.arange(9), np.arange(9.0))}
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 3), aux=aux)
    with FORMAT.open(path, "a.snirf") as recording:
        kinds = [(item.name, item.modality, item.channels) for item in recording.streams]
    assert kinds[1:] == [("nirs/aux1", "aux", ("EEG in 1", "EEG in 2")), ("nirs/aux2", "aux", ("heart",))]
    assert len(kinds[0][2]) == 3
    assert np.array_equal(_load(path, "nirs/aux2")[1][:, 0], np.arange(9))


def test_rejected_channels_stay_channels(tmp_path):
    """A column of NaN is a channel like the others."""
    x = counted(9, 3)
    x[:, 1] = np.nan
    stream, read, _, _ = _load(write_snirf(tmp_path / "a.snirf", np.arange(9), x))
    assert np.array_equal(read, x, equal_nan=True)
    assert stream.header.channels == ("S1_D1 760", "S2_D1 760", "S3_D1 760")


@pytest.mark.parametrize("lists", [False, True])
def test_channels_are_named_by_source_detector_and_wavelength(tmp_path, lists):
    """Names come from labels where the probe has any, from either way to describe channels."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 2), lists=lists)
    with h5py.File(path, "a") as file:
        file["nirs/probe/sourceLabels"] = ["Fz", "Cz"]
    stream, _, _, _ = _load(path)
    assert stream.header.channels == ("Fz_D1 760", "Cz_D1 760")
    assert stream.header.types == ("nirs", "nirs")


def test_processed_data_bear_their_label_and_unit(tmp_path):
    """Concentrations are named and typed by what they are, in the file's unit."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 2))
    with h5py.File(path, "a") as file:
        for number, label in ((1, "HbO"), (2, "HbR")):
            entry = file[f"nirs/data1/measurementList{number}"]
            entry["dataType"][()] = 99999
            entry["sourceIndex"][()] = 1
            entry["dataTypeLabel"], entry["dataUnit"] = label, "uM"
    header = _load(path)[0].header
    assert header.channels == ("S1_D1 hbo", "S1_D1 hbr")
    assert (header.types, header.units) == (("hbo", "hbr"), ("uM", "uM"))


def test_time_gates_are_told_apart(tmp_path):
    """Channels of one optode pair that differ by their gate have names that differ."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 2))
    with h5py.File(path, "a") as file:
        for number in (1, 2):
            entry = file[f"nirs/data1/measurementList{number}"]
            entry["dataType"][()], entry["sourceIndex"][()], entry["dataTypeIndex"][()] = 201, 1, number
    assert _load(path)[0].header.channels == ("S1_D1 760 #1", "S1_D1 760 #2")


def test_stimuli_of_one_row_and_of_none(tmp_path):
    """A single trial stored flat and an empty condition are both taken; all come in the order of time."""
    stimuli = {"one": [7.0, 5.0, 1.0], "none": np.empty((0, 3)), "two": [[9.0, 1.0, 1.0], [3.0, 1.0, 1.0]]}
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 1), stimuli=stimuli)
    [markers] = _load(path)[3]
    assert list(zip(markers.t, markers.text, strict=True)) == [(3.0, "two"), (7.0, "one"), (9.0, "two")]


def test_a_duration_that_is_not_known_is_an_instant(tmp_path):
    """NaN, as exporters write it where nobody stated a duration, is 0, and so is one below 0."""
    stimuli = {"go": [[5.0, np.nan, 1.0], [7.0, -3.0, 1.0], [8.0, 0.5, 1.0]]}
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 1), stimuli=stimuli)
    [markers] = _load(path)[3]
    assert (list(markers.t), list(markers.duration)) == ([5.0, 7.0, 8.0], [0.0, 0.0, 0.5])


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ([[np.nan, 0, 1], [5, 0, 1]], "value", "stim1/data, onset: found 1 of 2 that are no numbers"),
        ([[np.inf, np.nan, 1]], "value", "stim1/data, onset: found 1 of 1 that are no numbers"),
        ([[5, np.inf, 1]], "value", "stim1/data, duration: found 1 of 1 that are no numbers"),
        ([[1.0], [4.0]], "shape", "found 1 column, expected a column each for onset, duration and amplitude"),
        ([[[1.0, 2.0]]], "shape", r"found a shape of \(1, 1, 2\)"),
    ],
)
def test_stimuli_that_say_no_time_are_refused(tmp_path, rows, code, said):
    """An onset that is no number, a duration without end and a table without durations are named."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 1), stimuli={"go": rows})
    with pytest.raises(BadInput, match=said) as caught:
        _load(path)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["data1/dataTimeSeries", "data1/time", "stim1/data"])
@pytest.mark.parametrize(("kind", "said"), [("c16", "complex numbers"), ("S4", "texts"), ("O", "texts")])
def test_what_is_no_real_number_is_refused(tmp_path, name, kind, said):
    """Of complex numbers a part would be lost, and texts may be anything."""
    path = write_snirf(
        tmp_path / "a.snirf", np.arange(9), counted(9, 1), stimuli={"go": [[1.0, 0.0, 1.0]] * 9}
    )
    with h5py.File(path, "a") as file:
        values = file[f"nirs/{name}"][()]
        del file[f"nirs/{name}"]
        stored = values.astype("S4" if kind == "O" else kind)
        file.create_dataset(f"nirs/{name}", data=stored, dtype=h5py.string_dtype() if kind == "O" else None)
    with pytest.raises(BadInput, match=f"{name}: found {said}, expected floats or integers") as caught:
        _load(path)
    assert caught.value.code == "kind"


def test_a_thousand_channels_are_described_and_one_is_read(tmp_path):
    """Of 1,080 channels, the chosen ones are those of their names."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(20), counted(20, 1080))
    stream, x, _, _ = _load(path, picks=[1079, 4])
    assert stream.header.channels == ("S1080_D1 760", "S5_D1 760")
    assert np.array_equal(x, counted(20, 1080)[:, [1079, 4]].astype("f4"))


def _without(path, *names):
    with h5py.File(path, "a") as file:
        for name in names:
            del file[name]
    return path


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["nirs/data1/dataTimeSeries"], "no-data"),
        (["nirs/data1/time"], "no-data"),
        (["nirs/data1"], "no-data"),
        (["nirs"], "no-nirs"),
        (["nirs/data1/measurementList2"], "measurement-list"),
    ],
)
def test_files_without_what_matters_are_refused(tmp_path, names, code):
    """No samples, no times, no group and no description are each refused by their own reason."""
    path = _without(write_snirf(tmp_path / "a.snirf", np.arange(9), counted(9, 3)), *names)
    with pytest.raises(BadInput, match=r"a\.snirf") as caught:
        _load(path)
    assert caught.value.code == code


def test_times_that_fit_no_sample_are_refused(tmp_path):
    """A time vector of another length than the samples is refused with both lengths."""
    with pytest.raises(BadInput, match="8 times for 9 samples") as caught:
        _load(write_snirf(tmp_path / "a.snirf", np.arange(8), counted(9, 1)))
    assert caught.value.code == "stamps"


def test_a_file_cut_anywhere_is_refused(tmp_path):
    """Cut short at any of twenty places, the file is refused with one reason that names it."""
    whole = write_snirf(tmp_path / "a.snirf", np.arange(2000), counted(2000, 4)).read_bytes()
    for stop in np.linspace(0, len(whole) - 1, 20).astype(int):
        (tmp_path / "cut.snirf").write_bytes(whole[:stop])
        with pytest.raises(BadInput, match=r"cut\.snirf") as caught:
            _load(tmp_path / "cut.snirf")
        assert caught.value.code == "unreadable"


def test_samples_that_nobody_wrote_are_refused(tmp_path):
    """A recorder that died leaves chunks that were never written, and HDF5 reads zeros there."""
    path = write_snirf(tmp_path / "a.snirf", np.arange(100), counted(100, 2))
    with h5py.File(path, "a") as file:
        del file["nirs/data1/dataTimeSeries"]
        table = file["nirs/data1"].create_dataset("dataTimeSeries", (100, 2), "f8", chunks=(10, 2))
        table[:70] = counted(70, 2)
    with pytest.raises(BadInput, match="3 of 10 chunks were never written") as caught:
        _load(path)
    assert caught.value.code == "unwritten"
