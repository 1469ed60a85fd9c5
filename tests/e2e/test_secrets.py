"""After whole runs, good ones and bad ones, the secret that opens the bucket is found nowhere."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse

import pytest
from make_runs import WINDOWS, record, survey
from prefect_sites import Site

from aggrade.storage import open_storage
from flows.demo_servers import prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]

RESULTS = "results"


def spellings(secret):
    """Return the ways in which a secret may be spelt: as it is, in a URL, in JSON, in base64 at any offset."""
    plain = secret.encode()
    in_base64 = {base64.b64encode(b"x" * pad + plain)[4:-4] for pad in range(3)}
    return {
        plain,
        urllib.parse.quote(secret, safe="").encode(),
        json.dumps(secret)[1:-1].encode(),
        *in_base64,
    }


def places(folders, stores):
    """Yield every file below folders and every object of stores, with what it is called and its bytes."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()
    for store in stores:
        for info in store.list():
            yield f"{store.url}/{info.key}", info.key.encode() + store.read(info.key).data


def found(wanted, folders, stores):
    """Return where any of some byte strings is found."""
    return [name for name, data in places(folders, stores) if any(one in data for one in wanted)]


def test_spellings_are_found(tmp_path):
    """A secret is seen in a file however it is spelt there."""
    secret = secrets.token_hex(20) + '/+"ä'
    ways = [secret, urllib.parse.quote(secret, safe=""), json.dumps({"a": secret})]
    ways += [base64.b64encode(f"{pad}:{secret}:".encode()).decode() for pad in ("", "a", "ab")]
    for number, way in enumerate(ways):
        (tmp_path / str(number)).write_text(way)
    (tmp_path / "other").write_text(secret[:-5])
    assert sorted(found(spellings(secret), [tmp_path], [])) == [
        str(tmp_path / str(n)) for n in range(len(ways))
    ]


@pytest.fixture
def site(tmp_path, s3_server, s3_bucket):
    """Give a site whose block alone knows the credentials, with results in the bucket."""
    with prefect_server(tmp_path / "prefect") as server:
        (tmp_path / "site").mkdir()
        site = Site(tmp_path / "site", server.environment)
        without = dict(site.environment)
        site.environment |= s3_server.environment | {"AGGRADE_RESULTS": f"{s3_bucket.url}/{RESULTS}"}
        site.run("python", "-m", "deployments.setup")
        site.environment = {name: value for name, value in without.items() if not name.startswith("AWS_")} | {
            "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/aggrade",
            "PREFECT_LOGGING_LEVEL": "DEBUG",
        }
        yield site


def test_a_secret_is_nowhere(site, tmp_path, s3_server, s3_bucket):
    """In what was printed, files, the server's database, results, receipts and logs of runs that ended well or badly."""
    record(site.recordings, "visible-session")
    (site.recordings / "torn").mkdir()
    (site.recordings / "torn" / "recording.xdf").write_bytes(b"XDF:")
    spec = survey(site.folder / "catalogues", 2)
    site.run("prefect", "--no-prompt", "deploy", "--all")
    url = f"{s3_bucket.url}/dataset"
    windows, way = ["--windows", json.dumps(WINDOWS)], ["--credentials", "aggrade"]
    said = site.run("aggrade", "ingest", str(site.recordings), url, *windows, *way, fails=True)
    said += site.run("aggrade", "populate", "catalogues", url, "--spec", json.dumps(spec), *way)
    said += site.run("aggrade", "ingest", "s3://nobody-has-this/in", url, *windows, *way, fails=True)
    with site.worker():
        parameters = {
            "source": str(site.recordings),
            "store": url,
            "windows": WINDOWS,
            "credentials": "aggrade",
        }
        command = ["prefect", "deployment", "run", "ingest-sessions/ingest-sessions", "--watch"]
        said += site.run(*command, "--params", json.dumps(parameters | {"settle_s": 0}), fails=True)
    (tmp_path / "said.txt").write_text(said)
    stores = [open_storage(s3_bucket.url, storage_options=s3_server.storage_options)]
    folders = [tmp_path / "site", tmp_path / "prefect", tmp_path]
    assert found(spellings(s3_server.secret), folders, stores) == []
    seen = found({b"visible-session"}, folders, stores)
    assert any("prefect.db" in name for name in seen)
    assert any("said.txt" in name for name in seen)
    assert any(f"{s3_bucket.url}/{RESULTS}/" in name for name in seen)
    assert any(f"{s3_bucket.url}/dataset/" in name for name in seen)
