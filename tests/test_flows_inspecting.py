"""Commands that look at a dataset: what they say."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest
from make_datasets import CHUNKS, make_session
from make_runs import lose_chunk
from make_stores import light_curves, write_light_curves

from aggrade import append, list_backups, prune_backups
from aggrade.errors import BadInput, Damaged, Refused
from flows.command_line import main
from flows.inspecting import backups, plot, recover, status, verify


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of two sessions in one store."""
    for number in (1, 2):
        session = make_session(f"sub-{number:02}", windows=number + 1, seed=number)
        append(session, f"{tmp_path}/windows.zarr", grow=("window",), chunks=CHUNKS)
    return tmp_path


def test_status_says_what_lies_there(dataset):
    """Stores, sizes, the last commit and the backups are named; nobody is writing."""
    said = status(str(dataset))
    assert f"{dataset}/windows.zarr" in said
    assert "2 session, 3 window" in said
    assert "generation 2, 1 backups" in said
    assert "append sub-02" in said
    assert "being written" not in said


def test_status_names_a_writer(dataset):
    """An intent that is held is reported with its holder."""
    intent = dataset / "windows.zarr" / ".aggrade" / "intent.json"
    held = {**json.loads(intent.read_text()), "state": "held"}
    intent.write_text(json.dumps(held))
    assert f"by process {held['owner']['process']} on {held['owner']['host']}" in status(str(dataset))


def test_status_of_nothing_is_an_error(tmp_path):
    """An empty folder is no dataset."""
    with pytest.raises(BadInput, match="no Zarr store"):
        status(str(tmp_path))


def test_verify_counts_what_it_checked(dataset):
    """A whole dataset is reported as such, with counts."""
    assert verify(str(dataset)).startswith("ok: checked 1 stores")


def test_verify_raises_on_damage(dataset):
    """A chunk that is missing is damage, named by its layer."""
    lose_chunk(dataset / "windows.zarr")
    with pytest.raises(Damaged, match="sub-0"):
        verify(str(dataset))


def test_repair_says_what_it_mended(dataset):
    """Asked to, verify mends what is safe to mend, says so, and says what is there then."""
    (dataset / "windows.zarr" / "label" / "zarr.json").write_text("{}")
    said = verify(str(dataset), repair=True)
    assert "mended:" in said
    assert "label: its zarr.json is what the root shows again" in said
    assert "ok: checked 1 stores" in said


def test_repair_raises_on_what_it_cannot_mend(dataset, capsys):
    """What was mended is said, and what is left is raised."""
    (dataset / "windows.zarr" / "label" / "zarr.json").write_text("{}")
    lose_chunk(dataset / "windows.zarr")
    with pytest.raises(Damaged, match="sub-0"):
        verify(str(dataset), repair=True)
    assert "mended:" in capsys.readouterr().out


@pytest.mark.parametrize("mending", [False, True])
@pytest.mark.parametrize("where", ["receipts", "layers", "root", "intent"])
def test_what_a_newer_version_wrote_is_refused(dataset, where, mending):
    """It is named once, with the one thing to do, and stays as it is."""
    store = dataset / "windows.zarr"
    if where == "root":
        document = store / "zarr.json"
        told = json.loads(document.read_text())
        told["attributes"]["aggrade"]["format"] = 2
    else:
        document = store / ".aggrade" / "intent.json"
        if where != "intent":
            document = min((store / ".aggrade" / where).glob("*.json"))
        told = json.loads(document.read_text()) | {"format": 3, "moon": "full"}
    document.write_text(json.dumps(told))
    with pytest.raises(Refused) as caught:
        verify(str(dataset), repair=mending)
    (problem,) = caught.value.problems
    assert problem.fix == "update aggrade, then try again"
    assert "expected" not in problem.found
    assert "receipts say" not in problem.expected
    assert json.loads(document.read_text()) == told


def test_recover_says_so_if_nothing_is_to_be_done(dataset):
    """A dataset at rest needs no recovery."""
    assert recover(str(dataset)) == f"nothing to recover in {dataset}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: "{", "its manifest can't be understood: it can't be restored"),
        (
            lambda text: text.replace("{", '{"moon": "full", ', 1),
            "of a newer version of aggrade: it can't be restored before you update aggrade",
        ),
    ],
)
def test_backups_that_cannot_be_restored_say_why(dataset, change, told):
    """No command is shown for them."""
    (manifest,) = dataset.glob("windows.zarr.backups/*/manifest.json")
    manifest.write_text(change(manifest.read_text()))
    (line,) = backups(str(dataset))
    assert line.endswith(told)
    assert manifest.parent.name in line


@pytest.mark.parametrize("look", [recover, backups])
@pytest.mark.parametrize("where", ["nothing", "nothing.zarr", "folder"])
def test_where_nothing_lies_is_an_error(tmp_path, look, where):
    """Who mistyped the path is told so, and nothing is made there."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match="found no Zarr store"):
        look(f"{tmp_path}/{where}")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_backups_are_listed_and_missed(dataset):
    """Each backup is a line: when and before what it was made, and the command; without any a line says so."""
    (line,) = backups(str(dataset))
    (manifest,) = list_backups(str(dataset))
    assert "(generation 1, touched, " in line
    assert line.startswith(manifest.made[:10])
    assert "before append of sub-02" in line
    assert line.endswith(f"aggrade restore {manifest.store} {manifest.id}")
    prune_backups(str(dataset), keep=0)
    assert backups(str(dataset)) == [f"no backups of {dataset}"]


def test_a_copied_dataset_is_named_where_it_lies(dataset, tmp_path_factory):
    """Whoever runs a command that is shown for a copy changes the copy, not the original; so do receipts that are returned."""
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(dataset, copy)
    (line,) = backups(str(copy))
    (manifest,) = list_backups(str(copy))
    assert line.endswith(f"aggrade restore {copy}/windows.zarr {manifest.id}")
    session = make_session("sub-02", windows=3, seed=2)
    again = append(session, f"{copy}/windows.zarr", grow=("window",), chunks=CHUNKS)
    assert again.undo == f"aggrade restore {copy}/windows.zarr {manifest.id}"
    for said in (status(str(copy)), line, str(again)):
        assert f"{dataset}/windows.zarr" not in said


@pytest.mark.usefixtures("prefect_backend")
@pytest.mark.parametrize("look", [status, verify, recover, backups])
def test_credentials_are_taken_from_a_block(dataset, look):
    """A block that isn't there is named, before the store is looked at."""
    with pytest.raises(BadInput, match="no-such-block"):
        look(str(dataset), credentials="no-such-block")


@pytest.fixture
def survey(tmp_path):
    """Populate two epochs of two objects, numbered and magnitudes known."""
    from aggrade.populating import populate

    folder = tmp_path / "catalogues"
    folder.mkdir()
    for night, magnitudes in ((1, (14.5, 15.5)), (2, (14.25, 15.75))):
        rows = "".join(f"{number},{6000 + night},{mag},0.125\n" for number, mag in enumerate(magnitudes, 7))
        (folder / f"night_{night}.csv").write_text(f"id,mjd,mag,err\n{rows}")
    spec = {
        "object_id": "id",
        "time": "mjd",
        "time_scale": "utc",
        "epoch": {"filename": r"night_(\d)"},
        "measurements": {"g": {"value": "mag", "error": "err"}},
        "unit": "mag",
    }
    populate(str(folder), str(tmp_path), spec)
    return tmp_path


def test_a_light_curve_is_printed_as_csv(survey):
    """The rows of one object come out with the values of the catalogues."""
    from flows.inspecting import lightcurve

    rows = list(csv.DictReader(io.StringIO(lightcurve(str(survey), "8"))))
    assert [(float(row["time"]), float(row["mag"])) for row in rows] == [(6001, 15.5), (6002, 15.75)]


def test_a_light_curve_is_drawn(survey):
    """Asked for a picture, the command writes a PNG."""
    from flows.inspecting import lightcurve

    lightcurve(str(survey), "7", plot=survey / "curve.png")
    assert (survey / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_period_needs_a_picture(survey):
    """What there is to fold is drawn; where nothing is, the period is not passed over."""
    from flows.inspecting import lightcurve

    with pytest.raises(BadInput, match="--plot"):
        lightcurve(str(survey), "7", period=0.5)


def test_an_unknown_object_is_an_error(survey):
    """An id that isn't there is bad input."""
    from flows.inspecting import lightcurve

    with pytest.raises(BadInput, match="12"):
        lightcurve(str(survey), "12")


def test_epochs_are_listed_by_time(survey, tmp_path):
    """A line per epoch with what it holds; the same as CSV."""
    from flows.inspecting import epochs

    said = epochs(str(survey)).splitlines()
    assert said[0].split() == ["epoch", "epoch_time", "objects", "detections", "limits", "flagged"]
    assert [line.split()[0] for line in said[1:]] == ["1", "2"]
    assert epochs(str(survey), to=tmp_path / "epochs.csv") == f"2 epochs: {tmp_path / 'epochs.csv'}"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "epochs.csv").read_text())))
    assert [row["objects"] for row in rows] == [line.split()[2] for line in said[1:]]


def test_a_sky_without_positions_is_an_error(survey, tmp_path):
    """Catalogues that give no positions leave nothing to draw."""
    from flows.inspecting import sky

    with pytest.raises(BadInput, match="positions"):
        sky(str(survey), to=tmp_path / "sky.png")


def test_the_sky_is_drawn(tmp_path):
    """A PNG of all objects, which the line names."""
    from flows.inspecting import sky

    cube = light_curves([1, 2, 3], np.array([359.0, 0.0, 1.0]), np.zeros(3))
    write_light_curves(cube, tmp_path, "lightcurves.zarr", objects=3, epochs=1)
    assert sky(str(tmp_path), to=tmp_path / "sky.png") == f"3 objects, 6 epochs: {tmp_path / 'sky.png'}"
    assert (tmp_path / "sky.png").read_bytes().startswith(b"\x89PNG")


def test_a_window_is_drawn(dataset, capsys):
    """From the shell: a PNG of the window that was asked for, which the last line names."""
    picture = dataset / "window.png"
    with pytest.raises(SystemExit) as caught:
        main(["plot", str(dataset), "sub-02", "2", "--to", str(picture)])
    assert caught.value.code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"window 2 of the 3 of session 'sub-02': {picture}\n"


@pytest.mark.parametrize(
    ("asked", "told"),
    [([], "2 sessions"), (["sub-02"], "the 3 windows of session 'sub-02'")],
)
def test_quality_is_drawn(tmp_path, capsys, asked, told):
    """From the shell: a PNG of the quality of all sessions, or of one, which the last line names."""
    picture = tmp_path / "quality.png"
    for number in (1, 2):
        session = make_session(f"sub-{number:02}", windows=number + 1, seed=number)
        covered = session.assign(eeg_coverage=session["window_start"].astype("f4") / 9)
        append(covered, f"{tmp_path}/windows.zarr", grow=("window",), chunks=CHUNKS)
    with pytest.raises(SystemExit) as caught:
        main(["plot", str(tmp_path), *asked, "--to", str(picture)])
    assert caught.value.code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"{told}: {picture}\n"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([], "2 sessions"),
        (["sub-02"], "the 3 windows of session 'sub-02'"),
        (["sub-01", "1"], "window 1 of the 2 of session 'sub-01'"),
    ],
)
def test_stores_that_do_not_fit_together_are_drawn(tmp_path, capsys, asked, told):
    """Partitions with other channels and rates: all are drawn, or the one that holds the session."""
    _other_montages(tmp_path)
    picture = tmp_path / "quality.png"
    with pytest.raises(SystemExit) as caught:
        main(["plot", str(tmp_path), *asked, "--to", str(picture)])
    assert caught.value.code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"{told}: {picture}\n"


def _other_montages(root):
    for number, samples in ((1, 4), (2, 9)):
        session = make_session(f"sub-{number:02}", windows=number + 1, seed=number, samples=samples)
        covered = session.assign(eeg_coverage=session["window_start"].astype("f4") / 9)
        append(covered, f"{root}/windows/m{number}.zarr", grow=("window",))


@pytest.mark.parametrize(
    ("session", "window", "told"),
    [
        ("sub-9", 0, "expected one of sub-01, sub-02"),
        ("sub-01", 2, "expected 0 to 1"),
        ("sub-01", -1, "0 to 1"),
    ],
)
def test_a_window_that_is_not_there_is_an_error(dataset, session, window, told):
    """An unknown session and a window that only a longer session has are bad input, and no file is made."""
    with pytest.raises(BadInput, match=told):
        plot(str(dataset), session, window, to=dataset / "window.png")
    assert not (dataset / "window.png").exists()
