"""The set-up of a Prefect server: what it makes, that it makes it once, and what it says is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect_aws import AwsCredentials, S3Bucket

from aggrade.errors import BadInput
from deployments.setup import BLOCK, POOL, automations, parts, setup

KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "geheim",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
}
ALWAYS = [f"work pool {POOL!r}", "automation 'crash-silent-runs'", "automation 'crash-lost-starts'"]
WEBHOOK = {"AGGRADE_NOTIFY_URL": "http://127.0.0.1:9/geheim"}
NAMES = (*KEYS, *WEBHOOK, "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AGGRADE_RESULTS")


@pytest.fixture
def environment(monkeypatch):
    """Give an environment that asks for nothing, and a way to ask."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_bare_environment_asks_for_no_block():
    """Without credentials nothing but the pool and the automations is needed."""
    assert [part.name for part in parts({})] == ALWAYS


def test_half_of_the_credentials_make_no_block():
    """A key without its secret is not stored."""
    assert len(parts({"AWS_ACCESS_KEY_ID": "key"})) == len(ALWAYS)


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


@pytest.mark.parametrize("url", ["/tmp/results", "s3://", "gs://lab"])
def test_results_elsewhere_are_refused(url):
    """A result storage that is no bucket is bad input."""
    with pytest.raises(BadInput, match="AGGRADE_RESULTS"):
        parts({"AGGRADE_RESULTS": url})


@pytest.mark.usefixtures("prefect_backend")
def test_it_makes_what_is_missing_once(environment, capsys):
    """Checked, made, made again, checked again: nothing is changed twice, and the blocks hold what was said."""
    for name, value in (KEYS | {"AGGRADE_RESULTS": "s3://lab/results/here"}).items():
        environment.setenv(name, value)
    assert setup(check=True) == 1
    assert capsys.readouterr().out.count(": missing") == 5
    assert setup() == 0
    assert capsys.readouterr().out.count(": made") == 5
    assert setup() == 0
    assert capsys.readouterr().out.count(": there") == 5
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
