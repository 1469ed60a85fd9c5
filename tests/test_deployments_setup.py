"""The set-up of a Prefect server: what it makes, that it makes it once, and what it says is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import AwsCredentials, S3Bucket

from aggrade.errors import BadInput, Unavailable
from deployments.setup import BLOCK, POOL, automations, parts, setup

ROOT = Path(__file__).parents[1]
KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "geheim",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
}
ALWAYS = [
    f"work pool {POOL!r}",
    "prefect.yaml in this folder",
    "automation 'crash-silent-runs'",
    "automation 'crash-lost-starts'",
]
WEBHOOK = {"AGGRADE_NOTIFY_URL": "http://127.0.0.1:9/geheim"}
NAMES = (*KEYS, *WEBHOOK, "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AGGRADE_RESULTS")


@pytest.fixture
def environment(monkeypatch):
    """Give an environment that asks for nothing, and a way to ask."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def bare_server(prefect_backend):  # noqa: ARG001 - a server has to be there
    """Take away whatever other tests have set up."""
    with get_client(sync_client=True) as client:
        for automation in client.read_automations():
            client.delete_automation(automation.id)
        for pool in client.read_work_pools():
            client.delete_work_pool(pool.name)
        for block in client.read_block_documents():
            client.delete_block_document(block.id)


def test_a_bare_environment_asks_for_no_block():
    """Without credentials nothing but the pool and the automations is needed."""
    assert [part.name for part in parts({})] == ALWAYS


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_the_credentials_are_refused(name):
    """A key without its secret, and a secret without its key, is bad input, and is not repeated."""
    with pytest.raises(BadInput, match="both or neither") as caught:
        parts({name: "geheim"})
    assert "geheim" not in str(caught.value)


def test_an_endpoint_without_a_scheme_is_refused():
    """It would fail in the first run only."""
    with pytest.raises(BadInput, match="AWS_ENDPOINT_URL"):
        parts(KEYS | {"AWS_ENDPOINT_URL": "127.0.0.1:8333"})


def test_credentials_that_expire_are_refused():
    """Prefect's block shows their token in clear, and so does the event that it was made; it is not repeated."""
    with pytest.raises(BadInput, match="AWS_SESSION_TOKEN") as caught:
        parts(KEYS | {"AWS_SESSION_TOKEN": "vergaenglich"})
    assert "vergaenglich" not in str(caught.value)
    assert [part.name for part in parts({"AWS_SESSION_TOKEN": "vergaenglich"})] == ALWAYS


def test_results_go_to_a_bucket():
    """The result storage is asked for by a URL, and gets the credentials of the environment."""
    assert [part.name for part in parts({**KEYS, "AGGRADE_RESULTS": "s3://lab/results"})] == [
        *ALWAYS,
        f"credentials aws-credentials/{BLOCK}",
        f"result storage s3-bucket/{BLOCK}",
    ]


def test_notifications_are_off():
    """Nobody is told anything until the environment names a webhook; the block is made before what uses it."""
    assert [part.name for part in parts(WEBHOOK)] == [
        *ALWAYS,
        f"webhook custom-webhook/{BLOCK}",
        "automation 'tell-failures'",
    ]


def test_a_webhook_that_is_no_url_is_refused():
    """What is no URL is bad input, and is not repeated: it may hold a key."""
    with pytest.raises(BadInput, match="AGGRADE_NOTIFY_URL") as caught:
        parts({"AGGRADE_NOTIFY_URL": "geheim"})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("url", ["/tmp/results", "s3://", "s3:///lab", "gs://lab"])
def test_results_elsewhere_are_refused(url):
    """A result storage that is no bucket is bad input."""
    with pytest.raises(BadInput, match="AGGRADE_RESULTS"):
        parts({"AGGRADE_RESULTS": url})


@pytest.mark.usefixtures("bare_server")
def test_it_makes_what_is_missing_once(environment, capsys):
    """Checked, made, made again, checked again: nothing is changed twice, and the blocks hold what was said."""
    for name, value in (KEYS | {"AGGRADE_RESULTS": "s3://lab/results/here"}).items():
        environment.setenv(name, value)
    assert setup(check=True) == 1
    assert capsys.readouterr().out.count(": missing") == 5
    assert setup() == 0
    assert capsys.readouterr().out.count(": made") == 5
    assert setup() == 0
    assert capsys.readouterr().out.count(": there") == 6
    assert setup(check=True) == 0
    with get_client(sync_client=True) as client:
        assert client.read_work_pool(POOL).type == "process"
    credentials, bucket = AwsCredentials.load(BLOCK), S3Bucket.load(BLOCK)
    assert credentials.aws_secret_access_key.get_secret_value() == "geheim"
    assert credentials.aws_client_parameters.endpoint_url == "http://127.0.0.1:9"
    assert (bucket.bucket_name, bucket.bucket_folder.strip("/")) == ("lab", "results/here")


@pytest.mark.usefixtures("prefect_backend")
def test_a_changed_secret_is_brought_up_to_date(environment, capsys):
    """A block that differs from the environment is missing what it should be, and is made anew."""
    for name, value in KEYS.items():
        environment.setenv(name, value)
    setup()
    environment.setenv("AWS_SECRET_ACCESS_KEY", "noch geheimer")
    assert setup(check=True) == 1
    assert setup() == 0
    assert AwsCredentials.load(BLOCK).aws_secret_access_key.get_secret_value() == "noch geheimer"
    assert "geheim" not in capsys.readouterr().out


def _command(*options, cwd=ROOT, **environment):
    """Run the set-up as a command in a folder."""
    command = [sys.executable, "-m", "deployments.setup", *options]
    path = {"PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **path, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


@pytest.mark.usefixtures("prefect_backend")
def test_the_command_says_by_its_exit_what_is_missing(tmp_path):
    """--check ends with 1 as long as anything is missing; the set-up makes the folder's prefect.yaml, too."""
    address = {"PREFECT_API_URL": PREFECT_API_URL.value()}
    checked = _command("--check", cwd=tmp_path, **address)
    assert (checked.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "prefect.yaml in this folder: missing" in checked.stdout
    assert _command(cwd=tmp_path, **address).returncode == 0
    assert (tmp_path / "prefect.yaml").read_text() == (ROOT / "prefect.yaml").read_text()
    assert _command("--check", cwd=tmp_path, **address).returncode == 0
    (tmp_path / "prefect.yaml").write_text("name: mine\n")
    assert _command(cwd=tmp_path, **address).returncode == 0
    assert (tmp_path / "prefect.yaml").read_text() == "name: mine\n"


@pytest.mark.parametrize(
    ("address", "said"),
    [("", "PREFECT_API_URL: found nothing"), ("http://127.0.0.1:1/api", "found no answer")],
)
def test_without_a_server_it_says_so(tmp_path, address, said):
    """It starts none of its own, whose pool would be gone with it, and shows no traceback."""
    done = _command("--check", cwd=tmp_path, PREFECT_API_URL=address, PREFECT_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("prefect_backend", "environment")
def test_a_pool_of_another_type_is_refused():
    """Nothing is made over it: somebody else may use it."""
    with get_client(sync_client=True) as client:
        with suppress(ObjectNotFound):
            client.delete_work_pool(POOL)
        client.create_work_pool(WorkPoolCreate(name=POOL, type="docker"))
        with pytest.raises(BadInput, match="type 'docker'"):
            setup()
        client.delete_work_pool(POOL)


@pytest.mark.usefixtures("prefect_backend", "environment")
@pytest.mark.parametrize("check", [True, False])
def test_another_url_than_that_of_the_api_says_so(check):
    """A server that answers, but not as Prefect's API does, is named with what it answered."""
    wrong = PREFECT_API_URL.value().removesuffix("/api") + "/nowhere"
    with temporary_settings({PREFECT_API_URL: wrong}), pytest.raises(Unavailable, match="/api") as caught:
        setup(check=check)
    assert "404 Not Found" in str(caught.value)


def test_it_explains_itself():
    """The command's help says what it does and what --check does."""
    command = [sys.executable, "-m", "deployments.setup", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert "--check" in done.stdout
    assert "say what is missing" in done.stdout


@pytest.mark.usefixtures("prefect_backend", "environment")
def test_an_automation_that_was_changed_is_made_anew(capsys):
    """What somebody changed on the server differs from the file: it is missing, and made as the file says."""
    setup()
    wanted, *_ = automations()
    with get_client(sync_client=True) as client:
        (there,) = client.read_automations_by_name(wanted.name)
        client.pause_automation(there.id)
        capsys.readouterr()
        assert setup(check=True) == 1
        assert "automation 'crash-silent-runs': missing" in capsys.readouterr().out
        setup()
        assert [one.enabled for one in client.read_automations_by_name(wanted.name)] == [True]
    assert setup(check=True) == 0


@pytest.mark.usefixtures("prefect_backend")
def test_notifications_are_made_once_and_follow_the_webhook(environment, capsys):
    """A webhook makes the block and the automation, once; another URL makes the block anew and keeps the automation."""
    setup()
    capsys.readouterr()
    for url in ("http://127.0.0.1:9/geheim", "http://127.0.0.1:9/noch-geheimer"):
        environment.setenv("AGGRADE_NOTIFY_URL", url)
        assert setup(check=True) == 1
        assert setup() == 0
        assert setup(check=True) == 0
        assert CustomWebhookNotificationBlock.load(BLOCK).secrets.get_secret_value() == {"url": url}
    told = capsys.readouterr().out
    assert told.count("automation 'tell-failures': made") == 1
    assert told.count(f"webhook custom-webhook/{BLOCK}: made") == 2
    assert "geheim" not in told
    with get_client(sync_client=True) as client:
        (made,) = client.read_automations_by_name("tell-failures")
        block = client.read_block_document_by_name(BLOCK, "custom-webhook", include_secrets=False)
    assert made.actions[0].block_document_id == block.id
    assert "geheim" not in str(block.data)
