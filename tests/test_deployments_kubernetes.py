"""The Kubernetes files, linted: they are not run here, since the tests have no cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path

import prefect
import pytest
import yaml
from jsonschema import Draft7Validator
from prefect.cli.deploy._models import WorkPoolConfig

from deployments.setup import POOL

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deployments"
MANIFESTS = {one["kind"]: one for one in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())}
POD = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
CONTAINERS = [*POD["initContainers"], *POD["containers"]]
JOBS = yaml.safe_load((FOLDER / "kubernetes-jobs.yaml").read_text())["definitions"]["work_pools"]["local"]
KINDS = {"ServiceAccount": "v1", "ConfigMap": "v1", "Deployment": "apps/v1"}
QUANTITY = re.compile(r"\d+(m|Mi|Gi)?")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

each = pytest.mark.parametrize("container", CONTAINERS, ids=[one["name"] for one in CONTAINERS])


def test_the_kinds_are_known_and_named():
    """Each manifest has the API version of its kind, a legal name, and the namespace of the others."""
    assert {kind: one["apiVersion"] for kind, one in MANIFESTS.items()} == KINDS
    for one in MANIFESTS.values():
        assert LABEL.fullmatch(one["metadata"]["name"])
        assert one["metadata"]["namespace"] == "aggrade"


def test_the_selector_finds_the_pods():
    """The deployment selects the labels that its pods bear."""
    spec = MANIFESTS["Deployment"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_what_is_referred_to_is_there():
    """The pod's account and settings are in the file; the secret is the one that the file says how to make."""
    assert POD["serviceAccountName"] == MANIFESTS["ServiceAccount"]["metadata"]["name"]
    text = (FOLDER / "kubernetes.yaml").read_text()
    for container in CONTAINERS:
        settings, secret = container["envFrom"]
        assert settings["configMapRef"]["name"] == MANIFESTS["ConfigMap"]["metadata"]["name"]
        assert f"create secret generic {secret['secretRef']['name']} " in text
    worker = POD["containers"][0]
    probed = worker["livenessProbe"]["httpGet"]["port"]
    assert probed in [port["name"] for port in worker["ports"]]


@each
def test_a_container_may_do_no_more_than_it_needs(container):
    """It is no root, gains no rights, and has a bound on its memory; its quantities are Kubernetes' own."""
    assert POD["securityContext"]["runAsNonRoot"]
    assert f"--uid {POD['securityContext']['runAsUser']} " in (FOLDER / "Dockerfile").read_text()
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert "memory" in container["resources"]["limits"]
    for amounts in container["resources"].values():
        assert all(QUANTITY.fullmatch(amount) for amount in amounts.values())


@each
def test_a_container_does_what_compose_does(container):
    """Set-up and worker run the commands of the compose file, in the folder that the image has the deployments in."""
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    command = services[container["name"]]["command"]
    words = command[-1].partition("exec ")[2].split() or command
    assert container["command"][: len(words)] == words
    assert f"WORKDIR {container['workingDir']}\n" in (FOLDER / "Dockerfile").read_text()


def test_the_worker_serves_the_pool_that_is_set_up():
    """The worker takes its work from the pool of the set-up, and tells Kubernetes whether it lives."""
    command = POD["containers"][0]["command"]
    assert command[command.index("--pool") + 1] == POOL
    assert "--with-healthcheck" in command


def test_settings_are_ones_that_somebody_reads():
    """The settings are text, and each is one of the environment's example, Prefect's, or an S3 client's; none is a key."""
    settings = MANIFESTS["ConfigMap"]["data"]
    example = (FOLDER / ".env.example").read_text()
    for name, value in settings.items():
        assert isinstance(value, str)
        assert f"\n{name}=" in example or name in (FOLDER / "compose.yaml").read_text()
        assert "KEY" not in name


def kubernetes_form():
    """Return the form of a Kubernetes work pool, which comes with Prefect."""
    views = Path(prefect.__file__).parent / "server" / "api" / "collections_data" / "views"
    known = json.loads((views / "aggregate-worker-metadata.json").read_text())
    return known["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]["variables"]


def test_job_variables_are_ones_that_the_work_pool_has():
    """Each job variable is in the form of a Kubernetes work pool, and is what the form wants."""
    form = kubernetes_form()
    assert JOBS["job_variables"].keys() <= form["properties"].keys()
    assert list(Draft7Validator(form).iter_errors(JOBS["job_variables"])) == []
    assert list(Draft7Validator(form).iter_errors({"finished_job_ttl": "a day"})) != []


def test_the_jobs_work_pool_takes_the_place_of_the_local_one():
    """It has the keys of a work pool, and those that prefect.yaml's own has."""
    there = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]["work_pools"]["local"]
    assert JOBS.keys() == there.keys() <= WorkPoolConfig.model_fields.keys()
    env = there["job_variables"]["env"]
    assert env.items() <= JOBS["job_variables"]["env"].items()
    assert JOBS["job_variables"]["namespace"] == MANIFESTS["Deployment"]["metadata"]["namespace"]
