"""The flows on a real S3 server, their requests counted on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest
from local_writes import local_writes
from make_runs import WINDOWS, record, run, survey
from prefect.settings import PREFECT_HOME, PREFECT_LOCAL_STORAGE_PATH
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters
from s3_proxy import s3_proxy

from aggrade import BadInput, verify
from aggrade.lightcurves import LightCurves
from aggrade.opening import open_windows
from aggrade.storage import open_storage
from flows.ingest_sessions import ingest_sessions
from flows.maintain_store import maintain_store
from flows.pipeline import pipeline
from flows.populate_epochs import populate_epochs
from flows.rechunk_store import rechunk_store

HERE = {"cluster_kwargs": {"processes": False, "n_workers": 1, "threads_per_worker": 2}}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("prefect_backend")]


@pytest.fixture(scope="module")
def proxy(s3_server):
    """Lead the environment's S3 through a proxy that counts, for as long as connections may be kept."""
    with s3_proxy(s3_server) as running, pytest.MonkeyPatch.context() as environment:
        for name, value in running.environment.items():
            environment.setenv(name, value)
        yield running


def upload(folder, url):
    """Copy a local folder into a bucket."""
    storage = open_storage(url)
    for path in folder.rglob("*"):
        if path.is_file():
            storage.write(path.relative_to(folder).as_posix(), path.read_bytes())


@pytest.fixture
def given(tmp_path, proxy, s3_bucket):  # noqa: ARG001 - the environment has to lead there
    """Put recordings and catalogues into a bucket; return the pipeline's parameters."""
    for number in range(2):
        record(tmp_path / "in" / "recordings", f"sub-{number}", first=1000 * number)
    spec = survey(tmp_path / "in" / "catalogues", 2)
    upload(tmp_path / "in", f"{s3_bucket.url}/in")
    return {
        "store": f"{s3_bucket.url}/dataset",
        "recordings": f"{s3_bucket.url}/in/recordings",
        "catalogues": f"{s3_bucket.url}/in/catalogues",
        "windows": WINDOWS,
        "spec": spec,
        "cluster": HERE,
    }


def test_everything_lands_in_the_bucket_once(given, proxy):
    """Windows and light curves lie in the bucket and verify; the second run sends nothing that writes."""
    first = run(pipeline, **given)
    assert first.state.is_completed()
    assert sorted(open_windows(given["store"])["session"].values) == ["sub-0", "sub-1"]
    curve = LightCurves(given["store"]).lightcurve(2)["lightcurves"].sel(value="mag")
    assert curve.values.ravel().tolist() == [2, 2.125]
    assert verify(given["store"]).ok
    assert [info.key for info in open_storage(f"{given['store']}/.aggrade").list()] == []
    proxy.clear()
    second = run(pipeline, **given)
    assert second.result == first.result
    assert proxy.writes() == []


def dry_runs(given):
    """Return each flow with what a dry run of it takes; the last two need a dataset."""
    store = given["store"]
    ingest = {name: given[name] for name in ("store", "windows")} | {"source": given["recordings"]}
    populate = {name: given[name] for name in ("store", "catalogues", "spec", "cluster")}
    rechunk = {"source": f"{store}/windows.zarr", "target": f"{store}/other.zarr", "cluster": HERE}
    return (
        (ingest_sessions, ingest),
        (populate_epochs, populate),
        (pipeline, given),
        (rechunk_store, rechunk),
        (maintain_store, {"store": store, "keep": 0}),
    )


@pytest.mark.parametrize("there", [False, True], ids=["an empty place", "a dataset"])
def test_no_dry_run_writes(given, tmp_path, proxy, there):
    """Each flow's dry run sends nothing but GET, HEAD and LIST, and makes no file and no process."""
    if there:
        done = run(pipeline, **given | {"catalogues": None, "spec": None})
        assert done.state.is_completed()
    local = {name: str(tmp_path / "in" / name) for name in ("recordings", "catalogues")}
    proxy.clear()
    with local_writes() as written:
        for flow, parameters in dry_runs(given | local)[: 5 if there else 3]:
            assert run(flow, **parameters, dry_run=True).state.is_completed(), flow.name
    assert proxy.writes() == []
    prefects = (str(PREFECT_HOME.value()), str(PREFECT_LOCAL_STORAGE_PATH.value()))
    assert [path for path in written if not path.startswith(prefects)] == []


def test_a_dry_run_keeps_no_copy_of_a_recording(given, proxy):
    """A recording in a bucket is read from a copy in the temporary folder, which goes when it was read."""
    proxy.clear()
    with local_writes() as written:
        assert run(pipeline, **given, dry_run=True).state.is_completed()
    assert proxy.writes() == []
    copies = [path for path in written if path.startswith(tempfile.gettempdir() + "/aggrade-")]
    assert copies
    assert not any(map(os.path.exists, copies))


def test_what_is_written_is_seen(tmp_path):
    """The eyes of the test above see a file, a folder, a renaming and a process."""
    (tmp_path / "before").touch()
    with local_writes() as written:
        (tmp_path / "file").write_text("x")
        (tmp_path / "folder").mkdir()
        (tmp_path / "before").rename(tmp_path / "after")
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert written[:3] == [str(tmp_path / name) for name in ("file", "folder", "after")]
    assert all(line.startswith("a process") for line in written[3:])
    assert len(written) > 3


@pytest.mark.parametrize("flow", ["ingest", "populate"])
def test_a_bucket_that_is_not_there_is_bad_input(given, flow):
    """A misspelt bucket is one clear error, before anything is read."""
    store = "s3://no-such-bucket-here/dataset"
    if flow == "ingest":
        done = run(ingest_sessions, source=given["recordings"], store=store, windows=WINDOWS)
    else:
        done = run(populate_epochs, catalogues=given["catalogues"], store=store, spec=given["spec"])
    assert isinstance(done.result, BadInput)
    assert "no-such-bucket-here" in str(done.result)


def save_block(name, proxy, secret):
    """Save credentials as a block."""
    AwsCredentials(
        aws_access_key_id=proxy.credentials.access_key,
        aws_secret_access_key=secret,
        aws_client_parameters=AwsClientParameters(endpoint_url=proxy.endpoint),
    ).save(name, overwrite=True)


def test_a_block_leads_to_the_bucket(given, proxy, monkeypatch):
    """With the name of a credentials block nothing is taken from the environment."""
    save_block("right", proxy, proxy.credentials.secret_key)
    for name in proxy.environment:
        monkeypatch.delenv(name)
    done = run(
        ingest_sessions,
        source=given["recordings"],
        store=given["store"],
        windows=WINDOWS,
        credentials="right",
    )
    assert done.state.is_completed()


def test_wrong_credentials_are_bad_input(given, proxy):
    """Credentials that the server refuses are bad input, and the secret is not told."""
    save_block("wrong", proxy, "not-the-secret")
    done = run(
        ingest_sessions,
        source=given["recordings"],
        store=given["store"],
        windows=WINDOWS,
        credentials="wrong",
    )
    assert isinstance(done.result, BadInput)
    assert "not-the-secret" not in str(done.result)
