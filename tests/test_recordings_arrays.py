"""HDF5 and NPZ files in the described layout are read as they say; what is missing or contradictory is refused."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from make_eeglab import write_set73
from make_recordings import counted, eeg_stream, write_snirf, write_xdf

from aggrade.errors import BadInput
from aggrade.recordings.arrays import LAYOUT, MARKERS, ROOT, STREAM
from aggrade.recordings.discover import sessions_in
from aggrade.recordings.formats import FORMATS, format_of
from aggrade.recordings.hdf5 import FORMAT as HDF5
from aggrade.recordings.npz import FORMAT as NPZ
from aggrade.windowing import cut_windows

TWO = {"window_size_s": 2.0}
DOCUMENT = Path(__file__).parents[1] / "docs" / "recordings.md"


def described(**more):
    """Return names and arrays of a small EEG recording; a name that is given as None is left out."""
    names = {
        "format": LAYOUT,
        "eeg/samples": counted(1000, 3),
        "eeg/rate": 100.0,
        "eeg/channels": np.array(["Fz", "Cz", "Pz"]),
        "eeg/units": "uV",
    }
    names |= {name.replace("__", "/"): value for name, value in more.items()}
    return {name: value for name, value in names.items() if value is not None}


def write_h5(path, names, **options):
    """Write names as datasets with h5py; samples with the options given."""
    with h5py.File(path, "w") as file:
        for name, value in names.items():
            texts = isinstance(value, np.ndarray) and value.dtype.kind == "U"
            stored = value.astype(h5py.string_dtype()) if texts else value
            file.create_dataset(name, data=stored, **(options if name.endswith("samples") else {}))
    return Path(path)


def write_npz(path, names, **options):
    """Write names as members with NumPy."""
    (np.savez_compressed if options else np.savez)(path, **names)
    return Path(path)


WRITERS = {".h5": write_h5, ".npz": write_npz}
PACKED = {".h5": {"chunks": (100, 2), "compression": "gzip"}, ".npz": {"compressed": True}}
both = pytest.mark.parametrize("suffix", WRITERS)


def _write(folder, suffix, names, name="a", **options):
    return WRITERS[suffix](folder / f"{name}{suffix}", names, **options)


def _open(path):
    return format_of(path.name, path.read_bytes()[:1024]).open(path, path.name)


def _load(path, picks=None, name="eeg"):
    with _open(path) as recording:
        header = next(item for item in recording.streams if item.name == name)
        stream = recording.load(header, range(len(header.channels)) if picks is None else picks)
        return stream, np.asarray(stream.x[0 : header.samples]), recording.markers()


def _problems(path):
    with pytest.raises(BadInput, match=re.escape(path.name)) as caught, _open(path):
        pass
    return {problem.where.partition(", ")[2]: problem.code for problem in caught.value.problems}


@both
@pytest.mark.parametrize("packed", [False, True])
def test_the_smallest_recording(tmp_path, suffix, packed):
    """Samples, rate, channels and units are enough; everything else has the documented default."""
    path = _write(tmp_path, suffix, described(), **(PACKED[suffix] if packed else {}))
    stream, x, markers = _load(path, [2, 0])
    assert np.array_equal(x, counted(1000, 3)[:, [2, 0]])
    assert x.dtype == np.float32
    assert stream.t == pytest.approx(np.arange(1000) / 100)
    assert stream.header.channels == ("Pz", "Fz")
    assert (stream.header.modality, stream.header.units, stream.header.types) == (
        "eeg",
        ("µV", "µV"),
        ("eeg", "eeg"),
    )
    assert (stream.header.nominal_rate, stream.origin.start, stream.origin.device) == (100.0, None, "")
    assert markers == ()


@both
def test_everything_that_can_be_said(tmp_path, suffix):
    """Stamps with a hole, a unit and a type per channel, a modality, a clock with its wall-clock start, markers."""
    t = 5000.25 + np.delete(np.arange(1030), range(400, 430)) / 100
    names = described(
        start="2026-03-01T10:00:00.250+01:00",
        clock="lsl",
        start_resolution_s=0.02,
        eeg__rate=None,
        left__samples=counted(1000, 2),
        left__time=t,
        left__rate=100,
        left__channels=np.array(["S1_D1", "S2_D1"]),
        left__units=np.array(["V", "mM"]),
        left__types=np.array(["nirs", "HbO"]),
        left__modality="NIRS",
        eeg__time=t,
        cues__onset=np.array([5003.0, 5001.0]),
        cues__text=np.array(["späť", "go"]),
        cues__duration=np.array([0.5, 2.0]),
    )
    stream, x, [markers] = _load(_write(tmp_path, suffix, names), name="left")
    assert np.array_equal(stream.t, t)
    assert np.array_equal(x, counted(1000, 2))
    header = stream.header
    assert (header.modality, header.units, header.types) == ("fnirs", ("V", "mM"), ("nirs", "hbo"))
    assert header.nominal_rate == 100.0
    assert stream.origin.start == datetime.fromisoformat("2026-03-01T10:00:00.250+01:00")
    assert (stream.origin.zero, stream.origin.resolution_s, stream.origin.device) == (0.0, 0.02, "lsl")
    assert (list(markers.t), markers.text, list(markers.duration)) == (
        [5001.0, 5003.0],
        ("go", "späť"),
        [2.0, 0.5],
    )
    assert (markers.name, markers.source) == ("cues", f"a{suffix}")
    assert _load(_write(tmp_path, suffix, names))[0].header.nominal_rate == 0.0


@both
@pytest.mark.parametrize(
    ("start", "resolution"),
    [("2026-03-01T10:00:00.250", 0.01), ("2026-03-01 10:00:00Z", 1.0), ("2026-03-01T10:00:00.000", 1.0)],
)
def test_a_start_is_known_to_its_last_digit(tmp_path, suffix, start, resolution):
    """Without a stated resolution the digits tell; a zone that is not stated is not made up."""
    origin = _load(_write(tmp_path, suffix, described(start=start)))[0].origin
    assert origin.resolution_s == resolution
    assert (origin.start.tzinfo is None) == ("Z" not in start)


@both
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", ">i4", "u1", "f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_any_kind_and_order(tmp_path, suffix, dtype, order):
    """Values are the stored ones for every width, byte order and order of rows and columns."""
    x = np.asarray(np.arange(120).reshape(40, 3), dtype, order=order)
    stream, read, _ = _load(_write(tmp_path, suffix, described(eeg__samples=x)), [1, 2, 1])
    assert np.array_equal(read, np.arange(120).reshape(40, 3)[:, [1, 2, 1]])
    assert len(stream.t) == 40


@both
def test_one_channel_may_be_flat(tmp_path, suffix):
    """One channel may be stored without a second dimension, and numbers as arrays of one."""
    names = described(
        eeg__samples=np.arange(50.0), eeg__channels=np.array(["Fz"]), eeg__rate=np.array([100.0])
    )
    names |= {"eeg/units": np.array(["mV"]), "eeg/first": 2.5}
    stream, x, _ = _load(_write(tmp_path, suffix, names))
    assert np.array_equal(x[:, 0], np.arange(50))
    assert (stream.t[0], stream.t[-1]) == (2.5, pytest.approx(2.99))
    assert stream.header.units == ("mV",)


@both
def test_markers_with_little_said(tmp_path, suffix):
    """Whole numbers are texts, one duration holds for all, none is 0; no marker is no stream of markers."""
    onset = np.array([1.0, 2.0])
    names = described(
        a__onset=onset, a__text=np.array([7, 1234567]), b__onset=onset, b__text=np.array(["x", "y"])
    )
    names |= {"b/duration": 0.5, "c/onset": np.empty(0), "c/text": np.empty(0)}
    first, second = _load(_write(tmp_path, suffix, names))[2]
    assert (first.text, list(first.duration)) == (("7", "1234567"), [0.0, 0.0])
    assert (second.text, list(second.duration)) == (("x", "y"), [0.5, 0.5])


@both
def test_what_begins_with_an_underscore_is_left_alone(tmp_path, suffix):
    """A lab may keep more in the file, under names that the layout leaves to it."""
    names = described(_notes="hello", eeg___impedances=np.ones(3), _more__samples=np.ones(3))
    assert "eeg/_impedances" in names
    assert len(_load(_write(tmp_path, suffix, names))[0].t) == 1000


@both
@pytest.mark.parametrize(
    ("changes", "where", "code"),
    [
        ({"eeg__channels": None}, "eeg/channels", "missing"),
        ({"eeg__units": None}, "eeg/units", "missing"),
        ({"eeg__rate": None}, "eeg/time", "missing"),
        ({"eeg__rate": 0.0}, "eeg/rate", "value"),
        ({"eeg__rate": np.nan}, "eeg/rate", "value"),
        ({"eeg__rate": "100"}, "eeg/rate", "kind"),
        ({"eeg__rate": np.array([100.0, 100.0])}, "eeg/rate", "shape"),
        ({"eeg__first": np.inf}, "eeg/first", "value"),
        ({"eeg__time": np.arange(1000) / 100, "eeg__first": 1.0}, "eeg/first", "contradiction"),
        ({"eeg__time": np.arange(999) / 100}, "eeg/time", "shape"),
        ({"eeg__time": (np.arange(1000) / 100).astype("f4")}, "eeg/time", "kind"),
        ({"eeg__time": np.arange(1000)}, "eeg/time", "kind"),
        ({"eeg__time": np.full(1000, np.nan)}, "eeg/time", "value"),
        ({"eeg__samples": counted(1000, 3).T.copy()}, "eeg/samples", "shape"),
        ({"eeg__samples": counted(1000, 3)[:, :, None]}, "eeg/samples", "shape"),
        ({"eeg__samples": counted(1000, 3) > 5}, "eeg/samples", "shape"),
        ({"eeg__samples": counted(1000, 3) + 1j}, "eeg/samples", "shape"),
        ({"eeg__samples": np.empty((1000, 0))}, "eeg/samples", "shape"),
        ({"eeg__channels": np.array(["A", "B"])}, "eeg/channels", "shape"),
        ({"eeg__channels": np.array(["A", "B", "A"])}, "eeg/channels", "contradiction"),
        ({"eeg__channels": np.array(["A", "B", ""])}, "eeg/channels", "contradiction"),
        ({"eeg__channels": np.arange(3)}, "eeg/channels", "kind"),
        ({"eeg__units": np.array(["V", "V"])}, "eeg/units", "shape"),
        ({"eeg__types": 3.0}, "eeg/types", "kind"),
        ({"eeg__modality": 3.0}, "eeg/modality", "kind"),
        ({"eeg__firsts": 2.0}, "eeg/firsts", "unknown-name"),
        ({"eeg__deep__rate": 2.0}, "eeg/deep/rate", "unknown-name"),
        ({"starts": "2026-03-01T10:00:00"}, "starts", "unknown-name"),
        ({"start": "2026-03-01"}, "start", "value"),
        ({"start": "on Monday at T10"}, "start", "value"),
        ({"start": "2026-03-01T10:00:00", "start_resolution_s": 0.0}, "start_resolution_s", "value"),
        ({"clock": "lsl"}, "start", "missing"),
        ({"start_resolution_s": 1.0}, "start", "missing"),
        ({"format": "aggrade-recording-9"}, "format", "format"),
        ({"format": None}, "format", "format"),
        ({"format": 1.0}, "format", "kind"),
        ({"cues__onset": np.array([1.0])}, "cues/text", "missing"),
        ({"cues__text": np.array(["go"])}, "cues", "missing"),
        ({"cues__onset": np.array([1.0]), "cues__text": np.array(["a", "b"])}, "cues/text", "shape"),
        ({"cues__onset": np.array([1]), "cues__text": np.array(["a"])}, "cues/onset", "kind"),
        ({"cues__onset": np.array([np.nan]), "cues__text": np.array(["a"])}, "cues/onset", "value"),
        ({"cues__onset": np.array([1.0]), "cues__text": np.array([1.5])}, "cues/text", "kind"),
        ({"cues__onset": np.array([1.0]), "cues__text": np.array(["a"]), "cues__duration": -1.0}, "cues/duration", "value"),
    ],
)  # fmt: skip
def test_what_is_missing_or_contradictory_is_refused(tmp_path, suffix, changes, where, code):
    """Each flaw is refused by its own reason, which names the array, and by nothing else."""
    assert _problems(_write(tmp_path, suffix, described(**changes))) == {where: code}


@both
def test_all_problems_are_named_at_once(tmp_path, suffix):
    """A file with several flaws in several groups is refused once, with all of them."""
    names = described(
        format=None,
        start="soon",
        eeg__rate=-1.0,
        eeg__units=None,
        cues__onset=np.array([1]),
        nirs__samples=np.ones((9, 2)),
    )
    assert _problems(_write(tmp_path, suffix, names)) == {
        "format": "format",
        "start": "value",
        "eeg/rate": "value",
        "eeg/units": "missing",
        "cues/onset": "kind",
        "cues/text": "missing",
        "nirs/channels": "missing",
        "nirs/units": "missing",
        "nirs/time": "missing",
    }


@both
def test_a_file_of_something_else_has_one_problem(tmp_path, suffix):
    """Arrays that were never meant as a recording are refused because nothing declares the layout."""
    assert _problems(_write(tmp_path, suffix, {"weights": np.ones(9), "bias": np.ones(3)})) == {
        "format": "format"
    }


def test_near_misses_are_named(tmp_path):
    """A misspelt name is refused with what may have been meant."""
    with (
        pytest.raises(BadInput, match="did you mean 'first'"),
        _open(write_npz(tmp_path / "a.npz", described(eeg__firsts=1.0))),
    ):
        pass


@both
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    """Cut short at any of thirty places, the file is refused with one error, and no window is cut."""
    names = described(cues__onset=np.array([1.0]), cues__text=np.array(["go"]))
    whole = _write(tmp_path, suffix, names).read_bytes()
    for stop in (*np.random.default_rng(8).integers(0, len(whole), 27).tolist(), 0, 1, len(whole) - 1):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(whole[:stop])
        with pytest.raises(BadInput, match=rf"cut\{suffix}") as caught:
            cut_windows(path, TWO)
        assert caught.value.code == ("unreadable" if stop else "no-data")


def test_changed_numbers_in_an_archive_are_noticed(tmp_path):
    """Samples of an archive that are not those that were written are refused by their checksum."""
    for order in ("C", "F"):
        names = described(eeg__samples=np.asarray(counted(1000, 3), order=order))
        whole = bytearray(write_npz(tmp_path / "a.npz", names).read_bytes())
        whole[9000] ^= 1
        (tmp_path / "a.npz").write_bytes(whole)
        with pytest.raises(BadInput, match="CRC") as caught:
            cut_windows(tmp_path / "a.npz", TWO)
        assert caught.value.code == "unreadable"


def test_pickled_objects_are_never_loaded(tmp_path):
    """An array of Python objects in an archive is refused unread: loading it could run any program."""

    class Trap:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "sprung", "x"))

    objects = np.array([Trap(), Trap(), Trap()], object)
    path = tmp_path / "a.npz"
    np.savez(path, **described(eeg__channels=None), **{"eeg/channels": objects})
    assert _problems(path) == {"eeg/channels": "flaw"}
    assert not (tmp_path / "sprung").exists()


def test_archives_that_contradict_themselves_are_refused(tmp_path):
    """A name that is there twice, and numbers fewer or more than their header says, are refused."""
    path = write_npz(tmp_path / "a.npz", described())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    samples = members["eeg/samples.npy"]
    for content, times in ((samples, 2), (samples + b"\0" * 24, 1), (samples[:-24], 1)):
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings(action="ignore"):
            for name, data in members.items():
                for _ in range(times if name == "eeg/samples.npy" else 1):
                    archive.writestr(name, content if name == "eeg/samples.npy" else data)
        assert _problems(path)["eeg/samples"] == "flaw"


def test_archives_of_other_things_are_no_recordings(tmp_path):
    """An archive is an NPZ if its first member is an array; another archive is passed over."""
    path = write_npz(tmp_path / "a.npz", described()).rename(tmp_path / "a.data")
    assert format_of("a.data", path.read_bytes()[:1024]).name == "NPZ"
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert format_of("b.zip", (tmp_path / "b.zip").read_bytes()[:1024]) is None
    assert _problems((tmp_path / "b.zip").rename(tmp_path / "b.npz")) == {"format": "format"}


def test_numbers_that_nobody_wrote_are_refused(tmp_path):
    """HDF5 reads zeros where nothing was written, where a part lies in another file, and behind outer links."""
    path = write_h5(tmp_path / "a.h5", described(eeg__samples=None))
    with h5py.File(path, "a") as file:
        table = file.create_dataset("eeg/samples", (1000, 3), "f4", chunks=(100, 3))
        table[:700] = counted(700, 3)
        assert file["eeg/samples"][-1, 0] == 0
    assert _problems(path) == {"eeg/samples": "flaw"}
    for kind in ("late", "external", "virtual", "link"):
        _replace_samples(path, tmp_path, kind)
        assert _problems(path)["eeg/samples"] == "flaw", kind


def _replace_samples(path, folder, kind):
    with h5py.File(path, "a") as file:
        del file["eeg/samples"]
        if kind == "late":
            file.create_dataset("eeg/samples", (1000, 3), "f4")
        elif kind == "external":
            file.create_dataset("eeg/samples", (1000, 3), "f8", external=[(str(folder / "raw"), 0, 24000)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((1000, 3), "f8")
            layout[:] = h5py.VirtualSource(folder / "gone.h5", "x", (1000, 3))
            file.create_virtual_dataset("eeg/samples", layout)
        else:
            file["eeg/samples"] = h5py.ExternalLink(str(folder / "other.h5"), "eeg/samples")


def test_chunks_left_out_on_purpose_are_missing_samples(tmp_path):
    """Where the file says that what is not written is NaN, it is: these samples are missing."""
    path = write_h5(tmp_path / "a.h5", described(eeg__samples=None))
    with h5py.File(path, "a") as file:
        table = file.create_dataset("eeg/samples", (1000, 3), "f4", chunks=(100, 3), fillvalue=np.nan)
        table[:700] = counted(700, 3)
    windows = cut_windows(path, TWO)
    assert windows["eeg_coverage"].values[0].tolist() == [1, 1, 1, 0.5, 0]


def test_attributes_of_hdf5_count_by_their_names(tmp_path):
    """Single values may be attributes of their group; other attributes are left alone; twice is too often."""
    path = write_h5(tmp_path / "a.h5", described(format=None, eeg__rate=None, eeg__units=None))
    with h5py.File(path, "a") as file:
        file.attrs["format"], file.attrs["TITLE"] = LAYOUT, "a table"
        group = file["eeg"]
        group.attrs["rate"], group.attrs["units"], group.attrs["first"] = 100, "mV", np.float32(2.5)
        group.attrs["modality"] = np.bytes_("EEG")
    stream, x, _ = _load(path)
    assert (stream.t[0], stream.header.units[0], stream.header.modality) == (2.5, "mV", "eeg")
    assert np.array_equal(x, counted(1000, 3))
    with h5py.File(path, "a") as file:
        file["eeg/rate"] = 50.0
        file.create_group("empty")
    assert _problems(path) == {"eeg/rate": "flaw", "empty": "missing"}


def test_texts_of_fixed_length(tmp_path):
    """Names in bytes of fixed length, as MATLAB and C write them, are UTF-8."""
    labels = np.array(["Fz", "Ä1", "Pz"])
    path = write_npz(tmp_path / "a.npz", described(eeg__channels=np.char.encode(labels, "utf-8")))
    assert _load(path)[0].header.channels == ("Fz", "Ä1", "Pz")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in described(eeg__channels=np.char.encode(labels, "utf-8")).items():
            file[name] = value
    assert _load(tmp_path / "a.h5")[0].header.channels == ("Fz", "Ä1", "Pz")


def test_files_of_hdf5_are_told_by_what_lies_in_them(tmp_path):
    """SNIRF, EEGLAB 7.3 and the layout begin alike; each is read as what it is, whatever its name says."""
    optics = {
        "nirs/samples": counted(9, 1),
        "nirs/rate": 1.0,
        "nirs/channels": np.array(["o"]),
        "nirs/units": "V",
    }
    written = {
        write_h5(tmp_path / "1", described() | optics): {"eeg", "nirs"},
        write_snirf(tmp_path / "2", np.arange(9), counted(9, 1)): {"nirs/data1"},
        write_set73(tmp_path / "3"): {"eeg"},
        write_set73(tmp_path / "4", inside=True): {"eeg"},
    }
    for path, expected in written.items():
        for suffix in (".h5", ".snirf", ".set"):
            known = format_of(f"a{suffix}", path.read_bytes()[:1024])
            with known.open(path, "a") as recording:
                assert {header.name for header in recording.streams} == expected, (path, suffix)


@pytest.mark.parametrize(("suffix", "code"), [(".h5", "format"), (".snirf", "no-nirs"), (".set", "no-nirs")])
def test_hdf5_that_is_no_recording_is_refused_by_its_name(tmp_path, suffix, code):
    """A file of HDF5 with nothing known in it is refused for what its name promises."""
    with h5py.File(tmp_path / f"a{suffix}", "w") as file:
        file["weights"] = np.ones(9)
    with pytest.raises(BadInput) as caught, _open(tmp_path / f"a{suffix}"):
        pass
    assert caught.value.code == code


def test_channels_are_chosen_before_samples_are_loaded(tmp_path):
    """Of a wide table only the chosen columns are held; of an archive, which streams by, no more."""
    x = np.arange(200 * 400.0).reshape(200, 400)
    labels = np.array([f"c{index}" for index in range(400)])
    names = described(eeg__samples=x, eeg__channels=labels)
    for path in (write_h5(tmp_path / "a.h5", names, chunks=(50, 10)), write_npz(tmp_path / "a.npz", names)):
        stream, read, _ = _load(path, [399, 7])
        assert stream.x.shape == (200, 2)
        assert np.array_equal(read, x[:, [399, 7]])


@both
def test_end_to_end(tmp_path, suffix):
    """EEG and optics of one file, with a hole and labels, become the windows that counting by hand gives."""
    t = 50.0 + np.delete(np.arange(1000), range(500, 700)) / 100
    optics = 50.25 + np.arange(98) / 10
    names = described(
        start="2026-03-01T10:00:00Z",
        eeg__samples=counted(800, 3),
        eeg__time=t,
        fnirs__samples=counted(98, 2),
        fnirs__rate=10.0,
        fnirs__first=50.25,
        fnirs__channels=np.array(["o1", "o2"]),
        fnirs__units="V",
        cues__onset=np.array([52.5, 58.5]),
        cues__text=np.array(["left", "right"]),
    )
    folder = tmp_path / "Sub 01 ä"
    folder.mkdir()
    _write(folder, suffix, names)
    windows = cut_windows(folder, {**TWO, "mapping": {"left": 0, "right": 1}})
    starts = 0.25 + 2.0 * np.arange(4)
    assert windows["window_start"].values[0] == pytest.approx(starts)
    for name, stamps, rate in (("eeg", t, 100), ("fnirs", optics, 10)):
        x = counted(len(stamps), windows.sizes[f"{name}_channel"])
        for window, start in enumerate(starts):
            expected = np.full((x.shape[1], 2 * rate), np.nan)
            rows = np.flatnonzero((stamps - 50 >= start - 1e-9) & (stamps - 50 < start + 2 - 1e-9))
            expected[:, np.rint((stamps[rows] - 50 - start) * rate).astype(int)] = x[rows].T
            assert np.array_equal(windows[name].values[0, window], expected, equal_nan=True)
    assert windows["label"].values[0].tolist() == [-1, 0, -1, -1]
    assert windows["session_start"].item() == "2026-03-01T10:00:50+00:00"
    assert (windows["clock"].item(), windows["offset_resolution_s"].item()) == ("stamps", 0)
    assert (windows["eeg_lost"].item(), windows["fnirs_start"].item()) == (200, 0.25)
    assert json.loads(windows["source"].item()) == [f"a{suffix}"]


def test_files_of_one_device_clock_are_put_on_it(tmp_path):
    """Files that name one clock are compared by their stamps, an XDF too; others by their start times."""
    start = "2026-03-01T10:00:00"
    optics = described(start=start, clock="lsl", fnirs__samples=counted(90, 2), fnirs__time=100.5 + np.arange(90) / 10,
                       fnirs__channels=np.array(["o1", "o2"]), fnirs__units="V",
                       **dict.fromkeys(("eeg__samples", "eeg__rate", "eeg__channels", "eeg__units")))  # fmt: skip
    write_npz(tmp_path / "optics.npz", optics)
    header = {"datetime": "2026-03-01T10:01:40"}
    write_xdf(tmp_path / "eeg.xdf", [eeg_stream(100 + np.arange(2560) / 256)], header=header)
    windows = cut_windows(tmp_path, TWO)
    assert (windows["clock"].item(), windows["fnirs_start"].item()) == ("stamps", 0.5)
    write_npz(tmp_path / "optics.npz", {name: value for name, value in optics.items() if name != "clock"})
    assert cut_windows(tmp_path, TWO)["clock"].item() == "start times"


def test_every_file_of_a_folder_is_a_session(tmp_path):
    """HDF5 and NPZ files beside each other are sessions, named by their stems."""
    write_h5(tmp_path / "one.hdf5", described())
    write_npz(tmp_path / "two.npz", described())
    assert [found.id for found in sessions_in(str(tmp_path))] == ["one", "two"]


def test_the_document_lists_every_name_and_every_format():
    """docs/recordings.md has a row for each name of the layout, and for each format."""
    text = DOCUMENT.read_text()
    for heading, known in (("The file", ROOT), ("A stream", STREAM), ("Markers", MARKERS)):
        table = text.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
        assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(known)
    for heading in ("## What is read", "## What each format can say about clocks"):
        table = text.partition(f"\n{heading}\n")[2].partition("\n#")[0]
        named = ", ".join(re.findall(r"^\| ([A-Z][^|]*?) \|", table, re.MULTILINE)).split(", ")
        assert sorted(named) == sorted(known.name for known in FORMATS), heading
    assert {HDF5.name, NPZ.name} <= {known.name for known in FORMATS}


def test_the_examples_of_the_document_are_recordings(tmp_path, monkeypatch):
    """What docs/recordings.md writes with NumPy and h5py is read as it says."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})
    for name in ("recording.npz", "recording.h5"):
        windows = cut_windows(tmp_path / name, {**TWO, "mapping": {"left": 0, "right": 1}})
        assert windows["label"].values[0].tolist() == [-1, 0, -1, 1, -1]
        assert windows["session_start"].item() == "2026-03-01T10:00:00.250000+01:00"
