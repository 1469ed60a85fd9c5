"""Every deployment, held against Prefect's own models: Prefect ignores a misspelt key without a word."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.utilities.schema_tools import validate

from deployments.setup import POOL
from flows.commands import PLACES

TEXT = (Path(__file__).parents[1] / "prefect.yaml").read_text()
FILE = yaml.safe_load(TEXT)
DEPLOYMENTS = {deployment["name"]: deployment for deployment in FILE["deployments"]}
SHARED = {"definitions"}

each = pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=list(DEPLOYMENTS))


def unknown(given, model):
    """Return the keys that a model of Prefect would drop."""
    known = {field.alias or name for name, field in model.model_fields.items()}
    return sorted(set(given) - known)


def flow_of(deployment):
    """Import a deployment's flow."""
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_a_misspelt_key_would_be_found():
    """The check itself refuses what Prefect would ignore."""
    assert unknown({"name": "x", "scheduls": []}, DeploymentConfig) == ["scheduls"]


def test_the_file_holds_nothing_that_prefect_ignores():
    """At the top there is what Prefect knows, and the definitions that YAML anchors need."""
    assert set(unknown(FILE, PrefectYamlModel)) == SHARED


@each
def test_a_deployment_holds_nothing_that_prefect_ignores(deployment):
    """Neither a deployment nor its work pool, limit or schedules have a key that Prefect would drop."""
    assert unknown(deployment, DeploymentConfig) == []
    assert unknown(deployment["work_pool"], WorkPoolConfig) == []
    assert unknown(deployment["concurrency_limit"], ConcurrencyLimitSpec) == []
    for schedule in deployment["schedules"]:
        assert unknown(schedule, RawScheduleConfig) == []
        RawScheduleConfig.model_validate(schedule)


TRIGGERS = [(name, trigger) for name, one in DEPLOYMENTS.items() for trigger in one.get("triggers", ())]


@pytest.mark.parametrize(("name", "trigger"), TRIGGERS, ids=[trigger["name"] for _, trigger in TRIGGERS])
def test_a_trigger_names_what_is_there(name, trigger):
    """It has no key that Prefect would drop, and gives parameters that exist from flows that have them."""
    assert unknown(trigger, DeploymentEventTrigger) == []
    DeploymentEventTrigger.model_validate(trigger)
    assert trigger["parameters"].keys() <= inspect.signature(flow_of(DEPLOYMENTS[name]).fn).parameters.keys()
    for watched in trigger["match_related"]["prefect.resource.name"]:
        known = inspect.signature(flow_of(DEPLOYMENTS[watched]).fn).parameters
        taken = re.findall(r"flow_run\.parameters\.(\w+)", str(trigger["parameters"]))
        assert len(taken) == len(trigger["parameters"])
        assert set(taken) <= known.keys()


@each
def test_a_deployment_is_its_flow(deployment):
    """The entrypoint is a module path, and flow and deployment bear the same name."""
    assert "/" not in deployment["entrypoint"]
    assert not deployment["entrypoint"].endswith(".py")
    assert flow_of(deployment).name == deployment["name"]


def test_every_flow_of_the_command_line_is_deployed():
    """No flow is left out, and none is deployed that isn't there."""
    deployed = {deployment["entrypoint"] for deployment in DEPLOYMENTS.values()}
    assert deployed == {place.replace(":", ".") for place in PLACES.values()}


@each
def test_the_parameters_validate(deployment):
    """The parameters fit the flow's form, as the server checks it, and the flow's own models."""
    flow = flow_of(deployment)
    assert validate(deployment["parameters"], flow.parameters.model_dump(), raise_on_error=True) == []
    flow.validate_parameters(deployment["parameters"])


@each
def test_a_schedule_says_where_its_clock_is(deployment):
    """Each schedule has a slug that a new deployment finds again, a real time zone and a valid time; it is off."""
    for schedule in deployment["schedules"]:
        assert schedule["slug"]
        assert ZoneInfo(schedule["timezone"])
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert schedule["active"] is False


@each
def test_a_deployment_says_what_it_is_for(deployment):
    """Each has a sentence of description, tags, one run at a time, and the pool that the set-up makes."""
    assert deployment["description"].endswith(".")
    assert "aggrade" in deployment["tags"]
    assert deployment["concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_limit"]["collision_strategy"] in {"ENQUEUE", "CANCEL_NEW"}
    assert deployment["work_pool"]["name"] == POOL


@each
def test_a_form_explains_every_field(deployment):
    """In the form each parameter, and each field of its models, has a description."""
    form = flow_of(deployment).parameters.model_dump()
    models = [model["properties"] for model in form["definitions"].values() if "properties" in model]
    for properties in (form["properties"], *models):
        for name, field in properties.items():
            assert field.get("description") or "$ref" in field, f"{deployment['name']}: {name}"
