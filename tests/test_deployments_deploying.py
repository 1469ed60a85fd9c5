"""Deploying what prefect.yaml says, with schedules that were switched on left on."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client

from aggrade.errors import Unavailable
from deployments.deploying import FILE, copy_file, deploy
from deployments.setup import setup

INGEST = "ingest-sessions/ingest-sessions"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(prefect_backend):  # noqa: ARG001 - a server has to be there
    """Give a server that has no deployment when the test ends."""
    yield
    with get_client(sync_client=True) as client:
        for one in client.read_deployments():
            client.delete_deployment(one.id)


def _schedule(name):
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(name)
        return found, found.schedules[0]


@pytest.mark.usefixtures("server")
def test_a_schedule_that_is_on_stays_on(capfd):
    """Off as the file says, until somebody switches it on; deployed again it is on, and the others are off."""
    assert setup(deploy=True) == 0
    found, schedule = _schedule(INGEST)
    assert schedule.active is False
    with get_client(sync_client=True) as client:
        client.update_deployment_schedule(found.id, schedule.id, active=True)
    deploy()
    assert "schedule 'nightly' of ingest-sessions stays on" in capfd.readouterr().out
    assert _schedule(INGEST)[1].active is True
    assert _schedule("pipeline/pipeline")[1].active is False


@pytest.mark.usefixtures("server")
def test_what_cannot_be_deployed_is_an_error(capfd):
    """A file without a flow ends with Prefect's reason and a sentence, not as if all were well."""
    FILE.write_text(
        "deployments:\n- name: x\n  entrypoint: flows.nothing.nothing\n  work_pool: {name: none}\n"
    )
    with pytest.raises(Unavailable, match="an error of `prefect deploy`"):
        deploy()
    capfd.readouterr()


def test_the_file_is_the_one_that_came_with_it():
    """It names every flow."""
    copy_file()
    assert FILE.read_text().count("entrypoint: flows.") >= 6
