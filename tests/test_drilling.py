"""`drill`: what it tries, what it says where something does not hold, and that nothing stays of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from make_datasets import make_session

import aggrade
from aggrade.drill_ground import FOLDER
from aggrade.drilling import drill
from aggrade.errors import BadInput, Damaged, Refused
from aggrade.storage import OPENERS, open_storage
from aggrade.storage.local import LocalStorage
from flows.inspecting import drill as drill_command

ROOT = Path(__file__).parents[1]
TRIALS = [
    "an append",
    "an append killed before its switch",
    "an append killed behind its switch",
    "an append whose last reply is lost",
    "two writers at once",
    "a restore",
]


def states(report):
    """Return name → state of the lines of a report."""
    return {line.name: line.state for line in report.lines}


def has_all_trials(report):
    """Tell whether every trial held; a restore only where this version has one."""
    found = states(report)
    absent = "held" if "restore" in aggrade.__all__ else "absent"
    return [found[name] for name in TRIALS] == ["held"] * 5 + [absent]


def test_a_folder_holds_all(tmp_path):
    """On a disk everything holds; what lay there stays, and what was not there is gone again."""
    (tmp_path / "mine").write_bytes(b"mine")
    told = []
    report = drill(str(tmp_path / "new" / "folder"), say=told.append)
    assert report.ok
    assert has_all_trials(report)
    assert report.lines == tuple(told)
    assert states(report)["nothing is left behind"] == "held"
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    assert report.price.requests["PUT"] > 50
    assert "✓ two writers at once" in str(report)
    assert "all held at" in report.summary


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_bucket_holds_all(s3_bucket, s3_proxy):
    """On a real server everything holds, digests included; other objects of the bucket stay as they are."""
    storage = open_storage(*s3_bucket)
    mine = storage.write("mine", b"mine")
    report = drill(s3_bucket.url, storage_options=s3_proxy.storage_options)
    assert report.ok, str(report)
    assert has_all_trials(report)
    assert {line.state for line in report.lines if line.name != "a restore"} == {"held"}
    assert list(storage.list()) == [mine]
    sent = s3_proxy.count()
    for kind in ("PUT", "COPY"):
        assert report.price.requests.get(kind, 0) == pytest.approx(sent[kind], abs=sent[kind] // 20 + 2)


@pytest.mark.e2e
@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
def test_a_server_that_ignores_conditions_fails(s3_bucket, s3_proxy, header, capsys):
    """The condition and the endpoint are named, nothing else is tried there, and the command fails."""
    s3_proxy.ignored_headers = {header}
    report = drill(s3_bucket.url, storage_options=s3_proxy.storage_options)
    (failed,) = [line for line in report.lines if line.state == "failed"]
    assert f"not enforced by {s3_proxy.endpoint}, bucket {s3_bucket.url}" in str(failed)
    assert {states(report)[name] for name in TRIALS} == {"absent"}
    assert list(open_storage(*s3_bucket).list()) == []
    assert capsys.readouterr().out == ""


class Forgetful(LocalStorage):
    """A folder that swallows one chunk of every array."""

    def write(self, key, data, *, replacing=None):
        """Write another chunk than was asked for."""
        if key.endswith("x/c/2/1"):
            data = bytes(len(data))
        return super().write(key, data, replacing=replacing)

    def within(self, path):
        """See `Storage.within`."""
        return Forgetful(f"{self.url}/{path}")


def test_what_fails_is_said_and_makes_the_command_fail(tmp_path, monkeypatch, capsys):
    """A trial after which the data are wrong fails by itself; the others are tried all the same."""
    monkeypatch.setitem(OPENERS, "forgetful", lambda url, _: Forgetful(url.removeprefix("forgetful://")))
    with pytest.raises(Damaged, match=r"of 1\d failed"):
        drill_command(f"forgetful://{tmp_path}")
    said = capsys.readouterr().out
    assert "✓ an append: two layers" in said
    assert "✗ an append whose last reply is lost" in said
    assert "✗ two writers at once" in said
    assert "✓ nothing is left behind" in said
    assert not (tmp_path / FOLDER / "lost.zarr").exists()


@pytest.mark.parametrize(
    "url", ["{0}/windows.zarr", "{0}/windows.zarr/eeg", "{0}/windows.zarr.backups", "{0}/odd"]
)
def test_a_store_is_refused(tmp_path, url):
    """Nothing is tried inside a store, whatever its folder is called."""
    aggrade.append(make_session("a", 1, 1), f"{tmp_path}/windows.zarr")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "zarr.json").write_bytes((tmp_path / "windows.zarr" / "zarr.json").read_bytes())
    with pytest.raises(Refused, match="a Zarr store or a folder in one"):
        drill(url.format(tmp_path))


def test_a_place_that_is_not_empty_is_refused(tmp_path):
    """What lies in the drill's folder is somebody's, or a drill goes on there: it stays as it is."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "drill.json").write_bytes(b"{}")
    with pytest.raises(Refused, match=r"1 objects, such as drill\.json"):
        drill(str(tmp_path))
    assert (tmp_path / FOLDER / "drill.json").read_bytes() == b"{}"


@pytest.mark.e2e
def test_a_bucket_that_is_missing_is_an_error(s3_server):
    """Where nothing can be tried the reason is raised."""
    with pytest.raises(BadInput, match="s3://missing: found no such bucket"):
        drill("s3://missing", storage_options=s3_server.storage_options)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_nothing_stays_when_it_is_interrupted(tmp_path, number, code):
    """Ctrl-C and SIGTERM end a drill in the middle of an append; its folder is emptied all the same."""
    command = [sys.executable, "-c", "from flows.command_line import main; main()", "drill", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, cwd=ROOT) as process:
        said = next(line for line in process.stdout if "an append:" in line)
        process.send_signal(number)
        rest = process.stdout.read()
    assert said.startswith("✓")
    assert process.returncode == code
    assert "two writers" not in rest
    assert list(tmp_path.iterdir()) == []
