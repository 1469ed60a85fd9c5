"""The container files, linted: they are not run here, since the tests need no Docker."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deployments.setup import POOL

FOLDER = Path(__file__).parents[1] / "deployments"
COMPOSE = (FOLDER / "compose.yaml").read_text()
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
VARIABLES = re.findall(r"^(\w+)=(.*)$", (FOLDER / ".env.example").read_text(), re.MULTILINE)


def test_every_variable_is_in_the_example():
    """What the compose file takes from the environment is what the example names, and nothing else."""
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == {name for name, _ in VARIABLES}


def test_the_example_holds_no_secret():
    """Keys and passwords are empty in the example, and the copy that is filled in is ignored by git."""
    filled = {name for name, value in VARIABLES if value}
    assert filled <= {"AWS_REGION"}
    assert "deployments/.env" in (FOLDER.parent / ".gitignore").read_text().split()


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_nothing_listens_beyond_this_machine(service):
    """Each published port is bound to the loopback interface."""
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_services_wait_for_services_that_are_there(service):
    """What a service depends on exists, and can say that it is ready."""
    for name, condition in service.get("depends_on", {}).items():
        assert name in SERVICES
        assert condition["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]


def test_the_set_up_comes_before_the_worker():
    """The worker starts once the set-up and the deployments are done, and serves the pool they name."""
    assert SERVICES["setup"]["command"][-2:] == ["deployments.setup", "--deploy"]
    assert SERVICES["worker"]["depends_on"]["setup"]["condition"] == "service_completed_successfully"
    assert SERVICES["worker"]["command"][-1].endswith(f"--pool {POOL}")


@pytest.mark.parametrize("block", ["", "s3-bucket/aggrade"])
def test_the_worker_has_no_empty_name_of_a_block(tmp_path, block):
    """Compose can't leave a variable out; run as it stands, the worker's command does, and keeps one that is set."""
    worker = tmp_path / "prefect"
    worker.write_text("#!/bin/sh\necho ${PREFECT_DEFAULT_RESULT_STORAGE_BLOCK-none} $*\n")
    worker.chmod(0o700)
    command = [part.replace("$$", "$") for part in SERVICES["worker"]["command"]]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": block}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said == f"{block or 'none'} worker start --pool {POOL}\n"


def test_the_image_pins_what_it_installs():
    """The image installs by the constraints, on a Python that the project declares, and runs as no root."""
    assert "--constraint constraints.txt" in DOCKERFILE
    version = re.search(r"FROM python:(\d\.\d+)", DOCKERFILE)[1]
    assert f"Python :: {version}" in (FOLDER.parent / "pyproject.toml").read_text()
    assert "USER aggrade" in DOCKERFILE


def test_nothing_phones_home():
    """Neither the image nor the server sends telemetry."""
    assert "PREFECT_SERVER_ANALYTICS_ENABLED=false" in DOCKERFILE
    assert "DO_NOT_TRACK=1" in DOCKERFILE
