"""The demonstration's process: its environment, its lock on the folder, its end with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aggrade.errors import Conflict
from flows.demo_process import apply_environment, demo_environment, one_run_in

ROOT = Path(__file__).parents[1]
SERVER = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def python(code, **options):
    """Start a Python that runs `code` in the repository."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def test_no_prefect_setting_of_the_user_reaches_the_demo(tmp_path):
    """A user's Prefect server, key and home are replaced by the demonstration's own or dropped."""
    theirs = {"PREFECT_API_URL": "https://elsewhere.example/api", "PREFECT_API_KEY": "secret", "PATH": "/bin"}
    environment = demo_environment(theirs, tmp_path, own_store=True)
    assert environment["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert {"PREFECT_API_KEY", "PREFECT_API_URL"}.isdisjoint(environment)
    assert environment["PATH"] == "/bin"


def test_telemetry_is_off(tmp_path):
    """Prefect's server analytics and its client's events are both switched off."""
    environment = demo_environment({}, tmp_path, own_store=True)
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"


def test_the_demos_own_server_is_reached_whatever_the_user_has_set(tmp_path):
    """A profile, an endpoint for S3 alone, a configuration file or a proxy leads nobody astray."""
    theirs = {
        "AWS_PROFILE": "lab",
        "AWS_ENDPOINT_URL_S3": "https://elsewhere.example",
        "AWS_CONFIG_FILE": "/home/u/.aws/config",
        "AWS_SESSION_TOKEN": "token",
        "HTTP_PROXY": "http://proxy.example:3128",
        "NO_PROXY": "lab.example",
    }
    environment = demo_environment(theirs, tmp_path, own_store=True)
    assert {"AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"} & environment.keys() == set()
    assert environment["AWS_CONFIG_FILE"] == os.devnull
    assert environment["NO_PROXY"] == environment["no_proxy"] == "lab.example,127.0.0.1,localhost"


def test_where_the_store_is_the_users_own_so_are_the_credentials(tmp_path):
    """Without a server of the demonstration's own, nothing that leads to the user's store is changed."""
    theirs = {"AWS_PROFILE": "lab", "AWS_ENDPOINT_URL": "https://s3.example", "AGGRADE_LEASE_SECONDS": "40"}
    assert theirs.items() <= demo_environment(theirs, tmp_path, own_store=False).items()
    assert demo_environment(theirs, tmp_path, own_store=True)["AGGRADE_LEASE_SECONDS"] == "40"
    assert "AGGRADE_LEASE_SECONDS" not in demo_environment({}, tmp_path, own_store=False)


def test_botocore_finds_the_demos_credentials_and_endpoint(tmp_path):
    """boto3 itself, in the environment that is made, resolves the server's keys and its endpoint."""
    theirs = dict(os.environ) | {
        "AWS_PROFILE": "no-such-profile",
        "AWS_ENDPOINT_URL_S3": "https://elsewhere.example",
    }
    code = """
        import boto3
        session = boto3.Session()
        print(session.get_credentials().access_key, session.client("s3", region_name="us-east-1").meta.endpoint_url)
    """
    with python(code, env=demo_environment(theirs, tmp_path, own_store=True) | SERVER) as process:
        assert process.communicate()[0].split() == ["a", "http://127.0.0.1:1"]


def test_the_environment_is_given_back(monkeypatch):
    """The process has exactly the given environment meanwhile, and afterwards what it had before."""
    monkeypatch.setenv("AGGRADE_TEST_KEPT", "before")
    before = dict(os.environ)
    with apply_environment({"ONLY": "this"}):
        during = dict(os.environ)
    assert during == {"ONLY": "this"}
    assert dict(os.environ) == before


def test_the_environment_is_given_back_after_an_error():
    """An error in the demonstration leaves no setting of its behind."""
    before = dict(os.environ)
    with pytest.raises(KeyError), apply_environment({"ONLY": "this"}):
        os.environ.pop("AGGRADE_TEST_MISSING")
    assert dict(os.environ) == before


def test_a_folder_has_one_run_at_a_time(tmp_path):
    """A second run in the same folder is told so instead of disturbing the first; one in another folder goes on."""
    with one_run_in(tmp_path / "demo"):
        with (
            pytest.raises(Conflict, match="another demonstration") as told,
            one_run_in(tmp_path / "demo", 0.0),
        ):
            pass
        with one_run_in(tmp_path / "elsewhere", 0.0):
            pass
    assert told.value.code == "busy"


def test_the_lock_dies_with_a_killed_run(tmp_path):
    """After SIGKILL the folder is free at once, without anybody cleaning up."""
    code = f"""
        import sys, time
        from pathlib import Path
        from flows.demo_process import one_run_in
        with one_run_in(Path({str(tmp_path)!r})):
            print("held", flush=True)
            time.sleep(600)
    """
    with python(code) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Conflict), one_run_in(tmp_path, 0.0):
            pass
        process.kill()
        process.wait()
    with one_run_in(tmp_path, 0.0):
        assert (tmp_path / ".lock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_the_demo_ends_with_the_make_that_started_it():
    """When the parent is killed, the child is gone too: its end of the pipe closes."""
    code = """
        import subprocess, sys, time
        child = "import time; from flows.demo_process import end_with_parent; end_with_parent(); print('up', flush=True); time.sleep(600)"
        subprocess.run([sys.executable, "-c", child])
    """
    with python(code) as parent:
        assert parent.stdout.readline() == "up\n"
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == ""
