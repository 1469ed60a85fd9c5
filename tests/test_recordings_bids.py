"""BIDS datasets are read as their specification says: one session for the same entities, with its tables."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import numpy as np
import pytest
import xarray as xr
from make_eeglab import events_of, write_set
from make_recordings import START, EdfSignal, counted, write_edf_signals, write_snirf

from aggrade import append
from aggrade.errors import BadInput
from aggrade.recordings.bids import BidsPlace, place_of
from aggrade.recordings.discover import local_session, sessions_in, source_digest
from aggrade.recordings.fingerprint import source_fingerprint
from aggrade.storage import open_storage
from aggrade.windowing import cut_windows

SPEC = {"window_size_s": 2.0, "mapping": {"left": 0, "right": 1}}


def _table(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(map(str, line)) for line in lines) + "\n", encoding="utf-8")
    return path


def _dataset(root):
    root.mkdir(exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}))
    return root


def _edf(root, label, *, seconds=20, later=0, channels=("Fz", "Cz"), first=0, unit="uV"):
    folder = root.joinpath(*[part for part in label.split("_") if part.startswith(("sub-", "ses-"))], "eeg")
    folder.mkdir(parents=True, exist_ok=True)
    signals = [EdfSignal(name, first + np.arange(100 * seconds), 100, unit) for name in channels]
    path = folder / f"{label}_eeg.edf"
    return write_edf_signals(path, signals, seconds, start=START + timedelta(seconds=later))


def _snirf(root, label, *, tags=None, time=None, **more):
    folder = root.joinpath(*[part for part in label.split("_") if part.startswith(("sub-", "ses-"))], "nirs")
    folder.mkdir(parents=True, exist_ok=True)
    time = np.arange(200) / 10 if time is None else time
    return write_snirf(folder / f"{label}_nirs.snirf", time, counted(len(time), 2), tags=tags, **more)


@pytest.fixture
def dataset(tmp_path):
    """Return a dataset of three sessions, and of much that is none."""
    root = _dataset(tmp_path)
    _edf(root, "sub-01_ses-a_task-x_run-1")
    _snirf(root, "sub-01_ses-a_task-x_run-01")
    _edf(root, "sub-01_ses-a_task-x_run-2", first=5000)
    _edf(root, "sub-02_task-x")
    for away in ("sourcedata", "derivatives/clean", "code", "stimuli"):
        _edf(root / away, "sub-01_ses-a_task-x_run-1")
    (root / "sub-02" / "anat").mkdir()
    (root / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_bytes(b"x")
    (root / "sub-02" / "eeg" / "sub-02_task-x_eeg.json").write_text("{}")
    (root / "README").write_text("about")
    return root


def test_the_sessions_of_a_dataset(dataset):
    """Files of the same entities are one session, whatever zeros their run bears; other folders are left alone."""
    found = sessions_in(str(dataset))
    assert [item.id for item in found] == [
        "sub-01_ses-a_task-x_run-1",
        "sub-01_ses-a_task-x_run-2",
        "sub-02_task-x",
    ]
    with local_session(found[0].url) as session:
        assert session.id == found[0].id
        assert [file.name for file in session.files] == [
            "sub-01/ses-a/eeg/sub-01_ses-a_task-x_run-1_eeg.edf",
            "sub-01/ses-a/nirs/sub-01_ses-a_task-x_run-01_nirs.snirf",
        ]
    windows = cut_windows(found[0].url, SPEC)
    assert {"eeg", "fnirs"} <= set(windows)
    assert windows["session"].item() == "sub-01_ses-a_task-x_run-1"
    assert cut_windows(found[1].url, SPEC)["eeg"].values[0, 0, 0, 0] == 5000


def test_a_dataset_is_no_session(dataset):
    """A dataset of several sessions is refused as one, with the name of the first; of one it is that one."""
    with pytest.raises(BadInput, match=r"give one of them, e\.g\. .*sub-01_ses-a_task-x_run-1") as caught:
        source_digest(dataset)
    assert caught.value.code == "dataset"
    shutil.rmtree(dataset / "sub-01")
    with local_session(dataset) as session:
        assert session.id == "sub-02_task-x"


def test_a_dataset_without_recordings_is_refused(tmp_path):
    """A dataset of other kinds of data says what is looked for."""
    with pytest.raises(BadInput, match="sub-…/eeg") as caught:
        sessions_in(str(_dataset(tmp_path)))
    assert caught.value.code == "no-sessions"


def test_a_folder_without_a_description_is_none(tmp_path):
    """Folders that are merely called sub-… are sessions as they are."""
    _edf(tmp_path, "sub-01_task-x")
    assert [item.id for item in sessions_in(str(tmp_path))] == ["sub-01"]
    with pytest.raises(BadInput) as caught:
        source_digest(tmp_path / "sub-01" / "sub-01_task-x")
    assert caught.value.code == "source-missing"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://b/ds/sub-01/sub-01_task-x", BidsPlace("s3://b/ds", "sub-01", "sub-01_task-x")),
        ("sub-1/ses-b/sub-1_ses-b_run-2", BidsPlace(".", "sub-1/ses-b", "sub-1_ses-b_run-2")),
        ("/d/sub-9/sub-01/sub-01", BidsPlace("/d/sub-9", "sub-01", "sub-01")),
        ("/d/sub-01/sub-02_task-x", None),
        ("/d/sub-01", None),
        ("/d/sub-01/eeg/sub-01_task-x_eeg.edf", None),
    ],
)
def test_places(url, place):
    """A session is named by the folder of its subject or session and its entities."""
    assert place_of(url) == place


def test_events_count_from_the_first_sample(tmp_path):
    """Onsets are seconds since the first sample, also where a SNIRF's own times begin at 5 s; n/a is no number."""
    root = _dataset(tmp_path)
    _snirf(root, "sub-01_task-x", time=5 + np.arange(200) / 10, stimuli={"left": [[5.5, 1.0, 1.0]]})
    lines = [
        ("onset", "duration", "trial_type", "value"),
        (9.5, "n/a", "right", 2),
        (4.0, 1.5, "left", 1),
        ("n/a", 1, "left", 1),
        (13.0, 0, "n/a", "left"),
    ]
    _table(root / "sub-01" / "nirs" / "sub-01_task-x_events.tsv", *lines)
    windows = cut_windows(root / "sub-01" / "sub-01_task-x", SPEC)
    assert windows["label"].values[0].tolist() == [-1, -1, 0, -1, 1, -1, 0, -1, -1, -1]
    assert json.loads(windows["source"].item()) == [
        "sub-01/nirs/sub-01_task-x_events.tsv",
        "sub-01/nirs/sub-01_task-x_nirs.snirf",
    ]


@pytest.mark.parametrize("rows", [[], [("n/a", 0, "right")]])
def test_a_table_without_an_onset_says_that_there_are_no_events(tmp_path, rows):
    """The file's own markers don't come back because the table has none; what it marks as bad stays."""
    root = _dataset(tmp_path)
    stimuli = {"left": [[5.0, 1.0, 1.0]], "BAD_motion": [[8.0, 2.0, 1.0]]}
    _snirf(root, "sub-01_task-x", stimuli=stimuli)
    url = root / "sub-01" / "sub-01_task-x"
    assert cut_windows(url, SPEC)["label"].values[0].max() == 0
    table = root / "sub-01" / "nirs" / "sub-01_task-x_events.tsv"
    _table(table, ("onset", "duration", "trial_type"), *rows)
    windows = cut_windows(url, SPEC)
    assert windows["label"].values[0].tolist() == [-1] * 10
    assert np.flatnonzero(windows["bad_fraction"].values[0]).tolist() == [4]


def test_events_of_both_modalities_are_chosen_by_one_name(tmp_path):
    """Where the EEG and the fNIRS have each a table of events, the choice is the same for every session."""
    root = _dataset(tmp_path)
    _edf(root, "sub-01_task-x")
    _snirf(root, "sub-01_task-x")
    for kind, onset in (("eeg", 4.0), ("nirs", 6.0)):
        rows = [("onset", "duration", "trial_type"), (onset, 0, "left")]
        _table(root / "sub-01" / kind / "sub-01_task-x_events.tsv", *rows)
    url = root / "sub-01" / "sub-01_task-x"
    with pytest.raises(BadInput, match="'eeg/events'") as caught:
        cut_windows(url, SPEC)
    assert caught.value.code == "ambiguous-markers"
    for name, window in (("eeg/events", 2), ("nirs/events", 3)):
        labels = cut_windows(url, SPEC | {"markers": name})["label"].values[0]
        assert np.flatnonzero(labels == 0).tolist() == [window]


@pytest.mark.parametrize("time", ["10:00:00Z", "10:00:01Z"])
def test_one_table_for_both_modalities(tmp_path, time):
    """A table that both inherit says the same twice where both began together; else it is asked which is meant."""
    root = _dataset(tmp_path)
    _edf(root, "sub-01_task-x")
    tags = {"MeasurementDate": "2026-03-01", "MeasurementTime": time, "TimeUnit": "s"}
    _snirf(root, "sub-01_task-x", tags=tags)
    _table(root / "task-x_events.tsv", ("onset", "duration", "trial_type"), (5.5, 0, "left"))
    url = root / "sub-01" / "sub-01_task-x"
    if time == "10:00:00Z":
        assert np.flatnonzero(cut_windows(url, SPEC)["label"].values[0] == 0).tolist() == [2]
        return
    with pytest.raises(BadInput) as caught:
        cut_windows(url, SPEC)
    assert caught.value.code == "ambiguous-markers"


def test_tables_are_inherited(tmp_path):
    """The nearest table holds, and of one folder the one that says most; tables of other tasks do not."""
    root = _dataset(tmp_path)
    _edf(root, "sub-01_task-x_run-1")
    url = root / "sub-01" / "sub-01_task-x_run-1"
    onsets = iter((0.5, 2.5, 4.5, 6.5))

    def labelled(name):
        _table(root / name, ("onset", "duration", "trial_type"), (next(onsets), 0, "left"))
        return np.flatnonzero(cut_windows(url, SPEC)["label"].values[0] == 0).tolist()

    _table(root / "task-y_events.tsv", ("onset", "duration", "trial_type"), (9.0, 0, "left"))
    assert labelled("task-x_events.tsv") == [0]
    assert labelled("sub-01/sub-01_events.tsv") == [1]
    assert labelled("sub-01/eeg/sub-01_task-x_events.tsv") == [2]
    assert labelled("sub-01/eeg/sub-01_task-x_run-1_events.tsv") == [3]


def test_channels_say_what_the_file_does_not(tmp_path):
    """Types sort out what is no EEG, units fill what is empty, and bad channels are marked, not changed."""
    root = _dataset(tmp_path)
    _edf(root, "sub-01_task-x", channels=("Fz", "HE", "Cz"))
    lines = [
        ("name", "type", "units", "status"),
        ("Cz", "EEG", "uV", "bad"),
        ("HE", "HEOG", "uV", "good"),
        ("Fz", "EEG", "uV", "n/a"),
    ]
    _table(root / "sub-01" / "eeg" / "sub-01_task-x_channels.tsv", *lines)
    windows = cut_windows(root / "sub-01" / "sub-01_task-x", {"window_size_s": 2.0})
    assert windows["eeg_channel"].values.tolist() == ["Fz", "Cz"]
    assert windows["eeg_channel_bad"].values.tolist() == [[False, True]]
    assert np.array_equal(windows["eeg"].values[0, 0, 1], np.arange(200))
    both = cut_windows(root / "sub-01" / "sub-01_task-x", {"window_size_s": 2.0, "eeg_channels": ["*"]})
    assert both["eeg_channel_type"].values.tolist() == ["eeg", "eog", "eeg"]


def test_bad_channels_are_kept_by_a_store(tmp_path):
    """Sessions of one store may have other bad channels."""
    root = _dataset(tmp_path / "ds")
    rows = {"sub-01": "good", "sub-02": "bad"}
    for subject, status in rows.items():
        _edf(root, f"{subject}_task-x")
        table = [("name", "type", "units", "status"), ("Cz", "EEG", "uV", status)]
        _table(root / subject / "eeg" / f"{subject}_task-x_channels.tsv", *table)
    store = str(tmp_path / "windows.zarr")
    for session in sessions_in(str(root)):
        append(cut_windows(session.url, SPEC), store)
    with xr.open_zarr(store) as stored:
        assert stored["eeg_channel_bad"].values.tolist() == [[False, False], [False, True]]


def test_optical_channels_are_found_by_their_place(tmp_path, caplog):
    """Rows of source, detector and wavelength describe the channels of a SNIRF; a unit fills an empty one."""
    root = _dataset(tmp_path)
    _snirf(root, "sub-01_task-x")
    lines = [
        ("name", "type", "source", "detector", "wavelength_nominal", "units", "status"),
        ("S1-D1 a", "NIRSCWAMPLITUDE", "S1", "D1", "760.0", "V", "good"),
        ("S2-D1 a", "NIRSCWAMPLITUDE", "S2", "D1", "760", "V", "bad"),
        ("gone", "MISC", "n/a", "n/a", "n/a", "n/a", "bad"),
    ]
    _table(root / "sub-01" / "nirs" / "sub-01_task-x_channels.tsv", *lines)
    windows = cut_windows(root / "sub-01" / "sub-01_task-x", {"window_size_s": 2.0})
    assert windows["fnirs_channel"].values.tolist() == ["S1_D1 760", "S2_D1 760"]
    assert windows["fnirs_channel_bad"].values.tolist() == [[False, True]]
    assert windows["fnirs_channel_unit"].values.tolist() == ["V", "V"]
    assert "1 of 3 channels are not in the file" in caplog.text


def test_units_of_the_file_count_more(tmp_path, caplog):
    """A unit that the file states is kept, and the other one is said."""
    root = _dataset(tmp_path)
    _edf(root, "sub-01_task-x", channels=("Fz",), unit="mV")
    rows = [("name", "type", "units"), ("Fz", "EEG", "uV")]
    _table(root / "sub-01" / "eeg" / "sub-01_task-x_channels.tsv", *rows)
    windows = cut_windows(root / "sub-01" / "sub-01_task-x", {"window_size_s": 2.0})
    assert windows["eeg_channel_unit"].values.tolist() == ["mV"]
    assert "says µV where the file says mV" in caplog.text


def _eeglab_pair(root, *times):
    folder = root / "sub-01" / "ses-a" / "eeg"
    folder.mkdir(parents=True)
    write_set(folder / "sub-01_ses-a_task-x_eeg.set", counted(2000, 2), events=events_of())
    _snirf(root, "sub-01_ses-a_task-x", tags={"TimeUnit": "s"}, time=3 + np.arange(150) / 10)
    names = ("eeg/sub-01_ses-a_task-x_eeg.set", "nirs/sub-01_ses-a_task-x_nirs.snirf", "eeg/other_eeg.set")
    rows = [("filename", "acq_time"), *zip(names, times, strict=False)]
    _table(root / "sub-01" / "ses-a" / "sub-01_ses-a_scans.tsv", *rows)
    return root / "sub-01" / "ses-a" / "sub-01_ses-a_task-x"


def test_scans_say_when_a_file_began(tmp_path):
    """Neither file states a start: the first samples are placed by the table, to its last digit."""
    url = _eeglab_pair(_dataset(tmp_path), "2026-03-01T10:00:00.5", "2026-03-01T10:00:02.75")
    windows = cut_windows(url, {"window_size_s": 2.0, "start": "first"})
    assert windows["fnirs_start"].item() == pytest.approx(2.25)
    assert windows["clock"].item() == "start times"
    assert windows["offset_resolution_s"].item() == pytest.approx(0.11)
    assert windows["session_start"].item() == "2026-03-01T10:00:00.500000"


def test_scans_that_say_nothing(tmp_path):
    """Without a time for one of them the files cannot be placed; a time that is none is refused."""
    url = _eeglab_pair(_dataset(tmp_path), "2026-03-01T10:00:00.5", "n/a")
    with pytest.raises(BadInput) as caught:
        cut_windows(url, {"window_size_s": 2.0})
    assert caught.value.code == "no-common-clock"
    _table(
        url.parent / "sub-01_ses-a_scans.tsv",
        ("filename", "acq_time"),
        ("eeg/" + url.name + "_eeg.set", "noon"),
    )
    with pytest.raises(BadInput, match="'noon'"):
        cut_windows(url, {"window_size_s": 2.0})


def test_the_digest_covers_the_tables_that_were_used(tmp_path):
    """Tables of the recording and what the scans say of it count; tables and lines of others do not."""
    url = _eeglab_pair(
        _dataset(tmp_path), "2026-03-01T10:00:00", "2026-03-01T10:00:02", "2026-03-01T11:00:00"
    )
    scans = url.parent / "sub-01_ses-a_scans.tsv"
    digests = [source_digest(url)]
    marks = [source_fingerprint(str(url))]

    def after(path, old, new):
        path.write_text(path.read_text().replace(old, new) if path.exists() else new)
        digests.append(source_digest(url))
        marks.append(source_fingerprint(str(url)))
        return digests[-1] != digests[-2], marks[-1] != marks[-2]

    events = "onset\tduration\ttrial_type\n1.0\t0\tleft\n"
    assert after(scans, "T11:00:00", "T11:30:00.5") == (False, True)
    assert after(scans, "T10:00:02", "T10:00:03")[0]
    assert after(tmp_path / "task-y_events.tsv", "", events) == (False, False)
    assert after(tmp_path / "task-x_events.tsv", "", events) == (True, True)
    assert after(tmp_path / "README", "", "about") == (False, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("onset\tduration\n1.0\n", "lines 2 of another length"),
        ("begin\tduration\n1.0\t2\n", "no column 'onset'"),
        ("onset\tduration\nsoon\t2\n", "line 2: found 'soon'"),
        ("onset\tduration\n1.0\tinf\n", "line 2: found 'inf'"),
    ],
)
def test_broken_tables_are_refused(tmp_path, content, said):
    """A table that is none refuses the session, by its name and line."""
    root = _dataset(tmp_path)
    _edf(root, "sub-01_task-x")
    (root / "sub-01" / "eeg" / "sub-01_task-x_events.tsv").write_text(content)
    with pytest.raises(BadInput, match=said) as caught:
        cut_windows(root / "sub-01" / "sub-01_task-x", SPEC)
    assert "sub-01_task-x_events.tsv" in str(caught.value)


@pytest.mark.e2e
def test_a_dataset_in_a_bucket(dataset, s3_prefix):
    """Sessions, digests and windows of a dataset in a bucket are those of the same files in a folder."""
    _table(dataset / "task-x_events.tsv", ("onset", "duration", "trial_type"), (4.0, 0, "left"))
    storage = open_storage(s3_prefix.url, s3_prefix.storage_options)
    for path in (path for path in dataset.rglob("*") if path.is_file()):
        storage.write(path.relative_to(dataset).as_posix(), path.read_bytes())
    options = {"storage_options": s3_prefix.storage_options}
    there, here = sessions_in(s3_prefix.url, **options), sessions_in(str(dataset))
    assert [item.id for item in there] == [item.id for item in here]
    for remote, local in zip(there, here, strict=True):
        assert source_digest(remote.url, **options) == source_digest(local.url)
    assert cut_windows(there[0].url, SPEC, **options).identical(cut_windows(here[0].url, SPEC))
    before = source_fingerprint(there[0].url, **options)
    storage.write("task-y_events.tsv", b"onset\n")
    assert source_fingerprint(there[0].url, **options) == before
    storage.write("ses-b_task-x_events.tsv", b"onset\n1.0\n")
    assert source_fingerprint(there[0].url, **options) == before
    storage.write("sub-01/ses-a/eeg/sub-01_ses-a_task-x_run-1_events.tsv", b"onset\n1.0\n")
    assert source_fingerprint(there[0].url, **options) != before
